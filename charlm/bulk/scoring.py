"""What scores texts in bulk, here or in another process: a model, and what is asked of it."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

# What is scored side by side at most: more gain nothing, and take memory.
MOST_TEXTS = 4096
MOST_CHARACTERS = 2**20

if TYPE_CHECKING:
    from charlm.inference.score import TextScore
    from charlm.models.base import TextDistribution
    from charlm.models.cloze_model import ClozeModel


@dataclasses.dataclass(frozen=True)
class Scoring:
    """A model of texts and the options of its ``score_all``; called, it scores texts.

    Of a model that reads both sides of each token the scores hold pseudo-figures. Of models of
    different vocabularies there are the sums alone; of others ``per_token`` and ``words`` ask for
    more, and ``closed`` leaves the spelling of <UNK> out.
    """

    loaded: "TextDistribution | ClozeModel"
    context: str = ""
    per_token: bool = False
    words: bool = False
    closed: bool = False

    def __call__(self, texts: Sequence[str]) -> "list[TextScore]":
        """The scores of texts, in order; they depend on no texts that came before."""
        from charlm.models.base import TokenDistribution
        from charlm.models.cloze_model import ClozeModel

        self.loaded.forget()
        more = {"per_token": self.per_token, "words": self.words, "closed": self.closed}
        if isinstance(self.loaded, ClozeModel):
            found = self.loaded.pseudo_score_all(texts, context=self.context, **more)
            return [one.sums for one in found]
        if isinstance(self.loaded, TokenDistribution):
            return self.loaded.score_all(texts, context=self.context, **more)
        return self.loaded.score_all(texts, context=self.context)


def portions(values: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Values in portions that fit in memory, by their number and their characters."""
    portion: list[T] = []
    characters = 0
    for value in values:
        portion.append(value)
        characters += size(value)
        if len(portion) >= MOST_TEXTS or characters >= MOST_CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion
