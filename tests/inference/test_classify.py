"""Classifying: Bayes' rule, its temperature, the figures, and the command."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import replace_file
from charlm.errors import UsageError
from charlm.inference.classify import (
    LEAST_TEMPERATURE,
    fit_temperature,
    log_posterior,
    report,
)
from charlm.inference.score import ended
from charlm.models.load import load
from charlm.training import calibration
from tests.support.cli import charlm, good

PLACES = st.sampled_from("abc")


@given(
    log_likelihoods=arrays(np.float64, (4, 3), elements=st.floats(-2000, 0)),
    counts=arrays(np.int64, 3, elements=st.integers(1, 1000)),
    temperature=st.floats(0.1, 10),
)
def test_bayes_rule_adds_up_to_one(
    log_likelihoods: np.ndarray, counts: np.ndarray, temperature: float
) -> None:
    """Whatever the likelihoods, the posteriors of all labels add up to 1. At temperature 1 equal
    ones leave the prior, and the odds are those of the joint probabilities; another temperature
    leaves the order of the labels.
    """
    log_prior = np.log(counts / counts.sum())
    found = log_posterior(log_likelihoods, log_prior, temperature)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-12)
    same = log_posterior(np.full((1, 3), -5.0), log_prior)
    np.testing.assert_allclose(same[0], log_prior, atol=1e-12)
    joint = np.diff(log_likelihoods + log_prior, axis=1)
    assert (np.diff(found, axis=1)[joint > 1e-6] > 0).all()
    odds = np.diff(log_posterior(log_likelihoods, log_prior), axis=1)
    np.testing.assert_allclose(odds, joint, atol=1e-8)


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_the_temperature_is_found_again(factor: float) -> None:
    """Labels drawn at a temperature are likeliest at about that one, and nowhere more likely."""
    rng = np.random.default_rng(0)
    log_prior = np.log([0.6, 0.3, 0.1])
    log_likelihoods = rng.normal(-20, 3 * factor, (4000, 3))
    p = np.exp(log_posterior(log_likelihoods, log_prior, factor))
    true = (rng.random((4000, 1)) > np.cumsum(p, axis=1)[:, :2]).sum(axis=1)
    fitted = fit_temperature(log_likelihoods, log_prior, true)
    assert fitted == pytest.approx(factor, rel=0.1)

    def loss(temperature: float) -> float:
        posteriors = log_posterior(log_likelihoods, log_prior, temperature)
        return -float(posteriors[np.arange(len(true)), true].mean())

    assert loss(fitted) < min(loss(fitted * 0.9), loss(fitted * 1.1))


def test_without_a_mistake_certainty_stays_finite() -> None:
    """Texts that are all right make a model surer, and not without end; none leave it as it is."""
    right = np.array([[-1.0, -9.0], [-9.0, -1.0]])
    prior = np.log([0.5, 0.5])
    assert LEAST_TEMPERATURE < fit_temperature(right, prior, np.array([0, 1])) < 1
    assert fit_temperature(np.empty((0, 2)), prior, np.empty(0, dtype=np.int64)) == 1


@given(pairs=st.lists(st.tuples(PLACES, PLACES), max_size=40))
def test_figures_are_those_of_counting(pairs: list[tuple[str, str]]) -> None:
    """Accuracy, precision, recall, F1 and confusions are what counting pairs gives."""
    figures = report([true for true, _ in pairs], [said for _, said in pairs])
    assert figures.texts == len(pairs)
    right = sum(true == said for true, said in pairs)
    assert figures.accuracy == (right / len(pairs) if pairs else None)
    recalls = []
    for label, one in figures.of_labels.items():
        of = [said for true, said in pairs if true == label]
        said = [true for true, said in pairs if said == label]
        assert (one.texts, one.predicted) == (len(of), len(said))
        assert one.recall == (of.count(label) / len(of) if of else None)
        assert one.precision == (said.count(label) / len(said) if said else None)
        p, r = one.precision or 0, one.recall or 0
        assert one.f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0)
        recalls += [one.recall] if of else []
    assert figures.macro_accuracy == (pytest.approx(np.mean(recalls)) if recalls else None)
    wrong = figures.confusions()
    assert sum(count for _, _, count in wrong) == len(pairs) - right
    assert [count for *_, count in wrong] == sorted((c for *_, c in wrong), reverse=True)
    for true, said, count in wrong:
        assert count == pairs.count((true, said)) > 0
    assert json.loads(json.dumps(figures.to_json()))["texts"] == len(pairs)


# The command


VOWELS, NUMBERS = "aeiou", "13579"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with labelled files, and a model trained on them."""
    folder = tmp_path_factory.mktemp("classify")
    (folder / "kinds").mkdir()
    words = {
        "vowels": [f"{a}{b}{c}" for a in VOWELS for b in VOWELS for c in VOWELS[:2]],
        "odd": [f"{a}{b}" for a in NUMBERS for b in NUMBERS],
    }
    for label, lines in words.items():
        (folder / "kinds" / f"{label}.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{text}\t{label}" for label, lines in words.items() for text in lines]
    (folder / "kinds.tsv").write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["train", "kinds", "--label-from", "file", "--name", "kinds", "--steps", "60"]
        good(*arguments, "--hidden", "16", "--quiet", "--learning-rate", "0.02")
    return folder


