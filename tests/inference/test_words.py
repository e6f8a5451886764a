"""Laws of contexts, offsets, entropies and words: what is scored beside the sum of a text."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm import metrics
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.inference.next_token import next_tokens
from charlm.inference.score import TextScore, score_texts
from charlm.inference.unknown import UnknownCharacters
from charlm.nn.network import to_arrays
from charlm.tokenizers import train_tokenizer
from tests.support.tiny import LEVELS, TEXTS, engines_of, model_of, tokenizer_of

TOKENIZERS = {level: tokenizer_of(level) for level in LEVELS}
TOKENIZERS["pretokenized"] = train_tokenizer(TEXTS, level="word", pretokenized=True, min_count=1)
ENGINES = engines_of(TOKENIZERS)
TYPED = st.text(st.sampled_from("the catdog,: \n\tZé☃😀\u0301▁(-\u3000"), max_size=16)


def scores_of(
    level: str, *texts: str, torch_too: bool = False, context: str = ""
) -> list[TextScore]:
    """All there is to say of texts."""
    engine = ENGINES[level][torch_too]
    tokenizer = TOKENIZERS[level]
    return score_texts(engine, tokenizer, texts, context=context, per_token=True, words=True)


@pytest.mark.parametrize("level", TOKENIZERS)
@given(texts=st.lists(TYPED, min_size=1, max_size=4), context=TYPED)
@settings(max_examples=25, deadline=None)
def test_both_engines_say_the_same(level: str, texts: list[str], context: str) -> None:
    """Log P, entropies and words agree to 1e-5; so do ranks but for near ties."""
    pairs = zip(
        scores_of(level, *texts, context=context),
        scores_of(level, *texts, context=context, torch_too=True),
        strict=True,
    )
    for one, other in pairs:
        assert one.tokens is not None
        assert other.tokens is not None
        assert one.words is not None
        assert other.words is not None
        for mine, theirs in zip(one.tokens, other.tokens, strict=True):
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert mine.entropy == pytest.approx(theirs.entropy, abs=1e-5)
            assert abs(mine.rank - theirs.rank) <= 1
            assert (mine.piece, *mine[4:]) == (theirs.piece, *theirs[4:])
        for word, again in zip(one.words, other.words, strict=True):
            assert word.log_prob == pytest.approx(again.log_prob, abs=1e-4)
            assert word.entropy == pytest.approx(again.entropy, abs=1e-5)
            assert word[2:-1] == again[2:-1]


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_the_entropy_of_a_place_is_that_of_its_distribution(level: str) -> None:
    """What next_tokens tells after the text so far, scoring tells of the token there."""
    text = "the cat"
    (score,) = scores_of(level, text)
    assert score.tokens is not None
    for token in score.tokens[:-1]:
        prefix = text[: token.start].removesuffix(" " if level == "word" else "")
        expected = next_tokens(ENGINES[level][0], TOKENIZERS[level], prefix)
        assert token.entropy == pytest.approx(expected.entropy, abs=1e-5)
    ended = next_tokens(ENGINES[level][0], TOKENIZERS[level], text)
    assert score.tokens[-1].entropy == pytest.approx(ended.entropy, abs=1e-5)


def test_a_model_that_knows_nothing_is_as_unsure_as_can_be() -> None:
    """Where all types are alike, every entropy is log2 V bits, and a sure one's is 0."""
    tokenizer = TOKENIZERS["char"]
    model = model_of(tokenizer.vocab_size)
    model.softmax.weight.zero_()
    model.softmax.bias.fill_(3)
    for engine in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)):
        (score,) = score_texts(engine, tokenizer, ["the cat"], per_token=True)
        assert score.tokens is not None
        for token in score.tokens:
            assert token.entropy == pytest.approx(math.log2(tokenizer.vocab_size), abs=1e-5)
    model.softmax.bias[4] = 1e4
    for engine in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)):
        (score,) = score_texts(engine, tokenizer, ["the"], per_token=True, words=True)
        assert score.tokens is not None
        assert {token.entropy for token in score.tokens} == {0}
        assert math.isfinite(score.total_log_prob)


