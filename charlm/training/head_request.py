"""What a person asks of the training of a head, and how it is settled: read, cut, sized, timed."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from charlm.config import HEADS, LONGEST, HeadConfig, TrainingConfig
from charlm.errors import CheckpointError, TextError, UsageError
from charlm.nn.examples import (
    Examples,
    LabelledTexts,
    encode_sentences,
    encode_texts,
    gathered,
    read_tagged,
)
from charlm.text import corpus as corpora
from charlm.text.conll import Places, Sentence
from charlm.text.labelled import FORMS, LabelSource, hold_out, read_labelled
from charlm.text.overlap import overlap
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training.head_run import HeadMaterial
from charlm.training.head_training import seconds_per_step, steps_per_epoch
from charlm.training.request import Asked, count_steps

DEFAULT_SECONDS = 120.0
_MOST_EPOCHS = {"classifier": 45.0, "tagger": 30.0}  # more than these seldom help
_VALIDATIONS = 20
_TRIAL = 0.03  # of the time, to measure what a step takes
_VALIDATION_SHARE = 0.05
_FEW_TEXTS = 20  # fewer than this are remarked on
_FEWEST_STEPS = 200  # that a default budget asks for where there is little text
_TAGGER_WORDS = 50_000
_MUCH_TAGGED = (
    200_000  # tokens, read a few times in the default budget: nothing is learned by heart
)

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadRequest(Asked):
    """The question, before anything is read. None stands for 'choose for me'."""

    kind: str
    token_column: str | None = None
    tag_column: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in HEADS:
            raise UsageError(f"a head is one of {', '.join(HEADS)}, got {self.kind!r}.")
        _ = self.places
        if self.kind == "classifier":
            if self.token_column is not None or self.tag_column is not None:
                raise UsageError("a classifier reads no tokens with tags: leave their columns out.")
            if self.label_from is None:
                raise UsageError(
                    f"--classifier needs labels: --label-from says where they stand ({FORMS})."
                )
            _ = self.label_source
        else:
            self._check_tagger()
        self.check()
        # Here for their checks alone: what cannot be is refused before anything is read.
        letters = int(self.kind == "tagger")
        HeadConfig(
            kind=self.kind,
            **{"vocab_size": 3, "num_labels": 2, "num_letters": letters} | self.model,
        )

    @property
    def places(self) -> Places:
        """The columns of a tagger's tokens and tags. Raises UsageError."""
        return Places(self.token_column, self.tag_column)

    @property
    def label_source(self) -> LabelSource:
        """Where labels stand. Raises UsageError."""
        return LabelSource.parse(
            self.label_from or "",
            text_column=self.text_column,
            text_field=self.text_field,
            header=self.header,
        )

    def _check_tagger(self) -> None:
        given = {
            "--label-from": self.label_from is not None,
            "--text-column": self.text_column is not None,
            "--text-field": self.text_field is not None,
            "--header": self.header,
            "--level": self.level not in (None, "word"),
            "--split-on": self.split_on is not None,
            "--distinct": self.distinct,
            "--lowercase": self.lowercase,
            "--pretokenized": self.pretokenized,
            "--subword-model": self.subword_model != "unigram",
            "--pooling": "pooling" in self.model,
        }
        if wrong := [name for name, is_given in given.items() if is_given]:
            raise UsageError(
                f"a tagger reads words that are cut already, a token and its tag on a line: leave "
                f"out {', '.join(wrong)}."
            )


class HeadTexts(NamedTuple):
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

    @property
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
        return corpora.fingerprint(parts)


class HeadSettled(NamedTuple):
    """Everything a run needs, nothing left to choose."""

    material: HeadMaterial
    model: HeadConfig
    training: TrainingConfig


def read_head_texts(request: HeadRequest, say: Say) -> HeadTexts:
    """Read and hold out. Equal texts stand on one side. Raises TextError."""
    if request.kind == "tagger":
        return _read_sentences(request, say)
    options = {"encoding": request.encoding, "errors": request.errors}
    source = request.label_source
    pairs, split_on, notes = read_labelled(
        request.corpus,
        source,
        split_on=request.split_on or ("line" if source.kind == "file" else None),
        **options,
    )
    if request.valid:
        of_files = split_on if source.is_of_files else None
        apart, _, more = read_labelled(request.valid, source, split_on=of_files, **options)
        notes += more
    else:
        pairs, apart = hold_out(
            pairs,
            split_on=split_on,
            share=request.valid_share,
            seed=request.seed,
            whole=source.kind == "directory",
        )
    for note in notes:
        say(note)
    if not pairs:
        raise TextError("there is no text to train on: what was given is empty or blank.")
    if request.distinct:
        once = list(dict.fromkeys(pairs))
        say(f"copies left out of training: {len(pairs) - len(once):,}")
        pairs = once
    found, held = LabelledTexts.of(pairs), LabelledTexts.of(apart)
    counts = Counter(found.labels)
    if len(counts) < 2:
        raise TextError(
            f"there is one label alone ({found.labels[0]!r:.60}): nothing is to be told apart. "
            "Does --label-from name the right place?"
        )
    if 2 * len(counts) > len(found.labels):
        say(
            f"{len(counts):,} labels for {len(found.labels):,} texts: is that what --label-from is?"
        )
    known = [label in counts for label in held.labels]
    if not all(known):
        lost = len(known) - sum(known)
        say(f"{lost:,} held-out texts left out: training never saw their labels")
        held = LabelledTexts.of(one for one in apart if one.label in counts)
    where = f", one a {split_on}," if source.is_of_files else ""
    common = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(5))
    say(
        f"text: {len(found.texts):,} texts{where} of {len(counts):,} labels ({common}"
        f"{', …' if len(counts) > 5 else ''}); {len(held.texts):,} more held out"
    )
    if len(found.texts) < _FEW_TEXTS:
        say(f"those are very few texts ({len(found.texts):,}): little can be learned from them")
    if request.valid and (found_twice := overlap(found.texts, held.texts, "text").note()):
        say(found_twice)
    return HeadTexts(found, held, split_on if source.is_of_files else "line")


