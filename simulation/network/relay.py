"""simulation/network: counts what passes between one site and its hub: a relay of bytes on the loopback address."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType

_CHUNK = 2**16
_START_SECONDS = 10.0


class Relay:
    """Passes connections on to a port of this machine, and counts their bytes; a context manager.

    Attributes
    ----------
    port
        Where it listens.
    up, down
        Bytes to the hub and bytes from it, those of TLS included and those of TCP not.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.up = 0
        self.down = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Relay:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START_SECONDS)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._open.add(task)
        try:
            # A cancelled connection is one that the relay's own end has cut.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target)
                try:
                    await asyncio.gather(
                        self._pass(reader, inner_writer, up=True), self._pass(inner_reader, writer, up=False)
                    )
                finally:
                    inner_writer.close()
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(_CHUNK):
            if up:
                self.up += len(data)
            else:
                self.down += len(data)
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
