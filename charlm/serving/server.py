"""A server as it runs: its socket, its connections, its signals and its end."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from charlm.errors import UsageError
from charlm.models.load import AnyModel
from charlm.serving.app import App
from charlm.serving.json_form import to_json
from charlm.serving.models import Catalogue
from charlm.serving.problems import RequestError
from charlm.serving.sending import ABORT
from charlm.serving.settings import Limits, Settings

_BACKLOG = 512
_LONGEST_HEAD = 2**15  # bytes of a request line and its headers
_IDLE_SECONDS = 30  # that a connection waits for its next request
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


def protocol(limits: Limits) -> type[H11Protocol]:
    """A connection that closes if a request's head does not come in time, or if there are many."""

    class Connection(H11Protocol):
        """One client's connection."""

        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Begin to wait for a head."""
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            """Take in a part of a head or of a body."""
            if self._patience is None and (self.cycle is None or self.cycle.response_complete):
                self._wait()
            super().data_received(data)

        def handle_events(self) -> None:
            """See what has come: once it is a head, there is no more waiting for it."""
            before = self.cycle
            super().handle_events()
            if self.cycle is not before:
                self._wait_no_more()
                self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]

        def on_response_complete(self) -> None:
            """See to it that a client which takes no more of an answer does not stay for ever."""
            super().on_response_complete()
            if self.transport.is_closing() and self.transport.get_write_buffer_size():
                self.loop.call_later(_IDLE_SECONDS, self.transport.abort)

        def timeout_keep_alive_handler(self) -> None:
            """Close a connection that has brought no further request."""
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            super().timeout_keep_alive_handler()

        def connection_lost(self, exc: Exception | None) -> None:
            """Wait no more."""
            self._wait_no_more()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Say that what came is no request, in the form of every error."""
            self._wait_no_more()
            data = to_json(RequestError(400, msg).to_json())
            head = (
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
                f"content-length: {len(data)}\r\nx-content-type-options: nosniff\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + data)
            self.transport.close()

        def _wait(self) -> None:
            self._patience = self.loop.call_later(limits.head_seconds, self._too_slow)

        def _wait_no_more(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

        def _too_slow(self) -> None:
            self._patience = None
            self.transport.abort()

    return Connection


class Server:
    """Models served at an address, which is bound at once: ``url`` says where.

    Raises UsageError if the address cannot be had.
    """

    def __init__(
        self,
        models: Sequence[AnyModel],
        settings: Settings,
        *,
        heard: Callable[[str, str, int, float], None] = lambda *_: None,
        fault: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        catalogue = Catalogue(models, settings.limits, threads=settings.threads)
        self.app = App(catalogue, settings, heard=heard, fault=fault)
        self._socket = _bound(settings.host, settings.port)
        host, port = self._socket.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        config = uvicorn.Config(
            self.app.asgi(),
            loop="asyncio",
            http=protocol(settings.limits),
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=settings.limits.grace_seconds,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
        )
        self._server = _Uvicorn(config)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until a signal comes, or ``stop``; ``ready`` is called once it answers."""
        try:
            asyncio.run(self._run(ready))
        except SystemExit:
            raise (self.app.failure or RuntimeError("the server could not begin.")) from None
        finally:
            self._socket.close()

    async def _run(self, ready: Callable[[], None]) -> None:
        serving = asyncio.ensure_future(self._server.serve([self._socket]))
        while not (self._server.started or serving.done()):
            await asyncio.sleep(0.005)
        if self._server.started:
            ready()
        await serving

    def stop(self) -> None:
        """Let requests that run come to their end, and end."""
        self._server.should_exit = True


@contextlib.contextmanager
def running(models: Sequence[AnyModel], settings: Settings, **how: Any) -> Iterator[Server]:
    """A server in a thread of its own, for as long as the block lasts."""
    server = Server(models, settings, **how)
    is_ready = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run(is_ready.set)
        except BaseException as error:
            failed.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=run, name="server", daemon=True)
    thread.start()
    is_ready.wait()
    try:
        if failed:
            raise failed[0]
        yield server
    finally:
        server.stop()
        thread.join()


class _Uvicorn(uvicorn.Server):
    """Ends on HUP, too, and leaves ignored signals alone (nohup); a second one ends at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hold the signals while requests are served, and raise again the one that came."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        there = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        held = [one for one in there if signal.getsignal(one) is not signal.SIG_IGN]
        before = {one: signal.signal(one, self.handle_exit) for one in held}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
        for one in self._captured_signals[:1]:
            signal.raise_signal(one)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Note a signal."""
        del frame
        self.force_exit = self.should_exit
        self._captured_signals.append(sig)
        self.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound. Raises UsageError if it cannot be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        # Of TCP by name: of others asyncio does not know that small packets shall not wait.
        made = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":  # elsewhere it lets another program take the port
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(address)
            made.listen(_BACKLOG)
        except OSError:
            made.close()
            raise
        return made
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}. Another `port` may "
            "be free; 0 takes any."
        ) from None
