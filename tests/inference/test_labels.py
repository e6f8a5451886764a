"""Labels: read, held out, kept in checkpoints, and what they do to a model."""

import dataclasses
import gzip
import io
import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run
from charlm.checkpoints.step import replace_file
from charlm.config import CELLS, SamplingConfig
from charlm.engines.marginal import MarginalEngine
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_passes import token_log_probs
from charlm.equations import language_model
from charlm.equations.parameters import model_weights, shapes
from charlm.errors import CheckpointError, TextError, UsageError
from charlm.inference.alternate import TurnSampler
from charlm.inference.labels import Labels
from charlm.models.load import load
from charlm.models.mixtures import mix
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import detach_state, narrow_state, to_arrays
from charlm.nn.windows import epoch_groups, read_windows
from charlm.text.corpus import sequence_hashes
from charlm.text.labelled import (
    Labelled,
    LabelSource,
    hold_out_labelled,
    label_of_file,
    read_labelled,
)
from charlm.text.tokens import from_ids, tokenize
from charlm.training.request import Request
from charlm.training.state import counters
from charlm.training.texts.material import TextMaterial
from tests.support import tiny
from tests.support.tiny import (
    TEXTS,
    chi_square_p,
    model_of,
    tokenizer_of,
    trained_run,
    training_config,
)
from tests.support.trainers import (
    fit,
    new_state,
    read_texts,
    restore,
    restore_state,
    state_arrays,
    train_steps,
)

L, V = 3, 9
LABELLED = {"num_labels": L, "label_size": 4}
NUMBERS = [0, 1, 2, 0, 1, 2, 0, 0]  # of the texts


def labelled_model(cell: str = "lstm", *, std: float = 0.3, **shape: object) -> RecurrentLM:
    """A random conditional model of three labels."""
    return model_of(V, cell=cell, std=std, **{"num_layers": 2, **LABELLED, **shape})


def engines_of(model: RecurrentLM) -> tuple[NumpyEngine, TorchEngine]:
    """The model on both engines."""
    return NumpyEngine(model.config, to_arrays(model)), TorchEngine(model)


def marginal_of(engine: NumpyEngine | TorchEngine) -> MarginalEngine:
    """The mixture over three labels, 0.5, 0.3 and 0.2 of all."""
    prior = np.log([0.5, 0.3, 0.2])
    return MarginalEngine([engine.with_label(label) for label in range(L)], prior)


def sequences_of(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    """Random ids of such lengths."""
    rng = np.random.default_rng(seed)
    return [rng.integers(V, size=length).astype(np.int32) for length in lengths]


# What labels do to a model


@pytest.mark.parametrize("cell", CELLS)
def test_a_label_is_an_input_at_every_step_and_the_first_state(cell: str) -> None:
    """given_label is W [a<t-1>, x<t>, l] + b, run from a<0> = tanh(W_a l + b_a), c<0> linear."""
    model = labelled_model(cell)
    weights = model_weights(model.config, to_arrays(model))
    ids = np.array([[V, *sequences_of(7)[0]]])
    for label in range(L):
        vector = weights.labels.embedding[label]  # type: ignore[union-attr]
        states = []
        for weight, bias in weights.labels.first:  # type: ignore[union-attr]
            z = weight @ vector + bias
            size = model.config.hidden_size
            states.append((np.tanh(z[None, :size]), *([z[None, size:]] if len(z) > size else [])))
        expected = []
        for token in ids[0]:
            a = np.concatenate((weights.embedding[token], vector))[None]
            for depth, layer in enumerate(weights.layers):
                states[depth] = language_model.STEPS[cell](layer, a, states[depth])
                a = states[depth][0]
            expected.append(language_model.predict(weights, a)[0])
        found, _ = language_model.forward(
            cell, language_model.given_label(cell, weights, label), ids
        )
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 1, "tie_weights": True}], ids=str)
def test_all_ways_to_run_a_conditional_model_agree(cell: str, shape: dict[str, object]) -> None:
    """Network with labels in a batch, both engines, stepping and the arbiter agree to 1e-5.

    The names and shapes of its parameters are those of weights.shapes.
    """
    model = labelled_model(cell, std=0.2, **shape)
    named = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert named == shapes(model.config)
    sequences = sequences_of(5, 9, 1, 12)
    labels = np.array([2, 0, 1, 2])
    text = from_ids(sequences, V)._replace(labels=labels)
    in_batch, _ = token_log_probs(model, text)
    starts = np.cumsum([0, *map(len, sequences)])
    for engine in engines_of(model):
        for row, (ids, label) in enumerate(zip(sequences, labels.tolist(), strict=True)):
            given_label = engine.with_label(label)
            expected = in_batch[starts[row] : starts[row + 1]]
            alone = given_label.token_log_probs([ids])[0]
            np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-5)
            decoder, arbiter = given_label.decoder(), given_label.arbiter()
            state, read = decoder.read(np.empty(0, dtype=np.int64)), None
            for place, token in enumerate([V, *ids[:-1].tolist()]):
                logits, state = decoder.step(np.array([token]), state)
                stepped = language_model.log_softmax(logits)[0, ids[place]]
                read = arbiter.read(np.array([token]), read)
                exact = arbiter.log_probs([read])[0, ids[place]]
                assert stepped == pytest.approx(exact, abs=1e-5)
                assert exact == pytest.approx(expected[place], abs=1e-5)


