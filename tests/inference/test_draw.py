"""Laws of drawing one token: the right distribution, and the same token in any precision."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import SamplingConfig
from charlm.inference.drawing.draw import Drawn, _cut, _stages, _Wanted, draw, num_stages
from tests.support.tiny import chi_square_p

UNK = 0


def drawn_at(
    logits: np.ndarray, uniform: np.ndarray, config: SamplingConfig, banned: int | None
) -> Drawn:
    """draw with uniform (B,) for the first stage, and for others with what its later digits say."""
    factors = [1, 99_991, 9_999_991][: num_stages(logits.shape[1])]
    return draw(logits, np.modf(uniform[:, None] * factors)[0], config, banned)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities (V,) of logits (V,), in double precision."""
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    weights = np.exp(scaled)
    return weights / weights.sum()


def distribution(logits: np.ndarray, config: SamplingConfig, banned: int | None) -> np.ndarray:
    """What is to be drawn from, written slowly: temperature, ban, top-k, top-p by sorting."""
    probs = softmax(logits, config.temperature)
    if banned is not None:
        probs[banned] = 0
        probs /= probs.sum()
    order = np.argsort(-probs, kind="stable").tolist()
    if config.top_k is not None:
        probs[order[config.top_k :]] = 0
        probs /= probs.sum()
    if config.top_p is not None:
        share = 0.0
        for place, kind in enumerate(order):
            if share >= config.top_p:
                probs[order[place:]] = 0
                break
            share += probs[kind]
        probs /= probs.sum()
    return probs


def covered(logits: np.ndarray, config: SamplingConfig, banned: int | None, n: int) -> np.ndarray:
    """The share (V,) of n evenly spaced uniform numbers that draw each type."""
    grid = (np.arange(n) + 0.5) / n
    ids = np.concatenate(
        [
            drawn_at(np.repeat(logits[None], len(part), 0), part, config, banned).ids
            for part in np.array_split(grid, max(1, n * len(logits) // 2_000_000))
        ]
    )
    return np.bincount(ids, minlength=len(logits)) / n


def random_logits(vocab_size: int, spread: float, seed: int) -> np.ndarray:
    """Logits (V,) of single precision."""
    return np.random.default_rng(seed).normal(0, spread, vocab_size).astype(np.float32)


CONFIGS = {
    "plain": SamplingConfig(),
    "cooler": SamplingConfig(temperature=0.7),
    "warmer": SamplingConfig(temperature=1.6),
    "top-k": SamplingConfig(top_k=5),
    "top-p": SamplingConfig(top_p=0.8),
    "all": SamplingConfig(temperature=0.7, top_k=20, top_p=0.9),
}


@pytest.mark.slow
@pytest.mark.parametrize("banned", [None, UNK])
@pytest.mark.parametrize("vocab_size", [3, 40, 200])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_frequencies_are_those_of_the_model(
    config: SamplingConfig, vocab_size: int, banned: int | None
) -> None:
    """Sampled frequencies match the softmax, by chi-square over 40,000 draws."""
    logits = random_logits(vocab_size, 1.5, vocab_size)
    logits[UNK] = logits.max() - 0.1  # so that the ban takes something away
    uniform = np.random.default_rng(5).random(40_000)
    ids = drawn_at(np.repeat(logits[None], len(uniform), 0), uniform, config, banned).ids
    counts = np.bincount(ids, minlength=vocab_size)
    assert chi_square_p(counts, distribution(logits, config, banned)) > 1e-4


def test_the_chi_square_of_the_tests_can_tell() -> None:
    """The instrument itself: it refuses a distribution 5 % off, and accepts the right one."""
    probs = softmax(random_logits(40, 1.0, 1))
    rng = np.random.default_rng(2)
    wrong = probs * np.where(np.arange(40) % 2, 1.05, 0.95)
    assert chi_square_p(rng.multinomial(40_000, probs), probs) > 1e-4
    assert chi_square_p(rng.multinomial(40_000, wrong / wrong.sum()), probs) < 1e-4
    assert chi_square_p(np.array([5, 5, 1]), np.array([0.5, 0.5, 0])) == 0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocab_size=st.sampled_from([3, 7, 63, 64, 65, 128, 200]),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
    config=st.sampled_from(list(CONFIGS.values())),
)
def test_a_grid_of_uniform_numbers_measures_every_probability(
    seed: int, vocab_size: int, spread: float, config: SamplingConfig
) -> None:
    """Exactly: of n evenly spaced uniform numbers a type gets its probability, to 1/n."""
    logits = random_logits(vocab_size, spread, seed)
    n = 20_000
    measured = covered(logits, config, UNK, n)
    np.testing.assert_allclose(
        measured, distribution(logits, config, UNK), rtol=0, atol=1.01 / n + 2e-6
    )


def test_masking_is_the_same_as_drawing_again() -> None:
    """Masking <UNK> draws from what drawing again until it is not <UNK> draws from.

    By chi-square against an honest rejection sampler, and exactly: on a grid, what is drawn with
    the ban has the proportions of what is drawn without it.
    """
    logits = random_logits(30, 1.0, 9)
    logits[UNK] = logits.max() + 1  # <UNK> is drawn most of the time
    config = SamplingConfig()
    n = 60_000
    rng = np.random.default_rng(1)
    redrawn = np.zeros(30, dtype=np.int64)
    while redrawn.sum() < n:
        ids = drawn_at(np.repeat(logits[None], 4096, 0), rng.random(4096), config, None).ids
        redrawn += np.bincount(ids[ids != UNK], minlength=30)
    free = covered(logits, config, None, 200_000)
    banned = covered(logits, config, UNK, 200_000)
    assert free[UNK] > 0.3
    assert banned[UNK] == 0
    free[UNK] = 0
    np.testing.assert_allclose(banned, free / free.sum(), atol=3e-5)
    assert chi_square_p(redrawn, banned) > 1e-4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocab_size=st.sampled_from([3, 5, 64, 65, 700]),
    uniform=st.floats(0, 1, exclude_max=True),
    ties=st.booleans(),
)
def test_temperature_0_is_argmax_is_top_k_1(
    seed: int, vocab_size: int, uniform: float, ties: bool
) -> None:
    """Greedy takes the likeliest type not banned, the first among equals; so does top-k 1."""
    logits = random_logits(vocab_size, 1.0, seed)
    if ties:
        logits = logits.round()
    allowed = logits.copy()
    allowed[UNK] = -np.inf
    expected = int(allowed.argmax())
    for config in (
        SamplingConfig(temperature=0),
        SamplingConfig(temperature=0, top_k=3, top_p=0.5),
        SamplingConfig(top_k=1),
        SamplingConfig(top_p=1e-9),
        SamplingConfig(temperature=1e-30),
    ):
        if ties and config.temperature == 1e-30:
            continue  # equals stay equal, however cold
        drawn = drawn_at(logits[None], np.array([uniform]), config, UNK)
        assert drawn.ids.tolist() == [expected]


