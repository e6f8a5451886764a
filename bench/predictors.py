"""What each predictor of an adaptive mixture makes of a text, and what it adds to the others.

python -m bench predictors RUN TEXT prints a table. Nothing is learned: the memory is that of the
training text, the weights are those of the run.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import charlm
from bench import machine
from charlm.counts import mixer
from charlm.counts.adaptive import Adaptive, Evidence
from charlm.counts.memory import matches
from charlm.engines.adapting.engine import rows_of
from charlm.models.language_model import LanguageModel


def main(arguments: Sequence[str]) -> None:
    """Print the table."""
    if len(arguments) != 2:
        raise SystemExit("python -m bench predictors RUN TEXT: which run, and which text?")
    lm = charlm.load(arguments[0])
    assert isinstance(lm, LanguageModel)
    adaptive = lm.checkpoint.adaptive
    if adaptive is None:
        raise SystemExit(f"{arguments[0]} was not trained with --adaptive.")
    ids = np.append(lm.tokenizer.encode(arguments[1]), lm.tokenizer.eos_id).astype(np.int64)
    rows = rows_of(lm.engines.networks.of("torch"), [ids])
    table(adaptive, ids, evidence_of(adaptive, ids, rows))


def evidence_of(adaptive: Adaptive, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> Evidence:
    """What the mixer is told of a sequence (T,), by the rows (T, V) of the network."""
    text = adaptive.text([ids])
    places = adaptive.contexts.places(text.stream, text.since, text.at)
    found = matches(adaptive.memory, places.keys)
    return adaptive.evidence(text, places, found, adaptive.inputs(text, [rows]))


def table(adaptive: Adaptive, ids: NDArray[np.int64], evidence: Evidence) -> None:
    """Print of each predictor its own nats per token, its weight, what leaving it out costs."""
    at = np.arange(len(ids))
    weights = adaptive.frozen.at(evidence.confidence, evidence.chosen)  # (T, K)

    def nats(used: NDArray[np.float64]) -> float:
        return -float(mixer.mixed(used, evidence.inputs, evidence.seen)[at, ids].mean())

    whole = nats(weights)
    found = []
    for index, (name, own) in enumerate(alone(adaptive, ids, evidence).items()):
        without = weights.copy()
        without[:, index] = 0
        seen = evidence.confidence[:, index] > 0
        share = f"{seen.mean():.0%}" if index >= len(evidence.inputs) else ""
        weight = f"{weights[:, index].mean():.3f}"
        found.append((name, share, f"{-own.mean():.3f}", weight, f"{nats(without) - whole:+.4f}"))
    machine.table(("predictor", "known at", "alone", "mean weight", "left out"), found)
    print(f"\nall of them: {whole:.4f} nats per token, {len(ids)} tokens")


def alone(
    adaptive: Adaptive, ids: NDArray[np.int64], evidence: Evidence
) -> dict[str, NDArray[np.float64]]:
    """log P (T,) that each predictor by itself gives to the tokens of a sequence."""
    at, known = np.arange(len(ids)), evidence.seen
    found = {
        name: rows[at, ids].astype(np.float64)
        for name, rows in zip(("network", "by shares", "n-grams"), evidence.inputs, strict=True)
    }
    base = evidence.inputs[-1].astype(np.float64)
    for index, name in enumerate(adaptive.contexts.names):
        own = known.context == index
        place, kind, value = known.place[own], known.type[own], known.value[own]
        total = np.ones(len(ids))
        np.add.at(total, place, np.exp(base[place, kind]) * np.expm1(value))
        more = np.zeros(len(ids))
        is_token = kind == ids[place]
        more[place[is_token]] = value[is_token]
        found[name] = base[at, ids] + more - np.log(total)
    return found
