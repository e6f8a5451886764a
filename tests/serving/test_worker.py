"""Laws of the thread that owns a model: order, company, errors and the end."""

import asyncio
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import charlm
from charlm.config import SamplingConfig
from charlm.errors import UsageError
from charlm.serving.jobs import Call, Draw
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits
from charlm.serving.worker import Worker
from charlm.tokenizers.prompt import Prompt
from tests.support.serving import GOLDEN, endless


class Gate:
    """A question that keeps the worker busy until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.begun = threading.Event()

    def run(self, several: Sequence[Any]) -> Sequence[Any]:
        """Wait."""
        self.begun.set()
        assert self._open.wait(20)
        return several

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


def worker_of(model: Any = None, **limits: Any) -> Worker:
    """A worker that has begun."""
    model = model or charlm.load(GOLDEN / "characters")
    found = Worker(model, Limits(**limits), threads=1, name="test")
    found.start()
    return found


def test_questions_that_are_alike_are_answered_together() -> None:
    """In the order in which they came, up to a weight; others by themselves."""

    async def main() -> None:
        worker, gate = worker_of(prompt=10), Gate()
        groups: list[list[int]] = []

        def run(several: Sequence[int]) -> list[int]:
            groups.append(list(several))
            return [2 * one for one in several]

        first = Call("gate", 0, gate.run)
        worker.submit(first)
        await asyncio.to_thread(gate.begun.wait)
        calls = [Call("even" if n % 2 == 0 else "odd", n, run, weight=3) for n in range(9)]
        for call in calls:
            worker.submit(call)
        calls[4].left = True
        assert worker.waiting == 9
        gate.open()
        answers = [await call.answer for call in calls if not call.left]
        assert answers == [2 * n for n in range(9) if n != 4]
        assert groups == [[0, 2, 6], [1, 3, 5], [7], [8]] or groups == [
            [0, 2, 6],
            [1, 3, 5],
            [8],
            [7],
        ]
        worker.stop()

    asyncio.run(main())


def test_an_error_is_that_of_the_one_which_made_it() -> None:
    """Others that were asked together with it get their answers."""

    async def main() -> None:
        worker, gate = worker_of(), Gate()

        def run(several: Sequence[int]) -> list[int]:
            if 3 in several:
                raise UsageError("three")
            return list(several)

        worker.submit(Call("gate", 0, gate.run))
        await asyncio.to_thread(gate.begun.wait)
        calls = [Call("same", n, run) for n in range(6)]
        for call in calls:
            worker.submit(call)
        gate.open()
        found = await asyncio.gather(*(call.answer for call in calls), return_exceptions=True)
        assert [*found[:3], *found[4:]] == [0, 1, 2, 4, 5]
        assert isinstance(found[3], UsageError)
        worker.stop()

    asyncio.run(main())


def test_requests_draw_by_turns() -> None:
    """One with many sequences leaves room for another: each gets a lane in turn."""

    async def main() -> None:
        worker = worker_of(endless(), lanes=4)
        tokenizer = worker.model.tokenizer
        prompts = [Prompt(tokenizer, "The ")]
        config = SamplingConfig(max_tokens=50, seed=1)
        large, small = (Draw(prompts, n, config, label=None, top=None, live=False) for n in (40, 1))
        worker.submit(large)
        worker.submit(small)
        (progress,) = await small.inbox.get()
        assert progress.sample is not None
        assert large.waiting  # which came first
        assert (
            progress.sample.text
            == worker.model.sample(1, prompt="The ", max_tokens=50, seed=1)[0].text
        )
        large.left = True
        worker.stop()

    asyncio.run(main())


def test_an_error_amid_drawing_ends_the_request_and_not_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both that of a prompt and that of a step."""

    async def main() -> None:
        worker = worker_of()
        texts = map(str, itertools.count())

        def draw(**config: Any) -> Draw:
            prompts = [Prompt(worker.model.tokenizer, next(texts))]
            return Draw(prompts, 2, SamplingConfig(**config), label=None, top=None, live=True)

        bad = draw(unknown="spell")
        worker.submit(bad)
        with pytest.raises(UsageError, match="nothing to spell"):
            await bad.inbox.get()
        sampler = worker.model.sampler(2, SamplingConfig(), "")
        for name in ("step", "finished", "begin_all"):
            with monkeypatch.context() as patch:
                patch.setattr(sampler, name, lambda _: 1 / 0)
                broken = draw(max_tokens=5)
                worker.submit(broken)
                with pytest.raises(ZeroDivisionError):
                    await broken.inbox.get()
                assert worker.running == 0
        good = draw(max_tokens=5, seed=1)
        worker.submit(good)
        ended = 0
        while ended < 2:
            ended += sum(one.sample is not None for one in await good.inbox.get())
        assert worker.running == 0
        worker.stop()

    asyncio.run(main())


def test_a_worker_that_stops_says_so_to_all() -> None:
    """Those that wait, those that run and those that come."""

    async def main() -> None:
        worker = worker_of(endless(), lanes=1)
        prompts = [Prompt(worker.model.tokenizer, "a")]
        config = SamplingConfig(max_tokens=10**6)
        draws = [Draw(prompts, 1, config, label=None, top=None, live=False) for _ in range(3)]
        for one in draws:
            worker.submit(one)
        await asyncio.to_thread(worker.stop)
        for one in draws:
            with pytest.raises(RequestError, match="the server is stopping"):
                await one.inbox.get()
        with pytest.raises(RequestError, match="the server is stopping") as raised:
            worker.submit(Call("late", 0, list))
        assert raised.value.status == 503

    asyncio.run(main())
