"""What comes from outside cannot drive a terminal, by whatever way it gets there (row E1)."""

import fcntl
import io
import json
import os
import random
import re
import shutil
import struct
import termios
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from charlm.display.safe_text import safe_text
from tests.support.cli import charlm, with_streams
from tests.support.matrix import Tally
from tests.support.steps import forge

TINY = ("--steps", "1", "--hidden", "4", "--embedding", "4", "--batch-size", "2", "--quiet")

# Newline and tab are part of plain text, and NUL of no name.
CONTROLS = [chr(code) for code in (*range(1, 0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"]
SEQUENCES = [
    "\x1b]0;title\x07",
    "\x1b]2;title\x1b\\",
    "\x9d0;title\x9c",
    "\x1b]52;c;aGFjaw==\x07",  # the clipboard
    "\x1b]8;;http:x\x07link\x1b]8;;\x07",
    "\x1b]4;1;red\x07",
    "\x1b]10;red\x07",
    "\x1b]11;?\x07",
    "\x1b]1337;File=:AAAA\x07",
    "\x1bP$q\x1b\\",
    "\x1bPq#0\x1b\\",
    "\x1b_application\x1b\\",
    "\x1b^privacy\x1b\\",
    "\x1bXstring\x1b\\",
    "\x1b[A\x1b[2Koverwritten",
    "\x1b[3B",
    "\x1b[9C",
    "\x1b[9D",
    "\x1b[2F",
    "\x1b[1G",
    "\x1b[1;1H",
    "\x1b[2J",
    "\x1b[3J",
    "\x1b[1K",
    "\x1b[9L",
    "\x1b[9M",
    "\x1b[9P",
    "\x1b[9S",
    "\x1b[9T",
    "\x1b[9X",
    "\x1b[1;2r",
    "\x1b[s\x1b[u",
    "\x1b[?25l",
    "\x1b[?1049h",
    "\x1b[?1000h",
    "\x1b[?2004h",
    "\x1b[4h",
    "\x1b[5n",
    "\x1b[6n",
    "\x1b[c",
    "\x1b[31;5;7m",
    "\x1b[8mhidden",
    "\x9b2J",
    "\udc9b2J",  # the byte itself, which is no UTF-8
    "\x1bc",
    "\x1b7\x1b8",
    "\x1b(0",
    "\x1b#8",
    "\u202egnp.exe",
    "\u2066\u2067\u2069",
    "\u2028line\u2029",
    "\u200b\u2060\ufeff\u00ad",
]
NASTY = [*CONTROLS, *SEQUENCES]
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Screen:
    """What a terminal has been told: its lines, and all that is more than text on them.

    ``driven`` are the characters that move the cursor, open a sequence or are invisible; with
    ``colour`` charlm's own escape codes for colour are none of them.
    """

    def __init__(self, data: bytes, *, colour: bool = False) -> None:
        text = data.decode().replace("\r\n", "\n")
        text = SGR.sub("", text) if colour else text
        self.lines = text.splitlines()
        self.driven = [
            char
            for char in text
            if char not in "\n\t"
            and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        ]


def on_terminal(*arguments: str) -> tuple[int, bytes]:
    """Run the command line with a pseudo-terminal of 80 columns for all its streams."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(master, 2**16)
            except OSError:  # so Linux tells that the other side was closed
                return
            if not data:
                return
            seen.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with (
        open(slave, "rb", closefd=False) as lines,
        open(slave, "w", closefd=False) as out,
        open(slave, "w", closefd=False) as err,
    ):
        stdin = io.TextIOWrapper(lines)
        code = with_streams(stdin, out, err, arguments=arguments)
        stdin.detach()
    os.close(slave)
    reader.join()
    os.close(master)
    return code, b"".join(seen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with models that know every nasty character, one of them as words."""
    folder = tmp_path_factory.mktemp("terminal")
    known = [text for text in NASTY if "\udc9b" not in text]
    data = "".join(f"the {text} end\n" for text in known * 2).encode()
    (folder / "corpus.txt").write_bytes(data)
    (folder / "plain.txt").write_text("the bear\n" * 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, options in (
            ("nasty", ()),
            ("words", ("--level", "word", "--pretokenized")),
        ):
            train = ("train", "corpus.txt", "--name", name, "--min-count", "1", "--split-on")
            ended = charlm(*train, "line", *options, *TINY)
            assert ended.code == 0, ended.err
        (folder / "labelled.tsv").write_text("the bear\tx\nthe end\ty\n" * 8)
        (folder / "tagged.conll").write_text("the O\nbear B-X\n\nthe O\nend O\n\n" * 8)
        for name, corpus, options in (
            ("labelled", "labelled.tsv", ("--label-from", "column:2")),
            ("classifier", "labelled.tsv", ("--label-from", "column:2", "--classifier")),
            ("tagger", "tagged.conll", ("--tagger",)),
            ("translator", "labelled.tsv", ("--pairs",)),
            ("gaps", "corpus.txt", ("--bidirectional", "--split-on", "line", "--min-count", "1")),
        ):
            ended = charlm("train", corpus, "--name", name, *options, *TINY)
            assert ended.code == 0, ended.err
    return folder


def relabelled(model: str, text: str, file: str) -> None:
    """Give a model another first label, as if it had been trained with that."""
    (step,) = Path("checkpoints", model).glob("step-*")
    described = json.loads((step / file).read_text())
    described["names" if "names" in described else "labels"] = [text, "y"]
    forge(step, **{file.replace(".", "_"): json.dumps(described).encode()})


Channel = Callable[[str], tuple[int, bytes]]


def of_file_names(text: str) -> tuple[int, bytes]:
    """The name of a file that is evaluated."""
    Path(text).write_text("the end\n")
    try:
        return on_terminal("evaluate", text, "--model", "nasty")
    finally:
        Path(text).unlink()


def of_run_names(text: str) -> tuple[int, bytes]:
    """The name of a run among those listed."""
    run = Path("checkpoints", text)
    Path("checkpoints", "nasty").rename(run)
    try:
        return on_terminal("list")
    finally:
        run.rename(Path("checkpoints", "nasty"))


def of_corpora(text: str) -> tuple[int, bytes]:
    """The lines of a file that two models differ on."""
    Path("held.txt").write_text(f"the {text} end\nthe end\n", errors="surrogateescape")
    options = ("--errors", "replace", "--resamples", "10")
    return on_terminal("compare", "nasty", "nasty", "held.txt", *options)


def of_samples(text: str) -> tuple[int, bytes]:
    """What is sampled, the prompt in front."""
    if "\udc9b" in text:  # a prompt that is no text is refused, by its name
        return on_terminal("sample", "--prompt", text)
    return on_terminal("sample", "--prompt", text, "--model", "nasty", "--max-tokens", "1")


def of_scores(text: str) -> tuple[int, bytes]:
    """A text that is scored, and its tokens."""
    return on_terminal("score", "--per-token", text, "--model", "nasty")


def of_pieces(text: str) -> tuple[int, bytes]:
    """The pieces of a tokenizer, and what they give when put together again."""
    return on_terminal("tokenize", text, "--model", "words")


def of_heat_maps(text: str) -> tuple[int, bytes]:
    """The text in colours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        return on_terminal("score", "--heatmap", text, "--model", "nasty")


def of_errors(text: str) -> tuple[int, bytes]:
    """The message of an error that repeats what was asked for."""
    return on_terminal("score", "--model", "nasty", "--file", f"no {text}")


def of_labels(text: str) -> tuple[int, bytes]:
    """The labels of a text, by a model that was trained with them."""
    relabelled("labelled", text, "labels.json")
    return on_terminal("classify", "--model", "labelled", "the end")


def of_classes(text: str) -> tuple[int, bytes]:
    """The labels of a classifier, where it is described."""
    relabelled("classifier", text, "model.json")
    return on_terminal("info", "--model", "classifier")


def of_known_labels(text: str) -> tuple[int, bytes]:
    """A label that there is not, and those that there are."""
    relabelled("labelled", text, "labels.json")
    return on_terminal("sample", "--model", "labelled", "--label", f"no {text}")


def of_tokens(text: str) -> tuple[int, bytes]:
    """The tokens of a tagger, and what is counted of their tags."""
    Path("tokens.conll").write_text(f"{text}x O\nend O\n", errors="surrogateescape")
    return on_terminal("tag", "--model", "tagger", "--errors", "replace", "tokens.conll")


def of_gaps(text: str) -> tuple[int, bytes]:
    """A text with a gap, and what may stand there."""
    return on_terminal("fill", "--model", "gaps", "--top", "3", f"the {text} [?]")


def of_pairs(text: str) -> tuple[int, bytes]:
    """A source and what may be written for it."""
    return on_terminal("score", "--model", "translator", "--source", text, "x")


OF_KINDS = (of_labels, of_classes, of_known_labels, of_tokens, of_gaps, of_pairs)
CHANNELS = (
    of_file_names,
    of_run_names,
    of_corpora,
    of_samples,
    of_scores,
    of_pieces,
    of_heat_maps,
    of_errors,
    *OF_KINDS,
)
TYPED = (
    of_samples,
    of_scores,
    of_pieces,
    of_heat_maps,
    of_gaps,
    of_pairs,
)  # as arguments that are texts
SHOWN = (*(of_file_names, of_run_names, of_scores, of_errors), *(of_classes, of_known_labels))
SHOWN = (*SHOWN, of_pairs)


@pytest.fixture
def at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the directory, on a terminal that shows no colour and redraws no line."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return folder


def test_the_screen_sees_what_would_drive_a_terminal() -> None:
    """Each of the 114 does, raw; plain text, colour and line ends do not."""
    assert len(NASTY) == len(set(NASTY)) == 114
    for text in NASTY:
        if "\udc9b" not in text:
            assert Screen(f"a{text}z".encode()).driven
    assert not Screen("\x1b[38;5;1mé\x1b[0m\r\nb\t\n".encode(), colour=True).driven
    assert Screen(b"\x1b[38;5;1m").driven


@pytest.mark.row("E1")
@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.__name__)
def test_nothing_drives_a_terminal(at: Path, channel: Channel, tally: Tally) -> None:
    """Title, clipboard, cursor and other lines stay as they are: what would act is written out.

    No text makes more lines than a plain one does but where it is too long for one.
    """
    rng = random.Random(4)
    # By the ways of labels, tags and gaps a third of them each: all of them between any three.
    texts = NASTY[CHANNELS.index(channel) % 3 :: 3] if channel in OF_KINDS else NASTY
    more = tally.wanted(len(texts)) - len(texts)
    usual, plain = channel("end")
    lines = len(Screen(plain, colour=True).lines) + (
        channel in (of_gaps, of_pairs)
    )  # what is unknown is told
    for text in [*texts, *("".join(rng.sample(NASTY, 3)) for _ in range(more))]:
        code, seen = channel(text)
        screen = Screen(seen, colour=channel is of_heat_maps)
        is_refused = "\udc9b" in text and channel in TYPED  # it is no text
        assert not screen.driven, (text, seen)
        assert code == (3 if is_refused else usual)
        if channel not in (of_scores, of_pieces):  # a line a token
            told = channel is of_corpora and "\r" in text  # that it ends lines
            most = lines + told + len(safe_text(text)) // 10
            assert len(screen.lines) <= most, (text, screen.lines)
        shown = "".join(screen.lines)
        if channel in SHOWN and not is_refused:
            assert safe_text(text)[:40] in shown
        else:
            exempt = channel in (of_corpora, of_pieces, of_tokens)  # bytes are replaced there
            assert "\\" in shown or is_refused or exempt
        tally.add()


def test_other_ways_to_a_terminal_are_guarded_too(at: Path) -> None:
    """JSON, tables, streamed samples, all pieces of a vocabulary, wrong usage and tracebacks.

    An error is one line, whatever newlines there are in what it repeats.
    """
    everything = "".join(text for text in NASTY if "\udc9b" not in text)
    for arguments in (
        ("score", "--json", everything, "--model", "nasty"),
        ("score", "--tsv", everything, "--model", "nasty"),
        ("score", "--words", everything, "--model", "words"),
        ("tokenize", "--json", everything, "--model", "nasty"),
        ("sample", "--json", "--prompt", everything, "--model", "nasty"),
        ("sample", "--stream", "--prompt", everything, "--model", "nasty", "--n", "3"),
        ("sample", "--model", "words", "--max-tokens", "300", "--n", "3"),
        ("next", "--all", "--model", "nasty"),
        ("next", "--all", "--model", "words"),
        ("next", "--all", "--model", "words", "--json"),
        ("info", "--json", "--model", "nasty"),
        *(
            ("translate", everything, "--model", "translator", "--max-tokens", "9", how)
            for how in ("--json", "--tsv", "--attention", "--greedy")
        ),
        *(
            ("score", "--source", everything, everything, "--model", "translator", how)
            for how in ("--json", "--tsv", "--attention", "--per-token")
        ),
        ("sample", "--source", everything, "--prompt", everything, "--model", "translator"),
        ("--debug", "score", "--model", everything, "the end"),
        (everything,),
        ("score", "--" + everything),
        ("score", "the end", everything, "--closed=" + everything),
        ("list", everything),
        ("sample", "--n", everything),
        ("train", everything),
        ("train", "plain.txt", "--name", everything),
        ("train", "plain.txt", "--level", everything),
        ("score", "--jsonl", "--field", everything, "--file", "corpus.txt"),
    ):
        _, seen = on_terminal(*arguments)
        assert seen
        assert not Screen(seen).driven, (arguments, seen)
    forged = "x\ncharlm: all is well\n\rcharlm: indeed"
    for arguments in (
        ("score", "the end", "--model", forged),
        ("evaluate", forged),
        ("train", forged),
        ("score", "--file", forged),
    ):
        code, seen = on_terminal(*arguments)
        assert code
        said = [line for line in Screen(seen).lines if line.startswith("charlm: ")]
        assert not any(line.startswith(("charlm: all", "charlm: indeed")) for line in said), seen


def test_a_label_cannot_forge_a_line(at: Path) -> None:
    """Labels come from fields of JSON and names of files, so they may hold newlines, tabs and
    escape sequences: where a line is said, a row written or an object, it is one all the same.
    """
    forged = "x\ncharlm: all is well\n\rcharlm: indeed\t\x1b[2J\u2028\x85charlm: quite"
    lines = [{"text": f"the bear {n}", "label": forged if n % 3 else "y"} for n in range(20)]
    Path("forged.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Path("names").mkdir(exist_ok=True)
    for label in (forged, "y"):
        Path("names", f"{label}.txt").write_text("\ufeffthe bear\nthe end\n" * 5)
    judged = ("--labelled", "field:label", "--file", "forged.jsonl")
    commands: list[tuple[str, ...]] = []
    for kind, options in (("f-labelled", ()), ("f-classifier", ("--classifier",))):
        for corpus, source in (("forged.jsonl", "field:label"), ("names", "file")):
            name = f"{kind}-{source[:4]}"
            train = ("train", corpus, "--label-from", source, *options, "--name", name, *TINY[:-1])
            commands += [train, ("classify", "--model", name, "the bear"), ("info", "-m", name)]
        commands += [
            ("classify", "--model", f"{kind}-fiel", *judged),
            ("classify", "--model", f"{kind}-fiel", "--tsv", *judged),
            ("classify", "--model", f"{kind}-fiel", "--tsv", "the bear", "the end"),
            ("classify", "--model", f"{kind}-fiel", "--json", "the bear", "the end"),
            ("classify", "--model", "labelled", *judged),
        ]
    commands += [
        ("evaluate", "--model", "f-labelled-fiel", "--labelled", "field:label", "forged.jsonl"),
        ("evaluate", "--model", "labelled", "--labelled", "field:label", "forged.jsonl"),
        ("evaluate", str(Path("names", f"{forged}.txt")), "--model", "nasty"),
        ("sample", "--model", "f-labelled-fiel", "--json", "--n", "3", "--max-tokens", "3"),
        ("sample", "--model", "f-labelled-fiel", "--label", f"no {forged}"),
        ("list",),
    ]
    shutil.copytree(Path("checkpoints", "tagger"), Path("checkpoints", forged))
    for arguments in commands:
        _, seen = on_terminal(*arguments)
        assert not Screen(seen).driven, (arguments, seen)
        if arguments[0] == "train":
            shutil.rmtree(Path("checkpoints", arguments[arguments.index("--name") + 1]))
        ended = charlm(*arguments)
        said = ended.err + ended.out
        for line in (*Screen(seen).lines, *re.split("[\n\r\x85\u2028]", said)):
            assert not line.startswith(("charlm: all", "charlm: indeed", "charlm: quite")), (
                arguments
            )
        if "--tsv" in arguments:
            counts = {row.count("\t") for row in ended.out.removesuffix("\n").split("\n")}
            assert len(counts) == 1
        if "--json" in arguments:
            assert all(json.loads(line) for line in ended.stdout.splitlines())
    shutil.rmtree(Path("checkpoints", forged))


def test_a_pipe_gets_the_exact_bytes(at: Path) -> None:
    """What is written out for a terminal is data for a pipe: not a byte is changed."""
    everything = "".join(text for text in NASTY if "\udc9b" not in text)
    ended = charlm("sample", "--prompt", everything, "--model", "nasty", "--n", "2")
    assert ended.stdout.startswith(everything.encode())
    ended = charlm("score", "--json", everything, "--model", "nasty")
    assert json.loads(ended.stdout)["text"] == everything
    line = b"the \x1b]0;title\x07 end \xff\xfe\r"
    kept = ("--max-perplexity", "1e9", "--on-error", "keep")
    ended = charlm("score", "--file", "-", *kept, "--model", "nasty", stdin=line + b"\n")
    assert ended.stdout == line + b"\n"
