"""Training from Python: what ``charlm train`` does, as functions that give a model."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, overload

from charlm.checkpoints import directory
from charlm.checkpoints.directory import TENSORBOARD
from charlm.checkpoints.run import Run
from charlm.checkpoints.temporary_run import TemporaryRun
from charlm.config import (
    RUNS,
    VALID_SHARE,
    Attention,
    Cell,
    Level,
    OnNan,
    Pooling,
    Precision,
    Split,
)
from charlm.errors import ChangedError, FieldError, UsageError
from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier, Tagger
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel, load
from charlm.models.translator import Translator
from charlm.text.labelled import IN_MEMORY
from charlm.tokenizers.base import NormalForm, SubwordModel
from charlm.training.counted.alone import count
from charlm.training.kinds import TaskName
from charlm.training.request import CONFIG_FIELDS, LANGUAGE_MODEL, Device, Request, Say
from charlm.training.texts.memory import Text, TextsInMemory
from charlm.training.texts.streamed.place import Place, root_of, settled
from charlm.training.tracking.tracker import LogTo, Tracker, following, tracker_of

if TYPE_CHECKING:
    from charlm.training.task import Event
    from charlm.training.trainer import Trainer

OnEvent: TypeAlias = Callable[["Event"], None]
_FIELDS = {field.name for field in dataclasses.fields(Request)}
_OPTION_OF = {field: option for option, field in CONFIG_FIELDS.items()}


class TrainOptions(TypedDict, total=False):
    """The options of ``train``, by name: those of the command line, with underscores.

    training/request.py says what each means.
    """

    texts: Iterable[Text] | None
    labels: Iterable[Text] | None
    valid_texts: Iterable[Text] | None
    valid_labels: Iterable[Text] | None
    valid: str | Path | Iterable[str | Path]
    valid_share: float
    split_on: Literal["auto"] | Split | None
    distinct: bool
    encoding: str
    errors: Literal["strict", "replace"]
    store: str | Path | None
    label_from: str | None
    text_column: str | None
    text_field: str | None
    header: bool
    token_column: str | None
    tag_column: str | None
    source_column: str | None
    target_column: str | None
    source_field: str | None
    target_field: str | None
    features_column: str | None
    features_field: str | None
    swap: bool
    level: Level | None
    target_level: Level | None
    shared_vocabulary: bool
    vocab_size: int | None
    min_count: int | None
    lowercase: bool
    pretokenized: bool
    subword_model: SubwordModel
    normalize: NormalForm | None
    cell: Cell | None
    layers: int | None
    hidden: int | None
    embedding: int | None
    output_layers: int | None
    dropout: float | None
    input_dropout: float | None
    tie_weights: bool | None
    attention: Attention | None
    pooling: Pooling | None
    ngram: int | None
    cache: bool
    adaptive: bool
    counts_only: bool
    seconds: float | None
    epochs: float | None
    steps: int | None
    batch_size: int | None
    bptt_length: int | None
    learning_rate: float | None
    weight_decay: float | None
    smoothing: float | None
    max_grad_norm: float | None
    patience: int | None
    on_nan: OnNan | None
    precision: Literal["auto"] | Precision | None
    device: Device
    seed: int
    index: bool
    name: str | None
    root: str | Path
    log_to: LogTo | None
    on_event: OnEvent | None
    say: Say | None


@overload
def train(
    *corpus: str | Path,
    task: Literal["language-model"] = "language-model",
    **options: Unpack[TrainOptions],
) -> LanguageModel: ...


@overload
def train(
    *corpus: str | Path, task: Literal["cloze"], **options: Unpack[TrainOptions]
) -> ClozeModel: ...


@overload
def train(
    *corpus: str | Path, task: Literal["classifier"], **options: Unpack[TrainOptions]
) -> Classifier: ...


@overload
def train(
    *corpus: str | Path, task: Literal["tagger"], **options: Unpack[TrainOptions]
) -> Tagger: ...


@overload
def train(
    *corpus: str | Path, task: Literal["translator"], **options: Unpack[TrainOptions]
) -> Translator: ...


def train(
    *corpus: str | Path,
    task: TaskName = LANGUAGE_MODEL,
    texts: Iterable[Text] | None = None,
    labels: Iterable[Text] | None = None,
    valid_texts: Iterable[Text] | None = None,
    valid_labels: Iterable[Text] | None = None,
    valid: str | Path | Iterable[str | Path] = (),
    valid_share: float = VALID_SHARE,
    split_on: Literal["auto"] | Split | None = None,
    distinct: bool = False,
    encoding: str = "utf-8",
    errors: Literal["strict", "replace"] = "strict",
    store: str | Path | None = None,
    label_from: str | None = None,
    text_column: str | None = None,
    text_field: str | None = None,
    header: bool = False,
    token_column: str | None = None,
    tag_column: str | None = None,
    source_column: str | None = None,
    target_column: str | None = None,
    source_field: str | None = None,
    target_field: str | None = None,
    features_column: str | None = None,
    features_field: str | None = None,
    swap: bool = False,
    level: Level | None = None,
    target_level: Level | None = None,
    shared_vocabulary: bool = False,
    vocab_size: int | None = None,
    min_count: int | None = None,
    lowercase: bool = False,
    pretokenized: bool = False,
    subword_model: SubwordModel = "unigram",
    normalize: NormalForm | None = None,
    cell: Cell | None = None,
    layers: int | None = None,
    hidden: int | None = None,
    embedding: int | None = None,
    output_layers: int | None = None,
    dropout: float | None = None,
    input_dropout: float | None = None,
    tie_weights: bool | None = None,
    attention: Attention | None = None,
    pooling: Pooling | None = None,
    ngram: int | None = None,
    cache: bool = False,
    adaptive: bool = False,
    counts_only: bool = False,
    seconds: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    bptt_length: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    smoothing: float | None = None,
    max_grad_norm: float | None = None,
    patience: int | None = None,
    on_nan: OnNan | None = None,
    precision: Literal["auto"] | Precision | None = None,
    device: Device = "auto",
    seed: int = 0,
    index: bool = True,
    name: str | None = None,
    root: str | Path = RUNS,
    log_to: LogTo | None = None,
    on_event: OnEvent | None = None,
    say: Say | None = None,
) -> AnyModel:
    """Train a model on text; None stands for 'choose for me'. Give one of seconds, epochs, steps.

    The text is in files (``corpus``), or ``texts`` in memory, each a sequence, with ``labels`` for
    a classifier or a conditional model, and the target of each for a translator, whose texts may be
    pairs of a text and its features; a tagger's texts are lists of tokens, its labels lists of
    tags. ``valid`` or ``valid_texts`` are held out; else a share of the text is. The other options
    are those of ``charlm train`` (training/request.py).

    The run stands below ``root`` if a ``name`` is given; else it is temporary, and deleted with
    the model that comes of it. ``log_to`` is given each line of metrics.jsonl as a dict: a
    function, "module:function", or "tensorboard" (an event file in the run, which then needs a
    name); its errors do not end the training. ``on_event`` gets each Step, Validated, Saved,
    RolledBack and Planned, ``say`` what there is to say besides. Returns the model of the best
    step: a LanguageModel, a ClozeModel (task "cloze"), a Classifier, a Tagger or a Translator.
    Raises UsageError for options that cannot be, TextError for text that cannot be used,
    DivergedError where training comes to nothing.

    >>> lm = charlm.train("corpus.txt", level="word", seconds=60)      # doctest: +SKIP
    >>> lm = charlm.train(texts=["A pear.", "An apple."], steps=100)   # doctest: +SKIP
    """
    asked = {option: value for option, value in locals().items() if option in _FIELDS}
    asked |= {"corpus": tuple(map(str, corpus)), "valid": _paths(valid)}
    asked["store"] = None if store is None else str(store)
    if labels is not None and task not in ("tagger", "translator"):
        asked["label_from"] = IN_MEMORY
    given = _in_memory(corpus, texts, labels, valid_texts, valid_labels)
    with _named_as_here():
        request = Request(**asked)
        _check_source(request, given)
        tracker = _tracker(log_to, counts_only=counts_only)
        if log_to == TENSORBOARD and name is None:
            raise FieldError("log_to", "tensorboard writes into the run: give that a name, too.")
        kept = None if name is None else Path(root) / directory.check_name(name)
        if kept is not None:
            Run(kept).check_new()
        say = say or _silent
        temporary = None
        if kept is None:
            temporary = TemporaryRun()
            kept = temporary.path
        if request.counts_only:
            found = count(request, say, given)
            with Run(kept) as run:
                found.save(run, say, keeps_text=index)
            return _loaded(kept, temporary)
        from charlm.training.trainer import Trainer

        request = settled(request, say, given)
        place = Place(root=root_of(request, kept))
        trainer = Trainer.settle(request, say, given, place=place)
    with Run(kept) as run:
        trainer.begin(run, keeps_text=index)
        if index:
            trainer.index(run, say)
        _fit(trainer, run, tracker, on_event, say)
    return _loaded(kept, temporary)


def resume(
    run: "str | Path | AnyModel",
    *corpus: str | Path,
    texts: Iterable[Text] | None = None,
    labels: Iterable[Text] | None = None,
    valid_texts: Iterable[Text] | None = None,
    valid_labels: Iterable[Text] | None = None,
    valid: str | Path | Iterable[str | Path] = (),
    seconds: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    on_nan: OnNan | None = None,
    device: Device = "auto",
    root: str | Path = RUNS,
    log_to: LogTo | None = None,
    on_event: OnEvent | None = None,
    say: Say | None = None,
) -> AnyModel:
    """Go on with a run that was stopped, or train it further with a larger budget.

    ``run`` is a name below ``root``, a path, or a model that came of training. Its files are read
    again, where they stood or from ``corpus``; a run that was begun with texts in memory needs
    them again. A stopped run that goes on is the run that was never stopped, bit for bit. Returns
    the model of the best step. Raises UsageError if the text is another or nothing is left to be
    done, CheckpointError if there is no such run.
    """
    from charlm.training.resume import resumed

    given = _in_memory(corpus, texts, labels, valid_texts, valid_labels)
    asked: dict[str, Any] = {
        "corpus": tuple(map(str, corpus)),
        "valid": _paths(valid),
        "seconds": seconds,
        "epochs": epochs,
        "steps": steps,
        "on_nan": on_nan,
        "device": device,
    }
    say = say or _silent
    path = _path_of(run, Path(root))
    temporary = TemporaryRun.at(path)
    tracker = _tracker(log_to)
    with Run(path) as opened, _named_as_here():
        trainer = resumed(opened, asked, say, given=given)
        if opened.keeps_text:
            trainer.index(opened, say)
        _fit(trainer, opened, tracker, on_event, say)
    return _loaded(path, temporary)


def _tracker(log_to: LogTo | None, *, counts_only: bool = False) -> Tracker | None:
    if log_to is not None and counts_only:
        raise FieldError("log_to", "is about training, and counts alone are not trained.")
    return None if log_to is None else tracker_of(log_to)


def _fit(
    trainer: "Trainer",
    run: Run,
    tracker: Tracker | None,
    on_event: OnEvent | None,
    say: Say,
) -> None:
    tell = _warn if say is _silent else say
    with following(run, tracker, trainer.state.step, tell):
        for event in trainer.train(run):
            if on_event is not None:
                on_event(event)
    if trainer.material.valid is not None:
        say(trainer.finish(run, say))


def _loaded(path: Path, temporary: TemporaryRun | None) -> AnyModel:
    """The model of a run; one that is temporary stays for as long as its checkpoint is in use."""
    model = load(path)
    if temporary is not None:
        temporary.keep_for(model.checkpoint)
    return model


def _silent(_: str) -> None:
    """Say nothing."""


def _warn(message: str) -> None:
    """Tell of an error of a tracker where nobody listens to what is said."""
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def _in_memory(
    corpus: tuple[str | Path, ...],
    texts: Iterable[Text] | None,
    labels: Iterable[Text] | None,
    valid_texts: Iterable[Text] | None,
    valid_labels: Iterable[Text] | None,
) -> TextsInMemory | None:
    """The texts, if they are in memory. Raises FieldError where there is a corpus as well."""
    if texts is None:
        beside = {"labels": labels, "valid_texts": valid_texts, "valid_labels": valid_labels}
        for name, value in beside.items():
            if value is not None:
                raise FieldError(name, "go with texts in memory: give texts, too.")
        return None
    if corpus:
        raise FieldError("texts", "stand in place of files: give one or the other.")
    return TextsInMemory.of(texts, labels, valid_texts, valid_labels)


def _check_source(request: Request, given: TextsInMemory | None) -> None:
    """Raise UsageError unless there is a text, and no option is about files that are not there."""
    if given is None:
        if not request.corpus:
            raise UsageError('give a text to train on: train("corpus.txt") or train(texts=[...]).')
        return
    of_files = ("valid", "split_on", "store", "text_column", "text_field", "header", "token_column")
    for name in (*of_files, "tag_column"):
        if getattr(request, name):
            raise FieldError(name, "is about files, and the texts are in memory: leave it out.")
    if request.label_from not in (None, IN_MEMORY):
        raise FieldError("label_from", "is about files: give labels beside the texts.")


@contextlib.contextmanager
def _named_as_here() -> Iterator[None]:
    """Name fields as the options of these functions do: hidden, not hidden_size."""
    try:
        yield
    except FieldError as error:
        raise FieldError(_OPTION_OF.get(error.field, error.field), error.what) from None
    except ChangedError as error:
        changes = [(_OPTION_OF.get(name, name), *values) for name, *values in error.changes]
        raise ChangedError(changes) from None


def _paths(files: str | Path | Iterable[str | Path]) -> tuple[str, ...]:
    return (str(files),) if isinstance(files, (str, Path)) else tuple(map(str, files))


def _path_of(run: "str | Path | AnyModel", root: Path) -> Path:
    """The directory of a run."""
    if not isinstance(run, (str, Path)):
        return run.checkpoint.path.parent
    path = Path(run)
    if path in directory.below(path.parent):
        return path
    return directory.named(str(run), root)
