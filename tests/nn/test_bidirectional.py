"""Bidirectional models, on either engine: each token from both sides."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run
from charlm.config import CELLS
from charlm.engines import torch_cloze
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_cloze import TorchCloze, pseudo_log_probs, quick_pseudo_log_probs
from charlm.equations import language_model
from charlm.equations.parameters import model_weights, shapes
from charlm.errors import CheckpointError, UsageError
from charlm.inference.score import score_texts
from charlm.models.cloze_model import ClozeModel
from charlm.models.language_model import LanguageModel
from charlm.models.load import load
from charlm.models.mixtures import mix
from charlm.network_config import CausalConfig, ClozeConfig, LanguageConfig, language_config
from charlm.nn.bidirectional import (
    BidirectionalLM,
    read_sides,
    spans_of,
    with_context,
)
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.nn.windows import PADDING, cut_rows
from charlm.text.tokens import TokenizedText, from_ids
from charlm.training.request import Request
from tests.support.tiny import (
    LEVELS,
    TEXTS,
    cloze_of,
    material_of,
    model_config,
    tokenizer_of,
    trained_run,
    training_config,
)
from tests.support.trainers import fit, groups_of_epoch, new_state, read_texts, restore, train_steps

SHAPES: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "output_layers": 2},
    {"tie_weights": True},
    {"tie_weights": True, "embedding_size": 16, "output_layers": 1},
]
VOCAB = 7


def sequences_of(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Random sequences of so many tokens, the closing <EOS> (1) among them."""
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(2, VOCAB, n - 1), 1).astype(np.int32) for n in lengths]


def by_hand(model: BidirectionalLM, ids: np.ndarray) -> np.ndarray:
    """log P (T, V) at each position: for each alone, what is before it and after it is read anew.

    So nothing of the token itself can be in it.
    """
    config = model.config
    weights = model_weights(config, to_arrays(model))
    step = language_model.STEPS[config.cell]

    def top(stack: tuple[Any, ...], tokens: list[int]) -> np.ndarray:
        states = list(language_model.init_state(config.cell, weights, 1))
        a = np.empty(0)
        for token in tokens:
            a = weights.embedding[[token]]
            for depth, layer in enumerate(stack):
                states[depth] = step(layer, a, states[depth])
                a = states[depth][0]
        return a

    rows = []
    for t in range(len(ids)):
        before = [config.vocab_size, *ids[:t].tolist()]
        after = [config.vocab_size, *ids[t + 1 :][::-1].tolist()]
        both = np.concatenate((top(weights.layers, before), top(weights.backward, after)), axis=1)
        rows.append(language_model.predict(weights, both)[0])
    return np.stack(rows)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_are_those_of_the_network(cell: str, shape: dict[str, Any]) -> None:
    """weights.shapes names exactly the parameters of BidirectionalLM, with their shapes."""
    model = cloze_of(cell=cell, **shape)
    found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert found == shapes(model.config)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_ways_give_what_reading_each_side_by_hand_gives(
    cell: str, shape: dict[str, Any]
) -> None:
    """The equations, the NumPy and the torch engine: softmax(W_y [a→<t-1>, a←<t+1>] + b_y)."""
    model = cloze_of(cell=cell, **shape)
    sequences = sequences_of(9, 1, 4, 9, 2)
    expected = [by_hand(model, ids) for ids in sequences]
    weights = model_weights(model.config, to_arrays(model))
    for ids, rows in zip(sequences, expected, strict=True):
        found = language_model.both_sides(cell, weights, ids[None].astype(np.int64))[0]
        np.testing.assert_allclose(found, rows, atol=1e-12)
    pairs = zip(sequences, expected, strict=True)
    chosen = np.concatenate([rows[np.arange(len(ids)), ids] for ids, rows in pairs])
    entropies = np.concatenate([-(np.exp(rows) * rows).sum(1) for rows in expected])
    for cloze in (NumpyCloze(model.config, to_arrays(model)), TorchCloze(model)):
        plain, nothing = cloze.token_log_probs(sequences)
        detailed, details = cloze.token_log_probs(sequences, details=True)
        assert nothing is None
        assert details is not None
        np.testing.assert_allclose(plain, chosen, atol=1e-5)
        np.testing.assert_allclose(detailed, chosen, atol=1e-5)
        np.testing.assert_allclose(details.entropies, entropies, atol=1e-4)
        assert details.ranks.min() >= 1


