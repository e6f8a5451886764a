"""charlm.inference.fill and charlm fill: what may stand in a gap, and figures from both sides."""

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.engines.numpy_cloze import NumpyCloze
from charlm.engines.torch_cloze import TorchCloze
from charlm.equations import language_model
from charlm.equations.parameters import model_weights
from charlm.errors import TextError, UsageError
from charlm.inference.fill import cut, fill, split_gaps
from charlm.models.load import load
from charlm.nn.network import to_arrays
from charlm.tokenizers.base import Tokenizer
from tests.support.cli import bad, good, lines_of_json
from tests.support.tiny import cloze_of, material_of, tokenizer_of, trained_run

VOCAB = 6  # <UNK>, <EOS> and four letters


def letters() -> Tokenizer:
    """A character tokenizer of four letters."""
    return tokenizer_of("char", ["abcd"])


def numpy_of(**shape: Any) -> NumpyCloze:
    """A random model over the four letters."""
    model = cloze_of(vocab_size=VOCAB, **shape)
    return NumpyCloze(model.config, to_arrays(model))


def escaped(part: str, *, is_last: bool) -> str:
    """A part of a text as it is written beside gaps.

    Each backslash before what looks like a gap is doubled, and one more makes that plain; those
    at its end are doubled if a gap follows.
    """
    part = re.sub(r"(\\*)(\[\?[0-9]*\])", r"\1\1\\\2", part)
    return part if is_last else re.sub(r"(\\*)\Z", r"\1\1", part, count=1)


@given(
    st.lists(st.text(st.sampled_from("ab\\[?]5 "), max_size=8), min_size=1, max_size=4),
    st.lists(st.integers(1, 40), min_size=4, max_size=4),
)
def test_any_text_can_be_written_round_gaps(parts: list[str], lengths: list[int]) -> None:
    """With backslashes where they are needed every text and every gap comes back."""
    lengths = lengths[: len(parts) - 1]
    written = [escaped(part, is_last=False) for part in parts[:-1]]
    gaps = [f"[?{length}]" if length > 1 else "[?]" for length in lengths]
    pairs = itertools.chain.from_iterable(zip(written, gaps, strict=True))
    assert split_gaps("".join(pairs) + escaped(parts[-1], is_last=True)) == (parts, lengths)


def test_gaps_are_read_as_documented() -> None:
    """[?] is one token, [?5] five; a backslash makes it plain, two are one before a gap."""
    assert split_gaps("a [?] b[?12]") == (["a ", " b", ""], [1, 12])
    assert split_gaps(r"a \[?] b \[?3]") == ([r"a [?] b [?3]"], [])
    assert split_gaps(r"a \\[?]") == (["a \\", ""], [1])
    assert split_gaps(r"c:\dir [x] [? ] \o/") == ([r"c:\dir [x] [? ] \o/"], [])
    for text in ("[?0]", "[?1001]", "[?600][?600]", "[?999999999999]"):
        with pytest.raises(TextError, match="from 1 to 1000"):
            split_gaps(text)


def conditional(
    cloze: NumpyCloze, text: str, place: int, without: list[int], missing: int = 0
) -> np.ndarray:
    """log P (V,) at a place of a text given all others, some types left out.

    ``missing`` are the tokens behind it that are not known either.
    """
    tokenizer = letters()
    ids = np.append(tokenizer.encode(text), tokenizer.eos_id).astype(np.int64)
    cell, weights = cloze.config.cell, cloze._weights
    begun = np.concatenate(([VOCAB], ids[:place]))
    before, _ = language_model.hidden(cell, weights, begun[None])
    after = language_model.hidden_after(cell, weights, ids[None])[:, place + missing]
    gate = weights.gap_gates[missing - 1] if missing else 1.0
    both = np.concatenate((before[:, -1], gate * after), axis=1)
    row = language_model.predict(weights, both)[0].astype(np.float64)
    row[without] = -np.inf
    return language_model.log_softmax(row)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("text", "place"), [("ab[?]d", 2), ("[?]bcd", 0), ("abc[?]", 3)])
