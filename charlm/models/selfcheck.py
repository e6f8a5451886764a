"""Whether a model's probabilities are what they claim to be: tests that a user's model can fail.

Each compares two ways to one figure that share as little as possible, and states the worst
deviation found and the bound it has to keep.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from charlm.engines.protocol import Engine, Ids
from charlm.errors import TextError
from charlm.inference.unknown import NamedOrSpelled, Speller
from charlm.models.base import TextDistribution, TokenDistribution
from charlm.models.mixtures import SequenceMixture
from charlm.text.streaming import Piece
from charlm.tokenizers.base import EOS_ID, UNK_ID
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import WordTokenizer

_POSITIONS = 300  # at which the probabilities of all types are added up
_ROWS, _TOKENS = 32, 128  # so many texts, so many tokens of each, among which they are drawn
_REFERENCE_ROWS, _REFERENCE_TOKENS = 8, 16  # texts, and tokens of each, in double precision
_LARGE_JOB = 10**12  # tokens
_TEXTS, _CHARACTERS = 2000, 4000  # looked at, and of each
_NUM_SCORED = 64
_BLOCK = 2000  # types spelled at a time
_SUM = 1e-4
_NATS = 1e-3
_SAME = 1e-6  # two sums of the same numbers, relative


LogShares: TypeAlias = Callable[[list[str]], NDArray[np.float64]]


class Check(NamedTuple):
    """What was tested, the worst deviation found at ``number`` places, and how large it may be."""

    name: str
    worst: float
    bound: float
    number: int
    places: str = "positions"

    @property
    def passed(self) -> bool:
        """Whether the bound is kept; what is not a number keeps none."""
        return self.worst <= self.bound


def some_texts(pieces: Iterable[Piece]) -> list[str]:
    """The beginnings of the first sequences of a text. Raises TextError if there are none."""
    texts: list[str] = []
    begins = True
    for piece in pieces:
        if begins:
            texts.append(piece.text[:_CHARACTERS])
        begins = piece.ends
        if begins and len(texts) >= _TEXTS:
            break
    if not texts:
        raise TextError("there is no text to check the model on: it is empty or blank.")
    return texts


def drawn_texts(lm: TextDistribution, seed: int = 0) -> list[str]:
    """Texts that the model draws itself."""
    return [sample.text for sample in lm.sample(n=_ROWS, seed=seed, max_tokens=_TOKENS)]


def check_model(lm: TextDistribution, texts: Sequence[str], *, seed: int = 0) -> Iterator[Check]:
    """All checks that a model of its level has, on texts: at positions drawn by seed.

    Models of different vocabularies are checked one by one, then what is made of them.
    """
    rng = np.random.default_rng(seed)
    if isinstance(lm, SequenceMixture):
        for model in lm.models:
            name = model.checkpoint.path.parent.name
            for check in check_model(model, texts, seed=seed):
                yield check._replace(name=f"{name}: {check.name}")
        chosen = [texts[i] for i in rng.permutation(len(texts))[:_NUM_SCORED]]
        yield from _mixture(lm, chosen, rng)
        return
    assert isinstance(lm, TokenDistribution)
    tokenizer = lm.tokenizer
    eos = np.array([EOS_ID], dtype=np.int32)
    chosen = [texts[i] for i in rng.permutation(len(texts))]
    rows = [np.append(tokenizer.encode(text), eos)[:_TOKENS] for text in chosen[:_ROWS]]
    # What a small model is run by depends on the size of the job.
    kinds = dict.fromkeys((lm.engines.kind_for(_ROWS * _TOKENS), lm.engines.kind_for(_LARGE_JOB)))
    for kind in kinds:
        engine, name = lm.engines.of(kind), {"numpy": "NumPy"}.get(kind, kind)
        worst, number = _sums(engine, rows, rng)
        yield Check(f"P of all types adds up to 1 ({name})", worst, _SUM, number)
        worst, number = _against_equations(engine, rows[:_REFERENCE_ROWS], rng)
        about = f"log P is that of the equations in double precision ({name})"
        yield Check(about, worst, _NATS, number)
    unknown = lm.unknown
    cutter = plain(tokenizer)
    if isinstance(cutter, CharacterTokenizer) and unknown is not None:
        yield _shares(cutter, unknown.log_probs, "unknown characters share all of <UNK>")
    speller = unknown.speller if isinstance(unknown, NamedOrSpelled) else unknown
    if isinstance(cutter, WordTokenizer) and isinstance(speller, Speller):
        yield from _spelling(speller, cutter, list(map(tokenizer.normalise, chosen)), rng)
    yield _totals(lm, chosen[:_NUM_SCORED])


def _sums(engine: Engine, rows: Sequence[Ids], rng: np.random.Generator) -> tuple[float, int]:
    """How far the sum of P over all types is from 1 at positions drawn from rows, at worst.

    Scoring gives P of the type that came; stepping through the text, as sampling does, gives how
    much likelier or less likely than that one each other type is.
    """
    scored = engine.token_log_probs(rows)[0]
    starts = np.cumsum([0, *map(len, rows)])
    drawn = np.zeros(starts[-1], dtype=bool)
    drawn[rng.permutation(starts[-1])[:_POSITIONS]] = True
    decoder = engine.decoder()
    state = decoder.select(decoder.read(np.empty(0, dtype=np.int64)), np.zeros(len(rows), np.int64))
    inputs = np.full(len(rows), engine.config.vocab_size, dtype=np.int64)
    sums = [1.0]
    for step in range(max(map(len, rows))):
        logits, state = decoder.step(inputs, state)  # (B, V)
        for row, ids in enumerate(rows):
            if step < len(ids):
                inputs[row] = ids[step]
                at = starts[row] + step
                if drawn[at]:
                    ratios = logits[row].astype(np.float64) - float(logits[row, ids[step]])
                    sums.append(float(np.exp(scored[at] + ratios).sum()))
    return float(np.abs(np.array(sums) - 1).max()), int(drawn.sum())


def _against_equations(
    engine: Engine, rows: Sequence[Ids], rng: np.random.Generator
) -> tuple[float, int]:
    """How far log P of tokens drawn from rows is from the equations', at worst, in nats."""
    arbiter = engine.arbiter()
    worst, number = [0.0], 0
    for ids in rows:
        inputs = np.concatenate(([engine.config.vocab_size], ids[:-1]))
        drawn = np.sort(rng.permutation(len(ids))[:_REFERENCE_TOKENS])
        states, state, at = [], None, 0
        for place in drawn.tolist():
            state, at = arbiter.read(inputs[at : place + 1], state), place + 1
            states.append(state)
        exact = arbiter.log_probs(states)[np.arange(len(drawn)), ids[drawn]]
        worst.append(float(np.abs(engine.token_log_probs([ids])[0][drawn] - exact).max()))
        number += len(drawn)
    return float(np.max(worst)), number


