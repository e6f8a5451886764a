"""Laws of models that adapt: from training on, in Python, on the command line and as a server."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import StepFiles, save_step
from charlm.config import LEVELS
from charlm.errors import CheckpointError, UsageError
from charlm.models.language_model import LanguageModel
from tests.support.cli import bad, good
from tests.support.serving import ask, serving
from tests.support.texts import TEXT

HELD = (
    "the old bear eats the plum\nthe jay wants it\nthe old bear eats the plum\nthe end\nxyzzy 你\n"
)
TEXTS = ["the old bear eats", "the jay", "", "the old bear eats", "the old bear wants xyzzy 你"]
WAYS = ("frozen", "sequence")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of each level that can adapt, and one that cannot."""
    root = tmp_path_factory.mktemp("adapting")
    (root / "corpus.txt").write_text(TEXT)
    (root / "held.txt").write_text(HELD)
    small = {"steps": 20, "hidden": 16, "embedding": 8, "root": root}
    for level in LEVELS:
        sizes = {"vocab_size": 300} if level == "subword" else {}
        charlm.train(
            *(root / "corpus.txt",),
            valid=[root / "held.txt"],
            adaptive=True,
            level=level,
            name=level,
            **small,
            **sizes,
        )
    charlm.train(root / "corpus.txt", name="plain", ngram=3, **small)
    return root


def loaded(root: Path, name: str) -> LanguageModel:
    """A run by its name."""
    return charlm.load(name, task="language-model", root=root)


@pytest.mark.parametrize("adapt", WAYS)
@pytest.mark.parametrize("level", LEVELS)
def test_every_way_to_a_figure_gives_it(root: Path, level: str, adapt: str) -> None:
    """score, evaluate, tokens, what is drawn and what comes next are of one model."""
    plain = loaded(root, level)
    lm = plain.adapting(adapt)
    scores = lm.score_all(TEXTS, per_token=True)
    total = sum(score.total_log_prob for score in scores)
    assert lm.evaluate(TEXTS).total_log_prob == pytest.approx(total, abs=1e-4)
    assert total != pytest.approx(plain.evaluate(TEXTS).total_log_prob, abs=0.1)
    for score, text in zip(scores, TEXTS, strict=True):
        alone = lm.score(text).total_log_prob
        assert score.total_log_prob == pytest.approx(alone, abs=1e-4)
        assert sum(token.log_prob for token in score.tokens or ()) == pytest.approx(alone, abs=1e-4)
    assert scores[0].total_log_prob == scores[3].total_log_prob
    after = lm.next_tokens("the old", top=None)
    assert sum(entry.probability for entry in after.entries) == pytest.approx(1, abs=1e-9)
    assert lm.log_prob_begins("the old") > lm.score("the old").total_log_prob


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_drawn_is_scored_as_it_was_drawn(root: Path, level: str) -> None:
    """log P of a sequence is the sum of its tokens', in a batch as alone."""
    lm = loaded(root, level).adapting("sequence")
    drawn = lm.sample(6, seed=2, max_tokens=400, unk="keep")
    ended = [one for one in drawn if one.ended == "eos" and not one.num_unknown]
    assert ended
    engine = lm.engines.of("torch")
    agree = []
    for one in ended:
        ids = [np.append(lm.tokenizer.encode(one.text), 1)]
        log_prob = engine.token_log_probs(ids)[0].sum()
        agree.append(one.total_log_prob == pytest.approx(log_prob, abs=1e-3))
    # A text may have been drawn in other subwords than those that it is cut into.
    assert any(agree) if level == "subword" else all(agree)
    (alone,) = lm.sample(1, seed=2, max_tokens=400, unk="keep")
    assert alone.text == drawn[0].text
    (after,) = lm.sample(1, prompt="the ", seed=3, max_tokens=400, unk="keep")
    if level == "char" and not after.num_unknown:
        context = lm.score(after.text[4:], context="the ").total_log_prob
        assert after.ended == "eos"
        assert after.total_log_prob == pytest.approx(context, abs=1e-3)


def test_a_file_is_learned_from_in_its_order(root: Path) -> None:
    """What has come before is likelier when it comes again; a new object begins anew."""
    plain = loaded(root, "char")
    lm = plain.adapting("file")
    first, again = lm.score_all(["qpqp zzxyq"] * 2)
    third = lm.score("qpqp zzxyq")
    assert first.total_log_prob < again.total_log_prob < third.total_log_prob
    assert plain.adapting("file").score("qpqp zzxyq").total_log_prob == first.total_log_prob
    with pytest.raises(UsageError, match="take adapt sequence"):
        lm.sample(1)
    dynamic = plain.adapting("file", rate=0.1).evaluate(TEXTS)
    assert dynamic.total_log_prob == plain.adapting("file").evaluate(TEXTS, rate=0.1).total_log_prob
    assert dynamic.total_log_prob != plain.adapting("file").evaluate(TEXTS).total_log_prob