@pytest.mark.parametrize("temperature", [1e-300, 1e-45, 1e-20, 1e-3, 1000.0])
def test_every_temperature_is_arithmetic(temperature: float) -> None:
    """However cold or hot, a finite token with a finite log-probability comes, without warnings."""
    logits = random_logits(100, 3.0, 4)
    grid = np.linspace(0, 1, 50, endpoint=False)
    config = SamplingConfig(temperature=temperature)
    drawn = drawn_at(np.repeat(logits[None], 50, 0), grid, config, UNK)
    assert np.isfinite(drawn.log_probs).all()
    assert (drawn.ids != UNK).all()
    if temperature < 1e-2:
        assert set(drawn.ids.tolist()) == {int(logits[1:].argmax()) + 1}
    else:
        assert len(set(drawn.ids.tolist())) > 40


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    ("vocab_size", "spread"),
    [(3, 1.0), (50, 1.0), (513, 0.01), (30_000, 6.0), (30_000, 1.0), (30_000, 1e-3)],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(
    vocab_size: int, spread: float, p: float
) -> None:
    """The types that can be drawn are the fewest, the likeliest first, whose shares reach p."""
    logits = np.random.default_rng(vocab_size).normal(0, spread, vocab_size)
    expected = distribution(logits, SamplingConfig(top_p=p), UNK)
    values = (logits - logits.max())[None]
    values[0, UNK] = -np.inf
    weights = np.exp(values)
    _cut(values, weights, _Wanted(1.0, None, p, UNK, 0.0, 0.0))
    assert ((weights[0] > 0) == (expected > 0)).all()
    assert weights[0].sum() >= p * np.delete(np.exp(logits - logits.max()), UNK).sum() * (1 - 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [6.0, 1e-3])
