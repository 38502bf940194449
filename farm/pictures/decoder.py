"""The process that decodes pictures: `python -P -m farm.pictures.decoder SOCKET`.

It holds no secret and no connection but its socket, and each picture has so much time and memory as its pixels
need: damage that a picture does to its decoder stays in this process.
"""

import resource
import sys
import warnings
from typing import Any

from PIL import AvifImagePlugin, Image, PngImagePlugin

from farm.errors import InvalidRequest
from farm.pictures import clean
from farm.pictures.decoderchannel import receive, send
from farm.processes.confinement import confine, drop_root

# A colour profile for a printer has some megabytes; Pillow's own bound is one.
_LARGEST_PROFILE_BYTES = 16 * 2**20
_MOST_FILES = 32


def main() -> None:
    channel = _FileChannel(int(sys.argv[1]))
    gaps = _confine()
    # What Pillow warns of is either corrected or refused.
    warnings.simplefilter("ignore")
    PngImagePlugin.MAX_TEXT_CHUNK = _LARGEST_PROFILE_BYTES
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    send(channel, {"gaps": gaps}, b"")
    while (message := receive(channel)) is not None:
        request, content = message
        _set_limits(request["seconds"], request["memory_bytes"])
        send(channel, *_decode(request, content))


class _FileChannel:
    """A socket, used as a file: a confined process may read and write, but make no network call."""

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

    Returns what the kernel cannot prevent; the limits hold in any case.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    gaps = confine(read=(), file_bytes=0)
    # A user without rights may not be able to read Python's folder, so all of Pillow is imported first.
    Image.init()
    drop_root()
    return gaps


def _set_limits(seconds: float, memory_bytes: int) -> None:
    """Allow so much more processor time, and so much memory. The kernel kills a process that takes more time."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = int(spent.ru_utime + spent.ru_stime + seconds) + 1
    for kind, most in ((resource.RLIMIT_CPU, until), (resource.RLIMIT_AS, memory_bytes)):
        # The farm may have been started with lower limits, which only root may raise.
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _decode(request: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        found = clean.decode(
            content, role=request["role"], most_pixels=request["most_pixels"], paid_pixels=request["paid_pixels"]
        )
    except InvalidRequest as error:
        return {"refused": error.problems[0].message}, b""
    return {"width": found.width, "height": found.height, "note": found.note}, found.png


if __name__ == "__main__":
    main()
