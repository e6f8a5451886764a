"""Laws of a request and of the recipe: what is asked is done, the rest is chosen the same twice."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CELLS, LEVELS, TrainingConfig
from charlm.errors import CharlmError, CheckpointError, TextError, UsageError
from charlm.network_config import CausalConfig, ClozeConfig
from charlm.nn.windows import num_windows
from charlm.text.corpus import sequence_hash
from charlm.text.tokens import TokenizedText, from_ids
from charlm.tokenizers import train_tokenizer
from charlm.training import kinds, recipe
from charlm.training.pace.measuring import likely_precision
from charlm.training.request import Request, check_budget
from charlm.training.tasks.causal import Causal
from charlm.training.texts.material import TextMaterial
from charlm.training.texts.sequences import Texts, read_texts
from charlm.training.trainer import Trainer
from tests.support.trainers import fix_steps, groups_of_epoch, settle, windows_per_epoch

LINES = [f"{a} {b}" for a in ("red", "blue", "green", "grey") for b in ("cat", "dog", "fox", "owl")]
SMALL = {"hidden": 8, "embedding": 4}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A file of sixteen different lines."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def quiet(_: str) -> None:
    """Say nothing."""


def asked(path: Path, **fields: Any) -> Request:
    """A request for a small model."""
    return Request(**{"corpus": (str(path),), **SMALL, **fields})


def same(one: Trainer, other: Trainer) -> bool:
    """Whether two settled requests are the same run."""
    return (
        one.config == other.config
        and one.training == other.training
        and one.material.about == other.material.about
        and one.material.split_on == other.material.split_on
        and one.material.tokenizer.to_files() == other.material.tokenizer.to_files()
        and bool((one.material.text.ids == other.material.text.ids).all())
    )


# The budget


@pytest.mark.parametrize(
    "budget",
    [
        {"seconds": 1.0, "epochs": 1.0},
        {"seconds": 1.0, "steps": 1},
        {"epochs": 1.0, "steps": 1},
        {"seconds": 1.0, "epochs": 1.0, "steps": 1},
    ],
)
def test_budgets_exclude_each_other(budget: dict[str, Any]) -> None:
    """Time, epochs and steps are three answers to one question: at most one is given."""
    with pytest.raises(UsageError, match="only one of"):
        Request(corpus=("a",), **budget)


@pytest.mark.parametrize("name", ["seconds", "epochs", "steps"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_budget_is_positive(name: str, value: float) -> None:
    """Nothing, less than nothing and what is no number are refused."""
    with pytest.raises(UsageError, match="more than 0"):
        Request(corpus=("a",), **{name: value})
    check_budget(None, None, None)


def test_levels_and_splits_are_checked() -> None:
    """A request for a level or a way to split that does not exist is refused at once."""
    with pytest.raises(UsageError, match="level must be char, word or subword"):
        Request(corpus=("a",), level="byte")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="auto, line, paragraph or file"):
        Request(corpus=("a",), split_on="page")  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 7, 1234])
def test_steps_are_taken_exactly(corpus: Path, steps: int) -> None:
    """Asked for a number of steps, a run has that number, and it fits its own schedule."""
    training = settle(asked(corpus, steps=steps), quiet).training
    assert training.num_steps == steps
    assert 1 <= training.validate_every <= steps
    assert training.warmup_steps <= max(1, steps // 10)


@pytest.mark.parametrize("epochs", [0.01, 1.0, 3.0, 20.5])
def test_epochs_are_passes_over_the_text(corpus: Path, epochs: float) -> None:
    """Asked for epochs, a run has as many steps as that many passes have windows."""
    settled = settle(asked(corpus, epochs=epochs, batch_size=1), quiet)
    config = settled.training
    text = settled.material.text
    windows = [num_windows(group, config.bptt_length) for group in groups_of_epoch(text, config, 0)]
    assert len(windows) > 2
    assert config.num_steps == max(1, round(epochs * sum(windows)))


@pytest.mark.parametrize("budget", [{"steps": 20}, {"epochs": 2.0}])
@pytest.mark.parametrize("level", LEVELS)
def test_the_same_request_settles_the_same_twice(
    tmp_path: Path, budget: dict[str, Any], level: str
) -> None:
    """Without a clock in it, a request is a function of its fields and its texts."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(LINES * 4), encoding="utf-8")
    request = asked(path, level=level, **budget)
    first = settle(request, quiet)
    assert same(settle(request, quiet), first)
    other = settle(dataclasses.replace(request, seed=1), quiet)
    assert other.training.seed == 1
    assert not same(other, first)  # others are held out


