"""The kinds of model that can be trained, as far as can be told without torch.

What each kind lacks is declared here, once: a request is checked by it, and so is the command line
before anything heavy is imported. How a kind is trained stands in tasks/.
"""

import dataclasses
from typing import Literal, TypeAlias, get_args

from charlm.config import LEVELS, Level

TaskName: TypeAlias = Literal["language-model", "cloze", "classifier", "tagger", "translator"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of model.

    seconds is the budget where none is asked for. lacks are the options of a Request that mean
    nothing here (index is whether the training text is indexed), and because is the reason. levels
    are those at which its text can be read.
    """

    name: TaskName
    seconds: float
    because: str
    lacks: frozenset[str]
    levels: tuple[Level, ...] = LEVELS


_OF_TAGGERS = frozenset({"token_column", "tag_column"})
_COUNTED = frozenset({"ngram", "cache", "adaptive", "counts_only"})
_OF_LANGUAGE_MODELS = _COUNTED | {
    *("normalize", "tie_weights", "bptt_length", "smoothing", "index")
}
_OF_PAIRS = frozenset(
    {"source_column", "target_column", "features_column"}
    | {"source_field", "target_field", "features_field"}
    | {"swap", "target_level", "shared_vocabulary", "attention"}
)
_OF_LABELS = frozenset({"label_from", "text_column", "text_field", "header"})
_OF_LARGE_TEXTS = frozenset({"store"})

CAUSAL = Kind(
    name="language-model",
    seconds=180.0,
    because="a language model predicts tokens from left to right",
    lacks=_OF_TAGGERS | _OF_PAIRS | {"pooling"},
)
CLOZE = Kind(
    name="cloze",
    seconds=180.0,
    because="a bidirectional model reads both sides, and has no probability of a text",
    lacks=_OF_TAGGERS
    | _OF_LABELS
    | _OF_PAIRS
    | _OF_LARGE_TEXTS
    | _COUNTED
    | {"pooling", "smoothing"},
)
CLASSIFIER = Kind(
    name="classifier",
    seconds=120.0,
    because="a classifier predicts labels, not tokens",
    lacks=_OF_TAGGERS | _OF_PAIRS | _OF_LANGUAGE_MODELS | _OF_LARGE_TEXTS,
)
TAGGER = Kind(
    name="tagger",
    seconds=120.0,
    because="a tagger reads tokenized text, one token and its tag per line",
    lacks=_OF_LANGUAGE_MODELS
    | _OF_LABELS
    | _OF_PAIRS
    | _OF_LARGE_TEXTS
    | {"split_on", "distinct", "lowercase", "pretokenized", "subword_model", "pooling"},
    levels=("word",),
)
PAIRS = Kind(
    name="translator",
    seconds=180.0,
    because="a translator reads a source and writes a target",
    lacks=_OF_TAGGERS
    | _OF_LARGE_TEXTS
    | (_OF_LANGUAGE_MODELS - {"tie_weights", "ngram"})
    | (_OF_LABELS - {"header"})
    | {"split_on", "pooling"},
)
# What is of no use where n-grams alone are counted: what shapes, trains or runs a network, labels,
# and what is there for texts larger than memory.
COUNTS_LACK = frozenset(
    {"cell", "layers", "hidden", "embedding", "output_layers", "dropout", "input_dropout"}
    | {"tie_weights", "seconds", "epochs", "steps", "batch_size", "bptt_length", "learning_rate"}
    | {"weight_decay", "smoothing", "max_grad_norm", "patience", "on_nan", "precision", "device"}
    | {"label_from", "store", "adaptive"}
)
KINDS: dict[TaskName, Kind] = {
    kind.name: kind for kind in (CAUSAL, CLOZE, CLASSIFIER, TAGGER, PAIRS)
}
