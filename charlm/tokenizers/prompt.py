"""A text that tokens are to continue: the other side of encode_prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlm.tokenizers.normalizing import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charlm.tokenizers.base import Tokenizer


class Prompt:
    """A prompt with its ids, as encode_prompt gives them."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.text = text
        self.ids: list[int] = tokenizer.encode_prompt(text).tolist()
        self._tokenizer = tokenizer
        # encode_prompt may have left the last space to the first token that follows.
        unknown = tokenizer.unknown(text)[: self.ids.count(tokenizer.unk_id)]
        known = tokenizer.decode(self.ids, unknown)
        self._lacks_space = _num_spaces(folded(tokenizer, text)) > _num_spaces(known)
        # How that token is joined depends on the last one alone: text ends in a whole character.
        self._last = self.ids[-1:]
        self._last_unknown = unknown[-1:] if self._last == [tokenizer.unk_id] else []
        self._last_length = len(tokenizer.decode(self._last, self._last_unknown))

    def continuation(self, ids: list[int], unknown: Sequence[str] = ()) -> str:
        """The text that further ids add to the prompt, their first <UNK> as ``unknown``."""
        text = self._tokenizer.decode(self._last + ids, [*self._last_unknown, *unknown])
        text = text[self._last_length :]
        return text.removeprefix(" ") if self._lacks_space else text


def _num_spaces(text: str) -> int:
    """How many spaces a text ends in."""
    return len(text) - len(text.rstrip(" "))
