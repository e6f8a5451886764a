"""What a terminal is shown: cut, broken into lines, and no wider than it is."""

from hypothesis import example, given
from hypothesis import strategies as st

from charlm.cli.output.terminal import cut, fitted
from charlm.display.columns import width


@given(st.text(), st.integers(1, 30))
@example("漢字", 3)
@example("👩‍👩‍👧☃\ufe0f", 4)
def test_a_text_is_cut_to_the_columns_there_are(text: str, columns: int) -> None:
    """What fits stays whole; what does not is a beginning of it and an ellipsis."""
    short = cut(text, columns)
    assert width(short) <= columns
    assert short == text if width(text) <= columns else text.startswith(short.removesuffix("…"))
    assert width("漢a\u0301😀") == 5


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
