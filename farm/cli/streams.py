"""The command's own streams: made usable, whatever the console can show and whether they are open at all."""

import os
import sys

_NAMES = ("stdin", "stdout", "stderr")


def prepare() -> None:
    """Make the three streams usable.

    1. One that came closed leads nowhere: its number would go to the next file that is opened, and what is printed
       into that.
    2. What a console cannot show, say a Thai prompt on one of Latin-1, is escaped and no error.
    """
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            _lead_nowhere(number, name)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _lead_nowhere(number: int, name: str) -> None:
    mode = "r" if number == 0 else "w"
    descriptor = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as the process


def give_up_output() -> None:
    """Drop what could not be written: Python would try again as it ends, and complain in its own words."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def shows_all() -> bool:
    """Whether every character can be written to stdout as it is."""
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf16", "utf32"}
