"""Laws of scores where people keep them: long form, regions, Parquet, frames, n-best, filters."""

import csv
import importlib.util
import io
import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import charlm
from charlm.errors import UsageError
from charlm.inference.pairs.rescoring import Hypothesis, errors_at, tuned, word_errors
from charlm.models.language_model import LanguageModel
from charlm.novelty.frequency import WordFrequency
from tests.support.cli import bad, good, lines_of_json
from tests.support.tiny import TEXTS

MORE = [*TEXTS, *(f"{a} {b}" for a, b in itertools.permutations(TEXTS[:4], 2))]
STIMULI = (
    "item,sentence,regions\n1,the cat sat on the mat,the cat | sat on | the mat\n"
    '2,"a dog, the cat","a dog, | the cat"\n'
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside a run of counts, which takes a moment."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(MORE))
    good("train", "corpus.txt", "--ngram", "3", "--counts-only", "--name", "c")
    Path("stimuli.csv").write_text(STIMULI)
    return tmp_path


def table(text: str) -> list[dict[str, str]]:
    """The rows of CSV."""
    return list(csv.DictReader(io.StringIO(text)))


def model() -> LanguageModel:
    """The run of a test."""
    return charlm.load("c", task="language-model")


def test_a_row_a_word_has_what_studies_ask_for(here: Path) -> None:
    """Spillover, entropy, length and frequency, beside the item's columns."""
    rows = table(good("score", "--words", "--column", "sentence", "--file", "stimuli.csv").out)
    lm = model()
    first = [row for row in rows if row["item"] == "1"]
    score = lm.score("the cat sat on the mat", words=True, per_token=True)
    assert [row["word"] for row in first] == [*["the", "cat", "sat", "on", "the", "mat"], "<EOS>"]
    surprisals = [float(row["surprisal_bits"]) for row in first]
    assert surprisals == pytest.approx([word.surprisal for word in score.words or ()])
    assert first[0]["previous_surprisal_bits"] == ""
    before = [float(row["previous_surprisal_bits"]) for row in first[1:]]
    assert before == pytest.approx(surprisals[:-1])
    assert [row["characters"] for row in first] == ["3", "3", "3", "2", "3", "3", ""]
    tokens = {token.start: token.entropy for token in score.tokens or ()}
    entropies = [float(row["entropy_bits"]) for row in first]
    assert entropies[0] == pytest.approx(tokens[0])
    assert entropies[1] == pytest.approx(tokens[3])  # of the space, which the word brings
    counts = [word for text in lm.index.sequences() for word in text.split()]
    share = (counts.count("cat") + 1) / (len(counts) + len(set(counts)) + 1)
    assert float(first[1]["log_frequency_nats"]) == pytest.approx(math.log(share))
    assert first[-1]["log_frequency_nats"] == ""


def test_regions_are_sums_of_their_words(here: Path) -> None:
    """Of log P; and all of them are the text's."""
    options = ("--column", "sentence", "--region-column", "regions", "--file", "stimuli.csv")
    rows = table(good("score", *options).out)
    lm = model()
    regions = [[row for row in rows if row["item"] == item] for item in "12"]
    assert [row["region"] for row in regions[0]] == ["the cat", "sat on", "the mat", "<EOS>"]
    assert [row["region"] for row in regions[1]] == ["a dog,", "the cat", "<EOS>"]
    score = lm.score("the cat sat on the mat", words=True)
    spans = [score.span(0, 2), score.span(2, 4), score.span(4, 6), score.span(6, 7)]
    assert [float(row["log_prob_nats"]) for row in regions[0]] == pytest.approx(
        [one.log_prob for one in spans]
    )
    assert float(regions[0][-1]["running_total_nats"]) == pytest.approx(score.total_log_prob)
    assert spans[0].text == "the cat"
    assert [row["words"] for row in regions[0]] == ["2", "2", "2", "0"]
    Path("wrong.csv").write_text(STIMULI.replace("| the mat", "| a mat"))
    said = bad(3, "score", *options[:-1], "wrong.csv")
    assert "line 2 is broken: its regions" in said
    assert "no column" in bad(2, "score", *options[:3], "none", "--file", "stimuli.csv")
    for start, end in ((0, 0), (-1, 2), (3, 9)):
        with pytest.raises(UsageError, match="words are 0 to 7"):
            score.span(start, end)
    with pytest.raises(UsageError, match="words=True"):
        lm.score("the cat").span(0, 1)


def test_frequency_is_unknown_without_a_text(here: Path) -> None:
    """It is left empty, and that is said."""
    good("train", "corpus.txt", "--ngram", "2", "--counts-only", "--name", "bare", "--no-index")
    options = ("--words", "--column", "sentence", "--file", "stimuli.csv", "--model", "bare")
    ended = good("score", *options)
    assert "log_frequency is empty" in ended.err
    assert {row["log_frequency_nats"] for row in table(ended.out)} == {""}
    assert WordFrequency(charlm.load("bare", task="language-model"))("cat") is None


def test_parquet_is_read_as_a_table(here: Path) -> None:
    """Its rows go out as those of CSV do; in one process or two, whole or filtered."""
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    columns = {
        "item": [1, 2, 3],
        "sentence": ["the cat", 'a "dog",\nand', None],
        "more": [[1, 2], None, [3]],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), "s.parquet")
    ended = good("score", "--column", "sentence", "--file", "s.parquet")
    rows = table(ended.out)
    assert [row["item"] for row in rows] == ["1", "2", "3"]
    assert [row["sentence"] for row in rows] == ["the cat", 'a "dog",\nand', ""]
    assert rows[0]["more"] == "[1, 2]"
    lm = model()
    for row in rows[:2]:
        right = lm.score(row["sentence"]).total_log_prob
        assert float(row["total_log_prob_nats"]) == pytest.approx(right)
    words = table(good("score", "--words", "--column", "sentence", "--file", "s.parquet").out)
    assert words[0]["word"] == "the"
    assert "--column says which" in bad(2, "score", "--file", "s.parquet")
    assert "no column" in bad(2, "score", "--column", "none", "--file", "s.parquet")
    Path("t.parquet").write_bytes(Path("s.parquet").read_bytes()[:-20])
    assert "cannot read t.parquet" in bad(3, "score", "--column", "sentence", "--file", "t.parquet")


