"""Task: what a kind of model has to say for itself, so that one Trainer trains them all.

A task reads texts and makes them ready, chooses sizes, gives the steps what they learn from,
judges what came of it, and says what stands in a checkpoint. Whatever is the same for every kind
(budget, loop, optimizer, best step, rollback, saving, resuming) is in trainer.py and below, and
knows of no kind. docs/architecture.md tells how to add one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import torch

from charlm.checkpoints.run import Run, Saved
from charlm.config import Level, TrainingConfig
from charlm.engines.several import ALONE, Several
from charlm.equations.parameters import Arrays
from charlm.errors import UsageError
from charlm.nn.objectives import Objective, StepLoss
from charlm.training.kinds import Kind, TaskName
from charlm.training.ranks.ranks import Ranks
from charlm.training.request import Request, Say
from charlm.training.state import TrainingState
from charlm.training.texts.material import Material
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.streamed.place import Place


class Step(NamedTuple):
    """What one step gave, before its update: the mean loss in nats per target.

    accuracy is the share of labels that were right; None of a language model.
    """

    step: int
    loss: float
    num_targets: int
    grad_norm: float
    learning_rate: float
    skipped: bool
    accuracy: float | None = None


class Validated(NamedTuple):
    """The held-out figures at a step, None where nothing is held out.

    loss is in nats per token or label. Of labels there is more: temperature is the one that suits
    the held-out text best, f1 that of whole spans.
    """

    step: int
    loss: float | None
    is_best: bool
    accuracy: float | None = None
    temperature: float | None = None
    f1: float | None = None


class Planned(NamedTuple):
    """After a step the time that is left was planned anew: the training as it is from here on."""

    step: int
    training: TrainingConfig


class RolledBack(NamedTuple):
    """After a step the weights of an earlier one were put back (0: the first, random ones)."""

    step: int
    to_step: int


Event: TypeAlias = Step | Validated | Saved | RolledBack | Planned


class Config(Protocol):
    """The shape of a model, as JSON goes in and out."""

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Of these fields. Raises UsageError."""

    def to_json(self) -> dict[str, Any]:
        """The fields."""


