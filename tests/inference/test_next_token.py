"""Laws of what may come next: a distribution, the one that scoring and sampling work with."""

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import CELLS, SamplingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.equations import language_model
from charlm.errors import UsageError
from charlm.inference.next_token import NextTokens, next_tokens
from charlm.inference.sample import Sampler
from charlm.inference.score import score_texts
from charlm.metrics import NATS_PER_BIT
from charlm.models.load import load
from charlm.nn.network import to_arrays
from tests.support.tiny import (
    LEVELS,
    TEXTS,
    engines_of,
    material_of,
    model_of,
    tokenizer_of,
    trained_run,
)

TOKENIZERS = {level: tokenizer_of(level) for level in LEVELS}
ENGINES = engines_of(TOKENIZERS)
# Known text, unknown symbols, spaces and line ends anywhere, marks that tokenizers use themselves.
PREFIXES = st.text(st.sampled_from("the catdog,: \n\tZé☃😀\u0301\ufffd▁￭\ud800"), max_size=12)


def after(
    prefix: str, level: str = "char", *, torch_too: bool = False, top: int | None = None
) -> NextTokens:
    """What follows a prefix, by the NumPy engine or the torch engine."""
    return next_tokens(ENGINES[level][torch_too], TOKENIZERS[level], prefix, top=top)


def log_probs(found: NextTokens) -> np.ndarray:
    """log P (V,) in order of the ids."""
    values = np.empty(found.num_types)
    for entry in found.entries:
        values[entry.token_id] = entry.log_prob
    return values


@pytest.mark.parametrize("level", LEVELS)
@given(prefix=PREFIXES)
@settings(max_examples=25, deadline=None)
def test_it_is_a_distribution(level: str, prefix: str) -> None:
    """Every type is there once, the likeliest first; the probabilities add up to 1."""
    found = after(prefix, level)
    tokenizer = TOKENIZERS[level]
    assert found.prefix == prefix
    assert found.num_types == len(found.entries) == tokenizer.vocab_size
    assert sorted(entry.token_id for entry in found.entries) == [*range(tokenizer.vocab_size)]
    assert math.fsum(entry.probability for entry in found.entries) == pytest.approx(1, abs=1e-9)
    for one, other in itertools.pairwise(found.entries):
        assert (-one.log_prob, one.token_id) < (-other.log_prob, other.token_id)
        assert one.rank <= other.rank
    mean = math.fsum(entry.probability * entry.log_prob for entry in found.entries)
    assert found.entropy == pytest.approx(-mean / NATS_PER_BIT, abs=1e-9)
    assert found.perplexity == pytest.approx(math.exp(-mean), rel=1e-9)
    pieces = {entry.token_id: entry.piece for entry in found.entries}
    assert (pieces[tokenizer.unk_id], pieces[tokenizer.eos_id]) == ("<UNK>", "<EOS>")