@pytest.mark.parametrize("cell", CELLS)
def test_no_position_sees_itself_and_each_sees_all_others(cell: str) -> None:
    """Changing token t leaves the prediction at t as it is, bit for bit, and changes all others."""
    model = cloze_of(cell=cell, num_layers=2, output_layers=1, std=0.3)
    (ids,) = sequences_of(8)
    text = from_ids([ids], VOCAB)

    def predictions(ids: np.ndarray) -> np.ndarray:
        changed = from_ids([ids], VOCAB)
        sides = read_sides(
            changed, spans_of(cut_rows(text.starts, segment_length=99, batch_size=1))
        )
        return model.logits(model.joined(sides)[0]).numpy()

    before = predictions(ids)
    for t in range(len(ids)):
        other = ids.copy()
        other[t] = 2 + (ids[t] - 1) % 5
        assert other[t] != ids[t]
        after = predictions(other)
        np.testing.assert_array_equal(after[t], before[t])
        changed = np.abs(after - before).max(axis=1) > 0
        assert changed.sum() == len(ids) - 1


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    segment=st.integers(2, 20),
    reach=st.integers(0, 9),
    padded=st.booleans(),
)
def test_each_stack_reads_the_neighbour_of_every_target(
    lengths: list[int], segment: int, reach: int, padded: bool
) -> None:
    """Of rows cut anywhere, with context, every token is predicted once, by its true neighbours.

    The zero vector stands where a sequence begins or ends and nowhere else.
    """
    sequences = sequences_of(*lengths)
    text = from_ids(sequences, VOCAB)
    rows = cut_rows(text.starts, segment_length=segment, batch_size=2)
    sides = read_sides(text, with_context(rows, text.starts, reach), padded=padded)
    assert sorted(sides.places.tolist()) == list(range(text.num_tokens))
    assert sides.num_targets == text.num_tokens
    np.testing.assert_array_equal(sides.targets, text.ids[sides.places])
    left = np.concatenate([[VOCAB, *ids[:-1]] for ids in sequences])
    right = np.concatenate([[*ids[1:], VOCAB] for ids in sequences])
    inputs, after = sides.inputs.t().reshape(-1).numpy(), sides.after.t().reshape(-1).numpy()
    np.testing.assert_array_equal(inputs[sides.forward.numpy()], left[sides.places])
    np.testing.assert_array_equal(after[sides.backward.numpy()], right[sides.places])


