"""charlm serve."""

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli import errors, options
from charlm.cli.input.declared import Options, option
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.output.terminal import say, say_lines, say_loading
from charlm.display.safe_text import safe_text
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.serving.models import Served
    from charlm.serving.settings import Settings

RULES: Rules = (OneOf("--api-key", "--no-key"),)


class Models(Options, heading=options.MODEL):
    """What is served."""

    model: list[str] | None = options.SEVERAL_SERVED
    root: Path = options.ROOT
    alone: bool = options.ALONE


class Address(Options, heading="Network"):
    """Where it listens and whom it answers."""

    host: str = option("Address to listen at.", "127.0.0.1")
    port: int = option("Port to listen at; 0 takes a free one.", 8080, least=0)
    api_key: str | None = option("Key that requests must have.", envvar="CHARLM_API_KEY")
    no_key: bool = option("Let anybody in who reaches another address than loopback.", False)
    allowed_hosts: list[str] | None = option(
        "Name by which the server may be called, beside localhost; several may be given.",
        metavar="NAME",
    )
    cors: list[str] | None = option(
        "Origin whose pages may call the server, such as https://example.org.", metavar="ORIGIN"
    )


class Most(Options, heading="Limits"):
    """How much it takes on."""

    max_prompt: int = option("Characters, or ids, of all texts of a request.", 20_000, least=1)
    max_tokens: int = option("Tokens of a completion.", 10_000, least=1)
    max_n: int = option("Choices for each prompt.", 64, least=1)
    max_body: int = option("Bytes of a request.", 2**20, least=1)
    max_batch: int = option("Sequences drawn side by side.", 128, least=1)
    max_queue: int = option("Requests that wait for a model.", 256, least=1)
    timeout: int = option("Seconds of a request.", 120, least=1)
    threads: int | None = option("Threads of a model.  [default: all cores but one]", least=1)


def serve_cli(
    *,
    models: Models,
    address: Address,
    most: Most,
    log: bool = option("Print a line per request.", False, heading=options.OUTPUT),
) -> None:
    """Serve models over HTTP, as OpenAI's completions and more.

    It listens on this machine alone. At another --host it needs a key. Needs starlette and
    uvicorn: pip install "charlm[serve]".

    \b
    charlm serve --model prose
    charlm serve --model prose --model words --port 8000
    CHARLM_API_KEY=secret charlm serve --host 0.0.0.0 --allowed-hosts lab.example
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UsageError(
            "charlm serve needs starlette and uvicorn, which are not installed: "
            'pip install "charlm[serve]"'
        ) from None
    from charlm.serving.settings import Limits, Settings

    settings = Settings(
        host=address.host,
        port=address.port,
        key=address.api_key,
        open=address.no_key,
        hosts=tuple(address.allowed_hosts or ()),
        origins=tuple(address.cors or ()),
        threads=most.threads or 0,
        allow="start it with --allowed-hosts NAME",
        limits=Limits(
            body=most.max_body,
            prompt=most.max_prompt,
            max_tokens=most.max_tokens,
            n=most.max_n,
            lanes=most.max_batch,
            waiting=most.max_queue,
            request_seconds=float(most.timeout),
        ),
    )
    say_loading()
    from charlm.serving.models import load_models
    from charlm.serving.server import Server

    loaded = load_models(models.model or (), models.root, alone=models.alone)
    server = Server(
        loaded, settings, heard=_say_request if log else lambda *_: None, fault=_say_fault
    )
    for served in server.app.catalogue.served.values():
        say(_about(served))
    _warn(settings)
    server.run(lambda: say(f"serving at {server.url}; Ctrl-C ends it"))


def _about(served: "Served") -> str:
    return f"model: {served.name} (step {served.step:,}), {served.kind}"


def _warn(settings: "Settings") -> None:
    """Say what is open to others."""
    if settings.is_loopback:
        return
    who = "anybody who reaches it can use the models" if settings.key is None else "it asks a key"
    say(f"mind: {settings.host} is open to the network, unencrypted; {who}")
    if settings.is_wildcard and not settings.hosts:
        say(
            "it answers only requests to localhost: name the host or address by which it is "
            "called with --allowed-hosts"
        )


def _say_request(method: str, path: str, status: int, seconds: float) -> None:
    say(f"{method} {path[:200]} {status or '-'} {seconds * 1e3:.1f} ms")


def _say_fault(error: BaseException) -> None:
    say(f"charlm: unexpected error: {type(error).__name__}: {error}")
    if errors.debug:
        say_lines(safe_text("".join(traceback.format_exception(error)), keep="\n"))
    sys.stderr.flush()
