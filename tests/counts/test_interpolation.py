"""Laws of what stands beside a network: the cache, the mixing of it all, and the fit."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.cache import Cache
from charlm.counts.interpolation import LENGTHS, Partner, fit
from charlm.engines.interpolated import PartneredEngine
from charlm.engines.mixture import MixtureEngine
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import Engine
from charlm.engines.torch_lm import TorchEngine
from charlm.errors import CheckpointError
from charlm.nn.network import to_arrays
from tests.support.tiny import model_of

EOS, V = 1, 5
BODY = st.lists(st.integers(0, V - 1).filter(lambda i: i != EOS), max_size=24)
SEQUENCES = st.lists(BODY, min_size=1, max_size=8)
WINDOWS = st.sampled_from([1, 3, 7, 100])
TEXT = [[2, 3, 4, 2, 3, 4, 2, 3], [4, 4, 0, 3], [2, 3, 4], [0, 2, 3, 4, 0, 0]]


def ended(sequences: list[list[int]]) -> list[NDArray[np.int64]]:
    """Ids with <EOS> behind."""
    return [np.array([*ids, EOS]) for ids in sequences]


def slow_cache(
    p: NDArray[np.float64], before: list[int], cache: Cache, a: NDArray, b: NDArray
) -> NDArray[np.float64]:
    """The distribution after some tokens of a sequence, from the definition."""
    t = len(before)
    for index, k in enumerate(cache.lengths):
        followers = [
            before[j]
            for j in range(max(k, t - cache.window), t)
            if before[j - k : j] == before[t - k : t] and k <= t
        ]
        if followers:
            alpha = a[index] * (1 + len(followers)) ** b[index]
            counts = np.bincount(followers, minlength=V)
            p = (counts + alpha * p) / (len(followers) + alpha)
    return p


def padded(ids: NDArray[np.int64], t: int, width: int) -> NDArray[np.int64]:
    """The history (width,) of token t of a sequence."""
    return np.concatenate((np.full(width, -1), [V], ids[:t]))[-width:]


def partner_of(kind: str, seed: int = 0) -> Partner:
    """A partner of a few sequences, its parameters random."""
    counts = ngram.train(ended(TEXT), V, 3) if kind != "cache" else None
    cache = Cache(V, (0, 1, 3), 6) if kind != "ngram" else None
    partner = Partner.new(counts, cache)
    rng = np.random.default_rng(seed)
    return partner.with_parameters(rng.normal(size=len(partner.parameters)))


def engines(seed: int = 0, **shape: int) -> tuple[Engine, Engine]:
    """A random network on both engines."""
    model = model_of(V, seed=seed, std=0.5, **shape)
    return NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)


@given(sequences=SEQUENCES, window=WINDOWS)
@settings(max_examples=60, deadline=None)
def test_the_cache_is_what_its_definition_says(sequences: list[list[int]], window: int) -> None:
    """Distributions are those of a slow count, add up to 1, and the counts of tokens agree."""
    cache = Cache(V, (0, 1, 2, 4), window)
    a, b = np.array([3.0, 1.0, 0.5, 2.0]), np.array([0.0, 0.5, 1.0, 0.3])
    rng = np.random.default_rng(0)
    counts = cache.count(ended(sequences))
    at = 0
    for ids in ended(sequences):
        p = rng.dirichlet(np.ones(V), size=len(ids))
        histories = np.array([padded(ids, t, cache.reach + 1) for t in range(len(ids))])
        rows = np.exp(cache.rows(np.log(p), histories, a, b))
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-12)
        for t in range(len(ids)):
            expected = slow_cache(p[t], ids[:t].tolist(), cache, a, b)
            np.testing.assert_allclose(rows[t], expected, atol=1e-12)
            own = p[t, ids[t]]
            for k in range(4):
                total = counts.total[k, at]
                alpha = a[k] * (1 + total) ** b[k]
                own = (counts.seen[k, at] + alpha * own) / (total + alpha)
            assert own == pytest.approx(expected[ids[t]], abs=1e-12)
            at += 1


@given(body=BODY, cut=st.integers(0, 24), window=WINDOWS)
@settings(max_examples=60, deadline=None)
def test_the_cache_reads_in_pieces(body: list[int], cut: int, window: int) -> None:
    """As many tokens before a piece as it can reach back are all it needs."""
    cache = Cache(V, (0, 2, 3), window)
    (ids,) = ended([body])
    whole = cache.count([ids])
    before = np.concatenate(([V], ids[:cut]))[-cache.reach - 1 :]
    piece = cache.count_on(before, ids[cut:])
    np.testing.assert_array_equal(piece.seen, whole.seen[:, cut:])
    np.testing.assert_array_equal(piece.total, whole.total[:, cut:])


@pytest.mark.parametrize("kind", ["ngram", "cache", "both"])
@pytest.mark.parametrize("which", [0, 1])
def test_every_way_to_a_figure_gives_it(kind: str, which: int) -> None:
    """Scores, details, pieces, steps, whole distributions and the arbiter are of one model."""
    network = engines()[which]
    engine = PartneredEngine(network, partner_of(kind))
    sequences = ended([*TEXT, [], [3] * 30, [2, 3] * 12])
    scored, _ = engine.token_log_probs(sequences)
    again, details = engine.token_log_probs(sequences, details=True, openers=np.array([0, 2]))
    np.testing.assert_allclose(again, scored, atol=2e-5)
    assert details is not None
    assert details.opening is not None
    assert (details.entropies >= -1e-6).all()
    assert (details.entropies <= np.log(V) + 1e-5).all()
    assert np.abs(scored - network.token_log_probs(sequences)[0]).max() > 0.1
    decoder, arbiter, at = engine.decoder(), engine.arbiter(), 0
    for ids in sequences:
        state = decoder.select(decoder.read(np.empty(0, dtype=np.int64)), np.zeros(2, np.int64))
        inputs, exact = np.array([V, *ids[:-1]]), None
        for t, token in enumerate(ids):
            logits, state = decoder.step(np.full(2, inputs[t]), state)
            p = np.exp(logits[0].astype(np.float64))
            exact = arbiter.read(inputs[t : t + 1], exact)
            (sure,) = arbiter.log_probs([exact])
            assert p.sum() == pytest.approx(1, abs=1e-5)
            assert np.exp(sure).sum() == pytest.approx(1, abs=1e-12)
            np.testing.assert_allclose(np.log(p), sure, atol=2e-5)
            np.testing.assert_array_equal(logits[0], logits[1])
            assert sure[token] == pytest.approx(scored[at], abs=2e-5)
            assert details.ranks[at] == 1 + (sure > sure[token] + 1e-4).sum()
            assert details.opening[at] == pytest.approx(
                np.log(np.exp(sure)[[0, 2]].sum()), abs=1e-4
            )
            np.testing.assert_allclose(engine.next_logits(ids[:t]), sure, atol=2e-5)
            at += 1
    long = sequences[-1]
    state, pieces = None, []
    for first in range(0, len(long), 7):
        values, state = engine.read_on(long[first : first + 7], state)
        pieces.append(values)
    np.testing.assert_allclose(np.concatenate(pieces), scored[-len(long) :], atol=2e-5)
    assert len(engine.read_on(long[:0], None)[0]) == 0


@pytest.mark.parametrize("kind", ["ngram", "cache", "both"])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("sure", [50.0, 120.0, 2000.0])
def test_a_very_sure_network_is_heard_in_full(kind: str, which: int, sure: float) -> None:
    """Every way gives the same log P where no single or double number holds P: nothing is cut.

    What the cache has not seen costs what the network says and what the cache takes.
    """
    model = model_of(V, std=0.5)
    with torch.no_grad():
        model.softmax.bias[2] = sure
    network: Engine = (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model))[which]
    partner = partner_of(kind)
    engine = PartneredEngine(network, partner)
    sequences = ended([*TEXT, [], [3] * 30])
    scored, _ = engine.token_log_probs(sequences)
    again, details = engine.token_log_probs(sequences, details=True)
    assert details is not None
    np.testing.assert_allclose(again, scored, rtol=1e-5, atol=2e-5)
    assert np.isfinite(details.entropies).all()
    pieces, state = [], None
    for piece in (sequences[0][:3], sequences[0][3:]):
        values, state = engine.read_on(piece, state)
        pieces.append(values)
    read = np.concatenate(pieces)
    np.testing.assert_allclose(read, scored[: len(read)], rtol=1e-5, atol=2e-5)
    arbiter = engine.arbiter()
    exact = arbiter.log_probs([arbiter.read(np.array([V, 3, 3]))])[0]
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(engine.next_logits(np.array([3, 3])), exact, rtol=1e-5, atol=2e-5)
    if kind == "cache":
        alone, _ = network.token_log_probs(sequences)
        assert (scored < alone + 5).any()
        assert scored.min() < -sure + 20


def test_the_engines_agree_and_a_row_begun_anew_is_a_row_begun() -> None:
    """NumPy's and torch's figures are one; restarted and selected rows go on as fresh ones."""
    one, other = (PartneredEngine(engine, partner_of("both")) for engine in engines())
    sequences = ended(TEXT)
    np.testing.assert_allclose(
        one.token_log_probs(sequences)[0], other.token_log_probs(sequences)[0], atol=1e-5
    )
    for engine in (one, other):
        decoder = engine.decoder()
        start = decoder.read(np.array([V, 2]))
        state = decoder.select(start, np.zeros(3, dtype=np.int64))
        for token in (3, 4, 2, 3):
            _, state = decoder.step(np.full(3, token), state)
        decoder.restart(state, np.array([1]), start)
        state = decoder.select(state, np.array([1, 2]))
        logits, _ = decoder.step(np.array([3, 4]), state)
        np.testing.assert_allclose(logits[0], engine.next_logits(np.array([2, 3])), atol=1e-5)
        expected = engine.next_logits(np.array([2, 3, 4, 2, 3, 4]))
        np.testing.assert_allclose(logits[1], expected, atol=1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_a_mixture_is_the_weighted_sum(which: int) -> None:
    """Of every token, distribution and step; and it adds up to 1. A weight of 0 is no model."""
    first, second = engines(0)[which], PartneredEngine(engines(7)[which], partner_of("both"))
    weights = (0.3, 0.7)
    mixed = MixtureEngine([first, second], weights)
    sequences = ended([*TEXT, []])
    p = [np.exp(engine.token_log_probs(sequences)[0]) for engine in (first, second)]
    expected = np.log(0.3 * p[0] + 0.7 * p[1])
    np.testing.assert_allclose(mixed.token_log_probs(sequences)[0], expected, atol=1e-6)
    values, details = mixed.token_log_probs(sequences, details=True, openers=np.array([0]))
    np.testing.assert_allclose(values, expected, atol=2e-5)
    assert details is not None
    decoder, arbiter = mixed.decoder(), mixed.arbiter()
    ids = sequences[0]
    state = decoder.read(np.empty(0, dtype=np.int64))
    exact = None
    for t in range(len(ids)):
        token = np.array([V, *ids])[t : t + 1]
        logits, state = decoder.step(token, state)
        exact = arbiter.read(token, exact)
        (sure,) = arbiter.log_probs([exact])
        assert np.exp(sure).sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(logits[0], sure, atol=2e-5)
        assert sure[ids[t]] == pytest.approx(expected[t], abs=2e-5)
        np.testing.assert_allclose(mixed.next_logits(ids[:t]), sure, atol=2e-5)
    parts, state = [], None
    for piece in (ids[:3], ids[3:]):
        values, state = mixed.read_on(piece, state)
        parts.append(values)
    np.testing.assert_allclose(np.concatenate(parts), expected[: len(ids)], atol=2e-5)
    alone = MixtureEngine([first, second], (1.0, 0.0)).token_log_probs(sequences)[0]
    np.testing.assert_allclose(alone, np.log(p[0]), atol=1e-6)


def test_the_fit_finds_what_drew_the_tokens() -> None:
    """Tokens drawn from a mixture of known shares and strengths give these back, nearly."""
    rng = np.random.default_rng(0)
    truth = partner_of("both").with_parameters([-1.5, 0.5, 1.5, 3.0, 1.0, 0.5, -1.0, 0.0, -2.0])
    network = np.log([0.5, 0.02, 0.02, 0.06, 0.4])
    histories = np.full((600, 1), V)
    for _ in range(40):
        p = np.exp(truth.rows(np.repeat(network[None], 600, axis=0), histories))
        drawn = (p.cumsum(axis=1) < rng.random((600, 1))).sum(axis=1)
        histories = np.column_stack((histories, drawn))
    sequences = list(histories[:, 1:])
    log_probs = network[np.concatenate(sequences)]
    evidence = truth.evidence(sequences)
    found = fit(Partner.new(truth.ngram, truth.cache), log_probs, evidence)
    np.testing.assert_allclose(found.shares, truth.shares, atol=0.05)
    better = found.combine(log_probs, evidence).mean() - truth.combine(log_probs, evidence).mean()
    assert -1e-5 < better < 1e-3  # what is to be gained by 9 parameters on 24,000 tokens


@pytest.mark.parametrize("kind", ["ngram", "cache", "both"])
def test_the_fit_goes_on_to_the_optimum(kind: str) -> None:
    """From wherever it begins it comes to the same likelihood, and a second fit gains nothing."""
    partner = partner_of(kind)
    sequences = ended([[2, 3, 4] * 30, [4, 4, 0, 0] * 20, [3, 2, 0, 4] * 20, *TEXT])
    evidence = partner.evidence(sequences)
    network = np.log(np.random.default_rng(1).uniform(0.01, 0.5, size=sum(map(len, sequences))))
    usual = Partner.new(partner.ngram, partner.cache).parameters

    def value_of(one: Partner) -> float:
        """What is climbed: log P, and one token's certainty of the usual values."""
        distance = float(((one.parameters - usual) ** 2).sum())
        return float(one.combine(network, evidence).sum()) - distance / 2

    found = [fit(partner.with_parameters(usual + off), network, evidence) for off in (-3, 0, 2)]
    values = [value_of(one) for one in found]
    assert max(values) - min(values) < 0.05
    for one, value in zip(found, values, strict=True):
        assert value_of(fit(one, network, evidence)) - value < 0.02