def _read_sentences(request: HeadRequest, say: Say) -> HeadTexts:
    options = {"encoding": request.encoding, "errors": request.errors}
    found, notes = read_tagged(request.corpus, request.places, **options)
    if request.valid:
        valid, more = read_tagged(request.valid, request.places, **options)
        train, notes = found, notes + more
    else:
        # Equal sentences stand on one side.
        texts = ["\n".join(sentence.tokens) for sentence in found]
        split = corpora.hold_out(
            texts, split_on="line", share=request.valid_share, seed=request.seed
        )
        held = set(split.valid)
        pairs = list(zip(found, texts, strict=True))
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
        say(f"those are very few sentences ({len(train):,}): little can be learned from them")
    if request.valid:
        ours, theirs = (["\n".join(one.tokens) for one in side] for side in (train, known))
        if (found_twice := overlap(ours, theirs, "sentence").note()) is not None:
            say(found_twice)
    return HeadTexts(train, known)


def settle_head(request: HeadRequest, say: Say) -> HeadSettled:
    """Read the texts, learn the vocabulary, choose sizes, measure, fix the number of steps."""
    texts = read_head_texts(request, say)
    reader = reader_of(request, texts, say)
    material = head_material_of(request, texts, reader)
    if material.examples.copies is not None:
        number, different = material.about["train"]["texts"], len(material.examples.labels)
        say(
            f"copies: {different:,} of {number:,} texts are different; how frequent labels are "
            "is counted in all of them"
        )
    _say_cut(material, say)
    model, config = choose(request, material)
    # In bf16 a step is little faster, and what is learned less sure (bench/RESULTS.md).
    config = dataclasses.replace(config, precision=request.precision or "fp32")
    say(
        f"recipe: {model.num_layers} x {model.hidden_size} {model.cell} in each direction, "
        f"embedding {model.embedding_size}, dropout {model.dropout:g} ({model.input_dropout:g} on "
        "the input)"
    )
    return HeadSettled(material, model, fix_steps(request, model, config, material, say))


def _say_cut(material: HeadMaterial, say: Say) -> None:
    """How many texts a classifier does not read to their end."""
    sides = [side for side in (material.examples, material.valid) if side is not None]
    if cut := sum(side.cut for side in sides):
        number = sum(len(side.starts) - 1 for side in sides)
        say(
            f"length: {cut:,} of {number:,} different texts are longer than {LONGEST:,} tokens: "
            f"only the first {LONGEST:,} of each are read"
        )


def reader_of(request: HeadRequest, texts: HeadTexts, say: Say) -> Tokenizer | SpelledWords:
    """What turns text into ids, learned from the text to train on."""
    if not isinstance(texts.train, LabelledTexts):
        words = SpelledWords.train(
            (token for sentence in texts.train for token in sentence.tokens),
            vocab_size=request.vocab_size or _TAGGER_WORDS,
            min_count=request.min_count or 2,
        )
        say(f"vocabulary: {words.vocab_size:,} types of words, {words.num_letters:,} of letters")
        return words
    tokenizer = train_tokenizer(
        texts.train.texts,
        level=request.level or "char",
        vocab_size=request.vocab_size,
        min_count=request.min_count,
        lowercase=request.lowercase,
        pretokenized=request.pretokenized,
        subword_model=request.subword_model,
    )
    for note in tokenizer.notes:
        say(note)
    say(f"vocabulary: {tokenizer.vocab_size:,} types at {tokenizer.level} level")
    return tokenizer


