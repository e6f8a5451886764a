"""The command line, run inside this process: what goes to which stream, and how it ends."""

import gzip
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import charlm as package
from charlm.checkpoints.run import Run
from charlm.cli.commands import next as next_command
from charlm.cli.commands import sample as sample_command
from charlm.cli.output import training_progress as progress
from charlm.cli.output.terminal import cut, fitted, safe_text, width
from charlm.config import CELLS, LEVELS, SPLITS
from charlm.training.task import Step
from tests.support.cli import BEST, bad, charlm, good, lines_of_json
from tests.support.texts import TEXT

COMMANDS = ("train", "sample", "score", "evaluate", "compare")
COMMANDS += ("classify", "novelty", "fill", "next", "tokenize", "info", "list")
TINY = ("--steps", "3", "--hidden", "8")
COMMANDS += ("tag", "rm", "help")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a corpus and a small model of each level below checkpoints/."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    (folder / "corpus.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for level in LEVELS:
            good("train", "corpus.txt", "--level", level, "--name", level, *TINY)
        good("train", "corpus.txt", "--name", "trained", "--steps", "60", "--hidden", "16")
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def here(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the directory of the models; nothing is to be written there."""
    monkeypatch.chdir(models)
    return models


@pytest.fixture
def empty(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory that holds a corpus and nothing else."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(models / "corpus.txt", tmp_path)
    return tmp_path


def runs() -> list[str]:
    """The names below checkpoints/, whatever they are."""
    return sorted(path.name for path in Path("checkpoints").glob("*"))


# Help


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_80_columns_and_shows_examples(
    command: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Help goes to stdout, in lines of at most 80 columns, with an example to copy."""
    monkeypatch.setenv("COLUMNS", "80")
    result = good(*([command] if command else []), flag)
    assert result.err == ""
    assert max(map(len, result.out.splitlines())) <= 80
    assert examples(command)


def examples(command: str) -> list[str]:
    """The example lines of a command's help."""
    text = good(*([command] if command else []), "-h").out
    return [
        line.strip() for line in text.splitlines() if re.match(r"  (\w+ \S+ \| )?charlm ", line)
    ]


def tiny_budget(arguments: list[str]) -> list[str]:
    """Options that, appended to a training's, make it short."""
    if "--time" in arguments:
        return ["--time", "0.3s", *([] if "--resume" in arguments else ["--hidden", "8"])]
    return ["--epochs", "0.01", "--hidden", "8"] if "--epochs" in arguments else list(TINY)


def test_every_example_of_the_help_runs(empty: Path) -> None:
    """Every command line that the help shows ends with 0, in the order in which it stands."""
    (empty / "sentences.txt").write_text("the bear\nthe jay\n")
    (empty / "records.jsonl").write_text('{"text": "the bear"}\n')
    (empty / "table.tsv").write_text("1\tthe bear\n")
    (empty / "stimuli.csv").write_text("item,sentence\n1,the bear\n")
    (empty / "hypotheses.tsv").write_text("1\tthe bear\t-2\n1\tthe jay\t-1\n")
    (empty / "samples.txt").write_text("the bear\nthe jay\n")
    (empty / "samples.jsonl").write_text('{"text": "the bear"}\n')
    (empty / "held-out.txt").write_text("the bear\nthe jay\n")
    (empty / "gaps.txt").write_text("the b[?]r\n[?3] jay\n")
    for name in ("words", "chars", "old", "new"):
        good("train", "corpus.txt", "--name", name, *TINY)
    (empty / "poems").mkdir()
    (empty / "poems" / "one.txt").write_text(TEXT)
    (empty / "play.txt").write_text(TEXT)
    (empty / "names").mkdir()
    (empty / "names" / "Greek.txt").write_text("Adamou\nBellios\nCallas\nDemas\nEgonidis\n")
    (empty / "names" / "Russian.txt").write_text("Abakumov\nBabanin\nChaadaev\nDalin\nEgin\n")
    (empty / "news.gz").write_bytes(gzip.compress(TEXT.encode()))
    (empty / "entities.conll").write_text("Ada\tB-PER\nsleeps\tO\n\nin\tO\nRome\tB-LOC\n\n" * 2)
    (empty / "sentences.conll").write_text("Ada\nsleeps\n")
    (empty / "letters.txt").write_text("Ada sleeps.\n")
    rest = "_\t0\troot\t_\t_\n"
    rows = f"1\tAda\t_\t_\tNNP\t{rest}2\tsleeps\t_\t_\tVBZ\t{rest}\n"
    (empty / "treebank.conllu").write_text(rows * 2)
    for label in ("bad", "good"):
        (empty / "reviews" / label).mkdir(parents=True)
        for number in range(3):
            (empty / "reviews" / label / f"{number}.txt").write_text(f"{label} {number}\n")
    ran = 0
    for command in ("", *COMMANDS):
        for line in examples(command):
            first, _, second = line.rpartition(" | ")
            if first.startswith("charlm "):
                stdin = good(*shlex.split(first)[1:]).out.encode()
            else:
                stdin = gzip.decompress((empty / first.split()[1]).read_bytes()) if first else b""
            arguments = shlex.split(second)[1:]
            if arguments[0] == "train":
                arguments += tiny_budget(arguments)
            good(*arguments, stdin=stdin)
            ran += 1
    assert ran >= 15


def test_without_a_command_there_is_help() -> None:
    """`charlm` alone shows the help and ends as a wrong usage does."""
    result = charlm()
    assert result.code == 2
    assert "Usage: charlm" in result.both


def test_version() -> None:
    """--version is one line on stdout."""
    assert re.fullmatch(r"charlm \d+\.\d+\.\d+\n", good("--version").out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--stepz", "3"],
        ["train", "corpus.txt", "--steps", "many"],
        ["sample", "--n", "0"],
        ["next", "--top", "-1"],
        ["next", "two", "prefixes"],
        ["tokenize"],
        ["list", "extra"],
    ],
)
def test_what_the_parser_refuses_is_a_usage_error(arguments: list[str]) -> None:
    """A command or option that does not exist is one line on stderr, as any error; code 2."""
    result = charlm(*arguments)
    assert result.code == 2
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert re.fullmatch(r"charlm: error: .+ See charlm( \w+)? --help\.", line)


# train


def test_train_ends_with_one_line_of_data(empty: Path) -> None:
    """stdout holds the best validation loss alone, and it is the last line over both streams."""
    result = good("train", "corpus.txt", *TINY)
    found = BEST.fullmatch(result.out)
    assert found
    assert result.both.endswith(result.out)
    assert 1.0 < float(found[1]) < float(found[2])  # nats a token, bits a character
    for word in ("text: ", "vocabulary: ", "recipe: ", "budget: ", "run: ", "next: "):
        assert f"\n{word}" in result.err


def test_train_quiet_says_only_the_last_line(empty: Path) -> None:
    """With --quiet stderr is empty and stdout the same as ever."""
    loud = good("train", "corpus.txt", *TINY)
    quiet = good("train", "corpus.txt", *TINY, "--quiet")
    assert quiet.err == ""
    assert quiet.out == loud.out


def test_the_commands_that_train_names_run(empty: Path) -> None:
    """What stands after `next:` can be copied and works."""
    result = good("train", "corpus.txt", *TINY)
    commands = re.findall(r"^(?:next|or): (.*)", result.err, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        good(*shlex.split(command)[1:])


def test_train_takes_a_name_that_is_free_and_says_it(empty: Path) -> None:
    """Without --name a run is called after its first file, with a number where that is taken."""
    for name in ("corpus", "corpus-2", "corpus-3"):
        assert f"run: checkpoints/{name}, " in good("train", "corpus.txt", *TINY).err
    assert runs() == ["corpus", "corpus-2", "corpus-3"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("ein Täßt, 7%.txt", "ein-T--t--7"),
        ("…", "run"),
        ("--x.txt", "x"),
        ("step-00000003.txt", "run-step-00000003"),
        ("a" * 200, "a" * 80),
        ("a\nb\x1b[31m", "a-b--31m"),
    ],
)
def test_a_run_is_called_after_any_file(empty: Path, file: str, name: str) -> None:
    """Whatever a file is called, its run has a name that --model and --resume take."""
    (empty / file).write_text(TEXT)
    good("train", *TINY, "--", file)
    assert runs() == [name]
    good("info", "--model", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "/tmp/x",
        ".hidden",
        "-x",
        "a b",
        "ü",
        "x" * 101,
        "a\0b",
        "CON\n",
        "step-00000003",
    ],
)
def test_hostile_names_are_refused(empty: Path, name: str) -> None:
    """A name cannot lead out of checkpoints/, hide, or look like an option or a step."""
    assert "cannot name a run" in bad(2, "train", "corpus.txt", *TINY, f"--name={name}")
    assert runs() == []


