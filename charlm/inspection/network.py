"""The one network of a language model that is looked into, and texts as it reads them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charlm.engines.protocol import Engine
from charlm.errors import TextError, UsageError
from charlm.inference.score import ended
from charlm.models.engine_choice import check_network
from charlm.models.language_model import LanguageModel

if TYPE_CHECKING:
    from charlm.engines.torch_lm import TorchEngine
    from charlm.nn.causal import RecurrentLM

Ids = NDArray[np.int64]
_MARGINAL = "this model is one network for each label: choose one of them, with a label."


def network_of(lm: LanguageModel, tokens: int) -> Engine:
    """Its network alone, by the engine for so many tokens.

    Raises UsageError without a label, or without a network.
    """
    check_network(lm.checkpoint)
    if lm.is_marginal:
        raise UsageError(_MARGINAL)
    return lm.engines.network(lm.engines.kind_for(tokens))


def module_of(lm: LanguageModel) -> "RecurrentLM":
    """The same as a torch module."""
    check_network(lm.checkpoint)
    if lm.is_marginal:
        raise UsageError(_MARGINAL)
    engine: TorchEngine = lm.engines.network("torch")  # type: ignore[assignment]
    return engine.model


def name_of(lm: LanguageModel) -> str:
    """What a model is called in a comparison: its run, and its label if it has one."""
    return lm.name if lm.label is None else f"{lm.name} ({lm.label})"


def sequences_of(lm: LanguageModel, texts: Iterable[str]) -> list[Ids]:
    """The ids (T,) of texts, each with <EOS> at its end. Raises TextError if there is none."""
    found = [ids.astype(np.int64) for ids in ended(lm.tokenizer, list(texts))]
    if not found:
        raise TextError("there is no text to look at.")
    return found


def first_of(lm: LanguageModel, texts: Iterable[str], most_tokens: int) -> tuple[list[str], bool]:
    """Texts up to so many tokens, the last of them cut short, and whether anything was left out."""
    found: list[str] = []
    left = most_tokens
    for text in texts:
        if left <= 0:
            return found, True
        part = text[: 20 * left]  # no token that matters is longer than that on average
        _, ranges = lm.tokenizer.encode_with_offsets(part)
        if len(ranges) > left or len(part) < len(text):
            found.append(text[: ranges[min(left, len(ranges)) - 1][1]])
            return found, True
        found.append(text)
        left -= len(ranges) + 1
    return found, False


def drawn(sequences: list[Ids], number: int, seed: int) -> Iterator[tuple[int, int]]:
    """Some of the targets of sequences, drawn without a bias, in order: which sequence, and place.

    All of them if there are no more than that.
    """
    ends = np.cumsum([len(ids) for ids in sequences])
    rng = np.random.default_rng(seed)
    total = int(ends[-1])
    places = np.sort(rng.choice(total, size=min(number, total), replace=False))
    which = np.searchsorted(ends, places, side="right")
    for sequence, place in zip(which.tolist(), places.tolist(), strict=True):
        yield sequence, place - int(ends[sequence]) + len(sequences[sequence])