def test_a_time_gives_steps_by_measuring(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for seconds, speed is measured for a moment; the run gets about as long as asked."""
    said: list[str] = []
    monkeypatch.setattr(
        recipe, "most_epochs", lambda *_: 1e9
    )  # else so small a text is read enough
    settled = settle(asked(corpus, seconds=1.0, precision="fp32"), said.append)
    assert settled.training.precision == "fp32"
    assert settled.training.num_steps >= 1
    assert "tokens per second for 1 s" in said[-1]


@pytest.mark.parametrize("done", [0, 100])
def test_time_is_added_to_the_steps_already_done(corpus: Path, done: int) -> None:
    """A run that is gone on with for more time has more steps than it has behind it."""
    request = asked(corpus, steps=5)
    settled = settle(request, quiet)
    longer = asked(corpus, seconds=0.6, precision="fp32")
    config = fix_steps(longer, settled.config, settled.training, settled.material, quiet, done=done)
    assert config.num_steps > done


@pytest.mark.slow
def test_without_a_budget_a_tiny_text_is_read_so_often_and_no_more(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a tiny text the default is no three minutes but so many passes, the most there are."""
    brief = dataclasses.replace(kinds.CAUSAL, seconds=30.0)  # a shorter measuring
    monkeypatch.setattr(Causal, "declared", brief)
    settled = settle(asked(corpus, precision="fp32", batch_size=1), quiet)
    per_epoch = sum(
        num_windows(group, settled.training.bptt_length)
        for group in groups_of_epoch(settled.material.text, settled.training, 0)
    )
    assert settled.training.num_steps == 150 * per_epoch
    assert settled.config.dropout == 0.75


MANY = from_ids([np.full(1000, 2, dtype=np.int32)] * 50, 50_000)


@settings(max_examples=60, deadline=None)
@given(held=st.integers(1, 2_000_000), num_steps=st.integers(1, 20_000), sampled=st.booleans())
def test_validations_cost_little_or_read_little(held: int, num_steps: int, sampled: bool) -> None:
    """At least five times what is held out is read, in part where it is much for the budget.

    In part means at least 20,000 tokens; what is less is always read as a whole. Eight times
    that apart, reading takes about a twentieth of the time of training.
    """
    material = TextMaterial(
        tokenizer=train_tokenizer(["a"], level="char"),
        text=MANY,
        valid=TokenizedText(MANY.ids, np.array([0, held]), MANY.vocab_size),
        known=None,
        split_on="line",
        about={},
    )
    model = CausalConfig(vocab_size=50_000, hidden_size=64, tie_weights=True)
    types = {"frequent_types": 4000, "sampled_types": 2000} if sampled else {}
    config = fix_steps(
        Request(corpus=("a",), steps=num_steps, precision="fp32"),
        model,
        TrainingConfig(num_steps=1, **types),
        material,
        quiet,
    )
    validations = -(-num_steps // config.validate_every)
    assert min(num_steps, 5) <= validations <= 40
    if config.validate_tokens:
        assert 20_000 <= config.validate_tokens < held
    windows = sum(num_windows(g, config.bptt_length) for g in groups_of_epoch(MANY, config, 0))
    trained = num_steps / windows * MANY.num_tokens
    read = validations * (config.validate_tokens or held)
    # Reading a token costs a third of training on it, and more where training scores few types.
    cost = 0.35 * (50_000 / 6000 if sampled else 1)
    assert read <= 8 * 20_000 or cost * read < 0.06 * trained


def test_precision_is_as_asked_or_one_there_is(corpus: Path) -> None:
    """A precision asked for is kept; measured or guessed, it is one of the two."""
    for precision in ("fp32", "bf16"):
        settled = settle(asked(corpus, steps=3, precision=precision), quiet)
        assert settled.training.precision == precision
    assert likely_precision(settled.config.hidden_size, "cpu") == "fp32"  # too small to be worth it


# The texts


def test_a_validation_file_is_used_as_it_is(corpus: Path, tmp_path: Path) -> None:
    """With --valid nothing of the corpus is held out, and the file is what is validated on."""
    valid = tmp_path / "valid.txt"
    valid.write_text("pink eel\nred cat\n", encoding="utf-8")
    texts = read_texts(asked(corpus, valid=(str(valid),)), quiet)
    assert texts.train == LINES
    assert texts.valid == ["pink eel", "red cat"]
    settled = settle(asked(corpus, valid=(str(valid),), steps=1), quiet)
    assert settled.material.valid is not None
    assert len(settled.material.valid.starts) == 3


def test_the_vocabulary_comes_from_the_training_text_alone(corpus: Path, tmp_path: Path) -> None:
    """A character that only the validation text has is <UNK> there: perplexity stays honest."""
    valid = tmp_path / "valid.txt"
    valid.write_text("red zebra\n", encoding="utf-8")
    material = settle(asked(corpus, valid=(str(valid),), steps=1), quiet).material
    assert material.valid is not None
    assert "z" not in "".join(LINES)
    tokenizer = material.tokenizer
    unknown = material.valid.ids == tokenizer.unk_id
    assert unknown.tolist() == [c in "z" for c in "red zebra"] + [False]
    assert not (material.text.ids == tokenizer.unk_id).any()


def test_held_out_text_is_not_in_the_vocabulary_either(tmp_path: Path) -> None:
    """Held out by chance instead of by file, a text that is not trained on teaches no character."""
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join("abcdefghijklmnopqrst"), encoding="utf-8")
    material = settle(asked(path, steps=1), quiet).material
    assert material.valid is not None
    assert material.tokenizer.vocab_size == 18 + 2
    assert material.valid.ids.tolist() == [0, 1, 0, 1]
    assert material.about["valid"] == {
        "sequences": 2,
        "characters": 2,
        "bytes": 2,
        "words": 2,
        "unknown_nats": pytest.approx(2 * math.log(0x110000 - 0x800 - 18)),
    }
    assert material.about["train"]["sequences"] == 18


def test_nothing_is_held_out_where_none_is_asked_for(corpus: Path) -> None:
    """A share of 0 trains on everything, validates on nothing and says so."""
    said: list[str] = []
    settled = settle(asked(corpus, valid_share=0.0, steps=2), said.append)
    assert settled.material.valid is None
    assert any("nothing is held out" in line for line in said)
    assert len(settled.material.text.starts) - 1 == len(LINES)


def test_the_split_is_chosen_from_the_training_text(tmp_path: Path) -> None:
    """Unasked, verses are paragraphs, and the choice is told; asked for lines, they are lines."""
    poem = tmp_path / "poem.txt"
    poem.write_text("a b\nc d\n\n" * 200, encoding="utf-8")
    said: list[str] = []
    texts = read_texts(asked(poem, valid_share=0.0), said.append)
    assert texts.split_on == "paragraph"
    assert texts.train == ["a b\nc d"] * 200
    assert "`split_on`" in said[-1]
    texts = read_texts(asked(poem, valid_share=0.0, split_on="line"), said.append)
    assert texts.train == ["a b", "c d"] * 200
    assert "--split-on" not in said[-1]


def test_files_know_no_novelty(tmp_path: Path) -> None:
    """Whole files are not kept as known sequences; lines are, each once, lower-cased if so read."""
    path = tmp_path / "corpus.txt"
    path.write_text("Aa bb\nAa bb\nCc aa\n" * 3, encoding="utf-8")
    assert settle(asked(path, split_on="file", steps=1), quiet).material.known is None
    known = settle(asked(path, split_on="line", steps=1), quiet).material.known
    assert known is not None
    assert set(known) == {sequence_hash("Aa bb"), sequence_hash("Cc aa")}
    lower = settle(asked(path, split_on="line", steps=1, level="word", lowercase=True), quiet)
    assert lower.material.known is not None
    assert set(lower.material.known) == {sequence_hash("aa bb"), sequence_hash("cc aa")}


def test_known_sequences_are_kept_as_the_tokens_keep_them(tmp_path: Path) -> None:
    """Words cut already know their sequences by single spaces; otherwise every space counts."""
    path = tmp_path / "corpus.txt"
    path.write_text(" aa  bb\naa bb \naa\u2003bb\nCc \t aa\n" * 3, encoding="utf-8")
    fields = {"split_on": "line", "level": "word", "steps": 1, "min_count": 1}
    cut = settle(asked(path, pretokenized=True, **fields), quiet).material.known
    assert cut is not None
    assert set(cut) == {sequence_hash("aa bb"), sequence_hash("Cc aa")}
    lower = settle(asked(path, pretokenized=True, lowercase=True, **fields), quiet).material.known
    assert lower is not None
    assert set(lower) == {sequence_hash("aa bb"), sequence_hash("cc aa")}
    exact = settle(asked(path, **fields), quiet).material.known
    assert exact is not None
    assert len(exact) == 4


@pytest.mark.parametrize("content", ["", "\n \n\t\r\n"])
def test_a_blank_corpus_is_refused(tmp_path: Path, content: str) -> None:
    """No text to train on, or to validate on, is a TextError."""
    path, good = tmp_path / "blank.txt", tmp_path / "good.txt"
    path.write_text(content, encoding="utf-8")
    good.write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(TextError, match="no text to train on"):
        read_texts(asked(path, split_on="line"), quiet)
    with pytest.raises(TextError, match="no text to validate on"):
        read_texts(asked(good, valid=(str(path),), split_on="line"), quiet)


def test_the_fingerprint_changes_with_the_text(corpus: Path, tmp_path: Path) -> None:
    """One letter, one line moved to the other side, or another split: another fingerprint."""
    valid = tmp_path / "valid.txt"
    valid.write_text("pink eel\n", encoding="utf-8")

    def fingerprint(**fields: Any) -> str:
        return read_texts(asked(corpus, **fields), quiet).fingerprint

    prints = [
        fingerprint(),
        fingerprint(seed=1),
        fingerprint(valid=(str(valid),)),
        fingerprint(valid_share=0.0),
        fingerprint(split_on="file", valid_share=0.0),
    ]
    assert fingerprint() == prints[0]
    corpus.write_text("\n".join([*LINES[:-1], "grey owk"]) + "\n", encoding="utf-8")
    prints.append(fingerprint())
    assert len(set(prints)) == len(prints)


def test_the_fingerprint_tells_split_and_sides_apart() -> None:
    """The same sequences, split otherwise or shared out otherwise, are another corpus."""
    texts = [
        Texts(["a", "b"], ["c"], "line"),
        Texts(["a", "b"], ["c"], "paragraph"),
        Texts(["a"], ["b", "c"], "line"),
        Texts(["a", "b", "c"], [], "line"),
        Texts(["b", "a"], ["c"], "line"),
    ]
    assert len({each.fingerprint for each in texts}) == len(texts)


def test_line_ends_do_not_change_the_fingerprint(corpus: Path) -> None:
    """The same lines with CRLF, or without the last newline, are the same corpus."""
    before = read_texts(asked(corpus), quiet).fingerprint
    corpus.write_bytes("\r\n".join(LINES).encode())
    assert read_texts(asked(corpus), quiet).fingerprint == before


# JSON


@settings(max_examples=60, deadline=None)
@given(
    level=st.sampled_from(LEVELS),
    split_on=st.sampled_from([None, "line", "paragraph", "file"]),
    pretokenized=st.booleans(),
    budget=st.sampled_from([{}, {"seconds": 2.5}, {"epochs": 0.5}, {"steps": 9}]),
    model=st.fixed_dictionaries({}, optional={"cell": st.sampled_from(CELLS)}),
    hidden=st.sampled_from([None, 7]),
    seed=st.integers(0, 2**40),
)
def test_a_request_comes_back_from_json(
    level: Any,
    split_on: Any,
    pretokenized: bool,
    budget: dict[str, Any],
    model: dict[str, Any],
    hidden: int | None,
    seed: int,
) -> None:
    """Through JSON text a request comes back equal, its files named so that they stay the same."""
    path = str(Path("some.txt").absolute())
    request = Request(
        corpus=(path, "-"),
        level=level,
        split_on=split_on,
        pretokenized=pretokenized,
        hidden=hidden,
        seed=seed,
        **budget,
        **model,
    )
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request
    relative = dataclasses.replace(request, corpus=("some.txt", "-"))
    assert relative.to_json()["corpus"] == [path, "-"]


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": None},
        {"valid": 5},
        {"level": "byte"},
        {"seconds": "long"},
        {"steps": -5},
        {"steps": 5, "epochs": 5},
        {"model": {"colour": 1}},
        {"model": 5},
        {"training": {"corpus": ["x"]}},
    ],
)
def test_a_damaged_request_is_a_checkpoint_error(change: dict[str, Any]) -> None:
    """What to_json cannot have written is refused as what it is: a damaged run."""
    values = Request(corpus=("a",)).to_json()
    with pytest.raises(CheckpointError, match=r"run\.json"):
        Request.from_json({**values, **change})


