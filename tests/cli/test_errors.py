"""Errors of the command line: one dialect, options by their names, and what may have been meant."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.cli.app import COMMANDS, subcommand
from charlm.cli.option_names import in_options, option_of
from charlm.config import CELLS, LEVELS, ON_NAN, SamplingConfig
from charlm.display.safe_text import safe_text
from charlm.errors import CharlmError, FieldError, did_you_mean
from charlm.training.request import CONFIG_FIELDS
from tests.support.cli import bad, charlm


def complaint(*arguments: str) -> str:
    """The one line that a wrong use ends with."""
    ended = charlm(*arguments)
    assert ended.code == 2, ended
    assert ended.stdout == b""
    line = ended.err.splitlines()[-1]
    assert line.startswith("charlm: error: "), line
    assert re.search(r"[.?]$", line), line
    return line.removeprefix("charlm: error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "there is no command 'trian'. Did you mean train? See charlm --help."),
        (["qqqq"], "there is no command 'qqqq'. See charlm --help."),
        (
            ["train", "x", "--hiden", "3"],
            "there is no option --hiden. Did you mean --hidden? See charlm train --help.",
        ),
        (["score", "--jsno"], "there is no option --jsno. Did you mean --json? See charlm score -"),
        (["train", "x", "--hidden", "abc"], "--hidden must be a whole number, got abc. See "),
        (["train", "x", "--dropout", "a"], "--dropout must be a number, got a. See "),
        (["sample", "-n", "0"], "--n must be 1 or more, got 0. See charlm sample --help."),
        (["next", "--top", "-1"], "--top must be 0 or more, got -1. See charlm next --help."),
        (["sample", "--n"], "option '--n' requires an argument. See charlm --help."),
        (["tokenize"], "missing argument 'text'. See charlm tokenize --help."),
        (["list", "two", "words"], "got unexpected extra argument(s) (two words). See charlm list"),
    ],
)
def test_the_parser_speaks_as_charlm_does(arguments: list[str], said: str) -> None:
    """What the parser refuses is told in one line, under the same name as all other errors."""
    assert complaint(*arguments).startswith(said)


CHOICES = [
    ("train x", "--level", "words", "word"),
    ("train x", "--split-on", "lines", "line"),
    ("train x", "--cell", "LSMT", "lstm"),
    ("train x", "--pooling", "mean_max", "mean-max"),
    ("train x", "--subword-model", "unigramm", "unigram"),
    ("train x", "--normalize", "NFKCC", "NFKC"),
    ("train x", "--on-nan", "skp", "skip"),
    ("train x", "--precision", "bf-16", "bf16"),
    ("train x", "--device", "gpu", "cpu"),
    ("train x", "--errors", "replaced", "replace"),
    ("sample", "--unk", "spel", "spell"),
    ("score x", "--unit", "bit", "bits"),
    ("score x", "--on-error", "stpo", "stop"),
    ("score x", "--errors", "strikt", "strict"),
    ("classify x", "--on-error", "dropp", "drop"),
    ("evaluate x", "--format", "jsn", "json"),
    ("evaluate x", "--split-on", "paragraphs", "paragraph"),
    ("novelty x", "--split-on", "files", "file"),
    ("fill x", "--unk", "keeep", "keep"),
    ("next x", "--unit", "nat", "nats"),
    ("tag x", "--errors", "replce", "replace"),
    ("compare a b x", "--errors", "strct", "strict"),
]


@pytest.mark.parametrize(("command", "option", "wrong", "meant"), CHOICES)
def test_a_choice_that_is_none_names_the_nearest(
    command: str, option: str, wrong: str, meant: str
) -> None:
    """Each option that is one of a few names says which there are, and which may be meant."""
    said = complaint(*command.split(), option, wrong)
    assert said.startswith(f"{option} must be ")
    assert f"got {wrong!r}. Did you mean {meant}?" in said


@given(choice=st.sampled_from((*CELLS, *LEVELS, *ON_NAN, "NFKC")), data=st.data())
def test_choices_are_taken_in_any_case(choice: str, data: st.DataObject) -> None:
    """--cell LSTM is lstm, --normalize nfkc is NFKC; what is not given stays so."""
    flips = data.draw(st.lists(st.booleans(), min_size=len(choice), max_size=len(choice)))
    written = "".join(c.swapcase() if flip else c for c, flip in zip(choice, flips, strict=True))
    names = {"cell": CELLS, "level": LEVELS, "on_nan": ON_NAN, "normalize": ("NFKC",)}
    (name,) = (name for name, choices in names.items() if choice in choices)
    context = subcommand("train").make_context("train", [f"{option_of(name)}={written}"])
    assert context.params[name] == choice
    assert {context.params[other] for other in names if other != name} == {None}


def options_of(name: str) -> set[str]:
    """The options that a command has."""
    return {option for p in subcommand(name).params for option in p.opts}


def test_every_field_that_a_command_sets_has_its_option() -> None:
    """The names that errors put in place of fields are options that there are."""
    train = options_of("train")
    fields = (*CONFIG_FIELDS.values(), "num_steps", "index")
    asked = ("level", "split_on", "errors", "subword_model", "normalize", "vocab_size")
    for field in (*fields, *asked, "min_count", "lowercase", "pretokenized", "seed", "precision"):
        assert option_of(field) in train, field
    for field in SamplingConfig.__dataclass_fields__:
        assert option_of(field) in options_of("sample"), field


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hidden", "0"], "--hidden must be a whole number from 1 to 65536, got 0."),
        (["--layers", "99"], "--layers must be a whole number from 1 to 64, got 99."),
        (["--dropout", "2"], "--dropout must be a number from 0 to 0.95, got 2.0."),
        (
            ["--min-count", "0"],
            "--min-count must be at least 1, and means nothing at subword level.",
        ),
        (["--vocab-size", "2"], "--vocab-size must be at least 3 at char level, got 2."),
    ],
)
def test_fields_are_called_by_their_options(
    arguments: list[str], said: str, tmp_path: object
) -> None:
    """A model's field out of range is named as the command line knows it."""
    from pathlib import Path

    corpus = Path(str(tmp_path)) / "corpus.txt"
    corpus.write_text("a pear\nan apple\n" * 20)
    assert complaint("train", str(corpus), "--steps", "1", *arguments) == said
    with pytest.raises(FieldError, match="temperature must be a number"):
        SamplingConfig(temperature=-1.0)