def head_material_of(
    request: HeadRequest,
    texts: HeadTexts,
    reader: Tokenizer | SpelledWords,
    labels: Sequence[str] | None = None,
) -> HeadMaterial:
    """The texts as ids, with what the checkpoints will say of them."""
    if isinstance(texts.train, LabelledTexts):
        kinds = texts.train.labels
    else:
        kinds = [tag for sentence in texts.train for tag in sentence.tags or ()]
    names = tuple(sorted(set(kinds)))
    if labels is not None and tuple(labels) != names:
        raise CheckpointError(
            "the labels in model.json of the last step are not those of the text."
        )
    ids = {name: at for at, name in enumerate(names)}
    sides = [_encoded(side, reader, ids) for side in texts.sides]
    about = {
        "fingerprint": texts.fingerprint,
        "label_from": request.label_from,
        "split_on": texts.split_on,
        "train": {"texts": len(sides[0].starts) - 1, "tokens": len(sides[0].tokens)},
        "valid": {"texts": len(sides[1].starts) - 1, "tokens": len(sides[1].tokens)},
        "labels": dict(sorted(Counter(kinds).items())),
    }
    asked = {"token_column": request.token_column, "tag_column": request.tag_column}
    about |= {name: column for name, column in asked.items() if column is not None}
    for at, side in enumerate(texts.sides):
        if isinstance(side, LabelledTexts) and len(set(side.texts)) < len(side.texts):
            once, copies = gathered(side)
            sides[at] = _encoded(once, reader, ids)._replace(copies=copies)
    return HeadMaterial(
        reader=reader,
        labels=names,
        examples=sides[0],
        valid=sides[1] if len(sides[1].labels) else None,
        about=about,
    )


def _encoded(
    side: LabelledTexts | list[Sentence], reader: Tokenizer | SpelledWords, ids: dict[str, int]
) -> Examples:
    if isinstance(side, LabelledTexts):
        assert not isinstance(reader, SpelledWords)
        return encode_texts(reader, side.texts, [ids[label] for label in side.labels])
    assert isinstance(reader, SpelledWords)
    tags = [[ids[tag] for tag in sentence.tags or ()] for sentence in side]
    return encode_sentences(reader, [sentence.tokens for sentence in side], tags)


def choose(request: HeadRequest, material: HeadMaterial) -> tuple[HeadConfig, TrainingConfig]:
    """Sizes and settings that suit the examples; num_steps is no more than a first guess.

    bench/RESULTS.md holds the measurements behind the figures here.
    """
    reader, examples = material.reader, material.examples
    if isinstance(reader, SpelledWords):
        much = len(examples.tokens) >= _MUCH_TAGGED
        shape: dict[str, Any] = {
            "vocab_size": reader.vocab_size,
            "num_letters": reader.num_letters,
            "embedding_size": 100,
            "hidden_size": 128,
            "dropout": 0.15 if much else 0.5,
            "input_dropout": 0.05 if much else 0.3,
        }
        learning: dict[str, Any] = {"batch_size": 16, "learning_rate": 8e-3 if much else 4e-3}
    else:
        words = reader.level != "char"
        shape = {
            "vocab_size": reader.vocab_size,
            "embedding_size": 128 if words else 64,
            "hidden_size": 128,
            "num_layers": 1,
            "dropout": 0.5,
            "input_dropout": 0.3 if words else 0.2,
        }
        learning = {"batch_size": 64, "learning_rate": 8e-3 if words else 4e-3}
    if len(examples.starts) < 2000:
        learning["batch_size"] = 16
    model = HeadConfig(
        kind=request.kind, **{**shape, "num_labels": len(material.labels), **request.model}
    )
    config = {
        "num_steps": 1,
        "weight_decay": 0.05,
        **learning,
        **request.training,
        "seed": request.seed,
    }
    config.setdefault("end_learning_rate", config["learning_rate"] * 0.01)
    return model, TrainingConfig(**config)


def fix_steps(
    request: HeadRequest,
    model: HeadConfig,
    config: TrainingConfig,
    material: HeadMaterial,
    say: Say,
    *,
    done: int = 0,
) -> TrainingConfig:
    """The config with the number of steps and of validations fixed.

    Where the budget is time, a scratch head trains for a moment; what it gets through fixes the
    steps. ``done`` are the steps that a run to be continued has behind it; time is added to them.
    """
    per_epoch = steps_per_epoch(material.examples, config)

    def measure() -> tuple[float, str]:
        seconds = request.seconds or DEFAULT_SECONDS
        trial, begun = min(5.0, max(0.5, _TRIAL * seconds)), time.perf_counter()
        a_step = seconds_per_step(model, config, material.examples, trial, request.device)
        left = seconds - (time.perf_counter() - begun)
        why = f"{1 / a_step:,.1f} a second for {seconds:g} s"
        return left * (1 - _VALIDATION_SHARE) / a_step, why

    most_epochs = max(_MOST_EPOCHS[model.kind], _FEWEST_STEPS / per_epoch)
    num_steps, why = count_steps(request, per_epoch, measure, most_epochs=most_epochs, done=done)
    say(f"budget: {num_steps:,} steps ({why}), {num_steps / per_epoch:.1f} epochs")
    return dataclasses.replace(
        config,
        num_steps=num_steps,
        validate_every=max(1, -(-num_steps // _VALIDATIONS)),
        warmup_steps=min(config.warmup_steps, max(1, num_steps // 10)),
    )
