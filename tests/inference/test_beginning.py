"""Laws of beginnings: how a text that goes on can be cut, and how likely one begins so."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.config import SamplingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.inference.beginning import log_prob_begins
from charlm.inference.next_token import next_tokens
from charlm.inference.sample import Sampler
from charlm.inference.score import score_texts
from charlm.inference.unknown import Speller, Unknown, unknown_of
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from tests.support.tiny import LEVELS, TEXTS, engines_of, tokenizer_of

MORE = [*TEXTS, "don't 3.14 (see p. 3)", "'tis  (the) 3.5 dogs' 你好"]
TOKENIZERS: dict[str, Tokenizer] = {level: tokenizer_of(level, MORE) for level in LEVELS}
TOKENIZERS["bpe"] = train_tokenizer(MORE, level="subword", vocab_size=300, subword_model="bpe")
TOKENIZERS["lowercase"] = train_tokenizer(MORE, level="word", lowercase=True, min_count=1)
TOKENIZERS["pretokenized"] = train_tokenizer(MORE, level="word", pretokenized=True, min_count=1)
KINDS = (*LEVELS, "pretokenized", "lowercase")
ENGINES = engines_of({kind: TOKENIZERS[kind] for kind in KINDS})
TYPED = st.text(st.sampled_from("thecatdogs,: \n'’3.14(☃\u0301▁-你"), max_size=12)


@pytest.fixture(scope="module")
def unknown() -> dict[str, Unknown]:
    """What <UNK> stands for, at each level."""
    found = {}
    for kind in KINDS:
        tokenizer, speller = TOKENIZERS[kind], None
        if isinstance(tokenizer, WordTokenizer):
            texts = map(tokenizer.normalise, MORE)
            speller = train_speller(count_types(texts, tokenizer.pretokenized), tokenizer, seed=3)
        found[kind] = unknown_of(tokenizer, speller)
    return {kind: one for kind, one in found.items() if one is not None}


def goes(tokenizer: Tokenizer, way: Beginning, text: str) -> bool:
    """Whether a text is cut in this way."""
    ids, kinds = tokenizer.encode(text), tokenizer.unknown(text)
    number = len(way.ids)
    if not np.array_equal(ids[:number], way.ids) or tuple(kinds[: len(way.unknown)]) != way.unknown:
        return False
    if way.following is None:
        return True
    if number == len(ids):
        return False
    if ids[number] in way.following:
        return True
    spelled = ids[number] == tokenizer.unk_id and kinds[len(way.unknown)]
    return bool(spelled) and kinds[len(way.unknown)].startswith(way.spellings)


@pytest.mark.parametrize("level", TOKENIZERS)
@given(begun=TYPED, more=TYPED)
@example(begun="don'", more="t")
@example(begun="3.", more="5")
@example(begun="the c", more="at")
@example(begun="the cat ", more="")
@example(begun="the cat ", more=" ")
@example(begun="(", more="the")
@example(begun="the cat", more="")
@settings(max_examples=150, deadline=None)
def test_every_text_goes_one_way(level: str, begun: str, more: str) -> None:
    """However a text goes on, it is cut in one of the ways of its beginning, and in one only."""
    tokenizer = TOKENIZERS[level]
    ways = tokenizer.beginnings(begun)
    assert sum(goes(tokenizer, way, begun + more) for way in ways) == 1


@pytest.mark.slow
@pytest.mark.parametrize("level", KINDS)
@given(begun=TYPED, more=TYPED)
@example(begun="the <un", more="k>")
@settings(max_examples=40, deadline=None)
def test_what_says_more_is_less_likely(
    level: str, begun: str, more: str, unknown: dict[str, Unknown]
) -> None:
    """Of a text nothing is certain, each further character costs, and the end of it as well."""
    engine, tokenizer = ENGINES[level][0], TOKENIZERS[level]
    nothing = log_prob_begins(engine, tokenizer, unknown[level], "")
    one = log_prob_begins(engine, tokenizer, unknown[level], begun)
    both = log_prob_begins(engine, tokenizer, unknown[level], begun + more)
    (whole,) = score_texts(engine, tokenizer, [begun + more], unknown=unknown[level])
    assert nothing == 0
    assert whole.total_log_prob - 1e-4 <= both <= one + 1e-4 <= 2e-4


def test_of_characters_it_is_the_product() -> None:
    """No character depends on what follows: what may come next adds up to what is there."""
    engine, tokenizer = ENGINES["char"][0], TOKENIZERS["char"]
    begun = math.exp(log_prob_begins(engine, tokenizer, None, "the c"))
    parts = [
        math.exp(log_prob_begins(engine, tokenizer, None, f"the c{entry.text}"))
        for entry in next_tokens(engine, tokenizer, "the c", top=None).entries
        if entry.token_id != tokenizer.eos_id
    ]
    (whole,) = score_texts(engine, tokenizer, ["the c"])
    assert sum(parts) + math.exp(whole.total_log_prob) == pytest.approx(begun, rel=1e-5)


def test_of_words_it_is_the_sum_over_words_that_begin_so(unknown: dict[str, Unknown]) -> None:
    """By hand: after "the" each word with a d in front, and all that <UNK> spells with one.

    After a space, all that can bring it.
    """
    engine, tokenizer = ENGINES["word"][0], TOKENIZERS["word"]
    assert isinstance(tokenizer, WordTokenizer)
    speller = unknown["word"]
    assert isinstance(speller, Speller)

    def after(prefix: str) -> dict[str, float]:
        found = next_tokens(engine, tokenizer, prefix, top=None).entries
        kinds = ("<UNK>", "<EOS>", *tokenizer.types)
        return {kinds[entry.token_id]: entry.probability for entry in found}

    nexts, the = after("the"), after("")["0the"]
    known = [kind for kind in nexts if kind.startswith("0d")]
    assert len(known) > 2
    # Of a speller's beginnings: 0, then d, less what it gives to the words that are known.
    letters = speller.tokenizer.encode("0d")
    assert speller.tokenizer.unk_id not in letters
    of_speller = NumpyEngine(speller.config, speller.weights)
    begun = math.exp(of_speller.read_on(letters)[0].sum())
    begun -= float(np.exp(speller.spelled(known)).sum())
    share = begun / (1 - math.exp(speller.log_known))
    expected = the * (sum(map(nexts.__getitem__, known)) + nexts["<UNK>"] * share)
    found = math.exp(log_prob_begins(engine, tokenizer, speller, "the d"))
    assert found == pytest.approx(expected, rel=1e-4)
    bring = sum(p for kind, p in nexts.items() if kind[0] in "02" and not kind[1:].isspace())
    spaced = math.exp(log_prob_begins(engine, tokenizer, speller, "the "))
    assert spaced == pytest.approx(the * (bring + nexts["<UNK>"] + nexts.get("0 ", 0)), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_so_many_samples_begin_so(level: str, unknown: dict[str, Unknown]) -> None:
    """Drawn from the model, texts begin in a way as often as its probability says.

    A random model also draws what no text is cut into; words that stand first are cut as drawn.
    """
    engine, tokenizer = ENGINES[level][1], TOKENIZERS[level]
    speller = unknown[level] if level == "word" else None
    assert speller is None or isinstance(speller, Speller)
    config = SamplingConfig(max_tokens=12, unknown="spell" if level == "word" else "keep", seed=1)
    number = 800 if level == "word" else 3000
    drawn = Sampler(engine, tokenizer, speller=speller).sample(number, config)
    texts = [sample.text for sample in drawn]
    counts = Counter(text[:n] for text in texts for n in (1, 2, 3) if len(text) >= n)
    common = [begun for begun, _ in counts.most_common(30) if begun.isalpha() or level == "char"]
    common = [begun for begun in common if "\ufffd" not in begun]
    assert len(common) > 6
    for begun in common:
        p = math.exp(log_prob_begins(engine, tokenizer, unknown[level], begun))
        share, spread = counts[begun] / number, math.sqrt(p * (1 - p) / number)
        assert abs(share - p) < 4 * spread + 0.01, begun
