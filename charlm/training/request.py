"""What a person asks of a training, and how it is settled: texts read, sizes and steps chosen."""

import dataclasses
import functools
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch

from charlm.config import LEVELS, SPLITS, ModelConfig, TrainingConfig, are_typed
from charlm.counts import interpolation as partners
from charlm.counts import ngram
from charlm.counts.cache import Cache
from charlm.counts.interpolation import Partner
from charlm.errors import CheckpointError, FieldError, TextError, UsageError, must_be_one_of
from charlm.inference.unknown import Speller, Unknown, unknown_of
from charlm.nn.windows import TokenizedText, num_windows, tokenize
from charlm.novelty.index import source_of
from charlm.text import corpus as corpora
from charlm.text.labelled import Labelled, Labels, LabelSource, hold_out, read_labelled
from charlm.text.overlap import overlap
from charlm.text.tables import first_lines, said_of
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import NORMAL_FORMS, Tokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import UNKNOWN_WORD, WordTokenizer, count_types
from charlm.training import recipe
from charlm.training.causal import groups_of_epoch, tokens_per_second, window_length
from charlm.training.run import Material
from charlm.training.speller import train_speller

_VALIDATION_SHARE = 0.05  # of the time, at most, goes into the quick validations
_MOST_VALIDATIONS = 40
_CALIBRATION_SHARE = 0.03
_FEWEST_VALIDATIONS = 8
_FEW_CHARACTERS = 1_000  # fewer than this are remarked on
_FEW_TOKENS = 20_000  # what is held out is always read as a whole if it is no more
_CHEAPER_FORWARD = 0.35  # what a token costs in validation, against one in training

ERRORS = ("strict", "replace")
SUBWORD_MODELS = ("unigram", "bpe")
Say = Callable[[str], None]
A = TypeVar("A")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of every training, before anything is read. None stands for 'choose for me'.

    At most one of seconds, epochs and steps is given. model and training hold the fields of the
    model's config and of TrainingConfig that were asked for by name.
    """

    corpus: tuple[str, ...]
    valid: tuple[str, ...] = ()
    level: str | None = None
    split_on: str | None = None
    label_from: str | None = None
    text_column: str | None = None
    text_field: str | None = None
    header: bool = False
    distinct: bool = False
    valid_share: float = corpora.VALID_SHARE
    encoding: str = "utf-8"
    errors: str = "strict"
    vocab_size: int | None = None
    min_count: int | None = None
    lowercase: bool = False
    pretokenized: bool = False
    subword_model: str = "unigram"
    seconds: float | None = None
    epochs: float | None = None
    steps: int | None = None
    precision: str | None = None
    device: str = "cpu"
    seed: int = 0
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    training: dict[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        """Raise UsageError for what cannot be; the model's fields are not looked at."""
        if self.level is not None and self.level not in LEVELS:
            raise FieldError("level", must_be_one_of(LEVELS, self.level))
        if self.split_on is not None and self.split_on not in SPLITS:
            raise FieldError("split_on", must_be_one_of(("auto", *SPLITS), self.split_on))
        for name, choices in (("errors", ERRORS), ("subword_model", SUBWORD_MODELS)):
            if getattr(self, name) not in choices:
                raise FieldError(name, must_be_one_of(choices, getattr(self, name)))
        check_budget(self.seconds, self.epochs, self.steps)
        asked = {**self.training, "seed": self.seed, "precision": self.precision or "fp32"}
        TrainingConfig(**{"num_steps": 1, "segment_length": 10**9, **asked})

    def to_json(self) -> dict[str, Any]:
        """As JSON; files are named by their absolute paths."""
        values = dataclasses.asdict(self)
        for name in ("corpus", "valid"):
            values[name] = [p if p == "-" else str(Path(p).absolute()) for p in values[name]]
        return values

    @classmethod
    def from_json(cls, values: object) -> Self:
        """What ``to_json`` wrote. Raises CheckpointError for anything else."""
        names = {field.name for field in dataclasses.fields(cls)}
        if isinstance(values, dict) and type(values.get("text_column")) is int:
            values = {**values, "text_column": str(values["text_column"])}  # of earlier versions
        if (
            not isinstance(values, dict)
            or not {"corpus", "valid"} <= set(values) <= names
            or not are_typed(cls, values)
        ):
            raise CheckpointError("run.json does not hold what was asked of this training.")
        try:
            lists = {name: tuple(map(str, values[name])) for name in ("corpus", "valid")}
            return cls(**{**values, **lists})
        except (TypeError, UsageError) as error:
            raise CheckpointError(f"run.json asks for what cannot be: {error}") from None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(Asked):
    """What is asked of the training of a language model."""

    level: str = "char"
    ngram: int | None = None
    cache: bool = False
    normalize: str | None = None

    def __post_init__(self) -> None:
        self.check()
        if self.normalize not in (None, *NORMAL_FORMS):
            raise FieldError("normalize", must_be_one_of(NORMAL_FORMS, self.normalize))
        if self.label_from is None and (self.text_column or self.text_field or self.header):
            raise UsageError("--text-column, --text-field and --header go with --label-from.")
        _ = self.label_source
        if self.ngram is not None:
            ngram.check_order(self.ngram)
        if self.model.get("bidirectional") and self.label_from is not None:
            raise UsageError(
                "a bidirectional model cannot be given a label: leave out --label-from, or "
                "--bidirectional."
            )
        if self.model.get("bidirectional") and (self.ngram is not None or self.cache):
            raise UsageError(
                "a bidirectional model reads both sides, n-grams and a cache one: leave out "
                "--ngram and --cache, or --bidirectional."
            )
        # Here for its checks alone: what cannot be is refused before anything is read.
        ModelConfig(**{"vocab_size": 3, **self.model})

    @property
    def label_source(self) -> LabelSource | None:
        """Where labels stand, if sequences have any. Raises UsageError."""
        if self.label_from is None:
            return None
        return LabelSource.parse(
            self.label_from,
            text_column=self.text_column,
            text_field=self.text_field,
            header=self.header,
        )


