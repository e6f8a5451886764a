"""Scorer: adds columns of figures to batches of texts, in whatever process it finds itself."""

import contextlib
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.bulk.scoring import Scoring, portions
from charlm.config import HEADS, RUNS
from charlm.errors import CheckpointError, FieldError, UsageError, must_be_one_of
from charlm.fields.columns import Values, arrays, as_list, column, names_of, with_columns
from charlm.fields.scores import sums_of, sums_types
from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.models.translator import Translator

_TYPES = {int: "bigint", float: "double", str: "string"}  # as SQL calls them
_MODELS = 4  # that a process keeps


class Scorer:
    """Scores a column of texts; called with a batch it returns it with columns of figures.

    A batch is a dict of lists or arrays, a DataFrame of pandas, or a Table or RecordBatch of
    pyarrow. Names and figures are those of ``charlm score``. A text that is missing has none.

    The model is found at once, and loaded when the first batch comes, once in each process. What
    is pickled are its path and the hash of its files: every process uses the same step, or raises
    CheckpointError. Figures depend on the batch alone, not on the process or on what came before:
    so a batch that is done again, because a worker was lost, comes out the same to the bit.

    model: a path to a run or a step, or a name below ``root``; several are mixed by ``weights``.
    text: the column of the texts. Of a translator: ``source`` and ``target``, and ``features``
    if it was trained with them.
    columns: which figures are added, by their names without the prefix; None is all of them.
    unit: of log-probabilities. prefix: in front of the names. context: text in front of each text.
    closed: <UNK> is one symbol. label: the label that texts are conditioned on. alone: without
    what the network is mixed with. threads: of each process; one each where an engine runs many.

    Raises CheckpointError if there is no such model, UsageError for what cannot be.

    >>> scorer = charlm.bulk.Scorer("checkpoints/prose", columns=["perplexity_per_token"])
    ... # doctest: +SKIP
    >>> scorer({"text": ["The apple and pear salad"]})  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | Sequence[str | Path],
        text: str = "text",
        *,
        columns: Sequence[str] | None = None,
        unit: str = "nats",
        prefix: str = "",
        source: str = "source",
        target: str = "target",
        features: str | None = None,
        context: str = "",
        closed: bool = False,
        label: str | None = None,
        weights: Sequence[float] = (),
        alone: bool = False,
        root: str | Path = RUNS,
        threads: int = 1,
    ) -> None:
        if unit not in UNITS:
            raise FieldError("unit", must_be_one_of(UNITS, unit))
        if type(threads) is not int or threads < 1:
            raise FieldError("threads", f"must be 1 or more, got {threads!r}.")
        names = [model] if isinstance(model, (str, Path)) else list(model)
        found = [_found(name, Path(root)) for name in names]
        if not found:
            raise UsageError("give a model.")
        self._kind = found[0].kind
        if len(found) > 1 and {one.kind for one in found} != {"texts"}:
            raise UsageError("only models that read from left to right can be mixed.")
        is_pairs = self._kind == "pairs"
        if is_pairs and (context or closed or label is not None):
            raise UsageError("context, closed and label are about texts, a translator about pairs.")
        if features is not None and not is_pairs:
            raise UsageError("features are those of a translator's sources.")
        self._key = _Key(tuple(found), tuple(weights), label, alone)
        self._places = [source, target] if is_pairs else [text]
        self._places += [features] if features is not None else []
        self._context, self._closed = context, closed
        self._unit, self._prefix, self._threads = unit, prefix, threads
        there = sums_types(unit, pseudo=self._kind == "cloze")
        if unknown := [name for name in columns or () if name not in there]:
            raise UsageError(f"{unknown[0]!r} is no figure; there are {', '.join(there)}.")
        self._columns = tuple(there if columns is None else columns)

    def __repr__(self) -> str:
        models = ", ".join(repr(str(one.step)) for one in self._key.models)
        return f"Scorer({models})"

    @property
    def names(self) -> list[str]:
        """The names of the columns that are added."""
        return [self._prefix + name for name in self._columns]

    @property
    def ddl(self) -> str:
        """The same with their types, as Spark's schemas are written: "tokens bigint, …"."""
        there = sums_types(self._unit, pseudo=self._kind == "cloze")
        return ", ".join(f"{self._prefix}{name} {_TYPES[there[name]]}" for name in self._columns)

    def __call__(self, batch: Any) -> Any:
        """The batch with its figures, as a batch of the same kind.

        Raises UsageError if a column is missing, holds what is no text, or is there already.
        """
        taken = set(self.names) & set(names_of(batch))
        if taken:
            raise UsageError(
                f"there is a column {min(taken)!r} already: give the new ones a prefix."
            )
        return with_columns(batch, self._values([column(batch, name) for name in self._places]))

    def each(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same of one batch after another, as Spark's mapInPandas hands them over."""
        return map(self, batches)

    def figures(self, *columns: Any) -> dict[str, Any]:
        """The figures alone as arrays (N,) of NumPy, of texts (N,) or of sources and targets.

        A number that there is not is NaN. It is what Spark's predict_batch_udf asks for.
        """
        if len(columns) != len(self._places):
            raise UsageError(f"give {len(self._places)} columns: {', '.join(self._places)}.")
        return arrays(self._values([as_list(values) for values in columns]))

    def _values(self, columns: Sequence[list[Any]]) -> Values:
        """The figures of columns of texts, or of both sides of pairs."""
        rows = list(zip(*columns, strict=True))
        there = [at for at, row in enumerate(rows) if None not in row]
        for at in there:
            for name, value in zip(self._places, rows[at], strict=True):
                if not isinstance(value, str):
                    raise UsageError(
                        f"number {at + 1} of column {name!r} is no text, got {value!r:.40}."
                    )
        kinds = sums_types(self._unit, pseudo=self._kind == "cloze")
        found: list[dict[str, Any]] = [dict.fromkeys(kinds) for _ in rows]
        with _threads(self._threads):
            for at, score in zip(there, self._scores([rows[at] for at in there]), strict=True):
                sums = sums_of(score, self._unit)
                if self._kind == "cloze":
                    del sums[1]  # no probability
                found[at] = dict(zip(kinds, sums, strict=True))
        return {
            self._prefix + name: (kinds[name], [row[name] for row in found])
            for name in self._columns
        }

    def _scores(self, rows: list[tuple[str, ...]]) -> Iterator[Any]:
        loaded = _loaded(self._key)
        if self._kind != "pairs":
            scoring = Scoring(loaded, self._context, closed=self._closed)
            for texts in portions([row[0] for row in rows], len):
                yield from scoring(texts)
            return
        translator: Translator = loaded
        pairs = [((row[0], row[2]) if len(row) > 2 else row[0], row[1]) for row in rows]
        for several in portions(pairs, lambda pair: len(str(pair[0])) + len(pair[1])):
            yield from translator.score_all(several)


class _Model(NamedTuple):
    """A step that was found: its path, the hash of its manifest, and what it is."""

    step: str
    digest: str
    kind: str


class _Key(NamedTuple):
    """What tells a loaded model from another."""

    models: tuple[_Model, ...]
    weights: tuple[float, ...]
    label: str | None
    alone: bool


def _found(model: str | Path, root: Path) -> _Model:
    """The step that a name stands for. Raises CheckpointError."""
    from charlm.checkpoints import directory
    from charlm.checkpoints.step import StepFiles
    from charlm.network_config import ClozeConfig, language_config

    step = directory.find_any(str(model), root)
    kind = directory.kind_of(step)
    if kind in HEADS:
        raise CheckpointError(f"{step.parent} is a {kind}: it has no probability of a text.")
    if kind == "translator":
        of = "pairs"
    else:
        config = language_config(StepFiles(step).info().get("model"))
        of = "cloze" if isinstance(config, ClozeConfig) else "texts"
    return _Model(str(step.absolute()), _digest(step), of)


def _digest(step: Path) -> str:
    """The hash of a step's manifest, which has those of all its files."""
    from charlm.checkpoints.files import read_file
    from charlm.checkpoints.manifest import MANIFEST

    return hashlib.sha256(read_file(step / MANIFEST, 2**16)).hexdigest()


@functools.lru_cache(maxsize=_MODELS)
def _loaded(key: _Key) -> Any:
    """The model, loaded once in a process. Raises CheckpointError if it is another by now."""
    from charlm.models.language_model import LanguageModel
    from charlm.models.load import load
    from charlm.models.mixtures import mix

    models = []
    for step, digest, _ in key.models:
        if _digest(Path(step)) != digest:
            raise CheckpointError(f"{step} is not the model that it was: make the scorer anew.")
        models.append(load(step, alone=key.alone))
    if key.label is not None:
        if not all(isinstance(one, LanguageModel) for one in models):
            raise UsageError("this model knows no labels: train one with label_from.")
        models = [one.with_label(key.label) for one in models]  # type: ignore[union-attr]
    if len(models) == 1:
        return models[0]
    return mix(models, key.weights)  # type: ignore[arg-type]  # each was found to be one


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """torch, with so many threads while this lasts: so it is always what runs the model."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