class Texts(Protocol):
    """What is trained on and what is held out, as text."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""


class Loaded(Protocol):
    """A step of a run, loaded."""

    @property
    def path(self) -> Path:
        """Its directory."""

    @property
    def step(self) -> int:
        """Its number."""

    @property
    def run_id(self) -> str | None:
        """The run that it is of."""

    @property
    def weights(self) -> Arrays:
        """The parameters for use, by name."""

    @property
    def info(self) -> dict[str, Any]:
        """What model.json says."""

    def load_training(self) -> tuple[dict[str, Any], Arrays]:
        """Its counters and arrays, for going on. Raises CheckpointError."""


C = TypeVar("C", bound=Config)
S = TypeVar("S", bound=TrainingState)
M = TypeVar("M", bound=Material)
T = TypeVar("T", bound=Texts)
L = TypeVar("L", bound=Loaded)


class Task(ABC, Generic[C, S, M, T, L]):
    """One kind of model. A task has no state: all that changes is in a TrainingState."""

    declared: ClassVar[Kind]
    shape: ClassVar[type[Config]]  # C
    kind: ClassVar[str | None]  # as run.json and model.json call it; None of language models
    default_level: ClassVar[Level | None] = "char"
    loss: ClassVar[str]  # what the best step is the best by
    targets: ClassVar[str]  # what is predicted, in the plural
    rolls_back: ClassVar[tuple[str, ...]] = ("updates",)  # counters that belong to the weights

    @property
    def name(self) -> TaskName:
        """As a request calls it."""
        return self.declared.name

    # What is asked, read and chosen

    @abstractmethod
    def check(self, request: Request) -> None:
        """Raise UsageError for what cannot be, before anything is read."""

    @abstractmethod
    def read(self, request: Request, say: Say, given: TextsInMemory | None = None) -> T:
        """Read the texts and hold some out. Raises TextError where nothing is left.

        Texts ``given`` in memory stand in place of the files that a request names.
        """

    def read_in_passes(self, request: Request, place: Place, say: Say) -> T:
        """The same of a text that is not held in memory but kept at a place, as ids.

        Raises UsageError of a kind of model that needs all of it at once.
        """
        del place, say
        raise UsageError(f"a {request.task} has no store: leave that out.")

    @abstractmethod
    def prepare(self, request: Request, texts: T, say: Say) -> M:
        """Learn from the texts what turns them into ids, and turn them."""

    @abstractmethod
    def prepare_again(self, request: Request, texts: T, saved: L) -> M:
        """The same by what a saved step holds. Raises CheckpointError if that does not fit."""

    @abstractmethod
    def choose(
        self, request: Request, material: M, passes: float | None = None
    ) -> tuple[C, TrainingConfig, str]:
        """The shape and settings that suit the texts and the budget, and both in a line.

        passes are those that will be made, where they are known; num_steps is no more than a
        first guess.
        """

    def heeds_passes(self, request: Request, material: M) -> bool:
        """Whether to choose again once the passes are known: dropout may depend on them."""
        del request, material
        return False

    @abstractmethod
    def precisions(self, config: C, device: str) -> tuple[str, ...]:
        """Those worth trying where none was asked for; the first is the best by experience."""

    @abstractmethod
    def num_targets(self, material: M) -> int:
        """The targets that one pass over the text to train on has."""

    @abstractmethod
    def steps_per_epoch(self, config: C, training: TrainingConfig, material: M) -> int:
        """How many steps one pass takes."""

    @abstractmethod
    def most_epochs(self, request: Request, material: M, steps_per_epoch: int) -> float:
        """The passes after which a budget of time ends: more seldom help."""

    @abstractmethod
    def validations(
        self, config: C, training: TrainingConfig, material: M, epochs: float
    ) -> tuple[int, int]:
        """How many validations a training of so many epochs has, and the tokens each may read."""

    # Steps

    @abstractmethod
    def new_state(
        self, config: C, training: TrainingConfig, device: torch.device | str = "cpu"
    ) -> S:
        """A freshly initialised module, drawn from the seed, and its optimizer."""

    def start(self, state: S, training: TrainingConfig, material: M) -> None:
        """Put into a fresh state what its texts say of it beforehand."""
        del state, training, material

    @abstractmethod
    def objective(self, state: S, training: TrainingConfig, material: M) -> Objective:
        """What makes a StepLoss of (batch, generator). It holds state.module."""

    @abstractmethod
    def batches(self, state: S, training: TrainingConfig, material: M) -> Iterator[Any]:
        """The batch of the next step, for as long as one is asked for; state says where it is.

        Raises CheckpointError if the state points at a place that the text does not have.
        """

    def advance(
        self, state: S, training: TrainingConfig, batch: Any, step_loss: StepLoss, *, finite: bool
    ) -> None:
        """Bring up to date what the task keeps beside the parameters, and point at what is next."""
        del state, training, batch, step_loss, finite

    @abstractmethod
    def note(self, state: S, taken: Step) -> None:
        """Add up what is logged of steps."""

    @abstractmethod
    def rewind(self, state: S) -> None:
        """Point at the first batch again."""

    def deal(self, state: S, several: Several) -> None:
        """Keep, of what belongs to the rows of a batch, that of the rows which are read here."""
        del state, several

    def whole(self, state: S, ranks: Ranks) -> S:
        """A state with what belongs to all rows, for saving: all processes ask for it together."""
        del ranks
        return state

    @abstractmethod
    def validate(
        self,
        state: S,
        training: TrainingConfig,
        material: M,
        should_stop: Callable[[], bool],
        several: Several = ALONE,
    ) -> tuple[Validated | None, dict[str, Any]]:
        """The figures now, best and patience brought up to date, and the line of the log.

        None where there is no figure that is finite. ``several`` processes share the reading.
        Raises Stopped, nothing changed, if told to.
        """

    # Files

    @abstractmethod
    def weights(self, state: S) -> Arrays:
        """The parameters for use, by name."""

    @abstractmethod
    def files(self, state: S, material: M) -> tuple[dict[str, Any], dict[str, bytes]]:
        """What model.json says of a step, and the files beside the weights.

        Raises DivergedError if a number of them is not finite.
        """

    def copies(self, state: S) -> int:
        """How many numbers of each parameter a save holds: itself, and two moments."""
        del state
        return 3

    @abstractmethod
    def arrays(self, state: S) -> Arrays:
        """All tensors of a state that are not the weights for use, by name."""

    @abstractmethod
    def put_back(
        self, state: S, weights: Arrays, arrays: Arrays, counters: Mapping[str, Any]
    ) -> None:
        """Put back what ``files``, ``arrays`` and the counters held. Raises CheckpointError."""

    def put_back_beside(self, state: S, saved: L | None) -> None:
        """What else a saved step puts back; None stands for the first, random weights."""
        del state, saved

    def went_back(self, state: S) -> None:
        """Forget what came from weights that are no longer there, after a rollback."""
        del state

    @abstractmethod
    def load(self, path: Path) -> L:
        """A step, verified. Raises CheckpointError."""

    @abstractmethod
    def reader_files(self, saved: L | M) -> dict[str, bytes]:
        """The files of what turns text into ids."""

    def bytes_beside(self, material: M) -> int:
        """What a save takes beside the parameters and their moments."""
        return sum(map(len, self.reader_files(material).values()))

    def differences(self, saved: L, texts: T) -> str:
        """In what the texts differ from those of a saved step, in words; empty if not known."""
        del saved, texts
        return ""

    # The end

    def is_complete(self, run: Run, material: M) -> bool:
        """Whether nothing is left to be done when the steps are."""
        del run, material
        return True

    @abstractmethod
    def finish(self, run: Run, material: M, say: Say) -> str:
        """What is left to be done with the best step; how good it is, in a line.

        Called where something is held out.
        """


AnyTask: TypeAlias = Task[Any, Any, Any, Any, Any]
