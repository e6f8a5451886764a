"""Laws of the softmax's loss: torch's own, whatever portions it is made in, and samples of types.

Letters as in softmax.py: N positions, D the width that the softmax reads, V vocabulary, M types.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charlm.nn import softmax
from charlm.nn.softmax import (
    Sample,
    Softening,
    TypeSampler,
    cross_entropy,
    softened_cross_entropy,
)
from charlm.training.optimizer import step_generator
from tests.support.made import LargestTensor


class Problem(NamedTuple):
    """What a softmax reads (N, D), its matrix (V, D) and bias (V,), and the targets (N,)."""

    vectors: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor

    def to(self, dtype: torch.dtype) -> "Problem":
        """The same in another dtype."""
        return Problem(*(tensor.to(dtype) for tensor in self[:3]), self.targets)

    def of(self, sample: Sample) -> "Problem":
        """The same where the types of a sample are all there are."""
        ids = sample.ids
        return Problem(self.vectors, self.weight[ids], self.bias[ids], sample.targets)

    def at(self, *positions: int) -> "Problem":
        """The same at some of the positions."""
        places = list(positions)
        return self._replace(vectors=self.vectors[places], targets=self.targets[places])


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_problem(positions: int, types: int, width: int = 5, seed: int = 0) -> Problem:
    """Random numbers, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (positions, width), (types, width), (types,)
    numbers = (torch.randn(*s, dtype=torch.float64, generator=generator) for s in shapes)
    return Problem(*numbers, torch.randint(types, (positions,), generator=generator))


def in_portions(scores: int) -> AbstractContextManager[object]:
    """Within it, about so many scores are made at a time."""
    return mock.patch.object(softmax, "_SCORES", scores)


def with_gradients(loss: Loss, problem: Problem) -> list[Tensor]:
    """A loss (), and its gradients by vectors, weight and bias."""
    leaves = [tensor.clone().requires_grad_() for tensor in problem[:3]]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def ours(problem: Problem, log_weights: Tensor | None = None) -> list[Tensor]:
    """The loss under test, with its gradients."""
    return with_gradients(lambda *x: cross_entropy(*x, problem.targets, log_weights), problem)