@pytest.mark.parametrize("values", [None, [], {}, {"corpus": ["a"]}])
def test_half_a_request_is_a_checkpoint_error(values: object) -> None:
    """Every field must be there, and it must be an object."""
    with pytest.raises(CheckpointError, match=r"run\.json"):
        Request.from_json(values)
    whole = {**Request(corpus=("a",)).to_json(), "colour": 1}
    with pytest.raises(CheckpointError, match=r"run\.json"):
        Request.from_json(whole)


# The recipe


@settings(max_examples=300, deadline=None)
@given(
    level=st.sampled_from(LEVELS),
    vocab_size=st.integers(3, 10**6),
    num_tokens=st.integers(1, 10**12),
    share=st.floats(0, 1),
    seconds=st.floats(1e-6, 1e12, exclude_max=True),
)
def test_the_recipe_never_fails(
    level: str, vocab_size: int, num_tokens: int, share: float, seconds: float
) -> None:
    """For every text and budget there is a model that can be built, and a reason in a line."""
    chosen = recipe.choose(
        level=level,
        vocab_size=vocab_size,
        num_tokens=num_tokens,
        num_sequences=max(1, int(share * num_tokens)),
        seconds=seconds,
        in_memory=True,
        model={},
        training={},
    )
    assert chosen.model.vocab_size == vocab_size
    assert 0 <= chosen.model.dropout <= 0.75
    assert 0 <= chosen.model.input_dropout <= 0.3
    assert 64 <= chosen.model.hidden_size <= 1024
    assert chosen.model.embedding_size <= chosen.model.hidden_size
    assert 0 < chosen.training.end_learning_rate < chosen.training.learning_rate
    assert not (chosen.training.smoothing and chosen.training.sampled_types)
    types = chosen.training.frequent_types + chosen.training.sampled_types
    assert types == 0 or 0 < chosen.training.sampled_types < types < vocab_size
    assert "\n" not in chosen.summary
    assert str(chosen.model.hidden_size) in chosen.summary


