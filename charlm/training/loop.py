"""The loop of every training: steps, validations and saves in their turn, until all is done."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.engines.torch_passes import Stopped
from charlm.errors import DivergedError
from charlm.nn.objectives import Objective, Shareable, StepLoss
from charlm.training.optimizer import CURE, descend, rate_of, step_generator
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.saving import go_back, save
from charlm.training.state import TrainingState, counters, is_done, is_due, set_counters
from charlm.training.task import AnyTask, Event, Planned, RolledBack, Step, Validated
from charlm.training.texts.material import Material


class Steps(Protocol):
    """What gives the steps of a training what they learn from (task.py says more)."""

    def objective(self, state: Any, training: TrainingConfig, material: Any) -> Objective:
        """What makes a StepLoss of a batch."""

    def batches(self, state: Any, training: TrainingConfig, material: Any) -> Iterator[Shareable]:
        """The batch of the next step."""

    def advance(
        self, state: Any, training: TrainingConfig, batch: Any, step_loss: StepLoss, *, finite: bool
    ) -> None:
        """Point at what is next."""


SAVE_EVERY_SECONDS = 60.0
_LONG = 6.0  # seconds of a save, after which ten times as long passes before the next,
_TIMES = 10  # unless that is the best step
SECONDS_TO_VALIDATE = 1.0  # that a validation may still take when told to stop
MOST_ROLLBACKS = 5  # each halves the learning rate


def train_steps(
    steps: Steps,
    state: Any,
    config: TrainingConfig,
    material: Any,
    *,
    ranks: Ranks = ALONE,
) -> Iterator[Step]:
    """Train from where the state is to config.num_steps, one step at a time.

    ``steps`` is a task, or what gives a task its steps. Whenever a Step has been yielded the
    state is complete and may be saved. Of several processes, ``ranks``, each reads some rows of a
    batch, and the gradients are summed before they are clipped. Raises DivergedError after 10 steps
    in a row whose gradient is not finite; the weights are then those before them.
    """
    objective = steps.objective(state, config, material)
    batches = steps.batches(state, config, material)
    sum_gradients = ranks.summing(state.module, objective.few_rows, row_wise=objective.row_wise)
    while state.step < config.num_steps:
        batch = next(batches)
        state.module.train()
        share = ranks.share(batch.num_rows)
        generator = step_generator(config.seed, state.step, state.device, share)
        made = None
        if share is None:
            made = objective(batch, generator)
        elif share.number:
            made = objective(batch.part(share), generator)
        touched = backward(
            state.module,
            made and made.loss,
            reuse=bool(objective.few_rows),
            row_wise=objective.row_wise,
        )
        step_loss = sum_gradients(made, touched)
        loss, rate = float(step_loss.reported.detach()), rate_of(state, config, state.step)
        norm = descend(state, config, loss)
        finite = not state.skipped_in_a_row
        state.step += 1
        steps.advance(state, config, batch, step_loss, finite=finite)
        yield Step(
            state.step, loss, step_loss.num_targets, norm, rate, not finite, step_loss.accuracy
        )


def backward(
    module: nn.Module, loss: Tensor | None, *, reuse: bool, row_wise: bool = False
) -> dict[Tensor, Tensor]:
    """The gradients of a loss, dense: those of a few rows are spread over the whole matrix.

    With ``reuse`` that is done in the memory which the last step's gradient had; where it is
    row_wise they stay sparse, each row once. Returns which rows they are. Without a loss there are
    no gradients.
    """
    parameters = list(module.parameters())
    buffers = [parameter.grad if reuse and not row_wise else None for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    touched: dict[Tensor, Tensor] = {}
    if loss is None:
        return touched
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter, buffer in zip(parameters, buffers, strict=True):
        grad = parameter.grad
        if grad is not None and grad.is_sparse and row_wise:
            parameter.grad = grad.coalesce()
            touched[parameter] = parameter.grad._indices()[0]
        elif grad is not None and grad.is_sparse:
            dense = torch.zeros_like(parameter) if buffer is None else buffer.zero_()
            touched[parameter] = grad._indices()[0]
            parameter.grad = dense.index_add_(0, touched[parameter], grad._values())
    return touched


def carry_on(
    task: AnyTask,
    run: Run,
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    *,
    plan: Callable[[TrainingState, TrainingConfig], TrainingConfig | None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train to the end of the budget, validating and saving; yields what happens as it happens.

    Ends early, everything saved, when should_stop says so after a step or amid a long validation
    (which is then the first thing to be done by whoever goes on), or when patience is spent:
    config.patience validations in a row without a new best (0 is off). Where nothing is held out
    there is no best, and patience is never spent. ``plan`` is asked after each step for a config
    that holds from there on. Of several processes, ``ranks``, all do and yield the same; to stop is
    what any of them is told, and the time is that of the first.
    """
    if material.valid is None:
        state.forget_best()  # which older versions took from the loss of training
    steps = train_steps(task, state, config, material, ranks=ranks)
    news = ranks.news(clock, should_stop)
    begun, before, saved_at = news.now(), state.seconds, news.now()
    pause, saving_at = save_every_seconds, math.inf
    while not is_done(state, config):
        if not is_due(state, config):
            step = next(steps)
            task.note(state, step)
            news.refresh()
            state.seconds = before + news.now() - begun
            taken, saving_at = news.now() - saving_at, math.inf  # with the step after it
            if taken > _LONG:
                pause = max(pause, _TIMES * taken)
            went_back = _heed_nan(task, run, state, config, material) if step.skipped else None
            yield step
            if went_back is not None:
                yield went_back
            if (planned := plan(state, config)) is not None:
                config = planned
                steps = train_steps(task, state, config, material, ranks=ranks)
                yield Planned(state.step, planned)
                news.refresh()
        worth_saving = False
        if is_due(state, config):
            worth_saving = yield from _validate_and_log(
                task, run, state, config, material, should_stop, ranks
            )
            news.refresh()
        if not worth_saving and (news.should_stop() or news.now() - saved_at >= pause):
            worth_saving = not ranks.first(lambda: run.has(state.step))
        if worth_saving:
            saving_at = news.now()
            yield save(task, run, state, config, material, ranks)
            saved_at = news.now()
        if news.should_stop():
            return