class Texts(NamedTuple):
    """The corpus, split: what is trained on, what is held out, and how sequences were found.

    Where sequences have labels, train_labels and valid_labels are their numbers in ``labels``.
    """

    train: list[str]
    valid: list[str]
    split_on: str
    labels: Labels | None = None
    train_labels: list[int] | None = None
    valid_labels: list[int] | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        if self.labels is not None:
            numbers = map(str, [*(self.train_labels or ()), *(self.valid_labels or ())])
            labelled = [*self.labels.names, "", *numbers, ""]
            return corpora.fingerprint([*labelled, self.split_on, *self.train, "", *self.valid])
        return corpora.fingerprint([self.split_on, *self.train, "", *self.valid])


class Settled(NamedTuple):
    """Everything a run needs, nothing left to choose."""

    material: Material
    model: ModelConfig
    training: TrainingConfig


def check_budget(seconds: float | None, epochs: float | None, steps: int | None) -> None:
    """At most one, and that one positive. Raises UsageError."""
    given = [value for value in (seconds, epochs, steps) if value is not None]
    if len(given) > 1:
        raise UsageError("give only one of --time, --epochs and --steps.")
    if any(not 0 < value < 1e12 for value in given):
        raise UsageError("--time, --epochs and --steps must be more than 0.")


class _Budgeted(Protocol):
    @property
    def epochs(self) -> float | None: ...
    @property
    def steps(self) -> int | None: ...


