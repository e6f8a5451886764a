"""Texts sorted into buckets by perplexity, as corpora are built with KenLM (CCNet).

Wenzek et al. 2020, "CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data",
sort documents into head, middle and tail by two bounds for each language.
"""

import bisect
import functools
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from charlm.cli.input.declared import Options, option
from charlm.cli.input.filter import Filter, lines_of
from charlm.cli.input.model import models_of
from charlm.cli.input.records import Form, JsonLines, Record, batches, batches_and_pauses
from charlm.cli.input.text_file import Broken, TextFile
from charlm.cli.output.bucket_files import BucketFiles, bucket_names
from charlm.cli.output.meter import through
from charlm.cli.output.terminal import say
from charlm.display.safe_text import safe_text
from charlm.errors import TextError, UsageError
from charlm.text.tables import suffix_of

if TYPE_CHECKING:
    from charlm.models.base import TextModel
    from charlm.models.translator import Translator
    from charlm.text.portions import Mapped

SAMPLE = 10_000  # texts that bounds are found by
_SEED = 0


class Buckets(Options, heading="Buckets"):
    """Into how many files texts are sorted by perplexity, and where."""

    bucket: int | None = option(
        "Sort the texts of a file into so many files by perplexity: 3 are head, middle and tail."
    )
    bounds: str | None = option(
        "Perplexities between them, such as 20,80, or the .buckets.json of another file.  "
        "[default: quantiles of a sample]",
        metavar="NUMBERS|FILE",
    )
    bucket_to: str | None = option(
        "Beginning of the names of the files.  [default: the name that is read, less its suffix]"
    )

    @property
    def are_set(self) -> bool:
        """Whether texts are sorted."""
        return self.bucket is not None or self.bounds is not None

    def given_bounds(self) -> "Given | None":
        """The bounds that were given; None if they are to be found. Raises UsageError."""
        if self.bucket is not None and self.bucket < 2:
            raise UsageError(f"--bucket must be 2 or more, got {self.bucket}.")
        if self.bounds is None:
            return None
        found = _listed(Path(self.bounds)) if self.bounds.endswith(".json") else None
        found = found or Given(_numbers(self.bounds))
        number = len(found.bounds) + 1
        if self.bucket not in (None, number):
            raise UsageError(
                f"{number - 1} bounds part {number} buckets, and --bucket asks for {self.bucket}: "
                "leave out one of the two."
            )
        return found

    def files(self, source: str, suffix: str, number: int) -> BucketFiles:
        """The files of so many buckets. Raises UsageError if they have no name."""
        if self.bucket_to is None and source == "-":
            raise UsageError("give the files of a pipe's buckets a name: --bucket-to NAME")
        files = BucketFiles(_prefix(self.bucket_to, source), bucket_names(number), suffix)
        files.check_against(source)
        return files


class Given(NamedTuple):
    """Bounds that were given, and the models whose perplexities they are, if that is known."""

    bounds: list[float]
    models: Any = None


def sort_texts(
    job: Filter,
    file: TextFile,
    form: Form,
    asked: Buckets,
    loaded: "TextModel | Translator",
    *,
    on_error: str,
    mapped: "Mapped",
) -> None:
    """Sort the texts of a file into files, and say what the bounds were and how many each holds."""
    given = asked.given_bounds()
    number = asked.bucket if given is None else len(given.bounds) + 1
    assert number is not None
    usual = ".jsonl" if isinstance(form, JsonLines) else ".txt"
    files = asked.files(file.name, suffix_of(file.name) or usual, number)
    models = models_of(loaded)
    about: dict[str, Any] = {"file": file.name, "models": models}
    if given is None:
        found, sample = _of_sample(job, file, form, on_error, mapped)
        bounds, about["sample"] = quantiles(found, number), sample
        how = f"quantiles of {sample['texts']:,} of {sample['of']:,} {job.noun}"
    else:
        bounds, about["sample"], how = given.bounds, None, "as given"
        if given.models not in (None, models):
            say(f"these bounds are those of another model: {safe_text(asked.bounds or '')}")
    say(f"bounds of perplexity: {', '.join(f'{one:.6g}' for one in bounds)} ({how})")
    broken = Broken(on_error)
    with files:
        write = functools.partial(
            job.write_buckets, form=form, files=files, bucket=functools.partial(place, bounds)
        )
        portions = batches_and_pauses(file.records(form, broken))
        scored = job.scored(portions, form, mapped)
        through(file.name, scored, write, lines_of, silent=True)
        about["unit"], about["bounds"] = "perplexity_per_token", bounds
        about["buckets"] = [
            {"file": path.name, "texts": count}
            for path, count in zip(files.paths, files.counts, strict=True)
        ]
        files.about = about
    job.say_counts(broken)
    for path, count in zip(files.paths, files.counts, strict=True):
        say(f"{path}: {count:,} {job.noun}")
    say(f"{files.list}: bounds")


