"""Laws of the figures of a whole text: they follow from the scores of its sequences."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.engines.torch_lm import TorchEngine
from charlm.inference import evaluate
from charlm.inference.evaluate import Summary, summarise
from charlm.inference.unknown import Unknown, unknown_of
from charlm.models.load import load
from charlm.text import corpus, portions
from charlm.text.streaming import Piece
from charlm.tokenizers import Tokenizer, train_tokenizer
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from tests.support.tiny import LEVELS, TEXTS, material_of, model_of, trained_run

ODD = [
    "the xyzzy sat, on the mat!",
    "你好 😀",
    "a\tb\u2003 c",
    "",
    "\ud800 cat",
    "the cat",
    " ",
    "é é\n",
]


class Model:
    """A random model of a level with what it needs to score texts, and what that gives."""

    def __init__(self, level: str) -> None:
        size = 300 if level == "subword" else None
        self.tokenizer: Tokenizer = train_tokenizer(TEXTS, level=level, vocab_size=size)
        self.engine = TorchEngine(model_of(self.tokenizer.vocab_size, std=0.3))
        speller = None
        if isinstance(self.tokenizer, WordTokenizer):
            speller = train_speller(count_types(TEXTS), self.tokenizer, seed=3)
        unknown = unknown_of(self.tokenizer, speller)
        assert unknown is not None
        self.unknown: Unknown = unknown

    def summary(self, pieces: Iterable[Piece], *, closed: bool = False) -> Summary:
        """The last summary."""
        *_, last = summarise(
            pieces, self.tokenizer, lambda _: self.engine, unknown=None if closed else self.unknown
        )
        return last

    def by_hand(self, texts: list[str], *, closed: bool = False) -> Summary:
        """The same from one text at a time, told token by token and word by word."""
        total = Summary(spelling_log_prob=None if closed else 0.0)
        for text in texts:
            ids, offsets = self.tokenizer.encode_with_offsets(text)
            log_probs = self.engine.token_log_probs([np.append(ids, self.tokenizer.eos_id)])[0]
            *values, eos = log_probs.tolist()
            unknown = [token == self.tokenizer.unk_id for token in ids.tolist()]
            left_out, oov_words, at = set(), 0, 0
            for word in text.split():
                at = text.index(word, at)
                inside = [i for i, (a, _) in enumerate(offsets) if at <= a < at + len(word)]
                at += len(word)
                if any(unknown[i] for i in inside):
                    oov_words += 1
                    left_out.update(inside)
            left_out.update(i for i, is_unknown in enumerate(unknown) if is_unknown)
            spelled = self.unknown.log_probs(self.tokenizer.unknown(text))
            total += Summary(
                sequences=1,
                characters=len(text),
                bytes=len(text.encode("utf-8", "surrogatepass")),
                words=len(text.split()),
                tokens=len(log_probs),
                oov_tokens=sum(unknown),
                oov_words=oov_words,
                closed_log_prob=math.fsum(log_probs),
                eos_log_prob=eos,
                oov_log_prob=math.fsum(v for v, u in zip(values, unknown, strict=True) if u),
                oov_words_log_prob=math.fsum(values[i] for i in left_out),
                spelling_log_prob=None if closed else math.fsum(spelled),
            )
        return total


MODELS = {level: Model(level) for level in LEVELS}
any_level = pytest.mark.parametrize("level", LEVELS)


def assert_same(one: Summary, other: Summary) -> None:
    """Counts are equal, sums are to a thousandth of a nat."""
    for field in dataclasses.fields(Summary):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, float):
            assert mine == pytest.approx(theirs, abs=1e-3), field.name
        else:
            assert mine == theirs, field.name


def pieces_of(text: str, cuts: list[int]) -> list[Piece]:
    """A text cut at places."""
    at = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    parts = [text[a:b] for a, b in itertools.pairwise(at)] or [""]
    return [Piece(part, number == len(parts) - 1) for number, part in enumerate(parts)]


@any_level
@pytest.mark.parametrize("closed", [False, True])
def test_sums_are_those_of_the_texts_one_by_one(level: str, closed: bool) -> None:
    """Every count and every sum is what counting token by token and word by word gives."""
    texts = [*TEXTS, *ODD, *TEXTS]
    found = MODELS[level].summary(map(Piece, texts), closed=closed)
    assert_same(found, MODELS[level].by_hand(texts, closed=closed))
    assert found.words == corpus.count(texts).words
    assert (found.oov_tokens > 0) == (level != "subword")
    assert (found.spelling_log_prob is None) == closed


@any_level
@given(
    texts=st.lists(
        st.lists(st.sampled_from([*TEXTS, *ODD, "xyz", " ", "\n"]), max_size=4).map("".join),
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 90), max_size=5),
    most=st.sampled_from([1, 5, 40, 10**6]),
    part=st.sampled_from([1, 3, 50]),
)
@settings(max_examples=40, deadline=None)
def test_pieces_are_the_whole(
    level: str, texts: list[str], cuts: list[int], most: int, part: int
) -> None:
    """However a text comes in pieces, and however many are read at a time, its figures stand."""
    model = MODELS[level]
    pieces = [piece for text in texts for piece in pieces_of(text, cuts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "_CHARACTERS", 20)
        patch.setattr(portions, "_FEW", 2)
        patch.setattr(portions, "_MOST_CHARACTERS", most)
        patch.setattr(evaluate, "_PART", part)
        found = model.summary(pieces)
    expected = model.by_hand(texts)
    if level == "char":
        # A word that is cut where there is no white space may count as two that hold an OOV.
        same = {"oov_words": expected.oov_words, "oov_words_log_prob": expected.oov_words_log_prob}
        found = dataclasses.replace(found, **same)
    assert_same(found, expected)


def test_summaries_come_while_the_text_is_read() -> None:
    """Each stands for the sequences so far, and a reader that goes on sees them grow."""
    taken = 0

    def texts() -> Iterable[Piece]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield Piece("the cat sat on the mat " * 30)

    counts = []
    model = MODELS["char"]
    for found in summarise(texts(), model.tokenizer, lambda _: model.engine):
        counts.append(found.sequences)
        assert taken - found.sequences < 2
    assert counts == sorted(counts)
    assert counts[-1] == 1000
    assert len(counts) > 2


def test_figures_by_hand() -> None:
    """Four tokens, an OOV and an <EOS> among them: every figure from its definition."""
    half, quarter, eighth = -math.log(2), -math.log(4), -math.log(8)
    found = Summary(
        sequences=1,
        characters=10,
        bytes=16,
        words=3,
        tokens=4,
        oov_tokens=1,
        oov_words=1,
        closed_log_prob=half + half + quarter + eighth,  # 7 bits
        eos_log_prob=half,
        oov_log_prob=eighth,
        oov_words_log_prob=eighth + half,
        spelling_log_prob=-math.log(2) * 9,
    )
    assert found.total_log_prob == pytest.approx(-16 * math.log(2))
    assert found.cross_entropy == pytest.approx(4 * math.log(2))
    assert found.closed_cross_entropy == pytest.approx(7 / 4 * math.log(2))
    assert found.oov_rate == pytest.approx(1 / 3)
    assert found.bits_per_character == pytest.approx(1.6)
    assert found.bits_per_byte == pytest.approx(1)
    assert found.closed_bits_per_character == pytest.approx(0.7)
    assert found.perplexity_per_token == pytest.approx(2**4)
    assert found.perplexity_per_token_excluding_oovs == pytest.approx(2 ** (4 / 3))
    assert found.perplexity_per_token_excluding_eos == pytest.approx(2**5)
    assert found.perplexity_per_token_excluding_oovs_and_eos == pytest.approx(2 ** (3 / 2))
    assert found.perplexity_per_word == pytest.approx(2**4)
    assert found.perplexity_per_word_excluding_oovs == pytest.approx(2)
    assert found.perplexity_per_word_excluding_eos == pytest.approx(2**5)
    assert found.perplexity_per_word_excluding_oovs_and_eos == pytest.approx(2)
    closed = dataclasses.replace(found, spelling_log_prob=None)
    assert closed.total_log_prob == found.closed_log_prob
    assert closed.bits_per_character == closed.closed_bits_per_character


def figures(found: Summary) -> list[float | None]:
    """All of them."""
    return [
        found.cross_entropy,
        found.closed_cross_entropy,
        found.bits_per_character,
        found.closed_bits_per_character,
        found.bits_per_byte,
        found.oov_rate,
        *(
            getattr(found, f"perplexity_per_{per}{without}")
            for per in ("token", "word")
            for without in ("", "_excluding_eos", "_excluding_oovs", "_excluding_oovs_and_eos")
        ),
    ]


@any_level
def test_a_figure_that_is_not_defined_is_none(level: str) -> None:
    """Of no text there is none; of an empty sequence those of its end; never a NaN."""
    nothing = MODELS[level].summary([])
    assert nothing == Summary(spelling_log_prob=0.0)
    assert set(figures(nothing)) == {None}
    empty = MODELS[level].summary([Piece("")])
    assert empty.perplexity_per_token == empty.perplexity_per_word is not None
    assert empty.perplexity_per_token_excluding_eos is None
    assert empty.bits_per_character is empty.bits_per_byte is empty.oov_rate is None
    strange = MODELS[level].summary([Piece("\u2603")])
    if level != "subword":
        assert strange.oov_rate == 1
        assert strange.perplexity_per_token_excluding_oovs_and_eos is None
        assert strange.perplexity_per_word_excluding_oovs_and_eos is None
    for found in (nothing, empty, strange):
        assert all(value is None or math.isfinite(value) for value in figures(found))


@any_level
def test_evaluate_is_the_sum_of_scores(level: str, tmp_path: Path) -> None:
    """LanguageModel.evaluate, open and closed, gives what score_all gives text by text."""
    material = material_of(level=level)
    if isinstance(material.tokenizer, WordTokenizer):
        speller = train_speller(count_types(TEXTS), material.tokenizer, seed=3)
        material = dataclasses.replace(material, speller=speller)
    lm = load(trained_run(tmp_path / "run", material=material, num_steps=2))
    texts = [*TEXTS, *ODD]
    options: dict[str, Any]
    for options in ({}, {"closed": True}):
        found = lm.evaluate((text for text in texts), **options)
        scores = lm.score_all(texts, **options)
        expected = math.fsum(score.total_log_prob for score in scores)
        assert found.total_log_prob == pytest.approx(expected, rel=1e-6)
        assert found.tokens == sum(score.num_tokens for score in scores)
        assert found.oov_tokens == sum(score.num_oov for score in scores)
    together = lm.evaluate(texts[:5]) + lm.evaluate(texts[5:])
    assert_same(together, lm.evaluate(texts))
