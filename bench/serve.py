"""charlm serve against the loop of charlm sample: what a request costs, and what clients share.

The server is a process of its own, as a person starts it; the clients are threads of this one, on
connections that stay open.
"""

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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


def main(_: Sequence[str] = ()) -> None:
    """Print milliseconds and ratios, medians of rounds that are measured in turn."""
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
        assert isinstance(lm, LanguageModel)
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

    def loop(length: int) -> Callable[[], float]:
        def run() -> float:
            config = SamplingConfig(max_tokens=length, seed=1)
            begun = time.perf_counter()
            (one,) = sampler.sample(1, config, prompt=PROMPT, batch_size=1)  # type: ignore[arg-type]
            assert one.num_tokens == length
            return time.perf_counter() - begun

        return run

    alone, whole = in_turn([loop(1), lambda: client.whole(1)], 200)
    firsts = [client.first() for _ in range(200)]
    yield "a request of one token, ms", f"{statistics.median(whole) * 1e3:.2f}"
    yield "the same without the server, ms", f"{statistics.median(alone) * 1e3:.2f}"
    overhead = statistics.median(whole) - statistics.median(alone)
    yield "overhead of a request, ms", f"{overhead * 1e3:.2f}"
    yield "first text of a stream, ms", f"{statistics.median(firsts) * 1e3:.2f}"
    yield (
        "of a hundred the slowest but five, ms",
        f"{statistics.quantiles(firsts, n=20)[-1] * 1e3:.2f}",
    )
    loops, streams = in_turn([loop(LONG), lambda: client.stream(LONG)], ROUNDS)
    yield "charlm sample's loop, tokens per second", f"{LONG / statistics.median(loops):,.0f}"
    yield "one stream, tokens per second", f"{LONG / statistics.median(streams):,.0f}"
    share = statistics.median(loops) / statistics.median(streams)
    yield "of the loop's speed", f"{share:.0%}"


def _throughput(clients: "list[Client]") -> Iterator[tuple[str, str, str, str]]:
    """Tokens per second of one client, and of all at once."""
    for what, ask in (("whole", Client.whole), ("streamed", Client.stream)):
        for prompt in (PROMPT, ""):

            def together(several: list[Client], ask: Any = ask, prompt: str = prompt) -> float:
                threads = [
                    threading.Thread(target=ask, args=(one, LENGTH, prompt)) for one in several
                ]
                begun = time.perf_counter()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return time.perf_counter() - begun

            def one(together: Any = together) -> float:
                return together(clients[:1])  # type: ignore[no-any-return]

            def all_of_them(together: Any = together) -> float:
                return together(clients)  # type: ignore[no-any-return]

            single, shared = map(statistics.median, in_turn([one, all_of_them], 2 * ROUNDS))
            rates = LENGTH / single, CLIENTS * LENGTH / shared
            name = f"{what}, {len(prompt)} characters in front"
            yield name, f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[1] / rates[0]:.1f}"


def in_turn(runs: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """The seconds that each tells, taken in turn after a round that does not count."""
    for run in runs:
        run()
    rows = [[run() for run in runs] for _ in range(rounds)]
    return [list(column) for column in zip(*rows, strict=True)]


class Client:
    """A client with a connection that stays open."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def _ask(self, length: int, prompt: str, *, stream: bool) -> http.client.HTTPResponse:
        body = {"prompt": prompt, "max_tokens": length, "seed": 1, "stream": stream}
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/v1/completions", json.dumps(body), headers)
        return self._connection.getresponse()

    def whole(self, length: int, prompt: str = PROMPT) -> float:
        """Seconds of a completion."""
        begun = time.perf_counter()
        found = json.loads(self._ask(length, prompt, stream=False).read())
        assert found["usage"]["completion_tokens"] == length
        return time.perf_counter() - begun

    def stream(self, length: int, prompt: str = PROMPT) -> float:
        """Seconds of a stream to its end."""
        begun = time.perf_counter()
        data = self._ask(length, prompt, stream=True).read()
        assert data.endswith(b"data: [DONE]\n\n")
        return time.perf_counter() - begun

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
