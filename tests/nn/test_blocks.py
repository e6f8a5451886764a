"""Laws of scores in blocks: they say what the whole softmax says, and no more is in memory.

Letters as in blocks.py: N positions, D the width that the softmax reads, V types.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm import network_config
from charlm.config import SamplingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_passes import target_log_probs
from charlm.inference import sample
from charlm.inference.sample import Sampler
from charlm.nn import blocks
from charlm.nn.blocks import Blocks
from charlm.nn.linear import Product
from charlm.nn.network import to_arrays
from tests.support.made import LargestTensor
from tests.support.tiny import TEXTS, model_of, tokenizer_of

WIDTH = 6
SHAPES = [
    {"tie_weights": True, "embedding_size": 5, "cell": "gru"},
    {"tie_weights": False, "output_layers": 1, "num_layers": 2},
    {"tie_weights": True, "embedding_size": 16},
]


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within it, ten types are very many, and a block has four."""
    monkeypatch.setattr(network_config, "MANY_TYPES", 10)
    monkeypatch.setattr(sample, "MANY_TYPES", 10)
    monkeypatch.setattr(blocks, "_BLOCK", 4)
    monkeypatch.setattr(blocks, "_PORTION", 3)


def problem(positions: int, types: int, scale: float = 1.0) -> tuple[Tensor, ...]:
    """What the softmax reads (N, D), its matrix (V, D) and bias (V,), and the targets (N,)."""
    generator = torch.Generator().manual_seed(positions)
    x, weight, bias = (
        torch.randn(*shape, generator=generator) * scale
        for shape in ((positions, WIDTH), (types, WIDTH), (types,))
    )
    return x, weight, bias, torch.randint(types, (positions,), generator=generator)


@pytest.mark.parametrize("types", [1, 7, 8, 23])
@pytest.mark.parametrize("positions", [1, 5, 70])
@pytest.mark.parametrize("scale", [1.0, 6.0])
@pytest.mark.usefixtures("few_are_many")
def test_blocks_are_the_whole(positions: int, types: int, scale: float) -> None:
    """log P, rank, entropy and log P of some types together, however the types are cut up."""
    x, weight, bias, targets = problem(positions, types, scale)
    openers = torch.arange(0, types, 3)
    rounding = 1e-6 * float((x @ weight.t() + bias).abs().max())
    for asked in (None, openers):
        expected = target_log_probs(x, Product(weight, bias), targets, True, asked)
        found = target_log_probs(x, Blocks(weight, bias), targets, True, asked)
        assert len(found) == len(expected) == (3 if asked is None else 4)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-5, atol=rounding)
    (alone,) = target_log_probs(x, Blocks(weight, bias), targets)
    torch.testing.assert_close(alone, found[0])


@pytest.mark.usefixtures("few_are_many")
def test_types_of_one_score_share_a_rank() -> None:
    """The rank of a target is one more than there are types of a higher score."""
    weight, bias = torch.zeros(9, WIDTH), torch.tensor([1.0, 2, 3, 3, 3, 2, 0, 0, 5])
    targets = torch.arange(9)
    _, rank, _ = Blocks(weight, bias).target_log_probs(torch.zeros(9, WIDTH), targets, details=True)
    assert rank.tolist() == [7, 5, 2, 2, 2, 5, 8, 8, 1]


def test_no_matrix_of_all_types_is_made() -> None:
    """Of twice the types the largest tensor is as large, and that is a portion of a block."""
    sizes = []
    for types in (20_000, 40_000):
        x, weight, bias, targets = problem(600, types)
        softmax = Blocks(weight, bias)
        with LargestTensor() as made:
            softmax.target_log_probs(x, targets, details=True)
        sizes.append(made.numbers)
    # A slice of the weights is no memory of its own, but it counts here: it is a block, too.
    assert sizes[0] == sizes[1] == blocks._BLOCK * blocks._PORTION


@pytest.mark.parametrize("shape", SHAPES)
def test_engines_agree_whether_types_are_many_or_few(
    shape: dict[str, object], request: pytest.FixtureRequest
) -> None:
    """Scores, next tokens and steps of both engines and of the arbiter, to 1e-5."""
    model = model_of(23, **shape)
    sequences = [np.array([3, 20, 7, 1]), np.array([22, 1])]
    arrays = to_arrays(model)

    def told() -> list[np.ndarray]:
        found = []
        for engine in (TorchEngine(model), NumpyEngine(model.config, arrays)):
            found.append(engine.token_log_probs(sequences)[0])
            found.append(engine.token_log_probs(sequences, details=True)[1].entropies)
            found.append(log_softmax(engine.next_logits(np.array([3, 20]))))
            decoder = engine.decoder()
            state = decoder.select(decoder.read(np.array([23, 4])), np.array([0, 0]))
            found.append(log_softmax(decoder.step(np.array([9, 2]), state)[0]))
            arbiter = engine.arbiter()
            found.append(arbiter.log_probs([arbiter.read(np.array([23, 4, 9]))]))
        return found

    few = told()
    request.getfixturevalue("few_are_many")
    assert model.config.has_many_types
    many = told()
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    for one, other in zip(many[:5], many[5:], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(few[4], many[4], rtol=1e-12)  # in double precision


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In double precision."""
    return torch.from_numpy(logits).double().log_softmax(-1).numpy()


def test_many_types_are_drawn_as_few_are(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed gives the same text, though fewer sequences are drawn side by side."""
    tokenizer = tokenizer_of("word", TEXTS)
    model = model_of(tokenizer.vocab_size)
    config = SamplingConfig(seed=3, max_tokens=12)

    def texts() -> list[str]:
        sampler = Sampler(TorchEngine(model), tokenizer)
        return [each.text for each in sampler.sample(9, config)]

    expected = texts()
    request.getfixturevalue("few_are_many")
    monkeypatch.setattr(sample, "_MOST_LOGITS", 3 * tokenizer.vocab_size)
    assert Sampler(TorchEngine(model), tokenizer)._room(256) == 3
    assert texts() == expected
    assert len(set(expected)) > 5