def test_a_name_that_is_taken_is_refused(here: Path) -> None:
    """A run is never written over."""
    assert "exists already" in bad(2, "train", "corpus.txt", *TINY, "--name", "char")


def test_train_from_several_files_directories_and_gz_and_stdin(empty: Path) -> None:
    """The same text gives the same result, however it comes."""
    half = len(TEXT) // 2
    cut = TEXT.index("\n", half) + 1
    (empty / "parts").mkdir()
    (empty / "parts" / "a.txt").write_text(TEXT[:cut])
    (empty / "parts" / "b.txt").write_text(TEXT[cut:])
    (empty / "parts" / ".hidden").write_text("not read")
    (empty / "corpus.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    (empty / "crlf.txt").write_bytes(TEXT.replace("\n", "\r\n").removesuffix("\r\n").encode())
    outs = {
        good("train", *paths, *TINY, stdin=TEXT.encode()).out
        for paths in (
            ["corpus.txt"],
            ["parts/a.txt", "parts/b.txt"],
            ["parts"],
            ["corpus.txt.gz"],
            ["-"],
            ["crlf.txt"],
        )
    }
    assert len(outs) == 1
    assert "stdin" in runs()


def test_train_demo(empty: Path) -> None:
    """--demo trains on a bundled text, prose if none is named, and is no corpus beside another."""
    assert BEST.fullmatch(good("train", "--demo", *TINY, "-q").out)
    good("train", *TINY, "-q", "--demo")
    good("train", "--demo", "dinosaurs", *TINY, "-q")
    good("train", "--demo=Prose", *TINY, "-q")
    assert runs() == ["dinosaurs", "prose", "prose-2", "prose-3"]
    assert "Did you mean dinosaurs?" in bad(2, "train", "--demo", "dinosaur", *TINY)
    assert "not both" in bad(2, "train", "corpus.txt", "--demo", *TINY)


@pytest.mark.parametrize("cell", CELLS)
def test_train_with_every_cell(empty: Path, cell: str) -> None:
    """Every cell trains, samples and scores from the command line."""
    assert BEST.fullmatch(good("train", "corpus.txt", *TINY, "--cell", cell, "-q").out)
    assert f" {cell}," in good("info").out
    assert good("sample", "--max-tokens", "5").out
    assert good("score", "the bear", "the jay").out


@pytest.mark.parametrize("split_on", [*SPLITS, "auto"])
def test_train_with_every_split(empty: Path, split_on: str) -> None:
    """Every way to find sequences trains, and the model knows it."""
    (empty / "verses.txt").write_text(TEXT.replace("plum\n", "plum\n\n"))
    assert BEST.fullmatch(good("train", "verses.txt", *TINY, "--split-on", split_on, "-q").out)
    found = "paragraph" if split_on == "auto" else split_on
    assert f"one a {found}\n" in good("info").out


def test_train_with_options_of_all_sorts(empty: Path) -> None:
    """The options that shape model and training reach them."""
    (empty / "valid.txt").write_text("the bear sees the jay\n")
    good(
        *("train", "corpus.txt", "--valid", "valid.txt", "--epochs", "0.5", "--layers", "2"),
        *("--hidden", "8", "--embedding", "6", "--output-layers", "1", "--dropout", "0.2"),
        *("--tie-weights", "--batch-size", "4", "--bptt-length", "16", "--learning-rate", "0.01"),
        *("--weight-decay", "0", "--max-grad-norm", "2", "--patience", "3", "--precision", "fp32"),
        *("--device", "auto", "--seed", "5", "--level", "word", "--lowercase", "--min-count", "1"),
    )
    (info,) = lines_of_json(good("info", "--json").out)
    assert info["level"] == "word"
    assert info["text"]["valid"]["characters"] == len("the bear sees the jay")
    expected = {"num_layers": 2, "hidden_size": 8, "embedding_size": 6, "output_layers": 1}
    assert expected.items() <= info["model"].items()
    assert info["model"]["tie_weights"] is True
    expected_training = {"batch_size": 4, "bptt_length": 16, "learning_rate": 0.01, "seed": 5}
    assert expected_training.items() <= info["training"].items()


def test_train_on_words_that_are_cut_already(empty: Path) -> None:
    """--pretokenized takes words as they stand between spaces, and `<unk>` as the unknown one.

    A drawn line is known for one of the training text however that spaced its words.
    """
    (empty / "cut.txt").write_text("  it  do n't\t<unk> \u2003 rain . \n" * 40, encoding="utf-8")
    options = ("--level", "word", "--pretokenized", "--steps", "60", "--learning-rate", "0.02")
    result = good("train", "cut.txt", *options, "--hidden", "16")
    (tokens,) = lines_of_json(good("tokenize", " it do n't  <unk> don't rain .", "--json").out)
    assert tokens["pieces"] == ["it", "do", "n't", "<UNK>", "<UNK>", "rain", "."]
    assert "vocabulary: 7 types" in result.err
    assert tokens["decoded"] == "it do n't \ufffd \ufffd rain ."
    one, other = lines_of_json(
        good("score", "it do n't <unk> rain .", "it  do n't <unk> rain . ", "--json").out
    )
    assert one["tokens"] == 7
    assert one["total_log_prob_nats"] == pytest.approx(other["total_log_prob_nats"], abs=1e-5)
    for prompt in ("it do n't <unk>", " it  do\tn't <unk> "):
        (drawn,) = lines_of_json(
            good("sample", "--temperature", "0", "--json", "--prompt", prompt).out
        )
        assert drawn["text"] == f"{prompt.removesuffix(' ')} rain ."
        assert drawn["in_training_text"]
    (other,) = lines_of_json(
        good("sample", "--temperature", "0", "--json", "--prompt", "it do do n't <unk>").out
    )
    assert not other["in_training_text"]


def test_train_for_a_time(empty: Path) -> None:
    """--time becomes a number of steps that is written down."""
    result = good("train", "corpus.txt", "--time", "0.5s", "--hidden", "8")
    assert "tokens per second for 0.5 s" in result.err
    (info,) = lines_of_json(good("info", "--json").out)
    assert info["training"]["num_steps"] > 0


REFUSED: list[tuple[int, list[str], str]] = [
    (2, ["train"], "charlm train --demo"),
    (2, ["train", "corpus.txt", "--level", "letter"], "char, word or subword"),
    (2, ["train", "corpus.txt", "--split-on", "page"], "auto, line, paragraph or file"),
    (2, ["train", "corpus.txt", "--cell", "transformer"], "gru-minimal"),
    (2, ["train", "corpus.txt", "--subword-model", "x"], "unigram or bpe"),
    (2, ["train", "corpus.txt", "--errors", "x"], "strict or replace"),
    (2, ["train", "corpus.txt", "--encoding", "x"], "unknown encoding"),
    (2, ["train", "corpus.txt", "--precision", "x"], "fp32 or bf16"),
    (2, ["train", "corpus.txt", "--device", "x"], "auto, cpu, cuda or mps"),
    (2, ["train", "corpus.txt", "--time", "1x"], "90s, 10m or 1h"),
    (2, ["train", "corpus.txt", "--time", "inf"], "90s, 10m or 1h"),
    (2, ["train", "corpus.txt", "--time", "1m", "--steps", "3"], "not both"),
    (2, ["train", "corpus.txt", "--steps", "0"], "more than 0"),
    (2, ["train", "corpus.txt", "--epochs", "nan"], "--epochs must be a number"),
    (2, ["train", "corpus.txt", "--hidden", "0"], "--hidden must"),
    (2, ["train", "corpus.txt", "--dropout", "1"], "dropout"),
    (2, ["train", "corpus.txt", "--learning-rate", "-1"], "--learning-rate must"),
    (2, ["train", "corpus.txt", "--bptt-length", "0"], "--bptt-length must"),
    (2, ["train", "corpus.txt", "--seed", "-1"], "seed"),
    (2, ["train", "corpus.txt", "--valid-share", "1"], "below 1"),
    (2, ["train", "corpus.txt", "--vocab-size", "0"], "--vocab-size must"),
    (2, ["train", "corpus.txt", "--pretokenized"], "goes with --level word"),
    (3, ["train", "corpus.txt", "--min-count", "100000"], "minimum count"),
    (3, ["train", "missing.txt"], "there is no file missing.txt"),
    (3, ["train", "corpus.txt", "--valid", "missing.txt"], "there is no file missing.txt"),
    (3, ["train", "corpus.txt", "--valid", "blank.txt"], "validate"),
    (3, ["train", "folder"], "holds no file"),
    (3, ["train", "empty.txt"], "empty or blank"),
    (3, ["train", "blank.txt"], "empty or blank"),
    (3, ["train", "-"], "empty or blank"),
    (3, ["train", "binary.dat"], "byte 0xff at offset 4 (line 2)"),
    (3, ["train", "utf-16.txt"], "--encoding utf-16"),
    (3, ["train", "cp1252.txt"], "--encoding cp1252"),
    (3, ["train", "damaged.gz"], "cannot read damaged.gz"),
    (4, ["train", "--resume"], "no run"),
    (4, ["train", "--resume", "--name", "nobody"], "no run checkpoints/nobody"),
    (4, ["sample"], "charlm train FILE"),
    (4, ["score", "x"], "charlm train FILE"),
    (4, ["info"], "charlm train FILE"),
    (4, ["tokenize", "x"], "charlm train FILE"),
    (4, ["sample", "--model", "nobody"], "no model 'nobody'"),
    (4, ["sample", "--model", "../" * 40], "no model"),
]


@pytest.mark.parametrize(
    ("code", "arguments", "part"), REFUSED, ids=[" ".join(a)[:60] for _, a, _ in REFUSED]
)
def test_what_cannot_be_is_refused_in_a_sentence(
    empty: Path, code: int, arguments: list[str], part: str
) -> None:
    """2 for a wrong option, 3 for a bad text, 4 for a missing model; nothing is left behind."""
    (empty / "folder").mkdir()
    (empty / "empty.txt").write_text("")
    (empty / "blank.txt").write_text("\n \n\t\n")
    (empty / "binary.dat").write_bytes(b"\x00ab\n\xff\xfe\x80")
    (empty / "utf-16.txt").write_text(TEXT, encoding="utf-16")
    (empty / "cp1252.txt").write_text("café\n" * 9, encoding="cp1252")
    (empty / "damaged.gz").write_bytes(gzip.compress(TEXT.encode())[:40])
    assert part in bad(code, *arguments)
    assert not (empty / "checkpoints").exists()


def test_other_encodings_are_read_when_named(empty: Path) -> None:
    """The cure that the complaint names works."""
    (empty / "cp1252.txt").write_bytes("café\nnaïve\n".encode("cp1252") * 5)
    (empty / "utf-16.txt").write_text("café\nnaïve\n" * 5, encoding="utf-16")
    good("train", "cp1252.txt", "--encoding", "cp1252", *TINY)
    good("train", "utf-16.txt", "--encoding", "utf-16", *TINY)
    good("train", "cp1252.txt", "--errors", "replace", *TINY)
    for name in ("cp1252", "utf-16"):
        (tokens,) = lines_of_json(good("tokenize", "é", "--model", name, "--json").out)
        assert tokens["oov_tokens"] == 0
    scored = good("score", "--file", "cp1252.txt", "--encoding", "cp1252", "-m", "cp1252", "--json")
    assert [line["text"] for line in lines_of_json(scored.out)] == ["café", "naïve"] * 5


def test_a_text_of_one_character_trains(empty: Path) -> None:
    """The smallest text there is gives a model, and it is said that nothing was held out."""
    (empty / "one.txt").write_text("a")
    result = good("train", "one.txt", *TINY)
    assert result.out.startswith("best validation loss: none, nothing was held out; ")


@pytest.mark.parametrize("plain", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {}])
def test_the_progress_bar_is_for_terminals_that_can_show_it(
    empty: Path, monkeypatch: pytest.MonkeyPatch, plain: dict[str, str]
) -> None:
    """A live bar short of 80 columns on a terminal, plain lines on a dumb one.

    NO_COLOR takes away the colours and leaves the bar.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    result = good("train", "corpus.txt", *TINY, terminal=True)
    assert BEST.fullmatch(result.out)
    assert ("\x1b" in result.err) == ("TERM" not in plain)
    colours = [
        code for code in re.findall(r"\x1b\[([0-9;]*)m", result.err) if re.search("3|4", code)
    ]
    assert bool(colours) == (plain == {})
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.err)
    bars = [line for line in re.split(r"[\r\n]+", bare) if " char/s " in line]
    assert bars
    assert max(map(len, bars)) <= (80 if "TERM" in plain else 77)  # there is room for ^C
    assert "100%" in bars[-1] or "step 3/3" in bars[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_samples_are_shown_while_training(
    empty: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """Now and then a sample is shown, and nothing in it can drive the terminal."""
    (empty / "controls.txt").write_bytes(b"\x07\x08\x0c\n\x07\n\x08\x07\n" * 9)
    monkeypatch.setattr(progress, "_SAMPLE_EVERY_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    err = good("train", "controls.txt", *TINY, terminal=terminal).err
    assert re.search(r"\\x0[78]", err)
    assert not re.search("[\x07\x08\x0c]", err)


def test_progress_in_a_pipe_is_plain_lines(empty: Path) -> None:
    """Where stderr is no terminal there is a line now and then, with names to its figures."""
    err = good("train", "corpus.txt", *TINY).err
    assert "\x1b" not in err
    assert "\r" not in err
    line = r"step 3/3  train \d\.\d{3}  valid \d\.\d{3} bits/char  [\d,]+ char/s  0:00 left\n"
    assert re.search(line, err)


# Interruption and going on


def interrupting(number: int, step: int) -> Callable[..., None]:
    """A stand-in for progress.show that sends a signal after a step."""

    def show(events: Any, state: Any, *_: Any, **__: Any) -> None:
        for event in events:
            if isinstance(event, Step) and event.step == step:
                signal.raise_signal(number)

    return show


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_been(
    empty: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Interrupted, saved and resumed, a run gives what it gives uninterrupted."""
    budget = ("--steps", "12", "--hidden", "8")
    whole = good("train", "corpus.txt", "--name", "whole", *budget)
    with monkeypatch.context() as patch:
        patch.setattr(progress, "show", interrupting(number, 5))
        result = charlm("train", "corpus.txt", "--name", "cut", *budget)
    assert result.code == 128 + number
    assert result.out == ""
    assert result.err.endswith(
        "stopped at step 5 of 12, saved. Go on with: charlm train --resume --name cut\n"
    )
    assert "not finished" in good("list").out
    resumed = good("train", "--resume", "--name", "cut")
    assert "going on from step 5 of 12" in resumed.err
    assert resumed.out == whole.out
    assert "not finished" not in good("list").out


