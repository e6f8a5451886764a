"""Laws of the commands that take a translator: what they print adds up, no option is lost."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import charlm
from charlm.models.translator import Translator
from tests.support.cli import bad, good, lines_of_json

PAIRS = [("ab", "A B"), ("ba", "B A"), ("abb", "A B B"), ("ab", "A A"), ("b", "B")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with translators trained for a moment, two alike, one of other targets."""
    root = tmp_path_factory.mktemp("translators")
    words = [f"{a}{b}{c}" for a in "abcd" for b in "abcd" for c in ("", "a", "d")]
    lines = "".join(f"{word}\t{' '.join(word.upper())}\n" for word in words)
    (root / "pairs.tsv").write_text(lines, encoding="utf-8")
    for name, steps, more in (
        ("one", 30, {"target_level": "word"}),
        ("two", 60, {"target_level": "word"}),
        ("letters", 5, {"target_level": "char"}),
        ("plain", 5, {"target_level": "word", "attention": "none"}),
    ):
        charlm.train(
            root / "pairs.tsv",
            task="translator",
            hidden=16,
            embedding=8,
            learning_rate=0.01,
            steps=steps,
            name=name,
            root=root,
            seed=1,
            **more,
        )
    return root


@pytest.fixture(autouse=True)
def here(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory beside those runs, with some pairs in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARLM_RUNS", str(root))
    write("pairs.tsv")
    return tmp_path


def write(name: str, *, cut: str = "\t") -> None:
    """The pairs as a file."""
    Path(name).write_text("".join(f"{cut.join(pair)}\n" for pair in PAIRS))


def model(root: Path, name: str = "one") -> Translator:
    """A translator."""
    return charlm.load(name, task="translator", root=root)


def rows_of(*command: str, **options: bytes) -> list[list[str]]:
    """The cells of what is printed."""
    return [line.split("\t") for line in good(*command, **options).out.splitlines()]


# score


def test_targets_of_a_source_are_ranked(root: Path) -> None:
    """The likeliest target is first in rank, and all figures are those of the library."""
    rows = lines_of_json(
        good("score", "--model", "one", "--source", "ab", "A B", "B", "--json", "--per-token").out
    )
    scores = model(root).score_all([("ab", "A B"), ("ab", "B")])
    likeliest = max(scores, key=lambda score: score.total_log_prob)
    for row, score in zip(rows, scores, strict=True):
        assert (row["source"], row["target"]) == (score.source, score.target)
        assert row["total_log_prob_nats"] == pytest.approx(score.total_log_prob, abs=1e-5)
        assert (row["rank"] == 1) == (score is likeliest)
        assert row["source_tokens"] == [*"ab", "<EOS>"]
        assert [one["token"] for one in row["per_token"]] == [*row["target"].split(), "<EOS>"]
        total = sum(one["log_prob_nats"] for one in row["per_token"])
        assert total == pytest.approx(row["total_log_prob_nats"], abs=1e-9)
        assert row["per_token"][-1]["running_total_nats"] == pytest.approx(total)
        assert all(sum(one["attention"]) == pytest.approx(1, abs=1e-5) for one in row["per_token"])
    ended = good("score", "--model", "one", "--source", "ab", "A B", "B")
    assert f'likeliest: "{likeliest.target}"' in ended.err
    assert all(len(line) <= 80 for line in ended.out.splitlines())


def test_units_are_units(root: Path) -> None:
    """Bits and log10 are nats over a constant."""
    nats, bits = (
        lines_of_json(
            good("score", "-m", "one", "--source", "ab", "A B", "--json", "--unit", unit).out
        )[0][f"total_log_prob_{unit}"]
        for unit in ("nats", "bits")
    )
    assert nats == pytest.approx(bits * 0.6931471805599453)


def test_rows_of_a_table_go_out_with_their_figures(root: Path) -> None:
    """As they came, whatever the table is; figures of each are those of the pair alone."""
    expected = [score.total_log_prob for score in model(root).score_all(PAIRS)]
    found = []
    rows = [
        line.split("\t") for line in good("score", "-m", "one", "-f", "pairs.tsv").out.splitlines()
    ]
    assert [tuple(row[:2]) for row in rows] == PAIRS
    found.append([float(row[2]) for row in rows])
    Path("pairs.csv").write_text("id,to,from\n" + "".join(f"7,{t},{s}\n" for s, t in PAIRS))
    names = ("--source-column", "from", "--target-column", "to")
    head, *lines = good("score", "-m", "one", "-f", "pairs.csv", *names).out.splitlines()
    assert head.startswith("id,to,from,total_log_prob_nats,")
    found.append([float(line.split(",")[3]) for line in lines])
    written = "".join(json.dumps({"x": {"s": s}, "t": t}) + "\n" for s, t in PAIRS)
    Path("pairs.jsonl").write_text(written)
    names = ("--source-field", "x.s", "--target-field", "t")
    objects = lines_of_json(good("score", "-m", "one", "-f", "pairs.jsonl", *names).out)
    assert [(one["x"]["s"], one["t"]) for one in objects] == PAIRS
    found.append([one["total_log_prob_nats"] for one in objects])
    as_json = lines_of_json(good("score", "-m", "one", "-f", "pairs.tsv", "--json").out)
    assert [(one["source"], one["target"]) for one in as_json] == PAIRS
    found.append([one["total_log_prob_nats"] for one in as_json])
    Path("headed.tsv").write_text("from\tto\n\n" + Path("pairs.tsv").read_text() + "\n")
    names = ("--source-column", "from", "--target-column", "to")
    head, *lines = good("score", "-m", "one", "-f", "headed.tsv", "--tsv", *names).out.splitlines()
    assert head.endswith("\tsource\ttarget")
    found.append([float(line.split("\t")[0]) for line in lines])
    rows = [
        line.split("\t")
        for line in good("score", "-m", "one", "-f", "pairs.tsv", "--per-token").out.splitlines()
    ]
    found.append([sum(float(r[5]) for r in rows if r[2] == str(n)) for n in range(1, 6)])
    piped = rows_of("score", "-m", "one", "-f", "-", stdin=Path("pairs.tsv").read_bytes())
    found.append([float(row[2]) for row in piped])
    for figures in found:
        assert figures == pytest.approx(expected, abs=1e-5)


def test_pairs_are_filtered() -> None:
    """Those of a low perplexity are kept, or those of a high one, and each is in one of the two."""
    of_all = lines_of_json(good("score", "-m", "one", "-f", "pairs.tsv", "--json").out)
    bound = str(sorted(row["perplexity_per_token"] for row in of_all)[2])
    low = good("score", "-m", "one", "-f", "pairs.tsv", "--max-perplexity", bound)
    high = good("score", "-m", "one", "-f", "pairs.tsv", "--max-perplexity", bound, "-v")
    assert "kept 3 of 5 pairs" in low.err
    lines = [*low.out.splitlines(), *high.out.splitlines()]
    assert sorted(lines) == sorted(Path("pairs.tsv").read_text().splitlines())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alone", "line 2 is broken: it has 1 column between tabs, not 2"),
        ("a\tb\tc\td", "line 2 is broken: it has 4 columns between tabs, not 2; name those"),
        ("a\t", "line 2 is broken: its target is empty"),
        ("\ta", "line 2 is broken: its source is empty"),
        ('{"a": "b"}', "name its fields with --source-field and --target-field"),
    ],
)
def test_what_is_no_pair_is_told_by_its_number(line: str, said: str) -> None:
    """After the lines before it were dealt with; it can be kept or dropped, too."""
    Path("broken.tsv").write_text(f"ab\tA B\n{line}\nb\tB\n")
    ended = bad(3, "score", "-m", "one", "-f", "broken.tsv")
    assert said in ended
    assert "line 2: it" in bad(3, "evaluate", "-m", "one", "broken.tsv")
    kept = good("score", "-m", "one", "-f", "broken.tsv", "--on-error", "keep").out.splitlines()
    assert len(kept) == 3
    assert kept[1] == line
    dropped = good("score", "-m", "one", "-f", "broken.tsv", "--on-error", "drop")
    assert len(dropped.out.splitlines()) == 2
    assert "broken lines, dropped: 1" in dropped.err


