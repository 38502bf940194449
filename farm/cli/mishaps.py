"""What a command says when something happens that nobody foresaw: one sentence, and where the details are."""

import errno
import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from farm import __version__, config
from farm.cli.console import one_line
from farm.cli.streams import give_up_output
from farm.errors import ConfigError

# What writing to a full, closed or broken stdout ends in; errors of files name the file.
_OUTPUT = frozenset({errno.ENOSPC, errno.EBADF, errno.EIO, errno.EPIPE, errno.EDQUOT})


def sentence(error: Exception) -> str:
    """What to tell the person; the details of what is no plain matter of this machine go into a file."""
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT:
        give_up_output()
        return f"The output cannot be written: {error.strerror}."
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    return f"Something went wrong that was not foreseen ({_named(error)}). {_where(_keep(error))}"


def _named(error: Exception) -> str:
    """The kind and the first line of its message; a long one is left to the file."""
    first = next(iter(str(error).splitlines()), "")[:200]
    return one_line(f"{type(error).__name__}: {first}" if first else type(error).__name__)


def _where(path: Path | None) -> str:
    return f"The details are in {path}; please send them with a report." if path else "No details could be kept."


def _keep(error: Exception) -> Path | None:
    """Write down the traceback, for its owner alone, in the data folder or else where temporary files go."""
    name = f"mishap-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    # Without the arguments: a prompt or a key may be among them.
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