def test_a_signal_before_the_first_step_leaves_nothing(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While texts are read and rates measured a signal ends all at once."""
    from charlm.training.trainer import Trainer

    def settle(*_: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "settle", settle)
    result = charlm("train", "corpus.txt", *TINY)
    assert (result.code, result.out) == (143, "")
    assert result.err.endswith("charlm: interrupted\n")
    assert runs() == []


def test_a_signal_while_the_run_is_made_saves_its_first_step(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there is a run there is something to go on from: no empty directory is left."""
    begin = Run.begin

    def interrupted(run: Run, asked: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGTERM)
        begin(run, asked)

    monkeypatch.setattr(Run, "begin", interrupted)
    result = charlm("train", "corpus.txt", "--name", "run", *TINY)
    assert result.code == 143
    assert "stopped at step 1 of 3, saved" in result.err
    assert "going on from step 1 of 3" in good("train", "--resume", "--name", "run").err


def test_what_is_ignored_stays_ignored(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup a hang-up does not end a training."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(progress, "show", interrupting(signal.SIGHUP, 2))
        assert BEST.fullmatch(good("train", "corpus.txt", *TINY).out)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses Ctrl-C twice does not want to wait for anything."""

    def show(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(progress, "show", show)
    result = charlm("train", "corpus.txt", *TINY)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith("charlm: interrupted\n")


def test_a_closed_terminal_does_not_stop_the_saving(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the terminal is gone what can no longer be shown is passed over, and training ends."""

    def show_plain(events: Any, *_: Any) -> None:
        next(events)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(progress, "_show_plain", show_plain)
    assert BEST.fullmatch(good("train", "corpus.txt", *TINY).out)


def test_a_reader_that_leaves_loses_nothing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When whoever read the progress has gone the step is saved, and all ends quietly."""

    def show_plain(events: Any, *_: Any) -> None:
        for _ in range(2):
            next(events)
        raise BrokenPipeError

    monkeypatch.setattr(progress, "_show_plain", show_plain)
    result = charlm("train", "corpus.txt", "--name", "run", "--steps", "30", "--hidden", "8")
    assert (result.code, result.out) == (128 + 13, "")
    assert "error" not in result.err
    monkeypatch.undo()
    monkeypatch.chdir(empty)
    assert "going on from step 2 of 30" in good("train", "--resume", "--name", "run").err


def test_a_finished_run_goes_on_with_a_larger_budget(empty: Path) -> None:
    """A finished run says so, and trains further with more steps, more epochs or more time."""
    good("train", "corpus.txt", "--name", "more", *TINY)
    assert "is finished: 3 steps" in bad(2, "train", "--resume", "--name", "more")
    assert "is finished: 3 steps" in bad(2, "train", "--resume", "--steps", "3")
    assert "is at step 3 already" in bad(2, "train", "--resume", "--steps", "2")
    assert "from step 3 of 6" in good("train", "--resume", "--steps", "6").err
    assert "from step 6 of " in good("train", "--resume", "--epochs", "9").err
    assert "going on" in good("train", "--resume", "--name", "more", "--time", "0.2s").err


def test_resume_repeats_the_command_or_gives_only_the_name(empty: Path) -> None:
    """The options that a run was begun with may stand there again, 'auto' too."""
    options = ("--level", "word", "--hidden", "8", "--vocab-size", "50", "--batch-size", "4")
    good("train", "corpus.txt", *options, "--steps", "3")
    again = ("train", "corpus.txt", *options, "--resume", "--steps")
    good(*again, "4")
    good(*again, "5", "--split-on", "auto", "--device", "auto", "--precision", "auto")
    good(*again, "6", "--split-on", "line", "--device", "cpu", "--precision", "fp32")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--hidden", "9"], "--hidden is 8 there, 9 here"),
        (["--level", "word"], "--level is char there, word here"),
        (["--seed", "1"], "--seed is 0 there, 1 here"),
        (["--batch-size", "5"], "--batch-size is 8 there, 5 here"),
        (["--min-count", "2"], "--min-count is not given there, 2 here"),
        (["--lowercase"], "--lowercase is False there, True here"),
        (["--pretokenized"], "--pretokenized is False there, True here"),
        (["--cell", "gru", "--layers", "2"], "--layers is 1 there, 2 here"),
        (["--split-on", "file"], "the text of "),
        (["other.txt"], "the text of other.txt is not the one that checkpoints/run was begun"),
        (["--valid", "other.txt"], "the text of "),
    ],
)
def test_resume_with_something_else_is_refused_saying_what(
    empty: Path, options: list[str], part: str
) -> None:
    """A run goes on as it was begun, or not at all; what differs is named as it is typed."""
    (empty / "other.txt").write_text(TEXT + "one line more\n")
    good("train", "corpus.txt", "--name", "run", *TINY)
    assert part in bad(2, "train", "--resume", "--name", "run", "--steps", "5", *options)


def test_resume_with_a_changed_corpus_is_refused(empty: Path) -> None:
    """A file that has changed since is noticed; one that is gone is named."""
    good("train", "corpus.txt", *TINY)
    (empty / "corpus.txt").write_text(TEXT.replace("pear", "pair", 1))
    assert "corpus.txt is not the one" in bad(2, "train", "--resume", "--steps", "5")
    (empty / "corpus.txt").unlink()
    assert "there is no file" in bad(3, "train", "--resume", "--steps", "5")


def test_a_run_being_written_is_locked(empty: Path) -> None:
    """Two processes never write to the same run."""
    good("train", "corpus.txt", "--name", "mine", *TINY)
    with Run(Path("checkpoints/mine")):
        assert f"process {os.getpid()} is training" in bad(6, "train", "--resume", "--steps", "5")


def test_diverged_training_is_told(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are not finite end a training with 5 and a cure."""
    from charlm.nn import objectives

    genuine = objectives.cross_entropy
    monkeypatch.setattr(objectives, "cross_entropy", lambda *loss: genuine(*loss) * float("nan"))
    complaint = bad(5, "train", "corpus.txt", "--steps", "30", "--hidden", "8")
    assert "--learning-rate" in complaint


# sample


def test_n_is_the_number_of_sequences(here: Path) -> None:
    """`--n 300` means 300 sequences, a line each, whatever the batch size."""
    same = ("--max-tokens", "8", "--model", "char", "--seed", "0")
    whole = good("sample", "--n", "300", *same).out
    assert whole.count("\n") == 300
    for size in ("1", "7", "300"):
        options = (*same, "--batch-size", size)
        assert good("sample", "-n", "20", *options).out == "".join(whole.splitlines(True)[:20])


def test_the_same_seed_gives_the_same_text(here: Path) -> None:
    """What is drawn with a seed is drawn again with it, and another draws something else."""
    assert good("sample", "--seed", "7").out == good("sample", "--seed", "7").out
    assert good("sample", "--seed", "7").out != good("sample", "--seed", "1").out


@pytest.mark.parametrize("form", [[], ["--stream"], ["--json"], ["--report"], ["-0"]])
def test_without_a_seed_each_call_draws_another_and_tells_it(here: Path, form: list[str]) -> None:
    """With the seed that stderr names, and JSON holds, the same text comes, in every form."""
    options = ("sample", "--model", "char", "-n", "3", "--max-tokens", "20", *form)
    seeds, texts = set(), set()
    for _ in range(3):
        drawn = good(*options)
        said = re.match(r"seed: (\d+); --seed \1 gives the same text\n", drawn.err)
        assert said is not None
        again = good(*options, "--seed", said[1])
        assert again.out == drawn.out
        assert again.err == drawn.err.removeprefix(said[0])
        if form == ["--json"]:
            assert {line["seed"] for line in lines_of_json(drawn.out)} == {int(said[1])}
        seeds.add(said[1])
        texts.add(drawn.out)
    assert len(seeds) == 3
    assert len(texts) > 1


def test_the_model_that_was_taken_is_named_on_stderr(here: Path) -> None:
    """Where no model is named, the newest finished run is taken and stderr says which."""
    result = good("sample", "--seed", "0")
    assert result.err == "model: trained (step 60)\n"
    named = good("sample", "--model", "trained", "--seed", "0")
    assert (named.out, named.err) == (result.out, "")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "prompt",
    ["the", "the ", " ", "the bear\n\nsees", "Ünseen ☃", "\r\n", "a\tb", "▁", "<EOS>", "😀"],
)
def test_a_prompt_begins_the_text(here: Path, level: str, prompt: str) -> None:
    """The prompt comes out as it went in, whatever is in it, from all three ways to give it.

    But what ends a line in a pipe, as in a file, is read as LF.
    """
    options = ("sample", "--model", level, "--max-tokens", "4", "--json", "--seed", "0")
    (drawn,) = lines_of_json(good(*options, "--prompt", prompt).out)
    assert drawn["text"].startswith(prompt)
    assert good(*options, "--prime", prompt).out == good(*options, "--prompt", prompt).out
    (piped,) = lines_of_json(good(*options, "--prompt", "-", stdin=f"{prompt}\n".encode()).out)
    lf = prompt.replace("\r\n", "\n")
    assert piped == lines_of_json(good(*options, "--prompt", lf).out)[0]


def test_a_prompt_from_a_file(here: Path, tmp_path: Path) -> None:
    """A file's newlines belong to the prompt, but for the last; two prompts are refused."""
    (tmp_path / "prompt").write_text("the\nbear\n")
    options = ("sample", "--model", "char", "--max-tokens", "4", "--seed", "0")
    from_file = good(*options, "--prompt-file", str(tmp_path / "prompt")).out
    assert from_file == good(*options, "--prompt", "the\nbear").out
    assert "not both" in bad(2, *options, "--prompt", "a", "--prompt-file", "b")
    assert "cannot read nowhere" in bad(3, *options, "--prompt-file", "nowhere")


def test_a_prompt_that_is_no_text_is_refused(here: Path) -> None:
    """Lone bytes in a prompt end with 3, and no option is named that sample does not have."""
    for complaint in (
        bad(3, "sample", "--prompt", "a\udcff"),
        bad(3, "sample", "--prompt", "-", stdin=b"a\xff"),
    ):
        assert "UTF-8" in complaint
        assert "--e" not in complaint


def test_stop_strings_end_a_text_and_are_not_part_of_it(here: Path) -> None:
    """A text ends before the first of the stop strings."""
    options = ("sample", "--n", "30", "--json", "--seed", "0")
    plain = lines_of_json(good(*options).out)
    stopped = lines_of_json(good(*options, "--stop", "e", "--stop", "th").out)
    for before, after in zip(plain, stopped, strict=True):
        assert after["text"] == re.split("e|th", before["text"])[0]
        assert after["ended"] == ("stop" if re.search("e|th", before["text"]) else "eos")
    assert "must not be empty" in bad(2, "sample", "--stop", "")


def test_temperature_zero_is_greedy(here: Path) -> None:
    """Temperature 0 and top-k 1 give the likeliest text, whatever the seed."""
    options = ("sample", "--max-tokens", "30")
    texts = {
        good(*options, *more, "--seed", str(seed)).out
        for more in (("--temperature", "0"), ("--top-k", "1"), ("--top-p", "1e-6"))
        for seed in range(2)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--top-k", "0"],
        ["--top-p", "0"],
        ["--top-p", "1.5"],
        ["--max-tokens", "0"],
        ["--seed", "-1"],
        ["--stream", "--json"],
        ["--stream", "--novel"],
    ],
)
def test_sampling_options_out_of_range_are_refused(here: Path, options: list[str]) -> None:
    """A wrong sampling option ends with 2 and a sentence."""
    bad(2, "sample", *options)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stops", [[], ["a"], ["e "], ["the", "\ufffd"]])