@pytest.mark.parametrize("longest", [7, 23])
@pytest.mark.parametrize("cell", ["lstm", "gru-minimal"])
def test_a_long_sequence_in_windows_is_as_in_one(
    cell: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states that are carried from window to window, in both directions, lose nothing."""
    model = cloze_of(cell=cell, num_layers=2)
    text = from_ids(sequences_of(50, 3, 41), VOCAB)
    whole, _ = pseudo_log_probs(model, text)
    _, details = pseudo_log_probs(model, text, details=True)
    monkeypatch.setattr(torch_cloze, "_LONGEST", longest)
    windows, more = pseudo_log_probs(model, text, details=True)
    np.testing.assert_allclose(windows, whole, atol=1e-6)
    assert details is not None
    assert more is not None
    np.testing.assert_array_equal(more.ranks, details.ranks)


def test_a_quick_pass_is_exact_where_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each target once, close to the exact figure with context; a limit takes a part of them."""
    model = cloze_of(std=0.2)
    text = from_ids(sequences_of(30, 5, 64), VOCAB)
    exact, _ = pseudo_log_probs(model, text)
    places, found = quick_pseudo_log_probs(model, text)
    np.testing.assert_allclose(found, exact[places], atol=1e-6)
    monkeypatch.setattr(torch_cloze, "_PIECE", 12)
    monkeypatch.setattr(torch_cloze, "_REACH", 10)
    places, found = quick_pseudo_log_probs(model, text)
    assert sorted(places.tolist()) == list(range(99))
    np.testing.assert_allclose(found, exact[places], atol=1e-3)
    places, _ = quick_pseudo_log_probs(model, text, most_tokens=30)
    assert 10 < len(places) < 60


@pytest.mark.parametrize("lengths", [[5, 9, 2, 7], [150], [3, 90, 40]])
def test_every_token_is_a_target_once_an_epoch(lengths: list[int]) -> None:
    """An epoch of steps, one window a group, trains on each token exactly once."""
    config = training_config(num_steps=1000, segment_length=16, bptt_length=16)
    text = from_ids(sequences_of(*lengths), VOCAB)
    shape = ClozeConfig(vocab_size=VOCAB, hidden_size=4)
    for epoch in range(3):
        groups = groups_of_epoch(text, config, epoch, shape)
        places = np.concatenate([read_sides(text, spans_of(group)).places for group in groups])
        assert sorted(places.tolist()) == list(range(text.num_tokens))
    state = new_state(shape, config)
    loop = train_steps(state, config, text)
    steps = list(itertools.islice(loop, len(groups_of_epoch(text, config, 0, shape))))
    assert sum(step.num_targets for step in steps) == text.num_tokens
    assert state.recurrent is None


def test_lessons_are_all_targets_and_some_over_gaps() -> None:
    """A step predicts every target from its neighbours and a share from farther on, gated.

    Which, is a function of the generator; <EOS> and what is beyond it are in no gap.
    """
    model = cloze_of(output_layers=1)
    with torch.no_grad():
        model.gap_gates.copy_(torch.arange(1.0, 16.0)[:, None].expand(15, 8))
    text = from_ids(sequences_of(40, 25, 1, 2, 60), VOCAB)
    rows = cut_rows(text.starts, segment_length=99, batch_size=1)
    sides = read_sides(text, spans_of(rows))
    vectors, targets, all_of = model.hidden_and_targets(sides, torch.Generator().manual_seed(5))
    again, _, _ = model.hidden_and_targets(sides, torch.Generator().manual_seed(5))
    torch.testing.assert_close(vectors, again, rtol=0, atol=0)
    number = sides.num_targets
    torch.testing.assert_close(vectors[:number], model.joined(sides)[0])
    assert targets[:number].tolist() == sides.targets.tolist()
    assert all_of == len(targets)
    assert len(targets) - number == (number - sum(min(2, n) for n in (40, 25, 1, 2, 60))) // 4
    assert 1 not in targets[number:].tolist()
    seen = set()
    own = vectors[:number]
    of_place = {int(place): i for i, place in enumerate(sides.places)}
    for row, target in zip(vectors[number:], targets[number:].tolist(), strict=True):
        found = [
            missing
            for i in range(number)
            if torch.equal(own[i, :8], row[:8]) and int(targets[i]) == target
            for missing in range(1, 16)
            if (beyond := of_place.get(int(sides.places[i]) + missing)) is not None
            and torch.allclose(own[beyond, 8:] * missing, row[8:], atol=1e-5)
            and 1 not in text.ids[int(sides.places[i]) : int(sides.places[beyond]) + 1].tolist()
        ]
        assert found
        seen.update(found)
    assert len(seen) > 8


def mirrored_text(number: int = 300) -> TokenizedText:
    """Pairs of tokens of which the second says what the first was, and the other way round."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 2, (number, 4))
    ids = np.stack((2 + pairs, 4 + pairs), axis=2).reshape(number, -1)
    return from_ids([np.append(row, 1).astype(np.int32) for row in ids], VOCAB)


@pytest.mark.parametrize(
    "fields",
    [{}, {"precision": "bf16"}, {"frequent_types": 2, "sampled_types": 3}, {"average_decay": 0.9}],
    ids=str,
)
def test_it_learns_what_only_the_right_side_tells(fields: dict[str, Any]) -> None:
    """Where from the left a coin has to be guessed, ln 2 a pair, both sides leave next to nothing.

    In single precision and bf16, with all types and a sample of them.
    """
    text = mirrored_text()
    config = training_config(
        num_steps=80, batch_size=16, learning_rate=2e-2, segment_length=16, bptt_length=16, **fields
    )
    shape = ClozeConfig(vocab_size=VOCAB, hidden_size=12, embedding_size=8, output_layers=1)
    state = new_state(shape, config)
    for step in train_steps(state, config, text):
        assert math.isfinite(step.loss)
    model = state.module.eval()
    assert isinstance(model, BidirectionalLM)
    log_probs, _ = pseudo_log_probs(model, text)
    from_the_left = 4 * math.log(2) / 9  # nats a token, at best
    assert -log_probs.mean() < 0.2 * from_the_left


def begun(run: Run, model: LanguageConfig, config: Any) -> Any:
    """A new run and its first state."""
    run.begin({"model": model.to_json(), "training": config.to_json()})
    return new_state(model, config)


def test_stopped_and_resumed_is_as_never_stopped(tmp_path: Path) -> None:
    """Saved after some steps and gone on with, the weights are the same bit for bit."""
    material = material_of(valid=["the cat ran to the dog"])
    model = model_config(material, bidirectional=True, dropout=0.3, num_layers=2)
    config = training_config(num_steps=8, segment_length=8)
    weights = []
    for name, stop_at in (("whole", None), ("stopped", 5)):
        with Run(tmp_path / name) as run:
            state = begun(run, model, config)
            events = fit(
                run,
                state,
                config,
                material,
                should_stop=lambda s=state, at=stop_at: at is not None and s.step >= at,
            )
            for _ in events:
                pass
        if stop_at is not None:
            with Run(tmp_path / name) as run:
                state = restore(run, model, config)
                assert state.step == stop_at
                for _ in fit(run, state, config, material):
                    pass
        weights.append(Checkpoint.load(tmp_path / name / directory.step_name(8)).weights)
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a bidirectional character model."""
    folder = tmp_path_factory.mktemp("bidirectional") / "run"
    return trained_run(folder, shape={"bidirectional": True, "output_layers": 1})


def test_pseudo_log_likelihood_is_the_sum_over_tokens(path: Path) -> None:
    """PLL adds up log P of each token given all others, <EOS> and spelling of <UNK> included."""
    lm = load(path)
    weights = model_weights(lm.config, lm.checkpoint.weights)
    text = "the caÄt"
    ids = np.append(lm.tokenizer.encode(text), lm.tokenizer.eos_id).astype(np.int64)
    rows = language_model.both_sides(lm.config.cell, weights, ids[None])[0]
    closed = float(rows[np.arange(len(ids)), ids].sum())
    assert lm.unknown is not None
    score, bare = lm.pseudo_score(text, per_token=True), lm.pseudo_score(text, closed=True)
    assert bare.pseudo_log_likelihood == pytest.approx(closed, abs=1e-4)
    spelled = closed + float(lm.unknown.log_probs(["Ä"])[0])
    assert score.pseudo_log_likelihood == pytest.approx(spelled, abs=1e-4)
    assert score.num_oov == 1
    assert score.num_tokens == len(ids)
    assert score.pseudo_perplexity == pytest.approx(math.exp(-spelled / len(ids)), rel=1e-4)
    assert score.tokens is not None
    total = math.fsum(token.log_prob for token in score.tokens)
    assert total == pytest.approx(score.pseudo_log_likelihood)
    assert not any("log_prob" in name for name in dir(score))
    both = lm.pseudo_score_all(["the cat", text])
    assert both[1].pseudo_log_likelihood == pytest.approx(score.pseudo_log_likelihood, abs=1e-5)


TOKENIZERS = {level: tokenizer_of(level) for level in LEVELS}
TYPED = st.text(st.sampled_from("the catdog,: \n\tZé☃😀"), max_size=16)


@pytest.mark.parametrize("level", TOKENIZERS)
@given(texts=st.lists(TYPED, min_size=1, max_size=3), context=TYPED)
@example(texts=["", " the  cat \n", "the dog,"], context="")
@settings(max_examples=15, deadline=None)
def test_words_add_up_to_the_text(level: str, texts: list[str], context: str) -> None:
    """PLL of words, with the end, is that of all tokens; each word is the sum of its own.

    Words are the ranges that they are to a model from left to right, and both engines agree.
    """
    tokenizer = TOKENIZERS[level]
    size = tokenizer.vocab_size
    model = cloze_of(vocab_size=size)
    options: dict[str, Any] = {"context": context, "per_token": True, "words": True}
    both = [
        score_texts(cloze, tokenizer, texts, **options)
        for cloze in (NumpyCloze(model.config, to_arrays(model)), TorchCloze(model))
    ]
    sizes = {"hidden_size": model.config.hidden_size, "embedding_size": 6}
    plain = RecurrentLM(CausalConfig(vocab_size=size, **sizes))
    left = NumpyEngine(plain.config, to_arrays(plain))
    for one, other, usual in zip(
        *both, score_texts(left, tokenizer, texts, **options), strict=True
    ):
        assert one.words is not None
        assert one.tokens is not None
        assert other.words is not None
        assert usual.words is not None
        assert [(w.text, w.start, w.end, w.num_tokens) for w in one.words] == [
            (w.text, w.start, w.end, w.num_tokens) for w in usual.words
        ]
        total = math.fsum(word.log_prob for word in one.words)
        assert total == pytest.approx(one.total_log_prob, abs=1e-6)
        assert math.fsum(token.log_prob for token in one.tokens) == pytest.approx(total, abs=1e-6)
        rest = iter(one.tokens)
        for word, again in zip(one.words, other.words, strict=True):
            own = itertools.islice(rest, word.num_tokens)
            assert word.log_prob == pytest.approx(math.fsum(token.log_prob for token in own))
            assert word.log_prob == pytest.approx(again.log_prob, abs=1e-4)


def test_a_context_is_read_and_not_counted(path: Path) -> None:
    """PLL after a context is that of both together, less the context's own tokens."""
    lm = load(path)
    whole = lm.pseudo_score("the cat sat", per_token=True).tokens
    assert whole is not None
    rest = lm.pseudo_score(" sat", context="the cat")
    expected = math.fsum(token.log_prob for token in whole[len("the cat") :])
    assert rest.pseudo_log_likelihood == pytest.approx(expected, abs=1e-5)
    words = lm.pseudo_score("the cat sat", words=True).words
    after = lm.pseudo_score(" sat", context="the cat", words=True).words
    assert words is not None
    assert after is not None
    for mine, theirs in zip(after, words[2:], strict=True):
        assert mine.text == theirs.text
        assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)


