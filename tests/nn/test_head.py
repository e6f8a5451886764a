"""Laws of classifiers and taggers: the network, its training, its checkpoints, its use."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.checkpoints.head import HeadCheckpoint, find_head
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run
from charlm.checkpoints.step import save_step
from charlm.config import CELLS, LONGEST, TrainingConfig
from charlm.engines.torch_labels import read_scores
from charlm.equations import heads
from charlm.equations.heads import fit_temperature, head_weights, shapes
from charlm.errors import CheckpointError, TextError, UsageError
from charlm.models.heads import Classifier, Tagger
from charlm.models.load import load
from charlm.network_config import HeadConfig
from charlm.nn import examples
from charlm.nn.examples import Examples, collate, encode_sentences, encode_texts, gathered, groups
from charlm.nn.head import Head, from_arrays, network, to_arrays, turn, turned
from charlm.nn.objectives import weighted_cross_entropy
from charlm.text.labelled import LabelledTexts
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training.request import Request
from charlm.training.state import counters
from charlm.training.task import Step
from charlm.training.tasks import task_of
from charlm.training.tasks.classifier import standard_error
from charlm.training.tasks.labelling import prior_of
from tests.support.heads import KINDS, NAMES, TAGGED, begun, config_of, material_of, same
from tests.support.trainers import (
    fit,
    new_state,
    prepared,
    read_texts,
    restore,
    restore_state,
    save,
    state_arrays,
    steps_per_epoch,
    train_steps,
    validate,
)


def head_of(config: HeadConfig, seed: int = 0) -> Head:
    """A head whose weights are all random."""
    generator = torch.Generator().manual_seed(seed)
    head = network(config)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5, generator=generator)
    return head.eval().requires_grad_(False)


def examples_of(config: HeadConfig, lengths: list[int], seed: int = 0) -> Examples:
    """Random texts of these lengths."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    if config.kind == "classifier":
        tokens = rng.integers(0, config.vocab_size, starts[-1])
        return Examples(tokens, starts, rng.integers(0, config.num_labels, len(lengths)))
    spelled = rng.integers(1, 6, 10)
    forms = examples.Forms(
        rng.integers(0, config.vocab_size, 10),
        rng.integers(0, config.num_letters, spelled.sum()),
        np.concatenate(([0], np.cumsum(spelled))).astype(np.int64),
    )
    labels = rng.integers(0, config.num_labels, starts[-1])
    return Examples(rng.integers(0, 10, starts[-1]), starts, labels, forms)


def reference(config: HeadConfig, head: Head, examples: Examples) -> np.ndarray:
    """Scores by equations/heads.py in double precision, one text at a time."""
    weights = head_weights(config, to_arrays(head))
    found = []
    for begin, end in zip(examples.starts[:-1], examples.starts[1:], strict=True):
        tokens = examples.tokens[begin:end]
        if examples.forms is None:
            found.append(heads.classify(config, weights, tokens)[None])
        else:
            forms = examples.forms
            letters = [forms.letters[forms.starts[t] : forms.starts[t + 1]] for t in tokens]
            found.append(heads.tag(config, weights, forms.ids[tokens], letters))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_network_is_that_of_the_equations(kind: str, cell: str) -> None:
    """Texts of all lengths side by side get the scores that each gets alone in NumPy."""
    config = config_of(kind, cell=cell, num_layers=2, output_layers=1)
    head, examples = head_of(config), examples_of(config, [1, 7, 3, 7, 12])
    np.testing.assert_allclose(
        read_scores(head, examples), reference(config, head, examples), atol=1e-5
    )


def test_the_last_states_too() -> None:
    """A classifier may read the last state of each direction in place of all of them."""
    config = config_of("classifier", pooling="last")
    head, examples = head_of(config), examples_of(config, [4, 1, 9])
    np.testing.assert_allclose(
        read_scores(head, examples), reference(config, head, examples), atol=1e-5
    )


