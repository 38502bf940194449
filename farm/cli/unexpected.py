"""What a command prints after an unexpected error: one sentence, and where the details are."""

import errno
import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from farm import __version__, config
from farm.cli.console import one_line
from farm.cli.streams import discard_output
from farm.errors import ConfigError

# Errors of writing to a full, closed or broken stdout; errors of files name the file.
_OUTPUT = frozenset({errno.ENOSPC, errno.EBADF, errno.EIO, errno.EPIPE, errno.EDQUOT})


def explain_error(error: Exception) -> str:
    """The sentence to print; details of an unexpected error go into a file."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT:
        discard_output()
        return f"The output cannot be written: {error.strerror}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    return f"An unexpected error occurred ({_name_error(error)}). {_point_to_file(_write_traceback(error))}"


def _name_error(error: Exception) -> str:
    """The kind and the first line of its message; a long one is left to the file."""
    first = next(iter(str(error).splitlines()), "")[:200]
    return one_line(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def _point_to_file(path: Path | None) -> str:
    return (
        f"The details are in {path}; please send them with a report."
        if path
        else "The details could not be written to a file."
    )


def _write_traceback(error: Exception) -> Path | None:
    """Write the traceback to a file that only the user may read, in the data folder or else a temporary one."""
    name = f"mishap-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    # Without the command's arguments: a prompt or a key may be among them.
    text = "".join([f"farm {__version__}, Python {sys.version}\n", *traceback.format_exception(error)])
    for folder in _folders():
        try:
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return folder / name
    return None


def _folders() -> list[Path]:
    temporary = Path(tempfile.gettempdir())
    try:
        return [config.load_given().data_dir / "logs", temporary]
    except ConfigError:
        return [temporary]
