"""Trainer: one training of a model of any kind, from what was asked to what came of it.

trainer = Trainer.settle(request, say)
with Run(path) as run:
    trainer.begin(run)
    for event in trainer.train(run):
        ...
    print(trainer.finish(run, say))
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from charlm.checkpoints.run import Run, Saved
from charlm.checkpoints.step import files_hash
from charlm.config import TrainingConfig
from charlm.novelty import measure, text_index
from charlm.training import loop, saving
from charlm.training.budget import fix_steps
from charlm.training.device import device_of
from charlm.training.request import Request, Say
from charlm.training.task import AnyTask, Config, Event
from charlm.training.tasks import task_of
from charlm.training.texts.material import TextMaterial
from charlm.training.texts.memory import TextsInMemory


@dataclasses.dataclass(kw_only=True)
class Trainer:
    """Everything a training needs, nothing left to choose; state is all that changes."""

    task: AnyTask
    request: Request
    config: Config
    training: TrainingConfig
    material: Any
    state: Any

    @classmethod
    def settle(cls, request: Request, say: Say, given: TextsInMemory | None = None) -> Self:
        """Read the texts, learn what turns them into ids, choose sizes, fix the number of steps.

        Texts ``given`` in memory stand in place of the files that a request names.
        """
        task = task_of(request)
        level, device = request.level or task.default_level, device_of(request.device)
        request = dataclasses.replace(request, level=level, device=device)
        texts = task.read(request, say, given)
        begun = time.perf_counter()
        material = task.prepare(request, texts, say)
        config, training, summary = task.choose(request, material)
        spent = time.perf_counter() - begun  # vocabulary, speller and counts are part of the time
        told: list[str] = []
        training = fix_steps(task, request, config, training, material, told.append, spent=spent)
        if task.heeds_passes(request, material):
            passes = training.num_steps / task.steps_per_epoch(config, training, material)
            config, again, summary = task.choose(request, material, passes)
            training = dataclasses.replace(training, weight_decay=again.weight_decay)
        for line in (f"model: {summary}", *told):
            say(line)
        return cls(
            task=task,
            request=request,
            config=config,
            training=training,
            material=material,
            state=task.new_state(config, training, request.device),
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
    ) -> Iterator[Event]:
        """Train to the end of the budget; yields what happens as it happens (loop.carry_on)."""
        saving.check_room(self.task, run, self.state, self.material)
        return loop.carry_on(
            self.task,
            run,
            self.state,
            self.training,
            self.material,
            should_stop=should_stop,
            save_every_seconds=save_every_seconds,
        )

    def save(self, run: Run) -> Saved:
        """Save the state as it is. Raises DivergedError if a number of it is not finite."""
        return saving.save(self.task, run, self.state, self.training, self.material)

    def index(self, run: Run, say: Say) -> None:
        """Write the index of the training text into the run, where there is none yet."""
        material = self.material
        if not isinstance(material, TextMaterial) or material.source is None:
            return
        if text_index.stands(run.path):
            return
        begun = time.perf_counter()
        found = measure.index_of(material.source)
        size = text_index.save(run.path, found, material.about["fingerprint"])
        part = "" if found.indexed == 1 else f"{found.indexed:.1%} of "
        say(
            f"index: {part}the training text, for charlm novelty, {size / 1e6:.1f} MB "
            f"({time.perf_counter() - begun:.1f} s); `index=False` leaves it out"
        )

    def finish(self, run: Run, say: Say) -> str:
        """What is left to be done once the steps are; how good the best one is, in a line.

        Only where something is held out is there a best step.
        """
        line: str = self.task.finish(run, self.material, say)
        return f"best validation {line}"
