"""A page that things are added to one after another, whole once the ``with`` is left."""

from html import escape
from pathlib import Path
from typing import Self, TextIO

from charlm.display.safe_text import safe_text


def head(title: str, style: str, *, kind: str = "", intro: str = "") -> str:
    """All that stands before the first thing of a page: its title, style sheet and introduction.

    ``kind`` is the class of its body, ``intro`` is HTML.
    """
    name = escape(safe_text(title))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="charlm">
<title>{name}</title>
<style>
{style}</style>
</head>
<body{f' class="{kind}"' if kind else ""}>
<main>
<header>
<h1><bdi>{name}</bdi></h1>
{intro}</header>
"""


class HtmlFile:
    """A file of HTML with a head, whatever is written to it, and an end.

    The head leaves a <main> open. Raises OSError if the file cannot be written.
    """

    def __init__(self, path: str | Path, head: str) -> None:
        self._path, self._head = Path(path), head
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("w", encoding="utf-8", newline="\n")
        self._write(self._head)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None
        with self._file:
            if kind is not None:
                self._write('<p class="figures">Stopped here, before the end.</p>\n')
            self._write("</main>\n</body>\n</html>\n")

    def _write(self, html: str) -> None:
        assert self._file is not None
        self._file.write(html)
