"""Decoding in processes of their own: what hangs, crashes or eats memory there ends with its process alone.

A picture of a kilobyte can take a decoder seconds. So a few processes decode at a time, each picture has so much
time and memory as its pixels may need, and whose turn is next depends on who has had least: nobody's slow pictures
hold up another's. A process has none of our environment, and serves many pictures, since a fresh one takes longer
to start than most pictures take to decode. It ends when this process does: its socket is closed then, and what it
still decodes has an end.
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
# Whatever is larger leaves the other processes to smaller ones. In pixels, as all costs here.
_HEAVY = 16_000_000
LEAST_COST = 1_000_000
# Who waits holds a thread of the portal, and most of those are for other requests. More is sent away, to come back:
# of one user already what would take the turns of others.
_MOST_WAITING = 6
_MOST_AT_WORK_OF_USER = 4
_MOST_OF_USER = 256_000_000
# The sender has not gone away by then, and is better asked to come back than left to wait.
_MOST_WAITING_SECONDS = 30.0

# Photographs take 0.13 s of a processor for a million pixels, from opening them to the finished PNG.
_SECONDS_FOR_PIXEL = 0.4 / 1_000_000
_LEAST_SECONDS = 3.0
# A processor that is shared gives a process less than all of its time.
_PATIENCE = 4.0
_START_SECONDS = 30.0

_BYTES_FOR_PIXEL = 24
_LEAST_BYTES = 512 * 2**20

# A process that was left changed by a picture serves no more than so many others.
_MOST_SERVED = 100

_HEAD = struct.Struct(">IQ")


class DecodingFailed(Exception):
    """The process ended while it decoded, or answered what is no answer."""


class DecodingTooSlow(DecodingFailed):
    """The process was ended because it took longer than the picture's pixels may take."""


@dataclass(frozen=True, eq=False)
class Turn:
    """A picture that waits for a process, or has one: whose it is, and its cost in pixels."""

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


def next_turn(waiting: Sequence[Turn], running: Sequence[Turn], served: Mapping[str, int]) -> Turn | None:
    """Who begins now, if anybody: of those who have least at work the one who was served longest ago.

    All processes but one may be kept busy by large pictures; the last is for small ones.
    """
    if len(running) >= _AT_ONCE:
        return None
    is_full = sum(turn.is_heavy for turn in running) >= _AT_ONCE - 1
    able = [turn for turn in waiting if not (turn.is_heavy and is_full)]
    return min(
        able,
        key=lambda turn: (sum(other.user == turn.user for other in running), served.get(turn.user, 0)),
        default=None,
    )


def is_too_much(turn: Turn, waiting: Sequence[Turn], running: Sequence[Turn]) -> bool:
    """Whether a picture is sent away at once: too many wait, or its user's others are enough."""
    others = [other.cost for other in (*waiting, *running) if other.user == turn.user]
    is_full = len(waiting) >= _MOST_WAITING or len(others) >= _MOST_AT_WORK_OF_USER
    return is_full or (bool(others) and sum(others) + turn.cost > _MOST_OF_USER)


