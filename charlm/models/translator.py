"""A model of pairs in use: it writes targets for sources, and scores pairs.

Small jobs are done by equations/pairs.py in single precision, before torch could be imported;
larger ones by nn/pairs.py. The figures agree.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm import metrics
from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.errors import FieldError
from charlm.inference.pairs.beam import Hypothesis, longest, search
from charlm.inference.pairs.copying import copied, surfaces
from charlm.inference.pairs.error_rates import ErrorRates, error_rates
from charlm.models.arguments import Source, one_source, one_text, several_sources
from charlm.models.card import card
from charlm.tokenizers.featured import FeaturedTokenizer, parted

if TYPE_CHECKING:
    from charlm.engines.torch_pairs import TorchPairs

    Engine = NumpyPairs | TorchPairs

_FEW_PRODUCTS = 3e8  # of numbers: what NumPy does while torch is imported
_AT_ONCE = 256  # sources that are written for together


class Translation(NamedTuple):
    """A target that was written: its log P given the source in nats, its end included.

    score is what several are ranked by. One that ran into the limit of tokens has not ended.
    """

    text: str
    log_prob: float
    score: float
    ended: bool


class TargetToken(NamedTuple):
    """A token of a target: its surprisal in bits, and where attention looked, of each source token.

    The last one is <EOS>. attention is empty for a model without it.
    """

    token: str
    surprisal: float
    attention: tuple[float, ...]


class PairScore(NamedTuple):
    """What the model says of a pair: log P(target | source) in nats, the target's end included."""

    source: str
    target: str
    total_log_prob: float
    source_tokens: tuple[str, ...]
    tokens: tuple[TargetToken, ...]

    @property
    def perplexity(self) -> float:
        """Per token of the target."""
        return metrics.perplexity(self.total_log_prob, len(self.tokens))


class PairSummary(NamedTuple):
    """How well pairs are predicted and written: nats per target token, and error rates."""

    cross_entropy: float
    num_tokens: int
    rates: ErrorRates

    @property
    def perplexity(self) -> float:
        """Per token of the targets."""
        return metrics.perplexity(-self.cross_entropy * self.num_tokens, self.num_tokens)


