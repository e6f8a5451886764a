"""The application: which path is answered by what, and how an answer is sent."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route

import charlm
from charlm.errors import CharlmError
from charlm.models.cloze_model import ClozeModel
from charlm.serving import page
from charlm.serving.api import completions, tokens
from charlm.serving.api.activity import GATES, UNITS
from charlm.serving.api.copied import COPIED
from charlm.serving.api.curves import CURVES
from charlm.serving.api.openapi import description
from charlm.serving.api.questions import QUESTIONS, Question
from charlm.serving.api.schema import Body
from charlm.serving.guard import Guard, Key
from charlm.serving.json_form import JsonError, from_json
from charlm.serving.metrics import Metrics
from charlm.serving.models import Catalogue, Served
from charlm.serving.problems import READ, RequestError
from charlm.serving.sending import (
    DONE,
    ClientGone,
    Events,
    answer,
    beside,
    event,
    first_of,
    while_connected,
)
from charlm.serving.settings import Settings

_PATH = "charlm.path"  # in a scope: the route, for counts
_GONE = 499  # the client has left, so nobody sees this status

Handler = Callable[[Request], Awaitable[Response]]


class App:
    """Answers requests with the models of a catalogue.

    ``heard`` is called for each request with method, path, status and seconds; ``fault`` with an
    error that nobody expected.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        settings: Settings,
        *,
        heard: Callable[[str, str, int, float], None] = lambda *_: None,
        fault: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.catalogue, self.settings = catalogue, settings
        self.metrics = Metrics()
        self.failure: Exception | None = None  # to begin
        self._fault = fault
        self._heard = heard
        self._completion = completions.body(settings.limits)
        self._bodies: dict[str, Body] = {}

    def asgi(self) -> Starlette:
        """The same as Starlette serves it; workers live from its startup to its shutdown."""
        files = page.assets()
        own = self._routes()
        reads = {
            "/health": "Whether the server answers, and with which models.",
            "/metrics": "Counts for Prometheus.",
            "/openapi.json": "This description.",
            "/v1/models": "The models.",
            "/v1/models/{name}": "One of them.",
            "/tokenizer_info": "About the tokenizer of a model.",
        }
        described = description(
            charlm.__version__, self._bodies, reads, has_key=self.settings.key is not None
        )

        async def openapi(_: Request) -> Response:
            return answer(described)

        page_routes = page.routes(files)
        routes: list[BaseRoute] = [
            *own,
            self._route("/health", self._health),
            self._route("/metrics", self._metrics_text),
            self._route("/openapi.json", openapi),
            Mount("/models/{served}", routes=own),
            *page_routes,
        ]
        layers = [Middleware(Guard, self.settings, self.metrics, self._heard)]
        if self.settings.origins:
            cors: Any = CORSMiddleware
            layers.append(
                Middleware(
                    cors,
                    allow_origins=list(self.settings.origins),
                    allow_methods=["GET", "POST"],
                    allow_headers=["authorization", "content-type"],
                )
            )
        open_paths = ["/", *(f"/page/{name}" for name in files)]
        layers.append(Middleware(Key, self.settings, open_paths))
        return Starlette(
            routes=routes,
            middleware=layers,
            exception_handlers={HTTPException: _unrouted},  # type: ignore[dict-item]
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.catalogue.start()
        try:
            try:
                await self.catalogue.warm_up()
            except Exception as error:
                self.failure = error
                raise
            yield
        finally:
            await asyncio.to_thread(self.catalogue.stop)

    def _routes(self) -> list[BaseRoute]:
        """What is there for every model, and again below /models/NAME for that one."""
        found: list[BaseRoute] = [
            self._route("/v1/models", self._models),
            self._route("/v1/models/{name}", self._model),
            self._posted("/v1/completions", self._completion, self._complete),
        ]
        found += [self._question(one) for one in (*QUESTIONS, COPIED, GATES, UNITS, CURVES)]
        for root in ("", "/v1"):
            found += [
                self._route(f"{root}/tokenizer_info", self._tokenizer_info),
                self._posted(f"{root}/tokenize", tokens.TOKENIZE, self._tokenize),
                self._posted(f"{root}/detokenize", tokens.DETOKENIZE, self._detokenize),
            ]
        return found

    def _route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        async def endpoint(request: Request) -> Response:
            request.scope[_PATH] = path
            return await self._answered(handler, request)

        return Route(path, endpoint, methods=[method])

    def _posted(
        self,
        path: str,
        body: Body,
        handler: Callable[[Request, Served, dict[str, Any]], Awaitable[Response]],
    ) -> Route:
        """What takes a body, which names the model."""
        self._bodies[path] = body

        async def posted(request: Request) -> Response:
            given = body.read(await self._body(request))
            size, limit = body.size(given), self.settings.limits.prompt
            if size > limit:
                raise RequestError(
                    400,
                    f"the texts have {size:,} characters or ids in all, and {limit:,} are taken.",
                    code="context_length_exceeded",
                )
            return await handler(request, self._served(request, given["model"]), given)

        return self._route(path, posted, "POST")

    def _question(self, question: Question) -> Route:
        limits = self.settings.limits
        body = question.body(limits)

        async def asked(request: Request, served: Served, given: dict[str, Any]) -> Response:
            question.check(served, given)
            found = await while_connected(
                request.receive,
                served.call(
                    (question.name, question.alike(given)),
                    given,
                    lambda several: question.answer(served, several),
                    body.size(given),
                ),
            )
            return await beside(body.size(given), answer, {"model": served.name, **found})

        return self._posted(f"/v1/{question.name}", body, asked)

    async def _answered(self, handler: Handler, request: Request) -> Response:
        """What a handler answers, or what is wrong."""
        try:
            async with asyncio.timeout(self.settings.limits.request_seconds):
                return await handler(request)
        except Exception as error:
            return self._told(error).response()

    def _told(self, error: BaseException) -> RequestError:
        """What a client is told of an error; one that nobody expected is told to the server."""
        if isinstance(error, RequestError):
            return error
        if isinstance(error, CharlmError):
            return RequestError.of(error)
        if isinstance(error, TimeoutError):
            seconds = self.settings.limits.request_seconds
            return RequestError(
                504, f"not done within {seconds:g} s: ask for less.", code="timeout"
            )
        if isinstance(error, ClientGone):
            self.metrics.left += 1
            return RequestError(_GONE, "the client has left.")
        self._fault(error)
        return RequestError(500, "something went wrong here: the server's own messages say what.")

    async def _body(self, request: Request) -> Any:
        """The JSON of a request. Raises RequestError for anything else, and for too much."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError(415, "send JSON, with the header Content-Type: application/json.")
        limits = self.settings.limits
        too_large = RequestError(413, f"the body has more than {limits.body:,} bytes.")
        with contextlib.suppress(ValueError):
            if int(request.headers.get("content-length", "0")) > limits.body:
                raise too_large
        data = bytearray()
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    data += message.get("body", b"")
                    if len(data) > limits.body:
                        raise too_large
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            request.scope[READ] = True  # as much as there will be
            seconds = limits.body_seconds
            raise RequestError(408, f"the body did not come within {seconds:g} s.") from None
        request.scope[READ] = True
        try:
            return from_json(bytes(data))
        except JsonError as error:
            raise RequestError(400, str(error), code="invalid_json") from None

    def _served(self, request: Request, name: str | None) -> Served:
        """The model of a request: that of its path, or that which its body names."""
        of_path = request.path_params.get("served")
        if name is not None and of_path not in (None, name):
            raise RequestError(
                400, f"the path is that of the model {of_path!r:.80}.", param="model"
            )
        return self.catalogue.get(name or of_path)

    # What is answered

    async def _health(self, _: Request) -> Response:
        return answer(
            {
                "status": "ok",
                "version": charlm.__version__,
                "models": list(self.catalogue.served),
            }
        )

    async def _metrics_text(self, _: Request) -> Response:
        return Response(
            self.metrics.text(self.catalogue), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    async def _models(self, request: Request) -> Response:
        of_path = request.path_params.get("served")
        found = (
            list(self.catalogue.served.values())
            if of_path is None
            else [self.catalogue.get(of_path)]
        )
        return answer({"object": "list", "data": [one.to_json() for one in found]})

    async def _model(self, request: Request) -> Response:
        return answer(self.catalogue.get(request.path_params["name"]).to_json())

    async def _tokenizer_info(self, request: Request) -> Response:
        name = request.query_params.get("model")
        return answer(tokens.info(self._served(request, name)))

    async def _tokenize(self, _: Request, served: Served, given: dict[str, Any]) -> Response:
        return answer(tokens.tokenized(served, given, self.settings.limits))

    async def _detokenize(self, _: Request, served: Served, given: dict[str, Any]) -> Response:
        return answer(tokens.detokenized(served, given))

    async def _complete(self, request: Request, served: Served, given: dict[str, Any]) -> Response:
        begun = time.perf_counter()
        completions.check_suited(served, given)
        if isinstance(served.model, ClozeModel):
            filled = await while_connected(request.receive, completions.filled(served, given))
            return answer(filled)
        asked = await completions.Asked.of(served, given, self.settings.limits)
        made = completions.Completion(asked)
        if not given["stream"]:
            whole = await while_connected(request.receive, made.whole())
            self.metrics.count_tokens(served.name, asked.num_prompt_tokens, made.num_tokens)
            return await beside(made.num_tokens + made.num_echoed, answer, whole)
        parts = made.parts()
        # A request that is refused is told so by its status.
        first = await while_connected(request.receive, first_of(parts))
        self.metrics.first.add(served.name, time.perf_counter() - begun)

        async def events() -> AsyncIterator[bytes]:
            yield event(first)
            told = 0
            async for part in parts:
                fresh, told = made.num_tokens - told, made.num_tokens
                yield await beside(fresh, event, part)
            yield DONE

        async def end() -> None:
            await parts.aclose()
            self.metrics.count_tokens(served.name, asked.num_prompt_tokens, made.num_tokens)

        return Events(events(), end, self._told, begun + self.settings.limits.request_seconds)


async def _unrouted(request: Request, error: HTTPException) -> Response:
    """There is no such path, or it is not to be called so."""
    path = f"{request.method} {request.url.path!r:.80}"
    told = "is not answered here" if error.status_code == 405 else "is nothing here"
    problem = RequestError(
        error.status_code,
        f"{path} {told}: /openapi.json says what is.",
        code="unknown_url",
        headers=error.headers,
    )
    return problem.response()