def test_a_stream_is_the_same_text(here: Path, level: str, stops: list[str]) -> None:
    """--stream writes what is written without it, also over byte pieces and stop strings."""
    options = ["sample", "--model", level, "-n", "4", "--max-tokens", "60", "--prompt", "the é"]
    options += ["--seed", "0"]
    for stop in stops:
        options += ["--stop", stop]
    assert good(*options, "--stream").out == good(*options).out


def test_held_back_is_what_could_become_a_stop_string() -> None:
    """Nothing of a stop string is written before it is known not to be one."""
    for text, stop, held in (
        ("abc", "cd", 1),
        ("abc", "d", 0),
        ("abcd", "cd", 2),
        ("xcdy", "cd", 3),
        ("aaa", "aab", 2),
        ("", "a", 0),
    ):
        assert sample_command.held_back(text, stop) == held


def test_samples_as_json_tell_all_that_is_known(here: Path) -> None:
    """The keys are stable, the log-probability is that of score, novelty is the truth."""
    options = ("--json", "--temperature", "0.3", "--seed", "0")
    drawn = lines_of_json(good("sample", "-n", "40", *options).out)
    keys = ["text", "total_log_prob_nats", "tokens", "unknown_tokens", "ended", "in_training_text"]
    assert all(list(line) == [*keys, "seed"] for line in drawn)
    texts = [line["text"] for line in drawn]
    scored = lines_of_json(good("score", "--json", stdin="\n".join(texts).encode() + b"\n").out)
    for line, score in zip(drawn, scored, strict=True):
        if line["ended"] == "eos":
            assert line["total_log_prob_nats"] == pytest.approx(
                score["total_log_prob_nats"], abs=1e-3
            )