def test_training_ends_calibrated(folder: Path) -> None:
    """The best step has a temperature, written into it whole, and posteriors that add up to 1."""
    lm = load(folder / "checkpoints" / "kinds")
    assert lm.labels is not None
    assert lm.labels.temperature is not None
    assert not calibration.is_due(folder / "checkpoints" / "kinds")
    texts = ["aei", "137", "", "?"]
    found = lm.log_posteriors(texts)
    np.testing.assert_allclose(lm.classify(texts).sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(np.log(lm.classify(texts)), found, atol=1e-9)
    assert found.argmax(axis=1)[:2].tolist() == [lm.labels.index(n) for n in ("vowels", "odd")]
    assert lm.classify([]).shape == (0, 2)
    scores = [lm.with_label(n).score("aei").total_log_prob for n in lm.labels.names]
    expected = log_posterior(np.array([scores]), lm.labels.log_prior, lm.labels.temperature)
    np.testing.assert_allclose(found[:1], expected, atol=1e-4)


def test_one_text_is_not_several(folder: Path) -> None:
    """Each character of it would be classified: it is refused, as texts given for ids are."""
    lm = load(folder / "checkpoints" / "kinds")
    for ask in (lm.classify, lm.log_posteriors, lm.engines.log_likelihoods):
        with pytest.raises(UsageError, match="text"):
            ask("aei")
    with pytest.raises(UsageError, match="ids"):
        lm.engines.log_likelihoods(["aei"])  # type: ignore[list-item]


def test_counts_tell_no_labels(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the network they predict texts; labels are told, and certainty fitted, without them.

    What they say is the same for every label: after few steps they would outweigh what is not.
    """
    monkeypatch.chdir(tmp_path)
    kinds = str(folder / "kinds")
    arguments = ["train", kinds, "--label-from", "file", "--name", "counted", "--steps", "20"]
    more = ["--hidden", "16", "--quiet", "--learning-rate", "0.02", "--ngram", "3", "--cache"]
    good(*arguments, *more)
    run = tmp_path / "checkpoints" / "counted"
    lm, alone = load(run), load(run, alone=True)
    texts = ["aei", "137", "", "ou1", "uoa"]
    np.testing.assert_array_equal(lm.log_posteriors(texts), alone.log_posteriors(texts))
    given = [one.with_label("odd").score("137").total_log_prob for one in (lm, alone)]
    assert abs(given[0] - given[1]) > 0.01
    assert lm.labels is not None
    log_likelihoods = lm.engines.log_likelihoods(ended(lm.tokenizer, texts))
    for column, label in enumerate(lm.labels.names):
        scores = [score.total_log_prob for score in alone.with_label(label).score_all(texts)]
        np.testing.assert_allclose(log_likelihoods[:, column], scores, atol=1e-4)


def test_a_finished_run_that_was_killed_is_calibrated_by_resume(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its temperature a finished run can be gone on with, once."""
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    run = tmp_path / "copy" / "checkpoints" / "kinds"
    best = directory.best_step(run)
    fitted = Checkpoint.load(best).labels
    assert fitted is not None
    blank = {**fitted.to_json(), "temperature": None}
    replace_file(best, "labels.json", to_json(blank))
    assert calibration.is_due(run)
    again = ("train", "kinds", "--resume", "--name", "kinds", "--quiet")
    good(*again)
    assert Checkpoint.load(best).labels == fitted
    assert charlm(*again).code == 2


def test_texts_lines_and_records_are_classified(here: Path) -> None:
    """Arguments in a table, lines as TSV and JSON, records with results in them: one result."""
    table = good("classify", "aei", "137").out
    assert [line.split()[1:] for line in table.splitlines()] == [
        ["(%)", "label", "text"],
        ["vowels", "aei"],
        ["odd"],
        ["odd", "137"],
        ["vowels"],
    ]
    (here / "lines").write_text("aei\n137\n")
    rows = good("classify", "--file", "lines", "--tsv").out
    head, *found = (line.split("\t") for line in rows.splitlines())
    assert head == ["predicted", "probability", "text"]
    assert [(row[0], row[2]) for row in found] == [("vowels", "aei"), ("odd", "137")]
    objects = good("classify", "--json", "--top", "2", "aei").out
    value = json.loads(objects)
    assert value["predicted"] == "vowels"
    assert value["probability"] == pytest.approx(float(found[0][1]), abs=1e-6)
    assert math.fsum(one["probability"] for one in value["predictions"]) == pytest.approx(1)
    (here / "records").write_text('{"id": 1, "text": "aei"}\n\n{"text": "137"}\n')
    out = good("classify", "--jsonl", "--file", "records").out
    first, blank, last = out.splitlines()
    assert json.loads(first).keys() == {"id", "text", "predicted", "probability"}
    assert blank == ""
    assert json.loads(last)["predicted"] == "odd"
    _, out, _ = charlm("classify", "--column", "1", "--top", "2", "--file", "kinds.tsv")
    cells = out.splitlines()[0].split("\t")
    assert cells[:3] == ["aaa", "vowels", "vowels"]
    assert len(cells) == 6


def test_labelled_files_give_figures(here: Path) -> None:
    """Files by name and rows by column have the same figures, in a table, TSV and JSON."""
    by_file = good("classify", "--labelled", "file", "--file", "kinds", "--json").out
    by_row = good("classify", "--labelled", "column:2", "--file", "kinds.tsv", "--json").out
    figures, again = json.loads(by_row), json.loads(by_file)
    assert again.pop("log_loss_nats") == pytest.approx(figures.pop("log_loss_nats"), abs=1e-6)
    assert again == figures
    assert figures["texts"] == 75
    assert figures["accuracy"] > 0.95
    table = good("classify", "--labelled", "file", "--file", "kinds").out
    assert f"{figures['accuracy']:.2%}  of all texts" in table
    assert max(map(len, table.splitlines())) <= 80
    rows = good("classify", "--labelled", "file", "--file", "kinds", "--tsv").out
    assert rows.splitlines()[0] == "label\ttexts\tpredicted\tprecision\trecall\tf1"
    assert len(rows.splitlines()) == 3


def folders_of(root: Path, texts: dict[str, list[str]]) -> None:
    """A folder for each label, its texts in files 1.txt, 2.txt and so on, and a README."""
    for label, there in texts.items():
        (root / label).mkdir(parents=True)
        for number, text in enumerate(there, 1):
            (root / label / f"{number}.txt").write_text(text)
    (root / "README").write_text("about these texts\n")


@pytest.mark.parametrize("command", ["classify", "evaluate"])
def test_labels_are_folders_tables_with_headers_and_fields_inside_others(
    here: Path, tmp_path: Path, command: str
) -> None:
    """However files say the same labels, the figures are the same; what is odd in them is said."""
    rows = {"vowels": ["aei", "oua", "iio"], "odd": ["13", "55", "97"]}
    folders_of(tmp_path / "texts", rows)
    pairs = [(text, label) for label, texts in rows.items() for text in texts]
    table = "".join(f"{n}\t{kind}\t{text}\n" for n, (text, kind) in enumerate(pairs))
    (tmp_path / "table.tsv").write_text(f"id\tkind\tbody\n{table}")
    (tmp_path / "plain.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{n}\n" for t, n in pairs))
    lines = (json.dumps({"doc": {"text": text, "is": {"a": kind}}}) for text, kind in pairs)
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))

    def figures(labels: str, name: str, *more: str) -> tuple[dict[str, object], str]:
        files = (str(tmp_path / name),) if command == "evaluate" else ("-f", str(tmp_path / name))
        _, out, err = charlm(command, "--labelled", labels, *more, "--json", *files)
        value = json.loads(out)
        return {k: v for k, v in value.items() if k not in ("files", "split_on", "ignores")}, err

    by_name, _ = figures("column:kind", "table.tsv", "--text-column", "body")
    by_number, _ = figures("column:2", "table.tsv", "--text-column", "3", "--header")
    by_field, _ = figures("field:doc.is.a", "lines.jsonl", "--text-field", "doc.text")
    by_folder, said = figures("directory", "texts")
    of_two, quiet = figures("column:label", "plain.tsv")
    assert by_name == by_number == by_field == of_two
    assert by_name == pytest.approx(by_folder) if command == "evaluate" else by_folder == by_name
    assert "left out" in said
    assert "README" in said
    assert "header" not in quiet
    file = "-f" if command == "classify" else "--"
    err = charlm(command, "--labelled", "column:2", file, str(tmp_path / "plain.tsv")).err
    assert "its first line looks like names of columns (text, label)" in err
    end, out, err = charlm(command, "--labelled", "file", file, str(tmp_path / "texts"))
    assert (end, out) == (2, "")
    assert "both would have the label '1'" in err
    assert '"directory"' in err


