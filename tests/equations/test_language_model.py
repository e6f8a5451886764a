"""Laws of the NumPy reference, and that docs/equations.md quotes the code that runs."""

import ast
import math
import re
import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from charlm.config import CELLS
from charlm.equations import language_model
from charlm.equations.language_model import (
    NUM_GATES,
    NUM_STATES,
    STEPS,
    LayerWeights,
    ModelWeights,
    forward,
)

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "charlm/equations/language_model.py").read_text(encoding="utf-8")
QUOTES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs/equations.md").read_text(encoding="utf-8"), re.DOTALL
)
LN3 = math.log(3)  # sigmoid(ln 3) = 3/4, sigmoid(-ln 3) = 1/4, tanh(ln 3 / 2) = 1/2


def column(*values: float) -> np.ndarray:
    """A weight matrix (G, 1): one row per gate, for H = I = 1."""
    return np.array(values, dtype=np.float64)[:, None]


def one(value: float) -> np.ndarray:
    """An input or state of one number: (1, 1)."""
    return np.array([[value]], dtype=np.float64)


def by_name(gates: language_model.Gates) -> dict[str, float]:
    """The gates of one unit."""
    return {name: gate.item() for name, gate in gates.items()}


def random_layer(
    cell: str, input_size: int, size: int, rng: np.random.Generator
) -> LayerWeights[np.ndarray]:
    """Random weights of one layer, float64."""
    rows = NUM_GATES[cell] * size
    fused = cell in ("lstm", "gru", "rnn-tanh", "rnn-relu")
    return LayerWeights(
        weight_ih=rng.normal(0, 0.5, (rows, input_size)),
        weight_hh=rng.normal(0, 0.5, (rows, size)),
        bias_ih=rng.normal(0, 0.5, rows),
        bias_hh=rng.normal(0, 0.5, rows) if fused else None,
        peephole=rng.normal(0, 0.5, (3, size)) if cell == "lstm-peephole" else None,
    )


def random_model(cell: str, seed: int = 0, output_layers: int = 1) -> ModelWeights:
    """Two layers of 4 and 3 units over 5 types embedded in 2 dimensions."""
    rng = np.random.default_rng(seed)
    return ModelWeights(
        embedding=np.vstack((rng.normal(size=(5, 2)), np.zeros((1, 2)))),
        layers=(random_layer(cell, 2, 4, rng), random_layer(cell, 4, 3, rng)),
        output=tuple((rng.normal(size=(3, 3)), rng.normal(size=3)) for _ in range(output_layers)),
        softmax_weight=rng.normal(size=(5, 3)),
        softmax_bias=rng.normal(size=5),
    )


def test_lstm_by_hand() -> None:
    """x = 2, h = -1, c = 1: every gate's sum of products is worked out below."""
    weights = LayerWeights(
        weight_ih=column(LN3, 1, LN3, 0),
        weight_hh=column(LN3, 1, 1, LN3),
        bias_ih=np.array([0, -0.5, 0.5, 0]),
        bias_hh=np.array([0, -0.5, 0.5 - 1.5 * LN3, 0]),
    )
    # update    2 ln3 - ln3 + 0             = ln3      sigmoid -> 3/4
    # forget    2 - 1 - 1/2 - 1/2           = 0        sigmoid -> 1/2
    # candidate 2 ln3 - 1 + 1 - 3/2 ln3     = ln3 / 2  tanh    -> 1/2
    # output    0 - ln3                     = -ln3     sigmoid -> 1/4
    (h, c), gates = language_model.lstm(weights, one(2), (one(-1), one(1)))
    assert by_name(gates) == pytest.approx({"update": 3 / 4, "forget": 1 / 2, "output": 1 / 4})
    assert c.item() == pytest.approx(3 / 4 * 1 / 2 + 1 / 2 * 1, abs=1e-15)  # 7/8
    assert h.item() == pytest.approx(1 / 4 * math.tanh(7 / 8), abs=1e-15)