def test_unseen_symbols_have_a_probability_and_a_note() -> None:
    """In a source they are named; in a target they count as <UNK>, in the column of OOV."""
    ended = good("score", "-m", "one", "--source", "aéb", "A Q", "--json")
    (row,) = lines_of_json(ended.out)
    assert row["oov_tokens"] == 1
    assert row["total_log_prob_nats"] < 0
    assert "read as <UNK>: é" in ended.err


class Page(HTMLParser):
    """The tags, titles and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Note it."""
        self.text += data


def test_a_page_shows_where_the_decoder_looked(root: Path) -> None:
    """The page of translate and that of score hold every share, fetch nothing and run nothing."""
    (best,) = model(root).translate("ab")
    good("translate", "-m", "one", "ab", "<b>", "--html", "t.html")
    good("score", "-m", "one", "--source", "ab", best.text, "--html", "s.html")
    pages = [Page(Path(name).read_text(encoding="utf-8")) for name in ("t.html", "s.html")]
    score = model(root).score("ab", best.text)
    for page in pages:
        assert not {"script", "link", "img", "iframe"} & set(page.tags)
        assert not [value for name, value in page.attributes if name in ("src", "href")]
        titles = [value for name, value in page.attributes if name == "title"]
        for token in score.tokens:
            for source, share in zip(score.source_tokens, token.attention, strict=True):
                assert f"{token.token} ← {source}: {share:.1%}" in titles
    assert pages[0].text.count("→") == 2
    assert "<b>" in pages[0].text
    assert score._repr_html_() in Path("s.html").read_text(encoding="utf-8")


