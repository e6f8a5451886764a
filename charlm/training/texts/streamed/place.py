"""Where a text is kept that is read in passes, what is expected of it, and who watches."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from charlm.checkpoints.directory import TOKENS
from charlm.checkpoints.language_model import Checkpoint
from charlm.errors import FieldError, TextError, UsageError
from charlm.text.passes import SequenceFiles
from charlm.training.kinds import CAUSAL
from charlm.training.request import Request, Say
from charlm.training.texts.memory import TextsInMemory

THRESHOLD = 50_000_000  # bytes of text: more are not held in memory
IN_THE_RUN = ""  # as ``store``: the run's own directory
_HELD_OUT = 2_000_000  # bytes that are held out where no other share is asked for
# Bytes of memory that counting n-grams takes, for each token and for each of an n-gram's tokens;
# and tokens in a byte of text (bench/RESULTS.md).
_PER_TOKEN, _PER_ORDER = 60, 28
_TOKENS = {"char": 1.0, "word": 0.2, "subword": 0.28}
_MOST_OF_MEMORY = 0.5  # of the machine's goes into that


class Watched(NamedTuple):
    """How far a pass has come: what is done in it, sequences so far, bytes of about so many."""

    what: str
    sequences: int
    end: int
    size: int


Watch: TypeAlias = Callable[[Watched | None], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where token stores stand, below ``root``, and who watches the passes (None: one is over).

    Of a run that is gone on with the fingerprint of its text and the hash of its tokenizer are
    known, and ``saved`` loads its last step.
    """

    root: Path
    watch: Watch = lambda _: None
    fingerprint: str | None = None
    tokenizer: str | None = None
    saved: Callable[[], Checkpoint] | None = None


def root_of(request: Request, run: Path) -> Path:
    """The directory of token stores: the one that was asked for, or the run's own."""
    return Path(request.store) if request.store else run / TOKENS


def settled(request: Request, say: Say, given: TextsInMemory | None = None) -> Request:
    """The request, its store and share of held-out text chosen where the text is large.

    Raises UsageError where a store is asked for and cannot be.
    """
    if request.store is not None:
        _check(request)
    elif given is not None or not _is_large(request):
        return request
    elif (reason := _why_not(request)) is not None:
        say(f"text: held in memory, all of it: {reason}")
        return request
    files = files_of(request, request.corpus)
    _check_ngrams(request, files.size())
    share = request.valid_share
    if not request.valid and share == Request(corpus=()).valid_share:
        share = min(share, _HELD_OUT / max(1, files.size()))
    store = IN_THE_RUN if request.store is None else request.store
    return dataclasses.replace(request, store=store, valid_share=share)


def files_of(request: Request, paths: tuple[str, ...], split_on: str = "line") -> SequenceFiles:
    """The files of a text, as they are asked to be read."""
    return SequenceFiles.below(
        paths,
        split_on=split_on,
        field=request.text_field,
        encoding=request.encoding,
        errors=request.errors,
    )


def _check_ngrams(request: Request, size: int) -> None:
    """Raise FieldError if counting n-grams of so many bytes of text takes too much memory."""
    if request.ngram is None:
        return
    tokens = size * _TOKENS[request.level or "char"]
    needed = tokens * (_PER_TOKEN + _PER_ORDER * request.ngram)
    there = _memory()
    if there is not None and needed > _MOST_OF_MEMORY * there:
        raise FieldError(
            "ngram",
            f"cannot be {request.ngram} here: n-grams are counted in memory, and those of "
            f"{size / 1e6:,.0f} MB of text take about {needed / 1e9:,.0f} GB, more than half of "
            f"the {there / 1e9:,.0f} GB that this machine has. Leave it out, or give less text.",
        )


def _memory() -> int | None:
    """Bytes of memory that the machine has; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _check(request: Request) -> None:
    """Raise UsageError for what a token store cannot be made of."""
    if (reason := _why_not(request)) is not None:
        raise FieldError("store", f"cannot be: {reason}.")
    for path in files_of(request, (*request.corpus, *request.valid)).paths:
        if str(path) == "-":
            raise UsageError(
                "a text that is not held in memory is read twice, and standard input can be read "
                "once: write it to a file first, or leave out `store`."
            )
        if not Path(path).is_file():
            raise TextError(f"{path} is no plain file, and can be read once: `store` needs twice.")


def _why_not(request: Request) -> str | None:
    """Why a text has to be held in memory, if it has."""
    if request.task != CAUSAL.name:
        return f"a {request.task} is trained on what is in memory"
    if request.label_from is not None:
        return "sequences with labels are"
    if request.distinct:
        return "`distinct` compares each sequence with all others"
    return None


def _is_large(request: Request) -> bool:
    """Whether a text is more than is held in memory. Raises TextError if a file is missing."""
    paths = (*request.corpus, *request.valid)
    if not paths or "-" in paths:
        return False
    files = files_of(request, paths)
    return files.size() > THRESHOLD and all(Path(path).is_file() for path in files.paths)
