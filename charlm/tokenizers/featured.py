"""Sources with features (features.py): each feature is one token, read before those of the text.

They stand before the text, as in Kann & Schütze 2016: the stack that reads ahead knows them at each
token of the text, the one that reads back ends with them, and both states start the decoder.
"""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from charlm.errors import CheckpointError
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.features import TAB, Featured, featured, parted
from charlm.tokenizers.files import HEADER_NAME
from charlm.tokenizers.ids import IdArray, Ids, checked_ids


class FeaturedTokenizer:
    """The tokens of another tokenizer, features in front of them.

    Features have ids of their own, behind those of the other tokenizer, so none is taken for what
    is spelled like it. A feature that has no id is left out: ``unknown_features`` tells it.
    """

    def __init__(self, inner: Tokenizer, features: Iterable[str]) -> None:
        self.inner = inner
        self.features = tuple(features)
        self._ids = {name: inner.vocab_size + at for at, name in enumerate(self.features)}
        self.level, self.notes, self.ignores = inner.level, inner.notes, inner.ignores
        self.vocab_size = inner.vocab_size + len(self.features)
        self.unk_id, self.eos_id = inner.unk_id, inner.eos_id

    def normalise(self, text: str) -> str:
        """The line with the features that have an id, in their order."""
        there = parted(text)
        known = tuple(name for name in there.features if name in self._ids)
        return Featured(self.inner.normalise(there.text), known).line

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of the features, and of the text."""
        there = parted(text)
        return np.concatenate((self._of_features(there), self.inner.encode(there.text)))

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The same, and the range of each token of the text; that of a feature is empty."""
        there = parted(text)
        before = self._of_features(there)
        ids, offsets = self.inner.encode_with_offsets(there.text)
        return np.concatenate((before, ids)), [(0, 0)] * len(before) + offsets

    def unknown(self, text: str) -> list[str]:
        """What is unknown in the text, in order."""
        return self.inner.unknown(parted(text).text)

    def unknown_features(self, text: str) -> list[str]:
        """The features that have no id."""
        return [name for name in parted(text).features if name not in self._ids]

    def is_unknown(self, kind: str) -> bool:
        """Whether <UNK> can be spelled so."""
        return TAB not in kind and self.inner.is_unknown(kind)

    def openers(self) -> IdArray:
        """The ids (K,) of the types that come only once a word has ended."""
        return self.inner.openers()

    def divide(self, text: str) -> tuple[str, str]:
        """Nowhere: what comes last is read first."""
        return "", text

    def encode_prompt(self, text: str) -> IdArray:
        """The ids (N,) of the features, and of a text that is to be continued."""
        there = parted(text)
        return np.concatenate((self._of_features(there), self.inner.encode_prompt(there.text)))

    def beginnings(self, text: str) -> list[Beginning]:
        """Those of the text."""
        there = parted(text)
        before = self._of_features(there)
        found = self.inner.beginnings(there.text)
        return [one._replace(ids=np.concatenate((before, one.ids))) for one in found]

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The line of ids (N,)."""
        features, others = self._divided(ids)
        return Featured(self.inner.decode(others, unknown), features).line

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The line, and the range of each token of the text in it; that of a feature is empty."""
        features, others = self._divided(ids)
        text, offsets = self.inner.decode_with_offsets(others)
        found = iter(offsets)
        ranges = [
            (0, 0) if token >= self.inner.vocab_size else next(found) for token in np.asarray(ids)
        ]
        return Featured(text, features).line, ranges

    def pieces(self, ids: Ids) -> list[str]:
        """Each token in a readable form: features as they are written."""
        array = checked_ids(ids, self.vocab_size)
        are_features = array >= self.inner.vocab_size
        others = iter(self.inner.pieces(array[~are_features]))
        return [
            self.features[token - self.inner.vocab_size] if is_feature else next(others)
            for token, is_feature in zip(array.tolist(), are_features.tolist(), strict=True)
        ]

    def to_files(self) -> dict[str, bytes]:
        """The files of the other tokenizer, the features in tokenizer.json."""
        files = self.inner.to_files()
        header = {**json.loads(files[HEADER_NAME]), "features": list(self.features)}
        return {**files, HEADER_NAME: json.dumps(header).encode("ascii") + b"\n"}

    def _of_features(self, there: Featured) -> IdArray:
        known = [self._ids[name] for name in there.features if name in self._ids]
        return np.array(known, dtype=np.int32)

    def _divided(self, ids: Ids) -> tuple[tuple[str, ...], IdArray]:
        """The features among ids, and the other ids."""
        array = checked_ids(ids, self.vocab_size)
        are_features = array >= self.inner.vocab_size
        names = (self.features[at] for at in array[are_features] - self.inner.vocab_size)
        return tuple(names), array[~are_features]


def features_in(values: object) -> list[str]:
    """The features of tokenizer.json. Raises CheckpointError for what is no list of them."""
    if type(values) is not list or not all(type(name) is str for name in values):
        raise CheckpointError(f"{HEADER_NAME} is damaged: features must be a list of strings.")
    if any(featured("", name).features != (name,) for name in values) or len(set(values)) != len(
        values
    ):
        raise CheckpointError(f"{HEADER_NAME} is damaged: a feature is none, or listed twice.")
    return values