def place(bounds: Sequence[float], perplexity: float) -> int:
    """The bucket of a perplexity: the number of bounds that are not above it."""
    return bisect.bisect_right(bounds, perplexity)


def quantiles(perplexities: Sequence[float], number: int) -> list[float]:
    """What parts values into so many buckets of like size: the value at rank n i / number."""
    values = sorted(perplexities)
    return [values[len(values) * at // number] for at in range(1, number)]


def limit_of_best(
    share: float, job: Filter, file: TextFile, form: Form, on_error: str, mapped: "Mapped"
) -> float:
    """The perplexity of the worst text of the best share, by a sample; it is said."""
    found, sample = _of_sample(job, file, form, on_error, mapped)
    limit = sorted(found)[math.ceil(len(found) * share) - 1]
    say(
        f"kept are perplexities up to {limit:.6g} (the best {share:.4g} of {sample['texts']:,} of "
        f"{sample['of']:,} {job.noun})"
    )
    return limit


def _of_sample(
    job: Filter, file: TextFile, form: Form, on_error: str, mapped: "Mapped"
) -> tuple[list[float], dict[str, int]]:
    """Perplexities of a sample, drawn evenly from the whole file, and what it was."""
    if not (Path(file.name).is_file() or Path(file.name).is_dir()):
        raise UsageError("a pipe cannot be read twice: give bounds, or a file.")
    there = sum(1 for _ in _texts(file, form, on_error))
    if not there:
        raise TextError(f"there is no text in {file.name}.")
    size = min(there, SAMPLE)
    chosen = iter([*sorted(random.Random(_SEED).sample(range(there), size)), None])
    say(f"sample: {size:,} of {there:,} {job.noun}")
    sample = _chosen(_texts(file, form, on_error), chosen)
    scored = job.scored(batches(sample), form, mapped)
    found = [score.perplexity for portion in scored for score in portion.scores]
    return found, {"texts": size, "of": there, "seed": _SEED}


def _chosen(records: Iterator[Record], numbers: "Iterator[int | None]") -> Iterator[Record]:
    """The records of these numbers."""
    wanted = next(numbers)
    for at, record in enumerate(records):
        if at == wanted:
            yield record
            wanted = next(numbers)


def _texts(file: TextFile, form: Form, on_error: str) -> Iterator[Record]:
    """The records that hold a text; nothing is said of others, which is done when they are sorted.

    Raises TextError at a broken one that is to be the end.
    """
    for record in file.silent_records(form):
        if record.problem is not None and on_error == "stop":
            raise TextError(record.problem)
        if record.text is not None:
            yield record


def _prefix(asked: str | None, source: str) -> str:
    from charlm.text.files import plain_name

    if asked is not None:
        return asked
    path = plain_name(source)
    return str(path if Path(source).is_dir() else path.with_suffix(""))


def _numbers(text: str) -> list[float]:
    """Numbers that rise. Raises UsageError."""
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    return _checked(found, f"--bounds are perplexities with commas, such as 20,80, got {text!r}.")


def _checked(found: Sequence[Any], otherwise: str) -> list[float]:
    numbers = [float(one) for one in found if type(one) in (int, float)]
    rise = all(one <= other for one, other in itertools.pairwise([0.0, *numbers]))
    if not numbers or len(numbers) < len(found) or not rise or not math.isfinite(numbers[-1]):
        raise UsageError(otherwise)
    return numbers


def _listed(path: Path) -> Given:
    """The bounds of another file's list. Raises UsageError if it is none."""
    from charlm.checkpoints.directory import read_json
    from charlm.errors import CheckpointError

    try:
        found = read_json(path)
    except CheckpointError as error:
        raise UsageError(f"--bounds: {error}") from None
    bounds = found.get("bounds")
    bounds = bounds if isinstance(bounds, list) else []
    return Given(_checked(bounds, f"{path} holds no bounds of buckets."), found.get("models"))