def test_unknown_words_are_drawn_again_invented_or_kept(here: Path) -> None:
    """--unk says what becomes of <UNK>; JSON counts it; a stream is the same text."""
    plain = ("sample", "-n", "6", "--model", "word", "--max-tokens", "40", "--prompt", "the bear ")
    options = (*plain, "--temperature", "3", "--seed", "0")
    again = lines_of_json(good(*options, "--json").out)
    assert {line["unknown_tokens"] for line in again} == {0}
    assert good(*options, "--unk", "resample", "--json").out == good(*options, "--json").out
    kept, spelled = (
        lines_of_json(good(*options, "--unk", unk, "--json").out) for unk in ("keep", "spell")
    )
    assert sum(line["unknown_tokens"] for line in kept) > 3
    for one, other in zip(kept, spelled, strict=True):
        assert one["text"].count("\ufffd") == one["unknown_tokens"] == other["unknown_tokens"]
        assert "\ufffd" not in other["text"]
        assert other["total_log_prob_nats"] <= one["total_log_prob_nats"]
    for unk in ("keep", "spell"):
        stream = good(*options, "--unk", unk, "--stream", "--stop", "pear").out
        assert stream == good(*options, "--unk", unk, "--stop", "pear").out
    assert "--unk must be" in bad(2, "sample", "--unk", "what")
    for more in ([], ["--stream"]):
        result = charlm("sample", "--model", "char", "--unk", "spell", "--prompt", "the", *more)
        assert (result.code, result.out) == (2, "")
        assert "character model" in result.err


def test_novel_texts_are_not_in_the_training_text(empty: Path) -> None:
    """--novel draws again what stands in the training text, and gives up in a sentence."""
    (empty / "two.txt").write_text("a\nb\n" * 40)
    good("train", "two.txt", "--steps", "150", "--hidden", "16", "--learning-rate", "0.02")
    drawn = lines_of_json(good("sample", "-n", "50", "--json", "--seed", "0").out)
    assert any(line["in_training_text"] for line in drawn)
    try_again = charlm("sample", "-n", "5", "--novel", "--json", "--temperature", "3")
    assert not any(line["in_training_text"] for line in lines_of_json(try_again.out))
    assert "by heart" in bad(1, "sample", "--novel", "--temperature", "0")
    good("train", "two.txt", *TINY, "--split-on", "file")
    assert "whole files" in bad(2, "sample", "--novel")


# score


def test_score_is_a_table_that_ends_with_the_likeliest(here: Path) -> None:
    """Columns align, the unit stands in the header, every text is ranked."""
    texts = ["the bear eats the pear", "你好 😀", "", "xyzzy " * 30]
    assert "mind the OOV column" in good("score", "--closed", *texts).err
    result = good("score", *texts)
    assert "OOV column" not in result.err
    header, *rows = result.out.splitlines()
    assert "log P (nats)" in header
    column = header.index("text")
    assert [row[column:] for row in rows] == texts
    assert sorted(row.split()[0] for row in rows) == ["1", "2", "3", "4"]
    assert re.search(r"likeliest: \".*\", [\d,.e+]+ times as likely as the next\n$", result.both)


def test_equally_likely_texts_share_a_place(here: Path) -> None:
    """The same text twice has one rank, and neither is called likelier."""
    result = good("score", "the jay", "no", "the jay", "--json")
    places = [line["rank"] for line in lines_of_json(result.out)]
    assert places[0] == places[2]
    assert '"the jay" and "the jay", equally likely' in good("score", "the jay", "the jay").err


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", [[], ["--json"], ["--tsv"]])
def test_one_line_out_for_each_line_in(here: Path, level: str, form: list[str]) -> None:
    """Empty lines are scored, CRLF and CR are a line's end, too, a last line needs none."""
    data = b"the bear\r\n\r\n\n  \na\rb\r\r\nlast"
    result = good("score", *form, "--model", level, stdin=data)
    lines = result.out.removesuffix("\n").split("\n")
    assert len(lines) == 7 + (form != ["--json"])
    if form == ["--json"]:
        texts = [line["text"] for line in lines_of_json(result.out)]
        assert texts == ["the bear", "", "", "  ", "a", "b", "last"]
    assert good("score", *form, "--model", level, "-f", "-", stdin=data + b"\n") == result
    assert good("score", "-m", level, *form, stdin=b"").out == ""


@pytest.mark.parametrize("unit", ["nats", "bits", "log10"])
def test_units_are_in_the_names_and_the_numbers(here: Path, unit: str) -> None:
    """A log-probability is the same in every unit but for the factor."""
    factor = {"nats": 1.0, "bits": 0.6931471805599453, "log10": 2.302585092994046}[unit]
    (nats,) = lines_of_json(good("score", "the bear", "--json").out)
    (line,) = lines_of_json(good("score", "the bear", "--json", "--unit", unit, "--per-token").out)
    total = line[f"total_log_prob_{unit}"]
    assert total * factor == pytest.approx(nats["total_log_prob_nats"])
    assert line["per_token"][-1][f"running_total_{unit}"] == pytest.approx(total)
    assert line["per_token"][-1]["token"] == "<EOS>"
    assert sum(token["surprisal_bits"] for token in line["per_token"]) == pytest.approx(
        -nats["total_log_prob_nats"] / 0.6931471805599453
    )
    assert f"log P ({unit})" in good("score", "the bear", "--unit", unit).out
    assert f"log P ({unit})" in good("score", "the bear", "--unit", unit, "--per-token").out
    assert f"log_prob_{unit}" in good("score", "the", "--unit", unit, "--tsv").out
    per_token = good("score", "the", "the jay", "--unit", unit, "--tsv", "--per-token").out
    head, *rows = [row.split("\t") for row in per_token.splitlines()]
    assert f"running_total_{unit}" in head
    assert {len(row) for row in rows} == {len(head)}
    assert [row[0] for row in rows] == ["1"] * 4 + ["2"] * 8
    bad(2, "score", "x", "--unit", "dB")


AWKWARD_TEXT = "a\tb\nc\rd\\e\x1b[31m\x00\x7f\x9b2J\u202e ☃"


