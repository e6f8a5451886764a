"""What Python callers hand over: one text, or several. The one is never taken for the other.

A text is a sequence of texts to Python, of one character each; so it has to be asked.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from charlm.errors import UsageError
from charlm.tokenizers.features import featured

# A text; or a text and its features, as they are written or one by one.
Source: TypeAlias = str | tuple[str, Iterable[str]]
_SHOWN = 30  # characters of what was got


def one_text(value: Any, name: str, instead: str = "") -> str:
    """The text. Raises UsageError saying what was got, and what to do ``instead`` with several."""
    if isinstance(value, str):
        return value
    more = f" {instead}" if instead and not isinstance(value, (bytes, int, float)) else ""
    raise UsageError(f"{name} must be a text, got {_told(value)}.{more}")


def one_source(value: Any, name: str, instead: str = "") -> str:
    """The source as a line; one with features may come as a tuple of its text and them.

    Raises UsageError.
    """
    if not (isinstance(value, tuple) and len(value) == 2):
        return one_text(value, name, instead)
    text, features = value
    try:
        return featured(one_text(text, name), features).line
    except (TypeError, ValueError):
        raise UsageError(
            f"{name} with features must be a text without tabs and a text, or a list, of features, "
            f"got {value!r:.{_SHOWN}}."
        ) from None


def several_sources(
    values: Iterable[Any], name: str, line: Callable[[Any, str], str] = one_source
) -> list[str]:
    """The sources as lines. Raises UsageError for one alone, and for what is none among them."""
    _refuse_one(values, name)
    return [line(value, f"number {at} of {name}") for at, value in enumerate(values, start=1)]


def several_texts(values: Iterable[Any], name: str) -> list[str]:
    """The texts as a list. Raises UsageError for one text, and for what is none among them."""
    return list(each_text(values, name))


def each_text(values: Iterable[Any], name: str) -> Iterator[str]:
    """The same one after another, as they come; one text is refused at once."""
    _refuse_one(values, name)
    return _each(values, name)


def _refuse_one(values: Any, name: str) -> None:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UsageError(
            f"{name} must be a list of texts, got {_told(values)}. One text goes into a list: "
            "[text]."
        )


def several_sentences(values: Iterable[Any], name: str) -> list[list[str]]:
    """Sentences as lists of their tokens. Raises UsageError for texts that have not been cut."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UsageError(
            f"{name} must be a list of sentences, each a list of its tokens, got {_told(values)}."
        )
    found = []
    for number, sentence in enumerate(values, start=1):
        if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Iterable):
            raise UsageError(
                f"number {number} of {name} must be a list of tokens, got {_told(sentence)}. Give "
                'each sentence cut: ["Jane", "sings"].'
            )
        found.append(several_texts(sentence, f"number {number} of {name}"))
    return found


def _each(values: Iterable[Any], name: str) -> Iterator[str]:
    for number, value in enumerate(values, start=1):
        yield one_text(value, f"number {number} of {name}")


def _told(value: Any) -> str:
    """What a value is, shortly."""
    kind = type(value).__name__
    if isinstance(value, str):
        return f"one text, {value if len(value) <= _SHOWN else value[:_SHOWN] + '…'!r}"
    if isinstance(value, (bytes, int, float)):
        return f"{kind} {value!r:.{_SHOWN}}"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