def _shares(tokenizer: CharacterTokenizer, log_shares: LogShares, name: str) -> Check:
    """The shares of all scalar values that have no id, added one by one."""
    total, number = 0.0, 0
    for first in range(0, 0x110000, 0x800):
        if 0xD800 <= first < 0xE000:
            continue
        kinds = tokenizer.unknown("".join(map(chr, range(first, first + 0x800))))
        total += float(np.exp(log_shares(kinds)).sum())
        number += len(kinds)
    expected = 1.0 if number else 0.0
    return Check(name, abs(total - expected), _SAME, number, "characters")


def _spelling(
    speller: Speller, tokenizer: WordTokenizer, texts: Sequence[str], rng: np.random.Generator
) -> Iterator[Check]:
    """The checks of a word model's speller."""
    found = dict.fromkeys(kind for text in texts for kind in tokenizer.unknown(text))
    kinds = [kind for kind in found if tokenizer.is_unknown(kind)]
    kinds += _invented(tokenizer, rng)
    engine = speller.engine
    eos = np.array([EOS_ID], dtype=np.int32)
    words = [kinds[i] for i in rng.permutation(len(kinds))[: 4 * _ROWS]]
    rows = [np.append(speller.tokenizer.encode(kind), eos)[:_TOKENS] for kind in words]
    worst, number = _sums(engine, rows, rng)
    yield Check("P of all characters adds up to 1 within spellings", worst, _SUM, number)
    name = "characters new to the speller share all of its <UNK>"
    symbol = np.array([UNK_ID, EOS_ID], dtype=np.int32)
    (of_symbol,) = np.add.reduceat(engine.token_log_probs([symbol])[0], [0])
    yield _shares(
        speller.tokenizer,
        # To it they are all one symbol: the first of each block stands for the others.
        lambda kinds: np.repeat(speller.spelled(kinds[:1]) - of_symbol, len(kinds)),
        name,
    )
    known = sum(
        float(np.exp(speller.spelled(tokenizer.types[at : at + _BLOCK])).sum())
        for at in range(0, len(tokenizer.types), _BLOCK)
    )
    deviation = abs(math.log(known) - speller.log_known) if known > 0 else math.inf
    name = "the speller leaves out what the known words would get"
    yield Check(name, deviation, _NATS, len(tokenizer.types), "types")
    # What log_probs makes of a spelling tells which share it takes the unknown words to have.
    rest = np.exp(speller.spelled(words) - speller.log_probs(words))
    worst = float(np.abs(known + rest - 1).max())
    name = "spellings of the known words and of all others add up to 1"
    yield Check(name, worst, _SUM, len(words), "unknown words")


