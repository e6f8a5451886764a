"""Loading a run as the object that fits its kind."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.config import OTHERS, RUNS
from charlm.errors import CheckpointError, FieldError, must_be_one_of
from charlm.models.cloze_model import ClozeModel
from charlm.models.language_model import LanguageModel
from charlm.network_config import ClozeConfig

if TYPE_CHECKING:  # not needed to load a model of texts, where time counts
    from charlm.models.heads import Classifier, Tagger
    from charlm.models.translator import Translator

AnyModel: TypeAlias = "LanguageModel | ClozeModel | Classifier | Tagger | Translator"
TASKS = ("language-model", "cloze", "classifier", "tagger", "translator")


@overload
def load(
    model: str | Path | None = None,
    *,
    task: None = None,
    alone: bool = False,
    root: str | Path = RUNS,
) -> AnyModel: ...


@overload
def load(
    model: str | Path | None = None,
    *,
    task: Literal["language-model"],
    alone: bool = False,
    root: str | Path = RUNS,
) -> LanguageModel: ...


@overload
def load(
    model: str | Path | None = None,
    *,
    task: Literal["cloze"],
    alone: bool = False,
    root: str | Path = RUNS,
) -> ClozeModel: ...


@overload
def load(
    model: str | Path | None = None,
    *,
    task: Literal["classifier"],
    alone: bool = False,
    root: str | Path = RUNS,
) -> "Classifier": ...


@overload
def load(
    model: str | Path | None = None,
    *,
    task: Literal["tagger"],
    alone: bool = False,
    root: str | Path = RUNS,
) -> "Tagger": ...


@overload
def load(
    model: str | Path | None = None,
    *,
    task: Literal["translator"],
    alone: bool = False,
    root: str | Path = RUNS,
) -> "Translator": ...


def load(
    model: str | Path | None = None,
    *,
    task: str | None = None,
    alone: bool = False,
    root: str | Path = RUNS,
) -> AnyModel:
    """Load a run or a step by path, or by its name below ``root``; None is the newest there.

    The class is the one that fits the run: LanguageModel, ClozeModel, Classifier, Tagger or
    Translator. With a ``task`` ("language-model", "cloze", "classifier", "tagger" or
    "translator") a run of another kind is refused. With ``alone`` a network that was trained with
    a partner (n-grams, a cache) is without it. Raises CheckpointError if there is none, or if it
    is damaged.
    """
    if task is not None and task not in TASKS:
        raise FieldError("task", must_be_one_of(TASKS, task))
    name, root = None if model is None else str(model), Path(root)
    if task in OTHERS:
        from charlm.checkpoints.head import find_head

        return _other(find_head(name, task, root), alone=alone)
    if task is None and (name is not None or directory.below(root)):
        path = directory.find_any(name, root)
        if directory.kind_of(path) in OTHERS:
            return _other(path, alone=alone)
        name = str(path.parent) if name is None else name
    found = load_text_model(name, alone=alone, root=root)
    there = "cloze" if isinstance(found, ClozeModel) else "language-model"
    if task not in (None, there):
        raise CheckpointError(f"{found.checkpoint.path.parent} is a {there}, not a {task}.")
    return found


def load_text_model(
    model: str | Path | None = None, *, alone: bool = False, root: Path = RUNS
) -> LanguageModel | ClozeModel:
    """A model of texts, of one side or of both; None is the newest finished one."""
    found = Checkpoint.find(None if model is None else str(model), root)
    return (
        ClozeModel(found)
        if isinstance(found.config, ClozeConfig)
        else LanguageModel(found, alone=alone)
    )


def _other(path: Path, *, alone: bool) -> "Classifier | Tagger | Translator":
    if directory.kind_of(path) == "translator":
        from charlm.checkpoints.pairs import PairsCheckpoint
        from charlm.models.translator import Translator

        return Translator(PairsCheckpoint.load(path), alone=alone)
    from charlm.checkpoints.head import HeadCheckpoint
    from charlm.models.heads import Classifier, Tagger

    found = HeadCheckpoint.load(path)
    return Classifier(found) if found.config.kind == "classifier" else Tagger(found)