@pytest.mark.parametrize("level", TOKENIZERS)
@given(text=TYPED)
@example(text="")
@example(text="the cat")
@example(text=" \n the  cat \n")
@settings(max_examples=50, deadline=None)
def test_words_and_the_end_multiply_to_the_text(level: str, text: str) -> None:
    """Their log-probabilities add up; each word is where it says, and all tokens are in them."""
    (score,) = scores_of(level, text)
    assert score.words is not None
    total = math.fsum(word.log_prob for word in score.words)
    assert total == pytest.approx(score.total_log_prob, abs=1e-4)
    assert sum(word.num_tokens for word in score.words) == score.num_tokens
    *words, end = score.words
    assert end.text == ""
    assert end.start == end.end
    for word in words:
        assert word.text == text[word.start : word.end] == word.text.strip() != ""
        assert word.log_prob < 1e-5
    if level in ("char", "pretokenized") and set(text.split(" ")) == set(text.split()):
        assert [word.text for word in words] == text.split()


def test_a_word_is_all_that_can_be_said_with_its_characters() -> None:
    """By hand: P(cat) after "the" is the sum over all that may follow it and end the word.

    The space before it is certain then: the word before has ended.
    """
    tokenizer, (engine, _) = TOKENIZERS["char"], ENGINES["char"]

    def after(prefix: str) -> dict[str, float]:
        found = next_tokens(engine, tokenizer, prefix, top=None)
        return {entry.piece: entry.probability for entry in found.entries}

    ends = [" ", "<EOS>"]
    expected = 1.0
    for prefix, nxt in (("the", " "), ("the ", "c"), ("the c", "a"), ("the ca", "t")):
        expected *= after(prefix)[nxt]
    expected *= sum(after("the cat")[end] for end in ends)
    expected /= sum(after("the")[end] for end in ends)
    (score,) = scores_of("char", "the cat sat")
    assert score.words is not None
    assert [word.text for word in score.words] == ["the", "cat", "sat", ""]
    assert math.exp(score.words[1].log_prob) == pytest.approx(expected, rel=1e-4)
    assert score.words[1].surprisal == pytest.approx(-math.log2(expected), abs=1e-4)


@pytest.mark.parametrize("level", LEVELS)
@given(text=TYPED)
@settings(max_examples=40, deadline=None)
def test_offsets_are_ranges_of_the_text_in_order(level: str, text: str) -> None:
    """Every character that is not an implicit space is in the range of a token."""
    (score,) = scores_of(level, text)
    assert score.tokens is not None
    *tokens, end = score.tokens
    assert (end.piece, end.start, end.end) == ("<EOS>", len(text), len(text))
    covered: set[int] = set()
    for before, token in zip([None, *tokens], tokens, strict=False):
        assert 0 <= token.start < token.end <= len(text)
        if before is not None:
            assert token.start >= before.start
            assert token.end >= before.end
        covered.update(range(token.start, token.end))
    assert {text[i] for i in set(range(len(text))) - covered} <= (
        {" "} if level == "word" else set()
    )


@pytest.mark.parametrize("level", LEVELS)
@given(context=TYPED, text=TYPED)
@example(context="the", text=" cat")
@example(context="the ", text="cat")
@example(context="", text="cat")
@example(context="the cat", text="")
@settings(max_examples=50, deadline=None)
def test_context_and_text_multiply_to_both(level: str, context: str, text: str) -> None:
    """log P(both) is that of the context without an end, and that of the text after it.

    A token that reaches from one into the other is the text's.
    """
    (after,) = scores_of(level, text, context=context)
    (whole,) = scores_of(level, context + text)
    assert whole.tokens is not None
    assert after.tokens is not None
    own = whole.tokens[len(whole.tokens) - len(after.tokens) :]
    for mine, theirs in zip(after.tokens, own, strict=True):
        assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
        assert mine.end == theirs.end - len(context)
        assert mine.start == max(0, theirs.start - len(context))
    left = whole.tokens[: len(whole.tokens) - len(after.tokens)]
    assert all(token.end <= len(context) for token in left)
    assert after.text == text
    assert after.total_log_prob == pytest.approx(sum(t.log_prob for t in own), abs=1e-4)
    assert after.words is not None
    assert whole.words is not None
    # But for the first, words are those of context and text as one.
    for mine, theirs in zip(reversed(after.words[1:]), reversed(whole.words), strict=False):
        assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)
        assert mine.text == theirs.text
    total = math.fsum(word.log_prob for word in after.words)
    ended = total - after.total_log_prob
    # What is missing is log P that the context's last word has ended, where that is in question.
    tokenizer = TOKENIZERS[level]
    ids = tokenizer.encode_with_offsets(context + text)[0]
    left_ids = ids[: len(left)]
    log_probs = ENGINES[level][0].next_logits(left_ids).astype(np.float64)
    log_probs -= np.logaddexp.reduce(log_probs)
    opens = np.logaddexp.reduce(log_probs[tokenizer.openers()])
    assert ended == pytest.approx(0, abs=1e-4) or ended == pytest.approx(-opens, abs=1e-4)