def test_neighbours_are_those_of_the_equations() -> None:
    """Its loss is the mean of -log softmax(W a→<t> + b) at x<t+1> and of the same from a←<t> at
    x<t-1>, over all texts, one text at a time in NumPy.
    """
    config = config_of("classifier")
    head, examples = head_of(config), examples_of(config, [1, 7, 3, 5])
    head.learn_neighbours()
    assert head.neighbours is not None
    arrays = {name: p.detach().double().numpy() for name, p in head.neighbours.named_parameters()}
    weights, nats = head_weights(config, to_arrays(head)), []
    for begin, end in zip(examples.starts[:-1], examples.starts[1:], strict=True):
        ids = examples.tokens[begin:end]
        a = heads.both_ways(config.cell, weights.layers[0], weights.embedding[ids])
        size = config.hidden_size
        for way, from_, of in (("after", a[:-1, :size], ids[1:]), ("before", a[1:, size:], ids)):
            z = from_ @ arrays[f"{way}.weight"].T + arrays[f"{way}.bias"]
            for t in range(len(z)):
                nats.append(np.logaddexp.reduce(z[t]) - z[t, of[t]])
    batch, _, _ = collate(examples, np.arange(4))
    _, bottom = head.read(batch)
    loss = head.neighbours_loss(bottom, batch)
    assert loss.item() == pytest.approx(np.mean(nats), rel=1e-5)
    alone, _, _ = collate(examples, np.arange(1))
    assert head.neighbours_loss(head.read(alone)[1], alone).item() == 0


@pytest.mark.parametrize("layers", [1, 2])
def test_no_neighbour_is_seen_before_it_is_told(layers: int) -> None:
    """Another token at t changes neither what stands ready for it from the left nor from the
    right, however many layers there are.
    """
    config = config_of("classifier", num_layers=layers)
    head, examples = head_of(config), examples_of(config, [8])
    batch, _, _ = collate(examples, np.arange(1))
    for t in range(8):
        other = batch.ids.clone()
        other[t] = (other[t] + 1) % config.vocab_size
        one, another = (
            head.read(batch._replace(ids=ids))[1].split(config.hidden_size, dim=2)
            for ids in (batch.ids, other)
        )
        torch.testing.assert_close(one[0][:t], another[0][:t])
        torch.testing.assert_close(one[1][t + 1 :], another[1][t + 1 :])
        assert not torch.equal(one[0][t:], another[0][t:])


def test_what_is_learned_beside_labels_is_for_going_on_alone(tmp_path: Path) -> None:
    """The model that is saved has none of it, training.safetensors has; without, a run cannot go
    on. A tagger, and a classifier of many types, have nothing of the kind.
    """
    material = material_of(tmp_path, "classifier")
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, "classifier")
        next(iter(fit(run, state, config, material)))
        saved = save(run, state, config, material)
    model, arrays = HeadCheckpoint.load(saved.path), state_arrays(state)
    assert model.weights.keys() == shapes(model.config).keys()
    _, there = model.load_training()
    np.testing.assert_array_equal(
        there["neighbours.after.weight"], arrays["neighbours.after.weight"]
    )
    del arrays["neighbours.after.weight"]
    with pytest.raises(CheckpointError, match="lacks neighbours"):
        restore_state(state, model.weights, arrays, counters(state))
    for config in (config_of("tagger"), config_of("classifier", vocab_size=1001)):
        head = network(config)
        head.learn_neighbours()
        assert head.neighbours is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_names_and_shapes_are_known_without_torch(kind: str, cell: str) -> None:
    """What a checkpoint may hold is told by the config alone."""
    config = config_of(kind, cell=cell, num_layers=2, output_layers=2)
    arrays = to_arrays(network(config))
    assert shapes(config) == {name: array.shape for name, array in arrays.items()}


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 3))
def test_turning_twice_changes_nothing(lengths: list[int], more: int) -> None:
    """The order from the end is its own inverse, and puts the last token of each text first."""
    sizes, num_steps = torch.tensor(lengths), max(lengths) + more
    order = turned(sizes, num_steps)
    x = torch.arange(num_steps * len(lengths)).view(num_steps, -1, 1).float()
    assert torch.equal(turn(turn(x, order), order), x)
    assert torch.equal(turn(x, order)[0], x[sizes - 1, torch.arange(len(lengths))])


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_behind_the_end_does_not_count(kind: str) -> None:
    """Any ids in the padding give the same scores where tokens are."""
    config = config_of(kind)
    head, examples = head_of(config), examples_of(config, [5, 2, 8])
    batch, _, live = collate(examples, np.arange(3))
    behind = torch.arange(8).unsqueeze(1) >= batch.lengths
    other = batch._replace(ids=torch.where(behind, 3, batch.ids))
    if batch.words is not None:
        places = torch.where(behind, 0, batch.words.places)
        other = other._replace(words=batch.words._replace(places=places))
    before, after = head(batch), head(other)
    if live is not None:
        before, after = before[live], after[live]
    torch.testing.assert_close(before, after, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_and_their_order_do_not_count(kind: str) -> None:
    """The scores of a text are the same alone, in any batch and in any order."""
    config = config_of(kind)
    head, examples = head_of(config), examples_of(config, [5, 2, 8, 8, 1])
    flat = head(collate(examples, np.arange(5))[0])
    order = np.array([3, 0, 4, 2, 1])
    moved = head(collate(examples, order)[0])
    for place, text in enumerate(order):
        size = examples.lengths[text]
        alone = head(collate(examples, np.array([text]))[0])
        if kind == "classifier":
            pairs = [(moved[place], flat[text]), (alone[0], flat[text])]
        else:
            pairs = [
                (moved[:size, place], flat[:size, text]),
                (alone[:size, 0], flat[:size, text]),
            ]
        for one, another in pairs:
            torch.testing.assert_close(one, another, rtol=0, atol=1e-5)


def test_both_directions_count() -> None:
    """The score of a token changes with the first word and with the last."""
    config = config_of("tagger")
    head, examples = head_of(config), examples_of(config, [7])
    before = read_scores(head, examples)[3]
    for at in (0, 6):
        tokens = examples.tokens.copy()
        tokens[at] = (tokens[at] + 1) % 10
        assert np.abs(read_scores(head, examples._replace(tokens=tokens))[3] - before).max() > 1e-5


# Data


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 8))
def test_every_text_is_read_once_a_pass(lengths: list[int], batch_size: int) -> None:
    """Groups share the texts out, equally many in every pass, however they are mixed."""
    sizes = np.array(lengths)
    number = len(groups(sizes, batch_size))
    for seed in range(3):
        found = groups(sizes, batch_size, np.random.default_rng(seed))
        assert len(found) == number
        assert sorted(np.concatenate(found)) == list(range(len(sizes)))
        assert max(map(len, found)) <= batch_size


