"""charlm train: what goes to which stream, what is refused, and corpora of all sorts."""

import gzip
import re
import shlex
import unicodedata
from pathlib import Path

import pytest

from charlm.cli.output import training_progress
from charlm.config import CELLS, LEVELS, SPLITS
from charlm.display.safe_text import safe_text
from tests.support.cli import BEST, TINY, bad, good, lines_of_json, runs
from tests.support.texts import TEXT


def test_train_ends_with_one_line_of_data(empty: Path) -> None:
    """stdout holds the best validation loss alone, and it is the last line over both streams."""
    result = good("train", "corpus.txt", *TINY)
    found = BEST.fullmatch(result.out)
    assert found
    assert result.both.endswith(result.out)
    assert 1.0 < float(found[1]) < float(found[2])  # nats a token, bits a character
    for word in ("text: ", "vocabulary: ", "model: ", "budget: ", "run: ", "next: "):
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
    assert "checkpoints/prose is finished" in bad(2, "train", "--demo", "--resume")
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
    assert f"one per {found}\n" in good("info").out


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
        code for code in re.findall(r"\x1b\[([0-9;]*)m", result.err) if re.search("[349]", code)
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
    monkeypatch.setattr(training_progress, "_SAMPLE_EVERY_SECONDS", 0.0)
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


def test_diverged_training_is_told(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are not finite end a training with 5 and a cure."""
    from charlm.nn import objectives

    genuine, softened = objectives.cross_entropy, objectives.softened_cross_entropy
    monkeypatch.setattr(objectives, "cross_entropy", lambda *loss: genuine(*loss) * float("nan"))
    monkeypatch.setattr(
        objectives,
        "softened_cross_entropy",
        lambda *loss: tuple(one * float("nan") for one in softened(*loss)),
    )
    for smoothing in ("0", "0.3"):
        short = ("--steps", "30", "--hidden", "8", "--smoothing", smoothing, "--name", smoothing)
        assert "--learning-rate" in bad(5, "train", "corpus.txt", *short)


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


@pytest.mark.slow
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
