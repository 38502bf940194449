"""A process that decodes pictures, as this process sees it: started, asked, and ended."""

import signal
import socket
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import structlog

from farm.errors import Busy
from farm.pictures.decoderchannel import receive, send
from farm.pictures.decoderqueue import QueuedPicture
from farm.processes import programs

log = structlog.get_logger(__name__)

_START_SECONDS = 30.0


class DecodingFailed(Exception):
    """The process ended while it decoded, or sent an invalid answer."""


class DecodingTooSlow(DecodingFailed):
    """The process was killed because it took longer than the picture's pixels may take."""


class DecoderProcess:
    """A process that runs `farm.pictures.decoder`, and the socket to it."""

    def __init__(self) -> None:
        """Start a process and wait for its first message. Raises Busy where it cannot be started."""
        self.served = 0
        try:
            self._socket, self._process = _start_process()
        except OSError as error:
            log.error("A decoder process cannot be started; pictures are refused for now.", error=str(error))
            raise Busy from None
        self._socket.settimeout(_START_SECONDS)
        try:
            greeting = receive(self._socket)
        except (OSError, ValueError):
            greeting = None
        if greeting is None:
            self.end()
            log.error(
                "The decoder process does not start; run its command to see why.",
                command="python -P -m farm.pictures.decoder",
            )
            raise Busy
        _log_gaps_once(*greeting[0].get("gaps", ()))

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, picture: QueuedPicture, request: Mapping[str, Any], content: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for the answer. Raises DecodingFailed; DecodingTooSlow."""
        self.served += 1
        self._socket.settimeout(picture.patience_seconds)
        limits = {"seconds": picture.seconds, "memory_bytes": picture.memory_bytes}
        try:
            send(self._socket, {**request, **limits}, content)
            answer = receive(self._socket)
        except TimeoutError:
            raise DecodingTooSlow from None
        except (OSError, ValueError):
            answer = None
        if answer is None:
            raise DecodingTooSlow if self.end() == -signal.SIGXCPU else DecodingFailed
        return answer

    def end(self) -> int:
        """End the process, if it has not ended by itself; return its status."""
        self._socket.close()
        try:
            return self._process.wait(0.5 if self.served else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _start_process() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A process, and the socket to it. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                programs.build_command("farm.pictures.decoder", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=programs.strip_environment(),
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return ours, process


@cache
def _log_gaps_once(*gaps: str) -> None:
    """Log what the kernel cannot prevent decoders from: once, since it is the same for each."""
    for gap in gaps:
        log.warning("Decoder processes are not completely confined on this system.", gap=gap)
