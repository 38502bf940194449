"""A line between a client and a server that can go dead, as a network does: it listens on TCP and forwards."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

_CHUNK = 65536


class Network:
    """The event loop that all lines share, on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lines: list[Line] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def line(self, target: Path) -> "Line":
        """A new line that leads to a Unix socket."""
        self._lines.append(Line(self, target))
        return self._lines[-1]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        for line in self._lines:
            line.close()
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # Transports close their sockets one turn after they were aborted.
        await asyncio.sleep(0)


class Line:
    """One TCP port that leads to a Unix socket. All methods may be called from any thread."""

    def __init__(self, network: Network, target: Path) -> None:
        self._network = network
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._server: asyncio.Server = network.run(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def black_hole(self) -> None:
        """Go on accepting, and forward nothing in either direction. What was sent meanwhile arrives at `heal`."""
        self._network.run(self._set(is_open=False))

    def heal(self) -> None:
        self._network.run(self._set(is_open=True))

    def cut(self) -> None:
        """Reset every connection."""
        self._network.run(self._reset())

    def close(self) -> None:
        self._network.run(self._stop())

    async def _set(self, *, is_open: bool) -> None:
        if is_open:
            self._is_open.set()
        else:
            self._is_open.clear()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _stop(self) -> None:
        self._server.close()
        await self._reset()
        self._is_open.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._is_open.wait()
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._is_open.wait()
                writer.write(chunk)
                await writer.drain()
        await self._is_open.wait()
        writer.close()