@pytest.mark.parametrize("kind", ["ngram", "cache", "both"])
def test_the_fit_climbs_and_its_slopes_are_slopes(kind: str) -> None:
    """A fit is at least as good as what it began with; slopes agree with differences."""
    from charlm.counts import interpolation

    partner = partner_of(kind)
    sequences = ended([[2, 3, 4] * 8, [4, 4, 0, 0] * 6, *TEXT])
    evidence = partner.evidence(sequences)
    network = np.log(np.random.default_rng(1).uniform(0.01, 0.5, size=sum(map(len, sequences))))
    slopes = interpolation._slopes(partner, network, evidence)
    for index in range(len(partner.parameters)):
        moved = [partner.parameters.copy() for _ in range(2)]
        moved[0][index] -= 1e-5
        moved[1][index] += 1e-5
        low, high = (partner.with_parameters(m).combine(network, evidence) for m in moved)
        np.testing.assert_allclose(slopes[:, index], (high - low) / 2e-5, atol=1e-6)
    usual = Partner.new(partner.ngram, partner.cache)
    fitted = fit(usual, network, evidence)
    assert fitted.combine(network, evidence).mean() > usual.combine(network, evidence).mean()
    some = np.arange(0, len(network), 2)
    np.testing.assert_allclose(
        partner.combine(network[some], evidence.take(some)),
        partner.combine(network, evidence)[some],
    )
    assert fit(partner, network[:0], evidence.take(some[:0])) is partner