def test_a_large_vocabulary_is_drawn_from_rightly(spread: float) -> None:
    """With 30,000 types, peaked or flat, top-p and top-k leave the right frequencies."""
    logits = random_logits(30_000, spread, 3)
    uniform = np.random.default_rng(8).random(2_000)
    for config in (SamplingConfig(top_p=0.7), SamplingConfig(top_k=100), SamplingConfig()):
        expected = distribution(logits, config, UNK)
        counts = np.zeros(30_000, dtype=np.int64)
        for part in np.array_split(uniform, 10):
            ids = drawn_at(np.repeat(logits[None], len(part), 0), part, config, UNK).ids
            counts += np.bincount(ids, minlength=30_000)
        # Types at the rim whose single precision sum falls on the other side are one or two.
        assert counts[expected == 0].sum() <= 2
        counts[expected == 0] = 0
        assert chi_square_p(counts, expected) > 1e-4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocab_size=st.sampled_from([3, 10, 63, 64, 65, 127, 128, 129, 640]),
    live=st.integers(1, 12),
    config=st.sampled_from(list(CONFIGS.values())),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_what_has_no_probability_is_never_drawn(
    seed: int, vocab_size: int, live: int, config: SamplingConfig, dtype: type
) -> None:
    """A banned type and one of probability zero never come: not for a uniform number of 0, nor
    just below 1, nor on the boundary between two blocks.
    """
    rng = np.random.default_rng(seed)
    logits = np.full(vocab_size, -1e4, dtype=dtype)  # exp underflows to 0
    banned = int(rng.integers(vocab_size))
    others = np.delete(np.arange(vocab_size), banned)
    logits[rng.choice(others, min(live, len(others)), replace=False)] = rng.integers(0, 3)
    logits[banned] = 3  # the likeliest of all
    expected = distribution(logits, config, banned)
    boundaries = np.cumsum(expected)
    uniform = np.concatenate(
        [[0.0, 5e-324, 1e-300, 0.5, np.nextafter(1, 0)], boundaries, np.nextafter(boundaries, 0)]
    )
    uniform = uniform[uniform < 1]
    drawn = drawn_at(np.repeat(logits[None], len(uniform), 0), uniform, config, banned)
    assert (logits[drawn.ids] > -1e4).all()
    assert (drawn.ids != banned).all()
    # Which of equal types top-p keeps last is a matter of rounding, and then said to be.
    assert ((expected[drawn.ids] > 0) | drawn.doubtful).all()


@pytest.mark.parametrize("vocab_size", [64, 65, 128])
def test_a_uniform_number_on_a_boundary_belongs_to_the_next_type(vocab_size: int) -> None:
    """Of n equal types, k / n draws type k: each owns the interval closed on its left."""
    logits = np.zeros((vocab_size, vocab_size))
    uniform = np.arange(vocab_size) / vocab_size
    drawn = drawn_at(logits, uniform, SamplingConfig(), None)
    exact = vocab_size in (64, 128)  # k / n is a binary fraction
    if exact:
        assert drawn.ids.tolist() == list(range(vocab_size))
    assert (np.abs(drawn.ids - np.arange(vocab_size)) <= 1).all()
    assert drawn.doubtful.all()


def test_stages_have_boundaries_of_their_own() -> None:
    """Of 4,096 equal types, the numbers i / 16, j / 16 and k / 16 draw one each, on a boundary of
    each stage; a little above them nothing is doubtful.
    """
    uniform = np.stack(np.meshgrid(*[np.arange(16) / 16] * 3), axis=-1).reshape(-1, 3)
    logits = np.zeros((4096, 4096), dtype=np.float32)
    drawn = draw(logits, uniform, SamplingConfig(), None)
    assert sorted(drawn.ids.tolist()) == list(range(4096))
    assert drawn.doubtful.all()
    above = draw(logits, uniform + 1 / 32, SamplingConfig(), None)
    assert above.ids.tolist() == drawn.ids.tolist()
    assert not above.doubtful.any()
    for stage in range(3):
        one = uniform + np.where(np.arange(3) == stage, 1e-9, 1 / 32)
        one[:, stage] = np.maximum(one[:, stage], 1 / 16)  # at 0 there is no type below
        assert draw(logits, one, SamplingConfig(), None).doubtful.all()


