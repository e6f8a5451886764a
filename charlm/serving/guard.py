"""What stands before every request: whom the server answers, and with which headers.

Three layers of ASGI: Guard outermost (Host, headers, counts), then CORS where it is asked for
(Starlette's, which answers preflights), then Key.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlm.serving.metrics import Metrics
from charlm.serving.problems import RequestError
from charlm.serving.settings import Settings

OPEN = ("/health",)  # what needs no key
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Refuses a foreign Host, adds headers, counts, and tells of each request that was answered.

    ``heard`` is called with method, path, status and seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        metrics: Metrics,
        heard: Callable[[str, str, int, float], None],
    ) -> None:
        self._app, self._settings = app, settings
        self._metrics, self._heard = metrics, heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        self._metrics.open += 1

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_missing(message)]
            await send(message)

        try:
            problem = self._refused(scope)
            await (self._app if problem is None else problem.response())(scope, receive, guarded)
        finally:
            self._metrics.open -= 1
            seconds = time.perf_counter() - begun
            path = scope.get("charlm.path", "other")
            if status:
                self._metrics.requests[path, status] += 1
                self._metrics.seconds.add(path, seconds)
            self._heard(scope["method"], scope["path"], status, seconds)

    def _refused(self, scope: Scope) -> RequestError | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if self._settings.answers_to(host):
            return None
        return RequestError(
            403,
            f"this server does not answer to the host {host!r:.80}, so that no foreign page can "
            f"reach it by a name of its own. To allow the name: {self._settings.allow}.",
            code="host_not_allowed",
        )


class Key:
    """Refuses requests without the key, where there is one."""

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: Iterable[str] = ()) -> None:
        self._app, self._settings = app, settings
        self._open = {*OPEN, *open_paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] not in self._open:
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if not self._settings.accepts(given[0].decode("latin-1") if given else ""):
                problem = RequestError(
                    401,
                    "this server needs its key: Authorization: Bearer KEY.",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _missing(message: Message) -> list[tuple[bytes, bytes]]:
    """The headers that an answer has yet to get."""
    there: dict[bytes, Any] = {name.lower(): value for name, value in message.get("headers", ())}
    policy = (b"content-security-policy", _NOTHING.encode())
    return [one for one in (*HEADERS, policy) if one[0] not in there]


def plain(text: str, status: int = 200) -> PlainTextResponse:
    """A text for a person."""
    return PlainTextResponse(text, status)
