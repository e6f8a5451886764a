"""Laws of novelty: every figure is what a slow look gives; an index is sound or refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.errors import UsageError
from charlm.models.load import load
from charlm.novelty import text_index
from charlm.novelty.measure import Copy, NGrams, Sample, measure, samples_of
from charlm.novelty.suffix_array import END, SuffixArray, is_order
from charlm.novelty.text_index import Index, source_of
from charlm.text.corpus import sequence_hashes
from tests.support.cli import bad, good, lines_of_json
from tests.support.texts import TEXT

FOX = ["the fox sat", "a fox ran to the hen", "the hen and the fox"]
TINY = ("--steps", "3", "--hidden", "8")
few_letters = st.text("ab ", max_size=40)
texts = st.lists(st.one_of(few_letters, st.text(max_size=8)), max_size=6)


def spans(text: str, n: int) -> list[str]:
    """Its n-grams of characters."""
    return [text[i : i + n] for i in range(len(text) - n + 1)]


def word_spans(text: str, n: int) -> list[tuple[str, ...]]:
    """Its n-grams of words."""
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def slow_ngrams(known: Any, grams: Any) -> NGrams:
    """By looking each up."""
    return NGrams(len(grams), sum(gram not in known for gram in grams))


def slow_copy(sequences: list[str], sample: Sample) -> Copy | None:
    """The longest span, by trying all from the longest on."""
    text = sample.text
    for length in range(len(text) - sample.begin, 0, -1):
        for start in range(sample.begin, len(text) - length + 1):
            span = text[start : start + length]
            places = [
                (number, at)
                for number, sequence in enumerate(sequences, start=1)
                for at in range(len(sequence))
                if sequence.startswith(span, at)
            ]
            if places:
                return Copy(span, start, *places[0], len(places))
    return None


# Figures


@settings(deadline=None, max_examples=150)
@given(sequences=texts, drawn=texts, begin=st.integers(0, 5))
@example(sequences=["ab" * 30], drawn=["ba" * 50, "a", ""], begin=0)
@example(sequences=["a b  c\td"], drawn=["b\nc", "a b c", "\ud800"], begin=1)
def test_every_figure_is_that_of_a_slow_look(
    sequences: list[str], drawn: list[str], begin: int
) -> None:
    """Copies, where they stand and how often, n-grams of characters and words, whole sequences."""
    sequences = [text for text in sequences if text]
    samples = [Sample(text, min(begin, len(text))) for text in drawn]
    found = measure(
        Index.build(source_of(sequences)),
        samples,
        known=sequence_hashes(sequences),
        characters=(1, 2, 3, 7),
        words=(1, 2, 3),
    )
    assert found.indexed == 1
    for sample, one in zip(samples, found.samples, strict=True):
        given_words = len(sample.text[: sample.begin].split())
        assert one.copy == slow_copy(sequences, sample)
        assert one.in_training_text == (sample.text in sequences)
        assert one.is_copied_whole == (
            len(sample.text) > sample.begin
            and any(sample.text[sample.begin :] in text for text in sequences)
        )
        for n, of in one.character_ngrams.items():
            known = {gram for text in sequences for gram in spans(text, n)}
            assert of == slow_ngrams(known, spans(sample.text[sample.begin :], n))
        for n, of in one.word_ngrams.items():
            known_words = {gram for text in sequences for gram in word_spans(text, n)}
            assert of == slow_ngrams(known_words, word_spans(sample.text, n)[given_words:])
    assert found.characters == sum(one.characters for one in found.samples)
    assert found.different == len(set(drawn))
    assert found.in_training_text == sum(text in sequences for text in drawn)
    for n, of in found.character_ngrams.items():
        parts = [one.character_ngrams[n] for one in found.samples]
        assert of == NGrams(sum(p.number for p in parts), sum(p.unseen for p in parts))


def slow_lengths(text: list[list[int]], query: list[list[int]]) -> list[int]:
    """The longest match at each place of the query, its ends included."""
    known = {tuple(s[i:j]) for s in text for i in range(len(s)) for j in range(i, len(s) + 1)}
    found = []
    for sequence in query:
        for i in range(len(sequence)):
            fits = (j for j in range(len(sequence), i, -1) if tuple(sequence[i:j]) in known)
            found.append(next(fits, i) - i)
        found.append(0)
    return found


def joined(sequences: list[list[int]]) -> np.ndarray:
    """Sequences in one array, each with its end."""
    return np.array([symbol for s in sequences for symbol in (*s, END)], dtype=np.int64)


symbols = st.lists(st.integers(1, 3), max_size=12)


@st.composite
def repeating(draw: Any) -> list[list[int]]:
    """Sequences of few symbols with long repeats."""
    parts = draw(st.lists(symbols, min_size=1, max_size=3))
    return [
        [symbol for i in order for symbol in parts[i % len(parts)]]
        for order in draw(st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=4))
    ]


@settings(deadline=None, max_examples=150)
@given(text=repeating(), query=repeating(), same=st.booleans(), large=st.booleans())
@example(text=[[1] * 50], query=[[1] * 80], same=False, large=True)
@example(text=[[1, 2] * 40, [2] * 70], query=[[1, 2] * 45 + [3] + [2] * 90], same=False, large=True)
def test_matches_of_any_length_are_found(
    text: list[list[int]], query: list[list[int]], same: bool, large: bool
) -> None:
    """At every place, though only the ends of long copies are looked up one by one."""
    query = [*query, *text] if same else query
    largest = 2**20 if large else 3  # then two symbols make a key, and 16 a long match
    array = SuffixArray.build(joined(text).astype(np.uint32), largest)
    suffixes = [array.symbols[i:].tolist() for i in array.order]
    ordered = [
        (suffix[: suffix.index(END)], i) for suffix, i in zip(suffixes, array.order, strict=True)
    ]
    assert ordered == sorted(ordered)
    assert is_order(array.order, array.symbols)
    asked = joined(query)
    lengths = array.lengths(asked)
    assert lengths.tolist() == slow_lengths(text, query)
    places = np.arange(len(asked))
    first, times = array.locate(asked, places, lengths)
    whole = joined(text).tolist()
    for place, length, at, number in zip(places, lengths, first, times, strict=True):
        span = asked[place : place + length].tolist()
        there = [i for i in range(len(whole)) if length and whole[i : i + length] == span]
        assert (at, number) == ((there[0], len(there)) if there else (0, 0))


def test_a_span_stays_within_a_sequence() -> None:
    """What stands at the end of one and the beginning of the next is no copy."""
    found = measure(Index.build(source_of(["the fox", " sat down"])), [Sample("the fox sat")])
    copy = found.samples[0].copy
    assert copy == Copy("the fox", 0, 1, 0, 1)


def test_a_prompt_is_not_counted() -> None:
    """Only spans and n-grams that begin behind it, and no word that began in it."""
    index = Index.build(source_of(FOX))
    (sample,) = samples_of(["the fox sat"], prompt="the fo")
    found = measure(index, [sample], characters=(2,), words=(1, 2)).samples[0]
    assert (found.characters, found.words) == (5, 1)
    assert found.copy == Copy("x sat", 6, 1, 6, 1)
    assert found.is_copied_whole
    assert found.character_ngrams[2] == NGrams(4, 0)
    assert found.word_ngrams == {1: NGrams(1, 0), 2: NGrams(0, 0)}
    other = samples_of(["a hen"], prompt="the fo")
    assert other == [Sample("a hen", 0)]  # it does not begin with that


def test_n_below_one_is_refused() -> None:
    """There are no n-grams of nothing."""
    with pytest.raises(UsageError, match="1 or more"):
        measure(Index.build(source_of(FOX)), [Sample("a")], words=(0,))


def test_nothing_has_no_figures() -> None:
    """Without samples, or with empty ones, shares are not defined or zero, and nothing breaks."""
    index = Index.build(source_of(FOX))
    none = measure(index, [])
    assert (none.share_in_training, none.median_copied, none.mean_copied) == (None, None, None)
    empty = measure(index, [Sample(""), Sample("")], known=sequence_hashes(FOX))
    assert (empty.share_in_training, empty.median_copied, empty.different) == (0, 0, 1)
    assert all(of.share is None for of in empty.character_ngrams.values())
    assert measure(Index.build(source_of([])), [Sample("a b")]).copied == [0]


def test_portions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are looked up a few at a time have the same figures."""
    index = Index.build(source_of(FOX))
    samples = samples_of(["the hen ran", "", "a fox", "zebra", "the fox sat and sat"] * 3)
    whole = measure(index, samples)
    monkeypatch.setattr("charlm.novelty.measure._PORTION", 12)
    assert measure(index, samples) == whole