def test_evaluating_adds_up_sequences(path: Path) -> None:
    """The pseudo-figures of a file are those of its sequences together."""
    from charlm.text.streaming import Piece

    lm = load(path)
    pieces = [Piece("the c", ends=False), Piece("at"), Piece("a dog")]
    *_, found = lm.pseudo_evaluate_pieces(pieces)
    scores = lm.pseudo_score_all(["the cat", "a dog"])
    total = sum(score.pseudo_log_likelihood for score in scores)
    tokens = sum(score.num_tokens for score in scores)
    assert found.pseudo_log_likelihood == pytest.approx(total)
    assert found.pseudo_perplexity == pytest.approx(math.exp(-total / tokens))
    assert found.sums.sequences == 2
    assert lm.pseudo_evaluate(["the cat", "a dog"]).pseudo_log_likelihood == pytest.approx(total)
    with pytest.raises(UsageError, match="texts"):
        lm.pseudo_evaluate("the cat")


def test_a_model_of_both_sides_has_no_next_token(path: Path, tmp_path: Path) -> None:
    """Neither kind of model has what the other is for, and each is refused as the other."""
    lm, plain = load(path), load(trained_run(tmp_path / "plain"))
    assert isinstance(lm, ClozeModel)
    assert isinstance(plain, LanguageModel)
    for name in ("score", "sample", "stream", "next_tokens", "evaluate", "model"):
        assert hasattr(plain, name)
        assert not hasattr(lm, name)
    for name in ("fill", "pseudo_score", "pseudo_score_all", "pseudo_evaluate"):
        assert hasattr(lm, name)
        assert not hasattr(plain, name)
    with pytest.raises(UsageError, match="ClozeModel"):
        LanguageModel(lm.checkpoint)
    with pytest.raises(UsageError, match="LanguageModel"):
        ClozeModel(plain.checkpoint)
    with pytest.raises(CheckpointError, match=r"is a cloze, not a language-model"):
        load(path, task="language-model")
    with pytest.raises(UsageError, match="read from left to right"):
        mix([plain, lm])  # type: ignore[list-item]
    with pytest.raises(NotImplementedError):  # no token comes next
        cloze_of()(torch.zeros(1, 1, dtype=torch.long), cloze_of().init_state(1))


