"""Laws of models of counts alone: all that a language model does, without a network or torch."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.errors import CheckpointError, UsageError
from charlm.models.base import TextDistribution
from charlm.models.language_model import LanguageModel
from charlm.models.selfcheck import check_model
from charlm.serving.models import Served
from charlm.serving.settings import Limits
from tests.support.cli import bad, good, lines_of_json
from tests.support.cli import charlm as run
from tests.support.tiny import TEXTS

MORE = [*TEXTS, *(f"{a} {b} sat on {c}" for a, b, c in itertools.permutations(TEXTS[:4], 3))]
ODD = ["", "the cat", "a zebra, the mat", "  \n", "x" * 40]


def counted(level: str = "char", **options: object) -> LanguageModel:
    """A model of counts alone of a few texts."""
    wanted = {"ngram": 4, "counts_only": True, "seed": 0, "valid_texts": TEXTS[:2], **options}
    if level == "subword":
        wanted["vocab_size"] = 290
    model = charlm.train(texts=MORE, level=level, **wanted)  # type: ignore[call-overload]
    assert isinstance(model, LanguageModel)
    return model


@pytest.fixture(scope="module", params=["char", "word", "subword"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """One of each level, that of words with a cache."""
    return counted(request.param, cache=request.param == "word")


def test_its_probabilities_are_those_of_the_counts(lm: LanguageModel) -> None:
    """log P of a text is the sum of what the n-grams give, and of the cache beside them."""
    counts = lm.checkpoint.counts
    assert counts is not None
    ids = [np.append(lm.tokenizer.encode(text), 1) for text in ODD]
    expected = counts.token_log_probs(ids)
    if lm.partner is not None:
        expected = lm.partner.combine(expected, lm.partner.evidence(ids))
    found = sum(score.total_log_prob for score in lm.score_all(ODD, closed=True))
    assert found == pytest.approx(expected.sum(), abs=1e-9)


def test_it_passes_all_checks_of_a_model(lm: LanguageModel) -> None:
    """Distributions, spellings and sums, as charlm evaluate --check has them."""
    for check in check_model(lm, [*TEXTS, *ODD]):
        assert check.passed, check


def test_the_same_seed_draws_the_same_alone_or_in_a_batch(lm: LanguageModel) -> None:
    """And what is drawn at temperature 0 is the likeliest."""
    unk = "spell" if lm.tokenizer.level == "word" else "resample"
    several = lm.sample(4, seed=3, max_tokens=30, unk=unk)
    assert lm.sample(1, seed=3, max_tokens=30, unk=unk)[0].text == several[0].text
    greedy = lm.sample(1, temperature=0, max_tokens=1)[0].text
    assert greedy == lm.tokenizer.decode([lm.next_tokens("", top=1).entries[0].token_id])


def test_it_mixes_with_networks(tmp_path: Path) -> None:
    """Token by token in one vocabulary, with the details of every token; else text by text."""
    options = {"level": "char", "steps": 3, "hidden": 8, "seed": 0, "valid_texts": TEXTS[:2]}
    network, counts = charlm.train(texts=MORE, **options), counted()  # type: ignore[call-overload]
    for models in ([network, counts], [counts, network], [counts, counts]):
        both = charlm.mix(models, [0.25, 0.75])
        singly = [model.score("the cat", per_token=True) for model in models]
        found = both.score("the cat", per_token=True)  # type: ignore[call-arg]
        mixed = np.log(0.25 * np.exp(log_probs(singly[0])) + 0.75 * np.exp(log_probs(singly[1])))
        assert log_probs(found) == pytest.approx(mixed, abs=1e-5)
        assert [token.rank for token in found.tokens or ()]
    texts = charlm.mix([network, counted("word")])
    assert isinstance(texts, TextDistribution)
    assert texts.score("the cat").total_log_prob < 0


def log_probs(score: charlm.TextScore) -> np.ndarray:
    """Of every token."""
    return np.array([token.log_prob for token in score.tokens or ()])


def test_there_is_nothing_inside_it() -> None:
    """What looks at a network says so."""
    lm = counted()
    for ask in (lambda: lm.model, lambda: lm.activations("a"), lambda: lm.shape):
        with pytest.raises(UsageError, match="it has no network"):
            ask()
    served = Served(lm, Limits(), threads=1).to_json()
    assert (served["order"], served["num_ngrams"]) == (4, lm.num_parameters)


def test_what_shapes_or_trains_a_network_is_refused() -> None:
    """By the names of the options."""
    with pytest.raises(UsageError, match=r"leave out steps, hidden\."):
        counted(hidden=8, steps=3)
    with pytest.raises(UsageError, match="with `ngram`"):
        counted(ngram=None)
    with pytest.raises(UsageError, match="a translator needs a network"):
        charlm.train(texts=["a"], labels=["b"], task="translator", ngram=2, counts_only=True)


def test_damage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step whose counts are not those that it describes is refused, and so is going on."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(MORE))
    good("train", "corpus.txt", "--ngram", "3", "--counts-only", "--name", "c")
    good("train", "corpus.txt", "--ngram", "2", "--counts-only", "--name", "d")
    assert "nothing to go on with" in bad(2, "train", "--resume", "--name", "c")
    assert "goes with --ngram" in bad(2, "train", "corpus.txt", "--counts-only")
    with pytest.raises(CheckpointError, match="nothing to go on with"):
        Checkpoint.find("c").load_training()
    from charlm.checkpoints.step import StepFiles, replace_file

    path, other = directory.find("c"), directory.find("d")
    replace_file(path, "counts.safetensors", StepFiles(other).read_all()["counts.safetensors"])
    assert "does not hold what model.json describes" in bad(4, "score", "--model", "c", "a")


def test_commands_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Info, list, next, compare, curves, rm."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("\n".join(MORE))
    ended = good("train", "corpus.txt", "--ngram", "3", "--counts-only", "--name", "c", "--cache")
    assert ended.out.startswith("validation loss: ")
    (told,) = lines_of_json(good("info", "c", "--json").out)
    assert told["model"] == {"counts": True, "vocab_size": 18, "order": 3} | {
        "num_ngrams": told["parameters"]
    }
    assert "n-grams of up to 3 tokens, no network" in good("info", "c").out
    (row,) = lines_of_json(good("list", "--json").out)
    assert (row["parameters"], row["level"]) == (told["parameters"], "char")
    assert good("next", "the ", "--model", "c").out
    assert good("novelty", "corpus.txt", "--model", "c").code == 0
    good("train", "corpus.txt", "--ngram", "2", "--counts-only", "--name", "d", "--no-index")
    assert "more in" in good("compare", "c", "d", "corpus.txt").out
    assert "counted at once" in bad(4, "curves", "c")
    for view in ("gates", "context", "units", "embedding", "gradient"):
        text = "t" if view == "embedding" else "the"
        named = ("c", "--file", "corpus.txt") if view == "gradient" else ("--model", "c", text)
        assert "no network" in run("inspect", view, *named).err, view
    good("rm", "d", "--yes")


def test_torch_is_never_imported(tmp_path: Path) -> None:
    """Neither to count, nor to score, sample, evaluate or say what is next, from Python too."""
    code = """if True:
        import sys, charlm
        from charlm.cli import main
        open("corpus.txt", "w").write("the cat sat on the mat\\n" * 30 + "a dog ran\\n" * 30)
        for line in ("train corpus.txt --ngram 3 --counts-only --name c --cache",
                     "train corpus.txt --ngram 2 --counts-only --name w --level word",
                     "score the", "sample --n 2 --seed 1", "evaluate corpus.txt", "next the",
                     "sample --n 2 --model w --unk spell --seed 1", "info c", "list", "rm w --yes"):
            sys.argv = ["charlm", *line.split()]
            try:
                main()
            except SystemExit as end:
                assert not end.code, line
            assert "torch" not in sys.modules, line
        lm = charlm.train("corpus.txt", ngram=3, counts_only=True)
        assert lm.score("the cat").total_log_prob < 0
        assert "torch" not in sys.modules
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(charlm.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
