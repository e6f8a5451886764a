"""What was found to be new and what copied: a report for people, and JSON."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from charlm.novelty.measure import NGrams, Novelty, SampleNovelty
    from charlm.novelty.reference import Origin

_COLUMNS = 80


def where(sample: "SampleNovelty", origins: "Sequence[Origin]") -> tuple[str | None, int | None]:
    """The file (None for a model's text) and the sequence, from 1, that a sample is copied from."""
    if sample.copy is None:
        return None, None
    number = sample.copy.sequence
    if not origins:
        return None, number
    origin = next(origin for origin in reversed(origins) if origin.first <= number)
    return origin.name, number - origin.first + 1


def sample_fields(sample: "SampleNovelty", origins: "Sequence[Origin]") -> dict[str, Any]:
    """What was found of a sample, as JSON."""
    copy, (file, sequence) = sample.copy, where(sample, origins)
    return {
        "text": sample.text,
        "characters": sample.characters,
        "words": sample.words,
        "in_training_text": sample.in_training_text,
        "copied_whole": sample.is_copied_whole,
        "longest_copy_characters": sample.copied,
        "longest_copy": None
        if copy is None
        else {
            "text": copy.span,
            "start": copy.start,
            **({} if file is None else {"file": file}),
            "training_sequence": sequence,
            "training_offset": copy.offset,
            "times_in_training_text": copy.times,
        },
        "character_ngrams": _of_ngrams(sample.character_ngrams, None),
        "word_ngrams": _of_ngrams(sample.word_ngrams, None),
    }


def fields(found: "Novelty", show: int, origins: "Sequence[Origin]") -> dict[str, Any]:
    """What was found of all samples, as JSON."""
    known, number = found.in_training_text, len(found.samples)
    return {
        "samples": number,
        "different_samples": found.different,
        "characters": found.characters,
        "words": found.words,
        "in_training_text": known,
        "share_in_training_text": _share(known, number),
        "copied_whole": found.copied_whole,
        "share_copied_whole": _share(found.copied_whole, number),
        "longest_copy_characters": max(found.copied, default=None),
        "median_longest_copy_characters": found.median_copied,
        "mean_longest_copy_characters": found.mean_copied,
        "character_ngrams": _of_ngrams(found.character_ngrams, found.held_out_characters),
        "word_ngrams": _of_ngrams(found.word_ngrams, found.held_out_words),
        "indexed_share_of_training_text": found.indexed,
        "most_copied": [sample_fields(one, origins) for one in found.most_copied(show)],
    }


def _of_ngrams(
    ngrams: "Mapping[int, NGrams]", held_out: "Mapping[int, float] | None"
) -> list[dict[str, Any]]:
    return [
        {
            "n": n,
            "ngrams": of.number,
            "unseen": of.unseen,
            "share_unseen": of.share,
            **({} if held_out is None else {"share_unseen_held_out_text": held_out.get(n)}),
        }
        for n, of in ngrams.items()
    ]


def report(found: "Novelty", show: int = 5, origins: "Sequence[Origin]" = ()) -> Iterator[str]:
    """What was found, for a person, in lines of at most 80 columns."""
    number, known, whole = len(found.samples), found.in_training_text, found.copied_whole
    yield _row("samples", f"{number:,}", f"{found.different:,} of them different")
    yield _row("characters", f"{found.characters:,}", f"{found.words:,} words")
    if not number:
        return
    if known is not None:
        yield _row("in the training text", f"{known:,}", f"{known / number:.2%} of the samples")
    yield _row("copied whole", f"{whole:,}", f"{whole / number:.2%}, parts of longer ones included")
    middle = f"characters; median {found.median_copied:g}, mean {found.mean_copied:.1f}"
    yield _row("longest copy", f"{max(found.copied):,}", middle)
    if found.indexed < 1:
        yield ""
        yield f"Only {found.indexed:.1%} of the training text is in the index: copies may be"
        yield "longer, and fewer n-grams new."
    yield ""
    held = bool(found.held_out_characters)
    yield f"{'n-grams':<22}{'number':>14}{'unseen':>10}" + ("   held-out text" if held else "")
    for noun, ngrams, of_held_out in (
        ("character", found.character_ngrams, found.held_out_characters),
        ("word", found.word_ngrams, found.held_out_words),
    ):
        for n, of in ngrams.items():
            name = f"  {n} {noun}{'s' if n > 1 else ''}"
            other = f"{_percent(of_held_out.get(n)):>16}" if held else ""
            yield f"{name:<22}{of.number:>14,}{_percent(of.share):>10}{other}"
    shown = [sample for sample in found.most_copied(show) if sample.copy is not None]
    if shown:
        yield ""
        yield f"{'copied':>8}{'of':>8}{'from sequence':>16}  the copy"
    for sample in shown:
        assert sample.copy is not None
        file, sequence = where(sample, origins)
        source = f"{sequence:,}"
        if file is not None and len(origins) > 1:
            source = f"{cut(safe_text(file.rpartition('/')[2]), 14 - len(source))}:{source}"
        text = cut(_shown(sample.copy.span), _COLUMNS - 34)
        yield f"{sample.copied:>8,}{sample.characters:>8,}{source:>16}  {text}"


def _shown(span: str) -> str:
    """A span in which ends of lines, and spaces at its own ends, can be seen."""
    inner = span.strip(" ")
    before = len(span) - len(span.lstrip(" "))
    after = len(span) - before - len(inner)
    return safe_text(f"{'␣' * before}{inner.replace(chr(10), '↵')}{'␣' * after}")


def _row(name: str, value: str, rest: str) -> str:
    return f"{name:<22}{value:>14}  {rest}"


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"
