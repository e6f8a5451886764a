"""What classifiers and taggers share: labels are learned from examples read as wholes.

What a step reads comes from (seed, step), for every pass has equally many steps, and so does
dropout; nothing is carried from one step to the next.
"""

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.head import HeadCheckpoint, reader_files
from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.engines.several import ALONE, Several
from charlm.engines.torch_labels import read_scores
from charlm.equations.heads import fit_temperature, log_softmax
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError
from charlm.network_config import ClassifierConfig, HeadConfig
from charlm.nn.examples import ExampleBatch, Examples, groups, read
from charlm.nn.head import Head, network, to_arrays
from charlm.nn.objectives import Labelling, Prior
from charlm.training.epochs import groups_in_turn
from charlm.training.optimizer import make_optimizer, moments, rate_of, refusing, restore_parameters
from charlm.training.recipe import stack_summary
from charlm.training.request import Request, Say
from charlm.training.state import TrainingState, set_counters
from charlm.training.task import Step, Task, Validated
from charlm.training.texts.example_material import ExampleMaterial, example_material
from charlm.training.texts.examples import ExampleTexts

_VALIDATIONS = 20
_FEWEST_STEPS = 200  # that a default budget asks for where there is little text


@dataclasses.dataclass(kw_only=True)
class HeadState(TrainingState):
    """All that changes while training.

    accuracy, f1 and temperature are those of the last validation; the logged sums are of the
    steps since then.
    """

    module: Head
    accuracy: float | None = None
    f1: float | None = None
    temperature: float = 1.0
    best_accuracy: float | None = None
    best_f1: float | None = None
    logged_nats: float = 0.0
    logged_steps: int = 0

    def forget_best(self) -> None:
        """Have no best step, and no figures of one."""
        super().forget_best()
        self.accuracy = self.f1 = self.best_accuracy = self.best_f1 = None


class Figures(NamedTuple):
    """What is said of labels: error is the standard error of an accuracy that is judged by it."""

    accuracy: float
    loss: float
    temperature: float
    f1: float | None = None
    error: float = 0.0


