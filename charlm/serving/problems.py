"""What goes wrong with a request, as the client is told: OpenAI's form of an error."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from charlm.errors import CharlmError, FieldError, TextError, UsageError
from charlm.serving.json_form import to_json

READ = "charlm.read"  # in a scope: whether its body has been read
_PATIENCE = 2.0  # seconds for the rest of a body that nobody wants
_MOST_DISCARDED = 2**24  # bytes of it
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}


class RequestError(Exception):
    """A request is not answered: a status, a sentence for a person, a code for a program."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: CharlmError) -> "RequestError":
        """The same as charlm says it: what was asked for cannot be, or it failed."""
        if isinstance(error, FieldError):
            return cls(400, str(error), param=error.field)
        status = 400 if isinstance(error, (UsageError, TextError)) else 500
        return cls(status, str(error))

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": told}

    def response(self) -> Response:
        """The answer; the connection ends with it, so that nothing is read that is not wanted."""
        return _Refusal(
            to_json(self.to_json()),
            self.status,
            {**self.headers, "connection": "close"},
            "application/json",
        )


class _Refusal(Response):
    """An answer to a request whose body may be on its way still.

    A client that writes does not look for an answer, and a connection that is closed under it takes
    the answer with it: so for a moment what comes is read, and thrown away.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        if not scope.get(READ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await _discard(receive)
        await super().__call__(scope, receive, send)


async def _discard(receive: Receive) -> None:
    """Read to the end of a body, or to as much as is waited for."""
    size = 0
    while size < _MOST_DISCARDED:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return