def test_awkward_texts_are_exact_in_json_escaped_in_tsv_and_harmless_on_a_terminal(
    here: Path,
) -> None:
    """JSON gives a text back, TSV keeps it in its cell, and no terminal is driven by it."""
    texts = ["--", AWKWARD_TEXT, "lone \ufffd byte"]
    scored = lines_of_json(good("score", "--json", *texts).out)
    assert [line["text"] for line in scored] == texts[1:]
    head, *rows = good("score", "--tsv", *texts).out.removesuffix("\n").split("\n")
    assert [row.count("\t") for row in rows] == [head.count("\t")] * 2
    assert rows[0].endswith("\ta\\tb\\nc\\rd\\\\e\\x1b[31m\\x00\\x7f\\x9b2J\u202e ☃")
    assert rows[1].endswith("\tlone \ufffd byte")
    for form in ([], ["--per-token"], ["--tsv"]):
        shown = good("score", *form, *texts, terminal=True).both
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_score_refuses_what_contradicts_itself(here: Path) -> None:
    """Two forms, or texts beside a file, are a usage error; a missing file is a bad text."""
    assert "not both" in bad(2, "score", "x", "--json", "--tsv")
    assert "not both" in bad(2, "score", "x", "--file", "y")
    assert "no file" in bad(3, "score", "--file", "nowhere.txt")
    assert "--errors replace" in bad(3, "score", stdin=b"a\xff")
    assert good("score", "--errors", "replace", stdin=b"a\xff").out
    assert "give a text" in bad(2, "score", terminal=True)


RECORDS = """\
{"n": 1.00, "text": "the bear"}

{"text": "a jay and a bear and a jay", "n": [1,  2]}
"""


def test_records_go_through_with_their_results(here: Path) -> None:
    """Fields, order and empty lines stay; the results are those of a text alone."""
    texts = ("the bear", "a jay and a bear and a jay")
    alone = lines_of_json(good("score", "--json", *texts).out)
    result = good("score", "--jsonl", "--per-token", stdin=RECORDS.encode())
    first, empty_line, second = result.out.splitlines()
    assert first.startswith('{"n": 1.00, "text": "the bear", "total_log_prob_nats": ')
    assert empty_line == ""
    assert second.startswith('{"text": "a jay and a bear and a jay", "n": [1,  2], "total')
    for line, expected in zip((first, second), alone, strict=True):
        (found,) = lines_of_json(line)
        for name in ("perplexity_per_token", "bits_per_character", "total_log_prob_nats"):
            assert found[name] == pytest.approx(expected[name], rel=1e-5)
        assert found["per_token"][-1]["token"] == "<EOS>"
    table = "id\ttext\nx\tthe bear\n\ny\ta jay and a bear and a jay"
    rows = good("score", "--column", "text", "--prefix", "lm_", stdin=table.encode()).out
    head, one, nothing, other = rows.splitlines()
    assert head.startswith("id\ttext\tlm_total_log_prob_nats\tlm_probability")
    assert nothing == ""
    for row, expected in zip((one, other), alone, strict=True):
        assert float(row.split("\t")[2]) == pytest.approx(expected["total_log_prob_nats"], rel=1e-5)


def test_texts_are_kept_by_what_they_are_like(here: Path) -> None:
    """Bounds keep lines as they are, --invert the others; both together are all, in order."""
    lines = ["the bear", "zqx☃", "", "a jay", "xxxxxxxx", "the pear"]
    data = "".join(f"{line}\n" for line in lines).encode()
    for name, key in (("perplexity", "perplexity_per_token"), ("bits", "bits_per_character")):
        scored = lines_of_json(good("score", "--json", "--model", "trained", stdin=data).out)
        bound = sorted(line[key] or 0 for line in scored)[3]
        options = ("--model", "trained", f"--max-{name}", repr(bound))
        kept = good("score", *options, stdin=data)
        expected = [s["text"] for s in scored if s[key] is None or s[key] <= bound]
        assert kept.out.splitlines() == expected
        assert f"kept {len(expected)} of 6 texts" in kept.err
        dropped = good("score", *options, "--invert", stdin=data).out.splitlines()
        assert dropped == [line for line in lines if line not in expected]
        in_json = lines_of_json(good("score", "--json", *options, stdin=data).out)
        assert [line["text"] for line in in_json] == expected
        least = good("score", "--model", "trained", f"--min-{name}", repr(bound), stdin=data)
        assert set(least.out.splitlines()) | set(expected) == set(lines)
    jsonl = RECORDS.encode()
    assert good("score", "--jsonl", "--max-perplexity", "1", stdin=jsonl).out == "\n"
    assert good("score", "--jsonl", "--max-perplexity", "1", "-v", stdin=jsonl).out.count("{") == 2


def test_broken_lines_are_told_and_dealt_with_as_asked(here: Path) -> None:
    """stop ends with what came before; keep lets them through as they were; drop leaves them."""
    data = b'{"text": "a"}\n{"text": \xff}\n{"other": 1}\n{"text": "b"}\n'
    stopped = charlm("score", "--jsonl", stdin=data)
    assert stopped.code == 3
    assert [line["text"] for line in lines_of_json(stopped.out)] == ["a"]
    assert "line 2" in stopped.err
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "charlm", "score", "--jsonl", "--on-error", "keep"]
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, check=True)
    one, two, three, four = done.stdout.splitlines()
    assert (two, three) == (b'{"text": \xff}', b'{"other": 1}')
    assert b"perplexity" in one
    assert b"perplexity" in four
    assert b"broken lines, kept as they were: 2" in done.stderr
    dropped = good("score", "--jsonl", "--on-error", "drop", stdin=data)
    assert [line["text"] for line in lines_of_json(dropped.out)] == ["a", "b"]
    assert 'line 3 is broken: it has no field "text".' in dropped.err
    for form in (["--json"], ["--tsv"]):
        shown = good("score", *form, "--on-error", "keep", stdin=b"a\n\xff\nb\n").out
        assert len(shown.splitlines()) == 3 + (form == ["--tsv"])
    bad(2, "score", "--on-error", "ignore", stdin=b"")


def test_hypotheses_are_ranked_within_their_group(here: Path) -> None:
    """The total is the score and the weighted log P; groups stay in order, lines keep fields."""
    data = b"a\tthe bear\t-1\na\tzzzz\t-1\na\tthe jay\t5\nb\tzzzz\nb\tthe bear\n"
    table = good("score", "--nbest", "--weight", "0.5", "-m", "trained", stdin=data).out
    head, _, out = table.partition("\n")
    assert head.split("\t")[:3] == ["id", "text", "score"]
    assert head.split("\t")[-2:] == ["total_score", "rank_in_group"]
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["a"] * 3 + ["b"] * 2
    assert [row[-1] for row in rows] == ["1", "2", "3", "1", "2"]
    assert sorted(out.splitlines(), key=lambda line: line[0]) == out.splitlines()
    for row in rows:
        given = {("a", "the jay"): 5.0, ("b", "zzzz"): 0.0, ("b", "the bear"): 0.0}
        other = given.get((row[0], row[1]), -1.0)
        (alone,) = lines_of_json(good("score", "--json", "-m", "trained", row[1]).out)
        total = other + 0.5 * alone["total_log_prob_nats"]
        assert float(row[-2]) == pytest.approx(total, rel=1e-5)
    totals = [float(row[-2]) for row in rows]
    assert totals[:3] == sorted(totals[:3], reverse=True)
    lines = '{"id": 1, "text": "zzzz"}\n{"id": 1, "text": "the bear", "x": 0}\n'
    ranked = lines_of_json(
        good("score", "--nbest", "--jsonl", "-m", "trained", stdin=lines.encode()).out
    )
    assert [line["text"] for line in ranked] == ["the bear", "zzzz"]
    assert ranked[0]["x"] == 0
    assert [line["rank_in_group"] for line in ranked] == [1, 2]


@pytest.mark.parametrize("level", LEVELS)
def test_a_context_is_read_and_not_scored(here: Path, level: str) -> None:
    """Texts after one context are compared by what they add to it."""
    options = ("--json", "--model", level)
    whole, context = lines_of_json(
        good("score", *options, "--per-token", "the bear a jay", "the bear").out
    )
    (after,) = lines_of_json(good("score", *options, "--context", "the bear", " a jay").out)
    left = sum(token["log_prob_nats"] for token in context["per_token"][:-1])
    assert after["total_log_prob_nats"] == pytest.approx(
        whole["total_log_prob_nats"] - left, abs=1e-4
    )


@pytest.mark.parametrize("level", LEVELS)
def test_words_are_shown_with_their_surprisal(here: Path, level: str) -> None:
    """A row a word and one for the end; the sum is that of the text."""
    options = ("--model", level)
    (line,) = lines_of_json(good("score", "--words", "--json", *options, "the bear, a jay").out)
    assert [row["word"] for row in line["per_word"]] == ["the", "bear,", "a", "jay", "<EOS>"]
    assert line["per_word"][-1]["running_total_nats"] == pytest.approx(
        line["total_log_prob_nats"], abs=1e-4
    )
    shown = good("score", "--words", *options, "the bear, a jay").out.splitlines()
    assert [row.split()[-1] for row in shown[2:]] == ["the", "bear,", "a", "jay", "<EOS>"]
    assert max(map(len, shown)) <= 80
    table = good("score", "--words", "--tsv", *options, "the bear").out.splitlines()
    assert len(table) == 4