@settings(max_examples=100, deadline=None)
@given(
    level=st.sampled_from(LEVELS),
    num_tokens=st.integers(1, 10**9),
    model=st.fixed_dictionaries(
        {},
        optional={
            "cell": st.sampled_from(CELLS),
            "num_layers": st.integers(1, 4),
            "hidden_size": st.integers(1, 999),
            "embedding_size": st.integers(1, 999),
            "dropout": st.floats(0, 0.9),
            "tie_weights": st.booleans(),
        },
    ),
    training=st.fixed_dictionaries(
        {},
        optional={
            "batch_size": st.integers(1, 999),
            "bptt_length": st.integers(1, 5000),
            "learning_rate": st.floats(1e-6, 1),
            "seed": st.integers(0, 99),
        },
    ),
)
def test_what_is_asked_by_name_is_not_chosen(
    level: str, num_tokens: int, model: dict[str, Any], training: dict[str, Any]
) -> None:
    """Every field that was asked for is as asked, and what is chosen beside it fits it."""
    chosen = recipe.choose(
        level=level,
        vocab_size=50,
        num_tokens=num_tokens,
        num_sequences=1,
        seconds=60,
        model=model,
        training=training,
    )
    for config, values in ((chosen.model, model), (chosen.training, training)):
        for name, value in values.items():
            assert getattr(config, name) == value
    assert chosen.training.end_learning_rate < chosen.training.learning_rate