def on_boundaries(probs: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform numbers (B, S), one of each row on a boundary of the stage that it is for."""
    levels = [probs]
    for size, groups in [stage for stage in _stages(len(probs)) if stage[0] > 1]:
        members = np.append(levels[-1], np.zeros(size * groups - len(levels[-1])))
        levels.append(members.reshape(size, groups).sum(axis=0))
    levels = levels[-2::-1]  # the last is the sum of all
    uniform = rng.random((rows, len(levels)))
    for row in uniform:
        chosen, place, groups = rng.integers(len(levels)), 0, 1
        for stage, level in enumerate(levels):
            sums = np.cumsum(level[place::groups])
            shares = sums / sums[-1]
            if stage == chosen:  # the last, behind which there is nothing, may round to less than 1
                row[stage] = rng.choice(np.append(0.0, shares[sums < sums[-1]]))
            place += groups * int(np.searchsorted(shares, row[stage], side="right"))
            groups = len(level)
    return uniform


PRECISION_CONFIGS = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0, 2.0]),
    top_k=st.sampled_from([None, None, 1, 3, 40]),
    top_p=st.sampled_from([None, None, 0.1, 0.5, 0.9, 0.999]),
)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    vocab_size=st.sampled_from([3, 20, 64, 100, 600, 2000]),
    spread=st.sampled_from([1e-4, 0.3, 2.0, 8.0]),
    config=PRECISION_CONFIGS,
    near=st.sampled_from(["anywhere", "token", "share"]),
)
def test_precision_matters_only_where_it_is_doubted(
    seed: int, vocab_size: int, spread: float, config: SamplingConfig, near: str
) -> None:
    """Wherever single precision, or logits 1e-6 off, draw another token, `doubtful` says so.

    Uniform numbers, or the share of top-p, are laid close to the boundaries on purpose.
    """
    rng = np.random.default_rng(seed)
    rows = 64
    exact = rng.normal(0, spread, vocab_size)
    probs = distribution(exact, config, UNK) if config.temperature else softmax(exact)
    if near == "share" and config.temperature:
        base = SamplingConfig(temperature=config.temperature, top_k=config.top_k)
        shares = np.cumsum(np.sort(distribution(exact, base, UNK))[::-1])
        share = float(shares[rng.integers(len(shares))] + rng.normal(0, 1e-6))
        config = SamplingConfig(
            temperature=config.temperature, top_k=config.top_k, top_p=min(1.0, max(1e-9, share))
        )
        probs = distribution(exact, config, UNK)
    uniform = rng.random((rows, num_stages(vocab_size)))
    if near != "anywhere":
        uniform[: rows // 2] = on_boundaries(probs, rows // 2, rng)
        uniform += rng.normal(0, 1, uniform.shape) * 10.0 ** rng.integers(-9, -4, uniform.shape)
        uniform = np.clip(uniform, 0, np.nextafter(1, 0))
    rounded = (exact + rng.uniform(-1e-6, 1e-6, (rows, vocab_size))).astype(np.float32)
    right = draw(np.repeat(exact[None], rows, 0), uniform, config, UNK)
    other = draw(rounded, uniform, config, UNK)
    assert other.doubtful[right.ids != other.ids].all()


def test_top_p_in_the_cold_doubts_its_rim() -> None:
    """Cold, a small error of a logit is a large one of a share, and top-p allows for that."""
    differing = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        exact = np.sort(rng.normal(0, 0.02, 12))[::-1].copy()
        temperature = 0.02
        order = distribution(exact, SamplingConfig(temperature=temperature), None)
        place = int(rng.integers(1, 4))
        p = float(np.cumsum(order)[place] + rng.uniform(-1e-5, 1e-5))
        if not 0 < p < 1:
            continue
        config = SamplingConfig(temperature=temperature, top_p=p)
        rounded = (exact + rng.uniform(-1e-6, 1e-6, 12)).astype(np.float32)
        # The last kept type owns the end of the unit interval.
        uniform = np.array([np.nextafter(1, 0) - 1e-3 * order[place]])
        right = drawn_at(exact[None], uniform, config, None)
        other = drawn_at(rounded[None], uniform, config, None)
        if right.ids[0] != other.ids[0]:
            differing += 1
            assert other.doubtful[0]
    assert differing > 0


@pytest.mark.parametrize("config", ["top-p", "top-k"])
@pytest.mark.parametrize("place", [200, 598])
def test_a_tie_at_the_rim_is_doubted_where_it_matters(place: int, config: str) -> None:
    """Of two types as likely as each other of which one is cut off, each draw of the one is
    doubtful, and of other draws few are.
    """
    logits = np.linspace(0, -1, 600)
    logits[place] = logits[place - 1] - 1e-6
    probs = softmax(logits)
    p = float(probs[:place].sum() - 0.4 * probs[place])
    asked = SamplingConfig(top_p=p) if config == "top-p" else SamplingConfig(top_k=place)
    uniform = np.random.default_rng(place).random((20_000, num_stages(600)))
    drawn = draw(np.broadcast_to(logits, (20_000, 600)), uniform, asked, None)
    assert set(drawn.ids.tolist()) == set(range(place))
    at_rim = drawn.ids == place - 1
    assert drawn.doubtful[at_rim].all()
    assert drawn.doubtful[~at_rim].mean() < 0.4


@pytest.mark.parametrize("kind", ["letters", "Zipf", "flat"])
def test_most_draws_are_not_doubtful(kind: str) -> None:
    """Doubt is rare where nothing is near: of 20,000 draws less than one in a thousand, among
    60 types as among 20,000, of which most are rarer than the rounding.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4, 60)) if kind == "letters" else rng.normal(0, 1, (4, 20_000))
    logits *= kind != "flat"
    logits -= np.log(np.arange(1, 20_001)) if kind == "Zipf" else 0.0
    doubtful = []
    for row in logits.astype(np.float32):
        for _ in range(20):
            uniform = rng.random((250, num_stages(len(row))))
            repeated = np.broadcast_to(row, (250, len(row)))
            doubtful.append(draw(repeated, uniform, SamplingConfig(), UNK).doubtful)
    assert 0 < np.mean(doubtful) < 1e-3