def test_equal_texts_stand_on_one_side(tmp_path: Path) -> None:
    """Nothing that is held out is trained on, whatever its label."""
    path = tmp_path / "t.tsv"
    path.write_text("".join(f"t{i % 20}\t{'ab'[i % 2]}\n" for i in range(60)))
    texts = read_texts(
        Request(task="classifier", corpus=(str(path),), label_from="column:2"), lambda _: None
    )
    assert texts.valid.texts
    assert not set(texts.train.texts) & set(texts.valid.texts)
    once = read_texts(
        Request(task="classifier", corpus=(str(path),), label_from="column:2", distinct=True),
        lambda _: None,
    )
    pairs = list(zip(once.train.texts, once.train.labels, strict=True))
    assert len(pairs) == len(set(pairs)) == len(texts.train.texts) / 3
    assert once.valid == texts.valid


PAIRS = st.lists(st.tuples(st.sampled_from("tuvwx"), st.sampled_from("abc")), min_size=1)


@given(pairs=PAIRS)
def test_a_text_counts_once_and_its_labels_by_their_shares(pairs: list[tuple[str, str]]) -> None:
    """Each different pair stands there once; the shares of a text add up to one, its counts to
    how often it occurs.
    """
    once, copies = gathered(LabelledTexts(*map(list, zip(*pairs, strict=True))))
    found = list(zip(once.texts, once.labels, strict=True))
    assert found == list(dict.fromkeys(pairs))
    for text in set(once.texts):
        of_text = [i for i, there in enumerate(once.texts) if there == text]
        assert copies.counts[of_text].sum() == sum(one == text for one, _ in pairs)
        assert copies.shares[of_text].sum() == pytest.approx(1)
    assert list(copies.counts) == [pairs.count(pair) for pair in found]


