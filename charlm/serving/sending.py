"""How answers are sent: JSON, server-sent events, and work that ends when its client leaves."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from charlm.serving.json_form import to_json
from charlm.serving.problems import RequestError

ABORT = "charlm.abort"  # in a scope: what cuts the connection
DONE = b"data: [DONE]\n\n"
_SMALL = 256  # tokens, or entries of JSON: a millisecond or so
_EVENTS = {"x-accel-buffering": "no"}
_LAST_SECONDS = 1.0  # for the last event of a stream that is broken off

P = ParamSpec("P")
T = TypeVar("T")


class ClientGone(Exception):  # noqa: N818 - not an error of anybody's
    """The client has closed the connection."""


class Events(Response):
    """Server-sent events, as long as the client listens and until a time (perf_counter).

    ``end`` is called at their end, however that comes; ``broken`` says what is told of an error.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[bytes],
        end: Callable[[], Awaitable[None]],
        broken: Callable[[BaseException], RequestError],
        until: float,
    ) -> None:
        super().__init__(headers=_EVENTS)
        del self.headers["content-length"]
        self._events, self._end, self._broken, self._until = events, end, broken, until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. Where nobody takes them in time the connection is cut."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with asyncio.timeout(self._until - time.perf_counter()):
                await while_connected(receive, self._send(send))
        except ClientGone as error:
            self._broken(error)
        except Exception as error:
            await self._break_off(scope, send, self._broken(error))
        finally:
            await self._end()

    async def _send(self, send: Send) -> None:
        async for one in self._events:
            await send({"type": "http.response.body", "body": one, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _break_off(self, scope: Scope, send: Send, problem: RequestError) -> None:
        """Tell what is wrong, if anybody takes it, and cut the connection otherwise."""
        last = event(problem.to_json())
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await send({"type": "http.response.body", "body": last, "more_body": False})
        except TimeoutError:
            scope.get(ABORT, lambda: None)()


async def beside(size: int, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What a function gives, called beside the event loop if there is much to do.

    Whoever is answered at the same time waits for nothing that takes long.
    """
    if size <= _SMALL:
        return function(*arguments, **named)
    return await asyncio.to_thread(function, *arguments, **named)


def answer(value: object) -> Response:
    """An answer in JSON."""
    return Response(to_json(value), media_type="application/json")


def event(value: object) -> bytes:
    """A server-sent event."""
    return b"data: " + to_json(value) + b"\n\n"


async def first_of(parts: AsyncGenerator[T]) -> T:
    """The first part of several."""
    return await anext(parts)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What comes of some work. Raises ClientGone if the client leaves before, and ends it then."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
