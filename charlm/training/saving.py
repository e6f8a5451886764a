"""A state to the files of a step and back, whatever is trained."""

import platform
from pathlib import Path
from typing import Any

import torch

import charlm
from charlm.checkpoints import directory
from charlm.checkpoints.files import Content
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.run import SMALL_FILES, Run, Saved
from charlm.checkpoints.step import FORMAT
from charlm.checkpoints.tensors import array_parts
from charlm.config import TrainingConfig
from charlm.engines.several import Several
from charlm.errors import CheckpointError
from charlm.training import optimizer
from charlm.training.optimizer import check_finite
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.state import TrainingState, counters, is_done
from charlm.training.task import AnyTask, Config, Loaded
from charlm.training.texts.material import Material


def save(
    task: AnyTask,
    run: Run,
    state: TrainingState,
    config: TrainingConfig,
    material: Material,
    ranks: Ranks = ALONE,
) -> Saved:
    """Save a step. Raises DivergedError, and saves nothing, if any number is not finite.

    Of several processes, ``ranks``, all come to this together; the run of one alone is on disk.
    """
    state = task.whole(state, ranks)
    further = task.arrays(state)
    weights = task.weights(state)
    check_finite(state.step, (*weights.items(), *further.items()))
    told, files = task.files(state, material)
    about = {
        "format": FORMAT,
        "step": state.step,
        **told,
        "training": config.to_json(),
        "text": material.about,
        **surroundings(state, config, ranks.size),
    }
    contents: dict[str, Content] = {
        "model.json": to_json(about),
        "model.safetensors": array_parts(weights),
        **files,
        "training.json": to_json(counters(state)),
        "training.safetensors": array_parts(further),
    }
    return run.keep(state.step, contents, **_pointers(state, config))


def restore(
    task: AnyTask,
    run: Run,
    config: Config,
    training: TrainingConfig,
    device: str = "cpu",
    several: Several = ALONE,
    saved: Loaded | None = None,
) -> TrainingState:
    """The state at the last step saved, exactly as it was. Raises CheckpointError.

    ``saved`` is that step where it has been loaded already.
    """
    saved = task.load(run.last_step()) if saved is None else saved
    model = saved.info.get("model")
    run.check_own(saved.path, saved.run_id, task.shape.from_json(model).to_json(), config.to_json())
    numbers, arrays = saved.load_training()
    state: TrainingState = task.new_state(config, training, device)
    task.put_back(state, saved.weights, arrays, numbers)
    task.put_back_beside(state, saved)
    check_step(saved.path, saved.step, state.step)
    task.deal(state, several)
    run.cut_metrics(state.step)
    run.point(state.step, **_pointers(state, training))
    return state


def _pointers(state: TrainingState, config: TrainingConfig) -> dict[str, Any]:
    """What a run is told of a state beside its step."""
    return {
        "best": state.best_step,
        "validated": state.validated,
        "finished": is_done(state, config),
    }


def go_back(
    task: AnyTask, run: Run, state: TrainingState, config: TrainingConfig, material: Material
) -> int:
    """Put an earlier step back, at half the rate; which one (0: the first, random weights).

    It is the best one; where no text is held out, the one of the last validation. Neither depends
    on the clock, so a run that is stopped and resumed goes back to the same.
    """
    there, step = directory.steps(run.path), state.best_step or 0
    if material.valid is None and state.validated:
        step = state.validated if state.validated in there else there[-1]
    saved: Loaded | None = None
    if not step:
        first = task.new_state(state.module.config, config, state.device)
        task.start(first, config, material)
        weights, arrays, numbers = task.weights(first), task.arrays(first), counters(first)
    else:
        saved = task.load(run.path / directory.step_name(step))
        weights = saved.weights
        numbers, arrays = saved.load_training()
    optimizer.roll_back(
        state, lambda: task.put_back(state, weights, arrays, numbers), task.rolls_back
    )
    task.put_back_beside(state, saved)
    task.went_back(state)
    return step


def check_step(path: Path, saved: int, counted: int) -> None:
    """Raise CheckpointError unless the counters of a step are of that very step."""
    if saved != counted:
        raise CheckpointError(
            f"{path / 'training.json'} is of step {counted}, and model.json of step {saved}."
        )


def check_room(task: AnyTask, run: Run, state: TrainingState, material: Material) -> None:
    """Raise CheckpointError if the disk has no room for the saves that are to come."""
    numbers = sum(parameter.numel() for parameter in state.module.parameters())
    others = task.bytes_beside(material) + SMALL_FILES
    directory.check_room(run.path, 4 * numbers * task.copies(state) + others)


def surroundings(
    state: TrainingState, config: TrainingConfig, processes: int = 1
) -> dict[str, Any]:
    """What the last bits of a result depend on beside the run itself, as model.json has it."""
    kernels = torch.backends.cpu.get_cpu_capability()
    return {
        "versions": {"charlm": charlm.__version__, "torch": torch.__version__},
        "threads": config.threads or torch.get_num_threads(),
        "device": state.device.type,
        "processor": f"{platform.machine()} {kernels}",
        **({"processes": processes} if processes > 1 else {}),
    }
