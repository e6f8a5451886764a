"""Laws of a server among bad clients: nothing that they send stops it, or harms another."""

import concurrent.futures
import contextlib
import gc
import itertools
import json
import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.serving.server import Server
from charlm.serving.settings import Limits
from tests.support.matrix import Tally
from tests.support.serving import (
    GOLDEN,
    JSON,
    Answer,
    ask,
    complete,
    connected,
    endless,
    raw,
    serving,
)

NAMES = ("characters", "words", "pieces", "gaps", "classifier", "labels", "translator")
GOOD: dict[str, Any] = {
    "/v1/completions": {"prompt": "The ", "max_tokens": 3, "seed": 1, "n": 1, "stop": ["x"]},
    "/v1/score": {"texts": ["a pear"], "context": "", "per_token": True},
    "/v1/next": {"prefix": "a", "top": 3},
    "/v1/fill": {"model": "gaps", "texts": ["a [?] pear"], "top": 2},
    "/v1/classify": {"model": "classifier", "texts": "a", "top": 2},
    "/v1/translate": {"model": "translator", "sources": ["one"], "max_tokens": 4},
    "/tokenize": {"prompt": "a pear"},
    "/detokenize": {"tokens": [2, 3]},
}


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    """Several kinds of models."""
    with serving(*NAMES) as found:
        yield found


# V1


def bodies(rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Endpoints and bodies without end: of each kind of damage in turn."""
    values = (
        *(None, True, -1, 0, 1.5, 10**30, -(10**30), "", "x" * 30_000, [], {}, [[]], [None], [{}]),
        *([[[1]]], ["a", 1], [1, "a"], [-1], [2**63], {"a": {}}, "\ud800", ["\udc00"], "\0"),
    )
    paths = list(GOOD)
    for path in itertools.cycle(paths):
        good = GOOD[path]
        text = json.dumps(good)
        name = rng.choice([*good, "unknown", "model"])
        changed = {**good, name: rng.choice(values)}
        cut = rng.randrange(len(text))
        noise = bytearray(text.encode())
        noise[cut] = rng.randrange(256)
        number = rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "1e-999", "0x1"])
        yield path, json.dumps(changed).encode()
        yield path, text[:cut].encode()
        yield path, bytes(noise)
        yield path, text.replace("}", f', "{name}": {number}' + "}", 1).encode()
        yield path, json.dumps({**good, "": 0, "\u202e": 1}).encode()
        deep = rng.choice([40, 900, 100_000])
        yield path, b"[" * deep + b"]" * (deep if rng.random() < 0.5 else 0)
        yield path, b'{"prompt": ' + b'{"a": ' * deep + b"1" + b"}" * (deep + 1)
        yield path, rng.randbytes(rng.choice([1, 50, 3000]))
        yield (
            path,
            rng.choice(
                [b"", b"null", b"[]", b'"a"', b"7", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}"]
            ),
        )
        large = {**good, rng.choice([*good]): "x" * rng.choice([10**6, 10**7])}
        yield path, json.dumps(large).encode()


@pytest.mark.row("V1")
def test_hostile_bodies_are_refused(served: Server, tally: Tally) -> None:
    """A sentence in the form of every error, no fault of the server's, and the next one works."""
    before = complete(served, **GOOD["/v1/completions"])["choices"]
    cases = itertools.islice(bodies(random.Random(0)), tally.wanted(300))
    for number, (path, data) in enumerate(cases):
        answer = ask(served, path, data=data)
        assert answer.status in (200, 400, 404, 413), (path, data[:200], answer.data)
        if answer.status != 200:
            assert 15 < len(answer.message) < 400
            assert answer.message.isprintable()
        if number % 50 == 0:
            assert complete(served, **GOOD["/v1/completions"])["choices"] == before
        tally.add()


# V2


@pytest.mark.row("V2")
def test_foreign_hosts_are_refused(served: Server, tally: Tally) -> None:
    """Names of others, lookalikes, none, two, an address of the network: by every endpoint."""
    hosts = (
        ["evil.example"],
        ["localhost.evil.example:8080"],
        ["127.0.0.1.nip.example"],
        ["0.0.0.0"],
        ["192.168.1.5:8080"],
        [""],
        ["localhost", "evil.example"],
        ["evil.example@localhost"],
    )
    paths = ("/", "/health", "/v1/models", "/metrics", "/v1/completions", "/tokenize")
    for given in (*hosts,) * (tally.wanted(len(hosts) * len(paths)) // (len(hosts) * len(paths))):
        for path in paths:
            with contextlib.closing(connected(served)) as connection:
                body = json.dumps(GOOD.get(path)).encode() if path in GOOD else None
                connection.putrequest("POST" if body else "GET", path, skip_host=True)
                for host in given:
                    connection.putheader("Host", host)
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(body or b"")))
                connection.endheaders(body)
                with connection.getresponse() as response:
                    data = response.read()
                    if len(given) > 1 and response.status == 400:  # no request of HTTP's at all
                        assert response.getheader("content-type") == "application/json"
                    else:
                        assert response.status == 403, (given, path)
                        assert "allowed_hosts" in json.loads(data)["error"]["message"]
            tally.add()