# The command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with models of lines, of paragraphs, of a file, and of words in lower case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("novelty")
    (folder / "corpus.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for split in ("line", "paragraph", "file"):
            good("train", "corpus.txt", "--split-on", split, "--name", split, *TINY)
        words = ("--level", "word", "--lowercase", "--split-on", "line")
        good("train", "corpus.txt", *words, "--name", "words", *TINY)
        good("train", "corpus.txt", "--no-index", "--name", "bare", *TINY)
    yield folder
    torch.set_num_threads(threads)


def test_a_report_for_a_person(here: Path) -> None:
    """It fits 80 columns, whatever is in it, and says what the JSON says."""
    held = "the big bear eats the pear"
    lines = [*TEXT.split("\n")[:3], held, "\x1b[31mthe big", "東京" * 60, "the 東京 " * 30]
    samples = "\n".join(lines).encode()
    shown = good("novelty", "-", "--model", "line", "--show", "9", stdin=samples)
    assert (
        shown.err
        == "samples: 7, one per line (as the model's sequences are; --split-on changes it)\n"
    )
    assert "\x1b" not in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    (found,) = lines_of_json(good("novelty", "-", "--model", "line", "--json", stdin=samples).out)
    assert found["samples"] == 7
    assert found["in_training_text"] >= 2  # of the lines of the corpus a tenth is held out
    assert found["in_training_text"] <= found["copied_whole"]
    assert f"{found['share_in_training_text']:.2%} of the samples" in shown.out
    assert found["most_copied"][0]["longest_copy_characters"] == found["longest_copy_characters"]
    assert found["character_ngrams"][0]["n"] == 3
    assert found["character_ngrams"][0]["share_unseen_held_out_text"] is not None
    assert found["indexed_share_of_training_text"] == 1


def test_a_line_for_each_sample(here: Path) -> None:
    """In their order, with where the copy stands; the n are those asked for."""
    options = ("--model", "line", "--per-sample", "--ngrams", "2", "--word-ngrams", "1,2")
    rows = lines_of_json(good("novelty", "-", *options, stdin=b"the big zoo\n\nold\n").out)
    assert [row["text"] for row in rows] == ["the big zoo", "", "old"]
    assert [row["sample"] for row in rows] == [1, 2, 3]
    assert rows[1]["longest_copy"] is None
    assert rows[0]["longest_copy"]["text"] == "the big "
    assert rows[0]["longest_copy"]["start"] == 0
    assert rows[0]["word_ngrams"] == [
        {"n": 1, "ngrams": 3, "unseen": 1, "share_unseen": 1 / 3},
        {"n": 2, "ngrams": 2, "unseen": 1, "share_unseen": 0.5},
    ]
    assert [of["n"] for of in rows[0]["character_ngrams"]] == [2]


def test_samples_come_from_sample(here: Path) -> None:
    """As text and as JSON Lines the figures are those of --report, prompt left out of all."""
    prompt = ("--prompt", "the b")
    drawn = good("sample", "--model", "line", "-n", "20", "--seed", "0", *prompt, "--report")
    again = good("novelty", "-", "--model", "line", *prompt, stdin=drawn.out.encode())
    assert again.out == drawn.err
    rows = good("sample", "--model", "line", "-n", "20", "--seed", "0", *prompt, "--json")
    assert rows.err == ""
    records = good("novelty", "-", "--jsonl", "--model", "line", *prompt, stdin=rows.out.encode())
    assert records.out == drawn.err
    streamed = good(
        "sample", "--model", "line", "-n", "20", "--seed", "0", *prompt, "--report", "--stream"
    )
    assert (streamed.out, streamed.err) == (drawn.out, drawn.err)


def test_python_says_the_same(here: Path) -> None:
    """LanguageModel.novelty gives the figures of the command."""
    found = load("line").novelty(["the big zoo", "old"], words=(1,))
    (said,) = lines_of_json(
        good("novelty", "-", "--model", "line", "--json", stdin=b"the big zoo\nold\n").out
    )
    assert said["longest_copy_characters"] == max(found.copied) == 8
    assert said["word_ngrams"][0]["unseen"] == found.word_ngrams[1].unseen == 1


def test_samples_are_cut_as_the_text_was(here: Path) -> None:
    """A line, what stands between blank lines, or a file; --split-on says otherwise."""
    samples = b"the big bear\nthe old jay\n\nthe zoo\n"
    for name, number, stands in (("line", 4, 0), ("paragraph", 2, 0), ("file", 1, None)):
        (said,) = lines_of_json(good("novelty", "-", "--model", name, "--json", stdin=samples).out)
        assert (said["samples"], said["in_training_text"]) == (number, stands)
    options = ("--model", "file", "--split-on", "line", "--json")
    assert json.loads(good("novelty", "-", *options, stdin=samples).out)["samples"] == 4
    assert "training text" not in good("novelty", "-", "--model", "file", stdin=samples).out


PARAGRAPHS = ["a\nb", "the big bear\n\nthe old jay\n", "", " \r\n", "zoo", "a\nb\n\n"]


def test_samples_that_hold_anything_come_back_by_nul(here: Path) -> None:
    """With -0 a sample is what stands before a NUL, blank lines, ends of lines and nothing too,
    from stdin and from a file, with a last NUL or without, whatever the model's sequences are.
    """
    data = "\0".join(PARAGRAPHS).encode()
    Path("drawn").write_bytes(data + b"\0")
    for model in ("line", "paragraph", "file"):
        options = ("--model", model, "-0", "--per-sample")
        for shown in (
            good("novelty", "-", *options, stdin=data),
            good("novelty", "drawn", *options),
        ):
            assert [row["text"] for row in lines_of_json(shown.out)] == PARAGRAPHS
            assert shown.err == ""
    against = ("--against", "corpus.txt", "--null", "--per-sample")
    assert good("novelty", "drawn", *against).out.count("\n") == len(PARAGRAPHS)


@pytest.mark.parametrize("stream", [(), ("--stream",)])
@pytest.mark.parametrize("model", ["line", "paragraph", "file"])
def test_what_sample_writes_novelty_reads(here: Path, model: str, stream: tuple[str, ...]) -> None:
    """`sample -0 | novelty -0` looks at the very samples, prompts that hold blank lines and all;
    without -0 a pipe between the two cuts lines and paragraphs as they were written.
    """
    options = ("sample", "--model", model, "-n", "9", "--max-tokens", "40", "--seed", "5")
    rows = lines_of_json(good(*options, "--json", "--prompt", "the\n\nb\n").out)
    drawn = good(*options, "-0", *stream, "--prompt", "the\n\nb\n")
    assert drawn.out == "".join(f"{row['text']}\0" for row in rows)
    read = good("novelty", "-", "-0", "--per-sample", "--model", model, stdin=drawn.out.encode())
    assert [row["text"] for row in lines_of_json(read.out)] == [row["text"] for row in rows]
    texts = [row["text"] for row in lines_of_json(good(*options, "--json").out)]
    plain = good(*options, *stream).out
    read = good("novelty", "-", "--per-sample", "--model", model, stdin=plain.encode())
    found = [row["text"] for row in lines_of_json(read.out)]
    if model == "line":
        assert found == texts
        assert f"samples: {len(texts)}, one per line (as the model's sequences are" in read.err
    elif model == "paragraph":
        assert found == [text.strip("\n") for text in texts]
        assert f"samples: {len(texts)}, one per paragraph (as the model's" in read.err
        assert "-0 reads what charlm sample -0 wrote" in read.err
    else:
        assert found == ["\n\n".join([*texts, ""])]
        assert "samples: 1, one per file (as the model's" in read.err
        assert "-0 reads what charlm sample -0 wrote" in read.err


def test_what_a_sample_was_taken_for_is_said_unless_asked_for(here: Path) -> None:
    """On stderr, so that the figures can be read; who says --split-on knows."""
    samples = b"the big bear\nthe old jay\n\nthe zoo\n"
    for name, number in (("line", 4), ("paragraph", 2), ("file", 1)):
        asked = ("novelty", "-", "--model", "line", "--json", "--split-on", name)
        shown = good(*asked, stdin=samples)
        assert shown.err == ""
        assert json.loads(shown.out)["samples"] == number


def test_without_a_model_all_is_cut_as_the_samples_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand lines stay a thousand samples beside a corpus of paragraphs, whose lines they are
    compared with; paragraphs are compared with paragraphs, and what was chosen is said.
    """
    monkeypatch.chdir(tmp_path)
    verse = ["A pear fell.\nIt was good.", "A fig fell.\nIt was bad.", "A plum\nwas there."]
    Path("corpus.txt").write_text("\n\n".join(verse) + "\n")
    lines = [f"sample {number}" for number in range(997)] + ["A pear fell.", "It was bad.", "plum"]
    against = ("--against", "corpus.txt", "--json")

    def figures(*options: str, samples: str) -> tuple[int, int, str]:
        shown = good("novelty", "-", *options, *against, stdin=samples.encode())
        found = json.loads(shown.out)
        return found["samples"], found["in_training_text"], shown.err

    number, known, said = figures(samples="\n".join(lines) + "\n")
    assert (number, known) == (1000, 2)
    assert (
        said == "samples: 1,000, one per line (by the look of the samples; --split-on changes it)\n"
    )
    number, known, said = figures(samples="\n\n".join([verse[1], "A pear fell.\nNo."]))
    assert (number, known) == (2, 1)
    assert said.startswith("samples: 2, one per paragraph (by the look of the samples; --split-on")
    records = "".join(json.dumps({"text": text}) + "\n" for text in (verse[1], "It was bad."))
    for options, samples in (
        (("--jsonl",), records),
        (("-0",), f"{verse[1]}\0It was bad.\0"),
    ):
        number, known, said = figures(*options, samples=samples)
        assert (number, known) == (2, 1)
        assert said.startswith("compared with sequences, one per paragraph (by the look")
        assert figures(*options, "--split-on", "line", samples=samples) == (2, 1, "")
    number, known, said = figures("-0", samples="It was bad.\0A fig\0")
    assert (number, known) == (2, 1)
    assert said.startswith("compared with sequences, one per line (by the look")


def test_texts_are_compared_as_the_model_reads_them(here: Path) -> None:
    """A model of words in lower case takes THE BIG for the big, with --against as well."""
    for options in ((), ("--against", "corpus.txt")):
        (row,) = lines_of_json(
            good(
                "novelty", "-", "--model", "words", "--per-sample", *options, stdin=b"THE BIG Zoo"
            ).out
        )
        assert row["longest_copy"]["text"] == "the big "
    alone = good("novelty", "-", "--against", "corpus.txt", "--per-sample", stdin=b"THE BIG Zoo")
    assert json.loads(alone.out)["longest_copy"]["text"] == " "


def test_against_files_no_model_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands where is told by file and sequence; all is found in the file itself."""
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("\n".join(FOX))
    Path("two.txt").write_text("an owl\n\nthe owl, a fox\n")
    files = ("--against", "one.txt", "--against", "two.txt")
    samples = b"the fox sat\nthe owl, \nzz\n"
    rows = lines_of_json(good("novelty", "-", *files, "--per-sample", stdin=samples).out)
    assert [row["in_training_text"] for row in rows] == [True, False, False]
    places = [(row["longest_copy"] or {}).get("file") for row in rows]
    assert places == ["one.txt", "two.txt", None]
    assert rows[1]["longest_copy"]["training_sequence"] == 2
    assert "two.txt:2" in good("novelty", "-", *files, stdin=samples).out
    assert max(map(len, good("novelty", "-", *files, stdin=samples).out.splitlines())) <= 80
    whole = json.loads(good("novelty", "one.txt", *files, "--json").out)
    assert whole["share_in_training_text"] == whole["share_copied_whole"] == 1
    assert all(of["unseen"] == 0 for of in whole["character_ngrams"] + whole["word_ngrams"])
    assert good("novelty", "-", *files, stdin=b"").out.startswith("samples")


def test_a_share_too_large_ends_with_1(here: Path) -> None:
    """So that a script can refuse a model that only repeats its text."""
    options = ("corpus.txt", "--model", "line", "--fail-above")
    good("novelty", *options, "1")
    assert "were allowed" in bad(1, "novelty", *options, "0.5")
    copied = (
        "novelty",
        "-",
        "--model",
        "file",
        "--fail-above",
        "0.5",
    )  # has no hashes: copied whole
    assert "were allowed" in bad(1, *copied, stdin=b"the big bear")
    good(*copied, stdin=b"zebras, 77 of them")


def test_what_cannot_be_is_said(here: Path) -> None:
    """Each in a sentence, with its exit code."""
    assert "(--against)" in bad(4, "novelty", "corpus.txt", "--model", "bare")
    refused = bad(4, "sample", "--model", "bare", "--report")
    assert "--no-index" in refused
    good("novelty", "corpus.txt", "--model", "bare", "--against", "corpus.txt")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--ngrams", "3,x")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--word-ngrams", "0")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--split-on", "word")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--fail-above", "2")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--json", "--per-sample")
    bad(2, "novelty", "-", "--against", "-")
    bad(2, "novelty", "corpus.txt", "--model", "line", "--jsonl", "-0")
    for apart in ("--jsonl", "-0"):
        said = bad(2, "novelty", "corpus.txt", "--model", "line", apart, "--split-on", "line")
        assert "--split-on" in said
    assert "utf-16" in bad(
        2, "novelty", "corpus.txt", "--model", "line", "-0", "--encoding", "utf-16"
    )
    bad(2, "sample", "--model", "line", "-0", "--json")
    assert "line 2" in bad(3, "novelty", "-", "-0", "--model", "line", stdin=b"a\0b\nc\xff\0")
    nul = ("sample", "--model", "line", "--prompt-file", "nul", "--seed", "0", "-0")
    Path("nul").write_bytes(b"a\0b")
    for more in ((), ("--stream",)):
        assert "take --json" in bad(3, *nul, *more)
    bad(3, "novelty", "nowhere.txt", "--model", "line")
    bad(3, "novelty", "-", "--against", "corpus.txt", "--jsonl", stdin=b'{"texts": "a"}\n')
    assert "line 2" in bad(
        3, "novelty", "-", "--against", "corpus.txt", "--jsonl", stdin=b'{"text": "a"}\n{"text"\n'
    )
    Path("blank.txt").write_text("\n \n")
    assert "blank" in bad(3, "novelty", "corpus.txt", "--against", "blank.txt")


def test_the_index_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resume leaves it as it is and makes it anew where it is missing, if it was wanted."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT)
    begun = good("train", "corpus.txt", "--name", "run", *TINY)
    assert "index: the training text, for charlm novelty" in begun.err
    files = [Path("checkpoints/run") / name for name in ("novelty.safetensors", "novelty.json")]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    resume = ("train", "--resume", "--name", "run", "--steps")
    assert "index:" not in good(*resume, "4").err
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    text_index.remove(Path("checkpoints/run"))
    good(*resume, "5", "--no-index")
    assert not text_index.stands(Path("checkpoints/run"))
    assert "index:" in good(*resume, "6").err
    assert [file.read_bytes() for file in files] == [data for data, _ in before]
    bare = good("train", "corpus.txt", "--name", "bare", "--no-index", *TINY)
    assert "index" not in bare.err
    good("train", "--resume", "--name", "bare", "--steps", "4")
    assert not text_index.stands(Path("checkpoints/bare"))
    for file in Path("checkpoints/bare").rglob("*"):  # the text itself is nowhere else in a run
        if file.is_file():
            assert b"the old badger" not in file.read_bytes()
