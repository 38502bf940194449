"""Decodes pictures in processes of their own, so that a hang, a crash or a lack of memory ends one process alone.

A picture of a kilobyte can take a decoder seconds. So a few processes decode at a time, each picture gets the
time and memory that its pixels may need, and the next picture is one of the user who was served least: slow
pictures of one user do not delay another's. A process has none of our environment, and decodes many pictures, since
a new one takes longer to start than most pictures take to decode. It ends when this process does: its socket is
closed then, and the picture it still decodes has a time limit.
"""

import atexit
import json
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import structlog

from farm.errors import Busy
from farm.processes import programs

log = structlog.get_logger(__name__)

_AT_ONCE = 2
# Larger pictures leave one process to smaller ones. In pixels, as all costs here.
_HEAVY = 16_000_000
LEAST_COST = 1_000_000
# A waiting picture holds a thread of the portal, and most threads are for other requests. More are refused for now,
# and for one user as soon as they would delay others.
_MOST_WAITING = 6
_MOST_AT_WORK_OF_USER = 4
_MOST_OF_USER = 256_000_000
# A client still waits by then, and is better asked to try again than kept waiting.
_MOST_WAITING_SECONDS = 30.0

# Photographs take 0.13 s of a processor for a million pixels, from opening them to the finished PNG.
_SECONDS_FOR_PIXEL = 0.4 / 1_000_000
_LEAST_SECONDS = 3.0
# A shared processor gives a process less than all of its time.
_PATIENCE = 4.0
_START_SECONDS = 30.0

_BYTES_FOR_PIXEL = 24
_LEAST_BYTES = 512 * 2**20

# A process that a picture has altered decodes no more than so many others.
_MOST_SERVED = 100

_HEAD = struct.Struct(">IQ")


class DecodingFailed(Exception):
    """The process ended while it decoded, or sent an invalid answer."""


class DecodingTooSlow(DecodingFailed):
    """The process was killed because it took longer than the picture's pixels may take."""


@dataclass(frozen=True, eq=False)
class QueuedPicture:
    """A picture that waits for a process, or has one: its user, and its cost in pixels."""

    user: str
    cost: int

    @property
    def is_heavy(self) -> bool:
        return self.cost > _HEAVY

    @property
    def seconds(self) -> float:
        """How much of a processor's time it may take."""
        return _LEAST_SECONDS + self.cost * _SECONDS_FOR_PIXEL

    @property
    def memory_bytes(self) -> int:
        return _LEAST_BYTES + self.cost * _BYTES_FOR_PIXEL


def choose_next(
    waiting: Sequence[QueuedPicture], running: Sequence[QueuedPicture], served: Mapping[str, int]
) -> QueuedPicture | None:
    """The picture to decode now, if any: among users with the fewest running, that of the one served longest ago.

    All processes but one may be kept busy by large pictures; the last is for small ones.
    """
    if len(running) >= _AT_ONCE:
        return None
    is_full = sum(picture.is_heavy for picture in running) >= _AT_ONCE - 1
    able = [picture for picture in waiting if not (picture.is_heavy and is_full)]
    return min(
        able,
        key=lambda picture: (sum(other.user == picture.user for other in running), served.get(picture.user, 0)),
        default=None,
    )


def is_over_limit(
    picture: QueuedPicture, waiting: Sequence[QueuedPicture], running: Sequence[QueuedPicture]
) -> bool:
    """Whether a picture is refused at once: too many wait, or its user has enough waiting and running."""
    others = [other.cost for other in (*waiting, *running) if other.user == picture.user]
    is_full = len(waiting) >= _MOST_WAITING or len(others) >= _MOST_AT_WORK_OF_USER
    return is_full or (bool(others) and sum(others) + picture.cost > _MOST_OF_USER)


class Decoders:
    """The decoder processes. None is started before the first picture."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[QueuedPicture] = []
        self._running: list[QueuedPicture] = []
        self._served: dict[str, int] = {}
        self._idle: list[_Process] = []

    def decode(
        self, user: str, cost: int, request: Mapping[str, Any], content: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """The answer of a process to a request with this content; `cost` is in pixels.

        Raises DecodingFailed; DecodingTooSlow; Busy where all processes are in use, or too many pictures wait.
        """
        picture = QueuedPicture(user, cost)
        with self.hold_slot(picture):
            process = self._take_process()
            try:
                answer = process.ask(picture, request, content)
            except BaseException:
                process.end()
                raise
            self._put_back(process, picture)
            return answer

    @contextmanager
    def hold_slot(self, picture: QueuedPicture) -> Iterator[None]:
        """Wait for a free process, and occupy its slot. Raises Busy."""
        with self._changed:
            if is_over_limit(picture, self._waiting, self._running):
                raise Busy
            self._waiting.append(picture)
            is_next = self._changed.wait_for(lambda: self._choose_next() is picture, _MOST_WAITING_SECONDS)
            self._waiting.remove(picture)
            self._changed.notify_all()
            if not is_next:
                raise Busy
            self._running.append(picture)
            self._served.pop(picture.user, None)
            self._served[picture.user] = 1 + max(self._served.values(), default=0)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(picture)
                if not (self._running or self._waiting):
                    self._served.clear()
                self._changed.notify_all()

    def close(self) -> None:
        """End the idle processes; the others end with their pictures."""
        with self._changed:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _choose_next(self) -> QueuedPicture | None:
        return choose_next(self._waiting, self._running, self._served)

    def _take_process(self) -> "_Process":
        while (process := self._pop_idle()) is not None:
            if process.is_alive:
                return process
            process.end()
        return _Process()

    def _pop_idle(self) -> "_Process | None":
        with self._changed:
            return self._idle.pop() if self._idle else None

    def _put_back(self, process: "_Process", picture: QueuedPicture) -> None:
        """Keep the process for the next picture; after a large one end it, since only that frees its memory."""
        if picture.is_heavy or process.served >= _MOST_SERVED:
            process.end()
            return
        with self._changed:
            self._idle.append(process)


DECODERS = Decoders()
"""The decoders of this process."""
atexit.register(DECODERS.close)


class _Process:
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
        self._socket.settimeout(_LEAST_SECONDS + picture.seconds * _PATIENCE)
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


class Channel(Protocol):
    """The part of a socket's interface that messages need."""

    def sendall(self, content: bytes, /) -> None: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...


def send(channel: Channel, head: Mapping[str, Any], content: bytes) -> None:
    """Send a message: a head as JSON, and content. Raises OSError."""
    words = json.dumps(head).encode()
    channel.sendall(_HEAD.pack(len(words), len(content)) + words)
    channel.sendall(content)


def receive(channel: Channel) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the other side has closed. Raises OSError; ValueError for an invalid message."""
    head = _receive_exactly(channel, _HEAD.size)
    if head is None:
        return None
    words, content = (_receive_exactly(channel, length) for length in _HEAD.unpack(head))
    return None if words is None or content is None else (json.loads(words), content)


def _receive_exactly(channel: Channel, length: int) -> bytes | None:
    if length > 2**30:
        raise ValueError("the message is too long")
    received = bytearray(length)
    rest = memoryview(received)
    while rest:
        count = channel.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return bytes(received)