@given(pairs=PAIRS)
def test_who_sees_no_text_says_the_shares_of_all_copies(pairs: list[tuple[str, str]]) -> None:
    """The loss of scores that are the same for every text is least where they are log P(label),
    each copy counted: what the copies lose in weight the shift gives back.
    """
    pairs = [("t", "a"), ("u", "b"), *pairs]
    once, copies = gathered(LabelledTexts(*map(list, zip(*pairs, strict=True))))
    names = sorted(set(once.labels))
    labels = np.array([names.index(label) for label in once.labels])
    starts = np.arange(len(labels) + 1)
    examples = Examples(np.zeros(len(labels), np.int64), starts, labels, copies=copies)
    head = network(config_of("classifier", num_labels=len(names)))
    share = [sum(label == name for _, label in pairs) / len(pairs) for name in names]
    scores = torch.tensor(share).log().requires_grad_()
    shifted = scores + prior_of(examples, head).shift
    loss = weighted_cross_entropy(
        shifted.expand(len(labels), -1),
        torch.from_numpy(labels),
        torch.from_numpy(copies.shares.astype(np.float32)),
    )
    loss.backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    np.testing.assert_allclose(scores.grad, 0, atol=1e-6)
    assert not prior_of(examples._replace(copies=None), head).shift.any()