def count_steps(
    request: _Budgeted,
    per_epoch: int,
    measure: Callable[[], tuple[float, str]],
    *,
    most_epochs: float,
    done: int,
) -> tuple[int, str]:
    """The steps that a budget comes to, and why.

    Where it is time, measure gives the steps that fit in, and why; they are added to those that
    are done, and of a new run they are no more than most_epochs. Steps and epochs count from the
    beginning: raises UsageError if they end before what is done.
    """
    if request.steps is not None:
        return _no_less_than(done, request.steps, "--steps"), "as asked"
    if request.epochs is not None:
        num_steps = max(1, round(request.epochs * per_epoch))
        return _no_less_than(done, num_steps, "--epochs"), f"{request.epochs:g} epochs"
    steps, why = measure()
    left = max(1, round(steps))
    if done or left <= most_epochs * per_epoch:
        return done + left, why
    why = f"more than {most_epochs:.0f} epochs seldom help; --epochs asks for more"
    return max(1, round(most_epochs * per_epoch)), why


def _no_less_than(done: int, num_steps: int, option: str) -> int:
    if num_steps < done:
        raise UsageError(
            f"the run is at step {done:,} already, and would end at step {num_steps:,}: {option} "
            "counts from the beginning of the run. Ask for more, or for more --time."
        )
    return num_steps


def read_texts(request: Request, say: Say) -> Texts:
    """Read, decode, split into sequences and hold out. Raises TextError where nothing is left."""
    if request.label_source is not None:
        return _read_labelled(request, request.label_source, say)
    documents = corpora.read_documents(
        request.corpus, encoding=request.encoding, errors=request.errors
    )
    held = (
        corpora.read_documents(request.valid, encoding=request.encoding, errors=request.errors)
        if request.valid
        else []
    )
    for document in [*documents, *held]:
        for note in (*document.notes, *said_of(document.name, first_lines(document.text))):
            say(note)
    split_on = request.split_on or corpora.choose_split(d.text for d in documents)
    train = [s for d in documents for s in corpora.split_sequences(d.text, split_on)]
    if not train:
        raise TextError("there is no text to train on: the corpus is empty or blank.")
    if held:
        valid = [s for d in held for s in corpora.split_sequences(d.text, split_on)]
        if not valid:
            raise TextError("there is no text to validate on: it is empty or blank.")
    else:
        split = corpora.hold_out(
            train, split_on=split_on, share=request.valid_share, seed=request.seed
        )
        train, valid = split.train, split.valid
        for note in split.notes:
            say(note)
    train = _without_copies(request, train, say)
    _say_text(request, train, valid, split_on, say)
    return Texts(train, valid, split_on)


def _without_copies(request: Request, train: list[A], say: Say) -> list[A]:
    """What is trained on, each sequence once if that was asked for."""
    if not request.distinct:
        return train
    distinct = list(dict.fromkeys(train))
    say(f"copies left out of training: {len(train) - len(distinct):,}")
    return distinct


def _read_labelled(request: Request, source: LabelSource, say: Say) -> Texts:
    """The same where each sequence has a label."""
    options = {"encoding": request.encoding, "errors": request.errors}
    train, split_on, notes = read_labelled(
        request.corpus, source, split_on=request.split_on, **options
    )
    valid: list[Labelled] = []
    if request.valid:
        of_files = split_on if source.is_of_files else None
        valid, _, more = read_labelled(request.valid, source, split_on=of_files, **options)
        notes += more
    elif request.valid_share:
        train, valid = hold_out(
            train,
            split_on=split_on,
            share=request.valid_share,
            seed=request.seed,
            whole=source.kind == "directory",
        )
    for note in notes:
        say(note)
    if not valid:
        say("nothing is held out for validation")
    labels = Labels.of(one.label for one in train)
    if len(labels.names) < 2:
        raise TextError(
            f"labels from {source}: there are fewer than two of them in the text "
            f"({', '.join(labels.names) or 'none'})."
        )
    number = {name: index for index, name in enumerate(labels.names)}
    if request.valid and (strange := {one.label for one in valid} - number.keys()):
        raise TextError(
            f"the label {min(strange)!r} occurs in the text to validate on, and not in training."
        )
    valid = [one for one in valid if one.label in number]
    train = _without_copies(request, train, say)
    texts = Texts(
        [one.text for one in train],
        [one.text for one in valid],
        split_on,
        labels,
        [number[one.label] for one in train],
        [number[one.label] for one in valid],
    )
    _say_text(request, texts.train, texts.valid, split_on, say)
    say(f"labels: {len(number):,}, from {source}")
    return texts


