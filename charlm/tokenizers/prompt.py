"""A text that tokens are to continue: the other side of encode_prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlm.tokenizers.base import Tokenizer


class Prompt:
    """A prompt with its ids, as encode_prompt gives them."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.text = text
        self.ids: list[int] = tokenizer.encode_prompt(text).tolist()
        self._tokenizer = tokenizer
        # encode_prompt may have left the last space to the first token that follows.
        self._lacks_space = _num_spaces(text) > _num_spaces(tokenizer.decode(self.ids))
        # How that token is joined depends on the last one alone: text ends in a whole character.
        self._last = self.ids[-1:]
        self._last_length = len(tokenizer.decode(self._last))

    def continuation(self, ids: list[int]) -> str:
        """The text that further ids add to the prompt."""
        text = self._tokenizer.decode(self._last + ids)[self._last_length :]
        return text.removeprefix(" ") if self._lacks_space else text


def _num_spaces(text: str) -> int:
    """How many spaces a text ends in."""
    return len(text) - len(text.rstrip(" "))
