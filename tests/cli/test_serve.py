"""charlm serve as a process: what it says, whom it lets in, and how it ends."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import bad
from tests.support.serving import GOLDEN, JSON

SERVE = (sys.executable, "-m", "charlm", "serve", "--port", "0", "--runs", str(GOLDEN))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
ENVIRONMENT.pop("CHARLM_API_KEY", None)


class Served:
    """A running program: its lines so far, and its port."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("serving at"):
                break
        self.port = int(self.lines[-1].partition(";")[0].rpartition(":")[2])

    @contextlib.contextmanager
    def post(
        self, body: Any, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Ask for a completion."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {**JSON, "Host": "localhost", **(headers or {})}
        with contextlib.closing(connection):
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            with connection.getresponse() as response:
                yield response

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """How it ends by a signal, and what it says at last."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


@contextlib.contextmanager
def started(*options: str, **environment: str) -> Iterator[Served]:
    """The program once it listens."""
    with subprocess.Popen(
        [*SERVE, *options],
        env={**ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Served(process)
        finally:
            process.kill()


@pytest.mark.slow
def test_it_says_what_it_serves_and_where() -> None:
    """Two models by name; a line for each request with --log; 143 by SIGTERM, soon."""
    with started("--model", "words", "--model", "gaps", "--log") as served:
        assert served.lines[:2] == [
            "model: words (step 40), language-model",
            "model: gaps (step 40), cloze",
        ]
        assert served.lines[2] == f"serving at http://127.0.0.1:{served.port}; Ctrl-C ends it"
        with served.post({"prompt": "A", "max_tokens": 3, "model": "words"}) as response:
            assert response.status == 200
            response.read()
        with served.post({"prompt": "A", "model": "\x1b]0;x\a"}) as response:
            assert response.status == 404
            response.read()
        begun = time.monotonic()
        code, err = served.end()
        assert time.monotonic() - begun < 5
        assert code == 143
        first, second, last = err.splitlines()
        assert first.startswith("POST /v1/completions 200 ")
        assert second.startswith("POST /v1/completions 404 ")
        assert last == "charlm: interrupted"


@pytest.mark.slow
def test_a_signal_lets_requests_come_to_their_end() -> None:
    """A stream that runs is told whole; no new request is taken; then the program ends."""
    with started("--model", "characters") as served:
        body = {"prompt": "The ", "max_tokens": 1500, "n": 24, "seed": 1, "stream": True}
        with served.post({**body, "stream": False}) as response:
            expected = [choice["text"] for choice in json.loads(response.read())["choices"]]
        ended: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: ended.append(served.end(signal.SIGINT)))
        with served.post(body) as response:
            begun = response.readline().decode()
            thread.start()
            events = begun + response.read().decode()
        texts = [""] * 24
        for event in events.split("\n\n")[:-2]:
            for choice in json.loads(event.removeprefix("data: "))["choices"]:
                texts[choice["index"]] += choice["text"]
        assert events.endswith("data: [DONE]\n\n")
        assert texts == expected
        thread.join()
        assert ended[0][0] == 130
        with pytest.raises(ConnectionError), served.post(body):
            pass


@pytest.mark.slow
def test_another_address_needs_a_key() -> None:
    """It is asked of each request, and what is open is said."""
    with started("-m", "characters", "--host", "0.0.0.0", CHARLM_API_KEY="sesame") as served:
        assert served.lines[1].endswith("is open to the network, unencrypted; it asks a key")
        assert served.lines[2].endswith("by which it is called with --allowed-hosts")
        body = {"prompt": "A", "max_tokens": 1}
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer sesame"}, 200),
            ({"Authorization": "Bearer sesame", "Host": "evil.example"}, 403),
        ):
            with served.post(body, headers) as response:
                assert response.status == status
                told = response.read().decode()
        assert "start it with --allowed-hosts NAME" in told
        assert served.end(signal.SIGHUP)[0] == 129


def test_what_is_not_safe_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By options as they are typed."""
    monkeypatch.delenv("CHARLM_API_KEY", raising=False)
    where = ("serve", "--runs", str(GOLDEN), "-m", "characters")
    assert bad(2, *where, "--host", "0.0.0.0") == (
        "--host 0.0.0.0 opens the server to the network: give --api-key, or say --no-key."
    )
    assert "give --api-key or --no-key, not both" in bad(2, *where, "--api-key", "x", "--no-key")
    assert "--cors must be an origin" in bad(2, *where, "--cors", "*")
    assert "--port must be" in bad(2, *where, "--port", "70000")
    assert "there is no model 'x'" in bad(4, "serve", "--runs", str(GOLDEN), "-m", "x")
    assert "two models have the same name" in bad(2, *where, "-m", "characters")


def test_a_damaged_model_is_not_served(tmp_path: Path) -> None:
    """It is named, and nothing listens."""
    shutil.copytree(GOLDEN / "words", tmp_path / "words")
    for file in (tmp_path / "words").glob("step-*/model.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    assert "model.safetensors" in bad(4, "serve", "--runs", str(tmp_path), "-m", "words")


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without starlette or uvicorn a sentence says what to install."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert bad(2, "serve", "-m", "x") == (
        "charlm serve needs starlette and uvicorn, which are not installed: "
        'pip install "charlm[serve]"'
    )