def _say_text(
    request: Request, train: list[str], valid: list[str], split_on: str, say: Say
) -> None:
    counts = corpora.count(train)
    chosen = "" if request.split_on else " (chosen by the look of the text; --split-on changes it)"
    say(
        f"text: {counts.characters:,} characters in {counts.sequences:,} "
        f"{'sequence' if counts.sequences == 1 else 'sequences'}, one a {split_on}{chosen}; "
        f"{corpora.count(valid).characters:,} more held out"
    )
    if counts.characters < _FEW_CHARACTERS:
        say(
            f"that is very little text ({counts.characters:,} characters): a model learns little "
            f"more from it than the text itself. A useful one takes {_FEW_CHARACTERS:,} and more"
        )
    if request.valid and (note := overlap(train, valid, split_on).note()):
        say(note)


def material_of(
    texts: Texts, tokenizer: Tokenizer, speller: Speller | None, partner: Partner | None = None
) -> Material:
    """The texts as ids, with what the checkpoints will say of them.

    Of each side that is its size, and the nats that its unknown words and characters add to what
    <UNK> costs.
    """
    unknown = unknown_of(tokenizer, speller)
    train = tokenize(tokenizer, texts.train, texts.train_labels)
    valid = tokenize(tokenizer, texts.valid, texts.valid_labels)
    sizes = {
        side: {
            **corpora.count(sequences)._asdict(),
            "unknown_nats": _spelling_nats(tokenizer, unknown, sequences, ids),
        }
        for side, sequences, ids in (("train", texts.train, train), ("valid", texts.valid, valid))
    }
    normalised = [tokenizer.normalise(text) for text in texts.train]
    known = corpora.sequence_hashes(normalised) if texts.split_on != "file" else None
    return Material(
        tokenizer=tokenizer,
        speller=speller,
        partner=partner,
        labels=texts.labels,
        text=train,
        valid=valid if texts.valid else None,
        known=known,
        split_on=texts.split_on,
        about={"fingerprint": texts.fingerprint, **sizes},
        source=source_of(normalised, map(tokenizer.normalise, texts.valid)),
    )


def _spelling_nats(
    tokenizer: Tokenizer, unknown: Unknown | None, texts: Sequence[str], ids: TokenizedText
) -> float:
    """-log P, in all, of what stands for <UNK> in texts, given that it is <UNK>."""
    places = np.flatnonzero(ids.targets.numpy() == tokenizer.unk_id)
    holders = np.unique(np.searchsorted(ids.starts, places, side="right") - 1)  # few of the texts
    kinds = [kind for index in holders for kind in tokenizer.unknown(texts[index])]
    return -float(unknown.log_probs(kinds).sum()) if unknown is not None and kinds else 0.0


def speller_of(tokenizer: Tokenizer, texts: Texts, seed: int, say: Say) -> Speller | None:
    """The speller of a word model, trained now; None at other levels."""
    words = plain(tokenizer)
    if not isinstance(words, WordTokenizer):
        return None
    begun = time.perf_counter()
    counts = count_types(map(tokenizer.normalise, texts.train), words.pretokenized)
    if words.pretokenized:
        counts.pop(UNKNOWN_WORD, None)  # the name of all that is unknown is no word to spell
    speller = train_speller(counts, words, seed)
    say(
        "speller: a character model of the rare words spells what is unknown "
        f"({time.perf_counter() - begun:.0f} s)"
    )
    return speller