@pytest.mark.parametrize(
    "config",
    [SamplingConfig(top_p=0.9), SamplingConfig(top_k=40), SamplingConfig(temperature=0.7)],
    ids=["top-p", "top-k", "cooler"],
)
def test_few_draws_from_what_is_left_are_doubtful(config: SamplingConfig) -> None:
    """A rim among rare types, of which many are as good as equal, makes few draws doubtful."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1, (2_000, 3_000)) - np.log(np.arange(1, 3_001))
    uniform = rng.random((len(logits), num_stages(3_000)))
    assert draw(logits.astype(np.float32), uniform, config, UNK).doubtful.mean() < 5e-3


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    config=st.sampled_from(
        [*CONFIGS.values(), SamplingConfig(temperature=0), SamplingConfig(temperature=0.01)]
    ),
)
def test_log_probs_are_the_models_own(seed: int, config: SamplingConfig) -> None:
    """Whatever shaped the draw, its log-probability is that at temperature 1, nothing masked."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (20, 50))
    drawn = drawn_at(logits.astype(np.float32), rng.random(20), config, UNK)
    expected = [math.log(softmax(row)[kind]) for row, kind in zip(logits, drawn.ids, strict=True)]
    np.testing.assert_allclose(drawn.log_probs, expected, rtol=0, atol=1e-5)


def test_logits_and_uniform_numbers_are_only_read() -> None:
    """draw writes into neither of its arrays."""
    logits, uniform = random_logits(40, 1.0, 0)[None], np.array([0.3])
    before = logits.copy(), uniform.copy()
    for config in (*CONFIGS.values(), SamplingConfig(temperature=0)):
        drawn_at(logits, uniform, config, UNK)
    assert (logits == before[0]).all()
    assert (uniform == before[1]).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), config=st.sampled_from(list(CONFIGS.values())))
def test_a_row_does_not_feel_its_neighbours(seed: int, config: SamplingConfig) -> None:
    """Each row's token, log-probability and doubt are those it has alone."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(0, 1, (6, 700)) * rng.choice([0.01, 1, 5], (6, 1))).astype(np.float32)
    uniform = rng.random(6)
    together = drawn_at(logits, uniform, config, UNK)
    for row in range(6):
        alone = drawn_at(logits[row : row + 1], uniform[row : row + 1], config, UNK)
        assert alone.doubtful[0] or alone.ids[0] == together.ids[row]
