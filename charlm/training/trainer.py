"""Trainer: one training of a model of any kind, from what was asked to what came of it.

trainer = Trainer.settle(request, say)
with Run(path) as run:
    trainer.begin(run)
    for event in trainer.train(run):
        ...
    print(trainer.finish(run, say))
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch

import charlm
from charlm import threads
from charlm.checkpoints.run import Run, Saved
from charlm.checkpoints.step import files_hash
from charlm.config import TrainingConfig
from charlm.errors import FieldError
from charlm.memory import give_back
from charlm.novelty import text_index
from charlm.training import loop, saving
from charlm.training.pace.budget import fix_steps, seconds_of
from charlm.training.pace.device import device_of
from charlm.training.pace.planning import Planner, Plans
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.request import Request, Say
from charlm.training.task import AnyTask, Config, Event, Planned
from charlm.training.tasks import task_of
from charlm.training.texts.index import index_text
from charlm.training.texts.material import TextMaterial
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.streamed.place import Place

_PLAINLY_BUSY = 0.75  # of the machine: less is left, and it is said


@dataclasses.dataclass(kw_only=True)
class Trainer:
    """Everything a training needs, nothing left to choose; the state changes, and so do plans.

    training is the plan in force; ``recorded`` are plans that were made after the step which the
    run goes on from, and are followed before new ones are made. Of several processes, ``ranks``,
    each has one of these; a method is called in all of them at the same time, but ``begin``,
    ``index`` and ``finish``, which are affairs of the first.
    """

    task: AnyTask
    request: Request
    config: Config
    training: TrainingConfig
    material: Any
    state: Any
    recorded: Sequence[TrainingConfig] = ()
    ranks: Ranks = ALONE

    @classmethod
    def settle(
        cls,
        request: Request,
        say: Say,
        given: TextsInMemory | None = None,
        *,
        place: Place | None = None,
        begun: float | None = None,
        ranks: Ranks = ALONE,
    ) -> Self:
        """Read the texts, learn what turns them into ids, choose sizes, fix the number of steps.

        Texts ``given`` in memory stand in place of the files that a request names; ``place`` is
        where a text is kept that is too large for memory, where there is one. The time that
        is asked for counts from ``begun``, by time.perf_counter(), or else from here; reading a
        text in passes does not count.
        """
        begun = time.perf_counter() if begun is None else begun
        task = task_of(request)
        level, device = request.level or task.default_level, device_of(request.device)
        request = dataclasses.replace(request, level=level, device=device)
        ranks.check_device(device)
        ranks.check_files((*request.corpus, *request.valid))
        texts = read(task, request, say, given, place, ranks)
        if request.store is not None:
            begun = time.perf_counter()
        material = task.prepare(request, texts, say)
        told: list[str] = []
        sized = _for_its_share(task, request, told.append, ranks)
        config, training, summary = task.choose(sized, material)
        spent = time.perf_counter() - begun
        training = fix_steps(
            task, request, config, training, material, told.append, spent=spent, ranks=ranks
        )
        if task.heeds_passes(request, material):
            passes = training.num_steps / task.steps_per_epoch(config, training, material)
            config, again, summary = task.choose(sized, material, passes)
            training = dataclasses.replace(training, weight_decay=again.weight_decay)
        for line in (f"model: {summary}", *told):
            say(line)
        state = task.new_state(config, training, request.device)
        task.start(state, training, material)
        task.deal(state, ranks)
        return cls(
            task=task,
            request=request,
            config=config,
            training=training,
            material=material,
            state=state,
            ranks=ranks,
        )

    def begin(self, run: Run, *, keeps_text: bool = True) -> None:
        """Write down in a new run what was asked and chosen. Raises UsageError if it exists.

        What keeps_text is whether an index of the training text may stand in the run.
        """
        kind = {} if self.task.kind is None else {"kind": self.task.kind}
        indexed = {"index": keeps_text} if isinstance(self.material, TextMaterial) else {}
        run.begin(
            {
                **kind,
                "request": self.request.to_json(),
                "model": self.config.to_json(),
                "training": self.training.to_json(),
                "fingerprint": self.material.about["fingerprint"],
                **indexed,
                "tokenizer": files_hash(self.task.reader_files(self.material)),
            }
        )
        text_index.remove(run.path)  # of a run of that name that came to nothing

    def train(
        self,
        run: Run,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        save_every_seconds: float = loop.SAVE_EVERY_SECONDS,
        planner: Planner | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Iterator[Event]:
        """Train to the end of the budget; yields what happens as it happens (loop.carry_on).

        ``planner`` plans the rest where the budget is time.
        """
        ranks = self.ranks
        if ranks.is_first:
            saving.check_room(self.task, run, self.state, self.material)
        ranks.check_same(self._what_it_is)
        ranks.spread(self.state.module)
        if planner is None and self.training.plan is not None:
            planner = Planner.of(
                self.task, self.request, self.config, self.training, self.material, clock, ranks
            )
        events = loop.carry_on(
            self.task,
            run,
            self.state,
            self.training,
            self.material,
            plan=Plans(run, planner, self.recorded),
            should_stop=should_stop,
            save_every_seconds=save_every_seconds,
            clock=clock,
            ranks=ranks,
        )
        with _threads(self.training.threads):
            for event in events:
                if isinstance(event, Planned):
                    self.training = event.training
                    torch.set_num_threads(self.training.threads)
                yield event

    @property
    def _what_it_is(self) -> dict[str, str]:
        """All that has to be the same in several processes."""
        about = {
            "text": self.material.about.get("fingerprint"),
            "tokenizer": files_hash(self.task.reader_files(self.material)),
            "model": self.config.to_json(),
            "training": self.training.to_json(),
            "step": self.state.step,
            "version": (charlm.__version__, torch.__version__),
        }
        return {name: json.dumps(value) for name, value in about.items()}

    def save(self, run: Run) -> Saved:
        """Save the state as it is. Raises DivergedError if a number of it is not finite."""
        return saving.save(self.task, run, self.state, self.training, self.material, self.ranks)

    def index(self, run: Run, say: Say) -> None:
        """Write the index of the training text into the run, where there is none yet."""
        if isinstance(self.material, TextMaterial):
            index_text(run, self.material, say)

    def finish(self, run: Run, say: Say) -> str:
        """What is left to be done once the steps are; how good the best one is, in a line.

        Only where something is held out is there a best step. It is read from its files, and what
        the steps needed is gone.
        """
        self.state.optimizer.state.clear()
        give_back()
        with _threads(self.training.threads):
            line: str = self.task.finish(run, self.material, say)
        return f"best validation {line}"


def read(
    task: AnyTask,
    request: Request,
    say: Say,
    given: TextsInMemory | None,
    place: Place | None,
    ranks: Ranks = ALONE,
) -> Any:
    """The texts of a request: in memory, or, where it has a store, kept at a place.

    Raises UsageError where several processes would have to share a store.
    """
    if request.store is None:
        return task.read(request, say, given)
    if ranks.size > 1:
        raise FieldError("store", "is of one process: several hold their texts in memory.")
    assert place is not None
    return task.read_in_passes(request, place, say)


def _for_its_share(task: AnyTask, request: Request, say: Say, ranks: Ranks) -> Request:
    """The request, its time as much as is left of it where other programs are busy, too.

    A size that suits the time alone would be too large for what gets done in it.
    """
    seconds = seconds_of(task, request)
    if seconds is None or request.device != "cpu" or not ranks.first(threads.neighbours):
        return request
    share = ranks.first(threads.fair_share)
    if share > _PLAINLY_BUSY:
        return request
    say(
        f"busy: {share:.0%} of this machine is free; sizes are chosen for "
        f"{seconds * share:.3g} s of the {seconds:g} s"
    )
    return dataclasses.replace(request, seconds=seconds * share)


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with so many threads, then with as many as before; 0 is as many as there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
