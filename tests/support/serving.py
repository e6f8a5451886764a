"""A server of the small models of tests/golden, and clients that speak to it plainly."""

import contextlib
import dataclasses
import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from charlm.models.language_model import LanguageModel
from charlm.models.load import load
from charlm.serving.models import load_models
from charlm.serving.server import Server, running
from charlm.serving.settings import Settings
from charlm.tokenizers.base import EOS_ID

GOLDEN = Path(__file__).parents[1] / "golden" / "finished"
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        """The body as JSON, strictly."""

        def refuse(name: str) -> None:
            raise AssertionError(name)

        return json.loads(self.data, parse_constant=refuse)

    @property
    def message(self) -> str:
        """What is wrong, of an error in OpenAI's form."""
        error = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert self.status >= 400
        return str(error["message"])

    @property
    def events(self) -> list[Any]:
        """Server-sent events: the JSON of each, the mark of the end left out."""
        assert self.headers["content-type"].startswith("text/event-stream")
        parts = self.data.decode().split("\n\n")
        assert parts[-2:] == ["data: [DONE]", ""]
        return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def endless() -> LanguageModel:
    """The model of characters, but that its sequences never come to an end by themselves."""
    found = load(GOLDEN / "characters", task="language-model").checkpoint
    weights = {name: array.copy() for name, array in found.weights.items()}
    weights["softmax.bias"][EOS_ID] = -1e4
    return LanguageModel(dataclasses.replace(found, weights=weights, partner=None))


@contextlib.contextmanager
def serving(
    *names: str, root: Path = GOLDEN, models: Sequence[Any] | None = None, **settings: Any
) -> Iterator[Server]:
    """Some of the models, or given ones, served at a port that was free."""
    faults: list[BaseException] = []
    found = load_models(names, root) if models is None else models
    with running(found, Settings(**{"port": 0, **settings}), fault=faults.append) as server:
        yield server
    assert not faults, faults


def connected(server: Server, timeout: float = 30.0) -> http.client.HTTPConnection:
    """A connection."""
    parts = urlsplit(server.url)
    return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)


def raw(server: Server, timeout: float = 30.0) -> socket.socket:
    """A connection for bytes."""
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=timeout)


def ask(
    server: Server,
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
) -> Answer:
    """Ask once: POST where there is a body, JSON or bytes as they are, GET otherwise."""
    connection = connected(server)
    sent = json.dumps(body).encode() if data is None and body is not None else data
    connection.request(
        method or ("GET" if sent is None else "POST"),
        path,
        body=sent,
        headers={**(JSON if sent is not None else {}), **(headers or {})},
    )
    with contextlib.closing(connection), connection.getresponse() as response:
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, response.read())


def complete(server: Server, **body: Any) -> Any:
    """A completion that has to work."""
    answer = ask(server, "/v1/completions", body)
    assert answer.status == 200, answer.data
    return answer.json