def _invented(tokenizer: WordTokenizer, rng: np.random.Generator) -> list[str]:
    """Words that are not in the vocabulary: two that are, put together."""
    types = tokenizer.types
    pairs = rng.integers(len(types), size=(4 * _ROWS, 2)).tolist()
    glued = (f"0{types[a][1:]}{types[b][1:]}" for a, b in pairs)
    known = frozenset(types)
    words = [kind for kind in dict.fromkeys(glued) if kind not in known and kind[1:].strip()]
    return words or ["0\u2603\u2603"]


def _mixture(
    lm: SequenceMixture, texts: Sequence[str], rng: np.random.Generator
) -> Iterator[Check]:
    """Texts' log P against their models', against evaluate, and when they are cut in two."""
    totals = np.array([score.total_log_prob for score in lm.score_all(texts)])
    parts = [
        math.log(weight) + np.array([s.total_log_prob for s in model.score_all(texts)])
        for model, weight in zip(lm.models, lm.weights, strict=True)
        if weight > 0
    ]
    sums = np.logaddexp.reduce(parts)
    whole = np.array([lm.evaluate(texts).total_log_prob])
    pairs = ((sums, totals), (whole, np.array([math.fsum(totals)])))
    worst = float(np.max([_apart(a, b) for a, b in pairs]))
    yield Check(
        "log P of a text is that of the mixture of its models'", worst, _SAME, len(texts), "texts"
    )
    cut = [text[: int(rng.integers(len(text) + 1))] for text in texts[:_REFERENCE_ROWS]]
    added = [
        lm.log_prob_begins(start)
        + lm.score_all([text[len(start) :]], context=start)[0].total_log_prob
        for start, text in zip(cut, texts, strict=False)
    ]
    worst = _apart(np.array(added), totals[: len(cut)])
    yield Check("a text that is cut in two costs as much", worst, _SAME, len(cut), "texts")


def _apart(found: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The worst relative difference."""
    return float(np.max(np.abs(found - right) / np.maximum(1, np.abs(right))))


def _totals(lm: TokenDistribution, texts: Sequence[str]) -> Check:
    """A text's log P against the sum of its tokens, of its two parts, and against evaluate."""
    scores = lm.score_all(texts, per_token=True)
    closed = lm.score_all(texts, closed=True)
    totals: NDArray[np.float64] = np.array([score.total_log_prob for score in scores])
    tokens = np.array([math.fsum(t.log_prob for t in score.tokens or ()) for score in scores])
    spelled = [
        score.total_log_prob
        + (float(lm.unknown.log_probs(lm.tokenizer.unknown(text)).sum()) if lm.unknown else 0.0)
        for score, text in zip(closed, texts, strict=True)
    ]
    summary = lm.evaluate(texts)
    pairs = (
        (tokens, totals),
        (np.array(spelled), totals),
        (np.array([summary.total_log_prob]), np.array([math.fsum(totals)])),
    )
    worst = float(np.max([_apart(a, b) for a, b in pairs]))
    name = "log P of a text is the sum of its tokens'"
    return Check(name, worst, _SAME, len(texts), "texts")
