"""What a training shows while it runs: a live bar on a terminal, else a plain line now and then."""

import math
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from charlm.cli.output.plot import bar
from charlm.cli.output.terminal import bar_console, is_live, say
from charlm.display.safe_text import safe_text
from charlm.metrics import NATS_PER_BIT

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from charlm.config import TrainingConfig
    from charlm.training.trainer import Trainer

_PLAIN_EVERY_SECONDS = 5.0
_SAMPLE_EVERY_SECONDS = 20.0
_SAMPLE_TOKENS = 60
_STEPS_BEFORE_GUESS = 5  # the first ones pay for what is prepared once
_MARK_EVERY_SECONDS = 2.0
_MARKS = 8  # that lie behind: the time left is told by the rate since the first of them
_FAR_SLOWER = 0.4  # of the rate at the start
_SPARKS = 8  # validations that are shown as bars where there is room, and half of them where
_ROOM, _LITTLE_ROOM = 92, 77  # columns hold all that is shown beside a bar that can be seen
_MEMORY = 0.98  # of the running means of training


class Display:
    """Turns events into figures, which are others for each kind of training.

    columns are what is shown, with the names of values in braces; what is bold is so on a terminal.
    """

    columns: tuple[str, ...]

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer
        self.state: Any = trainer.state
        self.begun = time.perf_counter()
        self._marks = [(self.begun, self.state.step)]
        self._first_rate: float | None = None
        self._validations: list[float] = []  # the last ones, as they are shown
        self._warned = False

    @property
    def config(self) -> "TrainingConfig":
        """The training as it is planned now."""
        return self._trainer.training

    def note(self, event: object) -> bool:
        """Take in what happened; whether it was a validation."""
        raise NotImplementedError

    def spark(self, cells: int) -> str:
        """The last validations as bars between the lowest and the highest, so many at most."""
        shown = self._validations[-cells:]
        return "".join(bar(value, min(shown), max(shown)) for value in shown)

    def validated(self, value: float | None) -> None:
        """Note what a validation measured."""
        if value is not None and math.isfinite(value):
            self._validations = [*self._validations[-_SPARKS:], value]

    def mark(self, now: float) -> str | None:
        """Note how far it has come at a time; once, that it has become far slower, in words."""
        if now - self._marks[-1][0] < _MARK_EVERY_SECONDS or not self._rate(now):
            return None
        self._marks = [*self._marks[-_MARKS:], (now, self.state.step)]
        if len(self._marks) <= _MARKS:
            return None
        rate = self._rate(now)
        if self._first_rate is None:
            self._first_rate = rate
        if self._warned or rate >= _FAR_SLOWER * self._first_rate:
            return None
        self._warned = True
        return (
            f"slow: {rate:.3g} steps per second, {self._first_rate:.3g} at the start; other "
            "programs take the machine's time"
        )

    def _rate(self, now: float) -> float:
        """Steps per second of late."""
        since, step = self._marks[0]
        return float(self.state.step - step) / max(1e-9, now - since)

    def values(self) -> dict[str, Any]:
        """What stands in the columns."""
        raise NotImplementedError

    def sample(self) -> str | None:
        """What the model says by now, if there is something new of that kind."""
        return None

    def remark(self, event: object) -> str | None:
        """What is to be said of a step that gave nothing; of several in a row, of the first."""
        from charlm.training.task import RolledBack

        state = self.state
        what = f"step {state.step:,} gave a loss or gradient that is not finite"
        if isinstance(event, RolledBack):
            to = f"those of step {event.to_step:,}" if event.to_step else "the first, random ones"
            rate = f"{0.5**state.rollbacks:g}"
            return (
                f"{what}: the weights are {to} again, the learning rate is {rate} of the schedule's"
            )
        first = getattr(event, "skipped", False) and state.skipped_in_a_row == 1
        return f"{what}: skipped" if first and self.config.on_nan == "skip" else None

    @property
    def left(self) -> str:
        """The time that the remaining steps will take."""
        now, left = time.perf_counter(), self.config.num_steps - self.state.step
        if self.state.step - self._marks[0][1] < _STEPS_BEFORE_GUESS and left > 0:
            return "?"
        rest = left / max(1e-9, self._rate(now)) if left > 0 else 0.0
        if self.config.plan is not None:  # which is changed before that takes longer
            rest = min(rest, max(0.0, self.config.plan.end - self.state.seconds))
        minutes, seconds = divmod(round(rest), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def line(self) -> str:
        """All figures in one plain line."""
        columns = "  ".join(self.columns).replace("[bold]", "").replace("[/]", "")
        step = f"step {self.state.step:,}/{self.config.num_steps:,}"
        return f"{step}  {columns.format(**self.values())}"


def running_mean(before: float | None, value: float) -> float:
    """A mean in which what is long past counts little."""
    return value if before is None else _MEMORY * before + (1 - _MEMORY) * value


class TextDisplay(Display):
    """Of a language model: bits per character, characters a second, time left."""

    def __init__(self, trainer: "Trainer") -> None:
        super().__init__(trainer)
        state = trainer.state
        self.material = trainer.material
        characters: int = self.material.about["train"]["characters"]
        self.characters_per_token = characters / self.material.text.num_tokens
        self.loss: float | None = None
        self.valid = state.best_loss if self.material.valid is not None else None
        self.tokens_before = state.tokens
        self.sampled_at = self.begun
        self.is_pseudo = trainer.request.task == "cloze"
        self.samples = 0
        self.columns = (
            "train [bold]{train}[/]",
            f"valid [bold]{{valid}}[/] {'PLL bits/char' if self.is_pseudo else 'bits/char'}",
            "{rate} char/s",
            "{left} left",
        )

    def bits(self, nats_per_token: float | None, side: str = "train") -> str:
        """Bits per character of a loss in nats per token, spellings of the unknown included."""
        material = self.material
        text = material.valid if side == "valid" and material.valid is not None else material.text
        about: dict[str, float] = material.about["train" if text is material.text else "valid"]
        if nats_per_token is None or not about["characters"]:
            return "-"
        nats = nats_per_token * text.num_tokens + about["unknown_nats"]
        return f"{nats / NATS_PER_BIT / about['characters']:.3f}"

    def note(self, event: object) -> bool:
        """Take in the losses."""
        from charlm.training.task import Step, Validated

        if isinstance(event, Step) and not event.skipped:
            self.loss = running_mean(self.loss, event.loss)
        elif isinstance(event, Validated):
            self.valid = event.loss
            self.validated(event.loss)
        return isinstance(event, Validated)

    def values(self) -> dict[str, Any]:
        """Two losses, and how fast it goes since training began or went on."""
        elapsed = max(1e-9, time.perf_counter() - self.begun)
        rate = (self.state.tokens - self.tokens_before) * self.characters_per_token / elapsed
        return {
            "train": self.bits(self.loss),
            "valid": self.bits(self.valid, "valid"),
            "rate": f"{rate:,.0f}",
            "left": self.left,
        }

    def sample(self) -> str | None:
        """A few tokens drawn from the model as it is now, if the last were some time ago."""
        from charlm.config import SamplingConfig
        from charlm.engines.torch_lm import TorchEngine
        from charlm.inference.sample import Sampler
        from charlm.nn.causal import RecurrentLM
        from charlm.training.window_steps import weights_for_use

        too_early = time.perf_counter() - self.sampled_at < _SAMPLE_EVERY_SECONDS
        if too_early or self.is_pseudo:
            return None
        self.sampled_at = time.perf_counter()
        config = SamplingConfig(max_tokens=_SAMPLE_TOKENS, seed=self.state.step)
        labels, label = self.material.labels, ""
        with weights_for_use(self.state) as model:
            assert isinstance(model, RecurrentLM)
            engine = TorchEngine(model)
            if labels is not None:  # each in its turn
                index = self.samples % len(labels.names)
                engine, label = engine.with_label(index), f"{labels.names[index]}: "
            sampler = Sampler(engine, self.material.tokenizer)
            (drawn,) = sampler.sample(1, config)
        self.samples += 1
        return safe_text(label + drawn.text.replace("\n", " / "))


class LabelDisplay(Display):
    """Of a classifier or tagger: accuracies, a tagger's F1 of spans, and the time left."""

    def __init__(self, trainer: "Trainer") -> None:
        super().__init__(trainer)
        self.train: float | None = None
        self.columns = (
            "accuracy: train [bold]{train}[/]",
            "valid [bold]{valid}[/]",
            "{left} left",
        )

    def note(self, event: object) -> bool:
        """Take in the accuracy of training; that of validation stands in the state."""
        from charlm.training.task import Step, Validated

        if isinstance(event, Step) and not event.skipped and event.accuracy is not None:
            self.train = running_mean(self.train, event.accuracy)
        elif isinstance(event, Validated):
            self.validated(self.state.accuracy)
        return isinstance(event, Validated)

    def values(self) -> dict[str, str]:
        """The two accuracies, and beside the second F1 where there is such."""
        train, valid = ("-" if v is None else f"{v:.4f}" for v in (self.train, self.state.accuracy))
        if self.state.f1 is not None:
            valid += f" F1 {self.state.f1:.4f}"
        return {"train": train, "valid": valid, "left": self.left}


class PairsDisplay(Display):
    """Of a translator: nats per target token, the share of sources written right, time left."""

    def __init__(self, trainer: "Trainer") -> None:
        super().__init__(trainer)
        self.train: float | None = None
        self.valid: float | None = trainer.state.best_loss
        self.columns = (
            "train [bold]{train}[/]",
            "valid [bold]{valid}[/] nats/token",
            "{accuracy} right",
            "{left} left",
        )

    def note(self, event: object) -> bool:
        """Take in the losses; the accuracy stands in the state."""
        from charlm.training.task import Step, Validated

        if isinstance(event, Step) and not event.skipped:
            self.train = running_mean(self.train, event.loss)
        if isinstance(event, Validated):
            self.valid = event.loss
            self.validated(event.loss)
        return isinstance(event, Validated)

    def values(self) -> dict[str, str]:
        """Both losses, and the accuracy."""
        train, valid = ("-" if v is None else f"{v:.4f}" for v in (self.train, self.valid))
        right = "-" if self.state.accuracy is None else f"{self.state.accuracy:.1%}"
        return {"train": train, "valid": valid, "accuracy": right, "left": self.left}


def display_of(trainer: "Trainer") -> Display:
    """What shows a training of this kind."""
    if trainer.task.name == "translator":
        return PairsDisplay(trainer)
    return TextDisplay(trainer) if trainer.task.kind is None else LabelDisplay(trainer)


def show(events: Iterable[object], display: Display, *, quiet: bool = False) -> None:
    """Run through the events of a training, showing them on stderr."""
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


def _show_plain(events: Iterable[object], display: Display) -> None:
    said_at = 0.0
    for event in events:
        is_validated = display.note(event)
        for remark in (display.remark(event), display.mark(time.perf_counter())):
            if remark is not None:
                say(remark)
        due = time.perf_counter() - said_at >= _PLAIN_EVERY_SECONDS
        last = display.state.step == display.config.num_steps
        if due or (last and is_validated):
            say(display.line())
            said_at = time.perf_counter()
        if is_validated and (drawn := display.sample()) is not None:
            say(f"  sample: {drawn}")


def _show_live(events: Iterable[object], display: Display) -> None:
    progress, task, cells = _bar(display)
    with progress:
        for event in events:
            is_validated = display.note(event)
            for remark in (display.remark(event), display.mark(time.perf_counter())):
                if remark is not None:
                    progress.console.print(remark, markup=False, highlight=False)
            done, total = display.state.step, display.config.num_steps
            values = display.values() | {"spark": display.spark(cells)}
            progress.update(task, completed=done, total=total, **values)
            if is_validated and (drawn := display.sample()) is not None:
                progress.console.print(drawn, markup=False, highlight=False, style="dim")


def _bar(display: Display) -> tuple["Progress", "TaskID", int]:
    """The bar, its task, and how many bars of validations stand beside the figures."""
    from rich.progress import BarColumn, Progress, TextColumn

    console = bar_console()
    cells = _SPARKS if console.width >= _ROOM else _SPARKS // 2
    cells = cells if console.width >= _LITTLE_ROOM else 0
    columns = [one.replace("{", "{task.fields[").replace("}", "]}") for one in display.columns]
    if cells:  # behind the validation itself
        columns.insert(2, "{task.fields[spark]}")
    progress = Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        *map(TextColumn, columns),
        console=console,
        refresh_per_second=4,
    )
    done, total = display.state.step, display.config.num_steps
    task = progress.add_task("", completed=done, total=total, spark="", **display.values())
    return progress, task, cells