class Translator:
    """Writes a target for a source: P(target given source).

    >>> charlm.load("g2p").translate("salad")[0].text    # doctest: +SKIP
    """

    def __init__(self, checkpoint: PairsCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self._engines: dict[str, Engine] = {}

    def __repr__(self) -> str:
        return f"Translator({str(self.checkpoint.path)!r})"

    def _repr_html_(self) -> str:
        return card("Translator", self.checkpoint, attention=self.config.attention)

    def translate(
        self,
        source: Source,
        *,
        features: str | Iterable[str] | None = None,
        beam: int = 5,
        n_best: int = 1,
        max_tokens: int | None = None,
        length_penalty: float = 0.0,
        copy: bool = False,
    ) -> list[Translation]:
        """The n_best likeliest targets of a source, best first (inference/pairs/beam.py).

        features are those of the source, as they are written (V;PST) or one by one. max_tokens is
        by default ten times the source's tokens, and 100. With copy <UNK> may be written, and is
        told as the token of the source that attention looked at most; log_prob is that of what was
        written. Raises FieldError for options that cannot be.
        """
        asked: Any = source if features is None else (source, features)
        (found,) = self.translate_all(
            [self.line(asked, "source", "translate_all takes several.")],
            beam=beam,
            n_best=n_best,
            max_tokens=max_tokens,
            length_penalty=length_penalty,
            copy=copy,
        )
        return found

    def translate_all(
        self,
        sources: Iterable[Source],
        *,
        beam: int = 5,
        n_best: int = 1,
        max_tokens: int | None = None,
        length_penalty: float = 0.0,
        copy: bool = False,
    ) -> list[list[Translation]]:
        """The same of several sources, in their order; none depends on the others."""
        for name, value, least in (("beam", beam, 1), ("max_tokens", max_tokens, 1)):
            if value is not None and (type(value) is not int or value < least):
                raise FieldError(name, f"must be {least} or more, got {value!r}.")
        if copy:
            self._check_copying()
        texts = several_sources(sources, "sources", self.line)
        ids = [self._source(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        found: list[list[Translation]] = [[] for _ in ids]
        engine = self._engine(sum(map(len, ids)) * 2 * beam)
        for begin in range(0, len(order), _AT_ONCE):
            part = order[begin : begin + _AT_ONCE]
            rows = [ids[at] for at in part]
            best = search(
                engine,
                rows,
                beam=beam,
                n_best=n_best,
                max_tokens=max_tokens or longest(rows),
                length_penalty=length_penalty,
                unknown=copy,
            )
            told = self._told(engine, [texts[at] for at in part], best, copy=copy)
            for at, several, named in zip(part, best, told, strict=True):
                found[at] = [
                    Translation(text, one.log_prob, one.score, one.ended)
                    for text, one in zip(named, several, strict=True)
                ]
        return found

    def score(self, source: Source, target: str) -> PairScore:
        """log P of a target given its source, of each token, and where attention looked."""
        (found,) = self.score_all([(source, target)])
        return found

    def score_all(self, pairs: Iterable[tuple[Source, str]]) -> list[PairScore]:
        """The same of several pairs, in their order; none depends on the others."""
        there = self._pairs(pairs)
        sources = [self._source(source) for source, _ in there]
        targets = [self._target(target) for _, target in there]
        engine = self._engine(sum(map(len, sources)) + sum(map(len, targets)))
        found = engine.token_log_probs(sources, targets)
        return [
            self._score(pair, source, target, log_probs, shares)
            for pair, source, target, log_probs, shares in zip(
                there, sources, targets, *found, strict=True
            )
        ]

    def evaluate(self, pairs: Iterable[tuple[Source, str]], *, beam: int = 5) -> PairSummary:
        """How well pairs are predicted, and how far from them is what is written.

        All targets of one source, with the same features, are its references. Symbols are the
        tokens of a target at word level, and its characters at the others.
        """
        there = self._pairs(pairs)
        references: dict[str, list[str]] = {}
        for source, target in there:
            references.setdefault(source, []).append(target)
        scores = self.score_all(there)
        total = sum(score.total_log_prob for score in scores)
        number = sum(len(score.tokens) for score in scores)
        written = [best[0].text for best in self.translate_all(references, beam=beam)]
        rates = error_rates(
            [self.symbols(text) for text in written],
            [[self.symbols(text) for text in several] for several in references.values()],
        )
        return PairSummary(-total / max(1, number), number, rates)

    def symbols(self, target: str) -> list[str]:
        """What error rates count in a target."""
        return target.split() if self.checkpoint.tokenizer.level == "word" else list(target)

    def unseen(self, source: str) -> list[str]:
        """The symbols of a source that training never saw: they are read as <UNK>."""
        return self.checkpoint.source_tokenizer.unknown(source)

    def unseen_features(self, source: str) -> list[str]:
        """The features of a source that training never saw: they are left out."""
        tokenizer = self.checkpoint.source_tokenizer
        return (
            tokenizer.unknown_features(source) if isinstance(tokenizer, FeaturedTokenizer) else []
        )

    def line(self, source: Source, name: str = "source", instead: str = "") -> str:
        """A source as a line, its features behind a tab; equal questions are equal lines.

        Raises UsageError for what is none, and for features that mean nothing to this model.
        """
        line = one_source(source, name, instead)
        if isinstance(self.checkpoint.source_tokenizer, FeaturedTokenizer):
            return parted(line).line
        if not isinstance(source, str):
            raise FieldError("features", "mean nothing to this model: it was trained without.")
        return line

    def parts(self, source: str) -> tuple[str, ...]:
        """A source to be shown: its text, and its features if the model knows any."""
        if not isinstance(self.checkpoint.source_tokenizer, FeaturedTokenizer):
            return (source,)
        text, _, features = source.partition("\t")
        return text, features

    def _pairs(self, pairs: Iterable[tuple[Source, str]]) -> list[tuple[str, str]]:
        return [(self.line(source), one_text(target, "target")) for source, target in pairs]

    def _check_copying(self) -> None:
        """Raise FieldError where nothing can be copied."""
        if self.config.attention == "none":
            raise FieldError("copy", "needs attention, and this model was trained without.")
        if self.checkpoint.tokenizer.level == "subword":
            raise FieldError("copy", "means nothing where targets are subwords: they spell all.")

    def _told(
        self, engine: "Engine", sources: list[str], written: list[list[Hypothesis]], *, copy: bool
    ) -> Iterator[list[str]]:
        """The texts of what was written for each source, <UNK> as what was looked at then."""
        tokenizer, reader = self.checkpoint.tokenizer, self.checkpoint.source_tokenizer
        open_ones = [
            (source, one)
            for source, several in zip(sources, written, strict=True)
            for one in several
            if copy and tokenizer.unk_id in one.ids
        ]
        rows = [self._source(source) for source, _ in open_ones]
        ids = [np.append(one.ids, tokenizer.eos_id) for _, one in open_ones]
        looked = iter(engine.token_log_probs(rows, ids)[1])
        for source, several in zip(sources, written, strict=True):
            yield [
                copied(tokenizer, one.ids, next(looked), surfaces(reader, source))
                if copy and tokenizer.unk_id in one.ids
                else tokenizer.decode(one.ids)
                for one in several
            ]

    def _source(self, text: str) -> NDArray[np.int32]:
        tokenizer = self.checkpoint.source_tokenizer
        return np.append(tokenizer.encode(text), np.int32(tokenizer.eos_id))

    def _target(self, text: str) -> NDArray[np.int32]:
        tokenizer = self.checkpoint.tokenizer
        return np.append(tokenizer.encode(text), np.int32(tokenizer.eos_id))

    def _score(
        self,
        pair: tuple[str, str],
        source: NDArray[np.int32],
        target: NDArray[np.int32],
        log_probs: NDArray[np.float64],
        shares: NDArray[np.float64],
    ) -> PairScore:
        checkpoint = self.checkpoint
        tokens = tuple(
            TargetToken(piece, -float(log_prob) / metrics.NATS_PER_BIT, tuple(map(float, looked)))
            for piece, log_prob, looked in zip(
                checkpoint.tokenizer.pieces(target), log_probs, shares, strict=True
            )
        )
        total = float(log_probs.sum())
        pieces = tuple(checkpoint.source_tokenizer.pieces(source))
        return PairScore(*pair, total, pieces, tokens)

    def _engine(self, tokens: int) -> "Engine":
        """What is done first with a job of so many tokens."""
        size = sum(array.size for array in self.checkpoint.weights.values())
        is_small = tokens * size < _FEW_PRODUCTS and "torch" not in sys.modules
        kind = "numpy" if is_small else "torch"
        if kind not in self._engines:
            self._engines[kind] = self._made(kind)
        return self._engines[kind]

    def _made(self, kind: str) -> Any:
        config, weights = self.checkpoint.config, self.checkpoint.weights
        if kind == "numpy":
            return NumpyPairs(config, weights)
        from charlm.engines.torch_pairs import TorchPairs
        from charlm.nn.pairs import from_arrays

        return TorchPairs(from_arrays(config, weights))