# V3


@pytest.mark.row("V3")
def test_slow_clients_are_cut_off(tally: Tally) -> None:
    """A head that trickles, a body that trickles, nothing at all: cut while others are served."""
    limits = Limits(head_seconds=0.5, body_seconds=0.5)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = {
        "nothing": b"",
        "a line": head[:20],
        "headers without end": head,
        "a body without end": head + b'Content-Length: 99\r\n\r\n{"prompt"',
        "a second request": b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
    }
    with serving("characters", limits=limits) as server:
        for _ in range(tally.wanted(20) // (4 * len(sent)) or 1):
            slow = [(name, raw(server), data) for name, data in sent.items() for _ in range(4)]
            begun = time.monotonic()
            stop = threading.Event()

            def trickle(slow: Any = slow, stop: Any = stop) -> None:
                for _, client, data in slow:
                    client.sendall(data)
                while not stop.wait(0.1):
                    for name, client, _ in slow:
                        with contextlib.suppress(OSError):
                            client.sendall(b"" if name == "nothing" else b"x")

            thread = threading.Thread(target=trickle)
            thread.start()
            assert complete(server, **GOOD["/v1/completions"])["choices"]
            for name, client, _ in slow:
                received = to_end(client)
                if name == "a body without end":
                    assert b" 408 " in received, name
                elif name == "a second request":
                    assert b" 200 " in received
                    assert received.count(b"HTTP/1.1") == 1
                else:
                    assert not received, name
                client.close()
                tally.add()
            assert time.monotonic() - begun < 10
            stop.set()
            thread.join()
        assert until(lambda: not server_state(server).connections)


def to_end(client: socket.socket) -> bytes:
    """All that comes until the connection ends, however it does."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65_536):
            found += data
    return found


def server_state(server: Server) -> Any:
    """What uvicorn knows of its connections."""
    return server._server.server_state


def until(holds: Any, seconds: float = 10.0) -> bool:
    """Whether something comes to hold."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())


# V4


@pytest.mark.row("V4")
def test_work_ends_when_a_client_leaves(tally: Tally) -> None:
    """Amid a stream, before it, or waiting for a whole answer; no sequence goes on without one."""
    with serving(models=[endless()], limits=Limits(lanes=16)) as server:
        worker = server.app.catalogue.get(None).worker
        body = {"prompt": "The ", "max_tokens": 10_000, "n": 4}
        wanted = tally.wanted(100)
        left = 0
        while left < wanted:
            clients = []
            for number in range(10):
                connection = connected(server)
                asked = {**body, "stream": number % 3 != 2}
                connection.request("POST", "/v1/completions", json.dumps(asked), JSON)
                clients.append((number, connection))
            for number, connection in clients:
                if number % 3 == 0:  # the others leave before the first byte
                    response = connection.getresponse()
                    assert response.read(20)
                    response.close()
                connection.close()
                left += 1
                tally.add()
            assert worker.running <= 16
        assert until(lambda: not (worker.running or worker.waiting))
        assert until(lambda: not server_state(server).tasks)
        drawn = worker.tokens_drawn
        time.sleep(0.05)
        assert worker.tokens_drawn == drawn
        assert not worker._sides
        assert complete(server, **GOOD["/v1/completions"])["choices"]


# V5


@pytest.mark.row("V5")
def test_memory_stays_flat(served: Server, tally: Tally) -> None:
    """Requests of every kind, whole and streamed, good and bad: what is left of them is nothing."""
    kinds = list(GOOD.items())

    def some(count: int) -> None:
        connection = connected(served)
        for number in range(count):
            path, body = kinds[number % len(kinds)]
            body = {**body, "stream": number % 2 == 0} if path == "/v1/completions" else body
            body = {**body, "wrong": 1} if number % 7 == 0 else body
            connection.request("POST", path, json.dumps(body), JSON)
            with connection.getresponse() as response:
                response.read()
                assert response.status == (400 if number % 7 == 0 else 200)
        connection.close()

    wanted = tally.wanted(1000)
    some(300)
    gc.collect()
    before, objects = resident(), len(gc.get_objects())
    some(wanted)
    gc.collect()
    assert resident() - before < 8e6  # bytes, of the test's client as well
    assert len(gc.get_objects()) - objects < 2000
    tally.add(wanted)


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


# V6


@pytest.mark.row("V6")
def test_streams_side_by_side_are_those_of_their_seeds(served: Server, tally: Tally) -> None:
    """A hundred at a time, of three levels, at every temperature: text and log-probabilities."""
    wanted = tally.wanted(100)
    asked = [
        {
            "model": NAMES[number % 3],
            "prompt": ("The ", "A p", "")[number % 7 % 3],
            "seed": number,
            "max_tokens": 20 + number % 60,
            "temperature": (1.0, 0.7, 0.0, 1.5)[number % 4],
            "top_k": None if number % 5 else 4,
            "stop": ["e s"] if number % 6 == 0 else [],
            "logprobs": 0,
        }
        for number in range(wanted)
    ]

    def stream(body: dict[str, Any]) -> Answer:
        return ask(served, "/v1/completions", {**body, "stream": True})

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(stream, asked))
    models = {name: charlm.load(GOLDEN / name, task="language-model") for name in NAMES[:3]}
    for body, answer in zip(asked, answers, strict=True):
        parts = [choice for one in answer.events for choice in one["choices"]]
        how = {name: body[name] for name in body.keys() - {"model", "logprobs"}}
        (expected,) = models[body["model"]].sample(**how)
        assert body["prompt"] + "".join(part["text"] for part in parts) == expected.text
        total = sum(value for part in parts for value in part["logprobs"]["token_logprobs"])
        if not body["stop"]:
            assert total == pytest.approx(expected.total_log_prob, abs=1e-4)
        tally.add()


