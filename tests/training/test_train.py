"""Laws of training from Python: what the command line can do, charlm.train can."""

import dataclasses
import gc
import inspect
import os
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest

import charlm
from charlm.errors import CheckpointError, FieldError, UsageError
from charlm.text import corpus
from charlm.training.request import Request
from charlm.training.texts import sequences
from charlm.training.train import TrainOptions
from tests.support.cli import good

WORDS = [f"the {a} {b}" for a in ("cat", "dog", "pear", "apple") for b in ("sat", "ran", "fell")]
KINDS = ["animal"] * 6 + ["fruit"] * 6
SENTENCES = [text.split() for text in WORDS]
TAGS = [["D", "N", "V"] for _ in WORDS]
SMALL = {"hidden": 8, "steps": 6, "valid_share": 0.25}
SCRIPT = """
import charlm

texts = [f"the {a} and the {b} fell" for a in ("apple", "pear", "plum") for b in ("nut", "fig")]

def told(event):
    if isinstance(event, charlm.Validated):
        print(f"step {event.step}: {event.loss:.2f} nats per token")

lm = charlm.train(texts=texts, hidden=16, steps=20, on_event=told)
print(lm.evaluate(["the apple fell"]).bits_per_character)
for sample in lm.sample(n=3, temperature=0.8, seed=1):
    print(sample.text, sample.total_log_prob)
print(lm.score("the pear", per_token=True).tokens[0].surprisal)
print(charlm.mix([lm, charlm.train(texts=texts, level="word", steps=5)]).score("a pear").perplexity)
"""


@pytest.mark.slow
def test_a_script_trains_evaluates_samples_and_scores(tmp_path: Path) -> None:
    """Fifteen lines do, and leave nothing behind."""
    assert len(SCRIPT.strip().splitlines()) <= 15
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "nats per token" in done.stdout
    assert not list(tmp_path.glob("charlm-*"))  # torch may leave a folder of its own


def test_the_keywords_are_the_options_of_a_request() -> None:
    """Each field of a Request is a keyword of the same default, and of the typed options."""
    of_source = {"texts", "labels", "valid_texts", "valid_labels"}
    of_run = {"name", "root", "index", "log_to", "on_event", "say"}
    parameters = inspect.signature(charlm.train).parameters
    fields = {field.name: field for field in dataclasses.fields(Request)}
    assert set(parameters) == set(fields) | of_source | of_run
    for name, field in fields.items():
        if name != "corpus":
            assert parameters[name].default == field.default, name
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert set(TrainOptions.__annotations__) == set(parameters) - {"corpus", "task"}
    of_types = {"Event": charlm.Event}  # which are named where torch is not imported
    hints, options = (
        typing.get_type_hints(one, localns=of_types) for one in (charlm.train, TrainOptions)
    )
    assert {name: hints[name] for name in options} == options


def test_the_same_options_train_the_same_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By command line, by Python from the file, and from texts in memory: to the last bit."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("".join(f"{text}\n" for text in WORDS))
    good("train", "corpus.txt", "--hidden", "8", "--steps", "6", "--name", "typed", "--quiet")
    models = [
        charlm.load("typed", task="language-model"),
        charlm.train("corpus.txt", hidden=8, steps=6),
        charlm.train(texts=WORDS, hidden=8, steps=6),
    ]
    for lm in models[1:]:
        assert lm.checkpoint.weights.keys() == models[0].checkpoint.weights.keys()
        for key, array in lm.checkpoint.weights.items():
            np.testing.assert_array_equal(array, models[0].checkpoint.weights[key])


def test_every_kind_of_model_is_trained_on_texts_in_memory() -> None:
    """Each comes as its own class, and does what it is for."""
    lm = charlm.train(texts=WORDS, labels=KINDS, **SMALL)
    assert isinstance(lm, charlm.LanguageModel)
    assert lm.labels is not None
    assert lm.labels.names == ("animal", "fruit")
    assert lm.classify(["the cat"]).shape == (1, 2)
    assert lm.novelty(["the cat sat"]).samples
    cloze = charlm.train(texts=WORDS, task="cloze", **SMALL)
    assert isinstance(cloze, charlm.ClozeModel)
    assert cloze.fill("the [?]at sat", top=2).entries
    classifier = charlm.train(texts=WORDS, labels=KINDS, task="classifier", **SMALL)
    assert isinstance(classifier, charlm.Classifier)
    assert classifier.names == ("animal", "fruit")
    tagger = charlm.train(texts=SENTENCES, labels=TAGS, task="tagger", **SMALL)
    assert isinstance(tagger, charlm.Tagger)
    assert len(tagger.tag([["the", "cat"]])[0]) == 2


def test_texts_to_validate_on_are_held_out() -> None:
    """valid_texts are what the figures are of, and none of the others is held out."""
    seen: list[charlm.Event] = []
    lm = charlm.train(
        texts=WORDS[:9], valid_texts=WORDS[9:], hidden=8, steps=6, on_event=seen.append
    )
    assert lm.checkpoint.info["text"]["train"]["sequences"] == 9
    assert lm.checkpoint.info["text"]["valid"]["sequences"] == 3
    assert [event.step for event in seen if isinstance(event, charlm.Step)] == [1, 2, 3, 4, 5, 6]
    validated = [event for event in seen if isinstance(event, charlm.Validated)]
    assert validated[-1].loss is not None
    assert any(isinstance(event, charlm.Saved) for event in seen)