@pytest.mark.parametrize("level", LEVELS)
def test_a_text_is_coloured_by_surprisal(here: Path, tmp_path: Path, level: str) -> None:
    """Without colour a row of bars stands below it; the page holds every text and its figures."""
    page = tmp_path / "page.html"
    texts = ("the <u>bear</u>", "a jay ☃")
    options = ("--model", level, "--heatmap", "--html", str(page))
    shown = good("score", *options, *texts).out
    assert "\x1b" not in shown
    for text in texts:
        assert f"{text} <EOS>\n" in shown
    assert shown.splitlines()[0].startswith("bits  ▁ ")
    assert shown.count(" bits in all, ") == 2
    written = page.read_text()
    assert written.count("<section") == 2
    assert "<u>" not in written
    assert good("score", *options, "--words", *texts).out.count("<EOS>") >= 2
    data = "".join(f"{text}\n" for text in texts).encode()
    assert good("score", *options, stdin=data).out == shown
    coloured = good("score", "--html", str(page), "--model", level, *texts)
    assert coloured.out == good("score", "--model", level, *texts).out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--heatmap", "--json"],
        ["--html", "x.html", "--tsv"],
        ["--heatmap", "--jsonl"],
        ["--jsonl", "--column", "2"],
        ["--nbest", "--column", "2"],
        ["--jsonl", "--json"],
        ["--jsonl", "--tsv"],
        ["--nbest", "--per-token"],
        ["--per-token", "--words"],
        ["--invert"],
        ["--nbest", "--max-bits", "2"],
        ["--jsonl", "text"],
    ],
)
def test_score_refuses_forms_that_do_not_go_together(here: Path, arguments: list[str]) -> None:
    """Each pair is refused with a sentence that tells what to leave out or add."""
    assert re.search("[Ll]eave out|not both|give", bad(2, "score", *arguments))


def test_a_directory_can_be_scored(here: Path, tmp_path: Path) -> None:
    """Where a file is asked for, a directory stands for its files in order."""
    (tmp_path / "b.txt").write_text("jay")
    (tmp_path / "a.txt").write_text("bear\npear\n")
    scored = lines_of_json(good("score", "--json", "--file", str(tmp_path)).out)
    assert [line["text"] for line in scored] == ["bear", "pear", "jay"]


# next