@pytest.mark.parametrize("level", TOKENIZERS)
@pytest.mark.parametrize("context", ["the cat sat", "the", "a dog, ran", "Zé ☃"])
@pytest.mark.parametrize("text", [" on the mat", " cat", ""])
def test_a_word_after_a_context_is_the_word_of_the_whole_sentence(
    level: str, context: str, text: str
) -> None:
    """Where a word begins is decided by the context, so it is corrected for that as any other is.

    What is asked after a context is what stands in the sentence, word for word and at the end.
    """
    (after,), (whole,) = scores_of(level, text, context=context), scores_of(level, context + text)
    assert after.words is not None
    assert whole.words is not None
    assert [word.text for word in after.words] == [*text.split(), ""]
    theirs = whole.words[-len(after.words) :]
    for mine, other in zip(after.words, theirs, strict=True):
        assert mine.log_prob == pytest.approx(other.log_prob, abs=1e-5)
        assert mine[2:4] == (other.start - len(context), other.end - len(context))
        assert mine[4:] == other[4:]


def test_of_a_word_that_the_context_has_begun_the_rest_is_left() -> None:
    """By hand, of characters: P(at given "the c") times P that it ends; the space given is free."""
    (whole,) = scores_of("char", "the cat sat")
    assert whole.tokens is not None
    assert whole.words is not None
    after_cat = next_tokens(ENGINES["char"][0], TOKENIZERS["char"], "the cat", top=None)
    ends = sum(entry.probability for entry in after_cat.entries if entry.piece in (" ", "<EOS>"))
    for begun in (4, 5, 6):  # "the ", "the c", "the ca"
        (after,) = scores_of("char", "the cat sat"[begun:], context="the cat sat"[:begun])
        assert after.words is not None
        assert [word.text for word in after.words] == ["cat"[begun - 4 :], "sat", ""]
        rest = math.fsum(token.log_prob for token in whole.tokens[begun:7]) + math.log(ends)
        assert after.words[0].log_prob == pytest.approx(rest, abs=1e-5)
        assert after.words[1].log_prob == pytest.approx(whole.words[2].log_prob, abs=1e-5)


def test_only_the_texts_own_unknown_characters_are_spelled() -> None:
    """What is unknown in the context is read as <UNK> and costs nothing."""
    tokenizer, engine = TOKENIZERS["char"], ENGINES["char"][0]
    unknown = UnknownCharacters(tokenizer)
    options = {"context": "☃ the Z", "per_token": True}
    texts = ["cat ☃", "cat"]
    closed = score_texts(engine, tokenizer, texts, **options)  # type: ignore[arg-type]
    opened = score_texts(engine, tokenizer, texts, unknown=unknown, **options)  # type: ignore[arg-type]
    assert [score.num_oov for score in opened] == [1, 0]
    share = unknown.log_share
    assert opened[0].total_log_prob - closed[0].total_log_prob == pytest.approx(share)
    assert opened[1] == closed[1]


@pytest.mark.parametrize("level", LEVELS)
def test_openers_come_only_after_a_word(level: str) -> None:
    """They are <EOS>, white space, and the types that bring a space with them."""
    tokenizer = TOKENIZERS[level]
    openers = set(tokenizer.openers().tolist())
    assert tokenizer.eos_id in openers
    first = (
        tokenizer.encode("x")[:1].tolist() if level != "word" else [int(tokenizer.encode("the")[0])]
    )
    for token in range(2, tokenizer.vocab_size):
        after = tokenizer.decode([*first, token])[len(tokenizer.decode(first)) :]
        assert (token in openers) == after[:1].isspace()


def test_bits_are_of_the_metrics() -> None:
    """A word's surprisal is -log2 of its probability."""
    (score,) = scores_of("word", "the cat")
    assert score.words is not None
    for word in score.words:
        assert word.surprisal == metrics.surprisal_bits(word.log_prob)
    assert np.isfinite([word.surprisal for word in score.words]).all()
