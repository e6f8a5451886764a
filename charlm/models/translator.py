"""A model of pairs in use: it writes targets for sources, and scores pairs.

Small jobs are done by equations/pairs.py in single precision, before torch could be imported;
larger ones by nn/pairs.py. The figures agree.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.config import SamplingConfig
from charlm.errors import FieldError, UsageError
from charlm.inference.interval import RESAMPLES
from charlm.inference.pairs.beam import Hypothesis, longest
from charlm.inference.pairs.compare import PairComparison, compare_pairs, sides_of
from charlm.inference.pairs.copying import copied, surfaces
from charlm.inference.pairs.evaluate import (
    PairSummary,
    by_source,
    check_sentence_scores,
    summarise,
    symbols_of,
)
from charlm.inference.pairs.given_source import GivenSource
from charlm.inference.pairs.mixed_search import mixed_token_log_probs, search
from charlm.inference.pairs.score import PairScore, TargetToken
from charlm.inference.sample import Sample, Sampler
from charlm.models.arguments import Source, one_source, one_text, several_sources
from charlm.models.base import sampling
from charlm.models.card import card
from charlm.models.engine_choice import PairEngines
from charlm.text.portions import Mapped, in_turn
from charlm.tokenizers.featured import FeaturedTokenizer
from charlm.tokenizers.features import parted

if TYPE_CHECKING:
    from charlm.engines.numpy_pairs import NumpyPairs
    from charlm.engines.torch_pairs import TorchPairs

    Engine = NumpyPairs | TorchPairs

_AT_ONCE = 256  # sources that are written for together
_SCORED = 4096  # pairs that are scored in one go


class Translation(NamedTuple):
    """A target that was written: its log P given the source in nats, its end included.

    score is what several are ranked by. One that ran into the limit of tokens has not ended.
    """

    text: str
    log_prob: float
    score: float
    ended: bool


class _Asked(NamedTuple):
    """How targets are written (translate_all)."""

    beam: int
    n_best: int
    max_tokens: int | None
    length_penalty: float
    copy: bool


class Translator:
    """Writes a target for a source: P(target given source).

    A network that was trained with joint n-grams is mixed with them; with ``alone`` it is without
    them, with ``ngram_only`` they are without it.

    >>> charlm.load("g2p").translate("salad")[0].text    # doctest: +SKIP
    """

    def __init__(
        self, checkpoint: PairsCheckpoint, *, alone: bool = False, ngram_only: bool = False
    ) -> None:
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.partner = None if alone else checkpoint.partner
        if ngram_only:
            if self.partner is None:
                raise UsageError("this model has no n-grams: it was trained without `ngram`.")
            self.partner = self.partner.only()
        self._engines = PairEngines(checkpoint)

    def ngram_only(self) -> "Translator":
        """Its joint n-grams without the network. Raises UsageError if there are none."""
        return Translator(self.checkpoint, ngram_only=True)

    def __repr__(self) -> str:
        return f"Translator({str(self.checkpoint.path)!r})"

    @property
    def name(self) -> str:
        """The name of its run."""
        return self.checkpoint.path.parent.name

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
        asked = _Asked(beam, n_best, max_tokens, length_penalty, copy)
        return self._translated(several_sources(sources, "sources", self.line), asked, in_turn)

    def _translated(
        self, texts: list[str], asked: "_Asked", mapped: Mapped
    ) -> list[list[Translation]]:
        """The same of sources as lines, those of like length together."""
        for name, value, least in (("beam", asked.beam, 1), ("max_tokens", asked.max_tokens, 1)):
            if value is not None and (type(value) is not int or value < least):
                raise FieldError(name, f"must be {least} or more, got {value!r}.")
        if asked.copy:
            self._check_copying()
        lengths = [len(self._source(text)) for text in texts]
        order = sorted(range(len(texts)), key=lengths.__getitem__)
        is_needed = self.partner is None or self.partner.share < 1
        size = sum(lengths) * 2 * asked.beam if is_needed else 0
        parts = [order[begin : begin + _AT_ONCE] for begin in range(0, len(order), _AT_ONCE)]
        portions = ([texts[at] for at in part] for part in parts)
        written = mapped(functools.partial(self._written, asked=asked, size=size), portions)
        found: list[list[Translation]] = [[] for _ in texts]
        for part, several in zip(parts, written, strict=True):
            for at, one in zip(part, several, strict=True):
                found[at] = one
        return found

    def _written(self, texts: list[str], *, asked: "_Asked", size: int) -> list[list[Translation]]:
        """The same of sources that are written for together, of a job of so many tokens."""
        engine = self._engines.for_tokens(size)
        rows = [self._source(text) for text in texts]
        best = search(
            engine,
            self.partner,
            rows,
            beam=asked.beam,
            n_best=asked.n_best,
            max_tokens=asked.max_tokens or longest(rows),
            length_penalty=asked.length_penalty,
            unknown=asked.copy,
        )
        return [
            [
                Translation(text, one.log_prob, one.score, one.ended)
                for text, one in zip(named, several, strict=True)
            ]
            for several, named in zip(
                best, self._told(engine, texts, best, copy=asked.copy), strict=True
            )
        ]

    def score(self, source: Source, target: str) -> PairScore:
        """log P of a target given its source, of each token, and where attention looked."""
        (found,) = self.score_all([(source, target)])
        return found

    def score_all(self, pairs: Iterable[tuple[Source, str]]) -> list[PairScore]:
        """The same of several pairs, in their order; none depends on the others."""
        return self._scored(self._pairs(pairs))

    def _scored(self, there: list[tuple[str, str]], size: int | None = None) -> list[PairScore]:
        """The same of pairs that were checked, of a job of so many tokens; None: of theirs."""
        sources = [self._source(source) for source, _ in there]
        targets = [self._target(target) for _, target in there]
        own = sum(map(len, sources)) + sum(map(len, targets))
        engine = self._engines.for_tokens(own if size is None else size)
        found = engine.token_log_probs(sources, targets)
        if self.partner is not None:
            by_token = mixed_token_log_probs(self.partner, sources, targets, found[0])
            found = by_token, found[1]
        return [
            self._score(pair, source, target, log_probs, shares)
            for pair, source, target, log_probs, shares in zip(
                there, sources, targets, *found, strict=True
            )
        ]

    def evaluate(
        self,
        pairs: Iterable[tuple[Source, str]],
        *,
        beam: int = 5,
        max_tokens: int | None = None,
        length_penalty: float = 0.0,
        bleu: bool = False,
        mapped: Mapped = in_turn,
    ) -> PairSummary:
        """How well pairs are predicted, and how far from them is what is written.

        All targets of one source, with the same features, are its references. Symbols are the
        tokens of a target at word level, and its characters at the others. ``bleu`` asks for BLEU
        and chrF, for which sacrebleu has to be installed. Raises UsageError if it is not.
        ``mapped`` has portions of pairs done, in this process or in several (text/portions.py).
        """
        if bleu:
            check_sentence_scores()
        there = self._pairs(pairs)
        asked = _Asked(beam, 1, max_tokens, length_penalty, copy=False)
        found = self._translated(list(by_source(there)), asked, mapped)
        size = sum(
            len(self._source(source)) + len(self._target(target)) for source, target in there
        )
        portions = (there[begin : begin + _SCORED] for begin in range(0, len(there), _SCORED))
        scored = mapped(functools.partial(self._scored, size=size), portions)
        return summarise(
            [score for several in scored for score in several],
            [best.text for best, *_ in found],
            level=self.checkpoint.tokenizer.level,
            sentences=bleu,
        )

    def compare(
        self,
        other: "Translator",
        pairs: Iterable[tuple[Source, str]],
        *,
        beam: int = 5,
        max_tokens: int | None = None,
        length_penalty: float = 0.0,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> PairComparison:
        """Another model against this one on the same pairs. Raises UsageError if there are none."""
        there = self._pairs(pairs)
        sources = by_source(there)
        sides = []
        for model in (self, other):
            written = model.translate_all(
                sources, beam=beam, max_tokens=max_tokens, length_penalty=length_penalty
            )
            sides.append(sides_of(model.score_all(there), [best.text for best, *_ in written]))
        one, another = (model.checkpoint.tokenizer.to_files() for model in (self, other))
        return compare_pairs(
            sources, (sides[0], sides[1]), is_alike=one == another, resamples=resamples, seed=seed
        )

    def sample(
        self,
        source: Source,
        n: int = 1,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_tokens: int = 1000,
        stop: Sequence[str] = (),
        unk: str = "resample",
        seed: int | None = None,
    ) -> list[Sample]:
        """Draw n targets of a source at random, each of which begins with the prompt.

        The same seed gives the same text; without one each call draws another, which every sample
        tells. SamplingConfig says more of the options.
        """
        one_text(prompt, "prompt")
        if not isinstance(n, int):
            raise UsageError(f"n must be a whole number, got {n!r:.40}.")
        config = sampling(temperature, top_k, top_p, max_tokens, stop, unk, seed)
        return list(self.sampler(source, n, config).sample(n, config, prompt=prompt))

    def sampler(self, source: Source, n: int, config: SamplingConfig) -> Sampler:
        """What draws n targets of a source; the text does not depend on which engine does."""
        ids = self._source(self.line(source))
        engine = self._engines.for_tokens(len(ids) + n * min(config.max_tokens, 3 * len(ids)))
        given = GivenSource(engine, lambda: self._engines.of("exact"), ids)
        return Sampler(given, self.checkpoint.tokenizer)

    def symbols(self, target: str) -> list[str]:
        """What error rates count in a target."""
        return symbols_of(target, self.checkpoint.tokenizer.level)

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
        looked = iter(engine.token_log_probs(rows, ids)[1] if ids else ())
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
        unknown = target == checkpoint.tokenizer.unk_id
        return PairScore(
            source=pair[0],
            target=pair[1],
            total_log_prob=float(log_probs.sum()),
            source_tokens=tuple(checkpoint.source_tokenizer.pieces(source)),
            tokens=tuple(
                TargetToken(piece, float(log_prob), bool(is_unknown), tuple(map(float, looked)))
                for piece, log_prob, is_unknown, looked in zip(
                    checkpoint.tokenizer.pieces(target), log_probs, unknown, shares, strict=True
                )
            ),
        )
