"""A run: a directory under checkpoints/ in which a model is trained, saved, and trained further."""

import dataclasses
import functools
import json
import math
import platform
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

import charlm
from charlm.checkpoints import directory as runs
from charlm.checkpoints import disk as storage
from charlm.checkpoints import step as checkpoint
from charlm.config import ModelConfig, TrainingConfig
from charlm.counts.interpolation import Evidence, Partner
from charlm.counts.interpolation import fit as fit_partner
from charlm.engines.torch_cloze import quick_pseudo_log_probs
from charlm.engines.torch_passes import Stopped, quick_log_probs
from charlm.errors import CheckpointError, DivergedError, UsageError
from charlm.inference.unknown import Speller
from charlm.nn.bidirectional import BidirectionalLM
from charlm.nn.causal import RecurrentLM, to_arrays
from charlm.nn.windows import TokenizedText
from charlm.novelty.index import Source
from charlm.text.labelled import Labels
from charlm.tokenizers.base import Tokenizer
from charlm.training.causal import (
    Step,
    TrainingState,
    new_state,
    restore_state,
    roll_back,
    state_arrays,
    train_steps,
    weights_for_use,
)
from charlm.training.course import (
    CURE,
    Course,
    check_finite,
    is_due,
    rate_of,
    state_counters,
)
from charlm.training.course import is_done as is_done

SAVE_EVERY_SECONDS = 60.0
_LARGEST_LOG = 2**30
SMALL_FILES = 2**16  # bytes: the JSON of a save, the names of its tensors, the blocks of the disk
SECONDS_TO_VALIDATE = 1.0  # that a validation may still take when told to stop
MOST_ROLLBACKS = 5  # each halves the learning rate


class Validated(NamedTuple):
    """The held-out loss (nats per token) at a step; None where nothing is held out."""

    step: int
    loss: float | None
    is_best: bool


class Saved(NamedTuple):
    """A checkpoint stands on disk."""

    step: int
    path: Path


class RolledBack(NamedTuple):
    """After a step the weights of an earlier one were put back (0: the first, random ones)."""

    step: int
    to_step: int


Event: TypeAlias = Step | Validated | Saved | RolledBack


class _AnyStep(Protocol):
    @property
    def skipped(self) -> bool: ...


class _AnyValidated(Protocol):
    @property
    def is_best(self) -> bool: ...


S = TypeVar("S", bound=_AnyStep)
V = TypeVar("V", bound=_AnyValidated)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """What a run is about: the texts as ids, and what its checkpoints carry beside the weights.

    known are the hashes of the training sequences, None where they are files; speller is a word
    model's; partner is what the network is mixed with, its parameters those to begin with; labels
    are those of a conditional model; about is what model.json tells of the text and the way it was
    split; source is what an index of the training text is made of.
    """

    tokenizer: Tokenizer
    speller: Speller | None = None
    partner: Partner | None = None
    labels: Labels | None = None
    text: TokenizedText
    valid: TokenizedText | None
    known: NDArray[np.uint64] | None
    split_on: str
    about: dict[str, Any]
    source: Source | None = None

    @functools.cached_property
    def evidence(self) -> Evidence | None:
        """What the partner makes of the text held out."""
        if self.partner is None or self.valid is None:
            return None
        return self.partner.evidence(self.valid.sequences())


