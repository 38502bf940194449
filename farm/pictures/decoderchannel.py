"""Messages between this process and its decoders: a head as JSON and content, over a socket."""

import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol

_HEAD = struct.Struct(">IQ")


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