def test_gru_reset_before_by_hand() -> None:
    """x = 1, c = 4/5: the relevance gate scales c before it meets its weight."""
    weights = LayerWeights(
        weight_ih=column(-LN3 - 0.8, LN3, LN3 / 2),
        weight_hh=column(1, 0, 5),
        bias_ih=np.array([0.0, 0.0, -1.0]),
    )
    # relevance 4/5 - ln3 - 4/5             = -ln3     sigmoid -> 1/4
    # update    0 + ln3                     = ln3      sigmoid -> 3/4
    # candidate 5 (1/4 * 4/5) + ln3 / 2 - 1 = ln3 / 2  tanh    -> 1/2
    (c,), gates = language_model.gru_reset_before(weights, one(1), (one(0.8),))
    assert by_name(gates) == pytest.approx({"relevance": 1 / 4, "update": 3 / 4})
    assert c.item() == pytest.approx(3 / 4 * 1 / 2 + 1 / 4 * 4 / 5, abs=1e-15)  # 23/40


def test_gru_minimal_by_hand() -> None:
    """x = 1, c = 1/5: update sigmoid(-ln3) = 1/4, candidate tanh(ln3 / 2) = 1/2."""
    weights = LayerWeights(column(0, LN3), column(-5 * LN3, -2.5 * LN3), np.zeros(2))
    (c,), gates = language_model.gru_minimal(weights, one(1), (one(0.2),))
    assert by_name(gates) == pytest.approx({"update": 1 / 4})
    assert c.item() == pytest.approx(1 / 4 * 1 / 2 + 3 / 4 * 1 / 5, abs=1e-15)  # 11/40


def test_fused_gru_by_hand() -> None:
    """x = 1, h = 1/5: reset acts on the product and its bias, z keeps."""
    weights = LayerWeights(
        weight_ih=column(LN3, -LN3, LN3 / 2 - 1.5),
        weight_hh=column(0, 0, 5),
        bias_ih=np.zeros(3),
        bias_hh=np.array([0.0, 0.0, 1.0]),
    )
    # reset 3/4; z 1/4; candidate tanh(ln3 / 2 - 3/2 + 3/4 (5 * 1/5 + 1)) = 1/2
    (h,), gates = language_model.gru(weights, one(1), (one(0.2),))
    assert by_name(gates) == pytest.approx({"reset": 3 / 4, "update": 1 - 1 / 4})
    assert h.item() == pytest.approx((1 - 1 / 4) * 1 / 2 + 1 / 4 * 1 / 5, abs=1e-15)  # 17/40


def test_peepholes_by_hand() -> None:
    """Update and forget see c<t-1>, output sees c<t>."""
    weights = LayerWeights(
        weight_ih=np.zeros((4, 1)),
        weight_hh=np.zeros((4, 1)),
        bias_ih=np.array([0, 0, LN3 / 2, 0]),
        peephole=column(LN3 / 2, -LN3 / 2, 1),
    )
    # c<t-1> = 2: update sigmoid(ln3) = 3/4, forget sigmoid(-ln3) = 1/4, candidate 1/2
    (h, c), gates = language_model.lstm_peephole(weights, one(0), (one(0), one(2)))
    opened = 1 / (1 + math.exp(-7 / 8))
    assert by_name(gates) == pytest.approx({"update": 3 / 4, "forget": 1 / 4, "output": opened})
    assert c.item() == pytest.approx(3 / 4 * 1 / 2 + 1 / 4 * 2, abs=1e-15)  # 7/8
    assert h.item() == pytest.approx(math.tanh(7 / 8) / (1 + math.exp(-7 / 8)), abs=1e-15)


def test_closed_peepholes_are_an_lstm() -> None:
    """With zero peephole weights the two LSTMs are one."""
    rng = np.random.default_rng(1)
    weights = random_layer("lstm", 3, 4, rng)._replace(peephole=np.zeros((3, 4)))
    x, state = rng.normal(size=(2, 3)), (rng.normal(size=(2, 4)), rng.normal(size=(2, 4)))
    plain, peephole = (step(weights, x, state) for step in (STEPS["lstm"], STEPS["lstm-peephole"]))
    np.testing.assert_allclose(plain, peephole, rtol=1e-14)


