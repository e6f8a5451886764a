"""How much context a model uses: the rise of its loss when what is further back is taken away.

After Khandelwal, He, Qi & Jurafsky 2018 ("Sharp Nearby, Fuzzy Far Away: How Neural Language Models
Use Context"). What lies beyond the last n tokens is cut (a text begins there), shuffled, or
replaced by other text. <UNK> counts as one symbol.

Letters: P positions, N numbers of tokens, L tokens read, V types.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.counts.interpolation import Partner
from charlm.inspection.network import Ids, drawn, module_of, network_of, sequences_of
from charlm.inspection.views import context as views
from charlm.models.language_model import LanguageModel
from charlm.nn.causal import RecurrentLM

Beyond: TypeAlias = Literal["cut", "shuffle", "replace"]
LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
NETWORK, NGRAM, CACHE, ALL = "network", "n-grams", "network and cache", "model"
_MOST, _FEWEST = 500, 24  # positions
_WORK = 1e12  # products of weights that all positions together may cost
_TOKENS = 2**16  # that are read side by side
_NOTHING = -1  # stands left of the mark in a history

Values = NDArray[np.float64]
Scores = dict[str, Values]


class Without(NamedTuple):
    """What one model loses, in nats per token, without what lies beyond n tokens: (N,) each.

    ``whole`` is its loss with all of the context; ``error`` is the standard error of the rise.
    """

    model: str
    whole: float
    loss: Values
    error: Values

    @property
    def rise(self) -> Values:
        """How much the loss rises (N,)."""
        return self.loss - self.whole


class ContextUse(NamedTuple):
    """The rise of the loss by how many tokens are left as they were (N,).

    ``models`` are the network and, where it has a partner, what stands beside it: n-grams, the
    cache, and all of them together.
    """

    beyond: Beyond
    lengths: tuple[int, ...]
    positions: int
    models: tuple[Without, ...]

    def _repr_html_(self) -> str:
        return views.view(self).html


def context_use(
    lm: LanguageModel,
    texts: Sequence[str],
    *,
    beyond: Beyond = "cut",
    lengths: Sequence[int] = LENGTHS,
    positions: int | None = None,
    seed: int = 0,
) -> ContextUse:
    """What a model loses without the context beyond n tokens, at positions drawn from texts.

    Of those the number is chosen by the size of the network where it is None. Raises TextError
    without a text.
    """
    sequences = sequences_of(lm, texts)
    module = module_of(lm)
    longest = max(map(len, sequences)) - 1
    kept = tuple(n for n in lengths if n <= longest) or (min(lengths),)
    number = positions or affordable(module, kept, beyond)
    chosen = list(drawn(sequences, number, seed))
    whole = _whole(lm, sequences, chosen)
    rng = np.random.default_rng((seed, 1))
    columns: dict[str, list[Values]] = {name: [] for name in whole}
    for n in kept:
        contexts = [
            _without(sequences, which, at, n, max(kept), beyond, rng) for which, at in chosen
        ]
        targets = np.array([sequences[which][at] for which, at in chosen])
        for name, values in last_log_probs(module, lm.partner, contexts, targets).items():
            columns[name].append(values)
    return ContextUse(
        beyond,
        kept,
        len(chosen),
        tuple(_compared(name, whole[name], rows) for name, rows in columns.items()),
    )


def affordable(module: RecurrentLM, lengths: Sequence[int], beyond: Beyond) -> int:
    """How many positions some seconds are enough for."""
    products = sum(parameter.numel() for parameter in module.layers.parameters())
    tokens = sum(lengths) if beyond == "cut" else max(lengths) * len(lengths)
    return int(np.clip(_WORK / (products * tokens), _FEWEST, _MOST))


def _compared(name: str, whole: Values, rows: Sequence[Values]) -> Without:
    rises = [whole - row for row in rows]  # (P,) each: log P falls
    count = np.sqrt(max(1, len(whole)))
    return Without(
        model=name,
        whole=-float(whole.mean()),
        loss=np.array([-row.mean() for row in rows]),
        error=np.array([rise.std(ddof=1) / count if len(rise) > 1 else np.nan for rise in rises]),
    )


def _whole(
    lm: LanguageModel, sequences: Sequence[Ids], chosen: Sequence[tuple[int, int]]
) -> Scores:
    """log P (P,) of targets with all that stands before them, by each model."""
    begins = np.cumsum([0, *map(len, sequences)])
    places = np.array([begins[which] + at for which, at in chosen])
    network = network_of(lm, int(begins[-1]))
    log_probs, _ = network.token_log_probs(sequences)
    found = {NETWORK: log_probs[places]}
    for name, partner in _partners(lm.partner):
        evidence = partner.evidence(sequences)
        mixed = partner.combine(log_probs, evidence)
        if name == NGRAM:
            assert evidence.ngram is not None
            mixed = evidence.ngram
        found[name] = mixed[places]
    return found


def _partners(partner: Partner | None) -> Iterator[tuple[str, Partner]]:
    """What stands beside a network, each with a name."""
    if partner is None:
        return
    if partner.ngram is not None:
        yield NGRAM, partner
    if partner.ngram is not None and partner.cache is not None:
        number = 2 * len(partner.cache.lengths)
        yield CACHE, Partner(None, partner.cache, partner.parameters[-number:])
    yield ALL, partner


def _without(
    sequences: Sequence[Ids],
    which: int,
    at: int,
    near: int,
    most: int,
    beyond: Beyond,
    rng: np.random.Generator,
) -> Ids:
    """What is read before a target, of the most tokens, those beyond the near ones changed."""
    ids = sequences[which]
    if beyond == "cut":
        return ids[max(0, at - near) : at]
    context = ids[max(0, at - most) : at].copy()
    far = max(0, len(context) - near)
    if beyond == "shuffle":
        context[:far] = rng.permutation(context[:far])
    else:
        context[:far] = _other(sequences, far, rng)
    return context


def _other(sequences: Sequence[Ids], number: int, rng: np.random.Generator) -> Ids:
    """So many tokens from anywhere in the texts, their ends left out."""
    stream = np.concatenate([ids[:-1] for ids in sequences])
    other: Ids = stream[(rng.integers(len(stream)) + np.arange(number)) % len(stream)]
    return other


@torch.inference_mode()
def last_log_probs(
    module: RecurrentLM, partner: Partner | None, contexts: Sequence[Ids], targets: Ids
) -> Scores:
    """log P (P,) of one target after each context, which a sequence begins with, by each model."""
    found: dict[str, list[Values]] = {}
    mark = module.config.vocab_size
    rows = max(1, _TOKENS // (1 + max(map(len, contexts))))
    for first in range(0, len(contexts), rows):
        part, wanted = contexts[first : first + rows], targets[first : first + rows]
        lengths = np.array([len(context) for context in part])
        inputs = np.full((len(part), 1 + lengths.max()), mark)
        histories = np.full_like(inputs, _NOTHING)
        for row, context in enumerate(part):
            inputs[row, 1 : 1 + len(context)] = context
            histories[row, inputs.shape[1] - 1 - len(context) :] = [mark, *context]
        hidden, _ = module.hidden(torch.from_numpy(inputs), module.init_state(len(part)))
        top = hidden[torch.from_numpy(lengths), torch.arange(len(part))]  # (B, H)
        log_probs = module.logits(top).log_softmax(1).numpy()  # (B, V)
        for name, values in _rows(partner, log_probs, histories):
            found.setdefault(name, []).append(
                values[np.arange(len(part)), wanted].astype(np.float64)
            )
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _rows(
    partner: Partner | None, log_probs: NDArray[np.float32], histories: Ids
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """log P (B, V) of all types by each model."""
    yield NETWORK, log_probs
    for name, one in _partners(partner):
        if name == NGRAM:
            assert one.ngram is not None
            yield name, np.log(one.ngram.rows(histories)[0])
        else:
            yield name, one.rows(log_probs.copy(), histories[:, -one.reach :])
