"""What is fastest here and now: precision and number of threads, tried in turns."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

from charlm.config import TrainingConfig
from charlm.training.loop import train_steps
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.task import AnyTask, Config
from charlm.training.texts.material import Material

_ROUNDS = 5  # turns of each way, about, the first of which does not count
_HOPELESS = 1.5  # times as slow as the fastest: gets no further turn
_EARNED = 1.05  # times as fast must be what rounds more, or takes more of the machine


class Way(NamedTuple):
    """A way to compute the same numbers, but for rounding."""

    precision: str
    threads: int


def ways(precisions: Iterable[str], device: str) -> list[Way]:
    """What is worth trying, what is to be preferred first: exact products, few threads.

    At most as many threads as torch begins with: one for each core, or what the environment says.
    Where cores are of two kinds, or others are busy on them, fewer are faster.
    """
    threads = [torch.get_num_threads()]
    while device == "cpu" and threads[-1] > 1:
        threads.append(threads[-1] // 2)
    kinds = sorted(precisions, key=("fp32", "bf16").index)
    return [Way(precision, number) for precision in kinds for number in reversed(threads)]


def fastest(
    task: AnyTask,
    config: Config,
    training: TrainingConfig,
    material: Material,
    candidates: list[Way],
    seconds: float,
    device: str = "cpu",
    ranks: Ranks = ALONE,
) -> tuple[Way, float]:
    """The way that gets through most targets per second, and how many these are.

    A scratch model takes the same few steps again and again, each way in its turn: so a busy
    moment hits all of them alike, and their medians are compared. Several processes, ``ranks``,
    try the same at the same time, by one clock.
    """
    clock = ranks.clock(time.perf_counter)
    candidates = [Way(*each) for each in ranks.first(lambda: candidates)]
    before = torch.get_num_threads()
    part = seconds / (_ROUNDS * len(candidates))
    kinds = dict.fromkeys(way.precision for way in candidates)
    scratch = {
        precision: Scratch(task, config, training, material, device, precision, ranks)
        for precision in kinds
    }

    def turn(way: Way) -> float:
        torch.set_num_threads(way.threads)
        return scratch[way.precision].turn(number, 4 * part)

    try:
        torch.set_num_threads(candidates[0].threads)
        end = clock() + seconds
        number = scratch[candidates[0].precision].steps_in(part)
        for way in candidates:  # for each shape that is new the kernels prepare something once
            turn(way)
        return _best(turn, candidates, lambda: clock() >= end)
    finally:
        torch.set_num_threads(before)


def _best(
    turn: Callable[[Way], float], candidates: list[Way], is_over: Callable[[], bool]
) -> tuple[Way, float]:
    """The fastest way by the median of its turns, which all take until the time is over."""
    rates: dict[Way, list[float]] = {way: [] for way in candidates}
    living = candidates
    while True:
        for way in living:
            rates[way].append(turn(way))
        medians = {way: statistics.median(rates[way]) for way in living}
        most = max(medians.values())
        living = [way for way in living if _HOPELESS * medians[way] > most]
        if is_over():
            best = next(way for way in living if _EARNED * medians[way] >= most)
            return best, medians[best]


class Scratch:
    """A model that is trained for the sake of its speed alone."""

    def __init__(
        self,
        task: AnyTask,
        config: Config,
        training: TrainingConfig,
        material: Material,
        device: str,
        precision: str,
        ranks: Ranks,
    ) -> None:
        fields = {"num_steps": 10**9, "precision": precision, "plan": None}
        training = TrainingConfig.from_json({**training.to_json(), **fields})
        self._task = task
        self._state: Any = task.new_state(config, training, device)
        task.deal(self._state, ranks)
        self._steps = train_steps(task, self._state, training, material, ranks=ranks)
        self._clock = ranks.clock(time.perf_counter)

    def steps_in(self, seconds: float) -> int:
        """How many steps are taken in so long, three at least."""
        number, begun = 0, self._clock()
        while number < 3 or self._clock() - begun < seconds:
            next(self._steps)
            number += 1
        return number

    def turn(self, number: int, most_seconds: float) -> float:
        """Targets per second of the first so many steps, or fewer if that takes too long.

        One goes before them that does not count: in it the threads are made.
        """
        next(self._steps)
        self._task.rewind(self._state)
        targets, begun = 0, self._clock()
        for _ in range(number):
            targets += next(self._steps).num_targets
            if (passed := self._clock() - begun) > most_seconds:
                break
        return targets / passed


def likely_precision(hidden_size: int, device: str) -> str:
    """The precision that is faster by experience, told from the processor alone."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Its name has an underscore, but nothing else in torch tells whether bf16 products are native.
    native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native and hidden_size >= 128 else "fp32"
