"""Help, the version, and what the parser refuses."""

import gzip
import re
import shlex
from pathlib import Path

import pytest

from charlm.cli.app import COMMANDS, VIEWS, subcommand
from tests.support.cli import TINY, charlm, good
from tests.support.texts import TEXT


@pytest.mark.parametrize("command", ["", *COMMANDS, *VIEWS])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_80_columns_and_shows_examples(
    command: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Help goes to stdout, in lines of at most 80 columns, with an example to copy."""
    monkeypatch.setenv("COLUMNS", "80")
    result = good(*command.split(), flag)
    assert result.err == ""
    assert max(map(len, result.out.splitlines())) <= 80
    assert examples(command)


@pytest.mark.parametrize("name", [*COMMANDS, *VIEWS])
def test_the_line_of_a_command_begins_its_help(name: str) -> None:
    """What the list of commands says of one is what the help of that one begins with."""
    assert subcommand(name).help.startswith(f"{(COMMANDS | VIEWS)[name]}\n")


def examples(command: str) -> list[str]:
    """The example lines of a command's help."""
    text = good(*command.split(), "-h").out
    return [
        line.strip() for line in text.splitlines() if re.match(r"  (\w+ \S+ \| )?charlm ", line)
    ]


def shortened(arguments: list[str]) -> list[str]:
    """The arguments of a training, with a budget that makes it short."""
    if "--counts-only" in arguments:
        return arguments
    if "--time" in arguments:
        at = arguments.index("--time") + 1
        small = [] if "--resume" in arguments else ["--hidden", "8"]
        return [*arguments[:at], "0.3s", *arguments[at + 1 :], *small]
    if "--epochs" in arguments:
        at = arguments.index("--epochs") + 1
        return [*arguments[:at], "0.01", *arguments[at + 1 :], "--hidden", "8"]
    return [*arguments, *TINY]


@pytest.mark.slow
def test_every_example_of_the_help_runs(empty: Path) -> None:
    """Every command line that the help shows ends with 0, in the order in which it stands."""
    (empty / "sentences.txt").write_text("the bear\nthe jay\n")
    (empty / "minimal.tsv").write_text("the bear eats\tthe bear eat\n")
    (empty / "records.jsonl").write_text('{"text": "the bear"}\n')
    (empty / "table.tsv").write_text("1\tthe bear\n")
    (empty / "stimuli.csv").write_text("item,sentence,regions\n1,the bear,the | bear\n")
    (empty / "hypotheses.tsv").write_text("1\tthe bear\t-2\n1\tthe jay\t-1\n")
    (empty / "references.txt").write_text("1\tthe bear\n")
    (empty / "samples.txt").write_text("the bear\nthe jay\n")
    (empty / "samples.jsonl").write_text('{"text": "the bear"}\n')
    (empty / "held-out.txt").write_text("the bear\nthe jay\n")
    (empty / "gaps.txt").write_text("the b[?]r\n[?3] jay\n")
    for name in ("words", "chars", "old", "new"):
        good("train", "corpus.txt", "--name", name, *TINY)
    good("train", "corpus.txt", "--adaptive", "--name", "adaptive", *TINY)
    good("train", "corpus.txt", "--counts-only", "--ngram", "2", "--name", "mine")
    good("export", "mine", "--arpa", "news.arpa.gz")
    (empty / "novel.txt").write_text("the bear\nthe jay\n")
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
    (empty / "pairs.tsv").write_text("".join(f"{n}\tn{n}\n" for n in range(30)))
    (empty / "pairs-test.tsv").write_text("40\tn40\n41\tn41\n")
    forms = (f"{n}\tn{n}\tV;PST\n" for n in range(30))
    (empty / "forms.tsv").write_text("".join(forms))
    (empty / "numbers.txt").write_text("42\n")
    rest = "_\t0\troot\t_\t_\n"
    rows = f"1\tAda\t_\t_\tNNP\t{rest}2\tsleeps\t_\t_\tVBZ\t{rest}\n"
    (empty / "treebank.conllu").write_text(rows * 2)
    for label in ("bad", "good"):
        (empty / "reviews" / label).mkdir(parents=True)
        for number in range(3):
            (empty / "reviews" / label / f"{number}.txt").write_text(f"{label} {number}\n")
    for name in ("small", "large"):
        good("train", "pairs.tsv", "--pairs", "--name", name, *TINY)
    ran = 0
    for command in ("", *COMMANDS, *VIEWS):
        for line in examples(command):
            first, _, second = line.rpartition(" | ")
            if first.startswith("charlm "):
                stdin = good(*shlex.split(first)[1:]).out.encode()
            else:
                stdin = gzip.decompress((empty / first.split()[1]).read_bytes()) if first else b""
            arguments = shlex.split(second)[1:]
            if arguments[0] == "train":
                arguments = shortened(arguments)
            if arguments[0] == "serve":  # until it is ended: test_serve.py does that
                arguments = [*arguments, "--help"]
            good(*arguments, stdin=stdin)
            if command == "import":  # it would be the newest model, and has no network
                good("rm", "news", "--yes")
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