def test_attention_that_is_not_there_is_not_shown() -> None:
    """A model trained without says so."""
    for command in (
        ("translate", "-m", "plain", "ab", "--attention"),
        ("translate", "-m", "plain", "ab", "--html", "x.html"),
        ("score", "-m", "plain", "--source", "ab", "A", "--attention"),
    ):
        assert "trained with --attention none" in bad(2, *command)
    assert not Path("x.html").exists()
    good("score", "-m", "plain", "--source", "ab", "A", "--json", "--per-token")


def test_a_wide_map_names_what_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the columns do not fit, no line is longer than the terminal."""
    source = "abcd" * 30
    drawn = good("score", "-m", "one", "--source", source, "A B", "--attention").out.splitlines()
    assert all(len(line) <= 80 for line in drawn[2:])
    assert [line.split()[0] for line in drawn[2:]] == ["A", "B", "<EOS>"]


# evaluate, compare


def test_the_figures_of_pairs_are_those_of_the_library(root: Path) -> None:
    """As JSON to the last digit; of the table each figure is named with what is divided by what."""
    found = json.loads(good("evaluate", "-m", "two", "pairs.tsv", "--json").out)
    summary = model(root, "two").evaluate(PAIRS)
    for name, value in summary.to_json().items():
        assert found[name] == (value if isinstance(value, int) else pytest.approx(value, abs=1e-6))
    assert found["sources"] == 4
    assert found["pairs"] == 5
    assert found["target_tokens"] == sum(len(target.split()) + 1 for _, target in PAIRS)
    assert found["error_rate"] == found["wrong_sources"] / 4
    assert found["symbol_error_rate"] == found["edits"] / found["reference_symbols"]
    table = good("evaluate", "-m", "two", "pairs.tsv").out
    assert all(len(line) <= 80 for line in table.splitlines())
    assert f"{found['wrong_sources']} of 4 sources" in table
    assert f"{found['edits']} edits over the {found['reference_symbols']} words" in table
    assert (
        json.loads(good("evaluate", "-m", "two", "pairs.tsv", "--json", "--greedy").out)["beam"]
        == 1
    )


def test_sentence_scores_are_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named with the way to get it; with it, what is all right has 100."""
    Path("right.tsv").write_text("ab\tA B A B A\n")
    monkeypatch.setattr(
        Translator, "_translated", lambda self, sources, *_: [[Right] for _ in sources]
    )
    found = json.loads(good("evaluate", "-m", "one", "right.tsv", "--bleu", "--json").out)
    assert found["bleu"] == found["chrf"] == pytest.approx(100)
    assert "BLEU" in good("evaluate", "-m", "one", "right.tsv", "--bleu").out
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert 'pip install "charlm[bleu]"' in bad(2, "evaluate", "-m", "one", "right.tsv", "--bleu")


class Right:
    """What should have been written."""

    text = "A B A B A"


