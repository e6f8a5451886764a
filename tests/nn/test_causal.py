"""Laws of the model: the zero beginning, any chunking, the equations, dropout, tied weights."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charlm.config import CELLS
from charlm.engines.torch_lm import TorchEngine
from charlm.equations import language_model
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import State, detach_state, flatten_targets, narrow_state, num_parameters
from charlm.nn.windows import PADDING
from tests.support.tiny import quick_training, text_of_lengths, tiny_model
from tests.support.trainers import new_state, train_steps

SHAPES = [
    {"num_layers": layers, "output_layers": output, "tie_weights": tied, "embedding_size": size}
    for layers, output, tied, size in [
        (1, 0, False, 6),
        (2, 1, False, 6),
        (3, 2, True, 6),  # tied through a projection
        (2, 0, True, 8),  # tied directly: the embedding is as wide as the layers
        (1, 1, True, 11),
    ]
]


def random_ids(batch: int, time: int, vocab_size: int = 7, seed: int = 0) -> Tensor:
    """Inputs (B, T): the zero vector's id first, then types."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(vocab_size, (batch, time), generator=generator)
    ids[:, 0] = vocab_size
    return ids


def states_close(one: State, other: State, tolerance: float) -> bool:
    """Whether every tensor of two states agrees."""
    return all(
        torch.allclose(a, b, rtol=0, atol=tolerance)
        for layer, layer_other in zip(one, other, strict=True)
        for a, b in zip(layer, layer_other, strict=True)
    )


@pytest.mark.parametrize("cell", CELLS)
def test_everything_begins_at_zero(cell: str) -> None:
    """x<1> is the zero vector and a<0> the zero state, in the dtype of the model."""
    model = tiny_model(cell=cell, num_layers=2, dtype=torch.float64)
    state = model.init_state(3)
    assert len(state) == 2
    for layer in state:
        assert len(layer) == (2 if cell.startswith("lstm") else 1)
        for tensor in layer:
            assert tensor.shape == (3, 8)
            assert tensor.dtype == torch.float64
            assert not tensor.any()
    assert not model.embedding(torch.tensor([7])).any()


@pytest.mark.parametrize("tied", [False, True])
def test_the_first_input_stays_zero_in_training(tied: bool) -> None:
    """Training changes every row of the embedding that is read and leaves x<1> the zero vector."""
    text = text_of_lengths([9, 5, 30, 12])
    model_config = tiny_model(tie_weights=tied, embedding_size=8).config
    config = quick_training(weight_decay=0.5, average_decay=0.9)
    state = new_state(model_config, config)
    before = state.module.embedding.weight.detach().clone()
    assert not before[7].any()
    for _ in train_steps(state, config, text):
        pass
    after = state.module.embedding.weight.detach()
    assert not after[7].any()
    assert (after[2:7] != before[2:7]).any(dim=1).all()
    assert state.average is not None
    assert not state.average[0][7].any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=3, deadline=None)