def test_a_run_with_a_name_is_kept_and_others_are_not(tmp_path: Path) -> None:
    """Without a name the files go with the model, or what came of it; with one they stay."""
    lm = charlm.train(texts=WORDS, steps=2, hidden=8, name="kept", root=tmp_path)
    assert lm.name == "kept"
    with pytest.raises(UsageError, match="exists already"):
        charlm.train(texts=WORDS, steps=2, hidden=8, name="kept", root=tmp_path)
    lm = charlm.train(texts=WORDS, labels=KINDS, steps=2, hidden=8)
    path, given = lm.checkpoint.path, lm.with_label("fruit")
    del lm
    gc.collect()
    assert path.exists()
    assert given.index.total
    del given
    gc.collect()
    assert not path.exists()
    assert not path.parent.parent.exists()
    assert (tmp_path / "kept").exists()


def test_a_run_goes_on_from_python(tmp_path: Path) -> None:
    """A run that is resumed with a larger budget, temporary or named, goes on; others are told."""
    lm = charlm.train(texts=WORDS, steps=2, hidden=8)
    further = charlm.resume(lm, texts=WORDS, steps=5)
    assert isinstance(further, charlm.LanguageModel)
    assert further.checkpoint.path.parent == lm.checkpoint.path.parent
    del lm
    gc.collect()
    assert further.checkpoint.path.exists()
    (tmp_path / "corpus.txt").write_text("".join(f"{text}\n" for text in WORDS))
    charlm.train(tmp_path / "corpus.txt", steps=2, hidden=8, name="named", root=tmp_path)
    told: list[str] = []
    for run in ("named", tmp_path / "named"):
        steps = 4 if run == "named" else 6
        charlm.resume(run, steps=steps, root=tmp_path, say=told.append)
    assert any(line.startswith("resuming at step 2") for line in told)
    with pytest.raises(UsageError, match="finished"):
        charlm.resume("named", root=tmp_path)
    with pytest.raises(UsageError, match="texts in memory"):
        charlm.resume(further, steps=9)
    with pytest.raises(UsageError, match="not the one"):
        charlm.resume(further, texts=WORDS[1:], steps=9)
    with pytest.raises(CheckpointError, match="no run"):
        charlm.resume("nobody", root=tmp_path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "give a text"),
        ({"texts": "a text"}, "texts must be a list"),
        ({"texts": ["a", 5]}, "texts must hold texts"),
        ({"texts": WORDS, "labels": KINDS[1:]}, "labels must be as many as texts"),
        ({"texts": WORDS, "hidden": 0}, "^hidden must be"),
        ({"texts": WORDS, "layers": -1}, "^layers must be"),
        ({"texts": WORDS, "level": "words"}, "level must be char, word or subword"),
        ({"texts": WORDS, "steps": 1, "epochs": 2}, "only one"),
        ({"texts": WORDS, "split_on": "line"}, "split_on is about files"),
        ({"texts": WORDS, "task": "classifier"}, "label"),
        ({"texts": WORDS, "task": "cloze", "ngram": 3}, "ngram"),
        ({"texts": SENTENCES, "task": "tagger"}, "labels are needed"),
        ({"texts": SENTENCES, "labels": [["D"]] * 12, "task": "tagger"}, "a tag per token"),
        ({"labels": KINDS}, "give texts, too"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_in_the_names_of_options(
    asked: dict[str, typing.Any], said: str
) -> None:
    """Before anything is trained, in a sentence that names the keyword."""
    with pytest.raises(UsageError, match=said):
        charlm.train(**{"steps": 1, "hidden": 4, **asked})


def test_a_misspelt_option_is_named_by_its_function() -> None:
    """At run time, by the function that was called; mypy knows the names as well."""
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'hiden'"):
        charlm.train(texts=WORDS, hiden=8)  # type: ignore[call-overload]
    lm = charlm.train(texts=WORDS, steps=1, hidden=4)
    for call in (lm.sample, lm.stream, lm.score_all, lm.evaluate, lm.novelty, lm.next_tokens):
        with pytest.raises(TypeError, match=rf"{call.__name__}\(\) got an unexpected keyword"):
            call([], temprature=1)  # type: ignore[operator]
    with pytest.raises(FieldError, match="unk must be"):
        lm.sample(unk="drop")


def test_the_fingerprint_of_a_text_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training, and one that goes on, read through the whole text for it a single time each."""
    calls = []

    def counted(parts: typing.Iterable[str]) -> str:
        calls.append(1)
        return corpus.fingerprint(parts)

    monkeypatch.setattr(sequences, "fingerprint", counted)
    lm = charlm.train(texts=WORDS, **SMALL)
    assert len(calls) == 1
    charlm.resume(lm, texts=WORDS, steps=9)
    assert len(calls) == 2
