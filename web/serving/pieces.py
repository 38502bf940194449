"""Bytes of a connection, handed to the reader of HTTP piece by piece, so that no connection holds the event loop.

The reader makes an event of each chunk of a body, and a line of each header: a quarter of a megabyte received at
once can be forty thousand chunks of a byte, which take a second and more.
"""

import h11

# Read at one turn of the event loop, of what may be cut into small events: heads, and bodies in chunks.
TURN_BYTES = 4 * 2**10
# Programs that write line by line send chunks as small as their lines, but not for long.
_MOST_SMALL_CHUNKS = 1_000
_FEWEST_BYTES = 64
_MOST_HEADER_LINES = 120


class BoundedReader(h11.Connection):
    """h11's reader, which refuses a body of too many tiny chunks."""

    def __init__(self, max_incomplete_event_size: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._chunks = self._bytes = 0
        self._is_chunked = False

    @property
    def may_be_small(self) -> bool:
        """Whether what comes next may be cut into small events: anything but a body of declared length."""
        return self._is_chunked or self.their_state is not h11.SEND_BODY

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Raises RemoteProtocolError, as for all that is no HTTP."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
            self._is_chunked = any(name == b"transfer-encoding" for name, _ in event.headers)
        elif isinstance(event, h11.Data) and self._is_chunked:
            self._chunks, self._bytes = self._chunks + 1, self._bytes + len(event.data)
            if self._chunks > max(_MOST_SMALL_CHUNKS, self._bytes // _FEWEST_BYTES):
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event

    @property
    def has_too_many_lines(self) -> bool:
        """Whether the head being received has too many lines; checked before it is parsed."""
        return self.their_state is h11.IDLE and self.trailing_data[0].count(b"\n") > _MOST_HEADER_LINES
