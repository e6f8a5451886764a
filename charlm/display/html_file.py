"""A page that things are added to one after another, whole once the ``with`` is left."""

from pathlib import Path
from typing import Self, TextIO


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