def test_a_comparison_is_of_the_same_pairs(root: Path) -> None:
    """The difference is that of the two summaries, and its sign turns when the models do."""
    one, two = (model(root, name).evaluate(PAIRS) for name in ("one", "two"))
    there = json.loads(good("compare", "one", "two", "pairs.tsv", "--json").out)
    back = json.loads(good("compare", "two", "one", "pairs.tsv", "--json").out)
    for name, wanted in (
        ("error_rate", two.rates.whole - one.rates.whole),
        ("nats_per_target_token", two.cross_entropy - one.cross_entropy),
    ):
        assert there[f"{name}_difference"] == pytest.approx(wanted, abs=1e-6)
        assert back[f"{name}_difference"] == pytest.approx(-wanted, abs=1e-6)
    assert there["sources"] == 4
    told = good("compare", "one", "two", "pairs.tsv").out
    assert all(len(line) <= 80 for line in told.splitlines())
    worse = ("one", "two") if one.cross_entropy < two.cross_entropy else ("two", "one")
    assert "more than" in bad(1, "compare", *worse, "pairs.tsv", "--fail-above", "0")
    good("compare", *reversed(worse), "pairs.tsv", "--fail-above", "0")
    assert "no difference" in good("compare", "one", "one", "pairs.tsv").out


def test_models_of_other_targets_are_compared_by_what_they_write() -> None:
    """Their nats are of other tokens."""
    ended = good("compare", "one", "letters", "pairs.tsv")
    assert "cut targets into other tokens" in ended.err
    assert "error rate" in ended.out
    found = json.loads(good("compare", "one", "letters", "pairs.tsv", "--json").out)
    assert "nats_per_target_token_a" not in found
    assert "leave out --fail-above" in bad(
        2, "compare", "one", "letters", "pairs.tsv", "--fail-above", "1"
    )


# sample


def test_the_same_seed_draws_the_same_targets(root: Path) -> None:
    """In any batch, streamed or not, from Python too."""
    command = ("sample", "-m", "one", "--source", "abd", "--n", "40", "--seed", "7")
    texts = good(*command).out
    for more in (("--batch-size", "1"), ("--batch-size", "7"), ("--stream",)):
        assert good(*command, *more).out == texts
    assert good(*command[:-1], "8").out != texts
    drawn = model(root).sample("abd", n=40, seed=7)
    assert "".join(f"{one.text}\n" for one in drawn) == texts
    scores = model(root).score_all(("abd", one.text) for one in drawn if one.ended == "eos")
    for one, score in zip((one for one in drawn if one.ended == "eos"), scores, strict=True):
        assert one.total_log_prob == pytest.approx(score.total_log_prob, abs=1e-5)
    rows = lines_of_json(good(*command, "--json").out)
    assert [row["text"] for row in rows] == texts.splitlines()
    assert {row["source"] for row in rows} == {"abd"}


def test_temperature_0_is_greedy(root: Path) -> None:
    """What is drawn is then what the narrowest beam writes; a prompt is gone on with."""
    (best,) = model(root).translate("abd", beam=1)
    assert (
        good("sample", "-m", "one", "--source", "abd", "--temperature", "0").out == f"{best.text}\n"
    )
    begun = good("sample", "-m", "one", "--source", "abd", "--prompt", "D D", "--seed", "1").out
    assert begun.startswith("D D")


# What does not go together


def test_what_is_about_texts_is_refused_of_pairs() -> None:
    """In a sentence that names the option; and what is about pairs, of other models."""
    for option in (
        ("--context", "x"),
        ("--words",),
        ("--heatmap",),
        ("--closed",),
        ("--null",),
        ("--label", "x"),
    ):
        said = bad(2, "score", "-m", "one", "-f", "pairs.tsv", *option)
        assert re.search(f"{option[0]} (is about texts|.*do not go)", said)
    for option in ("--check", "--dynamic", "--closed"):
        assert f"{option} is about texts" in bad(2, "evaluate", "-m", "one", "pairs.tsv", option)
    assert "--novel is about texts" in bad(2, "sample", "-m", "one", "--source", "a", "--novel")
    assert "give it with --source" in bad(2, "sample", "-m", "one")
    assert "give a target" in bad(2, "score", "-m", "one", "--source", "a")
    assert "give a source with --source" in bad(2, "score", "x", "--attention")
    assert "cannot be mixed" in bad(2, "score", "-m", "one", "-m", "two", "--source", "a", "A")
    assert "there is no pair" in bad(3, "evaluate", "-m", "one", "-", stdin=b"\n")
    assert "score, evaluate, compare or sample" in bad(4, "score", "-m", "one", "-m", "two", "a")


def test_small_jobs_need_no_torch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair or two are scored and written by the equations."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setitem(sys.modules, "charlm.engines.torch_pairs", None)
    loaded = model(root)
    assert loaded.translate("ab")[0].ended
    assert loaded.score("ab", "A B").total_log_prob < 0
    assert len(loaded.sample("ab", n=2, seed=1)) == 2
