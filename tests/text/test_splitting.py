"""Laws of what a text of a file is: a line, a paragraph, the file, or what stands before a NUL."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.errors import UsageError
from charlm.text.corpus import choose_split, split_of, split_sequences
from charlm.text.streaming import ENDS, stream_lines, stream_texts
from tests.support.cli import charlm

VERSES = ["A pear fell.\nIt was good.", "A fig fell.\nIt was bad.", "A plum\nwas there."]
KINDS = ("line", "paragraph", "file")
TINY = ("--steps", "3", "--hidden", "8", "--seed", "0", "-q")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with models of lines, of paragraphs and of files, and one that fills gaps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("cutting")
    (folder / "verses.txt").write_text("\n\n".join(VERSES) + "\n")
    (folder / "kinds").mkdir()
    for name, text in (("pear", VERSES[0]), ("fig", VERSES[1])):
        (folder / "kinds" / f"{name}.txt").write_text(f"{text}\n\n" * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in KINDS:
            cut = ("--split-on", kind, *TINY)
            for name, arguments in (
                ("", ("verses.txt",)),
                ("gaps-", ("verses.txt", "--bidirectional")),
                ("kinds-", ("kinds", "--label-from", "file")),
                ("heads-", ("kinds", "--label-from", "file", "--classifier")),
            ):
                ended = charlm("train", *arguments, *cut, "--name", f"{name}{kind}")
                assert ended.code == 0, ended.err
    yield folder
    torch.set_num_threads(threads)


# Files


@settings(deadline=None, max_examples=100)
@given(texts=st.lists(st.text("ab \n\r\té", max_size=12)), last=st.booleans())
@example(texts=["", "\n\n", "a\r\n", ""], last=True)
@example(texts=["x" * 70_000, "y\n" * 40_000], last=False)
def test_what_ends_at_a_nul_is_itself(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], last: bool
) -> None:
    """To the character, ends of lines and blank lines included; a last end may be missing."""
    path = tmp_path_factory.getbasetemp() / "nul"
    data = "".join(f"{text}\0" for text in texts).encode()
    path.write_bytes(data if last or not texts or not texts[-1] else data[:-1])
    found = [line for line in stream_texts(path, "null") if line is not None]
    assert [line.text for line in found] == texts
    assert not found or found[-1].end == path.stat().st_size


@settings(deadline=None, max_examples=100)
@given(text=st.text("ab \n", max_size=40), cut=st.sampled_from(KINDS))
def test_texts_are_the_sequences_of_training(
    tmp_path_factory: pytest.TempPathFactory, text: str, cut: str
) -> None:
    """Paragraphs and files are those of training, and lines but for blank ones; written with its
    end each is cut out in the same way again.
    """
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(text.encode())
    found = [line.text for line in stream_texts(path, cut) if line is not None]
    assert [one for one in found if cut != "line" or one.strip()] == split_sequences(text, cut)
    path.write_bytes("".join(one + ENDS[cut] for one in found).encode())
    assert [line.text for line in stream_texts(path, cut) if line is not None] == found


def test_texts_up_to_a_nul_come_as_they_are_written() -> None:
    """From a pipe each comes when its NUL does; what is no text is told by its line."""
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from charlm.text.streaming import stream_lines\n"
        "for line in stream_lines('-', null=True):\n"
        "    if line is not None: print(ascii(line.text), line.problem, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        os.write(process.stdin.fileno(), b"a\n\nb\0c")
        assert select.select([process.stdout], [], [], 60)[0]
        assert process.stdout.readline() == b"'a\\n\\nb' None\n"
        os.write(process.stdin.fileno(), b"\n\xff\0")
        process.stdin.close()
        said = process.stdout.read()
    assert said.startswith(
        b"'c\\n\\udcff' standard input is not utf-8: byte 0xff at offset 7 (line 4)"
    )


def test_no_nul_is_looked_for_in_wide_characters(tmp_path: Path) -> None:
    """In UTF-16 every second byte can be one: refused in a sentence."""
    (tmp_path / "wide").write_bytes("a\0b\0".encode("utf-16"))
    with pytest.raises(UsageError, match="not read as utf-16"):
        list(stream_lines(tmp_path / "wide", encoding="utf-16", null=True))


def test_what_texts_look_like() -> None:
    """What is known one by one is a line, a paragraph or a file by what it holds."""
    for texts, found in (
        ([], "line"),
        (["a", "", "b\n"], "line"),
        (["a", "b\nc"], "paragraph"),
        (["a\nb", "c\r\n\r\nd", "e"], "file"),
    ):
        assert split_of(texts) == found
    assert choose_split(["a\nb\n\nc\nd\n"]) == "paragraph"


# Commands


def shown(*arguments: str, stdin: bytes = b"") -> tuple[list[Any], str]:
    """What a command writes as JSON Lines, and what it says."""
    ended = charlm(*arguments, stdin=stdin)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.err


GIVEN = {
    "score": (("score", "--json", "--model", "{}"), VERSES),
    "pseudo": (("score", "--json", "--model", "gaps-{}"), VERSES),
    "classify": (("classify", "--json", "--top", "1", "--model", "kinds-{}"), VERSES),
    "classifier": (("classify", "--json", "--top", "1", "--model", "heads-{}"), VERSES),
    "fill": (("fill", "--json", "--model", "gaps-{}"), [f"{text}\n[?]" for text in VERSES]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_files_are_those_of_the_command_line(here: Path, name: str, kind: str) -> None:
    """Cut as asked for, each has the figures that it has when it is given by itself, from a file
    and from a pipe; and that a text is a line is said where the model's sequences are none.
    """
    command, texts = GIVEN[name]
    words = [word.format(kind) for word in command]
    alone, _ = shown(*words, *texts)
    nul, paragraphs = "\0".join(texts).encode(), "\n\n".join(texts).encode()
    Path("given").write_bytes(nul)
    for ways, data in (
        (("-0",), nul),
        (("--null", "--file", "given"), b""),
        (("--split-on", "paragraph"), paragraphs),
    ):
        found, said = shown(*words, *ways, stdin=data)
        assert [one["text"] for one in found] == texts
        for one, other in zip(found, alone, strict=True):
            figures = [name for name, value in one.items() if isinstance(value, float)]
            assert figures or "fillings" in one
            for figure in figures:
                assert one[figure] == pytest.approx(other[figure], rel=1e-4)
        assert "a text is a line" not in said
    (whole,), _ = shown(*words, "--split-on", "file", stdin=paragraphs)
    assert whole["text"] == paragraphs.decode()
    Path("lines").write_text(f"{texts[0].splitlines()[-1]}\n")
    said = shown(*words, "--file", "lines")[1]
    hint = (
        f"a text is a line; the model's sequences are {kind}s: --split-on {kind} cuts so, -0 reads"
    )
    assert (hint in said) == (kind != "line")
    assert "a text is a line" not in shown(*words, "--file", "lines", "--split-on", "line")[1]
    assert "a text is a line" not in shown(*words, *texts)[1]


@pytest.mark.parametrize("cut", ENDS)
def test_what_a_filter_keeps_is_cut_as_it_came(here: Path, cut: str) -> None:
    """Texts that score lets through go out with the ends that keep them apart."""
    option = ("-0",) if cut == "null" else ("--split-on", cut)
    texts = VERSES if cut != "line" else ["A pear fell.", "", "It was bad."]
    data = "".join(f"{text}{ENDS[cut]}" for text in texts).encode()
    everything = charlm("score", "--model", "line", *option, "--max-bits", "1000", stdin=data)
    assert everything.code == 0
    assert everything.stdout == data
    nothing = charlm("score", "--model", "line", *option, "--min-bits", "1000", stdin=data)
    assert not nothing.stdout.strip()