@pytest.mark.parametrize("level", LEVELS)
@given(prefix=PREFIXES)
@settings(max_examples=25, deadline=None)
def test_both_engines_expect_the_same(level: str, prefix: str) -> None:
    """log P of every type agrees to 1e-5 nats, and the entropy to 1e-5 bits."""
    one, other = after(prefix, level), after(prefix, level, torch_too=True)
    np.testing.assert_allclose(log_probs(one), log_probs(other), rtol=0, atol=1e-5)
    assert one.entropy == pytest.approx(other.entropy, abs=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("prefix", ["", "a", "the cat sat on a mat " * 30], ids=len)
def test_every_cell_is_that_of_the_equations(cell: str, prefix: str) -> None:
    """Both engines give what the equations give in double precision, however long the prefix."""
    tokenizer = TOKENIZERS["char"]
    shape = {"num_layers": 2, "output_layers": 1, "tie_weights": True, "std": 0.2}
    model = model_of(tokenizer.vocab_size, cell=cell, **shape)
    torch_engine = TorchEngine(model)
    inputs = np.array([[tokenizer.vocab_size, *tokenizer.encode(prefix)]])
    exact, _ = language_model.forward(cell, torch_engine.reference(), inputs)
    for engine in (NumpyEngine(model.config, to_arrays(model)), torch_engine):
        found = next_tokens(engine, tokenizer, prefix, top=None)
        np.testing.assert_allclose(log_probs(found), exact[0, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("top", [0, 1, 5, 20, 10_000])
def test_top_is_the_beginning_of_all(top: int) -> None:
    """The k likeliest are the first k of all, and the entropy is that of all."""
    every, some = after("the "), after("the ", top=top)
    assert some.entries == every.entries[:top]
    assert (some.entropy, some.num_types) == (every.entropy, every.num_types)
    with pytest.raises(UsageError, match="negative"):
        after("the ", top=-1)


@pytest.mark.parametrize("torch_too", [False, True])
@given(text=st.text(st.sampled_from("the cat☃"), max_size=10))
@settings(max_examples=25, deadline=None)
def test_a_text_has_the_probability_of_its_tokens_one_after_another(
    torch_too: bool, text: str
) -> None:
    """Summed along a text, <EOS> included, log P is what scoring gives; so is every rank."""
    tokenizer, engine = TOKENIZERS["char"], ENGINES["char"][torch_too]
    (score,) = score_texts(engine, tokenizer, [text], per_token=True)
    assert score.tokens is not None
    total = 0.0
    for at, token in enumerate(score.tokens):
        found = {entry.piece: entry for entry in after(text[:at], torch_too=torch_too).entries}
        assert found[token.piece].log_prob == pytest.approx(token.log_prob, abs=1e-5)
        assert abs(found[token.piece].rank - token.rank) <= 1  # a near tie may go either way
        total += found[token.piece].log_prob
    assert total == pytest.approx(score.total_log_prob, abs=1e-5)


@pytest.mark.parametrize("level", ["word", "subword"])
def test_larger_tokens_add_up_too(level: str) -> None:
    """Whatever a token is: along the ids of a text, log P sums to its score."""
    tokenizer, text = TOKENIZERS[level], TEXTS[0]
    ids = [*tokenizer.encode(text).tolist(), tokenizer.eos_id]
    prefixes = [tokenizer.decode(ids[:at]) for at in range(len(ids))]
    assert [tokenizer.encode(prefix).tolist() for prefix in prefixes] == [
        ids[:at] for at in range(len(ids))
    ]
    found = [log_probs(after(prefix, level)) for prefix in prefixes]
    (score,) = score_texts(ENGINES[level][0], tokenizer, [text])
    total = sum(values[token] for values, token in zip(found, ids, strict=True))
    assert total == pytest.approx(score.total_log_prob, abs=1e-5)


@pytest.mark.parametrize("level", LEVELS)
@given(prefix=PREFIXES)
@example(prefix=" ")
@example(prefix="the ")
@example(prefix="the  ")
@settings(max_examples=25, deadline=None)
def test_text_is_what_the_token_adds(level: str, prefix: str) -> None:
    """Prefix and text are what the tokens spell together, but no space is there twice.

    It was left to the next token, or, where the tokens are words, is one itself (unknown here).
    """
    tokenizer = TOKENIZERS[level]
    ids = tokenizer.encode_prompt(prefix).tolist()
    unknown = tokenizer.unknown(prefix)[: ids.count(tokenizer.unk_id)]
    before = tokenizer.decode(ids, unknown)
    lacks_space = {"char": r"(?!)", "word": r" \Z", "subword": r"(?s:.) \Z"}[level]
    for entry in after(prefix, level).entries:
        added = tokenizer.decode([*ids, entry.token_id], unknown)[len(before) :]
        assert entry.text == (added.removeprefix(" ") if re.search(lacks_space, prefix) else added)
        if entry.token_id == tokenizer.eos_id:
            assert entry.text == ""


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prefix", ["", "the", "the ", " ", "(☃ "])
def test_what_is_drawn_was_expected(level: str, prefix: str) -> None:
    """A sample of one token is the prefix and an entry's text, and has its probability."""
    sampler = Sampler(ENGINES[level][0], TOKENIZERS[level])
    expected = [(prefix + entry.text, entry.log_prob) for entry in after(prefix, level).entries]
    for drawn in sampler.sample(20, SamplingConfig(max_tokens=1), prompt=prefix):
        assert any(
            drawn.text == text and drawn.total_log_prob == pytest.approx(log_prob, abs=1e-5)
            for text, log_prob in expected
        )


@pytest.mark.parametrize("level", ["word", "subword"])
def test_a_last_space_is_left_to_the_next_word(level: str) -> None:
    """With or without it the same is expected, but a word adds a space only where none is."""
    without, with_it = after("the", level).entries, after("the ", level).entries
    assert [entry.log_prob for entry in without] == [entry.log_prob for entry in with_it]
    spaced = {entry.token_id: entry.text for entry in without}
    assert any(text.startswith(" ") for text in spaced.values())
    for entry in with_it:
        assert entry.text == spaced[entry.token_id].removeprefix(" ")
    assert after("the  ", level).entries != with_it


def test_equally_likely_types_come_in_order_of_their_ids() -> None:
    """They share a rank, as in scoring, and the next rank counts them all."""
    tokenizer = TOKENIZERS["char"]
    model = model_of(tokenizer.vocab_size)
    model.softmax.weight.zero_()
    model.softmax.bias.zero_()
    model.softmax.bias[3] = -1
    model.softmax.bias[5] = 1
    for engine in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)):
        entries = next_tokens(engine, tokenizer, "the", top=None).entries
        tied = [i for i in range(tokenizer.vocab_size) if i not in (3, 5)]
        assert [entry.token_id for entry in entries] == [5, *tied, 3]
        assert [entry.rank for entry in entries] == [1, *(2 for _ in tied), len(entries)]


def test_a_model_that_knows_nothing_has_the_entropy_of_its_vocabulary() -> None:
    """Where all types are equally likely, entropy is log2 V bits and perplexity V."""
    tokenizer = TOKENIZERS["char"]
    model = model_of(tokenizer.vocab_size)
    model.softmax.weight.zero_()
    model.softmax.bias.fill_(7)
    found = next_tokens(TorchEngine(model), tokenizer)
    assert found.entropy == pytest.approx(math.log2(tokenizer.vocab_size), abs=1e-12)
    assert found.perplexity == pytest.approx(tokenizer.vocab_size)
    model.softmax.bias[4] = 1e5  # and one that is sure of one type has none at all
    sure = next_tokens(TorchEngine(model), tokenizer)
    assert (sure.entropy, sure.entries[0].probability) == (0, 1)
    assert sure.entries[1].probability == 0
    assert sure.entries[1].log_prob < -9e4


def test_what_is_unknown_is_unknown_alike() -> None:
    """Symbols outside the vocabulary are <UNK>, whichever they are, and are counted."""
    one, other = after("the ☃ cat 😀"), after("the Z cat \u0301")
    assert one.entries == other.entries
    assert (one.num_oov, other.num_oov, after("the cat").num_oov) == (2, 2, 0)
    assert after("☃😀☃").entries != after("").entries


@pytest.mark.slow
def test_a_short_prefix_does_without_torch(tmp_path: Path) -> None:
    """NumPy answers before torch would have been imported, and torch answers the same."""
    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    code = (
        "import sys\n"
        "from charlm.models import engine_choice, load\n"
        f"lm = load.load({str(run)!r})\n"
        "first = lm.next_tokens('the cat', top=None)\n"
        "print('torch' in sys.modules, lm.is_small(1, 'the cat'), lm.is_small(1, 'x' * 10**7))\n"
        "engine_choice._SMALL_SECONDS = 0\n"
        "again = lm.next_tokens('the cat', top=None)\n"
        "print('torch' in sys.modules, first != again)\n"
        "one, other = ({e.piece: e.log_prob for e in f.entries} for f in (first, again))\n"
        "print(max(abs(one[piece] - other[piece]) for piece in one) < 1e-5, len(one))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    types = tokenizer_of().vocab_size
    assert done.stdout.split() == f"False True False True True True {types}".split()


def test_of_a_loaded_model_as_in_the_documentation(tmp_path: Path) -> None:
    """next_tokens() is the beginning of a text, and gives 20 entries or as many as are asked."""
    lm = load(trained_run(tmp_path / "run", material=material_of(), num_steps=3))
    assert lm.next_tokens().prefix == ""
    assert len(lm.next_tokens("the ").entries) == min(20, lm.tokenizer.vocab_size)
    assert [len(lm.next_tokens("a", top=top).entries) for top in (3, 0)] == [3, 0]
    assert len(lm.next_tokens("a", top=None).entries) == lm.tokenizer.vocab_size
    ended = {entry.piece: entry for entry in lm.next_tokens("the cat", top=None).entries}
    score = lm.score("the cat", per_token=True)
    assert score.tokens is not None
    assert ended["<EOS>"].log_prob == pytest.approx(score.tokens[-1].log_prob, abs=1e-5)
