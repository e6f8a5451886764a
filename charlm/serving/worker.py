"""The thread that owns a model: what waits for it is done side by side.

Sequences of all requests are drawn in one batch, which they enter and leave between two tokens;
questions that are alike are answered together, one group between two tokens. What a request gets
does not depend on the others beside it: each sequence has its own stream of random numbers, and
scores do not depend on the batch (docs/reliability.md).
"""

import collections
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from charlm.errors import CharlmError
from charlm.inference.alternate import TurnSampler
from charlm.inference.drawing.lanes import Beginning, Lane, Lanes
from charlm.inference.sample import Sample, Sampler
from charlm.models.language_model import LanguageModel
from charlm.serving.jobs import Call, Draw, Inbox, Progress
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits
from charlm.tokenizers.prompt import Prompt

_SOONEST = 0.02  # seconds between two fragments of a stream
_PER_STREAM = 0.001  # the same for each of many streams
_GROUP = 64  # questions that are answered together
_REMEMBERED = 64  # prompts that need not be read again
_STOPPING = "the server is stopping."


class _Owner(NamedTuple):
    """Whose lane it is, and what of it has been told."""

    draw: Draw
    choice: int
    label: str | None
    told: list[int]  # ids, spelled


class _Entering(NamedTuple):
    """A sequence that is to begin: what draws it, and by which key its beginning is known."""

    draw: Draw
    choice: int
    sampler: Sampler
    prompt: Prompt
    number: int
    label: str | None
    key: Hashable


