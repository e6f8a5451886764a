"""Laws of products: with oneDNN or without, the same product."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CELLS
from charlm.engines.torch_steps import TorchDecoder
from charlm.nn import linear
from charlm.nn.linear import Product
from tests.support.tiny import model_of


@pytest.fixture(params=["as it is", "without oneDNN", "with operators that are gone"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This machine, one without oneDNN, and a torch whose operators were renamed."""
    linear._onednn_works.cache_clear()
    if request.param == "without oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    elif request.param == "with operators that are gone":

        class Gone:
            def __getattr__(self, name: str) -> None:
                raise AttributeError(name)

        monkeypatch.setattr(torch.ops, "mkldnn", Gone())
    yield request.param
    linear._onednn_works.cache_clear()


SIZES = st.integers(1, 70)


@pytest.mark.usefixtures("machine")
def test_product_is_x_w_plus_b() -> None:
    """Of any sizes, with a bias or without, another matrix added or not."""

    @settings(max_examples=40, deadline=None)
    @given(SIZES, SIZES, SIZES, st.booleans())
    def law(rows: int, inner: int, columns: int, has_bias: bool) -> None:
        generator = torch.Generator().manual_seed(rows * 10_000 + inner * 100 + columns)
        x, weight, bias, other = (
            torch.randn(shape, generator=generator)
            for shape in ((rows, inner), (columns, inner), (columns,), (rows, columns))
        )
        product = Product(weight, bias if has_bias else None)
        exact = x.double() @ weight.double().t() + (bias.double() if has_bias else 0)
        assert product.num_outputs == columns
        assert (product(x) - exact).abs().max() < 1e-4
        assert (product.plus(x, other) - exact - other).abs().max() < 1e-4

    law()


@pytest.mark.usefixtures("machine")
def test_product_keeps_its_own_weights() -> None:
    """What becomes of the matrices and of what it was given changes nothing."""
    x, weight, bias, other = torch.ones(1, 2), torch.ones(3, 2), torch.ones(3), torch.ones(1, 3)
    product = Product(weight, bias)
    weight.zero_()
    bias.zero_()
    assert product(x).tolist() == [[3.0] * 3]
    assert product.plus(x, other).tolist() == [[4.0] * 3]
    assert (x.tolist(), other.tolist()) == ([[1.0] * 2], [[1.0] * 3])


def test_what_is_not_single_precision_on_a_cpu_is_left_to_torch() -> None:
    """Double precision stays double."""
    x, weight = torch.randn(4, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    assert torch.equal(Product(weight)(x), x @ weight.t())


def test_fallback_is_taken(machine: str) -> None:
    """The fixture's machines differ in what they use, or the laws above say nothing of it."""
    if machine != "as it is":
        assert not linear._onednn_works()


@pytest.mark.parametrize("cell", CELLS)
def test_decoding_does_not_depend_on_it(cell: str, machine: str) -> None:
    """A step of two layers gives the model's log-probabilities on every machine."""
    model = model_of(9, cell=cell, num_layers=2, std=0.3)
    inputs = torch.tensor([[9, 3, 4], [9, 8, 0]])
    expected = model(inputs, model.init_state(2))[0].log_softmax(2)
    decoder = TorchDecoder(model)
    state = decoder.init_state(2)
    for t, column in enumerate(inputs.t()):
        logits, state = decoder.step(column.numpy(), state)
        error = (torch.from_numpy(logits).log_softmax(1) - expected[:, t]).abs().max()
        assert error < 1e-5, machine