@pytest.mark.parametrize(
    ("level", "num_tokens", "mean_length", "most"),
    [
        # As measured (bench/RESULTS.md): dinosaurs, German surnames, verses, recipes, poems.
        ("char", 16_147, 12.7, 48),
        ("char", 4_980, 7.6, 98),
        ("char", 7_376, 41, 93),
        ("char", 2_793, 155, 150),
        ("char", 2_340, 13, 150),
        ("word", 1_893, 10, 70),
        ("word", 646, 36, 134),
        ("char", 1, 1, 150),
        # Larger texts are passed over as often as ever.
        ("subword", 2_815, 15, 55),
        ("char", 76_626, 8, 30),
        ("char", 141_994, 599, 24),
        ("char", 220_000, 7, 30),
        ("char", 1_003_854, 1_003_854, 25),
        ("word", 36_000, 150, 12),
        ("subword", 10**6, 150, 12),
    ],
)
def test_the_less_text_the_more_passes(
    level: str, num_tokens: int, mean_length: float, most: int
) -> None:
    """Short texts are learned in more passes, up to 150; the most of large ones does not grow."""
    assert round(recipe.most_epochs(level, num_tokens, mean_length)) == most


@pytest.mark.parametrize(
    ("level", "num_tokens", "passes", "dropout"),
    [
        ("char", 16_000, 0.1, 0.05),
        ("char", 16_000, 8, 0.23),
        ("char", 16_000, 24, 0.48),
        ("char", 16_000, 50, 0.6),
        ("char", 16_000, 100, 0.7),
        ("char", 16_000, 150, 0.75),
        ("word", 1_900, 12, 0.47),
        ("word", 1_900, 50, 0.6),
        ("word", 10**6, 50, 0.5),
        ("char", 10**6, 11, 0.3),
    ],
)
def test_dropout_follows_the_passes(
    level: str, num_tokens: int, passes: float, dropout: float
) -> None:
    """The more often a text is passed over, the more of it is dropped; figures as measured."""
    chosen = recipe.choose(
        level=level,
        vocab_size=50,
        num_tokens=num_tokens,
        num_sequences=num_tokens // 100,
        seconds=180,
        passes=passes,
        model={},
        training={},
    )
    assert chosen.model.dropout == dropout


