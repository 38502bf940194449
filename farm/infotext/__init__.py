"""The `parameters` text that AUTOMATIC1111's WebUI writes into images and reads back: the farm's and other tools'.

What other tools write is read here too, or refused by name: `docs/foreign-files.md` lists them. Workers write texts
here, the portal and the command line read them. Knows `spec`, no database and no registered weights.
"""

from farm.infotext.exif import as_exif, as_short_comment, as_user_comment
from farm.infotext.files import read_file, read_image
from farm.infotext.reader import spec_of
from farm.infotext.recognise import read_infotext
from farm.infotext.result import Infotext
from farm.infotext.writer import infotext

__all__ = [
    "Infotext",
    "as_exif",
    "as_short_comment",
    "as_user_comment",
    "infotext",
    "read_file",
    "read_image",
    "read_infotext",
    "spec_of",
]