def _validate_and_log(
    task: AnyTask,
    run: Run,
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> Generator[Validated, None, bool]:
    """Whether what came of a validation is to be saved.

    One that is told to stop and takes too long is as if it had never begun.
    """
    begun = time.perf_counter()

    def too_long() -> bool:
        return time.perf_counter() - begun >= SECONDS_TO_VALIDATE and should_stop()

    try:
        validated, line = task.validate(state, config, material, too_long, ranks)
    except Stopped:
        return False
    if ranks.size > 1:
        # All have the same figures; lest rounding parts them, the first's decide.
        found, now = ranks.first(lambda: (validated, counters(state)))
        validated = None if found is None else Validated(*found)
        set_counters(state, now)
    state.validated = state.step
    run.log({"step": state.step, "seconds": round(state.seconds, 3), **line})
    if validated is not None:
        yield validated
    # Without a best step it is the last one that counts.
    is_wanted = validated is None or validated.is_best or state.best_step is None
    return is_wanted or is_done(state, config)


def _heed_nan(
    task: AnyTask, run: Run, state: TrainingState, config: TrainingConfig, material: Material
) -> RolledBack | None:
    """After a step whose loss or gradient is not finite: what config.on_nan says."""
    if config.on_nan == "skip":
        return None
    what = f"training diverged: step {state.step:,} gave a loss or gradient that is not finite"
    if config.on_nan == "stop":
        raise DivergedError(f"{what}, and `on_nan` is stop. {CURE}")
    if state.rollbacks == MOST_ROLLBACKS:
        raise DivergedError(
            f"{what}, after {MOST_ROLLBACKS} rollbacks. Begin again with a lower `learning_rate`."
        )
    return RolledBack(state.step, go_back(task, run, state, config, material))