def test_frames_get_columns(here: Path) -> None:
    """Of pandas and pyarrow, and dicts; what is missing has no figures."""
    lm = model()
    texts = ["the cat", None, "a dog"]
    right = [None if text is None else lm.score(text).total_log_prob for text in texts]
    found = lm.score_frame({"n": [1, 2, 3], "text": texts})
    assert found["total_log_prob_nats"] == right
    assert list(found)[:2] == ["n", "text"]
    bits = lm.score_frame({"s": ["the cat"]}, column="s", unit="bits", prefix="lm_")
    assert bits["lm_total_log_prob_bits"][0] == pytest.approx(right[0] / math.log(2))  # type: ignore[operator]
    with pytest.raises(UsageError, match="there is no column 'text'"):
        lm.score_frame({"s": ["a"]})
    with pytest.raises(UsageError, match="already"):
        lm.score_frame(found)
    assert lm.score_frame({"text": []})["tokens"] == []
    if importlib.util.find_spec("pandas") is not None:
        import pandas

        frame = pandas.DataFrame({"text": texts}, index=[5, 6, 7])
        scored = lm.score_frame(frame)
        assert list(scored.index) == [5, 6, 7]
        assert scored["total_log_prob_nats"].isna().tolist() == [False, True, False]
        assert scored["total_log_prob_nats"].iloc[0] == pytest.approx(right[0])


NBEST = "".join(
    f"{name}\t{text}\t{score}\n"
    for name, text, score in [
        ("u1", "the cot sat", -1.0),
        ("u1", "the cat sat", -3.0),
        ("u2", "a dog ran", -2.0),
        ("u2", "a dug ran", -1.5),
        ("u3", "zzz", -1.0),
    ]
)