@given(cuts=st.sets(st.integers(1, 14), min_size=1, max_size=6), batch=st.integers(1, 3))
def test_any_chunking_is_one_pass(
    cell: str, shape: dict[str, int], cuts: set[int], batch: int
) -> None:
    """Read in one go or in any pieces with the state carried over, a text gives the same."""
    model = tiny_model(cell=cell, dtype=torch.float64, **shape)
    ids = random_ids(batch, 15)
    with torch.no_grad():
        whole, last = model(ids, model.init_state(batch))
        state, pieces = model.init_state(batch), []
        for begin, end in pairwise([0, *sorted(cuts), 15]):
            logits, state = model(ids[:, begin:end], state)
            pieces.append(logits)
    assert whole.shape == (batch, 15, 7)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-12)
    assert states_close(state, last, 1e-12)
    # And the past does matter: without it the second half would differ.
    with torch.no_grad():
        forgetful, _ = model(ids[:, 8:], model.init_state(batch))
    assert not torch.allclose(forgetful, whole[:, 8:], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_a_batch_do_not_meet(cell: str, shape: dict[str, int]) -> None:
    """A row's distribution is the same whoever stands beside it, and padding after it is no one."""
    model = tiny_model(cell=cell, dtype=torch.float64, **shape)
    ids = random_ids(4, 9)
    with torch.no_grad():
        together, _ = model(ids, model.init_state(4))
        for row in range(4):
            alone, _ = model(ids[row : row + 1, : 9 - row], model.init_state(1))
            torch.testing.assert_close(alone[0], together[row, : 9 - row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_crosses_a_detached_state(cell: str) -> None:
    """What is learned after detach_state reaches no input before it; without it, it would."""
    model = tiny_model(cell=cell, num_layers=2, dtype=torch.float64)
    # The first window holds types 2 to 4 alone, the second 5 and 6.
    first, second = torch.tensor([[7, 2, 3, 4, 2]]), torch.tensor([[5, 6, 5]])

    def embedding_gradient(detached: bool) -> Tensor:
        _, state = model(first, model.init_state(1))
        if detached:
            state = detach_state(state)
        logits, _ = model(second, state)
        loss = F.cross_entropy(logits[0], torch.tensor([6, 5, 1]), reduction="sum")
        (gradient,) = torch.autograd.grad(loss, model.embedding.weight)
        return gradient

    cut, through = embedding_gradient(detached=True), embedding_gradient(detached=False)
    assert not cut[2:5].any()
    assert cut[5:7].any(dim=1).all()
    assert through[2:5].any(dim=1).all()
    _, state = model(first, model.init_state(1))
    for layer, cut_off in zip(state, detach_state(state), strict=True):
        for tensor, same in zip(layer, cut_off, strict=True):
            assert tensor.requires_grad
            assert not same.requires_grad
            assert torch.equal(tensor, same)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_the_model_is_its_equations(
    cell: str, shape: dict[str, int], dtype: torch.dtype, tolerance: float
) -> None:
    """Every model equals the NumPy transcription of its equations, log-probabilities and state."""
    model = tiny_model(cell=cell, dtype=dtype, seed=3, **shape)
    ids = random_ids(3, 12, seed=5)
    with torch.no_grad():
        first, state = model(ids[:, :5], model.init_state(3))
        second, state = model(ids[:, 5:], state)
        log_probs = torch.cat((first, second), dim=1).log_softmax(dim=2)
    weights = TorchEngine(model).reference()
    assert weights.softmax_bias.dtype == np.float64
    expected, last = language_model.forward(cell, weights, ids.numpy())
    np.testing.assert_allclose(log_probs.numpy(), expected, rtol=0, atol=tolerance)
    for layer, layer_expected in zip(state, last, strict=True):
        for tensor, array in zip(layer, layer_expected, strict=True):
            np.testing.assert_allclose(tensor.numpy(), array, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_is_off_outside_training(cell: str) -> None:
    """In evaluation a model with dropout is the model without, and draws no random number."""
    dropped = tiny_model(cell=cell, num_layers=2, dropout=0.5)
    plain = tiny_model(cell=cell, num_layers=2)
    plain.load_state_dict(dropped.state_dict())
    ids = random_ids(3, 8)
    before = torch.get_rng_state()
    with torch.no_grad():
        logits, _ = dropped(ids, dropped.init_state(3))
        expected, _ = plain.train()(ids, plain.init_state(3))
    assert torch.equal(logits, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_zeroes_and_scales() -> None:
    """Of what the output reads a share is 0 at every step alike, the rest is scaled up to it."""
    model = tiny_model(dropout=0.25, hidden_size=32)
    ids = random_ids(64, 6)
    with torch.no_grad():
        plain, _ = model.hidden(ids, model.init_state(64))
        model.train()
        dropped, _ = model.hidden(ids, model.init_state(64), torch.Generator().manual_seed(1))
    ratio = dropped / plain  # (T, B, H)
    kept = ratio[0] != 0
    torch.testing.assert_close(ratio, (kept / 0.75).expand_as(ratio))
    assert 0.7 < kept.float().mean() < 0.8  # 2,048 draws: standard deviation 0.0096
    assert not torch.equal(kept[0], kept[1])  # each row has a mask of its own


@pytest.mark.parametrize("cell", CELLS)
def test_one_dropout_mask_serves_all_steps(cell: str) -> None:
    """With dropout between layers too, pieces that draw the same masks are one pass."""
    model = tiny_model(cell=cell, num_layers=3, dropout=0.4, dtype=torch.float64).train()
    ids = random_ids(3, 12)

    def read(chunks: list[Tensor], seed: int) -> Tensor:
        state, outputs = model.init_state(3), []
        for chunk in chunks:
            logits, state = model(chunk, state, torch.Generator().manual_seed(seed))
            outputs.append(logits)
        return torch.cat(outputs, dim=1)

    with torch.no_grad():
        whole = read([ids], 1)
        torch.testing.assert_close(read([ids[:, :5], ids[:, 5:]], 1), whole, rtol=0, atol=1e-12)
        assert torch.equal(read([ids], 1), whole)
        assert not torch.allclose(read([ids], 2), whole)
        # The layers do not share one mask: the state of the second layer changes with dropout.
        _, before = model.eval()(ids, model.init_state(3))
        _, after = model.train()(ids, model.init_state(3), torch.Generator().manual_seed(1))
    assert states_close(before[:1], after[:1], 1e-12)
    assert not states_close(before[1:2], after[1:2], 1e-6)
    assert not states_close(before[2:], after[2:], 1e-6)


def test_dropout_draws_from_its_generator_alone() -> None:
    """Given a generator, dropout leaves torch's global random numbers where they were."""
    model = tiny_model(num_layers=2, dropout=0.5).train()
    before = torch.get_rng_state()
    model(random_ids(2, 4), model.init_state(2), torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("embedding_size", [5, 8, 11])
def test_tied_weights_are_one_memory(embedding_size: int) -> None:
    """Tied, the softmax reads the rows of the embedding themselves; the zero row is no type."""
    model = tiny_model(tie_weights=True, embedding_size=embedding_size)
    assert model.softmax_weight.data_ptr() == model.embedding.weight.data_ptr()
    assert model.softmax_weight.shape == (7, embedding_size)
    assert (model.projection is None) == (embedding_size == 8)
    names = [name for name, _ in model.named_parameters()]
    assert "softmax.weight" not in names
    hidden = torch.randn(1, 8)
    before = model.logits(hidden)[0]
    with torch.no_grad():
        model.embedding.weight[3] += 1
    changed = model.logits(hidden)[0] != before
    assert changed.tolist() == [i == 3 for i in range(7)]


def test_untied_weights_are_two() -> None:
    """Untied, the embedding may change and the softmax does not."""
    model = tiny_model()
    pointers = {parameter.data_ptr() for parameter in model.parameters()}
    assert len(pointers) == len(list(model.parameters()))
    assert model.softmax_weight is model.softmax.weight


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_the_softmax_are_its_matrix(shape: dict[str, int]) -> None:
    """Scores are features times softmax_rows, of some types as of all; its gradient has their rows.

    A type that is asked for twice has the gradient of both.
    """
    model = tiny_model(dtype=torch.float64, **shape)
    hidden = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([6, 0, 3, 3])
    weight, bias = model.softmax_rows(ids)
    features = model.features(hidden)
    assert features.shape == (5, weight.shape[1])
    torch.testing.assert_close(features @ weight.t() + bias, model.logits(hidden)[:, ids])
    torch.testing.assert_close(
        features @ model.softmax_weight.t() + model.softmax.bias, model.logits(hidden)
    )
    upstream = torch.arange(4.0, dtype=torch.float64)[:, None] + 1
    matrix = model.embedding.weight if model.config.tie_weights else model.softmax.weight
    (gradient,) = torch.autograd.grad((weight * upstream).sum(), matrix)
    assert gradient.is_sparse
    assert gradient.to_dense()[:, 0].tolist() == [2, 0, 0, 7, 0, 0, 1, 0][: len(matrix)]


def test_parameters_are_counted_by_hand() -> None:
    """2 layers of 8 units over 6 inputs, 7 types: each matrix once, tied or not."""
    embedding = 8 * 6
    layers = 4 * 8 * (6 + 8 + 2) + 4 * 8 * (8 + 8 + 2)
    untied = RecurrentLM(tiny_model(num_layers=2, output_layers=1).config)
    assert num_parameters(untied) == embedding + layers + 8 * 9 + 7 * 9
    tied = RecurrentLM(tiny_model(num_layers=2, output_layers=1, tie_weights=True).config)
    assert num_parameters(tied) == embedding + layers + 8 * 9 + 8 * 6 + 7


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_a_new_model_knows_next_to_nothing(cell: str, tied: bool) -> None:
    """Fresh weights give about uniform predictions: the first loss is near ln vocab_size."""
    torch.manual_seed(0)
    config = tiny_model(
        cell=cell, vocab_size=60, hidden_size=32, embedding_size=32, tie_weights=tied
    ).config
    model = RecurrentLM(config).eval()
    ids = random_ids(8, 20, vocab_size=60)
    with torch.no_grad():
        logits, _ = model(ids[:, :-1], model.init_state(8))
    loss = float(F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))
    assert abs(loss - np.log(60)) < 0.35


def test_narrowing_keeps_the_first_rows() -> None:
    """narrow_state drops the rows that have ended and touches no other."""
    model = tiny_model(num_layers=2)
    with torch.no_grad():
        _, state = model(random_ids(5, 3), model.init_state(5))
    narrow = narrow_state(state, 2)
    for layer, kept in zip(state, narrow, strict=True):
        for tensor, rows in zip(layer, kept, strict=True):
            assert torch.equal(rows, tensor[:2])


def test_flattening_keeps_each_vector_beside_its_target() -> None:
    """Hidden vectors are time-major and targets batch-major: they are matched, padding left out."""
    hidden = torch.arange(6.0).view(3, 2, 1)  # (T, B, H): vector 2 t + b
    targets = torch.tensor([[10, 12, 14], [11, PADDING, PADDING]])
    vectors, kept = flatten_targets(hidden, targets, PADDING)
    assert vectors[:, 0].tolist() == [0, 1, 2, 4]
    assert kept.tolist() == [10, 11, 12, 14]
    vectors, kept = flatten_targets(hidden, torch.tensor([[0, 2, 4], [1, 3, 5]]), PADDING)
    assert vectors[:, 0].tolist() == kept.tolist()
