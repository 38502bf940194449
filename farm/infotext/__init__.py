"""The `parameters` text that AUTOMATIC1111's WebUI writes into images and reads back: ours, and everybody's."""

from farm.infotext.exif import as_exif, as_short_comment, as_user_comment
from farm.infotext.files import read_file, read_image
from farm.infotext.reader import Infotext, read_infotext, spec_of
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