def test_a_conditional_model_learns_folders(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train --label-from directory: a file is a text, held out as a whole."""
    rows = {"vowels": ["ae\nio"] * 5 + ["oo\nii"] * 3, "odd": [f"1{n}\n3" for n in range(6)]}
    folders_of(tmp_path / "texts", rows)
    monkeypatch.chdir(tmp_path)
    arguments = ("train", "texts", "--label-from", "directory", "--name", "folders")
    code, _, err = charlm(*arguments, "--steps", "2", "--hidden", "8", "--valid-share", "0.3")
    assert code == 0
    assert "one per file (guessed from the text" in err
    assert "labels: 2, from directory" in err
    out = good("info", "--json", "--model", "folders").out
    assert json.loads(out)["labels"]["names"] == ["odd", "vowels"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("classify", "x", "--file", "y"), 2, "not both"),
        (("classify", "x", "--labelled", "file"), 2, "or texts"),
        (("classify", "--labelled", "row", "--file", "kinds"), 2, "file, directory, column:N"),
        (("classify", "x", "--jsonl"), 2, "lines of a file"),
        (("classify", "x", "--text-column", "1"), 2, "--labelled"),
        (("classify", "--file", "a", "--file", "b"), 2, "--file once"),
        (("score", "x", "--label", "even"), 2, "It knows odd, vowels"),
        (("evaluate", "kinds", "--dynamic"), 2, "--dynamic"),
        (("train", "kinds/odd.txt", "--label-from", "file", "--steps", "1"), 3, "fewer than two"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said(
    here: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """A wrong option ends with its code and a sentence."""
    found, out, err = charlm(*arguments)
    assert (found, out) == (code, "")
    assert said in " ".join(err.split())


def test_a_label_is_an_option_of_every_command(here: Path) -> None:
    """sample, score, next, evaluate and info know labels; --json names the one drawn."""
    few = ("--max-tokens", "4", "--seed", "0")
    out = good("sample", "--label", "odd", "--n", "20", *few).out
    assert sum(set(line) <= set(NUMBERS) for line in out.splitlines()) >= 18
    same = ("sample", "--n", "9", *few)
    assert good(*same, "--stream").out == good(*same).out
    out = good("sample", "--n", "9", "--json", *few).out
    assert {json.loads(line)["label"] for line in out.splitlines()} == {"odd", "vowels"}

    def total(*arguments: str) -> float:
        out = good(*arguments, "--json").out
        return float(json.loads(out.splitlines()[0])["total_log_prob_nats"])

    assert total("score", "137", "--label", "odd") > total("score", "137")
    assert total("score", "137") > total("score", "137", "--label", "vowels") + 1
    labelled = total("evaluate", "kinds/odd.txt", "--label", "odd")
    assert labelled > total("evaluate", "kinds/odd.txt")
    out = good("next", "--label", "odd", "--top", "5", "--tsv").out
    assert {line.split("\t")[2] for line in out.splitlines()[1:]} == set(NUMBERS)
    out = good("info").out
    assert "labels:      2, temperature" in out
    out = good("info", "--json").out
    assert json.loads(out)["labels"]["names"] == ["odd", "vowels"]
