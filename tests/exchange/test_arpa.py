"""Laws of ARPA files: what is written is the model, whoever reads it; what others write is read."""

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import charlm
from charlm.counts import backoff
from charlm.counts.ngram import train
from charlm.errors import TextError, UsageError
from charlm.exchange import arpa
from charlm.exchange.arpa_runs import import_arpa, lines_of
from charlm.exchange.arpa_words import escaped, sentence_of, words_of
from charlm.models.language_model import LanguageModel
from charlm.tokenizers import train_tokenizer
from tests.support.cli import bad, good, lines_of_json
from tests.support.tiny import TEXTS

HAS_KENLM = importlib.util.find_spec("kenlm") is not None
needs_kenlm = pytest.mark.skipif(not HAS_KENLM, reason="the package kenlm is not installed")
LMPLZ = Path(__file__).parent / "lmplz.arpa.gz"  # of KenLM's lmplz -o 3, from data/prose.txt
ODD = ["a <s> b", "</s>", "<unk>", "it's 3.5 (p. 7)", "tab\there", "line\nfeed", "wide\u3000space"]
ODD += ["back\\slash", "￭ joined", "\\x20", "<UNK> <S>", "don't", "naïve 你好", "a}b|c_d"]
MORE = [*TEXTS, *ODD, *(f"{a} {b}" for a, b in itertools.permutations(TEXTS, 2))]
SRILM = """
\\data\\
ngram 1=7
ngram 2=6
ngram 3=3

\\1-grams:
-0.7\t</s>
-99\t<s>\t-0.3
-0.8\ta\t-0.2
-0.9\tb\t0.1
-1.1\tc
-2.5\t<unk>\t-0.05
-1.3\tto\u00a0day

\\2-grams:
-0.3\t<s> a\t-0.15
-0.4\ta b\t-0.1
-1.9\ta a
-0.2\tb </s>
-0.6 b c
-1\tc to\u00a0day

\\3-grams:
-0.1\t<s> a b
-1.5\ta b </s>
-0.25\tc a b

\\end\\
"""
SEQUENCES = st.lists(st.lists(st.integers(2, 6), max_size=8), min_size=1, max_size=12)
KINDS: dict[str, dict[str, Any]] = {
    "char": {"level": "char"},
    "word": {"level": "word", "min_count": 1},
    "rare": {"level": "word", "min_count": 40},
    "lower": {"level": "word", "lowercase": True, "normalize": "NFC"},
    "cut": {"level": "word", "pretokenized": True, "min_count": 1},
    "subword": {"level": "subword", "vocab_size": 300},
    "bpe": {"level": "subword", "vocab_size": 290, "subword_model": "bpe"},
}