class Run:
    """One directory, one writer: hold it open with ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: storage.Lock | None = None

    def __enter__(self) -> "Run":
        self._lock = runs.open_run(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def check_new(self) -> None:
        """Raise UsageError if the run holds a saved step already."""
        if runs.steps(self.path):
            raise UsageError(
                f"the run {self.path} exists already: go on with it (--resume) or choose another "
                "--name."
            )

    def begin(self, asked: dict[str, Any]) -> None:
        """Write run.json. Raises UsageError if the run exists already."""
        self.check_new()
        runs.remove_steps(self.path, set())
        storage.remove([self.path / "metrics.jsonl"])
        runs.write_json(self.path / "run.json", {**asked, "run_id": uuid.uuid4().hex})

    def asked(self) -> dict[str, Any]:
        """What run.json says."""
        return runs.read_json(self.path / "run.json")

    def extend(self, config: TrainingConfig) -> None:
        """Note a larger budget in run.json."""
        asked = {**self.asked(), "training": config.to_json()}
        runs.write_json(self.path / "run.json", asked)

    def last_step(self) -> Path:
        """The directory of the last step saved. Raises CheckpointError if there is none."""
        there = runs.steps(self.path)
        if not there:
            raise CheckpointError(f"{self.path} holds no saved step to go on from.")
        return self.path / runs.step_name(there[-1])

    def check_own(
        self, path: Path, run_id: str | None, there: dict[str, Any], here: dict[str, Any]
    ) -> None:
        """Raise CheckpointError unless a saved step is of this run, and of the shape asked for."""
        if differences := _differences(there, here):
            raise CheckpointError(
                f"{path}: the model is of another shape than run.json's: {differences}."
            )
        if run_id not in (None, self.asked().get("run_id")):
            raise CheckpointError(f"{path} is of another run than {self.path}/run.json.")

    def restore(
        self, model_config: ModelConfig, config: TrainingConfig, device: str = "cpu"
    ) -> TrainingState:
        """The state at the last step saved, exactly as it was."""
        loaded = checkpoint.load(self.last_step())
        shapes = loaded.config.to_json(), model_config.to_json()
        self.check_own(loaded.path, loaded.run_id, *shapes)
        counters, arrays = checkpoint.load_training(loaded.path)
        state = new_state(model_config, config, device)
        restore_state(state, loaded.weights, arrays, counters)
        check_step(loaded.path, loaded.step, state.step)
        state.partner = None if loaded.partner is None else loaded.partner.parameters
        self.cut_metrics(state.step)
        self.point(state, config)
        return state

    def save(self, state: TrainingState, config: TrainingConfig, material: Material) -> Saved:
        """Save a step. Raises DivergedError, and saves nothing, if any number is not finite."""
        further = state_arrays(state)
        with weights_for_use(state) as model:
            arrays = to_arrays(model)
            speller = {} if material.speller is None else material.speller.weights
            check_finite(state.step, (*arrays.items(), *further.items(), *speller.items()))
            weights = checkpoint.arrays_to_bytes(arrays)
        about = {
            "format": checkpoint.FORMAT,
            "step": state.step,
            "split_on": material.split_on,
            "level": material.tokenizer.level,
            "model": state.model.config.to_json(),
            "training": config.to_json(),
            "text": material.about,
            "best_loss_nats_per_token": state.best_loss,
            **surroundings(state),
        }
        files = {
            "model.json": checkpoint.to_json(about),
            "model.safetensors": weights,
            **material.tokenizer.to_files(),
            "training.json": checkpoint.to_json(state_counters(state)),
            "training.safetensors": checkpoint.arrays_to_bytes(further),
        }
        if material.speller is not None:
            files["speller.json"] = checkpoint.to_json(material.speller.to_json())
            files["speller.safetensors"] = checkpoint.arrays_to_bytes(material.speller.weights)
        partner = partner_of(state, material)
        if partner is not None:
            files["partner.json"] = checkpoint.to_json(partner.to_json())
            if arrays := partner.to_arrays():
                files["ngram.safetensors"] = checkpoint.arrays_to_bytes(arrays)
        if material.labels is not None:
            files["labels.json"] = checkpoint.to_json(material.labels.to_json())
        if material.known is not None:
            files["known.safetensors"] = checkpoint.known_to_bytes(material.known)
        return self.keep(state, config, files)

    def keep(self, state: Course, config: TrainingConfig, files: dict[str, bytes]) -> Saved:
        """Write the files of a step, move the pointers, then drop what neither is best nor last."""
        path = checkpoint.save_step(self.path, state.step, files)
        self.point(state, config)
        return Saved(state.step, path)

    def point(self, state: Course, config: TrainingConfig) -> None:
        """Bring pointers.json up to date, then drop what neither is the best step nor the last.

        After a save, and after a kill amid one. Without a best step the last one is what readers
        take, and that of the last validation stays, too: it is the one to go back to.
        """
        latest, best = state.step, state.best_step
        kept = {latest, state.validated if best is None else best}
        if best is None or best not in runs.steps(self.path):
            best = latest
        pointers = {"latest": latest, "best": best, "finished": is_done(state, config)}
        if runs.pointers(self.path) != pointers:
            runs.write_json(self.path / "pointers.json", pointers)
        runs.remove_steps(self.path, kept)

    def step_to_go_back_to(self, state: Course, *, is_held_out: bool) -> int:
        """The step whose weights replace those that went wrong (0: the first, random ones).

        It is the best one; where no text is held out, the one of the last validation. Neither
        depends on the clock, so a run that is stopped and resumed goes back to the same.
        """
        if is_held_out or not state.validated:
            return state.best_step or 0
        there = runs.steps(self.path)
        return state.validated if state.validated in there else there[-1]

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        runs.append_line(self.path / "metrics.jsonl", json.dumps(values, allow_nan=False))

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after the step that is gone on from: it will be logged again."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        log = storage.read_file(path, _LARGEST_LOG).decode("utf-8", "replace")
        kept = ""
        for line in log.splitlines():
            logged = _logged_step(line)
            if logged is not None and logged <= step:
                kept += f"{line}\n"
        if kept != log:
            runs.write_text(path, kept)

    def check_room(self, state: TrainingState, material: Material) -> None:
        """Raise CheckpointError if the disk has no room for the saves that are to come."""
        numbers = sum(parameter.numel() for parameter in state.model.parameters())
        copies = 3 if state.average is None else 4  # the weights, two moments, their mean
        others = sum(map(len, material.tokenizer.to_files().values())) + SMALL_FILES
        if material.known is not None:
            others += material.known.nbytes
        if material.speller is not None:
            others += sum(array.nbytes for array in material.speller.weights.values())
        if material.partner is not None:
            others += sum(array.nbytes for array in material.partner.to_arrays().values())
        runs.check_room(self.path, 4 * numbers * copies + others)


def check_step(path: Path, saved: int, counted: int) -> None:
    """Raise CheckpointError unless the counters of a step are of that very step."""
    if saved != counted:
        raise CheckpointError(
            f"{path / 'training.json'} is of step {counted}, and model.json of step {saved}."
        )


def surroundings(state: Course) -> dict[str, Any]:
    """What the last bits of a result depend on beside the run itself, as model.json has it."""
    device = state.optimizer.param_groups[0]["params"][0].device.type
    kernels = torch.backends.cpu.get_cpu_capability()
    return {
        "versions": {"charlm": charlm.__version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "device": device,
        "processor": f"{platform.machine()} {kernels}",
    }


def fit(
    run: Run,
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
) -> Iterator[Event]:
    """Train to the end of the budget, validating and saving; yields what happens as it happens.

    Ends early, everything saved, when should_stop says so after a step or amid a long validation
    (which is then the first thing to be done by whoever goes on), or when patience is spent:
    config.patience validations in a row without a new best (0 is off). Where nothing is held out
    there is no best, and patience is never spent.
    """
    if material.valid is None:
        state.forget_best()  # which older versions took from the loss of training
    run.check_room(state, material)

    def steps() -> Iterator[Step]:
        for step in train_steps(state, config, material.text):
            state.grad_norm = step.grad_norm if math.isfinite(step.grad_norm) else None
            if not step.skipped:
                state.logged_nats += step.loss * step.num_targets
                state.logged_targets += step.num_targets
            yield step

    return carry_on(
        run,
        state,
        config,
        steps(),
        validation=functools.partial(_validation, state, config, material),
        go_back=functools.partial(_go_back, run, state, config, material),
        save=functools.partial(run.save, state, config, material),
        should_stop=should_stop,
        save_every_seconds=save_every_seconds,
    )


def carry_on(
    run: Run,
    state: Course,
    config: TrainingConfig,
    steps: Iterator[S],
    *,
    validation: Callable[[Callable[[], bool]], tuple[V | None, dict[str, Any]]],
    go_back: Callable[[], int],
    save: Callable[[], Saved],
    should_stop: Callable[[], bool],
    save_every_seconds: float,
) -> Iterator[S | V | Saved | RolledBack]:
    """Steps, validations and saves in their turn, until all is done or should_stop says so.

    validation gives its figures, None where there are none that are finite, and the line of the
    log; it is told when to raise Stopped, and has then changed nothing. go_back puts the weights
    of an earlier step back, and says of which.
    """
    begun, before, saved_at = time.perf_counter(), state.seconds, time.perf_counter()
    while not is_done(state, config):
        if not is_due(state, config):
            step = next(steps)
            state.seconds = before + time.perf_counter() - begun
            went_back = _heed_nan(state, config, go_back) if step.skipped else None
            yield step
            if went_back is not None:
                yield went_back
        worth_saving = False
        if is_due(state, config):
            worth_saving = yield from _validate_and_log(run, state, config, validation, should_stop)
        if not worth_saving and (
            should_stop() or time.perf_counter() - saved_at >= save_every_seconds
        ):
            worth_saving = not (run.path / runs.step_name(state.step)).exists()
        if worth_saving:
            yield save()
            saved_at = time.perf_counter()
        if should_stop():
            return


def _validate_and_log(
    run: Run,
    state: Course,
    config: TrainingConfig,
    validation: Callable[[Callable[[], bool]], tuple[V | None, dict[str, Any]]],
    should_stop: Callable[[], bool],
) -> Generator[V, None, bool]:
    """Whether what came of a validation is to be saved.

    One that is told to stop and takes too long is as if it had never begun.
    """
    begun = time.perf_counter()

    def too_long() -> bool:
        return time.perf_counter() - begun >= SECONDS_TO_VALIDATE and should_stop()

    try:
        validated, line = validation(too_long)
    except Stopped:
        return False
    state.validated = state.step
    run.log({"step": state.step, "seconds": round(state.seconds, 3), **line})
    if validated is not None:
        yield validated
    # Without a best step it is the last one that counts.
    is_wanted = validated is None or validated.is_best or state.best_step is None
    return is_wanted or is_done(state, config)


def _heed_nan(
    state: Course, config: TrainingConfig, go_back: Callable[[], int]
) -> RolledBack | None:
    """After a step whose loss or gradient is not finite: what config.on_nan says."""
    if config.on_nan == "skip":
        return None
    what = f"training diverged: step {state.step:,} gave a loss or gradient that is not finite"
    if config.on_nan == "stop":
        raise DivergedError(f"{what}, and --on-nan is stop. {CURE}")
    if state.rollbacks == MOST_ROLLBACKS:
        raise DivergedError(
            f"{what}, after {MOST_ROLLBACKS} rollbacks. Begin again with a lower --learning-rate."
        )
    return RolledBack(state.step, go_back())


def _go_back(run: Run, state: TrainingState, config: TrainingConfig, material: Material) -> int:
    """Put back the step to go back to, or the first random weights where there is none."""
    step = run.step_to_go_back_to(state, is_held_out=material.valid is not None)
    if not step:
        first = new_state(state.model.config, config, state.model.embedding.weight.device)
        roll_back(state, to_arrays(first.model), state_arrays(first), state_counters(first))
        state.partner = None
        return step
    loaded = checkpoint.load(run.path / runs.step_name(step))
    counters, arrays = checkpoint.load_training(loaded.path)
    roll_back(state, loaded.weights, arrays, counters)
    state.partner = None if loaded.partner is None else loaded.partner.parameters
    return step


def _validation(
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    should_stop: Callable[[], bool],
) -> tuple[Validated | None, dict[str, Any]]:
    """The held-out figures now, and the line of the log."""
    loss = state.logged_nats / state.logged_targets if state.logged_targets else None
    validated = _validate(state, config, material, should_stop)
    state.logged_nats, state.logged_targets = 0.0, 0
    line = {
        "epoch": state.epoch,
        "tokens": state.tokens,
        "train_loss_nats_per_token": loss,
        "valid_loss_nats_per_token": validated.loss if validated else None,
        "learning_rate": rate_of(state, config, state.step - 1),
        "grad_norm": state.grad_norm,
    }
    return validated, line


def _validate(
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    should_stop: Callable[[], bool] = lambda: False,
) -> Validated | None:
    """The held-out loss now, with best and patience brought up to date."""
    if material.valid is None:
        return Validated(state.step, None, is_best=False)
    with weights_for_use(state) as model:
        loss = _held_out_loss(model, material.valid, state, config, material, should_stop)
    if not math.isfinite(loss):
        state.worse_in_a_row += 1
        return None
    is_best = state.best_loss is None or loss < state.best_loss
    state.worse_in_a_row = 0 if is_best else state.worse_in_a_row + 1
    if is_best:
        state.best_loss, state.best_step = loss, state.step
    return Validated(state.step, loss, is_best)


def _held_out_loss(
    model: RecurrentLM,
    valid: TokenizedText,
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    should_stop: Callable[[], bool],
) -> float:
    """Mean nats per target, of the mixture where there is a partner, which is fitted first.

    Of a bidirectional model it is that of each target given both sides.
    """
    if isinstance(model, BidirectionalLM):
        _, log_probs = quick_pseudo_log_probs(
            model, valid, most_tokens=config.validate_tokens, should_stop=should_stop
        )
        return -float(log_probs.mean())
    places, log_probs = quick_log_probs(
        model,
        valid,
        batch_size=max(64, config.batch_size),
        bptt_length=config.bptt_length,
        segment_length=config.segment_length,
        most_tokens=config.validate_tokens,
        should_stop=should_stop,
    )
    partner, evidence = partner_of(state, material), material.evidence
    if partner is not None and evidence is not None and np.isfinite(log_probs).all():
        seen = evidence.take(places)
        partner = fit_partner(partner, log_probs, seen)
        state.partner = partner.parameters
        log_probs = partner.combine(log_probs, seen)
    return -float(log_probs.mean())


def partner_of(state: TrainingState, material: Material) -> Partner | None:
    """The partner with the parameters that it has by now."""
    if material.partner is None or state.partner is None:
        return material.partner
    return material.partner.with_parameters(state.partner)


def _differences(saved: dict[str, Any], asked: dict[str, Any]) -> str:
    """The fields of a saved model's shape that are others in run.json."""
    return ", ".join(
        f"{name} is {saved.get(name, 0)} there, {asked.get(name, 0)} in run.json"
        for name in {**saved, **asked}
        if saved.get(name) != asked.get(name)
    )


def _logged_step(line: str) -> int | None:
    """The step of a line of the log, or None for a line that a crash cut short."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return step if type(step) is int else None