def test_copies_of_everything_change_no_loss(tmp_path: Path) -> None:
    """A corpus in which every line stands three times is the corpus."""
    losses = []
    for times in (1, 3):
        folder = tmp_path / str(times)
        folder.mkdir()
        lines = [f"{t}\t{n}\n" for n, text in NAMES.items() for t in text.split()]
        (folder / "t.tsv").write_text("".join(lines * times))
        corpus = (str(folder / "t.tsv"),)
        request = Request(
            task="classifier", corpus=corpus, valid=corpus, label_from="column:2", min_count=1
        )
        texts = read_texts(request)
        material = prepared(request, texts)
        assert material.about["train"]["texts"] == 16 * times
        with Run(folder / "run") as run:
            _, config, state = begun(run, material, "classifier")
            losses.append([step.loss for step in train_steps(state, config, material.examples)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_unknown_words_are_told_by_their_letters() -> None:
    """Case and digits make no type of their own, and stay in the letters."""
    words = SpelledWords.train(["Ada", "ada", "1998", "Adler"], vocab_size=None, min_count=2)
    assert words.word("ADA") == words.word("ada") != 0
    assert words.word("2005") == words.word("Rome") == 0
    assert words.spelled("ada") != words.spelled("Ada")
    assert words.spelled("") == [0]
    assert len(words.spelled("a" * 1000)) == 48
    again = SpelledWords.from_json(json.loads(json.dumps(words.to_json())))
    assert again.to_json() == words.to_json()


# Temperature


@settings(deadline=None, max_examples=20)
@given(st.floats(0.6, 6), st.integers(0, 100))
def test_the_temperature_is_the_one_that_labels_were_drawn_with(true: float, seed: int) -> None:
    """And of no other nearby is the loss lower."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 4, (20_000, 4)).astype(np.float32)
    noise = rng.gumbel(size=scores.shape)
    labels = (scores / true + noise).argmax(axis=1)
    found = fit_temperature(scores, labels)
    assert found == pytest.approx(true, rel=0.1)

    def loss(temperature: float) -> float:
        return -float(heads.log_softmax(scores, temperature)[np.arange(len(labels)), labels].mean())

    assert loss(found) <= min(loss(found * 1.01), loss(found / 1.01))


def test_the_temperature_stays_within_bounds() -> None:
    """Labels that are all right, or all wrong, ask for none that is infinite or zero."""
    scores = np.array([[4.0, 0.0], [0.0, 4.0]], np.float32)
    assert fit_temperature(scores, np.array([0, 1])) == pytest.approx(0.5, rel=1e-3)
    assert fit_temperature(scores, np.array([1, 0])) == pytest.approx(10, rel=1e-3)


# Training


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [1, 4, 7])
def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path, kind: str, stop: int) -> None:
    """Weights, moments and counters are those of the run that was never stopped, bit for bit."""
    material = material_of(tmp_path, kind)
    with Run(tmp_path / "whole") as run:
        _, config, whole = begun(run, material, kind)
        for _ in fit(run, whole, config, material):
            pass
    seen: list[Any] = []

    def told() -> bool:
        return any(isinstance(event, Step) and event.step == stop for event in seen)

    with Run(tmp_path / "parts") as run:
        model, config, state = begun(run, material, kind)
        for event in fit(run, state, config, material, should_stop=told):
            seen.append(event)
        assert state.step == stop
        state = restore(run, model, config)
        for _ in fit(run, state, config, material):
            pass
    same(state, whole)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    lines = [[{**json.loads(line), "seconds": 0} for line in log.splitlines()] for log in logs]
    assert lines[0] == lines[1]
    assert directory.is_finished(tmp_path / "parts")


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_set_is_learned_by_heart(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label is right in the end; what is loaded says so, by both engines alike."""
    material = material_of(tmp_path, kind)
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, kind, num_steps=60, validate_every=20)
        for _ in fit(run, state, config, material):
            pass
    assert state.best_accuracy == 1.0
    loaded = HeadCheckpoint.load(find_head(str(tmp_path / "run"), kind))
    if kind == "classifier":
        texts = [t for text in NAMES.values() for t in text.split()] + ["", "unheard of ꙮ"]
        small, large = Classifier(loaded), Classifier(loaded)
        large._head = from_arrays(loaded.config, loaded.weights)
        probs = small.classify(texts)
        np.testing.assert_allclose(probs, large.classify(texts), atol=1e-5)
        np.testing.assert_allclose(probs.sum(axis=1), 1)
        said = [small.names[at] for at in probs[:16].argmax(axis=1)]
        assert said == ["vowels"] * 8 + ["plain"] * 8
        assert small.classify([]).shape == (0, 2)
        for ask in (small.classify, small.log_posteriors):
            with pytest.raises(UsageError, match="list of texts"):
                ask("one text")
        assert not any(map(small.is_cut, texts))
        for module in ("models.heads", "nn.examples"):  # of longer texts both read as much
            monkeypatch.setattr(f"charlm.{module}.LONGEST", 3)
        cut = small.classify(texts)
        np.testing.assert_allclose(cut, large.classify(texts), atol=1e-5)
        np.testing.assert_allclose(cut, small.classify([text[:3] for text in texts]), atol=1e-9)
        assert list(map(small.is_cut, texts)) == [len(text) > 3 for text in texts]
    else:
        sentences = [["Ada", "sleeps"], [], ["in", "Rome"], ["Zoë", "x" * 99, ""]]
        one, other = Tagger(loaded), Tagger(loaded)
        other._head = from_arrays(loaded.config, loaded.weights)
        assert one.tag(sentences)[:3] == [["B-PER", "O"], [], ["O", "B-LOC"]]
        for a, b in zip(one.log_probs(sentences), other.log_probs(sentences), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
            np.testing.assert_allclose(np.exp(a).sum(axis=1), 1)
        assert one.tag([]) == []
        for wrong in ("Ada sleeps", ["Ada sleeps"], [["Ada"], "sleeps"], [["Ada", 3]]):
            for tell in (one.tag, one.log_probs):
                with pytest.raises(UsageError, match="sentences"):
                    tell(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_need_be_held_out(tmp_path: Path, kind: str) -> None:
    """Then there is no best step, and the temperature is 1."""
    material = dataclasses.replace(material_of(tmp_path, kind), valid=None)
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, kind)
        for _ in fit(run, state, config, material):
            pass
    assert state.best_step is None
    assert state.temperature == 1
    assert directory.is_finished(run.path)
    few = tmp_path / "few"
    few.write_text(TAGGED if kind == "tagger" else "a b\tX\nc d\tY\n")
    label_from = None if kind == "tagger" else "column:2"
    request = Request(task=kind, corpus=(str(few),), label_from=label_from)
    texts = read_texts(request)
    found = prepared(request, texts)
    assert found.valid is None
    assert len(found.examples.labels)


def test_patience_ends_a_run_early(tmp_path: Path) -> None:
    """So many validations without a new best are the last; the best step still stands."""
    material = material_of(tmp_path, "classifier")
    with Run(tmp_path / "run") as run:
        fields = {"num_steps": 400, "validate_every": 5, "patience": 2, "learning_rate": 0.05}
        _, config, state = begun(run, material, "classifier", **fields)
        for _ in fit(run, state, config, material):
            pass
    assert state.step < 400
    assert state.step == state.best_step + 10
    assert directory.best_step(run.path).name == directory.step_name(state.best_step)
    assert directory.is_finished(run.path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_at_the_end_is_best_if_it_is_not_worse(kind: str) -> None:
    """By two standard errors; before the end, and of taggers, the greatest accuracy is best."""
    config = config_of(kind)
    examples = examples_of(config, [3] * 100)
    names = [f"N{at}" for at in range(config.num_labels)]
    state = new_state(config, TrainingConfig(num_steps=9))
    first = validate(state, examples, lambda: False, names)
    assert first is not None
    assert first.is_best
    error = math.sqrt(first.accuracy * (1 - first.accuracy) / len(examples.labels))
    for lack, at_end in ((1.9, False), (1.9, True), (2.1, True)):
        state.best_accuracy, state.best_loss = first.accuracy + lack * error, 0.0
        now = validate(state, examples, lambda: False, names, at_end=at_end)
        assert now is not None
        assert now.is_best == (kind == "classifier" and at_end and lack < 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1))
def test_copies_are_right_or_wrong_together(texts: list[tuple[bool, int]]) -> None:
    """The standard error is that of the mean of texts drawn by chance with their copies: it is
    the usual one where each occurs once, and copying all of them does not make it smaller.
    """
    right, counts = np.array([r for r, _ in texts]), np.array([c for _, c in texts])
    share = right.mean()
    usual = math.sqrt(share * (1 - share) / len(right))
    assert standard_error(right) == pytest.approx(usual)
    assert standard_error(right, counts * 7) == pytest.approx(standard_error(right, counts))
    assert standard_error(right, np.full(len(right), 4)) == pytest.approx(usual)


def test_held_out_copies_count(tmp_path: Path) -> None:
    """The figures of a validation are those of all copies, as if each were read."""
    path = tmp_path / "t.tsv"
    path.write_text("a\tX\nb\tX\nb\tX\nb\tY\nc\tY\nd\tX\nd\tX\nd\tX\n")
    request = Request(
        task="classifier", corpus=(str(path),), valid=(str(path),), label_from="column:2"
    )
    texts = read_texts(request)
    material = prepared(request, texts)
    with Run(tmp_path / "run") as run:
        _, _, state = begun(run, material, "classifier")
    assert material.valid is not None
    found = validate(state, material.valid, lambda: False, material.labels)
    whole = encode_texts(
        material.reader,  # type: ignore[arg-type]
        texts.valid.texts,  # type: ignore[union-attr]
        [material.labels.index(label) for label in texts.valid.labels],  # type: ignore[union-attr]
    )
    assert len(whole.labels) == 8 == material.about["valid"]["texts"]
    again = validate(state, whole, lambda: False, material.labels)
    assert found is not None
    assert again is not None
    figures = [(one.loss, one.accuracy, one.temperature) for one in (found, again)]
    assert figures[0] == pytest.approx(figures[1])


def test_dropout_is_drawn_from_seed_and_step(tmp_path: Path) -> None:
    """Two runs of one seed are equal, and of another are not."""
    material = material_of(tmp_path, "classifier")
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with Run(tmp_path / name) as run:
            _, config, state = begun(run, material, "classifier", num_steps=3, seed=seed)
            for _ in fit(run, state, config, material):
                pass
        found.append(state)
    same(found[0], found[1])
    assert found[0].best_loss != found[2].best_loss


# Checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one classifier in it."""
    folder = tmp_path_factory.mktemp("heads")
    material = material_of(folder, "classifier")
    with Run(folder / "checkpoints" / "names") as run:
        _, config, state = begun(run, material, "classifier", num_steps=4)
        for _ in fit(run, state, config, material):
            pass
    return folder / "checkpoints"


def test_a_head_is_no_language_model(trained: Path) -> None:
    """It is known by its kind, and refused with one sentence where text is to be scored."""
    assert directory.kind_of(trained / "names") == "classifier"
    assert load(task="classifier", root=trained).names == ("plain", "vowels")
    with pytest.raises(CheckpointError, match="is a classifier, no language model"):
        Checkpoint.find("names", trained)
    with pytest.raises(CheckpointError, match="is a classifier, not a tagger"):
        find_head("names", "tagger", trained)
    with pytest.raises(CheckpointError, match="there is no tagger below"):
        find_head(None, "tagger", trained)
    with pytest.raises(
        CheckpointError,
        match=r"no language model below .*: \S+ is a classifier \(charlm classify\)",
    ):
        directory.find(None, trained)
    assert directory.find_any(None, trained) == directory.find("names", trained)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda info: info.update(labels=["a", "a"]), "what the labels"),
        (lambda info: info.update(labels=["a"]), "what the labels"),
        (lambda info: info.update(kind="tagger"), "what the labels"),
        (lambda info: info.update(temperature=0.0), "temperature"),
        (lambda info: info.update(format=2), "format 2"),
        (lambda info: info["model"].update(hidden_size=10_000), "model.safetensors"),
        (lambda info: info["model"].update(hidden_size=65_536), "model.safetensors"),
        (lambda info: info["model"].update(vocab_size=5), "5"),
        (lambda info: info["model"].update(hidden_size="4"), "hidden_size"),
        (lambda info: info.pop("model"), "must be a JSON object"),
        (lambda info: info.update(step=7), "manifest.json is not of the step"),
    ],
)
def test_what_cannot_be_is_refused(
    trained: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    """A model.json that contradicts itself or the other files is named, sealed as it may be."""
    path = directory.best_step(trained / "names")
    files = {f.name: f.read_bytes() for f in path.iterdir() if f.name != "manifest.json"}
    info = json.loads(files["model.json"])
    change(info)
    files["model.json"] = json.dumps(info).encode()
    made = save_step(tmp_path / "run", 4, files)
    with pytest.raises(CheckpointError, match=said):
        HeadCheckpoint.load(made)


def test_any_flipped_byte_is_noticed(trained: Path, tmp_path: Path) -> None:
    """Files that a step's manifest does not describe are not believed."""
    path = directory.best_step(trained / "names")
    for name in ("model.json", "model.safetensors", "tokenizer.json"):
        made = tmp_path / name / path.name
        made.mkdir(parents=True)
        for file in path.iterdir():
            data = bytearray(file.read_bytes())
            if file.name == name:
                data[len(data) // 2] ^= 1
            (made / file.name).write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            HeadCheckpoint.load(made)


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    """Nothing stands on disk of weights that are no numbers."""
    material = material_of(tmp_path, "classifier")
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, "classifier")
        with torch.no_grad():
            state.module.softmax.bias.fill_(math.nan)
        with pytest.raises(Exception, match="not finite"):
            save(run, state, config, material)
    assert directory.steps(tmp_path / "run") == []


def test_a_pass_is_as_many_steps_as_said(tmp_path: Path) -> None:
    """steps_per_epoch is what the loop takes to read all texts."""
    material = material_of(tmp_path, "classifier")
    config = TrainingConfig(num_steps=1, batch_size=3)
    read = sum(map(len, groups(material.examples.lengths, 3)))
    assert read == 16
    assert steps_per_epoch(material, config) == 6


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("classifier", {}, "label_from says"),
        ("classifier", {"label_from": "column:2", "text_field": "x"}, "text_field goes"),
        ("classifier", {"label_from": "file", "text_column": "1"}, "text_column goes"),
        ("classifier", {"label_from": "file", "level": "x"}, "level must be"),
        ("tagger", {"label_from": "file"}, "has no label_from"),
        ("tagger", {"level": "char"}, "level"),
        ("tagger", {"pooling": "last"}, "has no pooling"),
        ("tagger", {"steps": 1, "epochs": 1.0}, "only one of"),
        ("classifier", {"label_from": "file", "pooling": "x"}, "pooling"),
    ],
)
def test_what_makes_no_sense_is_not_begun(kind: Any, fields: dict[str, Any], said: str) -> None:
    """Options that contradict one another are refused before anything is read."""
    with pytest.raises(UsageError, match=said):
        task_of(Request(task=kind, corpus=("x",), **fields))