@pytest.fixture(scope="module", params=KINDS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """A model of counts of each kind of tokens."""
    options = {"ngram": 3, "counts_only": True, "valid_share": 0.0, **KINDS[request.param]}
    return charlm.train(texts=MORE, **options)  # type: ignore[call-overload, no-any-return]


def write(lm: LanguageModel, path: Path) -> Path:
    """The file of a model."""
    path.write_text("\n".join(lines_of(lm)) + "\n", encoding="utf-8")
    return path


def taken_in(file: Path, path: Path) -> LanguageModel:
    """The model of a file."""
    import_arpa(file, path, lambda _: None)
    return charlm.load(path, task="language-model")


def test_what_is_written_is_read_back(lm: LanguageModel, tmp_path: Path) -> None:
    """The same tokens, and figures to the digits of the file."""
    back = taken_in(write(lm, tmp_path / "a.arpa"), tmp_path / "back")
    assert back.tokenizer.to_files() == lm.tokenizer.to_files()
    assert back.checkpoint.split_on == lm.checkpoint.split_on
    texts = [*MORE, "new: ☃", ""]
    ours, theirs = (
        [score.total_log_prob for score in model.score_all(texts, closed=True)]
        for model in (lm, back)
    )
    assert theirs == pytest.approx(ours, abs=1e-6)
    drawn = [[s.text for s in model.sample(3, seed=5, max_tokens=40)] for model in (lm, back)]
    assert drawn[0] == drawn[1]


@needs_kenlm
def test_kenlm_reads_the_same_figures(lm: LanguageModel, tmp_path: Path) -> None:
    """Each token's log P, to 1e-4 nats."""
    import kenlm

    theirs = kenlm.Model(str(write(lm, tmp_path / "a.arpa")))
    assert theirs.order == 3
    for text in [*MORE[:60], "new: ☃", ""]:
        sentence = sentence_of(lm.tokenizer, text)
        found = [p * np.log(10) for p, _, _ in theirs.full_scores(sentence)]
        score = lm.score(text, per_token=True, closed=True)
        ours = [token.log_prob for token in score.tokens or ()]
        assert found == pytest.approx(ours, abs=1e-4), text


@settings(max_examples=40, deadline=None)
@given(SEQUENCES, st.integers(1, 5))
def test_any_counts_are_written_exactly(sequences: list[list[int]], order: int) -> None:
    """Counts to a file and back: every distribution is as it was."""
    vocab_size = 7
    counts = train([np.array([*ids, 1]) for ids in sequences], vocab_size, order)
    words = ["<unk>", "</s>", *"abcde", "<s>"]
    lines = [f"{line}\n".encode() for line in arpa.write(counts, words)]
    ids = {word: i for i, word in enumerate(words)}
    back = arpa.model_of(arpa.read("a file", lines), ids, vocab_size)
    contexts = np.array([[-1, 7, 2], [7, 2, 3], [2, 3, 4], [6, 6, 6], [-1, -1, 7]])
    assert back.rows(contexts)[0] == pytest.approx(counts.rows(contexts)[0], rel=1e-6)
    stored = backoff.from_arrays(vocab_size, backoff.to_arrays(back))
    assert np.array_equal(stored.rows(contexts)[0], back.rows(contexts)[0])


def by_hand(text: str) -> list[float]:
    """log10 P of the tokens of a text, as SRILM's file has it, by looking up its lines."""
    probs: dict[tuple[str, ...], float] = {}
    weights: dict[tuple[str, ...], float] = {}
    for line in SRILM.splitlines():
        if not line or line[0] != "-":
            continue
        log, *gram = line.replace("\t", " ").split(" ")
        if gram[-1][:1] in "-0" and len(gram) > 1:
            weight = float(gram.pop())
            weights[tuple(gram)] = weight
        probs[tuple(gram)] = float(log)
    words = [word if (word,) in probs else "<unk>" for word in text.split()]
    found = []
    for at in range(1, len(words) + 2):
        history = ("<s>", *words)[max(0, at - 2) : at]
        word, log = ([*words, "</s>"])[at - 1], 0.0
        while (*history, word) not in probs:
            log += weights.get(history, 0.0)
            history = history[1:]
        found.append(log + probs[(*history, word)])
    return found


def test_a_file_of_srilm_is_read_by_its_rules(tmp_path: Path) -> None:
    """Weights that are missing or above 1, contexts that were pruned, spaces for tabs."""
    (tmp_path / "a.arpa").write_text(SRILM, encoding="utf-8")
    said: list[str] = []
    import_arpa(tmp_path / "a.arpa", tmp_path / "run", said.append)
    assert any("1 words hold white space" in line for line in said)
    lm = charlm.load(tmp_path / "run", task="language-model")
    for text in ("a b", "", "c a b c", "zz b a", "b b b a a b", "c a b"):
        tokens = lm.score(text, per_token=True).tokens or ()
        found = [token.log_prob / np.log(10) for token in tokens]
        assert found == pytest.approx(by_hand(text), abs=1e-9), text
    counts = lm.checkpoint.counts
    assert counts is not None  # and a whole row is what single tokens are
    for context in ([5], [5, 2], [2, 3], [4, 2]):
        row = counts.rows(np.array([context]))[0][0]
        singly = [counts.look_on(np.array(context), np.array([i])).log_probs[0] for i in range(5)]
        assert np.log(row) == pytest.approx(singly, abs=1e-9)
    if HAS_KENLM:
        import kenlm

        # It reads no file whose contexts were pruned.
        whole = SRILM.replace("-0.25\tc a b\n", "").replace("3=3", "3=2")
        (tmp_path / "b.arpa").write_text(whole.replace("\u00a0", "_"))
        theirs = kenlm.Model(str(tmp_path / "b.arpa"))
        assert theirs.score("a b") == pytest.approx(sum(by_hand("a b")), abs=1e-5)


def test_words_of_others_are_taken_as_they_stand(tmp_path: Path) -> None:
    """A backslash is one, and no joint or escape is read into a word."""
    odd = ["\\", "\\x20", "\uffed,", "0a", "a|b"]
    rows = "".join(f"-1\t{word}\n" for word in odd)
    pairs = "".join(f"-0.5\t{word} a\n" for word in odd)
    text = SRILM.replace("1=7", f"1={7 + len(odd)}").replace("2=6", f"2={6 + len(odd)}")
    text = text.replace("\n\n\\2-grams:\n", f"\n{rows}\n\\2-grams:\n{pairs}")
    (tmp_path / "a.arpa").write_text(text, encoding="utf-8")
    lm = taken_in(tmp_path / "a.arpa", tmp_path / "run")
    for word in odd:
        score = lm.score(f"{word} a", per_token=True)
        assert score.num_oov == 0, word
        second = (score.tokens or ())[1]
        assert second.log_prob == pytest.approx(-0.5 * np.log(10)), word


def test_a_file_of_lmplz_has_the_figures_of_kenlm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that KenLM's query printed of these texts, and its perplexities."""
    monkeypatch.chdir(tmp_path)
    held = {
        "The crow thought about this for nearly a mile .": -22.373714,
        "Then she flew down ,  took one apple from the basket and carried it in her own beak .": (
            -44.36034
        ),
        "It was a small apple ,  but the donkey felt the difference .": -27.956024,
        "From that day the crow carried one apple every Friday ,  and neither of them complained "
        ".": -36.127007,
    }
    Path("held.txt").write_text("\n".join(held))
    assert "run: checkpoints/n" in good("import", "--arpa", str(LMPLZ), "--name", "n").err
    rows = lines_of_json(good("score", "--file", "held.txt", "--unit", "log10", "--json").out)
    found = [row["total_log_prob_log10"] for row in rows]
    assert found == pytest.approx(list(held.values()), abs=1e-5)
    printed = good("evaluate", "held.txt", "--format", "kenlm").out.splitlines()
    told = {name: float(value) for name, _, value in (line.partition(":\t") for line in printed)}
    tokens = sum(len(text.split()) + 1 for text in held)
    assert told["Tokens"] == tokens
    expected = 10 ** (-sum(held.values()) / tokens)
    assert told["Perplexity including OOVs"] == pytest.approx(expected, rel=1e-6)
    assert good("sample", "--seed", "1").out
    assert "no network" in good("info", "n").out


def test_words_hold_nothing_that_a_word_cannot() -> None:
    """Nothing that separates, none of the three names, and each type its own."""
    for options in KINDS.values():
        words = words_of(train_tokenizer(MORE, **options))
        assert words[0] == "<unk>"
        assert words[1] == "</s>"
        assert words[-1] == "<s>"
        inner = words[2:-1]
        assert len(set(map(str.lower, ("<unk>", "</s>", "<s>"))) & set(map(str.lower, inner))) == 0
        assert all(len(word.split()) == 1 and word.isprintable() for word in inner)
    assert escaped("\t \\\u3000\U000e0001") == "\\x09\\x20\\\\\\u3000\U000e0001"


def test_pairs_are_written_as_chunks(tmp_path: Path) -> None:
    """Joint n-grams: a source's symbol, }, and what is written for it."""
    made = charlm.train(
        texts=["ab", "ba", "aab"] * 4,
        labels=["xy}", "y}x", "xxy}"] * 4,
        task="translator",
        ngram=2,
        steps=2,
        hidden=8,
        valid_share=0.0,
    )
    lines = list(lines_of(made))
    words = {line.split("\t")[1] for line in lines[lines.index("\\1-grams:") + 1 :] if "\t" in line}
    singles = {word for word in words if " " not in word}
    assert {"</s>", "<s>", "a}x"} <= singles
    assert all(word.count("}") == 1 for word in singles - {"</s>", "<s>"})
    if HAS_KENLM:
        import kenlm

        (tmp_path / "a.arpa").write_text("\n".join(lines) + "\n")
        assert kenlm.Model(str(tmp_path / "a.arpa")).score("a}x") < 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("\\data\\", "data"), "it has no"),
        (("ngram 2=6", "ngram 2=7"), "promises 7 n-grams of order 2 and holds 6"),
        (("ngram 2=6", "ngram 2=5"), "more n-grams than promised"),
        (("ngram 2=6", "ngram 3=6"), "in a row alone"),
        (("ngram 2=6", "ngram two"), "is no ARPA file"),
        (("a a", "a q"), "'q' is not among the unigrams"),
        (("a a", "a b"), "is there twice"),
        (("-1.9\ta a", "-1.9\ta"), "no n-gram of order 2"),
        (("-1.9", "x"), "holds no numbers"),
        (("-1.9", "1.9"), "no logarithms of P"),
        (("-1.9", "nan"), "no logarithms of P"),
        (("-1.1\tc", "-1.1\tb"), "is there twice"),
        (("\\3-grams:", "\\4-grams:"), "out of order"),
        (("</s>", "<t>"), "has no </s>"),
    ],
)
def test_what_is_no_such_file_is_told(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    """With the line, in one sentence; no run is begun."""
    (tmp_path / "a.arpa").write_text(SRILM.replace(*change), encoding="utf-8")
    with pytest.raises(TextError, match=told):
        import_arpa(tmp_path / "a.arpa", tmp_path / "run", lambda _: None)
    assert not (tmp_path / "run").exists()


def test_commands_refuse_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be exported, and names that cannot be taken."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(MORE))
    good("train", "corpus.txt", "--name", "net", "--steps", "2", "--hidden", "8", "-q")
    good("train", "corpus.txt", "--name", "c", "--ngram", "2", "--counts-only", "--cache")
    assert "has no n-grams" in bad(2, "export", "net", "--arpa", "x.arpa")
    assert "say what to write" in bad(2, "export", "net")
    assert "cannot write" in bad(1, "export", "c", "--arpa", "none/x.arpa")
    assert "the cache is not in it" in good("export", "c", "--arpa", "x.arpa.gz").err
    assert "exists already" in bad(2, "import", "--arpa", "x.arpa.gz", "--name", "c")
    assert "cannot name a run" in bad(2, "import", "--arpa", "x.arpa.gz", "--name", "../x")
    assert "no ARPA file" in bad(3, "import", "--arpa", "corpus.txt", "--name", "d")
    assert good("export", "c", "--arpa", "-").out.splitlines()[-1] == "\\end\\"
    Path("y.arpa").write_text(good("export", "c", "--arpa", "-").out.replace("char", "word", 1))
    assert "do not tell how to read it" in bad(3, "import", "--arpa", "y.arpa", "--name", "d")
    with pytest.raises(UsageError, match="has no n-grams"):
        list(lines_of(charlm.load("net", task="language-model")))