def test_labels_change_the_distribution() -> None:
    """The same text has another probability under each label, from the first token on."""
    for engine in engines_of(labelled_model()):
        rows = np.stack(
            [
                engine.with_label(label).next_logits(np.array([], dtype=np.int64))
                for label in range(L)
            ]
        )
        probs = np.exp(language_model.log_softmax(rows.astype(np.float64)))
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
        assert min(np.abs(probs[i] - probs[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_a_model_without_labels_is_as_it_was() -> None:
    """It has no parameter and no field more, and draws the same first weights as ever."""
    plain = CausalConfig(vocab_size=V, hidden_size=16, embedding_size=8)
    assert not {"num_labels", "label_size"} & plain.to_json().keys()
    assert CausalConfig.from_json(plain.to_json()) == plain
    labelled = dataclasses.replace(plain, num_labels=2, label_size=3)
    assert CausalConfig.from_json(labelled.to_json()) == labelled
    assert not [name for name in shapes(plain) if "label" in name or "first" in name]
    for wrong in ({"num_labels": 2}, {"label_size": 2}):
        with pytest.raises(UsageError, match="label_size must be"):
            dataclasses.replace(plain, **wrong)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gradients_reach_label_and_first_state_in_every_window(cell: str) -> None:
    """Each window of a text longer than one teaches the label's vector; the first, a<0> too."""
    model = labelled_model(cell).requires_grad_(True)
    text = from_ids(sequences_of(11, 10), V)._replace(labels=np.array([2, 1]))
    (group,) = epoch_groups(text, batch_size=2, bptt_length=6, segment_length=12, seed=0, epoch=0)
    state, seen = None, []
    for window in read_windows(text, group, 6):
        assert window.labels is not None
        first = model.init_state(len(window.inputs), window.labels)
        before = first if state is None else narrow_state(state, len(window.inputs))
        hidden, after = model.hidden(window.inputs, before, labels=window.labels)
        model.zero_grad()
        hidden.square().sum().backward()
        grad = model.label_embedding.weight.grad
        assert grad is not None
        assert grad[1:].abs().min(dim=0).values.sum() > 0
        assert not grad[0].any()
        moved = model.first[0].weight.grad  # type: ignore[union-attr]
        seen.append(moved is not None and bool(moved.abs().sum() > 0))
        state = detach_state(after)
    assert seen == [True, False]


def test_a_model_learns_what_its_labels_say() -> None:
    """Two kinds of texts, told apart by nothing but the label, are soon written each its own."""
    tokenizer = tokenizer_of(texts=["aaaa", "bbbb"])
    text = tokenize(tokenizer, ["aaaa", "bbbb"] * 8, [0, 1] * 8)
    config = CausalConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        embedding_size=4,
        num_labels=2,
        label_size=3,
    )
    training = training_config(num_steps=60, batch_size=16, learning_rate=0.03)
    state = new_state(config, training)
    for _ in train_steps(state, training, text):
        pass
    found, _ = token_log_probs(state.module.eval(), text)
    assert found.mean() > -0.1
    swapped, _ = token_log_probs(state.module, text._replace(labels=1 - text.labels))  # type: ignore[operator]
    assert swapped.mean() < -1


# The mixture over labels


@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_the_mixture_is_the_sum_over_labels(lengths: list[int]) -> None:
    """log P(text) = log Σ P(label) P(text given label): whole, in pieces, by distributions."""
    sequences = sequences_of(*lengths)
    for engine in engines_of(labelled_model()):
        marginal = marginal_of(engine)
        tokens, _ = marginal.token_log_probs(sequences)
        detailed, _ = marginal.token_log_probs(sequences, details=True)
        np.testing.assert_allclose(tokens, detailed, rtol=0, atol=1e-5)
        starts = np.cumsum([0, *lengths])
        for row, ids in enumerate(sequences):
            totals = [engine.with_label(k).token_log_probs([ids])[0].sum() for k in range(L)]
            expected = np.logaddexp.reduce(np.log([0.5, 0.3, 0.2]) + totals)
            assert tokens[starts[row] : starts[row + 1]].sum() == pytest.approx(expected, abs=1e-5)
            one, state = marginal.read_on(ids[:2])
            other, _ = marginal.read_on(ids[2:], state)
            assert one.sum() + other.sum() == pytest.approx(expected, abs=1e-5)


def test_the_mixture_steps_as_it_scores() -> None:
    """Stepping, restarting rows, and the arbiter give what scoring gives, and it adds up to 1."""
    rows = np.stack(sequences_of(6, 6, seed=3))
    for engine in engines_of(labelled_model(std=0.5)):
        marginal = marginal_of(engine)
        expected = marginal.token_log_probs(list(rows))[0].reshape(rows.shape)
        decoder, arbiter = marginal.decoder(), marginal.arbiter()
        start = decoder.read(np.empty(0, dtype=np.int64))
        state = decoder.select(start, np.array([0, 0, 0]))
        for token in (V, 1, 5):  # what the third row has read until it is begun anew
            _, state = decoder.step(np.array([token, token, token]), state)
        decoder.restart(state, np.array([1, 2]), start)
        state = decoder.select(state, np.array([1, 2]))
        read: list[object] = [None, None]
        for place in range(rows.shape[1]):
            inputs = rows[:, place - 1] if place else np.array([V, V])
            logits, state = decoder.step(inputs, state)
            np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-5)
            read = [arbiter.read(inputs[i : i + 1], read[i]) for i in range(2)]  # type: ignore[arg-type]
            exact = arbiter.log_probs(read)  # type: ignore[arg-type]
            np.testing.assert_allclose(logits, exact, rtol=0, atol=1e-5)
            at = np.arange(2), rows[:, place]
            np.testing.assert_allclose(logits[at], expected[:, place], rtol=0, atol=1e-5)
        begun = decoder.read(np.concatenate(([V], rows[0, :4])))
        logits, _ = decoder.step(rows[0, 4:5], begun)
        assert logits[0, rows[0, 5]] == pytest.approx(expected[0, 5], abs=1e-5)
        logits = marginal.next_logits(rows[0, :5])
        assert logits[rows[0, 5]] == pytest.approx(expected[0, 5], abs=1e-5)


# A run with labels


def material_of() -> TextMaterial:
    """Texts of three labels, some held out."""
    tokenizer = tokenizer_of()
    return TextMaterial(
        tokenizer=tokenizer,
        labels=Labels.of(["cat"] * 4 + ["dog"] * 2 + ["be"] * 2),
        text=tokenize(tokenizer, TEXTS, NUMBERS),
        valid=tokenize(tokenizer, ["the cat ran to the dog", "a dog"], [1, 2]),
        known=sequence_hashes(TEXTS),
        split_on="line",
        about={"fingerprint": "0"},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a conditional model, trained to its end."""
    material = material_of()
    model = CausalConfig(
        vocab_size=material.tokenizer.vocab_size, hidden_size=8, embedding_size=8, **LABELLED
    )
    path = tmp_path_factory.mktemp("labelled") / "run"
    with Run(path) as held:
        held.begin({"model": model.to_json(), "training": training_config().to_json()})
        for _ in fit(held, new_state(model, training_config()), training_config(), material):
            pass
    return path


def test_a_stopped_run_goes_on_bit_for_bit(run: Path, tmp_path: Path) -> None:
    """With labels, too, stop and resume give the weights of the run that was never stopped."""
    material, config = material_of(), training_config()
    model = CausalConfig(
        vocab_size=material.tokenizer.vocab_size, hidden_size=8, embedding_size=8, **LABELLED
    )
    with Run(tmp_path / "stopped") as held:
        held.begin({"model": model.to_json(), "training": config.to_json()})
        state, seen = new_state(model, config), []
        stop = lambda: len(seen) >= 2  # noqa: E731
        for event in fit(held, state, config, material, should_stop=stop):
            seen.append(event)
        assert 0 < state.step < config.num_steps
        for _ in fit(held, restore(held, model, config), config, material):
            pass
    one = Checkpoint.load(run / directory.step_name(config.num_steps))
    other = Checkpoint.load(tmp_path / "stopped" / directory.step_name(config.num_steps))
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, other.weights[name])


def test_rows_of_several_windows_go_on_bit_for_bit() -> None:
    """What makes the first state is updated where a row begins, and counts its own updates."""
    text = from_ids(sequences_of(40, 31, 9), V)._replace(labels=np.array([2, 1, 0]))
    config = training_config(num_steps=14, segment_length=24)
    model = labelled_model("gru").config
    whole = new_state(model, config)
    losses = [step.loss for step in train_steps(whole, config, text)]
    for stop in range(1, 14):
        stopped, other = new_state(model, config), new_state(model, config)
        for _ in itertools.islice(train_steps(stopped, config, text), stop):
            pass
        weights = {name: array.copy() for name, array in to_arrays(stopped.module).items()}
        restore_state(other, weights, state_arrays(stopped), counters(stopped))
        assert [step.loss for step in train_steps(other, config, text)] == losses[stop:]


def test_a_loaded_model_takes_a_label(run: Path) -> None:
    """Scores with a label and without add up by the prior; samples name the label they are of."""
    lm = load(run)
    assert lm.labels is not None
    assert lm.labels.names == ("be", "cat", "dog")
    assert np.exp(lm.labels.log_prior) == pytest.approx([3 / 11, 5 / 11, 3 / 11])
    texts = [*TEXTS[:3], "", "unseen: ÄÖ"]
    of_label = np.array(
        [[s.total_log_prob for s in lm.with_label(n).score_all(texts)] for n in lm.labels.names]
    )
    mixed = [score.total_log_prob for score in lm.score_all(texts)]
    expected = np.logaddexp.reduce(of_label + lm.labels.log_prior[:, None], axis=0)
    np.testing.assert_allclose(mixed, expected, rtol=0, atol=1e-4)
    summary = lm.evaluate(texts)
    assert summary.total_log_prob == pytest.approx(sum(mixed), abs=1e-3)
    drawn = lm.sample(300, max_tokens=4, seed=0)
    counts = np.bincount([sample.drawn_by for sample in drawn], minlength=L)
    assert chi_square_p(counts, np.exp(lm.labels.log_prior)) > 1e-4
    only = lm.with_label("dog").sample(5, max_tokens=4)
    assert all(sample.drawn_by is None for sample in only)
    for sample in drawn[:5]:
        if sample.ended == "eos":
            one = lm.with_label(lm.labels.names[sample.drawn_by or 0])
            assert one.score(sample.text).total_log_prob == pytest.approx(
                sample.total_log_prob, abs=1e-4
            )


def test_an_unknown_label_is_told_the_known(run: Path) -> None:
    """with_label refuses what it does not know, naming what there is."""
    with pytest.raises(UsageError, match=r"no label 'cow'\. It knows be, cat, dog"):
        load(run).with_label("cow")


def test_a_prompt_earns_labels_their_weight(run: Path) -> None:
    """What stands before the text draws the label by P(label given it)."""
    lm = load(run)
    assert lm.labels is not None
    prompt = TEXTS[0]
    drawn = lm.sample(400, prompt=prompt, max_tokens=1, seed=0)
    ids = lm.tokenizer.encode(prompt)
    kind = lm.engines.kind_for(1)
    log_probs = [
        lm.with_label(name).engines.of(kind).read_on(ids)[0].sum() for name in lm.labels.names
    ]
    joint = lm.labels.log_prior + log_probs
    counts = np.bincount([sample.drawn_by for sample in drawn], minlength=L)
    assert chi_square_p(counts, np.exp(joint - np.logaddexp.reduce(joint))) > 1e-4


def test_a_model_with_labels_takes_turns_with_another(run: Path, tmp_path: Path) -> None:
    """Mixed with one of another vocabulary it draws its label for each of its sequences."""
    other = trained_run(tmp_path / "other", material=tiny.material_of(level="subword"), num_steps=1)
    both = mix([load(run), load(other)])
    assert {sample.drawn_by for sample in both.sample(12, seed=3, max_tokens=4)} == {0, 1}
    for prompt in ("", "the"):
        drawn = [s.text for s in both.sample(12, prompt=prompt, seed=3, max_tokens=4)]
        assert [s.text for s in both.sample(5, prompt=prompt, seed=3, max_tokens=4)] == drawn[:5]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What the stand-ins below draw."""

    text: str
    drawn_by: int | None = None


class Named:
    """A sampler that draws its own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def sample(
        self, _: int, __: object, *, indices: Sequence[int], **___: object
    ) -> Iterator[Drawn]:
        """Its name, as often as it is asked for."""
        yield from (Drawn(self.name) for _ in indices)


def test_turns_within_turns_are_drawn_apart() -> None:
    """Which label is drawn does not follow from which model is."""
    inner = TurnSampler([Named("a"), Named("b")], [0.5, 0.5])
    outer = TurnSampler([inner, Named("c")], [0.5, 0.5])
    texts = [one.text for one in outer.sample(2000, SamplingConfig(seed=1))]
    counts = np.array([texts.count(name) for name in "abc"])
    assert chi_square_p(counts, np.array([0.25, 0.25, 0.5])) > 1e-4


GOOD = {"names": ["a", "b", "c"], "counts": [1, 2, 3], "temperature": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": ["a", "a", "b"]},
        {"names": ["a", "b"]},
        {"names": ["a", "b", ""]},
        {"names": "abc"},
        {"counts": [1, -1, 2]},
        {"counts": [1, True, 2]},
        {"temperature": 0},
        {"temperature": "1"},
        {"temperature": float("inf")},
        {"temperature": 1e-3},
        {"temperature": 10**400},
        {"names": ["a", "b", "c" * 1001]},
        {"more": 1},
    ],
    ids=str,
)
def test_labels_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    """from_json takes what to_json gives and nothing else."""
    assert Labels.from_json(json.loads(json.dumps(GOOD))).to_json() == {
        **GOOD,
        "names": ("a", "b", "c"),
        "counts": (1, 2, 3),
    }
    with pytest.raises(CheckpointError):
        Labels.from_json({**GOOD, **wrong})


def test_a_step_needs_the_labels_its_model_has(run: Path, tmp_path: Path) -> None:
    """Labels that are missing, or of another number, are refused; a file is replaced whole."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    step = directory.best_step(copy)
    two = to_json({"names": ["a", "b"], "counts": [1, 2], "temperature": None})
    replace_file(step, "labels.json", two)
    with pytest.raises(CheckpointError, match=r"labels\.json holds 2 labels, model\.json .* 3"):
        Checkpoint.load(step)
    labels = Labels(names=("x", "y", "z"), counts=(1, 2, 3), temperature=2.0)
    replace_file(step, "labels.json", to_json(labels.to_json()))
    loaded = Checkpoint.load(step)
    assert loaded.labels == labels
    before = Checkpoint.load(directory.best_step(run))
    assert loaded.run_id == before.run_id
    assert all(
        np.array_equal(loaded.weights[name], before.weights[name]) for name in before.weights
    )


# Where labels stand


def test_labels_are_read_from_names_columns_and_fields(tmp_path: Path) -> None:
    """The same texts and labels are found in three forms of files."""
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "Irish.txt").write_text("Ahearn\n\nBrady\n")
    (tmp_path / "names" / "Greek.txt").write_text("Adamou\n")
    (tmp_path / "names.tsv").write_text("Adamou\tGreek\r\nAhearn\tIrish\n\nBrady\t Irish\n")
    rows = [("Adamou", "Greek"), ("Ahearn", "Irish"), ("Brady", "Irish")]
    lines = [json.dumps({"name": text, "from": label, "n": 1}) for text, label in rows]
    (tmp_path / "names.jsonl").write_text("\n".join(lines))
    sources = {
        "names": LabelSource.parse("file"),
        "names.tsv": LabelSource.parse("column:2"),
        "names.jsonl": LabelSource.parse("field:from", text_field="name"),
    }
    for name, source in sources.items():
        found, split_on, _ = read_labelled([tmp_path / name], source)
        assert found == [Labelled(*row) for row in rows]
        assert split_on == "line"
    assert label_of_file("a/b/Old.English.txt.gz") == "Old.English"
    (tmp_path / "poems.jsonl").write_text('{"text": "one\\ntwo", "kind": 3}\n')
    found, split_on, _ = read_labelled([tmp_path / "poems.jsonl"], LabelSource.parse("field:kind"))
    assert (found, split_on) == ([Labelled("one\ntwo", "3")], "paragraph")


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("files", {}),
        ("file:2", {}),
        ("column", {}),
        ("column:0", {}),
        ("column:", {}),
        ("column:3", {}),
        ("directory:2", {}),
        ("directory", {"header": True}),
        ("directory", {"text_column": "a"}),
        ("file", {"header": True}),
        ("field:x", {"header": True}),
        ("column:x", {"text_column": "0"}),
        ("column:x", {"text_column": "x"}),
        ("column:2", {"text_column": 2}),
        ("column:2", {"text_column": 0}),
        ("column:2", {"text_field": "a"}),
        ("field:", {}),
        ("field:text", {}),
        ("file", {"text_column": 1}),
    ],
)
def test_forms_that_say_nothing_are_refused(form: str, options: dict[str, object]) -> None:
    """Labels come from file, directory, a column or a field, and text from elsewhere."""
    with pytest.raises(UsageError):
        LabelSource.parse(form, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "line", "problem"),
    [
        ("column:2", "only one", "line 2: it has 1 columns"),
        ("column:2", "text\t ", "line 2: it has an empty label"),
        ("field:x", "{", "line 2: it is no JSON"),
        ("field:x", "[1]", "line 2: it is no JSON object"),
        ("field:x", '{"text": "a"}', 'no label in the field "x"'),
        ("field:x", '{"text": "a", "x": null}', 'line 2: it has no label in the field "x"'),
        ("field:x", '{"text": "a", "x": ["b"]}', 'no label in the field "x" but a list'),
        ("field:x", '{"text": "a", "x": {"y": 1}}', 'no label in the field "x" but an object'),
        ("field:x", '{"text": "a", "x": NaN}', 'in the field "x" is no finite number'),
        ("field:x", '{"text": "a", "x": " "}', "line 2: it has an empty label"),
        ("field:x", '{"x": "a"}', 'it has no field "text"'),
        ("field:x", '{"text": 1, "x": "a"}', 'no text in the field "text" but a number'),
        ("field:x", r'{"text": "a\ud83d", "x": "b"}', '"text" has half a surrogate pair'),
        ("field:x", r'{"text": "a", "x": "\udc00b"}', '"x" has half a surrogate pair'),
        ("column:2", f"text\t{'label' * 201}", "line 2: its label has 1,005 characters"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, form: str, line: str, problem: str) -> None:
    """A line without text or label is refused by its number."""
    good = "text\tlabel" if form == "column:2" else '{"text": "a", "x": "b"}'
    (tmp_path / "file").write_text(f"{good}\n{line}\n")
    with pytest.raises(TextError, match=problem.replace("(", r"\(")):
        read_labelled([tmp_path / "file"], LabelSource.parse(form))


@pytest.mark.parametrize(
    ("value", "label"),
    [("true", "true"), ("false", "false"), ("0", "0"), ("-3", "-3"), ("1.50", "1.5"), ('"0"', "0")],
)
def test_json_labels_are_their_text(tmp_path: Path, value: str, label: str) -> None:
    """True, false and numbers are labels, written as JSON writes them."""
    (tmp_path / "file").write_text(f'{{"text": "a", "x": {value}}}\n')
    found, _, _ = read_labelled([tmp_path / "file"], LabelSource.parse("field:x"))
    assert found == [Labelled("a", label)]


@pytest.mark.parametrize(
    ("source", "table"),
    [
        (LabelSource.parse("column:kind"), "kind\tname\nx\ta b\ny\tc\n"),
        (LabelSource.parse("column:kind"), "n\tkind\ttext\n1\tx\ta b\n2\ty\tc\n"),
        (LabelSource.parse("column:kind", text_column="w"), "w\tv\tkind\na b\t\tx\nc\t\ty\n"),
        (LabelSource.parse("column:kind", text_column=1), "w\tv\tkind\na b\t\tx\nc\t\ty\n"),
        (LabelSource.parse("column:2", header=True), "2\t1\na b\tx\nc\ty\n"),
        (LabelSource.parse("column:2", header=True), "w\tkind\r\na b\tx\r\nc\ty\r\n"),
        (LabelSource.parse("column:1", text_column="w"), "kind\tv\tw\n\nx\t\ta b\ny\t\tc\n"),
    ],
    ids=str,
)
def test_columns_have_names(tmp_path: Path, source: LabelSource, table: str) -> None:
    """A header is no text; each file has its own, and no word is said of it."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(table)
    found, split_on, notes = read_labelled([tmp_path], source)
    assert found == [Labelled("a b", "x"), Labelled("c", "y")] * 2
    assert (split_on, notes) == ("line", ())


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (LabelSource.parse("column:x"), 'no column "x" among those that it names: "a", "b", "c"'),
        (LabelSource.parse("column:a"), "which of its 3 columns is the text"),
        (LabelSource.parse("column:a", text_column="1"), 'cannot both be column "a"'),
        (LabelSource.parse("column:9", text_column="a"), "line 2: it has 3 columns between tabs"),
    ],
    ids=str,
)
def test_columns_that_are_not_there_are_named(
    tmp_path: Path, source: LabelSource, problem: str
) -> None:
    """A name that the header lacks, or that does not say enough, is refused."""
    (tmp_path / "t").write_text("a\tb\tc\n1\t2\t3\n")
    with pytest.raises(TextError, match=problem):
        read_labelled([tmp_path / "t"], source)


@pytest.mark.parametrize(
    ("table", "is_said"),
    [
        ("text\tlabel\na\tx\nb\ty\n", True),
        ("Sentences\tx1\na\tx\nb\ty\n", True),
        ("w\tlang\na\tx\nb\ty\n", True),
        ("foo\tbar\na\tx\nb\ty\nc\tx\nd\ty\n", True),  # all other labels recur
        ("foo bar\tbaz\na\tx\nb\ty\nc\tx\nd\ty\n", False),  # several words
        ("foo\tbar\na\tx\nb\ty\n", False),
        ("text\tx\na\tx\nb\ty\n", False),
    ],
)
def test_a_header_taken_for_data_deserves_a_word(
    tmp_path: Path, table: str, *, is_said: bool
) -> None:
    """A first row with a label of its own that looks like names is named; it stays a text."""
    (tmp_path / "a").write_text(table)
    for times in (1, 1 + is_said):
        found, _, notes = read_labelled([tmp_path / "a"] * times, LabelSource.parse("column:2"))
        assert len(found) == times * table.count("\n")
        assert len(notes) == times * is_said
        assert all("looks like names of columns" in note for note in notes)


def folders(root: Path, **texts: str) -> None:
    """Files by path, a double underscore for each slash."""
    for name, text in texts.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_folder_is_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are texts with the name of their folder, by whatever path they are given."""
    folders(tmp_path, neg__1="a\nb\n", neg__2="c", pos__1="d", pos__2="e", deep__er__pos__3="f")
    expected = {("f", "pos"), ("a\nb\n", "neg"), ("c", "neg"), ("d", "pos"), ("e", "pos")}
    source = LabelSource.parse("directory")
    monkeypatch.chdir(tmp_path / "neg")
    for paths in ([tmp_path], ["..", "../../" + tmp_path.name], [".", "../pos", "../deep/er/pos"]):
        found, split_on, notes = read_labelled(paths, source)
        assert ({*found}, split_on, notes) == (expected, "file", ())
    found, split_on, _ = read_labelled(["1", "../pos/1"], source)  # a file each: lines
    assert (found, split_on) == ([("a", "neg"), ("b", "neg"), ("d", "pos")], "line")
    found, _, _ = read_labelled(["1"], source, split_on="file")
    assert found == [("a\nb\n", "neg")]


def test_what_lies_beside_folders_has_no_label(tmp_path: Path) -> None:
    """A file beside the folders that are labels is left out, and that is said."""
    folders(tmp_path, neg__1="a", pos__1="b", README="c", urls="d")
    found, _, (note,) = read_labelled([tmp_path], LabelSource.parse("directory"))
    assert found == [Labelled("a", "neg"), Labelled("b", "pos")]
    assert note.startswith("left out, beside the folders")
    assert note.endswith("README and 1 more")


def test_files_of_one_name_in_two_folders_are_refused(tmp_path: Path) -> None:
    """Their texts are not merged under one label; the way out is named."""
    folders(tmp_path, **{"neg__1.txt": "a", "pos__1.md": "b", "pos__2.txt": "c"})
    with pytest.raises(UsageError, match=r"neg/1.txt and .*pos/1.md are of one name.*directory"):
        read_labelled([tmp_path], LabelSource.parse("file"))
    found, _, _ = read_labelled([tmp_path / "pos", tmp_path / "pos"], LabelSource.parse("file"))
    assert found == [Labelled("b", "1"), Labelled("c", "2")] * 2


@pytest.mark.parametrize(
    ("names", "strange"),
    [
        (["a.txt", "b.txt", "README"], "README"),
        (["a.txt", "b.txt", "c.txt", "notes.md"], "notes.md"),
        (["a", "License.md"], "License.md"),
        (["a.txt", "b.md", "c.rst"], None),
        (["a.txt", "b.txt.gz"], None),
    ],
)
def test_a_readme_beside_the_labels_is_noticed(
    tmp_path: Path, names: list[str], strange: str | None
) -> None:
    """A file whose name is hardly a label, by what it is or by its ending, is named."""
    for name in names:
        data = f"text of {name}\n".encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found, _, notes = read_labelled([tmp_path], LabelSource.parse("file"))
    assert len(found) == len(names)
    assert [strange in note for note in notes if strange] == [True] * (strange is not None)
    assert len(notes) == (strange is not None)


def test_stdin_is_in_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no name has no label."""
    for form in ("file", "directory"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
        with pytest.raises(UsageError, match="standard input"):
            read_labelled(["-"], LabelSource.parse(form))


def test_a_file_of_a_folder_is_held_out_as_a_whole(tmp_path: Path) -> None:
    """Texts that are files of a folder are never cut in two, by any share."""
    names = {f"{kind}__{n}": f"{kind} {n} " * 20 for kind in ("neg", "pos") for n in range(10)}
    folders(tmp_path, **names)
    for kind in ("lm", "classifier"):
        asked: dict[str, Any] = {
            "corpus": (str(tmp_path),),
            "label_from": "directory",
            "valid_share": 0.3,
        }
        if kind == "lm":
            texts = read_texts(Request(**asked), lambda _: None)
            train, valid = texts.train, texts.valid
        else:
            head = read_texts(Request(task="classifier", **asked), lambda _: None)
            train, valid = (list(side.texts) for side in head.sides)  # type: ignore[union-attr]
            assert head.split_on == "file"
        assert len(valid) == 6
        assert sorted(train + valid) == sorted(names.values())


def test_a_number_of_a_text_column_stays_readable() -> None:
    """Requests of earlier versions hold it as a number; it says the same."""
    request = Request(corpus=("x",), label_from="column:3", text_column="1")
    values = request.to_json()
    assert Request.from_json({**values, "text_column": 1}) == Request.from_json(values)
    del values["header"]
    assert Request.from_json(values).text_column == "1"


PAIRS = st.lists(
    st.builds(Labelled, st.sampled_from([f"text {n}" for n in range(40)]), st.sampled_from("xyz")),
    min_size=20,
    max_size=120,
)


def test_copies_can_be_left_out_of_training(tmp_path: Path) -> None:
    """--distinct: each text once a label, the prior with all copies, what is held out as it is."""
    rows = [("Adam", "x")] * 5 + [("Adam", "y")] + [(f"Bea{n}", "y") for n in range(3)]
    (tmp_path / "rows.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in rows))
    (tmp_path / "valid.tsv").write_text("Cai\tx\nCai\tx\n")
    request = Request(
        corpus=(str(tmp_path / "rows.tsv"),),
        valid=(str(tmp_path / "valid.tsv"),),
        label_from="column:2",
        distinct=True,
    )
    said: list[str] = []
    texts = read_texts(request, said.append)
    assert texts.labels is not None
    assert texts.labels.counts == (5, 4)
    assert list(zip(texts.train, texts.train_labels or (), strict=True)) == [
        ("Adam", 0), ("Adam", 1), ("Bea0", 1), ("Bea1", 1), ("Bea2", 1)
    ]  # fmt: skip
    assert texts.valid == ["Cai", "Cai"]
    assert "copies left out of training: 4" in said
    assert Request.from_json(request.to_json()).distinct
    every = read_texts(dataclasses.replace(request, distinct=False), said.append)
    assert len(every.train) == len(rows)
    assert every.fingerprint != texts.fingerprint
    swapped = dataclasses.replace(texts, train_labels=[1, 0, 1, 1, 1])
    assert swapped.fingerprint != texts.fingerprint


@given(pairs=PAIRS, share=st.sampled_from([0.1, 0.2, 0.5]), seed=st.integers(0, 3))
@settings(deadline=None)
def test_a_text_is_on_one_side_alone(pairs: list[Labelled], share: float, seed: int) -> None:
    """Nothing is lost, no text is on both sides under whatever labels, and shares hold by label."""
    train, valid = hold_out_labelled(pairs, split_on="line", share=share, seed=seed)
    assert sorted(train + valid) == sorted(pairs)
    assert not {one.text for one in train} & {one.text for one in valid}
    first = {one.text: one.label for one in reversed(pairs)}
    held = {one.text for one in valid}
    for label in "xyz":
        texts = {text for text, of in first.items() if of == label}
        expected = max(1, round(share * len(texts))) if len(texts) >= 5 else 0
        assert len(texts & held) == expected


def test_of_a_file_the_end_is_held_out() -> None:
    """Where a sequence is a file each label has a part on both sides, in order."""
    pairs = [Labelled("abcdefghij", "x"), Labelled("0123456789", "y")]
    train, valid = hold_out_labelled(pairs, split_on="file", share=0.2, seed=0)
    assert train == [Labelled("abcdefgh", "x"), Labelled("01234567", "y")]
    assert valid == [Labelled("ij", "x"), Labelled("89", "y")]