@pytest.mark.parametrize(
    ("seconds", "hidden", "dropout", "on_input"),
    [(30, 256, 0.14, 0), (90, 384, 0.22, 0), (180, 448, 0.34, 0.03), (600, 640, 0.6, 0.3)],
)
def test_what_is_chosen_for_a_large_text(
    seconds: float, hidden: int, dropout: float, on_input: float
) -> None:
    """Of Tiny Shakespeare the recipes of bench/RESULTS.md, on any machine."""
    model = recipe.choose(
        level="char",
        vocab_size=65,
        num_tokens=1_003_854,
        num_sequences=1,
        seconds=seconds,
        model={},
        training={},
    ).model
    assert (model.hidden_size, model.dropout, model.input_dropout) == (hidden, dropout, on_input)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 0.3),
        ({"level": "word"}, 0.0),
        ({"level": "subword"}, 0.0),
        ({"in_memory": False}, 0.0),
        ({"vocab_size": 6000}, 0.0),  # types are drawn
        ({"num_tokens": 6_000_000, "seconds": 1e5}, 0.0),  # that would take much memory
        ({"seconds": 30.0}, 0.0),  # counting would take a tenth of that
        ({"seconds": 30.0, "num_tokens": 100_000}, 0.3),
        ({"kind": ClozeConfig}, 0.0),
        ({"model": {"num_labels": 3, "label_size": 4}}, 0.0),
        ({"training": {"smoothing": 0.1}}, 0.1),
        ({"level": "word", "training": {"smoothing": 0.2}}, 0.2),
    ],
)
def test_targets_are_softened_where_that_was_seen_to_help(
    changed: dict[str, Any], expected: float
) -> None:
    """Characters, of a text in memory, if they are soon counted; else if it is asked for."""
    usual: dict[str, Any] = {
        "level": "char",
        "vocab_size": 65,
        "num_tokens": 1_000_000,
        "num_sequences": 1,
        "seconds": 180.0,
        "in_memory": True,
        "model": {},
        "training": {},
    }
    chosen = recipe.choose(**{**usual, **changed})
    assert chosen.training.smoothing == expected
    assert (f"smoothing {expected:g}" in chosen.summary) == bool(expected)