@pytest.mark.parametrize("asked", [{"ngram": 3}, {"cache": True}])
def test_counts_of_one_side_are_refused(asked: dict[str, Any]) -> None:
    """N-grams and a cache read one side: they are refused before anything is read."""
    with pytest.raises(UsageError, match=r"has no (ngram|cache)"):
        read_texts(Request(task="cloze", corpus=("a",), **asked))


def test_checkpoints_from_before_are_read() -> None:
    """A model.json without the field is that of a model that reads from left to right."""
    config = CausalConfig(vocab_size=9)
    values = config.to_json()
    assert "bidirectional" not in values
    assert language_config(values) == config
    both = ClozeConfig(vocab_size=9)
    assert language_config(both.to_json()) == both
    with pytest.raises(UsageError, match="no field 'bidirectional'"):
        language_config({**values, "bidirectional": 1})


def test_tokenizers_of_all_levels_train(tmp_path: Path) -> None:
    """At word and subword level too a run trains, loads and scores."""
    for level in ("word", "subword"):
        material = material_of(level=level, valid=["the cat ran to the dog"])
        shape = {"bidirectional": True, "tie_weights": True}
        lm = load(trained_run(tmp_path / level, material=material, shape=shape))
        assert lm.tokenizer.vocab_size == tokenizer_of(level).vocab_size
        assert lm.pseudo_score(TEXTS[0], closed=True).pseudo_log_likelihood < 0


def test_padding_is_no_type() -> None:
    """Rows of different lengths leave no padding among the targets."""
    text = from_ids(sequences_of(9, 2, 5), VOCAB)
    rows = cut_rows(text.starts, segment_length=99, batch_size=1)
    sides = read_sides(text, spans_of(rows))
    assert PADDING not in sides.targets.tolist()