SUMMARY = re.compile(r"entropy (\d+\.\d{3}) bits, perplexity ([\d,.]+), ([\d,]+) types\n\Z")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(scope="module")
def awkward_model(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokens are controls, white space, wide, long or combining."""
    folder = tmp_path_factory.mktemp("awkward")
    words = [AWKWARD_TEXT, "a" * 90, "漢字" * 30, "😀" * 40, "☃\ufe0f", "\u0301", "\u3000", "\\"]
    (folder / "corpus").write_text("\n".join(f"{word} {word}" for word in words), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--split-on", "file", "--level", "word", "--pretokenized")
        good("train", "corpus", *options, "--valid", "corpus", *TINY)
        good("train", "corpus", "--split-on", "file", "--valid", "corpus", "--name", "char", *TINY)
    return folder / "checkpoints"


def test_next_is_a_table_that_ends_with_the_entropy(here: Path) -> None:
    """Columns align, the unit stands in the header; the figures are those of the library."""
    result = good("next", "the b", "--unit", "bits", "--model", "trained")
    found = package.load("trained").next_tokens("the b")
    header, *rows = result.out.splitlines()
    assert header == "  rank    P (%)  log P (bits)  token"
    assert [row[header.index("token") :] for row in rows] == [
        "␣" if entry.piece == " " else entry.piece for entry in found.entries
    ]
    for row, entry in zip(rows, found.entries, strict=True):
        rank, percent, bits, *_ = row.split()
        assert int(rank) == entry.rank
        assert float(percent) == pytest.approx(100 * entry.probability, abs=6e-4, rel=0.06)
        assert float(bits) == pytest.approx(entry.log_prob / 0.6931471805599453, abs=1e-4)
    summary = SUMMARY.search(result.both)
    assert summary
    assert float(summary[1]) == pytest.approx(found.entropy, abs=1e-3)
    assert float(summary[2]) == pytest.approx(found.perplexity, abs=1e-2)
    assert int(summary[3]) == found.num_types


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prefix", ["", "the", "the ", "Ünseen ☃ 😀", "a\tb\n\nc"])
def test_what_comes_next_in_each_form(here: Path, level: str, prefix: str) -> None:
    """JSON and TSV hold the same numbers, all their digits and all types."""
    options = ("next", "--all", "--model", level, "--unit", "bits", "--", prefix)
    entries = lines_of_json(good(*options[:-2], "--json", *options[-2:]).out)
    keys = ["rank", "id", "token", "text", "log_prob_bits", "probability"]
    assert all(list(entry) == keys for entry in entries)
    assert sum(entry["probability"] for entry in entries) == pytest.approx(1, abs=1e-9)
    assert all(
        entry["probability"] == pytest.approx(2 ** entry["log_prob_bits"]) for entry in entries
    )
    head, *rows = good(*options[:-2], "--tsv", *options[-2:]).out.removesuffix("\n").split("\n")
    assert head.split("\t") == keys
    for row, entry in zip(rows, entries, strict=True):
        rank, token_id, _, _, log_prob, probability = row.split("\t")
        assert (int(rank), int(token_id)) == (entry["rank"], entry["id"])
        assert (float(log_prob), float(probability)) == (
            entry["log_prob_bits"],
            entry["probability"],
        )
    unknown = package.load(level).next_tokens(prefix).num_oov
    said = f"not in the vocabulary, read as <UNK>: {unknown}\n"
    assert (said in good(*options).err) == (unknown > 0)


@pytest.mark.parametrize("form", [[], ["--json"], ["--tsv"]])
def test_the_likeliest_are_the_first_of_all(here: Path, form: list[str]) -> None:
    """--top k writes the first k lines of --all, which --top 0 is too; 20 is what you get."""
    options = ("next", "the ", "--model", "subword", *form)
    every = good(*options, "--all")
    assert good(*options, "--top", "0") == every
    lines = every.out.splitlines(True)
    head = 0 if form == ["--json"] else 1
    assert len(lines) > 100
    for top in ("1", "7", "20", "10000"):
        assert good(*options, "--top", top).out == "".join(lines[: int(top) + head])
    assert good(*options).out == "".join(lines[: 20 + head])


def test_a_prefix_comes_from_four_places(here: Path, tmp_path: Path) -> None:
    """An argument, stdin or a file, whose last newline is left out; without any a text begins."""
    (tmp_path / "prefix").write_text("the\nbear\n")
    options = ("next", "--json", "--model", "char")
    expected = good(*options, "the\nbear")
    assert good(*options, "--file", str(tmp_path / "prefix")) == expected
    for stdin in (["-"], ["--file", "-"], ["-f", "-"]):
        assert good(*options, *stdin, stdin=b"the\nbear\n") == expected
        marked = good(*options, *stdin, stdin=b"\xef\xbb\xbfthe\nbear\n")
        assert marked.out == expected.out
        assert marked.err.startswith("standard input: dropped the byte order mark at its start\n")
        assert good(*options, *stdin, stdin=b"the\nbear\n\n") != expected
    assert good(*options, stdin=b"the").out == good(*options, "").out != expected.out


def test_next_refuses_what_contradicts_itself(here: Path) -> None:
    """2 for options that make no sense, 3 for what is no text, 4 for what is no model."""
    assert "not both" in bad(2, "next", "x", "--json", "--tsv")
    assert "prefix or --file, not both" in bad(2, "next", "x", "--file", "y")
    assert "--top or --all" in bad(2, "next", "x", "--top", "3", "--all")
    assert "dB" in bad(2, "next", "x", "--unit", "dB")
    assert "cannot read nowhere" in bad(3, "next", "--file", "nowhere")
    assert "not UTF-8" in bad(3, "next", "-", stdin=b"a\xff")
    assert "the prefix is not UTF-8" in bad(3, "next", "a\udcff")
    assert "nobody" in bad(4, "next", "x", "--model", "nobody")


def columns_of(line: str) -> int:
    """The columns of a line where no mark combines and emoji are as wide as they get."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("plain", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, None])
@pytest.mark.parametrize("name", ["corpus", "char"])
def test_no_terminal_is_overrun_or_driven(
    awkward_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    plain: dict[str, str] | None,
    name: str,
) -> None:
    """Within its columns, bars where they are wanted, white space by name, controls written out."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for variable, value in (plain or {}).items():
        monkeypatch.setenv(variable, value)
    options = ("next", "--all", "--model", str(awkward_model / name))
    result = good(*options, terminal=True)
    assert not CONTROLS.search(result.both)
    lines = result.out.splitlines()
    assert max(map(columns_of, lines)) <= columns
    assert ("█" in result.out) == ("TERM" not in (plain or {}) and columns > 40)
    assert any("\\n" in line for line in lines)
    for form in ("--tsv", "--json"):
        shown = good(*options, form, terminal=True).both
        assert not CONTROLS.search(shown)
        assert "█" not in shown
    assert "█" not in good(*options).out


def test_awkward_tokens_come_back_whole(awkward_model: Path) -> None:
    """Nothing is cut or lost in a pipe: long tokens in the table, every character in JSON."""
    options = ("next", "--all", "--model")
    assert "a" * 90 in good(*options, str(awkward_model / "corpus")).out
    characters = lines_of_json(good(*options, str(awkward_model / "char"), "--json").out)
    assert {entry["token"] for entry in characters} >= {*AWKWARD_TEXT, "\u3000", "😀", "\n"} - {
        "\r"
    }
    for entry in characters[2:]:
        assert entry["text"] == {"<EOS>": "", "<UNK>": "\ufffd"}.get(entry["token"], entry["token"])
    shown = good(*options, str(awkward_model / "char")).out
    assert all(f"  {name}\n" in shown for name in ("␣", "\\n", "\\t", "\\u3000", "\\x1b"))


def test_bars_are_as_long_as_they_are_likely(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest fills its column, the others their share of it, none is out of line."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    header, *rows = good("next", "the ", "--model", "trained", terminal=True).out.splitlines()
    column = header.index("token")
    bars = [re.sub(r"[^▏▎▍▌▋▊▉█]", "", row) for row in rows]
    assert len(bars[0]) == 30
    assert all(row[column - 1] == " " != row[column] for row in rows)
    best = package.load("trained").next_tokens("the ").entries
    for drawn, entry in zip(bars, best, strict=True):
        length = 30 * entry.probability / best[0].probability
        assert drawn.count("█") <= length + 1 / 16
        assert len(drawn) >= length - 1 / 16


def test_percentages_are_readable_however_small() -> None:
    """Three decimals while they say something, then a power of ten that cannot underflow."""
    for log_prob, text in (
        (0.0, "100.000"),
        (-0.1, "90.484"),
        (-9.0, "0.012"),
        (-9.3, "9.1e-03"),
        (-1179.6, "5.1e-511"),
    ):
        assert next_command.percent(log_prob) == text


@given(st.text(), st.integers(1, 30))
@example("漢字", 3)
@example("👩‍👩‍👧☃\ufe0f", 4)
def test_a_text_is_cut_to_the_columns_there_are(text: str, columns: int) -> None:
    """What fits stays whole; what does not is a beginning of it and an ellipsis."""
    short = cut(text, columns)
    assert width(short) <= columns
    assert short == text if width(text) <= columns else text.startswith(short.removesuffix("…"))
    assert width("漢a\u0301😀") == 5


# tokenize, info, list


@given(words=st.lists(st.text("abcxyz.-", min_size=1, max_size=30), min_size=1, max_size=30))
def test_a_line_breaks_between_words_and_never_in_a_command(words: list[str]) -> None:
    """No line is wider than the terminal but for one word; a command to copy stays in one piece."""
    line = " ".join(words)
    broken = fitted(line, 40).split("\n")
    assert " ".join(broken) == line
    assert all(width(part) <= 40 for part in broken)
    command = f"charlm train --resume --name {'x' * len(words)} --runs somewhere"
    told = fitted(f"{line}: {command}", 40)
    assert command in told.split("\n")[-1]
    assert " ".join(told.split()) == f"{line}: {command}"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", ["the bear", "", AWKWARD_TEXT])
def test_tokenize_shows_pieces_and_ids(here: Path, level: str, text: str) -> None:
    """Each token has an id, a piece and a range; the last line says what they give."""
    options = ("--model", level, "--", text)
    (tokens,) = lines_of_json(good("tokenize", "--json", *options).out)
    assert tokens["text"] == text
    assert len(tokens["ids"]) == len(tokens["pieces"]) == len(tokens["offsets"])
    *rows, last = good("tokenize", *options).out.removesuffix("\n").split("\n")
    assert [int(row.split()[0]) for row in rows] == tokens["ids"]
    assert last.startswith(f"{len(rows)} tokens; decoded: ")
    if text == "the bear":
        assert tokens["decoded"] == text


def test_tokenize_from_stdin(here: Path) -> None:
    """`-` is standard input, taken whole."""
    (tokens,) = lines_of_json(good("tokenize", "-", "--json", stdin=b"a\nb\n").out)
    assert tokens["text"] == "a\nb\n"
    assert "UTF-8" in bad(3, "tokenize", "-", stdin=b"\xff")


def test_info_and_list(here: Path) -> None:
    """Both name what there is, for people and as JSON."""
    assert "path:        checkpoints/word/step-" in good("info", "--model", "word").out
    (info,) = lines_of_json(good("info", "--model", "word", "--json").out)
    assert info["parameters"] > 0
    by_path = good("info", "--model", "checkpoints/word", "--json").out
    assert lines_of_json(by_path) == [info]
    names = [line["name"] for line in lines_of_json(good("list", "--json").out)]
    assert names == ["trained", "subword", "word", "char"]
    assert [row.split()[0] for row in good("list").out.splitlines()] == ["name", *names]


def test_list_of_nothing(empty: Path) -> None:
    """Where there is no model, stdout is empty and stderr says what to do."""
    result = good("list")
    assert result.out == ""
    assert "charlm train FILE" in result.err


# Damage


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_refused(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, harm: str
) -> None:
    """A file cut short, changed by a bit or missing is named, with 4, by every command."""
    shutil.copytree(models / "checkpoints", tmp_path / "checkpoints")
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
    from charlm.models import language_model as api

    def load(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(api, "load", load)
    result = charlm("sample")
    assert result.code == 1
    assert result.err == (
        "charlm: unexpected error: ZeroDivisionError: oops\n"
        "This is a fault of charlm; --debug shows where.\n"
    )


# Awkward corpora

AWKWARD: dict[str, bytes] = {
    "empty": b"",
    "one character": b"a",
    "one line": b"one line\n",
    "blank lines": b"\n\n \n\t\n",
    "NUL bytes": b"\0\0\0\n\0a\0\n" * 5,
    "controls": bytes(range(32)) + b"\x7f\n" + "\x80\x85\x9f\n".encode() * 3,
    "CR only": b"one\rtwo\rthree\r" * 5,
    "CRLF": b"one\r\ntwo\r\n\r\nthree\r\n" * 5,
    "BOM": b"\xef\xbb\xbfone\ntwo\n" * 4,
    "NFC and NFD": "".join(
        unicodedata.normalize(form, "café Ångström 한국\n") for form in ("NFC", "NFD") * 5
    ).encode(),
    "ZWJ emoji": "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈\n".encode() * 6,
    "right to left": "שלום עולם \u202eمرحبا\u202c\n".encode() * 6,
    "U+2581": "▁a▁▁b ▁\n".encode() * 6,
    "U+FFFD": "a\ufffdb\ufffd\n".encode() * 6,
    "specials": b"<unk> <UNK> <EOS> </s> <s> <pad>\n" * 6,
    "long line": b"word and word " * 1429,
    "short lines": b"".join(b"%c\n" % (97 + i % 26) for i in range(3000)),
    "invalid UTF-8": b"ok\n\xff\xfe\xc3(\n",
    "UTF-16": "some text\n".encode("utf-16") * 5,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_corpora_work_or_are_refused(empty: Path, level: str, name: str) -> None:
    """Any file trains, samples and scores, or is refused with 2 or 3 in one sentence."""
    (empty / "awkward").write_bytes(AWKWARD[name])
    if name in ("empty", "blank lines", "invalid UTF-8", "UTF-16"):
        bad(3, "train", "awkward", "--level", level, *TINY)
        assert runs() == []
        return
    good("train", "awkward", "--level", level, *TINY)
    drawn = good("sample", "-n", "2", "--max-tokens", "20", "--json")
    assert len(drawn.out.splitlines()) == 2
    longer = "長い unseen ☃ sentence \x1b[0m" * 60
    (scored,) = lines_of_json(good("score", "--json", "--", longer).out)
    assert scored["text"] == longer
    assert scored["total_log_prob_nats"] < 0
    assert safe_text(longer) in good("score", "--", longer).out
