"""Laws of row-wise steps: AdamW where every row is met, an AdamW of each row where it is not."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import charlm
from charlm.config import TrainingConfig
from charlm.errors import FieldError
from charlm.network_config import CausalConfig
from charlm.nn.softmax import TypeSampler
from charlm.text.tokens import TokenizedText, from_ids
from charlm.training import rows, saving
from charlm.training.recipe import choose
from charlm.training.rows import DECAY_EVERY, RowAdamW
from charlm.training.tasks import TASKS
from charlm.training.window_steps import OnlyText
from tests.support.made import LargestMemory
from tests.support.trainers import new_state, train_steps

ROWS, WIDTH = 6, 3
RATE, BETAS, EPS = 0.01, (0.9, 0.99), 1e-8


def matrix_of(*shape: int) -> nn.Parameter:
    """The same random numbers at every call."""
    return nn.Parameter(torch.randn(*shape, generator=torch.Generator().manual_seed(1)))


def row_wise(matrix: nn.Parameter, weight_decay: float = 0.0) -> RowAdamW:
    """An optimizer of a matrix, and of a number that is none of it."""
    config = config_of(learning_rate=RATE, beta1=BETAS[0], beta2=BETAS[1])
    return RowAdamW([], [nn.Parameter(torch.ones(1))], {matrix: weight_decay}, config)


def sparse(gradient: Tensor) -> Tensor:
    """A gradient of the rows that are not zero."""
    there = gradient.reshape(len(gradient), -1).any(1).nonzero()[:, 0]
    return rows.gradient_of(gradient, there, gradient[there])


@pytest.mark.parametrize("shape", [(ROWS, WIDTH), (ROWS,)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_where_every_row_has_a_gradient_it_is_adamw(
    shape: tuple[int, ...], weight_decay: float
) -> None:
    """Sparse gradients of all rows and dense ones give what torch's AdamW gives.

    Weight decay may be late by as much as there is of it in a stretch of steps.
    """
    generator = torch.Generator().manual_seed(0)
    matrix, same, plain = matrix_of(*shape), matrix_of(*shape), matrix_of(*shape)
    optimizers = [row_wise(matrix, weight_decay), row_wise(same, weight_decay)]
    dense = torch.optim.AdamW([plain], lr=RATE, betas=BETAS, weight_decay=weight_decay)
    largest = 0.0
    for _ in range(2 * DECAY_EVERY):
        gradient = torch.randn(*shape, generator=generator)
        matrix.grad, same.grad, plain.grad = sparse(gradient), gradient, gradient.clone()
        for optimizer in (*optimizers, dense):
            optimizer.step()
        assert torch.equal(matrix, same)
        largest = max(largest, float(plain.detach().abs().max()))
        late = RATE * weight_decay * DECAY_EVERY * largest
        torch.testing.assert_close(matrix, plain, rtol=1e-5, atol=1e-6 + late)


def slowly(gradients: list[float], first: float) -> float:
    """A number after AdamW's steps against gradients, as the paper has them, one after another."""
    mean = square = 0.0
    for number, gradient in enumerate(gradients, 1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        unbiased = mean / (1 - BETAS[0] ** number), square / (1 - BETAS[1] ** number)
        first -= RATE * unbiased[0] / (math.sqrt(unbiased[1]) + EPS)
    return first


def test_each_row_has_an_adamw_of_its_own() -> None:
    """Which takes the steps that have a gradient for the row, and knows of no others."""
    rng, matrix = np.random.default_rng(0), matrix_of(ROWS, WIDTH)
    first, optimizer = matrix.detach().clone(), row_wise(matrix)
    seen: dict[tuple[int, int], list[float]] = {}
    for _ in range(40):
        gradient = torch.from_numpy(rng.normal(size=(ROWS, WIDTH))).float()
        gradient[rng.random(ROWS) < 0.6] = 0
        gradient[4] = 0
        matrix.grad = sparse(gradient)
        optimizer.step()
        for row in matrix.grad._indices()[0].tolist():
            for column in range(WIDTH):
                seen.setdefault((row, column), []).append(float(gradient[row, column]))
    assert len({len(gradients) for gradients in seen.values()}) > 2
    for (row, column), gradients in seen.items():
        expected = slowly(gradients, float(first[row, column]))
        assert float(matrix[row, column].detach()) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(matrix[4], first[4])


def test_rows_decay_whether_they_are_met_or_not() -> None:
    """After a whole stretch a row without a gradient is what all its factors make of it."""
    matrix = matrix_of(ROWS, WIDTH)
    first, optimizer, factor = matrix.detach().clone(), row_wise(matrix, 0.5), 1.0
    for step in range(DECAY_EVERY):
        assert torch.equal(matrix[1:], first[1:])
        rate = 0.01 * (step + 1)
        optimizer.param_groups[0]["lr"] = rate
        factor *= 1 - rate * 0.5
        gradient = torch.zeros(ROWS, WIDTH)
        gradient[0] = 1
        matrix.grad = sparse(gradient)
        optimizer.step()
    torch.testing.assert_close(matrix[1:], factor * first[1:])


def test_the_norm_is_that_of_all_rows() -> None:
    """Clipping sparse gradients is clipping the same gradients dense."""
    gradient = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    gradient[2] = 0
    some, dense = (matrix_of(ROWS, WIDTH), matrix_of(2)), (matrix_of(ROWS, WIDTH), matrix_of(2))
    some[0].grad, dense[0].grad = sparse(gradient), gradient.clone()
    some[1].grad, dense[1].grad = torch.ones(2), torch.ones(2)
    norm = rows.clip(some, 0.5)
    expected = nn.utils.clip_grad_norm_(dense, 0.5)
    torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(some[0].grad.to_dense(), dense[0].grad)
    torch.testing.assert_close(some[1].grad, dense[1].grad)


# Trainings


def words(vocab_size: int, number: int = 4000) -> TokenizedText:
    """A text whose types are few of many."""
    rng = np.random.default_rng(0)
    ids = rng.zipf(1.5, size=number) % (vocab_size - 2) + 2
    return from_ids([each.astype(np.int32) for each in np.split(ids, 40)], vocab_size)


def config_of(**fields: Any) -> TrainingConfig:
    """A few row-wise steps."""
    given = {"num_steps": 5, "batch_size": 4, "bptt_length": 8, "segment_length": 64}
    return TrainingConfig(
        **{**given, "frequent_types": 16, "sampled_types": 16, "row_wise": True, **fields}
    )


def noting(known: set[int]) -> Callable[..., Any]:
    """Draws as a sampler does, and adds the memory that it has of its own to what is known."""
    draw = TypeSampler.draw

    def noted(sampler: TypeSampler, *arguments: Any) -> Any:
        own = (each for each in vars(sampler).values() if isinstance(each, Tensor))
        known.update(each.untyped_storage().data_ptr() for each in own)
        return draw(sampler, *arguments)

    return noted


@pytest.mark.parametrize("tied", [True, False])
def test_a_step_makes_nothing_that_grows_with_the_types(tied: bool) -> None:
    """The largest tensor that a step makes is as large whether there are 10,000 types or 40,000."""
    largest = []
    for vocab_size in (10_000, 40_000):
        shape = CausalConfig(
            vocab_size=vocab_size, hidden_size=8, embedding_size=8, tie_weights=tied
        )
        config = config_of()
        state = new_state(shape, config)
        steps = train_steps(state, config, words(vocab_size))
        next(steps)  # makes the moments
        parameters = list(state.module.parameters())
        kept = [tensor for each in parameters for tensor in state.optimizer.state[each].values()]
        known = {each.untyped_storage().data_ptr() for each in (*parameters, *kept)}
        with mock.patch.object(TypeSampler, "draw", noting(known)):
            next(steps)
        with LargestMemory(known) as made:
            assert not next(steps).skipped
        largest.append(made.bytes)
    assert largest[0] == largest[1] > 0


def test_types_that_a_step_did_not_meet_stay() -> None:
    """Weights and moments of all other rows are, to the bit, what they were."""
    vocab_size = 500
    shape = CausalConfig(vocab_size=vocab_size, hidden_size=8, embedding_size=8, tie_weights=True)
    config = config_of()
    state = new_state(shape, config)
    steps, matrix = train_steps(state, config, words(vocab_size)), state.module.embedding.weight
    next(steps)
    for _ in range(3):
        before = matrix.detach().clone()
        moments = {k: v.clone() for k, v in state.optimizer.state[matrix].items() if v.dim() == 2}
        next(steps)
        met = torch.zeros(vocab_size + 1, dtype=torch.bool)
        met[matrix.grad._indices()[0]] = True
        assert 20 < met.sum() < vocab_size / 2
        assert torch.equal(matrix[~met], before[~met])
        assert (matrix[met] != before[met]).any(1).float().mean() > 0.9
        for name, value in moments.items():
            assert torch.equal(state.optimizer.state[matrix][name][~met], value[~met])


def test_biases_begin_at_the_shares_of_the_text() -> None:
    """So do those of a training that went back to the first weights; of a plain one at 0."""
    text, task = words(500), TASKS["language-model"]
    shape = CausalConfig(vocab_size=500, hidden_size=8, embedding_size=8, tie_weights=True)
    counts = np.maximum(text.frequencies(), 0.5)
    for config in (config_of(), config_of(row_wise=False)):
        state = new_state(shape, config)
        task.start(state, config, OnlyText(text))
        expected = np.log(counts / counts.sum()) if config.row_wise else np.zeros(500)
        np.testing.assert_allclose(state.module.softmax.bias.detach(), expected, rtol=1e-5)


def test_a_sample_drawn_with_replacement_is_unbiased() -> None:
    """The weighted sum over samples comes to the sum over all types; no type is in one twice."""
    values = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sampler = TypeSampler(torch.arange(50, 0, -1), 5, 20, few=True)
    generator, sums, had_twice = torch.Generator().manual_seed(1), [], False
    for _ in range(4000):
        ids, log_weights, places = sampler.draw(torch.tensor([3, 30, 30]), generator)
        assert len(set(ids.tolist())) == len(ids)
        assert ids[places].tolist() == [3, 30, 30]
        weights = log_weights.exp()
        assert weights[:5].tolist() == [1] * 5
        had_twice |= bool((weights[5:] > 45 / 20 + 0.1).any())
        sums.append(float((weights * values[ids]).sum()))
    assert had_twice
    error = np.std(sums) / math.sqrt(len(sums))
    assert abs(np.mean(sums) - float(values.sum())) < 4 * error < 0.05 * float(values.sum())


def test_the_moments_of_a_large_matrix_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read from a file serves as the moments; small arrays are copied."""
    config, shape = config_of(), CausalConfig(vocab_size=500, hidden_size=8, embedding_size=8)
    state = new_state(shape, config)
    list(train_steps(state, config, words(500)))
    task = TASKS["language-model"]
    weights, arrays = task.weights(state), _copied(task.arrays(state))
    for large, shares in ((10, True), (10**9, False)):
        monkeypatch.setattr("charlm.nn.network._LARGE", large)
        later = new_state(shape, config)
        task.put_back(later, weights, arrays, saving.counters(state))
        kept = later.optimizer.state[later.module.embedding.weight]["exp_avg"]
        array = arrays["exp_avg.embedding.weight"]
        assert (kept.data_ptr() == array.ctypes.data) is shares
        np.testing.assert_array_equal(kept, array)


def test_a_save_makes_nothing_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the optimizer keeps is made at the first step; later it is given as it lies."""
    config, shape = config_of(), CausalConfig(vocab_size=500, hidden_size=8, embedding_size=8)
    state, task = new_state(shape, config), TASKS["language-model"]
    assert not task.arrays(state)["exp_avg.embedding.weight"].any()
    list(train_steps(state, config, words(500)))

    def never(matrix: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr("charlm.training.rows.blank", never)
    kept = state.optimizer.state[state.module.embedding.weight]["exp_avg"]
    assert task.arrays(state)["exp_avg.embedding.weight"].ctypes.data == kept.data_ptr()


def _copied(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: array.copy() for name, array in arrays.items()}


# What is chosen


@pytest.mark.parametrize(("types", "expected"), [(4095, False), (4096, True), (10**6, True)])
def test_steps_are_row_wise_where_types_are_drawn(types: int, expected: bool) -> None:
    """And where a sample is drawn of them: of little text none is."""
    asked: dict[str, Any] = {"level": "word", "vocab_size": types, "num_sequences": 10**6}
    asked |= {"seconds": 600.0, "model": {}, "training": {}}
    much, little = (choose(num_tokens=number, **asked) for number in (10**7, 400_000))
    assert much.training.row_wise is expected
    assert not little.training.row_wise


@pytest.mark.parametrize("fields", [{"sampled_types": 0}, {"average_decay": 0.9}])
def test_what_does_not_go_with_row_wise_steps_is_refused(fields: dict[str, Any]) -> None:
    """A softmax over all types has a gradient for each; a mean of weights is of all rows."""
    with pytest.raises(FieldError, match="row_wise goes with sampled_types, and not with"):
        config_of(**fields)


def test_a_config_of_before_is_not_row_wise() -> None:
    """What is not row-wise is written as it always was."""
    plain = config_of(row_wise=False)
    assert "row_wise" not in plain.to_json()
    assert TrainingConfig.from_json(config_of().to_json()) == dataclasses.replace(
        plain, row_wise=True
    )


# From one end to the other


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within it, ten types are very many, and a hundred tokens much."""
    monkeypatch.setattr("charlm.network_config.MANY_TYPES", 10)
    monkeypatch.setattr("charlm.training.recipe._MANY_TYPES", 10)
    monkeypatch.setattr("charlm.training.recipe._MUCH", 100)
    monkeypatch.setattr("charlm.training.tasks.causal._PRODUCTS", 1)
    monkeypatch.setattr("charlm.training.tasks.causal._FEWEST_TOKENS", 30)


@pytest.mark.usefixtures("few_are_many")
def test_a_run_of_many_types_says_what_it_looked_at(tmp_path: Path) -> None:
    """It is row-wise, scores a part of what is held out, and learns."""
    texts = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in "ijklm"]
    options: dict[str, Any] = {"level": "word", "min_count": 1, "hidden": 8, "embedding": 8}
    options |= {"texts": texts, "valid_texts": texts[::2], "root": tmp_path, "index": False}
    said: list[str] = []
    whole = charlm.train(**options, steps=60, name="whole", say=said.append)
    asked = json.loads((tmp_path / "whole" / "run.json").read_text())["training"]
    assert asked["row_wise"] is True
    assert 30 <= asked["validate_tokens"] < 160
    (line,) = [each for each in said if each.startswith("held out:")]
    assert line == (
        "held out: 28 of 160 tokens from all over are scored, each among 15 types; "
        "charlm evaluate scores all"
    )
    assert whole.score("a e i").total_log_prob > whole.score("a a a").total_log_prob


def test_some_of_a_text_is_from_all_over_it() -> None:
    """Whole sequences, no more tokens than asked for, and where they stand."""
    text = from_ids([np.full(4, number, dtype=np.int32) for number in range(2, 52)], 60)
    places, some = text.some(40)
    assert some.num_tokens == len(places) == 40
    np.testing.assert_array_equal(text.ids[places], some.ids)
    assert [len(set(each.tolist())) for each in some.sequences()] == [1] * 10
    assert np.diff([each[0] for each in some.sequences()]).tolist() == [5] * 9
    assert text.some(200)[1] is text
    whole = from_ids([np.arange(2, 52, dtype=np.int32)], 60)
    np.testing.assert_array_equal(whole.some(7)[1].ids, np.arange(2, 9))
