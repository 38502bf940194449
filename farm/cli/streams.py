"""The command's standard streams: made usable for any encoding of the console, and if they are closed."""

import os
import sys

_NAMES = ("stdin", "stdout", "stderr")


def prepare() -> None:
    """Make the three streams usable.

    1. A closed stream is opened on /dev/null: its number would go to the next file that is opened, and output would
       be written into that file.
    2. Characters that the console cannot show, say of a Thai prompt with Latin-1, are escaped and raise no error.
    """
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            _open_devnull(number, name)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _open_devnull(number: int, name: str) -> None:
    mode = "r" if number == 0 else "w"
    descriptor = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as the process


def discard_output() -> None:
    """Discard what could not be written: Python would try again at exit, and print an error of its own."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def can_show_all() -> bool:
    """Whether every character can be written to stdout as it is."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf16", "utf32"}