def partner_of(
    request: Request, tokenizer: Tokenizer, text: TokenizedText, say: Say
) -> Partner | None:
    """What the network is to be mixed with, if that was asked for; its n-grams counted now."""
    if request.ngram is None and not request.cache:
        return None
    begun, counts, cache, what = time.perf_counter(), None, None, []
    if request.ngram is not None:
        counts = ngram.train(text.sequences(), tokenizer.vocab_size, request.ngram)
        number = sum(len(level.keys) for level in counts.levels)
        seconds = time.perf_counter() - begun
        what.append(f"{number:,} n-grams of up to {request.ngram} tokens ({seconds:.1f} s)")
    if request.cache:
        cache = Cache(tokenizer.vocab_size, partners.LENGTHS[tokenizer.level], partners.WINDOW)
        what.append(f"a cache of the last {partners.WINDOW:,} tokens of a sequence")
    say(f"partner: {' and '.join(what)}, mixed with the network")
    return Partner.new(counts, cache)


def settle(request: Request, say: Say) -> Settled:
    """Read the texts, learn the vocabulary, choose sizes, measure, fix the number of steps."""
    texts = read_texts(request, say)
    tokenizer = train_tokenizer(
        texts.train,
        level=request.level,
        vocab_size=request.vocab_size,
        min_count=request.min_count,
        lowercase=request.lowercase,
        pretokenized=request.pretokenized,
        subword_model=request.subword_model,
        normalize=request.normalize,
    )
    for note in tokenizer.notes:
        say(note)
    begun = time.perf_counter()
    speller = speller_of(tokenizer, texts, request.seed, say)
    material = material_of(texts, tokenizer, speller)
    text = material.text
    partner = partner_of(request, tokenizer, text, say)
    material = dataclasses.replace(material, partner=partner)
    if (speller or partner) and request.steps is None and request.epochs is None:
        # They are part of what the time is for.
        seconds = request.seconds or recipe.DEFAULT_SECONDS
        left = max(0.5 * seconds, seconds - (time.perf_counter() - begun))
        request = dataclasses.replace(request, seconds=left)
    unknown = int((text.targets == tokenizer.unk_id).sum())
    say(
        f"vocabulary: {tokenizer.vocab_size:,} types at {request.level} level; {text.num_tokens:,} "
        f"tokens to train on{f', {unknown / text.num_tokens:.1%} of them <UNK>' if unknown else ''}"
    )
    shape = dict(request.model)
    if texts.labels is not None:
        number = len(texts.labels.names)
        shape.update(num_labels=number, label_size=recipe.label_size(number))
    choose = functools.partial(
        recipe.choose,
        level=request.level,
        vocab_size=tokenizer.vocab_size,
        num_tokens=text.num_tokens,
        num_sequences=len(text.starts) - 1,
        seconds=request.seconds or recipe.DEFAULT_SECONDS,
        model=shape,
        training={**request.training, "seed": request.seed},
    )
    chosen = choose()
    said: list[str] = []
    config = fix_steps(request, chosen.model, chosen.training, material, said.append)
    is_told = request.steps is not None or request.epochs is not None
    if is_told or recipe.is_little(text.num_tokens):
        # Of much text in a time the guess is near, and the same on any machine.
        passes = config.num_steps / steps_per_epoch(chosen.model, config, text)
        chosen = choose(passes=passes)
        config = dataclasses.replace(config, weight_decay=chosen.training.weight_decay)
    for line in (f"recipe: {chosen.why}", *said):
        say(line)
    return Settled(material, chosen.model, config)


def steps_per_epoch(model: ModelConfig, config: TrainingConfig, text: TokenizedText) -> int:
    """How many steps pass over the text once."""
    length = window_length(model, config)
    return sum(num_windows(group, length) for group in groups_of_epoch(text, config, 0, model))


