"""The asyncio client with the blocking one's face, so that one contract test asks both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from greenchat.client import Push
from greenchat.client.aio import Client as AioClient
from lab.background import Background


class _Calls:
    """Coroutines of one thread, which one task awaits one after the other: a task stands for a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[tuple[Coroutine[Any, Any, Any], Future[Any]] | None] = asyncio.Queue()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        future: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (coroutine, future))
        return future.result()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, None)

    async def serve(self) -> None:
        while item := await self._queue.get():
            coroutine, future = item
            try:
                future.set_result(await coroutine)
            except Exception as error:
                future.set_exception(error)


class BlockingClient:
    """Run an ``aio.Client`` on a loop of its own; arguments and methods are those of the blocking client."""

    def __init__(
        self, host: str, port: int, *, on_push: Callable[[Push], object] | None = None, **named: Any
    ) -> None:
        self._aside = Background()
        self._threads = threading.local()
        self._pool = ThreadPoolExecutor(2)
        self._on_push = on_push

        async def call_back(push: Push) -> None:
            calls = _Calls(self._aside.loop)
            called = self._aside.loop.run_in_executor(self._pool, self._call_back, calls, push)
            await calls.serve()
            await called

        if on_push:
            named["on_push"] = call_back
        self._client = AioClient(host, port, **named)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._run(self._client.__aexit__(*error))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not inspect.iscoroutinefunction(method):
            return method
        return lambda *args, **named: self._run(method(*args, **named))

    def close(self) -> None:
        self._run(self._client.close())

    def shut_down(self) -> None:
        """Close the client, of which no task is left then, and end the loop."""
        self.close()
        left = self._aside.run(_tasks())
        self._pool.shutdown()
        self._aside.close()
        assert left == []

    def pushes(self, timeout: float | None = None) -> Iterator[Push]:
        async def begin() -> Any:
            return self._client.pushes(timeout)

        pushes = self._run(begin())
        while (push := self._run(anext(pushes, None))) is not None:
            yield push

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        calls = getattr(self._threads, "calls", None)
        if calls is None:
            calls = self._threads.calls = _Calls(self._aside.loop)
            asyncio.run_coroutine_threadsafe(calls.serve(), self._aside.loop)
        return calls.run(coroutine)

    def _call_back(self, calls: _Calls, push: Push) -> None:
        self._threads.calls = calls
        try:
            assert self._on_push
            self._on_push(push)
        finally:
            calls.end()


async def _tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("greenchat")]
