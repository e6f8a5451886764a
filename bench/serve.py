"""charlm serve against the loop of charlm sample: what a request costs, and what clients share.

The server is a process of its own, as a person starts it; the clients are threads of this one, on
connections that stay open.
"""

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import charlm
from bench import machine
from charlm.config import SamplingConfig
from charlm.models.language_model import LanguageModel

PROSE = Path(__file__).parent.parent / "data" / "prose.txt"
PROMPT = "The apple and pear salad was the last thing to "
CLIENTS = 32
LENGTH = 200  # tokens of a completion
LONG = 2000  # of a stream by itself
ROUNDS = 5
NUMBERS = itertools.count(10_000)  # of requests: none has the prompt or the seed of another


def main(_: Sequence[str] = ()) -> None:
    """Print milliseconds and ratios, medians of rounds that are measured in turn."""
    torch.set_num_threads(1)  # as many as the server has for a model on two cores
    with tempfile.TemporaryDirectory() as folder:
        lm = charlm.train(
            PROSE,
            split_on="file",
            hidden=256,
            layers=2,
            steps=100,
            batch_size=8,
            name="bench",
            root=folder,
        )
        with served(folder) as port:
            clients = [Client(port) for _ in range(CLIENTS)]
            machine.table(("2 x 256 LSTM, characters", ""), [*_latency(lm, clients[0])])
            print()
            machine.table(
                ("tokens per second", "one client", f"{CLIENTS} clients", "ratio"),
                [*_throughput(clients)],
            )


def _latency(lm: LanguageModel, client: "Client") -> Iterator[tuple[str, str]]:
    """What one client waits for, and what its stream brings."""
    sampler = lm.sampler(1, SamplingConfig(max_tokens=LONG))

    def loop(length: int) -> tuple[float, int]:
        number = next(NUMBERS)
        config = SamplingConfig(max_tokens=length, seed=number)
        begun = time.perf_counter()
        (one,) = sampler.sample(1, config, prompt=f"{PROMPT}{number}", batch_size=1)
        return time.perf_counter() - begun, one.num_tokens

    alone, whole = in_turn([lambda: loop(1)[0], lambda: client.whole(1)[0]], 200)
    firsts = [client.first() for _ in range(200)]
    overhead = statistics.median(whole) - statistics.median(alone)
    late = statistics.quantiles(firsts, n=20)[-1]
    yield "a request of one token, ms", f"{statistics.median(whole) * 1e3:.2f}"
    yield "the same without the server, ms", f"{statistics.median(alone) * 1e3:.2f}"
    yield "overhead of a request, ms", f"{overhead * 1e3:.2f}"
    yield "first text of a stream, ms", f"{statistics.median(firsts) * 1e3:.2f}"
    yield "of twenty the slowest, ms", f"{late * 1e3:.2f}"
    runs = (lambda: _rate(loop(LONG)), lambda: _rate(client.stream(LONG)))
    loops, streams = map(statistics.median, in_turn(runs, 2 * ROUNDS))
    yield "charlm sample's loop, tokens per second", f"{loops:,.0f}"
    yield "one stream, tokens per second", f"{streams:,.0f}"
    yield "of the loop's speed", f"{streams / loops:.0%}"


def _throughput(clients: "list[Client]") -> Iterator[tuple[str, str, str, str]]:
    """Tokens per second of one client, and of all at once."""
    for what, ask in (("whole", Client.whole), ("streamed", Client.stream)):
        for prompt in (PROMPT, ""):

            def together(several: list[Client], ask: Any = ask, prompt: str = prompt) -> float:
                with concurrent.futures.ThreadPoolExecutor(len(several)) as pool:
                    begun = time.perf_counter()
                    found = list(pool.map(lambda one: ask(one, LENGTH, prompt)[1], several))
                    return sum(found) / (time.perf_counter() - begun)

            runs = (lambda: together(clients[:1]), lambda: together(clients))
            one, shared = map(statistics.median, in_turn(runs, 2 * ROUNDS))
            name = f"{what}, {len(prompt) + 5 if prompt else 0} characters in front"
            yield name, f"{one:,.0f}", f"{shared:,.0f}", f"{shared / one:.1f}"


def _rate(done: tuple[float, int]) -> float:
    """Tokens per second."""
    return done[1] / done[0]


def in_turn(runs: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """What each tells, taken in turn after a round that does not count."""
    for run in runs:
        run()
    rows = [[run() for run in runs] for _ in range(rounds)]
    return [list(column) for column in zip(*rows, strict=True)]


class Client:
    """A client with a connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def _ask(self, length: int, prompt: str, **more: Any) -> http.client.HTTPResponse:
        number = next(NUMBERS)
        asked = f"{prompt}{number}" if prompt else ""
        body = {"prompt": asked, "max_tokens": length, "seed": number, **more}
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/v1/completions", json.dumps(body), headers)
        return self._connection.getresponse()

    def whole(self, length: int, prompt: str = PROMPT) -> tuple[float, int]:
        """Seconds of a completion, and its tokens."""
        begun = time.perf_counter()
        found = json.loads(self._ask(length, prompt).read())
        return time.perf_counter() - begun, found["usage"]["completion_tokens"]

    def stream(self, length: int, prompt: str = PROMPT) -> tuple[float, int]:
        """Seconds of a stream to its end, and its tokens."""
        begun = time.perf_counter()
        counts = {"include_usage": True}
        data = self._ask(length, prompt, stream=True, stream_options=counts).read()
        seconds = time.perf_counter() - begun
        last = json.loads(data.split(b"\n\n")[-3].removeprefix(b"data: "))
        return seconds, last["usage"]["completion_tokens"]

    def first(self, prompt: str = PROMPT) -> float:
        """Seconds until the first text of a stream is there."""
        begun = time.perf_counter()
        response = self._ask(10, prompt, stream=True)
        assert response.readline().startswith(b"data: ")
        found = time.perf_counter() - begun
        response.read()
        return found


@contextlib.contextmanager
def served(root: str) -> Iterator[int]:
    """The port at which `charlm serve` serves the run."""
    command = (sys.executable, "-m", "charlm", "serve", "--model", "bench", "--port", "0")
    with subprocess.Popen([*command, "--runs", root], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("serving at"))
        try:
            yield int(line.partition(";")[0].rpartition(":")[2])
        finally:
            process.terminate()
            process.communicate()
