"""The engines and the parameters by name: the same model, run in two ways."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CELLS, SamplingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.equations.parameters import shapes
from charlm.inference.sample import Sampler
from charlm.inference.score import score_texts
from charlm.models.load import load
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.text.corpus import sequence_hashes
from tests.support.tiny import TEXTS, material_of, model_of, tokenizer_of, trained_run

SHAPES: list[dict[str, object]] = [
    {},
    {"num_layers": 3},
    {"tie_weights": True},
    {"tie_weights": True, "embedding_size": 16},
    {"output_layers": 2, "num_layers": 2},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_are_those_of_the_network(cell: str, shape: dict[str, object]) -> None:
    """weights.shapes names exactly the parameters of RecurrentLM, with their shapes."""
    config = CausalConfig(vocab_size=9, cell=cell, hidden_size=16, **{"embedding_size": 8, **shape})
    state = RecurrentLM(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == shapes(config)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_both_engines_score_alike(cell: str, shape: dict[str, object]) -> None:
    """log P of every token agrees to 1e-5 nats, and so do the ranks of what is no near tie.

    The weights are such that a recurrence forgets: one that does not would magnify rounding.
    """
    tokenizer = tokenizer_of()
    model = model_of(tokenizer.vocab_size, cell=cell, std=0.2, **shape)
    engines = NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)
    texts = [*TEXTS, "", "x", "unseen: ÄÖÜ", " ".join(TEXTS) * 4]
    scores = [score_texts(engine, tokenizer, texts, per_token=True) for engine in engines]
    for one, other in zip(*scores, strict=True):
        assert one.tokens is not None
        assert other.tokens is not None
        for mine, theirs in zip(one.tokens, other.tokens, strict=True):
            assert mine.piece == theirs.piece
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
            assert abs(mine.rank - theirs.rank) <= 1
        assert one.total_log_prob == pytest.approx(sum(t.log_prob for t in one.tokens))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_both_engines_draw_the_same_text(cell: str, level: str) -> None:
    """A seed stands for a text, whichever engine draws it and however many at once."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size, cell=cell, num_layers=2, std=0.4)
    config = SamplingConfig(seed=5, max_tokens=30, top_p=0.95)
    texts = []
    for engine, batch_size in itertools.product(
        (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)), (3, 256)
    ):
        sampler = Sampler(engine, tokenizer, sequence_hashes(TEXTS))
        drawn = sampler.sample(12, config, prompt="the ", batch_size=batch_size)
        texts.append([sample.text for sample in drawn])
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert len(set(texts[0])) > 1


@pytest.mark.parametrize("cell", CELLS)
@given(lengths=st.lists(st.integers(0, 9), max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_sequence_read_in_pieces_is_the_sequence(cell: str, lengths: list[int]) -> None:
    """One pass over a sequence is any chunking of it with the state carried over."""
    model = model_of(9, cell=cell, num_layers=2, std=0.3)
    ids = np.random.default_rng(0).integers(9, size=sum(lengths) + 1)
    cuts = np.cumsum(lengths)
    for engine in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)):
        state, pieces = None, []
        for piece in np.split(ids, cuts):
            log_probs, state = engine.read_on(piece, state)
            pieces.append(log_probs)
        whole = engine.token_log_probs([ids])[0]
        np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_read_side_by_side_are_those_read_alone(cell: str) -> None:
    """Of any lengths, none among them, in any order; what comes next is the same."""
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 7, size=n) for n in (3, 0, 700, 3, 1, 40, 0, 256)]
    model = model_of(7, cell=cell, num_layers=2, std=0.2)
    for engine in (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)):
        decoder = engine.decoder()
        states = decoder.read_all(sequences)
        assert len(states) == len(sequences)
        for ids, state in zip(sequences, states, strict=True):
            found, _ = decoder.step(np.array([4]), state)
            alone, _ = decoder.step(np.array([4]), decoder.read(ids))
            np.testing.assert_allclose(found, alone, atol=2e-5)
    assert TorchEngine(model).decoder().read_all([]) == []


def test_large_vocabularies_are_read_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the logits of a long text bit by bit changes no score."""
    tokenizer = tokenizer_of()
    model = model_of(tokenizer.vocab_size)
    engine = NumpyEngine(model.config, to_arrays(model))
    before = score_texts(engine, tokenizer, TEXTS)
    monkeypatch.setattr("charlm.engines.numpy_lm._LOGITS", 3 * tokenizer.vocab_size)
    for one, other in zip(before, score_texts(engine, tokenizer, TEXTS), strict=True):
        assert one.total_log_prob == pytest.approx(other.total_log_prob, abs=1e-5)
    ids = tokenizer.encode(TEXTS[0])
    whole = engine.token_log_probs([ids])[0]
    np.testing.assert_allclose(engine.read_on(ids)[0], whole, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_small_jobs_do_without_torch(tmp_path: Path) -> None:
    """Scoring a sentence and drawing a few never import torch; a large job does.

    The same text again and again is one text.
    """
    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    code = (
        "import sys, charlm\n"
        f"lm = charlm.load({str(run)!r})\n"
        "lm.score('the cat sat')\n"
        "lm.sample(n=3, max_tokens=20)\n"
        "print('torch' in sys.modules)\n"
        "lm.score_all(['the cat sat on the mat'] * 10000)\n"
        "print('torch' in sys.modules)\n"
        "lm.score_all([f'the cat sat on {n} mats' for n in range(1000)])\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


def test_the_choice_of_engine_changes_nothing(tmp_path: Path) -> None:
    """A LanguageModel gives what the engine it did not take would have given."""
    run = trained_run(tmp_path / "run", material=material_of(), num_steps=3)
    lm = load(run)  # torch has been imported here, so it is taken
    engine = NumpyEngine(lm.config, lm.checkpoint.weights)
    (other,) = score_texts(engine, lm.tokenizer, ["the cat"])
    assert lm.score("the cat").total_log_prob == pytest.approx(other.total_log_prob, abs=1e-5)
    config = SamplingConfig(seed=3, max_tokens=40)
    drawn = Sampler(engine, lm.tokenizer).sample(5, config)
    assert [s.text for s in drawn] == [s.text for s in lm.sample(5, seed=3, max_tokens=40)]
    assert lm.num_parameters == sum(p.numel() for p in lm.model.parameters())
