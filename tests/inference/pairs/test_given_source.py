"""Laws of drawing targets: a source makes a language model of a model of pairs."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from charlm.config import ATTENTIONS, SamplingConfig
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.engines.torch_pairs import TorchPairs
from charlm.inference.pairs.given_source import GivenSource
from charlm.inference.sample import Sampler
from charlm.nn.network import to_arrays
from charlm.tokenizers import train_tokenizer
from tests.support.pairs import EOS, pairs_model

SOURCE = np.array([4, 2, 6, EOS])
TARGETS = train_tokenizer(["abc"] * 9, level="char")  # of five types, <UNK> and <EOS> among them


def samplers(**shape: Any) -> tuple[dict[str, Sampler], NumpyPairs]:
    """What draws on either engine, and the equations in double precision."""
    model = pairs_model(vocab_size=TARGETS.vocab_size, **shape)
    arrays: Any = to_arrays(model)
    exact = NumpyPairs(model.config, arrays, np.float64)
    engines = {"numpy": NumpyPairs(model.config, arrays), "torch": TorchPairs(model.float())}
    return {
        name: Sampler(GivenSource(engine, lambda: exact, SOURCE), TARGETS)
        for name, engine in engines.items()
    }, exact


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_same_seed_draws_the_same_targets(attention: str) -> None:
    """On either engine and in any batch, one that has ended making room for the next; log P of
    each is what scoring gives.
    """
    found, exact = samplers(attention=attention, num_layers=2)
    config = SamplingConfig(seed=3, max_tokens=9)
    whole = [sample.text for sample in found["numpy"].sample(60, config)]
    assert len(set(whole)) > 20
    for sampler in found.values():
        for size in (1, 7, 60):
            drawn = list(sampler.sample(60, config, batch_size=size))
            assert [one.text for one in drawn] == whole
    ended = [one for one in drawn if one.ended == "eos"]
    ids = [np.append(TARGETS.encode(one.text), EOS) for one in ended]
    scored, _ = exact.token_log_probs([SOURCE] * len(ids), ids)
    for one, log_probs in zip(ended, scored, strict=True):
        assert one.total_log_prob == pytest.approx(log_probs.sum(), abs=1e-5)


def test_the_arbiter_is_the_equations() -> None:
    """What decides where rounding could is log P in double precision, read on in any pieces."""
    found, exact = samplers(num_layers=2)
    arbiter = found["torch"].engine.arbiter()
    ids = np.array([exact.vocab_size, 2, 3, 4, 2])
    state = arbiter.read(ids[2:], arbiter.read(ids[:2]))
    log_probs = arbiter.log_probs([state, arbiter.read(ids)])
    np.testing.assert_array_equal(log_probs[0], log_probs[1])
    for token in range(exact.vocab_size):
        ((*_, scored),), _ = exact.token_log_probs([SOURCE], [np.append(ids[1:], token)])
        assert log_probs[0, token] == pytest.approx(scored, abs=1e-12)


def test_targets_come_as_often_as_they_are_likely() -> None:
    """Of many draws each short target has its share, <UNK> left out."""
    found, exact = samplers()
    log_probs, _ = exact.step(exact.begin([SOURCE]), np.array([exact.vocab_size]))
    shares = np.exp(log_probs[0])
    shares[TARGETS.unk_id] = 0
    shares /= shares.sum()
    number = 4000
    first = Counter(
        sample.text[:1] for sample in found["torch"].sample(number, SamplingConfig(max_tokens=1))
    )
    for token, share in enumerate(shares):
        text = TARGETS.decode(np.array([token])) if token != EOS else ""
        if token != TARGETS.unk_id:
            spread = (share * (1 - share) / number) ** 0.5
            assert abs(first[text] / number - share) < 5 * spread