class Decoders:
    """The processes. None is started before the first picture comes."""

    def __init__(self) -> None:
        self._turns = threading.Condition()
        self._waiting: list[Turn] = []
        self._running: list[Turn] = []
        self._served: dict[str, int] = {}
        self._idle: list[_Process] = []

    def decode(self, user: str, cost: int, wish: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """What a process answers to a wish with this content; `cost` is in pixels.

        Raises DecodingFailed; DecodingTooSlow; Busy where the processes are taken, or the user's own pictures wait.
        """
        turn = Turn(user, cost)
        with self.holding(turn):
            process = self._take()
            try:
                answer = process.ask(turn, wish, content)
            except BaseException:
                process.end()
                raise
            self._put_back(process, turn)
            return answer

    @contextmanager
    def holding(self, turn: Turn) -> Iterator[None]:
        """Wait for the turn, and have it. Raises Busy."""
        with self._turns:
            if is_too_much(turn, self._waiting, self._running):
                raise Busy
            self._waiting.append(turn)
            is_next = self._turns.wait_for(lambda: self._next() is turn, _MOST_WAITING_SECONDS)
            self._waiting.remove(turn)
            self._turns.notify_all()
            if not is_next:
                raise Busy
            self._running.append(turn)
            self._served.pop(turn.user, None)
            self._served[turn.user] = 1 + max(self._served.values(), default=0)
        try:
            yield
        finally:
            with self._turns:
                self._running.remove(turn)
                if not (self._running or self._waiting):
                    self._served.clear()
                self._turns.notify_all()

    def close(self) -> None:
        """End the processes that wait for work; the others end with their pictures."""
        with self._turns:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _next(self) -> Turn | None:
        return next_turn(self._waiting, self._running, self._served)

    def _take(self) -> "_Process":
        while (process := self._pop_idle()) is not None:
            if process.is_alive:
                return process
            process.end()
        return _Process()

    def _pop_idle(self) -> "_Process | None":
        with self._turns:
            return self._idle.pop() if self._idle else None

    def _put_back(self, process: "_Process", turn: Turn) -> None:
        """A large picture leaves its memory behind, which is given back with the process."""
        if turn.is_heavy or process.served >= _MOST_SERVED:
            process.end()
            return
        with self._turns:
            self._idle.append(process)


DECODERS = Decoders()
"""Those of this process."""
atexit.register(DECODERS.close)


class _Process:
    """A process that runs `farm.pictures.decoder`, and the socket to it."""

    def __init__(self) -> None:
        """Start a process and hear from it. Raises Busy where the machine has no room for one."""
        self.served = 0
        try:
            self._socket, self._process = _start()
        except OSError as error:
            log.error("No process that decodes pictures can be started.", error=str(error))
            raise Busy from None
        self._socket.settimeout(_START_SECONDS)
        try:
            said = receive(self._socket)
        except (OSError, ValueError):
            said = None
        if said is None:
            self.end()
            log.error(
                "The process that decodes pictures does not start.", command="python -P -m farm.pictures.decoder"
            )
            raise Busy
        _tell_once(*said[0].get("gaps", ()))

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, turn: Turn, wish: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Raises DecodingFailed; DecodingTooSlow."""
        self.served += 1
        self._socket.settimeout(_LEAST_SECONDS + turn.seconds * _PATIENCE)
        limits = {"seconds": turn.seconds, "memory_bytes": turn.memory_bytes}
        try:
            send(self._socket, {**wish, **limits}, content)
            answer = receive(self._socket)
        except TimeoutError:
            raise DecodingTooSlow from None
        except (OSError, ValueError):
            answer = None
        if answer is None:
            raise DecodingTooSlow if self.end() == -signal.SIGXCPU else DecodingFailed
        return answer

    def end(self) -> int:
        """End it, if it has not ended by itself; return its status."""
        self._socket.close()
        try:
            return self._process.wait(0.5 if self.served else 0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A process, and the socket to it. Raises OSError."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                programs.command("farm.pictures.decoder", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=programs.bare(),
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return ours, process


@cache
def _tell_once(*gaps: str) -> None:
    """Say what the kernel does not keep decoders from: once, since it is the same for each."""
    for gap in gaps:
        log.warning("Pictures are decoded by a process that is not wholly shut in.", gap=gap)


class Channel(Protocol):
    """What messages go through: the part of a socket that is used."""

    def sendall(self, content: bytes, /) -> None: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...


def send(channel: Channel, head: Mapping[str, Any], content: bytes) -> None:
    """Send a message: a few words as JSON, and bytes. Raises OSError."""
    words = json.dumps(head).encode()
    channel.sendall(_HEAD.pack(len(words), len(content)) + words)
    channel.sendall(content)


def receive(channel: Channel) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None where the other side is gone. Raises OSError; ValueError for what is no message."""
    head = _exactly(channel, _HEAD.size)
    if head is None:
        return None
    words, content = (_exactly(channel, length) for length in _HEAD.unpack(head))
    return None if words is None or content is None else (json.loads(words), content)


def _exactly(channel: Channel, length: int) -> bytes | None:
    if length > 2**30:
        raise ValueError("no message is so long")
    received = bytearray(length)
    rest = memoryview(received)
    while rest:
        count = channel.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return bytes(received)
