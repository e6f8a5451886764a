"""The examples of a classifier or tagger: read, and some of them held out."""

import dataclasses
import functools
from collections import Counter

from charlm.errors import TextError
from charlm.text.conll import Sentence, read_tagged
from charlm.text.corpus import fingerprint, hold_out
from charlm.text.labelled import LabelledTexts
from charlm.text.overlap import overlap
from charlm.training.request import Request, Say
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.sequences import is_apart, read_labelled_sides, without_copies

_FEW_TEXTS = 20  # fewer than this are remarked on


@dataclasses.dataclass(frozen=True)
class ExampleTexts:
    """What is learned from and what is held out: texts with labels, or sentences with tags.

    split_on is what a text is in a file.
    """

    train: LabelledTexts | list[Sentence]
    valid: LabelledTexts | list[Sentence]
    split_on: str = "line"

    @property
    def sides(self) -> tuple[LabelledTexts | list[Sentence], LabelledTexts | list[Sentence]]:
        """What is learned from, and what is held out."""
        return self.train, self.valid

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        parts: list[str] = []
        for side in self.sides:
            if isinstance(side, LabelledTexts):
                parts += [*side.texts, "", *side.labels, ""]
            else:
                for sentence in side:
                    parts += [*sentence.tokens, "", *(sentence.tags or ()), ""]
            parts.append("\n")
        return fingerprint(parts)


def read_examples(request: Request, say: Say, given: TextsInMemory | None = None) -> ExampleTexts:
    """Texts with a label each. Equal texts stand on one side. Raises TextError."""
    source = request.label_source
    assert source is not None
    usual = "line" if source.kind == "file" else None
    pairs, apart, split_on = read_labelled_sides(request, source, say, given, usual)
    if not pairs:
        raise TextError("there is no text to train on: what was given is empty or blank.")
    pairs = without_copies(request, pairs, say)
    found, held = LabelledTexts.of(pairs), LabelledTexts.of(apart)
    counts = Counter(found.labels)
    if len(counts) < 2:
        raise TextError(
            f"there is one label alone ({found.labels[0]!r:.60}): nothing is to be told apart. "
            "Does `label_from` name the right place?"
        )
    if 2 * len(counts) > len(found.labels):
        say(
            f"{len(counts):,} labels for {len(found.labels):,} texts: "
            "does `label_from` name the right place?"
        )
    known = [label in counts for label in held.labels]
    if not all(known):
        lost = len(known) - sum(known)
        say(f"{lost:,} held-out texts left out: training never saw their labels")
        held = LabelledTexts.of(one for one in apart if one.label in counts)
    where = f", one per {split_on}," if source.is_of_files else ""
    common = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(5))
    say(
        f"text: {len(found.texts):,} texts{where} of {len(counts):,} labels ({common}"
        f"{', …' if len(counts) > 5 else ''}); {len(held.texts):,} more held out"
    )
    if len(found.texts) < _FEW_TEXTS:
        say(f"only {len(found.texts):,} texts: too few to learn much from")
    if is_apart(request, given) and (
        found_twice := overlap(found.texts, held.texts, "text").note()
    ):
        say(found_twice)
    return ExampleTexts(found, held, split_on if source.is_of_files else "line")


def read_sentences(request: Request, say: Say, given: TextsInMemory | None = None) -> ExampleTexts:
    """Sentences with a tag for each token. Equal sentences stand on one side. Raises TextError."""
    train, valid, notes = _tagged(request, given)
    if not is_apart(request, given):
        texts = ["\n".join(sentence.tokens) for sentence in train]
        split = hold_out(texts, split_on="line", share=request.valid_share, seed=request.seed)
        held = set(split.valid)
        pairs = list(zip(train, texts, strict=True))
        train = [sentence for sentence, text in pairs if text not in held]
        valid = [sentence for sentence, text in pairs if text in held]
    for note in notes:
        say(note)
    tags = Counter(tag for sentence in train for tag in sentence.tags or ())
    if len(tags) < 2:
        raise TextError(f"there is one tag alone ({next(iter(tags))!r:.60}): nothing to learn.")
    tokens = sum(tags.values())
    if len(tags) > 1000 or 2 * len(tags) > tokens:
        raise TextError(
            f"{len(tags):,} different tags for {tokens:,} tokens: their column does not look like "
            "tags."
        )
    known = [s for s in valid if all(tag in tags for tag in s.tags or ())]
    if len(known) < len(valid):
        say(f"{len(valid) - len(known):,} held-out sentences left out: tags training never saw")
    say(
        f"text: {tokens:,} tokens in {len(train):,} sentences, {len(tags):,} tags; "
        f"{len(known):,} sentences more held out"
    )
    if len(train) < _FEW_TEXTS:
        say(f"only {len(train):,} sentences: too few to learn much from")
    if is_apart(request, given):
        ours, theirs = (["\n".join(one.tokens) for one in side] for side in (train, known))
        if (found_twice := overlap(ours, theirs, "sentence").note()) is not None:
            say(found_twice)
    return ExampleTexts(train, known)


def _tagged(
    request: Request, given: TextsInMemory | None
) -> tuple[list[Sentence], list[Sentence], tuple[str, ...]]:
    """Sentences to train on and to validate on, and notes."""
    if given is not None:
        return *given.sentences(), ()
    options = {"encoding": request.encoding, "errors": request.errors}
    train, notes = read_tagged(request.corpus, request.places, **options)
    if not request.valid:
        return train, [], notes
    valid, more = read_tagged(request.valid, request.places, **options)
    return train, valid, notes + more
