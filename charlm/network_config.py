"""The shape of a network, one class for each kind: frozen, checked, to and from JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from charlm.config import ATTENTIONS, CELLS, LATER, POOLINGS, Checked

# Of more types than these no array (V, H) and no second copy of the embedding is made where it can
# be done without, and scores are made a block of types at a time.
MANY_TYPES = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig(Checked):
    """What every kind has: an embedding, a recurrent stack, a network at each step, a softmax.

    vocab_size counts every type the tokenizer knows, <UNK> and <EOS> included. hidden_size is that
    of one direction; DIRECTIONS are 2 where the stack reads from both sides. output_layers is the
    number of hidden layers of the network that stands on the recurrent stack. dropout acts between
    recurrent layers and on what the output network reads, input_dropout on what the first layer
    reads.
    """

    DIRECTIONS: ClassVar[int] = 2
    FEWEST_TYPES: ClassVar[int] = 3

    vocab_size: int
    cell: str = "lstm"
    num_layers: int = 1
    embedding_size: int = 64
    hidden_size: int = 320
    output_layers: int = 0
    dropout: float = 0.0
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check("vocab_size", int, self.FEWEST_TYPES, 10_000_000)
        self._check_choice("cell", CELLS)
        self._check("num_layers", int, 1, 64)
        self._check("embedding_size", int, 1, 65_536)
        self._check("hidden_size", int, 1, 65_536)
        self._check("output_layers", int, 0, 16)
        self._check("dropout", float, 0.0, 0.95)
        self._check("input_dropout", float, 0.0, 0.95)

    @property
    def has_many_types(self) -> bool:
        """Whether arrays that grow with the vocabulary would fill memory (MANY_TYPES)."""
        return self.vocab_size > MANY_TYPES


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalConfig(NetworkConfig):
    """The shape of a RecurrentLM, which reads from left to right.

    With tie_weights the embedding is also the softmax matrix. Of a conditional model num_labels
    are the labels that a sequence can have, and label_size is the size of their embedding; both
    are 0 where sequences have none.
    """

    DIRECTIONS: ClassVar[int] = 1

    tie_weights: bool = False
    num_labels: int = dataclasses.field(default=0, metadata=LATER)
    label_size: int = dataclasses.field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_flag("tie_weights")
        self._check("num_labels", int, 0, 1_000_000)
        self._check("label_size", int, min(1, self.num_labels), 65_536 if self.num_labels else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClozeConfig(NetworkConfig):
    """The shape of a BidirectionalLM: one stack reads from left to right, one from right to left.

    With tie_weights the embedding is also the softmax matrix.
    """

    CONSTANTS: ClassVar[Mapping[str, Any]] = {"bidirectional": True}

    tie_weights: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_flag("tie_weights")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabellingConfig(NetworkConfig):
    """What classifiers and taggers have: so many labels."""

    FEWEST_TYPES: ClassVar[int] = 2

    num_labels: int
    hidden_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("num_labels", int, 2, 1_000_000)

    @property
    def kind(self) -> str:
        """As run.json and model.json call it."""
        kind: str = self.CONSTANTS["kind"]
        return kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(LabellingConfig):
    """The shape of a network that names the kind of a text.

    pooling is what it does with the positions of a text: their mean and maximum, or the last
    states.
    """

    CONSTANTS: ClassVar[Mapping[str, Any]] = {
        "kind": "classifier",
        "num_letters": 0,
        "letter_embedding_size": 32,
        "letter_hidden_size": 32,
    }

    pooling: str = "mean-max"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("pooling", POOLINGS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggerConfig(LabellingConfig):
    """The shape of a network that names the kind of each token.

    num_letters are the types of letters that words are spelled with, <UNK> among them,
    letter_embedding_size and letter_hidden_size the sizes of what reads them.
    """

    CONSTANTS: ClassVar[Mapping[str, Any]] = {"kind": "tagger", "pooling": "mean-max"}

    num_letters: int
    letter_embedding_size: int = 32
    letter_hidden_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("num_letters", int, 1, 10_000_000)
        self._check("letter_embedding_size", int, 1, 65_536)
        self._check("letter_hidden_size", int, 1, 65_536)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairsConfig(NetworkConfig):
    """The shape of an EncoderDecoder, which reads a source and writes a target.

    vocab_size are the types of the target side, source_vocab_size those of the source side.
    num_layers is that of the encoder, which reads both ways, and of the decoder, which writes from
    left to right; each direction has hidden_size units. attention says how the decoder looks back
    at the source: additive, multiplicative, or none, where all it has is the encoder's last state.
    With shared_vocabulary the first types of the source side are those of the target side, and have
    their embedding; with tie_weights the embedding of targets is also the softmax matrix.
    """

    DIRECTIONS: ClassVar[int] = 1
    CONSTANTS: ClassVar[Mapping[str, Any]] = {"kind": "translator"}

    source_vocab_size: int
    attention: str = "additive"
    shared_vocabulary: bool = dataclasses.field(default=False, metadata=LATER)
    tie_weights: bool = dataclasses.field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_flag("shared_vocabulary")
        self._check_flag("tie_weights")
        least = self.vocab_size if self.shared_vocabulary else 3
        self._check("source_vocab_size", int, least, 10_000_000)
        self._check_choice("attention", ATTENTIONS)

    @property
    def source_types(self) -> int:
        """The types of sources that have an embedding of their own."""
        return self.source_vocab_size - (self.vocab_size if self.shared_vocabulary else 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountsConfig(Checked):
    """The shape of a model of counts alone, which has no network.

    vocab_size counts every type, <UNK> and <EOS> included; order is that of the longest n-gram,
    num_ngrams how many there are of all orders.
    """

    CONSTANTS: ClassVar[Mapping[str, Any]] = {"counts": True}

    vocab_size: int
    order: int
    num_ngrams: int

    def __post_init__(self) -> None:
        self._check("vocab_size", int, 3, 10_000_000)
        self._check("order", int, 1, 16)
        self._check("num_ngrams", int, 1, 2**40)


LanguageConfig: TypeAlias = CausalConfig | ClozeConfig
TextConfig: TypeAlias = CausalConfig | CountsConfig  # of what reads from left to right
HeadConfig: TypeAlias = ClassifierConfig | TaggerConfig


def language_config(values: object) -> LanguageConfig | CountsConfig:
    """The shape of a language model from JSON. Raises UsageError."""
    told = values if isinstance(values, dict) else {}
    if told.get("counts") is True:
        return CountsConfig.from_json(values)
    return (ClozeConfig if told.get("bidirectional") is True else CausalConfig).from_json(values)


def head_config(values: object) -> HeadConfig:
    """The shape of a classifier or tagger from JSON. Raises UsageError."""
    is_tagger = isinstance(values, dict) and values.get("kind") == "tagger"
    return (TaggerConfig if is_tagger else ClassifierConfig).from_json(values)