def by_torch(problem: Problem, log_weights: Tensor | None = None) -> list[Tensor]:
    """The same from all scores at once: each weighted but the target's own."""

    def loss(vectors: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        scores = F.linear(vectors, weight, bias)
        if log_weights is not None:
            own = F.one_hot(problem.targets, len(weight)).bool()
            scores = torch.where(own, scores, scores + log_weights)
        return F.cross_entropy(scores, problem.targets, reduction="sum")

    return with_gradients(loss, problem)


def assert_near(one: list[Tensor], other: list[Tensor], tolerance: float) -> None:
    """Loss and gradients agree, to so much of one and of their size."""
    for tensor, expected in zip(one, other, strict=True):
        torch.testing.assert_close(
            tensor, expected, rtol=tolerance, atol=tolerance, check_dtype=False
        )


# The loss and its gradients


@settings(max_examples=150, deadline=None)
@given(
    positions=st.integers(1, 20),
    types=st.integers(1, 12),
    width=st.integers(1, 6),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_any_portions_give_the_loss_and_gradients_of_torch(
    dtype: torch.dtype,
    tolerance: float,
    positions: int,
    types: int,
    width: int,
    weighted: bool,
    seed: int,
    data: st.DataObject,
) -> None:
    """One position at a time, all in one go, or portions that leave a rest: the same numbers."""
    problem = random_problem(positions, types, width, seed)
    log_weights = None
    if weighted:
        generator = torch.Generator().manual_seed(seed)
        log_weights = torch.rand(types, generator=generator, dtype=torch.float64) * 4 - 1
        log_weights[torch.rand(types, generator=generator) < 0.3] = -math.inf
    expected = by_torch(problem, log_weights)
    scores = data.draw(st.integers(0, 2 * positions * types))
    with in_portions(scores):
        found = ours(problem.to(dtype), None if log_weights is None else log_weights.to(dtype))
    assert {tensor.dtype for tensor in found} == {dtype}
    assert_near(found, expected, tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scores", [1, 13, 10**6])
def test_gradients_are_those_of_finite_differences(scores: int, weighted: bool) -> None:
    """In double precision the gradients are what small changes of the numbers show."""
    problem = random_problem(7, 4, 3)
    log_weights = torch.tensor([0, 0.7, 0.7, -math.inf], dtype=torch.float64) if weighted else None
    leaves = [tensor.requires_grad_() for tensor in problem[:3]]
    with in_portions(scores):
        assert torch.autograd.gradcheck(
            lambda *x: cross_entropy(*x, problem.targets, log_weights) / 3, leaves
        )


@pytest.mark.parametrize("scores", [1, 100, 10**6])
@pytest.mark.parametrize("weighted", [False, True])
def test_bf16_rounds_products_of_gradients_alone(scores: int, weighted: bool) -> None:
    """In bf16 the loss is exact, gradients are within 1 % of their length.

    What has been rounded before it comes here, stays so: then the loss is within 0.1 %.

    Sums are in single precision: the loss, and the gradients of what is in single precision.
    """
    problem = random_problem(60, 40, 8).to(torch.float32)
    log_weights = torch.rand(40, generator=torch.Generator().manual_seed(1)) if weighted else None
    expected = by_torch(problem, log_weights)
    for narrow in (False, True):  # what the softmax reads may be bf16 already
        given_ = problem._replace(vectors=problem.vectors.bfloat16()) if narrow else problem
        with in_portions(scores), torch.autocast("cpu", torch.bfloat16):
            found = ours(given_, log_weights)
        own = torch.bfloat16 if narrow else torch.float32
        assert [t.dtype for t in found] == [torch.float32, own, torch.float32, torch.float32]
        off = [
            float((tensor - exact).norm() / exact.norm())
            for tensor, exact in zip(found, expected, strict=True)
        ]
        assert off[0] < (1e-3 if narrow else 1e-6)
        assert 0 < off[1] < 1e-2
        assert 0 < off[2] < 1e-2
        assert off[3] < (1e-2 if narrow else 1e-6)  # of biases: no product


@settings(max_examples=100, deadline=None)
@given(
    positions=st.integers(1, 20),
    types=st.integers(2, 12),
    share=st.floats(0, 0.9),
    scores=st.integers(1, 400),
    seed=st.integers(0, 2**32),
)
def test_softened_targets_give_the_loss_of_a_mixture(
    positions: int, types: int, share: float, scores: int, seed: int
) -> None:
    """It is the cross-entropy by the mixture of the target and the others, as torch makes it.

    What is reported beside it is that of the targets, whatever the share; with none both are one.
    """
    problem = random_problem(positions, types, 4, seed)
    generator = torch.Generator().manual_seed(seed)
    others = torch.rand(positions, types, generator=generator, dtype=torch.float64)
    others = others / others.sum(1, keepdim=True)
    softening = Softening(others, share)

    def by_hand(*leaves: Tensor) -> Tensor:
        log_probs = F.linear(*leaves).log_softmax(1)
        mixed = (1 - share) * F.one_hot(problem.targets, types).double() + share * others
        return -(mixed * log_probs).sum()

    with in_portions(scores):
        found = with_gradients(
            lambda *x: softened_cross_entropy(*x, problem.targets, softening)[0], problem
        )
        of_targets = softened_cross_entropy(*problem, softening)[1]
    assert_near(found, with_gradients(by_hand, problem), 1e-10)
    assert float(of_targets) == pytest.approx(float(by_torch(problem)[0]), rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    power=st.integers(0, 100),
    scores=st.integers(0, 80),
    sign=st.sampled_from([-1, 1]),
    sampled=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_extreme_scores_do_no_harm(
    power: int, scores: int, sign: int, sampled: bool, seed: int
) -> None:
    """Scores up to 2 ** 105, either way: the loss is torch's, and no gradient is inf or nan.

    The numbers are whole, times a power of two, so that their products are exact.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = (torch.randint(-3, 4, shape, generator=generator) for shape in ((8, 2), (9, 2), (9,)))
    vectors, weight, bias = (tensor.float() for tensor in whole)
    scale = sign * 2.0**power
    targets = torch.randint(9, (8,), generator=generator)
    problem = Problem(vectors, weight * scale, bias * scale, targets)
    log_weights = None
    if sampled:
        log_weights = torch.tensor([0.0, 0, 0, 0, 2, 2, 2, -math.inf, -math.inf])
    with in_portions(scores):
        found = ours(problem, log_weights)
    assert all(tensor.isfinite().all() for tensor in found)
    for tensor, expected in zip(found, by_torch(problem, log_weights), strict=True):
        largest = float(expected.abs().max())
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6 * max(1, largest))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scores", [1, 250, 1000])
def test_no_more_scores_are_made_than_a_portion(scores: int, weighted: bool) -> None:
    """Of 6,000 scores no more than a portion is in memory, forwards or backwards; none is kept."""
    problem, kept = random_problem(60, 100, 3), []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with (
        in_portions(scores),
        LargestTensor() as largest,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        ours(problem, torch.zeros(100) if weighted else None)
    assert largest.numbers == max(scores, 60 * 3, 100 * 3)
    assert kept == [60 * 3, 100 * 3, 100]


@pytest.mark.parametrize("scores", [1, 10**6])
def test_the_loss_is_a_sum_over_targets_in_nats(scores: int) -> None:
    """Two targets of probability 1/2 and 1/4 cost ln 8, in single precision even in bf16."""
    vectors, weight = torch.eye(2), torch.tensor([[0.5, 0.25], [0.5, 0.75]]).log()
    numbers = (vectors, weight, torch.zeros(2), torch.tensor([0, 0]))
    with in_portions(scores):
        assert float(cross_entropy(*numbers)) == pytest.approx(math.log(8))
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(*numbers)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(8))


def test_weights_count_how_many_types_a_type_stands_for() -> None:
    """A type of log-weight ln 3 is three types of its score; one of -inf is none; a target is one.

    By hand: scores ln 1, ln 2, ln 3 and ln 4, weights 1, 3, 0 and 0.
    """
    bias = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()
    log_weights = torch.tensor([1.0, 3.0, 0.0, 0.0]).log()
    costs = [
        float(cross_entropy(torch.ones(1, 2), torch.zeros(4, 2), bias, target, log_weights))
        for target in torch.arange(4)[:, None]
    ]
    odds = [1 / (1 + 6), 2 / (1 + 2), 3 / (1 + 6 + 3), 4 / (1 + 6 + 4)]
    assert costs == pytest.approx([-math.log(p) for p in odds], rel=1e-6)


# Samples of types


counts = st.lists(st.integers(0, 4), min_size=2, max_size=25)


@settings(max_examples=150, deadline=None)
@given(frequencies=counts, seed=st.integers(0, 2**32), data=st.data())
def test_a_sample_is_as_described(frequencies: list[int], seed: int, data: st.DataObject) -> None:
    """Head, drawn types and the targets that are neither, each type once, weighted as they count.

    That holds of the third sample of a sampler as of its first.
    """
    vocab_size = len(frequencies)
    head = data.draw(st.integers(0, vocab_size - 1))
    size = data.draw(st.integers(1, vocab_size - head))
    sampler = TypeSampler(torch.tensor(frequencies), head, size)
    generator = torch.Generator().manual_seed(seed)
    ranked = sorted(range(vocab_size), key=lambda i: -frequencies[i])
    for _ in range(3):
        targets = data.draw(st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=30))
        ids, log_weights, places = sampler.draw(torch.tensor(targets), generator)
        assert ids[places].tolist() == targets
        assert len(set(ids.tolist())) == len(ids) == len(log_weights)
        weights = dict(zip(ids.tolist(), log_weights.tolist(), strict=True))
        assert all(weights[i] == 0 for i in ranked[:head])
        stands_for = math.log((vocab_size - head) / size)
        others = [weight for i, weight in weights.items() if i not in ranked[:head]]
        drawn = [weight for weight in others if weight > -math.inf]
        assert drawn == pytest.approx([stands_for] * size, rel=1e-6)
        foreign = {i for i, weight in weights.items() if weight == -math.inf}
        assert foreign <= set(targets)
        assert len(foreign) + size + head == len(ids)


def test_every_type_of_the_tail_is_drawn_as_often() -> None:
    """Of 15 types of which 6 are drawn, each is in 2/5 of 3,000 samples: within 4 deviations."""
    sampler = TypeSampler(torch.arange(20), head=5, size=6)
    generator = torch.Generator().manual_seed(0)
    often = torch.zeros(20)
    for _ in range(3000):
        often[sampler.draw(torch.tensor([19]), generator).ids] += 1
    assert often[15:].tolist() == [3000] * 5
    deviation = math.sqrt(3000 * 0.4 * 0.6)
    assert ((often[:15] - 1200).abs() < 4 * deviation).all()
    assert often[:15].std() > 0.3 * deviation  # they are drawn by chance, not in turn


def test_a_sample_is_a_function_of_seed_and_step() -> None:
    """The same (seed, step) draws the same types whatever was drawn before; another, others.

    torch's global random numbers stay where they were.
    """
    targets = torch.randint(50, (10,), generator=torch.Generator().manual_seed(0))
    used = TypeSampler(torch.arange(50), head=5, size=9)
    before = torch.get_rng_state()
    seen = set()
    for seed in range(4):
        for step in range(6):
            one, again = (
                sampler.draw(targets, step_generator(seed, step, torch.device("cpu")))
                for sampler in (used, TypeSampler(torch.arange(50), head=5, size=9))
            )
            assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
            seen.add(frozenset(one.ids.tolist()))
    assert len(seen) == 24
    assert torch.equal(torch.get_rng_state(), before)


@settings(max_examples=40, deadline=None)
@given(
    head=st.integers(0, 11),
    seed=st.integers(0, 2**32),
    positions=st.integers(1, 15),
    scores=st.integers(0, 100),
)
def test_a_sample_of_all_types_is_the_full_softmax(
    head: int, seed: int, positions: int, scores: int
) -> None:
    """Where every type is drawn, loss and gradients are those of the sum over all of them."""
    problem = random_problem(positions, 12, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    sampler = TypeSampler(torch.randint(9, (12,), generator=generator), head, 12 - head)
    sample = sampler.draw(problem.targets, generator)
    assert sorted(sample.ids.tolist()) == list(range(12))
    expected = by_torch(problem)
    with in_portions(scores):
        loss, d_vectors, d_rows, d_biases = ours(problem.of(sample), sample.log_weights)
    d_weight, d_bias = torch.zeros_like(d_rows), torch.zeros_like(d_biases)
    d_weight[sample.ids], d_bias[sample.ids] = d_rows, d_biases
    assert_near([loss, d_vectors, d_weight, d_bias], expected, 1e-10)


@pytest.mark.parametrize("target", [0, 25])
def test_the_sampled_sum_is_right_on_average(target: int) -> None:
    """Over 3,000 samples the mean of the sum of exponentials is the sum over all types.

    Within 4 standard errors, and those are small: for a target of the head and one of the tail.
    """
    problem = random_problem(1, 30, seed=4)._replace(targets=torch.tensor([target]))
    all_scores = F.linear(*problem[:3])[0]
    full = float(all_scores.exp().sum())
    sampler = TypeSampler(torch.arange(30, 0, -1), head=5, size=10)
    generator = torch.Generator().manual_seed(0)
    sums = []
    for _ in range(3000):
        sample = sampler.draw(problem.targets, generator)
        loss = cross_entropy(*problem.of(sample), sample.log_weights)
        sums.append((loss + all_scores[target]).exp())
    estimates = torch.stack(sums)
    error = float(estimates.std()) / math.sqrt(len(sums))
    assert 0 < error < 0.01 * full
    assert abs(float(estimates.mean()) - full) < 4 * error


@pytest.mark.parametrize("scores", [1, 10**6])
def test_a_target_that_was_not_drawn_counts_for_its_own_position_only(scores: int) -> None:
    """Elsewhere its probability is exactly 0: it moves nothing there and is not moved by it."""
    sampler = TypeSampler(torch.arange(40, 0, -1), head=4, size=3)
    targets = torch.tensor([2, 33, 2, 34, 33])
    problem = random_problem(5, 40)._replace(targets=targets)
    sample = sampler.draw(targets, torch.Generator().manual_seed(0))
    foreign = {
        int(i)
        for i, weight in zip(sample.ids, sample.log_weights, strict=True)
        if weight == -math.inf
    }
    assert foreign == {33, 34}
    few = problem.of(sample)
    for position, own in enumerate(targets.tolist()):
        with in_portions(scores):
            _, d_vectors, d_weight, d_bias = ours(few.at(position), sample.log_weights)
        for place, i in enumerate(sample.ids.tolist()):
            probability = float(d_bias[place]) + (i == own)
            if i in foreign and i != own:
                assert probability == 0
                assert not d_weight[place].any()
            else:
                assert 0 < probability < 1
                assert d_weight[place].all()
        moved = few.weight.clone()
        moved[[i in foreign - {own} for i in sample.ids.tolist()]] *= 1000
        with in_portions(scores):
            again = ours(few.at(position)._replace(weight=moved), sample.log_weights)
        assert torch.equal(again[1], d_vectors)
    # All positions together are the sum of them one by one.
    with in_portions(scores):
        alone = [ours(few.at(position), sample.log_weights) for position in range(5)]
        together = ours(few, sample.log_weights)
    assert_near(together[::2], [sum(part[i] for part in alone) for i in (0, 2)], 1e-10)
    assert_near([together[1]], [torch.cat([part[1] for part in alone])], 1e-10)
