"""Laws of the adaptive mixture: it is what its definition says, in every way to a figure."""

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.adaptive import Adaptive
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.counts.mixer import Weights
from charlm.engines.adapting.engine import AdaptiveEngine
from charlm.engines.adapting.stream import AdaptiveStream
from charlm.engines.dynamic import DynamicEvaluator
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import RowEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.equations.language_model import log_softmax
from charlm.nn.network import to_arrays
from tests.support.adaptive import (
    EOS,
    LETTERS,
    SEQUENCES,
    SlowReader,
    V,
    adaptive_of,
    drawn,
)
from tests.support.tiny import model_of


def engines() -> tuple[RowEngine, RowEngine]:
    """A random network on both engines."""
    model = model_of(V)
    return NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)


NUMPY, TORCH = engines()


def network(history: list[int]) -> NDArray[np.float64]:
    """log P (V,) after a history, in double precision."""
    arbiter = NUMPY.arbiter()
    return arbiter.log_probs([arbiter.read(np.array(history))])[0]


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("learns", [False, True])
def test_it_is_what_its_definition_says(level: str, learns: bool) -> None:
    """Whole distributions, of every sequence by itself, equal those of a slow reader."""
    adaptive = adaptive_of(level)
    engine = AdaptiveEngine(NUMPY, adaptive, learns=learns)
    expected = []
    for ids in SEQUENCES:
        reader = SlowReader(adaptive, LETTERS, [network], learns=learns)
        history = [V]
        for token in ids.tolist():
            expected.append(reader.read(history, token))
            history.append(token)
    found = np.empty((len(expected), V))
    for places, rows in engine.predictions(SEQUENCES):
        found[places] = rows
    np.testing.assert_allclose(np.exp(expected).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(found, expected, atol=3e-5)


@pytest.mark.parametrize("vocab_size", [127, 128, 129, 255, 256])
def test_the_shares_are_those_of_the_partner(vocab_size: int) -> None:
    """Row by row, where a sequence has just begun, too, however wide the numbers of types are."""
    rng = np.random.default_rng(vocab_size)
    sequences = [np.append(rng.integers(2, vocab_size, size=n), EOS) for n in (0, 3, 40)]
    counts = ngram.train(sequences, vocab_size, 4)
    partner = Partner.new(counts, Cache(vocab_size, (0, 2), 12))
    none = np.zeros(vocab_size, dtype=np.int64)
    adaptive = Adaptive.new("word", none, partner, EOS, np.concatenate(sequences))
    network = log_softmax(rng.normal(size=(sum(map(len, sequences)), vocab_size)))
    _, shares, base = adaptive.inputs(adaptive.text(sequences), [network])
    at = 0
    for ids in sequences:
        for t in range(len(ids)):
            history = np.array([[-1] * 50 + [vocab_size, *ids[:t]]])
            expected = partner.rows(network[at : at + 1], history)[0]
            np.testing.assert_allclose(shares[at], expected, atol=1e-9)
            np.testing.assert_allclose(base[at], np.log(counts.rows(history)[0][0]), atol=1e-9)
            at += 1


@pytest.mark.parametrize("level", ["char", "word"])
def test_first_weights_are_half_those_of_network_and_shares(level: str) -> None:
    """They add up to 1, and contexts that were not seen, and the n-grams, share the other half."""
    weights = adaptive_of(level, random=False).first_weights
    inputs = weights.by_confidence.shape[1]
    np.testing.assert_allclose(weights.by_confidence.sum(axis=1), 1)
    np.testing.assert_allclose(weights.by_confidence[:, 2:], 0.5 / inputs)
    np.testing.assert_allclose(weights.by_confidence[:, :2], 0.25 + 0.5 / inputs)
    assert not weights.by_place.any()


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_stream_learns_from_one_sequence_for_the_next(dynamic: bool) -> None:
    """It equals a slow reader that reads all sequences one after another."""
    adaptive = adaptive_of()
    evaluator = DynamicEvaluator(TORCH.model, rate=0.1) if dynamic else None
    stream = AdaptiveStream(NUMPY, adaptive, evaluator)
    networks = [network]
    if dynamic:
        ids = np.concatenate(SEQUENCES)
        rows = iter(DynamicEvaluator(TORCH.model, rate=0.1).rows(ids).astype(np.float64))
        networks.append(lambda _: next(rows))
        halves = [np.repeat(table[:, :1] / 2, 2, axis=1) for table in adaptive.learning]
        tables = [
            np.concatenate((half, table[:, 1:]), axis=1)
            for half, table in zip(halves, adaptive.learning, strict=True)
        ]
        adaptive = adaptive.with_weights(frozen=adaptive.frozen, learning=Weights(*tables))
    reader, expected = SlowReader(adaptive, LETTERS, networks, learns=True), []
    for ids in SEQUENCES:
        history = [V]
        for token in ids.tolist():
            expected.append(reader.read(history, token)[token])
            history.append(token)
    found = [stream.token_log_probs(SEQUENCES[:3])[0]]
    found += [stream.token_log_probs([ids])[0] for ids in SEQUENCES[3:5]]
    state = None
    for piece in np.split(SEQUENCES[5], [5, 6, 30]):
        log_probs, state = stream.read_on(piece, state)
        found.append(log_probs)
    found.append(stream.token_log_probs(SEQUENCES[6:])[0])
    np.testing.assert_allclose(np.concatenate(found), expected, atol=3e-5)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("which", [0, 1])
def test_every_way_to_a_figure_gives_it(learns: bool, which: int) -> None:
    """Scores, details, pieces, steps, whole distributions and the arbiter are of one model."""
    engine = AdaptiveEngine((NUMPY, TORCH)[which], adaptive_of(), learns=learns)
    scored, _ = engine.token_log_probs(SEQUENCES)
    again, details = engine.token_log_probs(SEQUENCES, details=True, openers=np.array([0, 2]))
    np.testing.assert_allclose(again, scored, atol=1e-6)
    assert details is not None
    assert (details.entropies >= -1e-6).all()
    decoder, arbiter, at = engine.decoder(), engine.arbiter(), 0
    for ids in SEQUENCES:
        own = scored[at : at + len(ids)]
        alone, _ = engine.token_log_probs([ids])
        np.testing.assert_allclose(alone, own, atol=2e-5)
        state, pieces = None, []
        for piece in np.split(ids, sorted([1, len(ids) // 3, len(ids) // 2])):
            log_probs, state = engine.read_on(piece, state)
            pieces.append(log_probs)
        np.testing.assert_allclose(np.concatenate(pieces), own, atol=2e-5)
        state = decoder.select(decoder.read(np.empty(0, dtype=np.int64)), np.zeros(2, np.int64))
        inputs, exact = np.array([V, *ids[:-1]]), None
        for t, token in enumerate(ids):
            logits, state = decoder.step(np.full(2, inputs[t]), state)
            exact = arbiter.read(inputs[t : t + 1], exact)
            (sure,) = arbiter.log_probs([exact])
            assert np.exp(sure).sum() == pytest.approx(1, abs=1e-12)
            assert np.exp(logits[0].astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)
            assert logits[0, token] == pytest.approx(own[t], abs=3e-5)
            np.testing.assert_allclose(logits[0], sure, atol=3e-5)
            np.testing.assert_array_equal(logits[0], logits[1])
        np.testing.assert_allclose(engine.next_logits(ids[:-1]), logits[0], atol=3e-5)
        at += len(ids)


@pytest.mark.parametrize("learns", [False, True])
def test_what_a_decoder_has_read_it_steps_on_from(learns: bool) -> None:
    """A row read at once stands where one stands that was stepped there; rows change places."""
    decoder = AdaptiveEngine(NUMPY, adaptive_of(), learns=learns).decoder()
    ids = np.array([V, *SEQUENCES[0][:37]])
    state = decoder.read(ids[:0])
    for token in ids[:-1]:
        _, state = decoder.step(np.array([token]), state)
    expected, _ = decoder.step(ids[-1:], state)
    found, _ = decoder.step(ids[-1:], decoder.read(ids[:-1]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    both = decoder.select(decoder.read(ids[:9]), np.array([0, 0]))
    decoder.restart(both, np.array([1]), decoder.read(ids[:-1]))
    again, _ = decoder.step(np.array([ids[9], ids[-1]]), both)
    np.testing.assert_allclose(again[1], expected[0], atol=1e-5)
    assert np.abs(again[0] - again[1]).max() > 0.01


@pytest.mark.parametrize("learns", [False, True])
def test_a_score_depends_on_its_text_alone(learns: bool) -> None:
    """To the last bit where the network gives the same rows: order and neighbours are nothing."""
    engine = AdaptiveEngine(NUMPY, adaptive_of(), learns=learns)
    scored, _ = engine.token_log_probs(SEQUENCES)
    other, _ = engine.token_log_probs([*SEQUENCES[::-1], *SEQUENCES[:2]])
    ends = np.cumsum([len(ids) for ids in SEQUENCES])[:-1]
    back = np.split(other, np.cumsum([len(ids) for ids in SEQUENCES[::-1]]))[: len(SEQUENCES)]
    for one, two in zip(np.split(scored, ends), reversed(back), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_rows_of_a_decoder_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is what it would be alone, also where memories are sorted in at times of their own."""
    monkeypatch.setattr("charlm.counts.reading._RECENT", 7)
    decoder = AdaptiveEngine(NUMPY, adaptive_of(), learns=True).decoder()
    one, other = np.array([V, *SEQUENCES[6][:40]]), np.array([V, *SEQUENCES[0][:12]])
    both = decoder.select(decoder.read(one[:30]), np.array([0, 0]))
    decoder.restart(both, np.array([1]), decoder.read(other[:3]))
    states = [decoder.read(one[:30]), decoder.read(other[:3])]
    for tokens in zip(one[30:39], other[3:12], strict=True):
        found, both = decoder.step(np.array(tokens), both)
        for row, token in enumerate(tokens):
            alone, states[row] = decoder.step(np.array([token]), states[row])
            np.testing.assert_allclose(found[row], alone[0], atol=1e-5)


def test_long_texts_are_read_in_portions_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small portions, and what is recent sorted in often, change nothing."""
    sequences = drawn([300, 40], seed=3)
    engine = AdaptiveEngine(NUMPY, adaptive_of(), learns=True)
    expected, _ = engine.token_log_probs(sequences)
    of_stream, _ = AdaptiveStream(NUMPY, adaptive_of()).token_log_probs(sequences)
    monkeypatch.setattr("charlm.counts.adaptive.PORTION", 23)
    monkeypatch.setattr("charlm.counts.reading.PORTION", 23)
    monkeypatch.setattr("charlm.engines.adapting.engine.PORTION", 23)
    monkeypatch.setattr("charlm.counts.reading._RECENT", 7)
    found, _ = engine.token_log_probs(sequences)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found, _ = AdaptiveStream(NUMPY, adaptive_of()).token_log_probs(sequences)
    np.testing.assert_allclose(found, of_stream, atol=1e-5)
    monkeypatch.setattr("charlm.counts.seen._FEW_CELLS", 0)
    found, _ = engine.token_log_probs(sequences)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_learning_helps_where_a_text_repeats_itself() -> None:
    """A sequence of its own phrases is likelier to what learns from it."""
    adaptive = adaptive_of(random=False)
    ids = drawn([400], seed=9)
    learning, _ = AdaptiveEngine(NUMPY, adaptive, learns=True).token_log_probs(ids)
    fixed, _ = AdaptiveEngine(NUMPY, adaptive, learns=False).token_log_probs(ids)
    assert learning.mean() > fixed.mean() + 0.2