def test_weights_are_learned_once_all_is_trained(root: Path) -> None:
    """They are no longer those of the start; n-grams and a cache are there without being asked."""
    best = Checkpoint.load(directory.best_step(root / "char"))
    assert best.adaptive is not None
    assert best.adaptive.is_fitted
    partner, first = best.adaptive.partner, best.adaptive.first_weights
    assert partner.ngram is not None
    assert partner.ngram.order == 7
    assert partner.cache is not None
    np.testing.assert_array_equal(partner.parameters, best.partner.parameters)
    for weights in (best.adaptive.frozen, best.adaptive.learning):
        assert np.abs(weights.by_confidence - first.by_confidence).max() > 1e-4
    again = charlm.resume("char", steps=24, root=root)
    assert again.adapting("frozen").checkpoint.adaptive.is_fitted
    shutil.copytree(root / "word", root / "copied")
    grown = charlm.load("copied", root=root)
    assert grown.adapting().score("the").total_log_prob == pytest.approx(
        loaded(root, "word").adapting().score("the").total_log_prob
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": np.array([9_999], dtype=np.uint16)}, "a wrong text"),
        ({"frozen.by_place": np.zeros((3, 3))}, "another shape"),
        ({"more": np.zeros(3)}, "wrong arrays"),
        ({"contexts": ["order 1", "an unheard-of context"]}, "does not know"),
    ],
)
def test_damage_is_told(root: Path, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """What cannot be is refused when a model is loaded, whatever the manifest says."""
    from charlm.checkpoints.json_objects import to_json
    from charlm.checkpoints.tensors import arrays_to_bytes

    run = tmp_path / "run"
    shutil.copytree(root / "word", run)
    files = StepFiles(directory.best_step(run))
    described, arrays = files.json("adaptive.json"), files.arrays("adaptive.safetensors")
    for name, value in change.items():
        if name == "contexts":
            described = {**described, name: value}
        elif name == "frozen.by_place":
            arrays = {**arrays, name: value.astype(np.float64)}
        else:
            arrays = {**arrays, name: value}
    new = {
        "adaptive.json": to_json(described),
        "adaptive.safetensors": arrays_to_bytes(arrays),
    }
    save_step(run, files.step, {**files.read_all(), **new}, run_id=files.run_id)
    with pytest.raises(CheckpointError, match=said):
        Checkpoint.load(directory.best_step(run))


def test_the_command_line_adapts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both figures, each by its name; what does not go together is refused."""
    monkeypatch.setenv("CHARLM_RUNS", str(root))
    held = str(root / "held.txt")
    given = ("evaluate", "--model", "char", held, "--adapt")
    for adapt in (*WAYS, "file"):
        found = json.loads(good(*given, adapt, "--json").out)
        assert found["adapted"]["adapt"] == adapt
        assert (
            found["total_log_prob_nats"]
            == json.loads(good(*given[:-1], "--json").out)["total_log_prob_nats"]
        )
        assert found["adapted"]["total_log_prob_nats"] != found["total_log_prob_nats"]
    assert "nothing is learned" in good(*given, "frozen").out
    assert "all along the file, each token predicted first" in good(*given, "file").out
    assert "step size 0.15" in good(*given, "file", "--dynamic").out
    lines = good("score", "--model", "char", "--file", held, "--adapt", "sequence", "--json").out
    scores = [json.loads(line)["total_log_prob_nats"] for line in lines.splitlines()]
    assert scores[0] == scores[2]
    lines = good("score", "--model", "char", "--file", held, "--adapt", "file", "--json").out
    scores = [json.loads(line)["total_log_prob_nats"] for line in lines.splitlines()]
    assert scores[0] != scores[2]
    assert good("sample", "--model", "char", "--adapt", "sequence", "--seed", "1").out
    assert good("next", "the", "--model", "char", "--adapt", "frozen").out
    compared = good("compare", "char", "plain", held, "--adapt", "frozen", "--json").out
    assert json.loads(compared)["a"] == "char"
    assert "no memory" in bad(2, "score", "--model", "plain", "a", "--adapt", "frozen")
    assert "no memory" in bad(2, "compare", "plain", "plain", held, "--adapt", "frozen")
    assert "do not go together" in bad(2, *given, "file", "--jobs", "2")
    assert "take adapt sequence" in bad(2, "sample", "--model", "char", "--adapt", "file")


def test_a_server_adapts_where_it_is_asked_to(root: Path) -> None:
    """Each request by itself: what one drew or scored teaches the next nothing."""
    lm = loaded(root, "char")
    with serving("char", "plain", root=root) as server:
        for adapt in ("off", *WAYS):
            expected = lm.adapting(adapt).score_all(TEXTS[:2])
            body = {"model": "char", "texts": TEXTS[:2], "adapt": adapt}
            for _ in range(2):
                results = ask(server, "/v1/score", body).json["results"]
                for one, score in zip(results, expected, strict=True):
                    assert one["total_log_prob_nats"] == pytest.approx(
                        score.total_log_prob, abs=1e-4
                    )
            (drawn,) = lm.adapting(adapt).sample(1, prompt="the", seed=5, max_tokens=30)
            asked = {"model": "char", "prompt": "the", "seed": 5, "max_tokens": 30, "adapt": adapt}
            answer = ask(server, "/v1/completions", {**asked, "temperature": 1})
            assert "the" + answer.json["choices"][0]["text"] == drawn.text
        answer = ask(server, "/v1/next", {"model": "plain", "adapt": "frozen"})
        assert "no memory" in answer.message
        assert ask(server, "/v1/score", {**body, "adapt": "file"}).status == 400