class Worker:
    """Does the work of one model, in a thread of its own, from ``start`` to ``stop``."""

    def __init__(self, model: Any, limits: Limits, *, threads: int, name: str) -> None:
        self.model, self._limits, self._threads = model, limits, threads
        self.tokens_drawn = 0
        self.seconds_busy = 0.0
        self._ready = threading.Condition()
        self._calls: collections.deque[Call] = collections.deque()
        self._draws: collections.deque[Draw] = collections.deque()
        self._stopped = False
        self._sides: dict[int, tuple[Sampler, Lanes]] = {}
        self._owners: dict[Lane, _Owner] = {}
        self._begun: collections.OrderedDict[Hashable, Beginning] = collections.OrderedDict()
        self._told: dict[Inbox, None] = {}
        self._due = 0.0  # when those that are live are told of tokens again
        self._is_due = False
        self._thread = threading.Thread(target=self._run, name=f"model {name}", daemon=True)

    def start(self) -> None:
        """Begin, the heavy imports done in this thread so that the first request finds them."""
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """End: what is still asked for is refused."""
        with self._ready:
            self._stopped = True
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def waiting(self) -> int:
        """Requests that have not begun."""
        with self._ready:
            return len(self._calls) + sum(not draw.going for draw in self._draws)

    @property
    def running(self) -> int:
        """Sequences that are being drawn."""
        return len(self._owners)

    def submit(self, job: Call | Draw) -> None:
        """Take a job. Raises RequestError (429) if too many wait, 503 if the server is stopping."""
        with self._ready:
            if self._stopped:
                raise RequestError(503, _STOPPING, code="shutting_down")
            waiting = self.waiting
            if waiting >= self._limits.waiting:
                raise RequestError(
                    429,
                    f"{waiting:,} requests wait already: try again later.",
                    code="queue_full",
                    headers={"retry-after": "1"},
                )
            if isinstance(job, Call):
                self._calls.append(job)
            else:
                self._draws.append(job)
            self._ready.notify()

    # In the worker's thread

    def _run(self) -> None:
        with contextlib.suppress(ImportError):
            import torch

            torch.set_num_threads(self._threads)
        while True:
            with self._ready:
                while not (self._calls or self._draws or self._owners or self._stopped):
                    self._ready.wait()
                if self._stopped:
                    break
                calls = self._next_calls()
                entering = self._next_lanes()
            begun = time.perf_counter()
            try:
                self._answer(calls)
                self._enter(entering)
                self._step_all()
            except Exception as error:  # whose it is nobody knows
                for draw in {draw for draw, _ in entering} | self._drawing():
                    self._fail(draw, error)
                self._owners.clear()
                self._sides.clear()
            self._wake()
            self.seconds_busy += time.perf_counter() - begun
        self._refuse_all()

    def _next_calls(self) -> list[Call]:
        """Questions that can be answered together, the first that waits among them."""
        found: list[Call] = []
        kept: collections.deque[Call] = collections.deque()
        weight = 0
        while self._calls:
            call = self._calls.popleft()
            if call.left:
                continue
            fits = not found or (
                call.key == found[0].key
                and len(found) < _GROUP
                and weight + call.weight <= self._limits.prompt
            )
            if fits:
                found.append(call)
                weight += call.weight
            else:
                kept.append(call)
        self._calls = kept
        return found

    def _next_lanes(self) -> list[tuple[Draw, int]]:
        """Sequences for which there is room, by turns of the requests."""
        found: list[tuple[Draw, int]] = []
        room = self._limits.lanes - len(self._owners)
        while self._draws and len(found) < room:
            draw = self._draws.popleft()
            if draw.left:
                continue
            found.append((draw, draw.waiting.popleft()))
            draw.going += 1
            if draw.waiting:
                self._draws.append(draw)
        return found

    def _answer(self, calls: list[Call]) -> None:
        if not calls:
            return
        try:
            results = calls[0].run([call.payload for call in calls])
            settled: Iterable[Any] = ((result, None) for result in results)
        except Exception as error:
            if len(calls) > 1:  # which of them it was is not known
                for call in calls:
                    self._answer([call])
                return
            settled = [(None, error)]
        for call, (result, problem) in zip(calls, settled, strict=True):
            _in_loop(call.loop, call.settle, result, problem)

    def _enter(self, entering: list[tuple[Draw, int]]) -> None:
        """Let sequences begin."""
        there: list[_Entering] = []
        for draw, choice in entering:
            with self._failing(draw):
                if not draw.left:
                    there.append(self._entering(draw, choice))
        begun = self._read(there)
        lanes: dict[int, list[Lane]] = {}
        for one in there:
            with self._failing(one.draw):
                config, top = one.draw.config, one.draw.top
                lane = one.sampler.lane(begun[one.key], config, one.number, top=top)
                self._owners[lane] = _Owner(one.draw, one.choice, one.label, [0, 0])
                key = id(one.sampler)
                self._sides.setdefault(key, (one.sampler, Lanes(one.sampler.decoder)))
                lanes.setdefault(key, []).append(lane)
        for key, new in lanes.items():
            self._sides[key][1].add(new)

    @contextlib.contextmanager
    def _failing(self, draw: Draw) -> Iterator[None]:
        """An error ends that request alone."""
        try:
            yield
        except Exception as error:
            self._fail(draw, error)

    def _read(self, entering: list["_Entering"]) -> dict[Hashable, Beginning]:
        """What the sequences begin with; prompts that are new are read side by side."""
        found: dict[Hashable, Beginning] = {}
        unread: dict[int, dict[Hashable, _Entering]] = {}
        for one in entering:
            if one.key in self._begun:
                found[one.key] = self._begun[one.key]
                self._begun.move_to_end(one.key)
            else:
                unread.setdefault(id(one.sampler), {})[one.key] = one
        for new in unread.values():
            sampler = next(iter(new.values())).sampler
            beginnings = sampler.begin_all([one.prompt for one in new.values()])
            found |= dict(zip(new, beginnings, strict=True))
        for key, beginning in found.items():
            self._begun[key] = beginning
        while len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)
        return found

    def _entering(self, draw: Draw, choice: int) -> "_Entering":
        """What draws a sequence of a request, and what it begins with."""
        model: LanguageModel = self.model
        number, index = divmod(choice, draw.n)
        prompt = draw.prompts[number]
        if draw.label is not None:
            model = model.with_label(draw.label)
        if draw.adapt != "off":
            model = model.adapting(draw.adapt)
        sampler = draw.samplers.get(number)
        if sampler is None:
            sampler = draw.samplers[number] = model.sampler(draw.n, draw.config, prompt)
        label = model.label
        if isinstance(sampler, TurnSampler):
            (turn,) = sampler.turns([index], draw.config.seed).values()
            sampler = sampler.samplers[turn]
            assert isinstance(sampler, Sampler)
            assert model.labels is not None
            label = model.labels.names[turn]
        key = id(sampler), prompt.text, tuple(prompt.ids)
        return _Entering(draw, choice, sampler, prompt, index, label, key)

    def _drawing(self) -> set[Draw]:
        """The requests whose sequences are being drawn."""
        return {owner.draw for owner in self._owners.values()}

    def _step_all(self) -> None:
        """A token of each sequence, and what of them is to be told now."""
        self._is_due = time.monotonic() >= self._due
        for key in list(self._sides):
            self._step(key)
        if self._is_due:
            wait = max(_SOONEST, _PER_STREAM * len(self._owners))
            self._due = time.monotonic() + wait

    def _step(self, key: int) -> None:
        """A token of each sequence that one sampler draws."""
        sampler, side = self._sides[key]
        side.remove(self._let_go(side.lanes))
        if not side.lanes:
            del self._sides[key]
            return
        try:
            self.tokens_drawn += len(sampler.step(side))
            found = enumerate(map(sampler.finished, side.lanes))
            ended = {row: sample for row, sample in found if sample is not None}
        except Exception as error:
            for lane in side.lanes:
                if (owner := self._owners.pop(lane, None)) is not None:
                    self._fail(owner.draw, error)
            del self._sides[key]
            return
        for row, lane in enumerate(side.lanes):
            owner = self._owners[lane]
            if row in ended:
                self._tell(lane, owner, ended[row])
                del self._owners[lane]
                owner.draw.going -= 1
            elif owner.draw.live and (self._is_due or not owner.told[0]):  # the first token at once
                self._tell(lane, owner, None)
        side.remove(list(ended))

    def _let_go(self, lanes: list[Lane]) -> list[int]:
        """The rows whose clients have gone, which are forgotten."""
        rows = [row for row, lane in enumerate(lanes) if self._owners[lane].draw.left]
        for row in rows:
            del self._owners[lanes[row]]
        return rows

    def _tell(self, lane: Lane, owner: _Owner, sample: Sample | None) -> None:
        """Leave in a request's inbox what has been drawn for it since."""
        ids, spelled = owner.told
        item = Progress(
            owner.choice,
            lane.ids[ids:],
            lane.spelled[spelled:],
            lane.alternatives,
            sample,
            owner.label,
        )
        lane.alternatives = []  # which are large
        owner.told[:] = len(lane.ids), len(lane.spelled)
        owner.draw.inbox.put(item)
        self._told[owner.draw.inbox] = None

    def _fail(self, draw: Draw, error: BaseException) -> None:
        """End a request with an error."""
        if not draw.left:
            draw.left = True
            draw.inbox.put(error)
            self._told[draw.inbox] = None

    def _wake(self) -> None:
        """Let the event loop look into the inboxes that were filled."""
        if self._told:
            told, self._told = list(self._told), {}
            _in_loop(told[0].loop, _wake_all, told)

    def _refuse_all(self) -> None:
        """Tell all that is still asked for that nothing will come."""
        problem = RequestError(503, _STOPPING, code="shutting_down")
        for call in self._calls:
            _in_loop(call.loop, call.settle, None, problem)
        for draw in {*self._draws, *self._drawing()}:
            self._fail(draw, problem)
        self._owners.clear()
        self._wake()


def _wake_all(inboxes: list[Inbox]) -> None:
    for inbox in inboxes:
        inbox.wake()


def _in_loop(loop: Any, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in the thread of an event loop, unless that has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *arguments)


def fault(error: BaseException) -> bool:
    """Whether an error is a fault of charlm's rather than of what was asked."""
    return not isinstance(error, (CharlmError, RequestError))