class LabellingTask(Task[HeadConfig, HeadState, ExampleMaterial, ExampleTexts, HeadCheckpoint]):
    """P(label) of a text, or of each of its tokens."""

    shape: ClassVar[type[HeadConfig]]
    targets = "labels"
    rolls_back = ("updates", "temperature")
    loss = "accuracy"
    epochs: float  # more than these seldom help

    def prepare_again(
        self, request: Request, texts: ExampleTexts, saved: HeadCheckpoint
    ) -> ExampleMaterial:
        """The texts as ids by what a saved step holds."""
        reader = saved.tokenizer or saved.words
        if reader is None:
            raise CheckpointError(f"{saved.path} has nothing that turns text into ids.")
        return example_material(request, texts, reader, saved.labels)

    def choose(
        self, request: Request, material: ExampleMaterial, passes: float | None = None
    ) -> tuple[HeadConfig, TrainingConfig, str]:
        """Sizes and settings; bench/RESULTS.md holds the measurements behind the figures."""
        del passes
        shape, learning = self.sizes(material)
        if len(material.examples.starts) < 2000:
            learning["batch_size"] = 16
        model = self.shape(**{**shape, "num_labels": len(material.labels), **request.model})
        config = {
            "num_steps": 1,
            "weight_decay": 0.05,
            **learning,
            **request.training,
            "seed": request.seed,
        }
        config.setdefault("end_learning_rate", config["learning_rate"] * 0.01)
        stack = stack_summary(model.cell, model.num_layers, model.hidden_size, both_ways=True)
        summary = (
            f"{stack} in each direction, embedding {model.embedding_size}, "
            f"dropout {model.dropout:g} ({model.input_dropout:g} on the input) "
            f"(chosen for {len(material.examples.tokens):,} tokens)"
        )
        return model, TrainingConfig(**config), summary

    @abstractmethod
    def sizes(self, material: ExampleMaterial) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of the shape and of the training that suit the examples."""

    def precisions(self, config: HeadConfig, device: str) -> tuple[str, ...]:
        """In bf16 a step is little faster, and what is learned less sure (bench/RESULTS.md)."""
        del config, device
        return ("fp32",)

    def num_targets(self, material: ExampleMaterial) -> int:
        """Labels, or tags, to learn from."""
        return len(material.examples.labels)

    def steps_per_epoch(
        self, config: HeadConfig, training: TrainingConfig, material: ExampleMaterial
    ) -> int:
        """How many steps read every text once."""
        del config
        return len(groups(material.examples.lengths, training.batch_size))

    def most_epochs(
        self, request: Request, material: ExampleMaterial, steps_per_epoch: int
    ) -> float:
        """Some for each kind, and enough to learn from where there is little text."""
        del request, material
        return max(self.epochs, _FEWEST_STEPS / steps_per_epoch)

    def validations(
        self,
        config: HeadConfig,
        training: TrainingConfig,
        material: ExampleMaterial,
        epochs: float,
    ) -> tuple[int, int]:
        """Always as many."""
        del config, training, material, epochs
        return _VALIDATIONS, 0

    # Steps

    def new_state(
        self, config: HeadConfig, training: TrainingConfig, device: torch.device | str = "cpu"
    ) -> HeadState:
        """A freshly initialised head, and what is learned beside labels."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            module = network(config)
            module.learn_neighbours()
        module = module.to(device)
        optimizer = make_optimizer(module.named_parameters(), training)
        return HeadState(module=module, optimizer=optimizer)

    def objective(
        self, state: HeadState, training: TrainingConfig, material: ExampleMaterial
    ) -> Labelling:
        """-log P of labels, their prior allowed for."""
        return Labelling(
            state.module,
            precision=training.precision,
            prior=prior_of(material.examples, state.module),
            num_steps=training.num_steps,
        )

    def batches(
        self, state: HeadState, training: TrainingConfig, material: ExampleMaterial
    ) -> Iterator[ExampleBatch]:
        """The texts of the step that comes next."""
        examples = material.examples
        ordered = functools.partial(groups, examples.lengths, training.batch_size)
        for index in groups_in_turn(state, training.seed, ordered):
            yield read(examples, index, state.step)

    def note(self, state: HeadState, taken: Step) -> None:
        """Add up what is logged."""
        if not taken.skipped:
            state.logged_nats += taken.loss
            state.logged_steps += 1

    def rewind(self, state: HeadState) -> None:
        """Point at the first batch."""
        state.step = 0

    def validate(
        self,
        state: HeadState,
        training: TrainingConfig,
        material: ExampleMaterial,
        should_stop: Callable[[], bool],
        several: Several = ALONE,
    ) -> tuple[Validated | None, dict[str, Any]]:
        """The figures now, best, temperature and patience brought up to date.

        Best is the greatest F1 of whole spans where the names of the labels are tags of such, then
        the greatest accuracy, then the lowest loss. At the end, where the learning rate has come
        to rest, a classifier is best unless an earlier step is better by more than two standard
        errors: the best of many is in part the luckiest.
        """
        told = state.logged_nats / state.logged_steps if state.logged_steps else None
        validated: Validated | None = Validated(state.step, None, is_best=False)
        if material.valid is not None:
            scores = read_scores(state.module, material.valid, should_stop, several)
            found = self._figures(scores, material.valid, material.labels)
            at_end = state.step >= training.num_steps
            validated = None if found is None else _judged(state, found, at_end=at_end)
            state.worse_in_a_row += found is None
        state.logged_nats, state.logged_steps = 0.0, 0
        f1 = {} if validated is None or validated.f1 is None else {"valid_f1": validated.f1}
        line = {
            "train_loss_nats_per_label": told,
            "valid_accuracy": validated.accuracy if validated else None,
            "valid_loss_nats_per_label": validated.loss if validated else None,
            **f1,
            "temperature": state.temperature,
            "learning_rate": rate_of(state, training, state.step - 1),
        }
        return validated, line

    def _figures(
        self, scores: NDArray[np.float32], valid: Examples, names: Sequence[str]
    ) -> Figures | None:
        """The figures of what is held out at the temperature that suits it; None if not finite."""
        if not np.isfinite(scores).all():
            return None
        counts = None if valid.copies is None else valid.copies.counts
        temperature = fit_temperature(*_with_copies(scores, valid.labels, counts))
        log_probs = log_softmax(scores, temperature)
        best = scores.argmax(axis=1)
        accuracy = float(np.average(best == valid.labels, weights=counts))
        nats = -log_probs[np.arange(len(log_probs)), valid.labels]
        loss = float(np.average(nats, weights=counts))
        return self.judged(Figures(accuracy, loss, temperature), valid, best, names)

    @abstractmethod
    def judged(
        self, found: Figures, valid: Examples, best: NDArray[np.int64], names: Sequence[str]
    ) -> Figures:
        """The figures with f1, or error, given the label (N,) that is thought of each."""

    # Files

    def weights(self, state: HeadState) -> Arrays:
        """Without what training alone needs."""
        return to_arrays(state.module)

    def files(
        self, state: HeadState, material: ExampleMaterial
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Labels, temperature, and what turns text into ids."""
        about = {
            "kind": self.kind,
            "labels": list(material.labels),
            "temperature": state.temperature,
            "model": state.module.config.to_json(),
            "best_accuracy": state.best_accuracy,
            "best_loss_nats_per_label": state.best_loss,
            **({} if state.best_f1 is None else {"best_span_f1": state.best_f1}),
        }
        return about, reader_files(material.reader)

    def arrays(self, state: HeadState) -> Arrays:
        """The two moments of every parameter, by name, and the parameters of training alone."""
        found = moments(state)
        found |= {
            name: parameter
            for name, parameter in state.module.named_parameters()
            if name.startswith("neighbours.")
        }
        return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}

    def put_back(
        self, state: HeadState, weights: Arrays, arrays: Arrays, counters: Mapping[str, Any]
    ) -> None:
        """Raises CheckpointError if they do not fit the head."""
        set_counters(state, counters)
        with refusing():
            restore_parameters(state, {**arrays, **weights}, arrays)

    def load(self, path: Path) -> HeadCheckpoint:
        """A step, verified."""
        return HeadCheckpoint.load(path)

    def reader_files(self, saved: HeadCheckpoint | ExampleMaterial) -> dict[str, bytes]:
        """Those of the tokenizer, or of words and letters."""
        if isinstance(saved, ExampleMaterial):
            return reader_files(saved.reader)
        reader = saved.tokenizer or saved.words
        return {} if reader is None else reader_files(reader)

    # The end

    def finish(self, run: Run, material: ExampleMaterial, say: Say) -> str:
        """How good the best step is."""
        del material, say
        info = HeadCheckpoint.load(directory.best_step(run.path)).info
        accuracy, loss = info.get("best_accuracy"), info.get("best_loss_nats_per_label")
        if accuracy is None or loss is None:
            return "accuracy: none, no validation gave a finite loss"
        f1 = info.get("best_span_f1")
        what = f"accuracy: {accuracy:.4f}"
        if f1 is not None:
            what = f"F1 of spans: {f1:.4f}, accuracy {accuracy:.4f}"
        return f"{what}, {loss:.4f} nats per label (step {info['step']})"


def _judged(state: HeadState, found: Figures, *, at_end: bool) -> Validated:
    """Figures, with best, temperature and patience brought up to date."""
    accuracy, loss, f1 = found.accuracy, found.loss, found.f1
    state.temperature, state.accuracy, state.f1 = found.temperature, accuracy, f1
    best = (state.best_f1 or 0.0, state.best_accuracy or 0.0, -(state.best_loss or 0.0))
    is_best = state.best_step is None or (f1 or 0.0, accuracy, -loss) > best
    is_best = is_best or (at_end and accuracy + 2 * found.error > (state.best_accuracy or 0.0))
    state.worse_in_a_row = 0 if is_best else state.worse_in_a_row + 1
    if is_best:
        state.best_accuracy, state.best_loss, state.best_f1 = accuracy, loss, f1
        state.best_step = state.step
    return Validated(state.step, loss, is_best, accuracy, found.temperature, f1)


def prior_of(examples: Examples, module: Head) -> Prior:
    """The prior of the labels of some examples."""
    config = module.config
    once, copied = examples.label_shares(config.num_labels)
    there = copied > 0
    shift = np.log(once, out=np.zeros_like(once), where=there)
    shift -= np.log(copied, out=np.zeros_like(copied), where=there)
    device = module.softmax.weight.device
    both = [torch.tensor(x, dtype=torch.float32, device=device) for x in (shift, once)]
    return Prior(both[0], both[1] if isinstance(config, ClassifierConfig) else None)


def _with_copies(
    scores: NDArray[np.float32], labels: NDArray[np.int64], counts: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and labels, each as often as it counts."""
    if counts is None:
        return scores, labels
    return scores.repeat(counts, axis=0), labels.repeat(counts)