def test_one_missing_token_has_the_distribution_of_its_place(
    cell: str, keep: bool, text: str, place: int
) -> None:
    """Its probabilities are those of the equations there, whatever stands there; they make 1."""
    cloze = numpy_of(cell=cell, num_layers=2, output_layers=1)
    expected = conditional(cloze, text.replace("[?]", "a"), place, [1] if keep else [0, 1])
    found = fill(cloze, letters(), text, top=99, keep_unknown=keep)
    assert len(found.entries) == 4 + keep
    assert math.fsum(entry.probability for entry in found.entries) == pytest.approx(1)
    for entry in found.entries:
        token = 0 if entry.gaps == ("\ufffd",) else int(letters().encode(entry.gaps[0])[0])
        assert entry.log_prob == pytest.approx(expected[token], abs=1e-5)
        assert entry.text == text.replace("[?]", entry.gaps[0])
    assert [entry.rank for entry in found.entries] == list(range(1, 5 + keep))
    assert len(fill(cloze, letters(), text, top=2).entries) == 2


def test_all_fillings_of_a_gap_add_up_to_one_and_the_best_are_found() -> None:
    """Each is the product of steps: before it all that is known so far, after it what comes."""
    cloze, tokenizer = numpy_of(output_layers=1), letters()
    found = fill(cloze, tokenizer, "a[?3]db", top=64)
    assert math.fsum(entry.probability for entry in found.entries) == pytest.approx(1)
    assert len({entry.text for entry in found.entries}) == 64
    for entry in found.entries[:3]:
        (gap,) = entry.gaps
        steps = [conditional(cloze, f"a{gap}db", 1 + k, [0, 1], 2 - k) for k in range(3)]
        ids = tokenizer.encode(gap)
        expected = sum(row[token] for row, token in zip(steps, ids, strict=True))
        assert entry.log_prob == pytest.approx(float(expected), abs=1e-5)
    best = fill(cloze, tokenizer, "a[?3]db", top=3)
    assert best.entries == found.entries[:3]


def test_an_excerpt_has_no_end() -> None:
    """Of a whole text the end is read, of an excerpt what is there, and nothing else."""
    cloze, tokenizer = numpy_of(), letters()
    state = cloze.before(tokenizer.encode("ab"))
    for is_whole in (True, False):
        ids = np.append(tokenizer.encode("cd"), [1] * is_whole)
        expected = cloze.predict(state, cloze.after(ids, ends=is_whole))[0]
        expected[[0, 1]] = -np.inf
        expected = language_model.log_softmax(expected)
        for entry in fill(cloze, tokenizer, "ab[?]cd", is_whole=is_whole).entries:
            (token,) = tokenizer.encode(entry.gaps[0])
            assert entry.log_prob == pytest.approx(float(expected[token]), abs=1e-6)
    at_the_end = fill(cloze, tokenizer, "ab[?]", top=99, is_whole=False)
    assert math.fsum(entry.probability for entry in at_the_end.entries) == pytest.approx(1)


def test_of_several_gaps_the_next_sees_what_was_filled_in() -> None:
    """The second gap is filled after the first; the first sees what is known up to the second."""
    cloze, tokenizer = numpy_of(), letters()
    found = fill(cloze, tokenizer, "a[?]bc[?]d", top=16)
    assert math.fsum(entry.probability for entry in found.entries) == pytest.approx(1)
    state = cloze.before(tokenizer.encode("a"))
    first = cloze.predict(state, cloze.after(tokenizer.encode("bc"), ends=False))[0]
    first[[0, 1]] = -np.inf
    first = language_model.log_softmax(first)
    for entry in found.entries[:4]:
        one, other = (int(tokenizer.encode(gap)[0]) for gap in entry.gaps)
        second = conditional(cloze, entry.text, 4, [0, 1])
        assert entry.log_prob == pytest.approx(float(first[one] + second[other]), abs=1e-5)
        assert entry.text == f"a{entry.gaps[0]}bc{entry.gaps[1]}d"
    touching = fill(cloze, tokenizer, "a[?][?]d", top=16)
    together = fill(cloze, tokenizer, "a[?2]d", top=16)
    assert [e.text for e in touching.entries] == [e.text for e in together.entries]


