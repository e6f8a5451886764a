"""What a training shows while it runs: a live bar on a terminal, else a plain line now and then."""

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from charlm.cli.terminal import is_live, safe_text, say
from charlm.metrics import NATS_PER_BIT

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from charlm.request import Settled
    from charlm.run import Event
    from charlm.training import TrainingState

_PLAIN_EVERY_SECONDS = 5.0
_SAMPLE_EVERY_SECONDS = 20.0
_SAMPLE_TOKENS = 60
_STEPS_BEFORE_GUESS = 5  # the first ones pay for what is prepared once
_MEMORY = 0.98  # of the running mean of the training loss


class Display:
    """Turns events into figures: bits per character, characters a second, time left."""

    def __init__(self, state: "TrainingState", settled: "Settled") -> None:
        material = settled.material
        self.state = state
        self.settled = settled
        characters: int = material.about["train"]["characters"]
        self.characters_per_token = characters / material.text.num_tokens
        self.loss: float | None = None
        self.valid = state.best_loss
        self.begun = time.perf_counter()
        self.tokens_before = state.tokens
        self.steps_before = state.step
        self.sampled_at = self.begun
        self.is_pseudo = state.model.config.bidirectional
        self.unit = "PLL bits/char" if self.is_pseudo else "bits/char"
        self.samples = 0

    def bits(self, nats_per_token: float | None, side: str = "train") -> str:
        """Bits per character of a loss in nats per token, spellings of the unknown included."""
        material = self.settled.material
        text = material.valid if side == "valid" and material.valid is not None else material.text
        about: dict[str, float] = material.about["train" if text is material.text else "valid"]
        if nats_per_token is None or not about["characters"]:
            return "-"
        nats = nats_per_token * text.num_tokens + about["unknown_nats"]
        return f"{nats / NATS_PER_BIT / about['characters']:.3f}"

    def note(self, event: "Event") -> None:
        """Take in what happened."""
        from charlm.run import Validated
        from charlm.training import Step

        if isinstance(event, Step) and not event.skipped:
            before = event.loss if self.loss is None else self.loss
            self.loss = _MEMORY * before + (1 - _MEMORY) * event.loss
        elif isinstance(event, Validated):
            self.valid = event.loss

    def remark(self, event: "Event") -> str | None:
        """What is to be said of a step that gave nothing; of several in a row, of the first."""
        from charlm.run import RolledBack
        from charlm.training import Step

        what = f"step {event.step:,} gave a loss or gradient that is not finite"
        if isinstance(event, RolledBack):
            to = f"those of step {event.to_step:,}" if event.to_step else "the first, random ones"
            rate = f"{0.5**self.state.rollbacks:g}"
            return (
                f"{what}: the weights are {to} again, the learning rate is {rate} of the schedule's"
            )
        first = isinstance(event, Step) and event.skipped and self.state.skipped_in_a_row == 1
        return f"{what}: skipped" if first and self.settled.training.on_nan == "skip" else None

    @property
    def rate(self) -> float:
        """Characters a second since training began or went on."""
        elapsed = max(1e-9, time.perf_counter() - self.begun)
        return (self.state.tokens - self.tokens_before) * self.characters_per_token / elapsed

    @property
    def left(self) -> str:
        """The time that the remaining steps will take."""
        done = self.state.step - self.steps_before
        elapsed = time.perf_counter() - self.begun
        if done < _STEPS_BEFORE_GUESS and self.state.step < self.settled.training.num_steps:
            return "?"
        minutes, seconds = divmod(
            round(elapsed / max(1, done) * (self.settled.training.num_steps - self.state.step)), 60
        )
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def sample(self) -> str | None:
        """A few tokens drawn from the model as it is now, if the last were some time ago."""
        from charlm.config import SamplingConfig
        from charlm.sampling import Sampler
        from charlm.torch_engine import TorchEngine
        from charlm.training import weights_for_use

        too_early = time.perf_counter() - self.sampled_at < _SAMPLE_EVERY_SECONDS
        if too_early or self.is_pseudo:
            return None
        self.sampled_at = time.perf_counter()
        config = SamplingConfig(max_tokens=_SAMPLE_TOKENS, seed=self.state.step)
        labels, label = self.settled.material.labels, ""
        with weights_for_use(self.state) as model:
            engine = TorchEngine(model)
            if labels is not None:  # each in its turn
                index = self.samples % len(labels.names)
                engine, label = engine.with_label(index), f"{labels.names[index]}: "
            sampler = Sampler(engine, self.settled.material.tokenizer)
            (drawn,) = sampler.sample(1, config)
        self.samples += 1
        return safe_text(label + drawn.text.replace("\n", " / "))

    def line(self) -> str:
        """All figures in one plain line."""
        return (
            f"step {self.state.step:,}/{self.settled.training.num_steps:,}  "
            f"train {self.bits(self.loss)}  valid {self.bits(self.valid, 'valid')} {self.unit}  "
            f"{self.rate:,.0f} char/s  {self.left} left"
        )


def show(
    events: Iterable["Event"], state: "TrainingState", settled: "Settled", *, quiet: bool = False
) -> None:
    """Run through the events of a training, showing them on stderr."""
    display = Display(state, settled)
    try:
        if is_live(sys.stderr) and not quiet:
            _show_live(events, display)
        elif not quiet:
            _show_plain(events, display)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # the terminal was closed: what is left goes on unseen, so that it is saved
    for _ in events:
        pass


def _show_plain(events: Iterable["Event"], display: Display) -> None:
    from charlm.run import Validated

    said_at = 0.0
    for event in events:
        display.note(event)
        if (remark := display.remark(event)) is not None:
            say(remark)
        due = time.perf_counter() - said_at >= _PLAIN_EVERY_SECONDS
        last = display.state.step == display.settled.training.num_steps
        if due or (last and isinstance(event, Validated)):
            say(display.line())
            said_at = time.perf_counter()
        if isinstance(event, Validated) and (drawn := display.sample()) is not None:
            say(f"  sample: {drawn}")


def _show_live(events: Iterable["Event"], display: Display) -> None:
    from charlm.run import Validated

    progress, task = _bar(display)
    with progress:
        for event in events:
            display.note(event)
            if (remark := display.remark(event)) is not None:
                progress.console.print(remark, markup=False, highlight=False)
            progress.update(
                task,
                completed=display.state.step,
                train=display.bits(display.loss),
                valid=display.bits(display.valid, "valid"),
                rate=f"{display.rate:,.0f}",
                left=display.left,
            )
            if isinstance(event, Validated) and (drawn := display.sample()) is not None:
                progress.console.print(drawn, markup=False, highlight=False, style="dim")


def _bar(display: Display) -> tuple["Progress", "TaskID"]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    progress = Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn(
            "train [bold]{task.fields[train]}[/] valid [bold]{task.fields[valid]}[/] "
            f"{display.unit}"
        ),
        TextColumn("{task.fields[rate]} char/s"),
        TextColumn("{task.fields[left]} left"),
        console=Console(stderr=True),
        refresh_per_second=4,
    )
    task = progress.add_task(
        "", total=display.settled.training.num_steps, train="-", valid="-", rate="-", left="?"
    )
    return progress, task
