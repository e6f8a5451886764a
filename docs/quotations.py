"""Name the function and the line beside each quotation of docs/equations.md.

python docs/quotations.py writes the page anew. A test fails where a quotation is not what stands
in the code, or its line has moved.
"""

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "equations.md"
SOURCES = (
    "charlm/equations/language_model.py",
    "charlm/equations/training.py",
    "charlm/nn/network.py",
    "charlm/training/window_steps.py",
    "charlm/training/optimizer.py",
)
_BLOCK = re.compile(r"(?:^\[`\w+`, line \d+\]\([^)]*\):\n\n)?^```python\n(.*?)^```", re.S | re.M)


def stripped(code: str) -> str:
    """Code without common indentation or blank lines around it."""
    return textwrap.dedent(code).strip("\n")


def place_of(quote: str) -> tuple[str, str, int]:
    """File, function and line, from 1 on, where a quotation stands. Raises LookupError."""
    wanted = stripped(quote)
    number = wanted.count("\n") + 1
    for path in SOURCES:
        text = (ROOT / path).read_text(encoding="utf-8")
        lines = text.split("\n")
        for begin in range(len(lines) - number + 1):
            if stripped("\n".join(lines[begin : begin + number])) == wanted:
                return path, _function(text, begin + 1), begin + 1
    raise LookupError(wanted)


def _function(text: str, line: int) -> str:
    """The function that a line stands in, without the class around it."""
    (*_, found) = (
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef)
        and node.end_lineno is not None
        and node.lineno <= line <= node.end_lineno
    )
    return found


def captioned(page: str) -> str:
    """The page, each quotation below the name of its function."""

    def caption(block: re.Match[str]) -> str:
        path, name, line = place_of(block[1])
        return f"[`{name}`, line {line}](../{path}#L{line}):\n\n```python\n{block[1]}```"

    return _BLOCK.sub(caption, page)


if __name__ == "__main__":
    PAGE.write_text(captioned(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