@pytest.mark.parametrize("kind", ["ngram", "cache", "both"])
def test_it_is_written_and_read_back(kind: str) -> None:
    """What was read back combines as what was written, and what cannot be is refused."""
    partner = partner_of(kind)
    values, arrays = json.loads(json.dumps(partner.to_json())), partner.to_arrays()
    again = Partner.from_json(values, arrays, V)
    sequences = ended(TEXT)
    network = np.full(sum(map(len, sequences)), -1.0)
    np.testing.assert_array_equal(
        again.combine(network, again.evidence(sequences)),
        partner.combine(network, partner.evidence(sequences)),
    )
    wrong = [
        [],
        {},
        {**values, "order": 9},
        {**values, "parameters": values["parameters"][1:]},
        {**values, "parameters": [1e9, *values["parameters"][1:]]},
        {**values, "parameters": ["1", *values["parameters"][1:]]},
        {**values, "cache": {"lengths": [3, 1], "window": 5}},
        {**values, "cache": {"lengths": [1], "window": 10**9}},
        {**values, "cache": {"lengths": "1", "window": 5}},
        {**values, "cache": 3},
    ]
    for bad in wrong:
        with pytest.raises(CheckpointError):
            Partner.from_json(bad, arrays, V)


def test_every_level_has_lengths() -> None:
    """They ascend, as a cache wants them."""
    assert set(LENGTHS) == {"char", "word", "subword"}
    for lengths in LENGTHS.values():
        assert list(lengths) == sorted(set(lengths))