def test_the_weight_is_fitted_to_word_errors(here: Path) -> None:
    """That of fewest errors, said; ids without a reference are left out."""
    Path("nbest.tsv").write_text(NBEST)
    Path("ref.txt").write_text("u1 the cat sat\nu2\ta dog ran\n")
    options = ("score", "--nbest", "--file", "nbest.tsv", "--best")
    ended = good(*options, "--tune-weight", "ref.txt", "--json")
    assert "word errors 0.00% (without 33.33%" in ended.err
    assert "1 have no reference" in ended.err
    assert [row["text"] for row in lines_of_json(ended.out)] == ["the cat sat", "a dog ran", "zzz"]
    assert "not both" in bad(2, *options, "--tune-weight", "ref.txt", "--weight", "2")
    Path("none.txt").write_text("u9 a\n")
    assert "no id of the hypotheses" in bad(2, *options, "--tune-weight", "none.txt")
    Path("twice.txt").write_text("u1 a\nu1 b\n")
    assert "two references" in bad(2, *options, "--tune-weight", "twice.txt")
    piped = ("score", "--nbest", "--tune-weight", "ref.txt")
    assert "read twice" in bad(2, *piped, stdin=NBEST.encode())


GROUPS = st.lists(
    st.lists(
        st.builds(
            Hypothesis,
            st.integers(-8, 8).map(float),
            st.integers(-8, 8).map(float),
            st.integers(0, 5),
        ),
        min_size=1,
        max_size=5,
    ),
    min_size=1,
    max_size=6,
)


@given(GROUPS)
def test_no_weight_has_fewer_errors(groups: list[list[Hypothesis]]) -> None:
    """What is found has the errors that it says, and no weight of a fine grid has fewer."""
    found = tuned(groups)
    assert found.errors == errors_at(groups, found.weight)
    grid = [at / 17.3 + 1e-4 for at in range(600)]
    assert found.errors <= min(errors_at(groups, weight) for weight in grid)


def test_word_errors_are_edits() -> None:
    """Of words, whatever stands between them."""
    assert word_errors("the  cat sat", "the cat sat") == 0
    assert word_errors("the cat", "the cat sat") == 1
    assert word_errors("", "a b") == 2


def test_kaldi_lines_are_ranked(here: Path) -> None:
    """utt-1, a space, the text: best first, as they came; figures where they are asked for."""
    lines = ["u1-1 the cot sat", "u1-2 the cat sat", "u2-1 zzz"]
    Path("nbest.txt").write_text("\n".join(lines) + "\n")
    options = ("score", "--nbest", "--kaldi", "--file", "nbest.txt")
    assert good(*options).out.splitlines() == [lines[1], lines[0], lines[2]]
    assert good(*options, "--best").out.splitlines() == [lines[1], lines[2]]
    (first, *_) = lines_of_json(good(*options, "--json").out)
    assert (first["id"], first["text"], first["rank_in_group"]) == ("u1-2", "the cat sat", 1)
    Path("ref.txt").write_text("u1 the cat sat\n")
    assert "word errors 0.00%" in good(*options, "--tune-weight", "ref.txt").err


def test_the_best_share_is_kept(here: Path) -> None:
    """Those of the lowest perplexity, in order, as they came; inverted, the others."""
    Path("texts.txt").write_text("\n".join([*MORE, "xq zv kk", "zzzz qqqq"]) + "\n")
    texts = Path("texts.txt").read_text().splitlines()
    options = ("score", "--file", "texts.txt", "--keep-best", "25%")
    ended = good(*options, "--histogram")
    kept = ended.out.splitlines()
    lm = model()
    perplexities = {text: lm.score(text).perplexity for text in texts}
    limit = sorted(perplexities[text] for text in texts)[math.ceil(len(texts) / 4) - 1]
    assert kept == [text for text in texts if perplexities[text] <= limit]
    others = good(*options, "--invert").out.splitlines()
    assert sorted([*kept, *others]) == sorted(texts)
    rows = [line.split() for line in ended.err.splitlines() if "#" in line]
    assert sum(int(row[1].replace(",", "")) for row in rows) == len(texts)
    assert f"kept {len(kept)} of {len(texts)} texts" in ended.err
    for wrong in ("30", "0%", "100%", "x%"):
        assert "such as 30%" in bad(2, "score", "--file", "texts.txt", "--keep-best", wrong)
    assert "read twice" in bad(2, "score", "--keep-best", "30%", stdin=b"a\nb\n")
