"""Laws of the Python interface: what the README shows works, and importing it is light."""

import ast
import inspect
import math
import subprocess
import sys
from pathlib import Path

import pytest

import charlm
from charlm.errors import CharlmError, CheckpointError, UsageError
from tests.support.tiny import TEXTS, material_of, trained_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained for a moment, below a directory of checkpoints."""
    path = tmp_path_factory.mktemp("home") / "checkpoints" / "prose"
    return trained_run(path, material=material_of(valid=["the cat ran"]), num_steps=20)


def test_score_is_the_log_probability_of_a_text(run: Path) -> None:
    """load(...).score(...) gives log P in nats, <EOS> included, and the tokens if asked."""
    lm = charlm.load(run)
    score = lm.score("the cat")
    assert score.num_tokens == 8
    assert -8 * 2 * math.log(lm.tokenizer.vocab_size) < score.total_log_prob < 0
    assert score.tokens is None
    tokens = lm.score("the cat", per_token=True).tokens
    assert tokens is not None
    assert [token.piece for token in tokens] == [*"the cat", "<EOS>"]
    assert sum(t.log_prob for t in tokens) == pytest.approx(score.total_log_prob, abs=1e-9)
    assert lm.score("the cat").total_log_prob > lm.score("tac eht").total_log_prob - 10


def test_score_all_is_score_of_each(run: Path) -> None:
    """Many texts at once, in order, are scored as one by one."""
    lm = charlm.load(run)
    together = lm.score_all([*TEXTS, ""])
    for score, text in zip(together, [*TEXTS, ""], strict=True):
        assert score.text == text
        alone = lm.score(text)
        assert score.total_log_prob == pytest.approx(
            alone.total_log_prob, abs=1e-5 * score.num_tokens
        )
    assert lm.score_all([]) == []


def test_sample_as_in_the_documentation(run: Path) -> None:
    """sample(n=5, seed=1) gives five texts, the same each time, others with another seed."""
    lm = charlm.load(run)
    samples = lm.sample(n=5, seed=1)
    assert [sample.index for sample in samples] == [0, 1, 2, 3, 4]
    assert samples == charlm.load(run).sample(n=5, seed=1)
    assert [s.text for s in samples] != [s.text for s in lm.sample(n=5, seed=2)]
    assert len(lm.sample()) == 1
    drawn = [lm.sample(n=3, max_tokens=20) for _ in range(3)]  # each with a seed of its own
    seeds = [{sample.seed for sample in samples} for samples in drawn]
    assert len(set.union(*seeds)) == sum(map(len, seeds)) == 3
    for samples in drawn:
        assert lm.sample(n=3, max_tokens=20, seed=samples[0].seed) == samples
    assert all(sample.in_training_text is False for sample in lm.sample(n=3, novel=True))


def test_options_of_sample_are_those_of_the_config(run: Path) -> None:
    """Every field of SamplingConfig can be given by name, and is checked."""
    lm = charlm.load(run)
    shape = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 0}
    (sample,) = lm.sample(prompt="the ", max_tokens=7, **shape)
    assert sample.text.startswith("the ")
    assert sample.num_tokens <= 7
    (stopped,) = lm.sample(stop=(sample.text[4],), prompt="the ", **shape)
    assert stopped.text == "the "
    wrongs = (
        {"temperature": -1},
        {"top_k": 0},
        {"top_p": 2.0},
        {"stop": ("",)},
        {"stop": "a"},
        {"seed": -1},
    )
    for wrong in wrongs:
        with pytest.raises(UsageError):
            lm.sample(**wrong)
    with pytest.raises(TypeError):
        lm.sample(heat=1)


def test_what_is_drawn_is_scored_the_same(run: Path) -> None:
    """The log-probability of a sample ended by <EOS> is that of its text."""
    lm = charlm.load(run)
    ended = [s for s in lm.sample(n=40, seed=3, max_tokens=300) if s.ended == "eos"]
    assert ended
    for sample in ended:
        score = lm.score(sample.text)
        assert sample.total_log_prob == pytest.approx(
            score.total_log_prob, abs=1e-5 * score.num_tokens
        )


def test_load_finds_a_run_by_path_or_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path to the run or a step, as text or Path, by name, or the newest."""
    monkeypatch.chdir(run.parents[1])
    best = charlm.load(run).checkpoint.path
    for model in (run, str(run), best, "prose", "checkpoints/prose", None):
        lm = charlm.load(model)
        assert lm.checkpoint.path.resolve() == best.resolve()
        assert lm.checkpoint.step == int(best.name[5:])
        assert lm.checkpoint.split_on == "line"
        assert lm.checkpoint.info["level"] == lm.tokenizer.level == "char"
    with pytest.raises(CheckpointError, match=r"no model 'other'.*prose"):
        charlm.load("other")


def test_the_package_has_its_names() -> None:
    """What __all__ promises is there; what is not is an AttributeError."""
    assert {name: hasattr(charlm, name) for name in charlm.__all__} == dict.fromkeys(
        charlm.__all__, True
    )
    assert issubclass(CheckpointError, charlm.CharlmError)
    with pytest.raises(AttributeError, match="nothing_such"):
        charlm.nothing_such  # noqa: B018


def test_importing_the_package_is_light() -> None:
    """import charlm brings in neither torch nor numpy nor sentencepiece; asking for load does."""
    code = (
        "import sys, charlm\n"
        "heavy = {'torch', 'numpy', 'sentencepiece', 'safetensors', 'typer', 'rich'}\n"
        "charlm.bulk.Scorer\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "charlm.load\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, loaded = done.stdout.splitlines()
    assert light == "[]"
    assert "numpy" in loaded
    assert "torch" not in loaded  # small jobs are done without it


def test_what_there_is_is_listed_without_importing_it() -> None:
    """dir(charlm) is __all__, each name of which is what mypy sees under that name."""
    code = (
        "import sys, charlm\n"
        "print(dir(charlm) == sorted(charlm.__all__) == charlm.__all__)\n"
        "print('torch' in sys.modules or 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
    tree = ast.parse(Path(charlm.__file__).read_bytes())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("charlm.")
        for alias in node.names
    }
    assert typed == {name: f"charlm.{module}" for name, module in charlm._MODULE_OF.items()}
    assert {*typed, "__version__", "bulk"} == set(charlm.__all__)


def test_every_error_is_exported() -> None:
    """Whoever catches one finds it in the package."""
    every = {CharlmError}
    while more := {kind for one in every for kind in one.__subclasses__()} - every:
        every |= more
    own = {kind.__name__ for kind in every if kind.__module__ == "charlm.errors"}
    assert own <= set(charlm.__all__)


def test_public_functions_name_their_options() -> None:
    """No function of the package or method of its models takes **options of any type."""
    for name in charlm.__all__:
        offered = getattr(charlm, name)
        own = vars(offered).values() if inspect.isclass(offered) else [offered]
        for function in filter(inspect.isfunction, own):
            if function.__name__.startswith("_"):
                continue
            kinds = {one.kind for one in inspect.signature(function).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, (name, function)


def test_models_have_no_more_than_a_person_asks_for() -> None:
    """A class is small: what it has beyond its bases can be read at a glance."""
    for kind in (charlm.LanguageModel, charlm.ClozeModel, charlm.Classifier, charlm.Tagger):
        assert sum(not name.startswith("_") for name in vars(kind)) <= 16, kind
