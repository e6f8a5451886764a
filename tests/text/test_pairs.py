"""Laws of reading pairs: what is no pair is told by its line, and sources stay on one side."""

from pathlib import Path

import pytest

from charlm.errors import TextError, UsageError
from charlm.text.pairs import Pair, PairPlaces, hold_out_pairs, read_pairs


def read(path: Path, text: str, name: str = "pairs.tsv", **places: object) -> list[Pair]:
    """The pairs of a file of that text."""
    (path / name).write_text(text, encoding="utf-8")
    return read_pairs([path / name], PairPlaces.of(**places))[0]  # type: ignore[arg-type]


def test_a_line_is_a_pair(tmp_path: Path) -> None:
    """Source, tab, target; blank lines and white space around are left out, of CSV quotes too."""
    assert read(tmp_path, "one\t1\n\n two \t 2\r\n") == [Pair("one", "1"), Pair("two", "2")]
    assert read(tmp_path, 'a,"b, c"\n', "pairs.csv") == [Pair("a", "b, c")]
    jsonl = '{"from": "a", "to": {"text": "b"}}\n'
    found = read(tmp_path, jsonl, "pairs.jsonl", source_field="from", target_field="to.text")
    assert found == [Pair("a", "b")]


def test_columns_are_named(tmp_path: Path) -> None:
    """By number or, with a header, by name."""
    text = "id\tword\tsound\n7\tpear\tP EH R\n"
    named = read(tmp_path, text, source_column="word", target_column="sound")
    assert named == [Pair("pear", "P EH R")]
    numbered = read(tmp_path, text, source_column="3", target_column="2", header=True)
    assert numbered == [Pair("P EH R", "pear")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alone", r"line 2: it has 1 column between tabs, not 2"),
        ("a,b", r"are they between commas\? Name the file .csv"),
        ("a\tb\tc\td", r"line 2: it has 4 columns between tabs, not 2; name those"),
        ("a\t ", "line 2: its target is empty"),
        ("\tb", "line 2: its source is empty"),
    ],
)
def test_what_is_no_pair_is_told_by_its_number(tmp_path: Path, line: str, said: str) -> None:
    """With what is wrong, and what to do."""
    with pytest.raises(TextError, match=said):
        read(tmp_path, f"a\tb\n{line}\n")


def test_a_source_with_features_is_a_line(tmp_path: Path) -> None:
    """Text, tab, features; in any order, of UniMorph and CoNLL-U, of a column or a field."""
    text = "sing\tsang\tV;PST\nsing\tsings\tV; 3;SG;3\nsing\tsing\t_\n"
    found = read(tmp_path, text, features_column="3")
    assert found == [
        Pair("sing\tPST;V", "sang"),
        Pair("sing\t3;SG;V", "sings"),
        Pair("sing", "sing"),
    ]
    named = "feats\tform\tlemma\nTense=Past|Mood=Ind\tsang\tsing\n"
    asked = {"source_column": "lemma", "target_column": "form", "features_column": "feats"}
    assert read(tmp_path, named, **asked) == [Pair("sing\tMood=Ind;Tense=Past", "sang")]
    jsonl = '{"a": "sing", "b": "sang", "c": "V;PST"}\n'
    fields = {"source_field": "a", "target_field": "b", "features_field": "c"}
    assert read(tmp_path, jsonl, "pairs.jsonl", **fields) == found[:1]


def test_features_that_cannot_be_are_told_by_line(tmp_path: Path) -> None:
    """A column that is not there, and a source that would be cut by its own tab."""
    with pytest.raises(TextError, match="line 2: it has 2 columns between tabs, not 3"):
        read(tmp_path, "a\tb\tV\na\tb\n", features_column="3")
    with pytest.raises(TextError, match="line 2: its source holds a tab"):
        read(tmp_path, 'x,y,z\n"a\tb",c,V\n', "pairs.csv", features_column="3")
    for places in (
        {"features_column": "1"},
        {"features_column": "2"},
        {"features_column": "0"},
        {"features_field": "x"},
        {"source_field": "a", "target_field": "b", "features_column": "3"},
    ):
        with pytest.raises(UsageError):
            PairPlaces.of(**places)  # type: ignore[arg-type]


def test_names_that_are_not_there_are_refused(tmp_path: Path) -> None:
    """A column, a field, or one place for both sides."""
    with pytest.raises(TextError, match='line 1: there is no column "wrd"'):
        read(tmp_path, "word\tsound\n", source_column="wrd", target_column="sound")
    with pytest.raises(TextError, match='line 1: it has no field "to"'):
        read(tmp_path, '{"from": "a"}\n', "x.jsonl", source_field="from", target_field="to")
    for places in (
        {"source_column": "2"},
        {"source_column": "0"},
        {"source_field": "a"},
        {"source_field": "a", "target_field": "a"},
        {"source_field": "a", "target_field": "b", "source_column": "1"},
    ):
        with pytest.raises(UsageError):
            PairPlaces.of(**places)  # type: ignore[arg-type]


def test_pairs_of_one_source_stand_on_one_side() -> None:
    """No source that is held out is trained on, with any target; all pairs are on some side."""
    pairs = [Pair(f"w{number % 40}", f"t{number}") for number in range(100)]
    train, valid, notes = hold_out_pairs(pairs, share=0.2, seed=1)
    assert not {pair.source for pair in train} & {pair.source for pair in valid}
    assert sorted(train + valid) == sorted(pairs)
    assert len({pair.source for pair in valid}) == 8
    assert notes == ()


def test_all_features_of_a_source_stand_on_one_side() -> None:
    """A lemma whose forms are held out is not trained on with other features."""
    pairs = [Pair(f"w{number % 40}\tF{number // 40}", "t") for number in range(120)]
    train, valid, _ = hold_out_pairs(pairs, share=0.2, seed=1, has_features=True)
    lemmas = [{pair.source.split("\t")[0] for pair in side} for side in (train, valid)]
    assert not lemmas[0] & lemmas[1]
    assert len(lemmas[1]) == 8
    assert len(valid) == 3 * 8