def fix_steps(
    request: Request,
    model: ModelConfig,
    config: TrainingConfig,
    material: Material,
    say: Say,
    *,
    done: int = 0,
) -> TrainingConfig:
    """The config with precision, number of steps and validations fixed.

    Where the budget is time, a scratch model trains for a moment; what it gets through fixes the
    steps. ``done`` are the steps that a run to be continued has behind it; time is added to them.
    """
    text = material.text
    per_epoch = steps_per_epoch(model, config, text)
    seconds = request.seconds
    num_sequences = len(text.starts) - 1
    most_epochs = recipe.most_epochs(
        request.level, text.num_tokens, text.num_tokens / num_sequences
    )
    if request.steps is None and request.epochs is None and seconds is None:
        seconds = recipe.DEFAULT_SECONDS
    trial = min(5.0, max(0.5, _CALIBRATION_SHARE * (seconds or 60.0)))
    precision, rate = request.precision, None
    if precision is None and seconds is None:
        precision = likely_precision(model, request.device)  # asked twice, the same run twice
    elif precision is None:
        precision, rate = faster_precision(model, config, text, trial, request.device)
    config = dataclasses.replace(config, precision=precision)

    def measure() -> tuple[float, str]:
        assert seconds is not None
        speed = rate or tokens_per_second(model, config, text, trial, request.device)
        tokens = speed * max(0.0, seconds - trial) * (1 - _VALIDATION_SHARE)
        why = f"{speed:,.0f} tokens a second for {seconds:g} s"
        return tokens / text.num_tokens * per_epoch, why

    num_steps, why = count_steps(request, per_epoch, measure, most_epochs=most_epochs, done=done)
    valid_tokens = material.valid.num_tokens if material.valid is not None else 0
    affordable = _VALIDATION_SHARE * num_steps / per_epoch * text.num_tokens
    affordable /= _validation_cost(model, config)  # tokens that may be read in all
    validations = int(min(_MOST_VALIDATIONS, affordable / max(1, valid_tokens)))
    validate_tokens = 0
    if validations < _FEWEST_VALIDATIONS:
        validations = _FEWEST_VALIDATIONS
        if affordable / validations < valid_tokens > _FEW_TOKENS:
            validate_tokens = max(_FEW_TOKENS, int(affordable / validations))
    config = dataclasses.replace(
        config,
        num_steps=num_steps,
        validate_every=max(1, -(-num_steps // validations)),
        validate_tokens=validate_tokens,
        warmup_steps=min(config.warmup_steps, max(1, num_steps // 10)),
    )
    say(
        f"budget: {num_steps:,} steps ({why}), {num_steps / per_epoch:.1f} epochs, {precision} on "
        f"{request.device} ({platform.machine()})"
    )
    return config


def _validation_cost(model: ModelConfig, config: TrainingConfig) -> float:
    """What reading a token costs, against training on it: all types have to be scored."""
    width = model.embedding_size if model.tie_weights else model.hidden_size
    recurrent = 8 * model.num_layers * model.hidden_size**2 * (1 + model.bidirectional)
    types = config.frequent_types + config.sampled_types if config.sampled_types else None
    whole = recurrent + width * model.vocab_size
    trained = recurrent + width * min(types or model.vocab_size, model.vocab_size)
    return _CHEAPER_FORWARD * whole / trained


def likely_precision(model: ModelConfig, device: str) -> str:
    """The precision that is faster by experience, told from the processor alone."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Its name has an underscore, but nothing else in torch tells whether bf16 products are native.
    native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native and model.hidden_size >= 128 else "fp32"


def faster_precision(
    model: ModelConfig, config: TrainingConfig, text: TokenizedText, seconds: float, device: str
) -> tuple[str, float]:
    """fp32 or bf16, whichever gets through more tokens a second here, and that rate."""
    rates = {
        precision: tokens_per_second(
            model, dataclasses.replace(config, precision=precision), text, seconds / 2, device
        )
        for precision in ("fp32", "bf16")
    }
    # Rounding costs a little quality: bf16 has to earn it.
    best = "bf16" if rates["bf16"] > 1.05 * rates["fp32"] else "fp32"
    return best, rates[best]