@pytest.mark.parametrize("budget", [{"epochs": 8.0}, {"epochs": 100.0}, {"steps": 10}])
def test_dropout_is_that_of_the_budget_asked_for(corpus: Path, budget: dict[str, Any]) -> None:
    """Asked for steps or epochs, a run drops what suits the passes that it will make."""
    settled = settle(asked(corpus, **budget), quiet)
    text = settled.material.text
    passes = settled.training.num_steps / windows_per_epoch(settled.config, settled.training, text)
    expected = recipe.choose(
        level="char",
        vocab_size=settled.config.vocab_size,
        num_tokens=text.num_tokens,
        num_sequences=len(text.starts) - 1,
        seconds=1,
        passes=passes,
        model={},
        training={},
    )
    assert settled.config.dropout == expected.model.dropout
    assert settled.training.weight_decay == expected.training.weight_decay
    few = settle(asked(corpus, epochs=1.0), quiet).config.dropout
    assert few == 0.05 < settled.config.dropout


@pytest.mark.parametrize("seconds", [1, 60, 3600])
def test_more_text_asks_for_no_smaller_model(seconds: float) -> None:
    """Size grows with the text and dropout falls, at every level."""
    for level in LEVELS:
        chosen = [
            recipe.choose(
                level=level,
                vocab_size=100,
                num_tokens=int(num_tokens),
                num_sequences=1,
                seconds=seconds,
                model={},
                training={},
            ).model
            for num_tokens in np.geomspace(100, 1e9, 40)
        ]
        sizes = [model.hidden_size for model in chosen]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
        assert chosen[0].dropout >= chosen[-1].dropout


@pytest.mark.parametrize("vocab_size", [3, 100, 4096, 5000, 50_000, 10**6])
@pytest.mark.parametrize("num_tokens", [10_000, 10**7])
def test_many_types_are_sampled_where_there_is_much_text(vocab_size: int, num_tokens: int) -> None:
    """At most half of them and some thousands, more than half of these the frequent ones.

    Few types, or types of little text, are summed over as a whole; what is asked for is done.
    """

    def types(**training: int) -> tuple[int, int]:
        chosen = recipe.choose(
            level="word",
            vocab_size=vocab_size,
            num_tokens=num_tokens,
            num_sequences=1,
            seconds=60,
            model={},
            training=training,
        ).training
        return chosen.frequent_types, chosen.sampled_types

    frequent, sampled = types()
    if vocab_size < 1000 or num_tokens < 100_000:
        assert (frequent, sampled) == (0, 0)
    else:
        assert 0 < sampled < frequent
        assert frequent + sampled < min(vocab_size / 2, 10_000)
    assert types(sampled_types=0)[1] == 0
    assert types(frequent_types=5, sampled_types=7) == (5, 7)


def test_what_makes_no_sense_is_refused_before_training(corpus: Path) -> None:
    """A size out of range, or a vocabulary too small to hold a type, is the caller's mistake."""
    for fields in (
        {"hidden": 0},
        {"cell": "transformer"},
        {"learning_rate": -1.0},
        {"vocab_size": 2},
        {"min_count": 0},
        {"lowercase": True},
        {"pretokenized": True},
        {"pretokenized": True, "level": "subword"},
        {"valid_share": 1.0},
        {"encoding": "klingon"},
        {"precision": "fp8"},
        {"seed": -1},
    ):
        with pytest.raises(CharlmError) as caught:
            settle(asked(corpus, steps=1, **fields), quiet)
        assert isinstance(caught.value, UsageError), fields