def test_one_unit_cannot_tell_where_the_reset_is() -> None:
    """For H = 1 without bias_hh both GRUs agree, the update gate's weights with opposite sign."""
    rng = np.random.default_rng(2)
    before = random_layer("gru-reset-before", 3, 1, rng)
    sign = np.array([1, -1, 1])
    after = LayerWeights(
        before.weight_ih * sign[:, None],
        before.weight_hh * sign[:, None],
        before.bias_ih * sign,
        np.zeros(3),
    )
    x, state = rng.normal(size=(4, 3)), (rng.normal(size=(4, 1)),)
    ours, theirs = STEPS["gru-reset-before"](before, x, state), STEPS["gru"](after, x, state)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_every_cell_has_its_row_in_every_table() -> None:
    """config.CELLS and the three tables name the same cells."""
    assert tuple(STEPS) == tuple(NUM_GATES) == tuple(NUM_STATES) == CELLS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_overflows_and_the_dtype_stays(dtype: type) -> None:
    """Saturated gates and huge logits give no warning (warnings are errors here)."""
    z = np.array([-1e4, -1.0, 0.0, 1e4], dtype)
    np.testing.assert_allclose(language_model.sigmoid(z), [0, 1 / (1 + math.e), 0.5, 1], atol=1e-7)
    assert language_model.sigmoid(z).dtype == dtype
    assert language_model.log_softmax(z).dtype == dtype
    np.testing.assert_array_equal(language_model.log_softmax(z)[[0, 3]], [-2e4, 0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_is_a_distribution_in_the_dtype_of_the_weights(cell: str, dtype: type) -> None:
    """The probabilities of every next token sum to one; float32 weights serve in float32."""
    model = random_model(cell)
    model = ModelWeights(
        model.embedding.astype(dtype),
        tuple(layer.map(lambda w: w.astype(dtype)) for layer in model.layers),
        tuple((weight.astype(dtype), bias.astype(dtype)) for weight, bias in model.output),
        model.softmax_weight.astype(dtype),
        model.softmax_bias.astype(dtype),
    )
    inputs = np.array([[5, 0, 3, 2], [5, 1, 1, 4]])
    log_probs, state = forward(cell, model, inputs)
    assert log_probs.shape == (2, 4, 5)
    assert log_probs.dtype == dtype
    assert all(s.dtype == dtype for layer in state for s in layer)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_the_first_input_and_state_are_zero(cell: str) -> None:
    """Before any token the model sees x = 0 and a = 0, whatever the embedding has learned."""
    model = random_model(cell)
    log_probs, _ = forward(cell, model, np.array([[5]]))
    a = np.zeros((1, 2))
    for layer in model.layers:
        zeros = np.zeros((1, layer.weight_hh.shape[1]))
        a = STEPS[cell](layer, a, (zeros,) * NUM_STATES[cell])[0]
    a = np.maximum(a @ model.output[0][0].T + model.output[0][1], 0)
    logits = a @ model.softmax_weight.T + model.softmax_bias
    np.testing.assert_allclose(
        np.exp(log_probs[:, 0]), np.exp(logits) / np.exp(logits).sum(), rtol=1e-12
    )


@pytest.mark.parametrize("cell", CELLS)
def test_forward_in_chunks_is_forward(cell: str) -> None:
    """One pass equals two with the state carried over; a sequence does not see its neighbour."""
    model = random_model(cell, output_layers=0)
    inputs = np.array([[5, 0, 3, 2], [5, 1, 1, 4]])
    whole, last = forward(cell, model, inputs)
    first, state = forward(cell, model, inputs[:, :1])
    second, state = forward(cell, model, inputs[:, 1:], state)
    np.testing.assert_allclose(np.concatenate((first, second), axis=1), whole, rtol=1e-12)
    for ours, theirs in zip(state, last, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    np.testing.assert_allclose(forward(cell, model, inputs[1:])[0], whole[1:], rtol=1e-12)


def test_scores_by_hand() -> None:
    """P(1/2, 1/4) and P(1/8, 1/2): the product per sequence, one mean over the four targets."""
    probs = np.array(
        [
            [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]],
            [[0.125, 0.375, 0.5], [0.25, 0.25, 0.5]],
        ]
    )
    targets = np.array([[0, 1], [0, 2]])
    log_probs = np.log(probs)
    np.testing.assert_allclose(
        np.exp(language_model.total_log_prob(log_probs, targets)), [1 / 8, 1 / 16], rtol=1e-14
    )
    mean = language_model.cross_entropy(log_probs, targets)
    assert mean == pytest.approx(7 * math.log(2) / 4, abs=1e-14)


def test_a_uniform_model_costs_log_v() -> None:
    """Cross-entropy of the uniform distribution is ln V, float32 or not."""
    log_probs = language_model.log_softmax(np.zeros((3, 7, 11), np.float32))
    mean = language_model.cross_entropy(log_probs, np.arange(21).reshape(3, 7) % 11)
    assert mean == pytest.approx(math.log(11), abs=1e-6)


def test_without_is_the_rest_renormalised() -> None:
    """Masking a token divides the others by what is left: what re-drawing samples from."""
    log_probs = np.log([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]])
    masked = np.exp(language_model.without(log_probs, 1))
    np.testing.assert_allclose(masked, [[5 / 8, 0, 3 / 8], [1 / 4, 0, 3 / 4]], rtol=1e-14)
    np.testing.assert_allclose(np.exp(log_probs[0, 1]), 0.2)  # the argument is left alone


def test_clipping_scales_all_gradients_by_one_factor() -> None:
    """The common norm becomes max_norm if it was larger; a smaller one, even 0, stays."""
    gradients = [np.array([3.0, 0.0]), np.array([[4.0]])]  # norm 5
    half = language_model.clipped(gradients, 2.5)
    np.testing.assert_allclose(half[0], [1.5, 0])
    np.testing.assert_allclose(half[1], [[2]])
    for small in (gradients, [np.zeros(2), np.zeros((1, 1))]):
        for ours, theirs in zip(language_model.clipped(small, 5.0), small, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_the_reference_needs_no_torch() -> None:
    """Importing the equations leaves torch alone."""
    code = "import sys, charlm.equations; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def stripped(code: str) -> str:
    """Code without common indentation or trailing blank lines."""
    return textwrap.dedent(code).strip("\n")


def test_each_quotation_is_the_code_and_says_where_it_stands() -> None:
    """docs/equations.md is what docs/quotations.py makes of it; what stands nowhere is refused."""
    tool = runpy.run_path(str(ROOT / "docs" / "quotations.py"))
    page = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    assert tool["captioned"](page) == page
    for quote in QUOTES:
        path, name, line = tool["place_of"](quote)
        wanted = stripped(quote).split("\n")
        there = (ROOT / path).read_text(encoding="utf-8").split("\n")[line - 1 :]
        assert there[0].strip() == wanted[0]
        assert hasattr(language_model, name) or not path.endswith("language_model.py")
    assert {path for path, _, _ in map(tool["place_of"], QUOTES)} == set(tool["SOURCES"])
    with pytest.raises(LookupError):
        tool["place_of"]("h = 1")


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_quoted_whole(cell: str) -> None:
    """The body of each cell's step, docstring aside, is one block of docs/equations.md."""
    (function,) = (
        node
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.FunctionDef) and node.name == STEPS[cell].__name__
    )
    body = SOURCE.split("\n")[function.body[1].lineno - 1 : function.end_lineno]
    assert stripped("\n".join(body)) in map(stripped, QUOTES)
