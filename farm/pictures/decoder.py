"""The process that decodes pictures: `python -P -m farm.pictures.decoder SOCKET`.

It holds no secret and no connection but its socket, and each picture has so much time and memory as its pixels
need: whatever a picture does to its decoder ends here.
"""

import resource
import sys
import warnings
from typing import Any

from PIL import AvifImagePlugin, Image, PngImagePlugin

from farm.errors import InvalidRequest
from farm.pictures import clean
from farm.pictures.decoding import receive, send
from farm.processes.confinement import become_nobody, confine

# A colour profile for a printer has some megabytes; Pillow's own bound is one.
_LARGEST_PROFILE_BYTES = 16 * 2**20
_MOST_FILES = 32


def main() -> None:
    channel = _Channel(int(sys.argv[1]))
    gaps = _confine()
    # What Pillow finds odd in a file is either put right or refused.
    warnings.simplefilter("ignore")
    PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PROFILE_BYTES
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    send(channel, {"gaps": gaps}, b"")
    while (asked := receive(channel)) is not None:
        wish, content = asked
        _allow(wish["seconds"], wish["memory_bytes"])
        send(channel, *_answer(wish, content))


class _Channel:
    """A socket, used as a file: a process that is shut in may read and write, but call nothing of the network."""

    def __init__(self, number: int) -> None:
        self._file = open(number, "r+b", buffering=0)  # noqa: SIM115 - as long as the process

    def sendall(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    def recv_into(self, buffer: memoryview) -> int:
        return self._file.readinto(buffer)


def _confine() -> tuple[str, ...]:
    """Read nothing but Python's libraries, write no file, open few, reach no network and no other process.

    What a kernel has no means against is returned: the process is bounded all the same.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    gaps = confine(read=(), file_bytes=0)
    # Of root it becomes a user who may not read Python's folder, so all of Pillow is imported first.
    Image.init()
    become_nobody()
    return gaps


def _allow(seconds: float, memory_bytes: int) -> None:
    """So much more time of a processor, and so much memory. The kernel ends the process that takes more time."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime + seconds) + 1
    for kind, most in ((resource.RLIMIT_CPU, until), (resource.RLIMIT_AS, memory_bytes)):
        # Who started the farm may have set bounds of its own, which only root may raise.
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _answer(wish: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        found = clean.decode(
            content, role=wish["role"], most_pixels=wish["most_pixels"], paid_pixels=wish["paid_pixels"]
        )
    except InvalidRequest as error:
        return {"refused": error.problems[0].message}, b""
    return {"width": found.width, "height": found.height, "note": found.note}, found.png


if __name__ == "__main__":
    main()