@given(got=st.text(max_size=20))
def test_what_may_be_meant_is_one_of_the_choices(got: str) -> None:
    """Whatever was written, the suggestion is a choice that there is, or nothing."""
    said = did_you_mean(got, CELLS)
    assert said == "" or said[len(" Did you mean ") : -1] in CELLS


def test_a_field_error_is_a_usage_error_of_its_field() -> None:
    """The library names the field; its parts are there for the command line."""
    error = FieldError("hidden_size", "must be more.")
    assert isinstance(error, CharlmError)
    assert (str(error), error.field, error.what, error.exit_code) == (
        "hidden_size must be more.",
        "hidden_size",
        "must be more.",
        2,
    )


# Texts that begin as options do

TAKE_TEXTS = ("score", "tokenize", "next", "fill", "classify", "translate")
DASHED = (
    "-1 degree",
    "-mat and tie",
    "-v x",
    "-file not found",
    "- a",
    "--odd text",
    "-=a\nb",
    "-0 °",
)


def test_all_commands_that_take_texts_are_there() -> None:
    """An argument that is a text is called so."""
    found = {
        name
        for name in COMMANDS
        for one in subcommand(name).params
        if one.param_type_name == "argument" and one.name in ("text", "texts", "prefix")
    }
    assert found == set(TAKE_TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("command", TAKE_TEXTS)
@pytest.mark.parametrize("text", DASHED)
def test_a_text_that_begins_as_an_option_goes_behind_dashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, text: str
) -> None:
    """No letter of it is taken for an option, the error shows what to type, and that works; what
    an option has for its value is let be.
    """
    monkeypatch.chdir(tmp_path)
    for before in ([], ["--json"], ["--model", text]):
        said = complaint(command, *before, text)
        shown = safe_text(f"{command} -- {shlex.quote(text)}")
        assert said.endswith(f"If it is a text, put it behind --: charlm {shown}.")
        ended = charlm(command, *before, "--", text)
        assert ended.code == 4  # it is looked for a model, and there is none
        assert re.search(b"there is no (model|translator)", ended.stderr)


@pytest.mark.parametrize("command", [*TAKE_TEXTS, "train", "evaluate", "tag", "novelty"])
def test_a_word_that_begins_as_an_option_may_go_behind_dashes(command: str) -> None:
    """What is like no option may be a text, or the name of a file."""
    what = "text" if command in TAKE_TEXTS else "file"
    for word in ("-1", "-100", "---"):
        hint = f"If it is a {what}, put it behind --: charlm {command} -- {word}. See charlm "
        assert f"there is no option {word[:2] if word != '---' else word}. {hint}" in complaint(
            command, word
        )
    for typo in (["score", "--jsno"], ["list", "-1"]):
        assert "put it behind" not in complaint(*typo)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, harm: str
) -> None:
    """A file cut short, changed by a bit or missing is named, with 4, by every command."""
    shutil.copytree(folder / "checkpoints", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    (file,) = Path("checkpoints/char").glob(f"step-*/{name}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data[:-1] if harm == "cut" else data)
    if harm == "remove":
        file.unlink()
    for command in (["sample"], ["score", "x"], ["next", "x"], ["info"]):
        assert name in bad(4, *command, "--model", "char")


def test_debug_shows_where(here: Path) -> None:
    """The traceback is there for whoever asks for it, and the sentence still ends it all."""
    result = charlm("--debug", "sample", "--model", "nobody")
    assert result.code == 4
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("charlm: error: ")
    assert "Traceback" not in charlm("sample", "--model", "nobody").err


def test_a_fault_of_charlm_is_told_as_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw is a line, and names the way to its traceback."""

    def load(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("charlm.models.load.load_text_model", load)
    result = charlm("sample")
    assert result.code == 1
    assert result.err == (
        "charlm: unexpected error: ZeroDivisionError: oops\n"
        "This is a fault of charlm; --debug shows where.\n"
    )


def test_fields_in_messages_are_told_as_options() -> None:
    """`field` and `field=value` become options; other words between backquotes stay."""
    told = "lower `learning_rate`, `on_nan=rollback`, `seconds`, `index=False`, `hidden_size`, `x`"
    expected = "lower --learning-rate, --on-nan rollback, --time, --no-index, --hidden, `x`"
    assert in_options(told) == expected
