"""What a person asks of a training: each option is declared here, once.

The command line makes its options of these fields, Python takes them as keywords, and run.json
keeps them. Nothing here imports torch or numpy.
"""

# ruff: noqa: RUF009 - option() makes a field
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args, get_type_hints

from charlm.config import (
    VALID_SHARE,
    Attention,
    Cell,
    Level,
    OnNan,
    Pooling,
    Precision,
    Split,
    TrainingConfig,
    are_typed,
)
from charlm.errors import CheckpointError, FieldError, UsageError, must_be_one_of
from charlm.tokenizers.base import NormalForm, SubwordModel
from charlm.training.kinds import TaskName

if TYPE_CHECKING:
    from charlm.text.conll import Places
    from charlm.text.labelled import LabelSource

LANGUAGE_MODEL: TaskName = "language-model"
CLOZE: TaskName = "cloze"
Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
AUTO = "auto"  # of a choice: as good as None
Say: TypeAlias = Callable[[str], None]


def option(
    help: str,  # noqa: A002 - as the option of a command line calls it
    default: Any = None,
    *,
    chosen: str | None = None,
    sets: str | None = None,
) -> Any:
    """A field: its line of help, its default, what stands for None, the config field that it sets.

    Where nothing is said to be chosen, help shows the default.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "chosen": chosen, "sets": sets}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Which text is read, and what is held out of it."""

    valid: tuple[str, ...] = option(
        "File to validate on; may be repeated.", (), chosen="hold out 10 %"
    )
    valid_share: float = option("Share of the text to hold out for validation.", VALID_SHARE)
    split_on: Literal["auto"] | Split | None = option("What one sequence is.", chosen="auto")
    distinct: bool = option("Train on each distinct sequence once, however often it occurs.", False)
    encoding: str = option("Encoding of the text.", "utf-8")
    errors: Literal["strict", "replace"] = option(
        "What to do with bytes that cannot be decoded.", "strict"
    )
    store: str | None = option(
        "Directory for the text as ids, so that the text need not fit in memory.",
        chosen="in the run, for more than 50 MB of text",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Where labels of sequences, or tags of tokens, stand."""

    label_from: str | None = option(
        "Where the label of each sequence stands: file or directory (its name is the label), "
        "column:2 or column:kind (of a table), field:kind (of JSON Lines).",
        chosen="no labels",
    )
    text_column: str | None = option(
        "Column of the text, by number or name.", chosen="the other one of two"
    )
    text_field: str | None = option(
        "Field of the text, of JSON Lines, or column of a Parquet file; doc.text is a field inside "
        "another.",
        chosen="text where labels are fields, else plain text",
    )
    header: bool = option("The first line names the columns.", False)
    token_column: str | None = option(
        "Column of the tokens, by number or by its name in CoNLL-U.", chosen="first, or form"
    )
    tag_column: str | None = option(
        "Column of the tags, by number or by its name in CoNLL-U.", chosen="last, or upos"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Where sources and targets stand, and the features of sources."""

    source_column: str | None = option("Column of the source, by number or name.", chosen="first")
    target_column: str | None = option("Column of the target, by number or name.", chosen="second")
    source_field: str | None = option("Field of the source, of JSON Lines.", chosen="none")
    target_field: str | None = option("Field of the target, of JSON Lines.", chosen="none")
    features_column: str | None = option(
        "Column of the features of the source (V;PST), by number or name.", chosen="none"
    )
    features_field: str | None = option(
        "Field of the features of the source, of JSON Lines.", chosen="none"
    )
    swap: bool = option("Learn the reverse direction: from target to source.", False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VocabularyOptions:
    """What a token is."""

    level: Level | None = option("What a token is.", chosen="char; word for a tagger")
    target_level: Level | None = option("What a token of a target is.", chosen="as level")
    shared_vocabulary: bool = option("Sources and targets share one vocabulary.", False)
    vocab_size: int | None = option("Maximum number of types.", chosen="by level")
    min_count: int | None = option(
        "Types that occur less often become <UNK> (char and word level).", chosen="2"
    )
    lowercase: bool = option("Convert words to lower case (word level).", False)
    pretokenized: bool = option(
        "The text is tokenized already: spaces separate words (word level).", False
    )
    subword_model: SubwordModel = option("Subword algorithm (subword level).", "unigram")
    normalize: NormalForm | None = option("Unicode normal form to convert text to.", chosen="none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The shape of the network: fields of its config."""

    cell: Cell | None = option("Recurrent cell.", chosen="lstm")
    layers: int | None = option("Number of recurrent layers.", chosen="1", sets="num_layers")
    hidden: int | None = option(
        "Units per recurrent layer.", chosen="by text and time", sets="hidden_size"
    )
    embedding: int | None = option(
        "Size of the embedding.", chosen="by level", sets="embedding_size"
    )
    output_layers: int | None = option(
        "Hidden layers between the recurrent layers and the softmax.",
        chosen="0; 1 for a cloze model",
    )
    dropout: float | None = option("Dropout between layers and on the output.", chosen="by text")
    input_dropout: float | None = option(
        "Dropout on the input of the first layer.", chosen="by text"
    )
    tie_weights: bool | None = option(
        "Share one matrix between embedding and softmax.",
        chosen="not at char level, nor for a translator",
    )
    attention: Attention | None = option(
        "How a decoder looks back at the source.", chosen="additive"
    )
    pooling: Pooling | None = option(
        "How a classifier combines the positions of a text.", chosen="mean-max"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureOptions:
    """What is counted beside the network, and mixed with it."""

    ngram: int | None = option(
        "Also count n-grams of up to this many tokens (1-8), of pairs joint ones, and mix both.",
        chosen="none",
    )
    cache: bool = option("Mix in a cache of the sequence's own earlier tokens.", False)
    adaptive: bool = option(
        "Also keep the training text, to adapt with as it reads; with n-grams and a cache.", False
    )
    counts_only: bool = option("Count n-grams alone, in seconds, and train no network.", False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetOptions:
    """How long training takes: at most one is given."""

    seconds: float | None = option(
        "Maximum training time: 90s, 10m, 1h.", chosen="3m; 2m for a classifier or tagger"
    )
    epochs: float | None = option("Number of passes over the training text.")
    steps: int | None = option("Number of optimizer updates.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """How the network learns: fields of TrainingConfig."""

    batch_size: int | None = option("Sequences per step.", chosen="by text")
    bptt_length: int | None = option(
        "Truncated backpropagation length, in tokens.", chosen="by level"
    )
    learning_rate: float | None = option("Peak learning rate.", chosen="0.002 to 0.008, by text")
    weight_decay: float | None = option(
        "Weight decay, applied to weight matrices only.", chosen="0.01, 0.05 or 0.1, by text"
    )
    smoothing: float | None = option(
        "Share of each target that comes from n-grams of the rest of the text.",
        chosen="0.3 or 0, by text",
    )
    max_grad_norm: float | None = option("Clip gradients to this norm.", chosen="1")
    patience: int | None = option(
        "Stop after this many validations without a new best.", chosen="never"
    )
    on_nan: OnNan | None = option(
        "If a gradient is not finite: skip the step, roll back to the best weights at half the "
        "learning rate, or stop.",
        chosen="skip",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What computes, how exactly, and from which seed."""

    precision: Literal["auto"] | Precision | None = option(
        "Precision of matrix products.", chosen="auto"
    )
    device: Device = option("Device to compute on.", "auto")
    seed: int = option("Random seed.", 0)


GROUPS: dict[str, type] = {
    "Text": TextOptions,
    "Labels and tags": LabelOptions,
    "Pairs": PairOptions,
    "Vocabulary": VocabularyOptions,
    "Model": ModelOptions,
    "Mixture": MixtureOptions,
    "Budget": BudgetOptions,
    "Optimization": OptimizerOptions,
    "Computation": ComputeOptions,
}


def _sets(group: Any) -> dict[str, str]:
    """The options of a group, each with the config field that it sets."""
    return {field.name: field.metadata["sets"] or field.name for field in dataclasses.fields(group)}


MODEL_FIELDS = _sets(ModelOptions)
TRAINING_FIELDS = _sets(OptimizerOptions)
CONFIG_FIELDS = MODEL_FIELDS | TRAINING_FIELDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(
    TextOptions,
    LabelOptions,
    PairOptions,
    VocabularyOptions,
    ModelOptions,
    MixtureOptions,
    BudgetOptions,
    OptimizerOptions,
    ComputeOptions,
):
    """The question. None stands for 'choose for me', and so does auto.

    ``task`` is the kind of model (kinds.py). At most one of seconds, epochs and steps is given.
    Raises UsageError for what cannot be.
    """

    task: TaskName = LANGUAGE_MODEL
    corpus: tuple[str, ...]

    def __post_init__(self) -> None:
        for name, known in choices().items():
            value = getattr(self, name)
            if value is not None and value not in known:
                raise FieldError(name, must_be_one_of(known, value))
        for name in ("split_on", "precision"):
            if getattr(self, name) == AUTO:
                object.__setattr__(self, name, None)
        check_budget(self.seconds, self.epochs, self.steps)
        asked = {**self.training, "seed": self.seed, "precision": self.precision or "fp32"}
        TrainingConfig(**{"num_steps": 1, "segment_length": 10**9, **asked})

    @property
    def model(self) -> dict[str, Any]:
        """The fields of the model's config that were asked for."""
        return self._asked(MODEL_FIELDS)

    @property
    def training(self) -> dict[str, Any]:
        """The fields of TrainingConfig that were asked for."""
        return self._asked(TRAINING_FIELDS)

    def _asked(self, fields: Mapping[str, str]) -> dict[str, Any]:
        values = {config: getattr(self, name) for name, config in fields.items()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def label_source(self) -> "LabelSource | None":
        """Where labels stand, if sequences have any. Raises UsageError."""
        from charlm.text.labelled import LabelSource

        if self.label_from is None:
            return None
        return LabelSource.parse(
            self.label_from,
            text_column=self.text_column,
            text_field=self.text_field,
            header=self.header,
        )

    @property
    def places(self) -> "Places":
        """The columns of a tagger's tokens and tags. Raises UsageError."""
        from charlm.text.conll import Places

        return Places(self.token_column, self.tag_column)

    def refuse(self, lacking: frozenset[str]) -> None:
        """Raise UsageError if a field was asked for that the task does not have."""
        if wrong := self.named(lacking):
            raise UsageError(f"a {self.task} has no {', '.join(wrong)}: leave that out.")

    def named(self, fields: frozenset[str]) -> list[str]:
        """Those of some fields that are not as they are where nothing is asked."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [
            name
            for name, default in defaults.items()
            if name in fields and getattr(self, name) != default
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON; files are named by absolute paths, fields of configs as configs call them."""
        values = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in CONFIG_FIELDS
        }
        for name in ("corpus", "valid"):
            values[name] = [p if p == "-" else str(Path(p).absolute()) for p in values[name]]
        if self.store:
            values["store"] = str(Path(self.store).absolute())
        return {**values, "model": self.model, "training": self.training}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """What ``to_json`` wrote, or an earlier charlm's. Raises CheckpointError for others."""
        names = {field.name for field in dataclasses.fields(cls)}
        if isinstance(values, dict):
            values = _of_today(values)
        if (
            not isinstance(values, dict)
            or not {"corpus", "valid"} <= set(values) <= names
            or not are_typed(cls, values)
        ):
            raise CheckpointError("run.json does not hold what was asked of this training.")
        try:
            lists = {name: tuple(map(str, values[name])) for name in ("corpus", "valid")}
            return cls(**{**values, **lists})
        except (TypeError, UsageError) as error:
            raise CheckpointError(f"run.json asks for what cannot be: {error}") from None


def choices() -> dict[str, tuple[str, ...]]:
    """The fields of a request that are one of a few words, and which."""
    found = {}
    for name, hint in get_type_hints(Request).items():
        words = _words(hint)
        if words:
            found[name] = words
    return found


def _words(hint: Any) -> tuple[str, ...]:
    """The words of a Literal, also of a union of some with None."""
    parts = get_args(hint)
    if all(isinstance(part, str) for part in parts):
        return parts
    return tuple(word for part in parts for word in _words(part))


def _of_today(values: dict[str, Any]) -> dict[str, Any]:
    """A request's fields, of what today's or an earlier charlm wrote.

    Before there were tasks some requests had a kind of head, and models that read both sides were
    told by their config.
    """
    values = dict(values)
    if type(values.get("text_column")) is int:
        values["text_column"] = str(values["text_column"])
    model, training = values.pop("model", {}), values.pop("training", {})
    if not isinstance(model, dict) or not isinstance(training, dict):
        return {}
    model = dict(model)
    both = model.pop("bidirectional", False)
    kind = values.pop("kind", CLOZE if both else LANGUAGE_MODEL)
    values.setdefault("task", kind)
    option_of = {config: name for name, config in CONFIG_FIELDS.items()}
    for config, value in (model | training).items():
        values[option_of.get(config, "")] = value
    return values


def check_budget(seconds: float | None, epochs: float | None, steps: int | None) -> None:
    """At most one, and that one positive. Raises UsageError."""
    given = [value for value in (seconds, epochs, steps) if value is not None]
    if len(given) > 1:
        raise UsageError("give only one of seconds, epochs and steps.")
    if any(not 0 < value < 1e12 for value in given):
        raise UsageError("seconds, epochs and steps must be more than 0.")
