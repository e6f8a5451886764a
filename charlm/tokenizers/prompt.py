"""A text that tokens are to continue: the other side of encode_prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlm.tokenizers.base import UNK_TEXT
from charlm.tokenizers.normalizing import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charlm.tokenizers.base import Tokenizer

_HALF = 3  # tokens at most make half a character: all of its bytes but one
_WINDOW = 4 * _HALF  # tokens that are decoded again for each that comes


class Prompt:
    """A prompt with its ids, as encode_prompt gives them; or ids, and the text that they are."""

    is_text = True

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.text = text
        self.ids: list[int] = tokenizer.encode_prompt(text).tolist()
        self.tokenizer = tokenizer
        # encode_prompt may have left the last space to the first token that follows.
        unknown = tokenizer.unknown(text)[: self.ids.count(tokenizer.unk_id)]
        known = tokenizer.decode(self.ids, unknown)
        self._lacks_space = _num_spaces(folded(tokenizer, text)) > _num_spaces(known)
        # How that token is joined depends on the last one alone: text ends in a whole character.
        self._last = self.ids[-1:]
        self._last_unknown = unknown[-1:] if self._last == [tokenizer.unk_id] else []
        self._last_length = len(tokenizer.decode(self._last, self._last_unknown))

    @classmethod
    def of_ids(cls, tokenizer: Tokenizer, ids: list[int]) -> Prompt:
        """Ids as they are, <EOS> among them where a text ends and another begins.

        Raises UsageError if one is outside the vocabulary.
        """
        found = cls(tokenizer, "")
        found.is_text = False
        found.text, found.ids = tokenizer.decode(ids), list(ids)
        found._last = [token for token in ids[-1:] if token != tokenizer.eos_id]
        found._last_length = len(tokenizer.decode(found._last))
        return found

    @property
    def begun(self) -> list[int]:
        """The ids of the sequence that is to be continued: those after the last <EOS>."""
        eos_id = self.tokenizer.eos_id
        return (
            self.ids[len(self.ids) - self.ids[::-1].index(eos_id) :]
            if eos_id in self.ids
            else self.ids
        )

    def continuation(self, ids: list[int], unknown: Sequence[str] = ()) -> str:
        """The text that further ids add to the prompt, their first <UNK> as ``unknown``."""
        text = self.tokenizer.decode(self._last + ids, [*self._last_unknown, *unknown])
        text = text[self._last_length :]
        return text.removeprefix(" ") if self._lacks_space else text

    def growing(self) -> Growing:
        """The same text as its ids come one by one."""
        return Growing(self.tokenizer, self._last, self._last_unknown, self._lacks_space)


class Growing:
    """A text that ids add to others, as far as it is settled.

    Half a character, shown as U+FFFD, may yet become a whole one. Only the last tokens are decoded
    again for each that comes: how one is joined depends on the one before it.
    """

    def __init__(
        self, tokenizer: Tokenizer, ids: list[int], unknown: Sequence[str], lacks_space: bool
    ) -> None:
        self._tokenizer = tokenizer
        self._ids = list(ids)
        self._unknown = list(unknown)
        self._shown = len(tokenizer.decode(ids, unknown))  # characters of these ids' text
        self._lacks_space = lacks_space

    def add(self, token_id: int, unknown: str | None = None) -> str:
        """What another id, an <UNK> as ``unknown``, settles of the text."""
        return self.add_all([token_id], [] if unknown is None else [unknown])

    def add_all(self, ids: Sequence[int], unknown: Sequence[str] = ()) -> str:
        """What further ids, the <UNK> among them as ``unknown``, settle of the text together."""
        self._ids += ids
        self._unknown += unknown
        text = self._tokenizer.decode(self._ids, self._unknown)
        half = len(text) - len(text.rstrip(UNK_TEXT))
        settled = text[self._shown : len(text) - min(half, _HALF)]
        self._shown += len(settled)
        if len(self._ids) > _WINDOW:
            self._forget(text)
        if settled and self._lacks_space:
            self._lacks_space = False
            return settled.removeprefix(" ")
        return settled

    def _forget(self, text: str) -> None:
        """Leave out ids on which nothing depends any more: no cut parts a character.

        What is held back stays, and what the next tokens could make a character of.
        """
        unk_id, end = self._tokenizer.unk_id, len(self._ids) - _HALF
        for at in range(end, 0, -1):
            ids = self._ids[at - 1 :]
            known = self._ids[: at - 1].count(unk_id)
            last = self._unknown[known : known + ids[:1].count(unk_id)]
            head = self._tokenizer.decode(self._ids[:at], self._unknown)
            tail = self._tokenizer.decode(ids, self._unknown[known:])
            after = tail[len(self._tokenizer.decode(ids[:1], last)) :]
            if len(head) <= self._shown and head + after == text:
                self._ids, self._unknown = ids, self._unknown[known:]
                self._shown -= len(text) - len(tail)
                return


def _num_spaces(text: str) -> int:
    """How many spaces a text ends in."""
    return len(text) - len(text.rstrip(" "))
