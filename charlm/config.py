"""What a model is and how it is trained: frozen, keyword-only, checked, to and from JSON."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from charlm.errors import FieldError, UsageError, must_be_one_of

Cell: TypeAlias = Literal[
    "lstm", "lstm-peephole", "gru", "gru-reset-before", "gru-minimal", "rnn-tanh", "rnn-relu"
]
Level: TypeAlias = Literal["char", "word", "subword"]
Split: TypeAlias = Literal["line", "paragraph", "file"]
Precision: TypeAlias = Literal["fp32", "bf16"]
OnNan: TypeAlias = Literal["skip", "rollback", "stop"]
Pooling: TypeAlias = Literal["mean-max", "last"]
Attention: TypeAlias = Literal["additive", "multiplicative", "none"]
Unknown: TypeAlias = Literal["resample", "spell", "keep"]
Adapt: TypeAlias = Literal["off", "frozen", "sequence", "file"]

CELLS: tuple[Cell, ...] = get_args(Cell)
LEVELS: tuple[Level, ...] = get_args(Level)
SPLITS: tuple[Split, ...] = get_args(Split)
ADAPTS: tuple[Adapt, ...] = get_args(Adapt)
ADAPTS_ALONE: tuple[Adapt, ...] = ("off", "frozen", "sequence")  # where texts come by themselves
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
ON_NAN: tuple[OnNan, ...] = get_args(OnNan)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
UNKNOWN: tuple[Unknown, ...] = get_args(Unknown)
HEADS = ("classifier", "tagger")  # kinds of model that tell labels
OTHERS = (*HEADS, "translator")  # kinds that are no language models
LONGEST = 1000  # tokens of a text that a classifier reads; a tagger reads on in pieces
MOST_SMOOTHING = 0.9  # of a target: the rest is the token itself
VALID_SHARE = 0.1  # of a corpus is held out
RUNS = Path("checkpoints")  # where runs stand, unless another directory is named

# Of a field that came after models had been saved: written, and asked for, only where it is used.
LATER = {"later": True}


def are_typed(kind: type, values: Mapping[str, Any]) -> bool:
    """Whether values from JSON have the types of a dataclass's fields; a list stands for a tuple.

    Knows what fields of requests are: str, int, float, bool, literals, tuples of str, and None.
    """
    hints = get_type_hints(kind)
    return all(_is_of(value, hints[name]) for name, value in values.items())


def _is_of(value: object, hint: Any) -> bool:
    plain = get_origin(hint) or hint
    if plain in (UnionType, Union):
        return any(_is_of(value, one) for one in get_args(hint))
    if plain is Literal:
        return type(value) is str and value in get_args(hint)
    if plain is tuple:
        return type(value) in (list, tuple) and all(type(part) is str for part in value)  # type: ignore[attr-defined]
    return type(value) is plain or (plain is float and type(value) is int)


def is_later(field: "dataclasses.Field[Any]") -> bool:
    """Whether a field came after models had been saved (LATER)."""
    return "later" in field.metadata


class Checked:
    """JSON in and out, and the checks every config shares.

    ``CONSTANTS`` are what the JSON of a kind says beside its fields.
    """

    CONSTANTS: ClassVar[Mapping[str, Any]] = {}

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary of JSON values, without those of LATER that are not used."""
        values: dict[str, Any] = dataclasses.asdict(self)  # type: ignore[call-overload]
        values |= self.CONSTANTS
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if is_later(field) and values[field.name] == field.default:
                del values[field.name]
        return values

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The config that ``to_json`` wrote.

        Raises UsageError if a field is missing, unknown, of another type or out of range.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if not isinstance(values, dict):
            raise UsageError(f"{cls.__name__} must be a JSON object, got {type(values).__name__}.")
        known = {**fields, **cls.CONSTANTS}
        if unknown := sorted(set(values) - set(known)):
            raise UsageError(f"{cls.__name__} has no field {', '.join(map(repr, unknown))}.")
        required = {name for name in known if name not in fields or not is_later(fields[name])}
        if missing := sorted(required - set(values)):
            raise UsageError(f"{cls.__name__} lacks {', '.join(map(repr, missing))}.")
        for name, value in cls.CONSTANTS.items():
            if values[name] != value:
                raise FieldError(name, f"must be {value!r}, got {values[name]!r}.")
        return cls(**{name: value for name, value in values.items() if name in fields})

    def _check(self, name: str, kind: type, low: float, high: float) -> None:
        """A number of the right kind within [low, high]; nan is within nothing."""
        value: Any = getattr(self, name)
        if kind is float and type(value) is int and low <= value <= high:
            value = float(value)
            object.__setattr__(self, name, value)
        right = type(value) is kind  # a bool is no number here
        if not right or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise FieldError(name, f"must be {what} from {low:g} to {high:g}, got {value!r}.")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise FieldError(name, must_be_one_of(choices, value))

    def _check_flag(self, name: str) -> None:
        if type(getattr(self, name)) is not bool:
            raise FieldError(name, f"must be true or false, got {getattr(self, name)!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan(Checked):
    """How a training fills its time, as it was planned at one of its steps.

    At ``step``, after ``seconds`` of training, ``progress`` (0 to 1) of the schedule lay behind,
    and ``rate`` steps per second were expected; the training is to end after ``end`` seconds. The
    rest of the schedule is spread over the steps from there to TrainingConfig.num_steps. So many
    ``neighbours``, other programs, ran beside it.
    """

    end: float
    rate: float
    step: int = 0
    progress: float = 0.0
    seconds: float = 0.0
    neighbours: int = 0

    def __post_init__(self) -> None:
        self._check("end", float, 0.0, 1e12)
        self._check("rate", float, 0.0, 1e12)
        self._check("step", int, 0, 10**12)
        self._check("progress", float, 0.0, 1.0)
        self._check("seconds", float, 0.0, 1e12)
        self._check("neighbours", int, 0, 10**6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(Checked):
    """How a model is trained, once everything that 'auto' stood for has been settled.

    The run is a function of these fields, the model's shape and the training text: the learning
    rate rises over warmup_steps to learning_rate and falls by a cosine to end_learning_rate at
    num_steps. batch_size counts sequences, bptt_length and segment_length tokens,
    average_decay is that of the running mean of the weights (0 is off). With sampled_types the
    softmax of a step sums over the frequent_types most frequent types and so many of the others,
    drawn anew (0 is off: over all); row_wise, it changes no other rows of the matrices of types
    than those that it read (training/rows.py). smoothing is the share of each target that is what
    n-grams of the rest of the text say there (counts/left_out.py). validate_tokens limits what a
    quick validation reads (0 is all that is held out). on_nan says what a step does whose loss or
    gradient is not finite: the weights stay as they are (skip), become those of the best step
    again, with half the learning rate (rollback), or the run ends (stop). Where the budget is time
    there are a plan, which changes as the rate becomes known, and the number of threads (0 is
    torch's own).
    """

    num_steps: int
    batch_size: int = 32
    bptt_length: int = 64
    segment_length: int = 2048
    learning_rate: float = 4e-3
    end_learning_rate: float = 4e-5
    warmup_steps: int = 50
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    max_grad_norm: float = 1.0
    average_decay: float = 0.0
    frequent_types: int = 0
    sampled_types: int = 0
    precision: str = "fp32"
    validate_every: int = 500
    validate_tokens: int = 0
    patience: int = 0
    on_nan: str = "skip"
    seed: int = 0
    threads: int = dataclasses.field(default=0, metadata=LATER)
    row_wise: bool = dataclasses.field(default=False, metadata=LATER)
    smoothing: float = dataclasses.field(default=0.0, metadata=LATER)
    plan: Plan | None = dataclasses.field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        self._check("num_steps", int, 1, 10**12)
        self._check("batch_size", int, 1, 65_536)
        self._check("bptt_length", int, 1, 65_536)
        self._check("segment_length", int, self.bptt_length, 10**9)
        self._check("learning_rate", float, 0.0, 100.0)
        self._check("end_learning_rate", float, 0.0, 100.0)
        self._check("warmup_steps", int, 0, 10**9)
        self._check("weight_decay", float, 0.0, 10.0)
        self._check("beta1", float, 0.0, 0.9999999)
        self._check("beta2", float, 0.0, 0.9999999)
        self._check("max_grad_norm", float, 1e-12, 1e12)
        self._check("average_decay", float, 0.0, 0.9999999)
        self._check("frequent_types", int, 0, 10_000_000)
        self._check("sampled_types", int, 0, 10_000_000)
        self._check_choice("precision", PRECISIONS)
        self._check("validate_every", int, 1, 10**12)
        self._check("validate_tokens", int, 0, 10**12)
        self._check("patience", int, 0, 10**6)
        self._check_choice("on_nan", ON_NAN)
        self._check("seed", int, 0, 2**63 - 1)
        self._check("threads", int, 0, 65_536)
        self._check_flag("row_wise")
        self._check("smoothing", float, 0.0, MOST_SMOOTHING)
        if self.smoothing and self.sampled_types:
            raise FieldError("smoothing", "is 0 where a step sums over a sample of the types.")
        if self.row_wise and (not self.sampled_types or self.average_decay):
            what = "goes with sampled_types, and not with average_decay."
            raise FieldError("row_wise", what)
        if self.plan is not None and not isinstance(self.plan, Plan):  # as JSON has it
            object.__setattr__(self, "plan", Plan.from_json(self.plan))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig(Checked):
    """How sequences are drawn.

    temperature 0 is greedy. top_k and top_p are None when off. A sequence ends at <EOS>, at the
    first of the stop strings (which is not part of the text), or after max_tokens tokens.
    unknown says what becomes of <UNK>: with ``resample`` it is drawn again until it is another
    type, with ``keep`` it stands in the text as U+FFFD, with ``spell`` (word level) as a word that
    the model invents.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    max_tokens: int = 1000
    stop: tuple[str, ...] = ()
    unknown: str = "resample"
    seed: int = 0

    def __post_init__(self) -> None:
        self._check("temperature", float, 0.0, 1000.0)
        if self.top_k is not None:
            self._check("top_k", int, 1, 10_000_000)
        if self.top_p is not None:
            self._check("top_p", float, 1e-9, 1.0)
        self._check("max_tokens", int, 1, 10**9)
        self._check_choice("unknown", UNKNOWN)
        self._check("seed", int, 0, 2**63 - 1)
        if not isinstance(self.stop, (tuple, list)):
            raise FieldError("stop", f"must be a list of strings, got {self.stop!r}.")
        if any(not isinstance(text, str) or not text for text in self.stop):
            raise UsageError("a stop string must not be empty.")
        object.__setattr__(self, "stop", tuple(self.stop))  # JSON has lists alone