# Beside the rows


def test_too_many_are_told_to_come_again() -> None:
    """A full queue answers 429 at once, with Retry-After, and what it holds is answered."""
    limits = Limits(lanes=1, waiting=3)
    body = {"prompt": "The ", "max_tokens": 300}
    with serving(models=[endless()], limits=limits) as server:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: ask(server, "/v1/completions", body), range(12)))
        statuses = [answer.status for answer in answers]
        assert {*statuses} == {200, 429}
        assert statuses.count(200) >= 3
        for answer in answers:
            if answer.status == 429:
                assert answer.headers["retry-after"] == "1"
                assert "requests wait already: try again later" in answer.message
        assert complete(server, **GOOD["/v1/completions"])["choices"]


@pytest.mark.slow
def test_a_request_takes_no_longer_than_it_may() -> None:
    """Whole: 504. Streamed: an error as the last event; one that reads nothing, too."""
    body = {"prompt": "The ", "max_tokens": 10_000, "n": 64}
    with serving(models=[endless()], limits=Limits(request_seconds=0.6)) as server:
        answer = ask(server, "/v1/completions", body)
        assert answer.status == 504
        assert "not done within 0.6 s" in answer.message
        connection = connected(server)
        connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}), JSON)
        with contextlib.closing(connection), connection.getresponse() as response:
            last = response.read().decode().split("\n\n")[-2]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "timeout_error"
        deaf = raw(server)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        data = json.dumps({**body, "stream": True}).encode()
        deaf.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            b"\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
        )
        assert until(lambda: server.app.catalogue.get(None).worker.running == 64)
        assert until(lambda: not server_state(server).tasks)
        assert until(lambda: not server.app.catalogue.get(None).worker.running)
        deaf.close()


def test_files_that_change_change_no_answer(tmp_path: Path) -> None:
    """A model is in memory as a whole: damaged, replaced or deleted files are not looked at."""
    run = tmp_path / "checkpoints" / "labels"
    shutil.copytree(GOLDEN / "labels", run)
    body = {"prompt": "A", "max_tokens": 20, "n": 4, "seed": 1}
    asked = {"texts": ["Adamou", "x"], "words": True}
    with serving("labels", root=run.parent) as server:
        for step in run.glob("step-*"):
            for file in step.iterdir():
                file.write_bytes(b"damaged")
        damaged = complete(server, **body)["choices"]
        scores = ask(server, "/v1/score", asked).json
        shutil.rmtree(run)
        assert complete(server, **body)["choices"] == damaged
        assert ask(server, "/v1/score", asked).json == scores
        assert ask(server, "/v1/classify", {"texts": "Adamou"}).status == 200
    lm = charlm.load(GOLDEN / "labels", task="language-model")
    expected = lm.sample(4, prompt="A", max_tokens=20, seed=1)
    assert [choice["text"] for choice in damaged] == [one.text[1:] for one in expected]


def test_the_end_does_not_wait_for_ever() -> None:
    """A server that is to end gives what runs a time, and cuts what has not come to its end."""
    body = {"prompt": "The ", "max_tokens": 10_000, "n": 64, "stream": True}
    with serving(models=[endless()], limits=Limits(grace_seconds=1)) as server:
        connection = connected(server)
        connection.request("POST", "/v1/completions", json.dumps(body), JSON)
        response = connection.getresponse()
        assert response.readline()
        begun = time.monotonic()
    assert 0.9 < time.monotonic() - begun < 6
    assert b"[DONE]" not in to_end(response.fp.raw._sock)  # type: ignore[attr-defined]
    response.close()
    connection.close()


def test_connections_are_limited() -> None:
    """One too many is closed at once, and those that are there are served."""
    with serving("characters", limits=Limits(connections=5)) as server:
        there = [connected(server) for _ in range(5)]
        for connection in there:
            connection.request("GET", "/health")
            connection.getresponse().read()
        late = raw(server)
        assert not to_end(late)
        late.close()
        there[0].request("GET", "/health")
        assert there[0].getresponse().status == 200
        for connection in there:
            connection.close()
