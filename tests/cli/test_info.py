"""charlm info and charlm list."""

from pathlib import Path

from tests.support.cli import good, lines_of_json


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