@pytest.mark.parametrize("cell", ["lstm-peephole", "gru-reset-before"])
def test_both_engines_fill_alike(cell: str) -> None:
    """What torch reads of a long text is what NumPy reads."""
    model = cloze_of(vocab_size=VOCAB, cell=cell, num_layers=2, std=0.3)
    text = "abcd" * 80 + "[?2]" + "dcba" * 80
    one = fill(NumpyCloze(model.config, to_arrays(model)), letters(), text)
    other = fill(TorchCloze(model), letters(), text)
    assert [e.text for e in one.entries] == [e.text for e in other.entries]
    for mine, theirs in zip(one.entries, other.entries, strict=True):
        assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


def test_words_are_cut_as_they_would_be_without_a_gap() -> None:
    """What stands round a gap has the tokens that it has round a word."""
    tokenizer = tokenizer_of("word")
    for text in ("the [?] sat on", "the mat, the [?]: a cat!", "[?] cat", "the [?]", "[?]"):
        gapped = cut(tokenizer, text)
        ids = np.append(tokenizer.encode(text.replace("[?]", "x")), 1)
        place = len(gapped.parts[0])
        np.testing.assert_array_equal(gapped.parts[0], ids[:place])
        np.testing.assert_array_equal(gapped.parts[1], ids[place + 1 :])
    gapped = cut(tokenizer, "the [?2] x Äx [?] sat")
    assert [len(part) for part in gapped.parts] == [1, 2, 2]
    assert gapped.lengths == (2, 1)
    assert gapped.unknown == ([], ["0x", "0Äx"], [])
    for text in ("no gap", r"\[?]", "un[?] word", "[?][?]"):
        with pytest.raises(TextError):
            cut(tokenizer, text)


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_what_is_known_stays_as_it_is(level: str, tmp_path: Path) -> None:
    """At every level a filled text is the text with something in its gap, unknown words kept."""
    material = material_of(level=level, valid=["the cat ran"])
    lm = load(trained_run(tmp_path / level, material=material, shape={"bidirectional": True}))
    found = lm.fill("the cat Ät [?] the mat", top=3)
    assert len(found.entries) == 3
    for entry in found.entries:
        assert entry.text.startswith("the cat Ät")
        assert entry.text.endswith("the mat")
        assert len(entry.pieces[0]) == 1
    assert found.num_oov == {"char": 1, "word": 1, "subword": 0}[level]
    with pytest.raises(UsageError, match="1 or more"):
        lm.fill("[?]", top=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a corpus and a model of each kind."""
    folder = tmp_path_factory.mktemp("fill")
    words = itertools.product(("the", "a"), ("cat", "dog", "cow"), ("sat", "ran", "ate", "is"))
    (folder / "corpus.txt").write_text("".join(f"{' '.join(three)}\n" for three in words))
    (folder / "gaps.txt").write_text("the c[?]t sat\nthe [?3] ran\n")
    tiny = ("--steps", "4", "--hidden", "8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        good("train", "corpus.txt", "--name", "left", *tiny)
        result = good("train", "corpus.txt", "--name", "both", "--bidirectional", *tiny)
    assert re.fullmatch(
        r"best validation pseudo-loss: \d\.\d{4} nats per token, given all others \(step 4\)\n",
        result.out,
    )
    assert "charlm fill --model both" in result.err
    return folder


def test_fill_writes_a_table_json_and_tsv(here: Path) -> None:
    """All three forms say the same; a file is filled line by line."""
    (found,) = lines_of_json(good("fill", "the c[?]t sat", "--top", "3", "--json").out)
    assert found["text"] == "the c[?]t sat"
    assert found["gap_tokens"] == [1]
    assert [one["rank"] for one in found["fillings"]] == [1, 2, 3]
    best = found["fillings"][0]
    assert best["text"] == f"the c{best['gaps'][0]}t sat"
    assert math.exp(best["log_prob_nats"]) == pytest.approx(best["probability"])
    head, *rows = good("fill", "the c[?]t sat", "--top", "3", "--tsv").out.splitlines()
    assert head == "number\trank\tlog_prob_nats\tprobability\tgaps\ttext"
    assert [row.split("\t")[-1] for row in rows] == [one["text"] for one in found["fillings"]]
    table = good("fill", "the c[?]t sat", "--top", "3").out.splitlines()
    assert table[0] == "the c[?]t sat"
    assert table[1].split() == ["rank", "P", "(%)", "log", "P", "(nats)", "gap", "text"]
    assert len(table) == 5
    from_file = lines_of_json(good("fill", "--file", "gaps.txt", "--json").out)
    assert [one["gap_tokens"] for one in from_file] == [[1], [3]]
    piped = good("fill", "--json", stdin=(here / "gaps.txt").read_bytes())
    assert lines_of_json(piped.out) == from_file
    kept = good("fill", "the c[?]t", "--unk", "keep", "--top", "99", "--json").out
    assert "\ufffd" in {one["gaps"][0] for one in json.loads(kept)["fillings"]}


def test_fill_says_what_is_wrong(here: Path) -> None:
    """No gap, a gap of nothing, a model of the other kind, options that do not go together."""
    assert "write [?]" in bad(3, "fill", "no gap")
    assert bad(3, "fill", stdin=b"[?]\nnone\n").startswith("line 2: there is no gap")
    assert "from 1 to 1000" in bad(3, "fill", "[?0]")
    assert "trained with --bidirectional" in bad(2, "fill", "[?]", "--model", "left")
    assert "not both" in bad(2, "fill", "[?]", "--file", "gaps.txt")
    assert "--unk" in bad(2, "fill", "[?]", "--unk", "spell")
    assert "a gap" in bad(2, "fill", terminal=True)


def test_pseudo_figures_go_by_their_own_names(here: Path) -> None:
    """No output of score or evaluate has a name that log-probabilities of texts have."""
    (one,) = lines_of_json(good("score", "the cat", "--per-token", "--json").out)
    names = {*one, *one["per_token"][0]}
    assert "pseudo_log_likelihood_nats" in one
    plain = ("total_log_prob", "probability", "perplexity", "bits_per", "log_prob_nats", "surp")
    assert not [n for n in names if n.startswith(plain) and "given_others" not in n]
    for options in (["--tsv"], ["--tsv", "--per-token"]):
        head = good("score", "the cat", *options).out.splitlines()[0].split("\t")
        assert not {"total_log_prob_nats", "log_prob_nats", "perplexity_per_token"} & set(head)
    ranked = good("score", "the cat sat", "xzxzxz")
    assert ranked.out.startswith("rank     PLL (nats) pseudo-ppl pseudo-bits/char")
    assert "highest PLL: " in ranked.err
    assert "likeliest" not in ranked.err
    assert "PLL: each token given those before and after it" in ranked.err
    assert "log P" not in good("score", "the cat", "--per-token").out
    assert not re.search(r"(?<!pseudo-)bits", good("score", "the cat", "--heatmap").out)
    (figures,) = lines_of_json(good("evaluate", "corpus.txt", "--json").out)
    assert figures["pseudo_perplexity_per_token"] > 1
    assert not [name for name in figures if name.startswith(plain) or name.startswith("cross")]
    table = good("evaluate", "corpus.txt").out
    assert "PLL" in table
    assert "log P" not in table
    assert not re.search(r"^(perplexity|bits|cross)", table, re.MULTILINE)
    nbest = good("score", "--nbest", stdin=b"1\tthe cat\t-3\n1\tthe dog\t-2\n").out
    assert len(nbest.splitlines()) == 3


def test_figures_of_words_are_sums_and_named_so(here: Path) -> None:
    """Words, tokens and the text have one PLL, in every form; none of them is a log P."""
    (one,) = lines_of_json(good("score", "the cat", "--words", "--per-token", "--json").out)
    words = [word["pseudo_log_likelihood_nats"] for word in one["per_word"]]
    tokens = [token["log_prob_given_others_nats"] for token in one["per_token"]]
    assert [word["word"] for word in one["per_word"]] == ["the", "cat", "<EOS>"]
    assert math.fsum(words) == pytest.approx(one["pseudo_log_likelihood_nats"])
    assert math.fsum(tokens) == pytest.approx(one["pseudo_log_likelihood_nats"])
    assert words[0] == pytest.approx(math.fsum(tokens[:3]))
    bits = [word["pseudo_bits"] * math.log(2) for word in one["per_word"]]
    assert bits == pytest.approx([-word for word in words])
    (record,) = lines_of_json(good("score", "--words", "--jsonl", stdin=b'{"text": "the cat"}').out)
    assert record["per_word"] == one["per_word"]
    head, *rows = good("score", "the cat", "--words", "--tsv").out.splitlines()
    assert head.split("\t")[2:] == list(one["per_word"][0])
    assert [float(row.split("\t")[6]) for row in rows] == pytest.approx(words)
    table = good("score", "the cat", "--words")
    assert "log P" not in table.out
    assert "PLL (nats)" in table.out
    assert "not a probability of the text" in table.err


@pytest.mark.parametrize("words", [False, True])
def test_what_is_shaded_from_both_sides_is_named_so(here: Path, words: bool) -> None:
    """Neither a heat map nor a page speaks of bits, log P, P or perplexity without a pseudo."""
    options = ["--words"] if words else []
    plain = re.compile(r"log P|\bP =|(?<!pseudo-)perplexity|(?<!pseudo-)bits")
    (one,) = lines_of_json(good("score", "the cat", "--json").out)
    bits = -one["pseudo_log_likelihood_nats"] / math.log(2)
    heat = good("score", "the cat", "--heatmap", *options)
    assert f"{bits:.2f} pseudo-bits in total" in heat.out
    assert not plain.search(heat.out)
    assert "not a probability of the text" in heat.err
    good("score", "the cat", "--html", "page.html", *options)
    html = Path("page.html").read_text(encoding="utf-8")
    assert not plain.search(html)
    for figure in (
        f"PLL = <b>−{-one['pseudo_log_likelihood_nats']:.4f}</b> nats",
        "8 tokens",
        f"pseudo-perplexity <b>{one['pseudo_perplexity_per_token']:.3f}</b> per token",
        f"<b>{one['pseudo_bits_per_character']:.3f}</b> pseudo-bits per character",
    ):
        assert figure in html
    assert html.count("<tr><td>") == (3 if words else 8)
    good("score", "the cat", "--html", "page.html", "--model", "left", *options)
    html = Path("page.html").read_text(encoding="utf-8")
    assert "pseudo" not in html
    (one,) = lines_of_json(good("score", "the cat", "--json", "--model", "left").out)
    assert f"perplexity <b>{one['perplexity_per_token']:.3f}</b> per token" in html


@pytest.mark.parametrize(
    "command",
    [
        "sample",
        "next x",
        "evaluate corpus.txt --format kenlm",
        "evaluate corpus.txt --dynamic",
        "evaluate --check",
        "compare left both corpus.txt",
        "compare both both corpus.txt",
        "score x --model both --model left",
        "train corpus.txt --bidirectional --ngram 3",
        "train corpus.txt --bidirectional --cache",
    ],
)
def test_what_would_mislead_is_refused(here: Path, command: str) -> None:
    """Each refusal is a sentence that says what to do instead."""
    complaint = bad(2, *command.split())
    assert re.search("both sides|bidirectional", complaint)
    if command in ("sample", "next x"):
        assert "charlm fill" in complaint
        assert "without --bidirectional" in complaint


def test_info_says_it(here: Path) -> None:
    """A bidirectional model is named as one."""
    assert "bidirectional" in good("info").out
    assert "bidirectional" not in good("info", "--model", "left").out


def test_resuming_with_or_without_is_refused(here: Path) -> None:
    """--resume does not turn one kind into the other."""
    complaint = bad(2, "train", "--resume", "--name", "left", "--bidirectional", "--steps", "9")
    assert "--task is language-model there, cloze here" in complaint
    weights = model_weights(load("both").config, load("both").checkpoint.weights)
    assert len(weights.backward) == 1
