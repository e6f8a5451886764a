"""A source with features, as a line: its text, a tab and the features.

``;`` stands between them as UniMorph has it, or ``|`` as CoNLL-U does: ``walk TAB V;PST``,
``walk TAB Tense=Past|VerbForm=Fin``. Their order says nothing, nor does a feature that comes twice;
``_`` is none.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

TAB = "\t"
_NONE = "_"
_BETWEEN = re.compile(r"[;|\t]")


class Featured(NamedTuple):
    """A source in two parts."""

    text: str
    features: tuple[str, ...]

    @property
    def line(self) -> str:
        """The text, a tab and the features; the text alone where there are none."""
        return f"{self.text}{TAB}{';'.join(self.features)}" if self.features else self.text


def featured(text: str, features: str | Iterable[str]) -> Featured:
    """A text and its features, as they are written or one by one.

    Raises ValueError, with a sentence, if the text holds a tab.
    """
    if TAB in text:
        raise ValueError("its source holds a tab, behind which features stand")
    written = features if isinstance(features, str) else ";".join(features)
    parts = {part.strip() for part in _BETWEEN.split(written)}
    return Featured(text, tuple(sorted(parts - {"", _NONE})))


def parted(line: str) -> Featured:
    """The text of a line, and the features behind its first tab, if it has one."""
    text, _, written = line.partition(TAB)
    return featured(text, written)