def test_a_request_survives_json() -> None:
    """What run.json says is what was asked."""
    request = Request(task="classifier", corpus=("/x",), label_from="file", seconds=3.0)
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request
    with pytest.raises(CheckpointError):
        Request.from_json({"corpus": ["x"], "valid": [], "kind": "poet"})


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    (tmp_path / "a.txt").write_text("x\ny\nz\nv\nw\nu\n")
    request = Request(task="classifier", corpus=(str(tmp_path / "a.txt"),), label_from="file")
    with pytest.raises(TextError, match="one label alone"):
        read_texts(request)


def test_long_texts_are_read_at_their_beginning() -> None:
    """Of a text no more than so many tokens are read, and a long sentence in pieces."""

    class Letters:
        eos_id = 1

        def encode(self, text: str) -> np.ndarray:
            return np.full(len(text), 5, np.int32)

    found = encode_texts(Letters(), ["x" * 5000, "", "x" * 1001, "x" * 1000])  # type: ignore[arg-type]
    assert list(found.lengths) == [LONGEST + 1, 1, LONGEST + 1, LONGEST + 1]
    assert found.cut == 2
    words = SpelledWords.train(["a", "b"], vocab_size=None, min_count=1)
    sentence = encode_sentences(words, [["a"] * 3, ["b"]], None)
    assert list(sentence.starts) == [0, 3, 4]
