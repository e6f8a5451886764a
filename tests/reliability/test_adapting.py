"""What learns as it reads (row A1): a text's score is its own, and no text spoils the weights."""

import random

import numpy as np
import pytest

from charlm.engines.adapting.engine import AdaptiveEngine
from charlm.engines.adapting.stream import AdaptiveStream
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.nn.network import to_arrays
from tests.support.adaptive import EOS, SEQUENCES, V, adaptive_of, drawn
from tests.support.matrix import Tally
from tests.support.tiny import model_of

TOLERANCE = 1e-5  # nats a token
POISON = 100_000  # symbols; nightly ten times as many


@pytest.mark.row("A1")
@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("learns", [False, True], ids=["frozen", "sequence"])
def test_a_score_is_its_texts_alone(level: str, learns: bool, tally: Tally) -> None:
    """Neither neighbours nor their order, nor pieces, nor the engine of the network change it."""
    rng = random.Random(f"{level} {learns}")
    count = tally.wanted(30)
    lengths = [rng.choice((0, 1, 5, 15, 16, 17, 60)) for _ in range(count)]
    texts, model, adaptive = drawn(lengths, seed=5), model_of(V), adaptive_of(level)
    engines = [
        AdaptiveEngine(network, adaptive, learns=learns)
        for network in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model))
    ]
    alone = [engines[0].token_log_probs([ids])[0] for ids in texts]
    for engine in engines:
        order, size = rng.sample(range(count), count), rng.choice((2, 7, count))
        for at in range(0, count, size):
            batch = order[at : at + size]
            scored, _ = engine.token_log_probs([texts[index] for index in batch])
            ends = np.cumsum([len(texts[index]) for index in batch])[:-1]
            for index, log_probs in zip(batch, np.split(scored, ends), strict=True):
                assert np.abs(log_probs - alone[index]).max() <= TOLERANCE
    for ids, expected in zip(texts, alone, strict=True):
        state, parts, at = None, [], 0
        while at < len(ids):
            size = rng.choice((1, 2, 7, 40))
            found, state = engines[0].read_on(ids[at : at + size], state)
            parts.append(found)
            at += size
        assert np.abs(np.concatenate(parts) - expected).max() <= TOLERANCE
        tally.add()


@pytest.mark.row("A1")
def test_a_poisoned_text_leaves_weights_finite(tally: Tally) -> None:
    """One symbol again and again, then another, and what comes after is predicted as ever."""
    adaptive, model = adaptive_of(random=False), model_of(V)
    network = NumpyEngine(model.config, to_arrays(model))
    stream = AdaptiveStream(network, adaptive)
    number = POISON * tally.wanted(1)
    log_probs, _ = stream.token_log_probs([np.array([*[2] * number, *[0] * 3_000, EOS])])
    assert np.isfinite(log_probs).all()
    assert log_probs[-3_000:-1].mean() > -0.1
    assert all(np.isfinite(table).all() for table in stream.weights)
    after, _ = stream.token_log_probs(SEQUENCES)
    before, _ = AdaptiveStream(network, adaptive).token_log_probs(SEQUENCES)
    assert after.mean() > before.mean() - 0.5
    tally.add(number // POISON)
