"""What models of texts have in common, each class saying only what all of its kind can do.

TextModel               trained on a text, which it knows again
├── ClozeModel          P(token given all others)
└── TextDistribution    P(text), to score, evaluate and draw from
    ├── SequenceMixture of models of different vocabularies
    └── TokenDistribution   P(token given those before it)
        ├── LanguageModel
        └── TokenMixture    of models of one vocabulary
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.language_model import Checkpoint
from charlm.config import UNKNOWN, Adapt, SamplingConfig
from charlm.engines.protocol import Engine
from charlm.errors import FieldError, UsageError, must_be_one_of
from charlm.fields import columns
from charlm.fields.scores import sums_of, sums_types
from charlm.inference.alternate import TurnSampler
from charlm.inference.beginning import log_prob_begins
from charlm.inference.drawing.known import stands_in
from charlm.inference.evaluate import Summary, summarise
from charlm.inference.next_token import NextTokens, next_tokens
from charlm.inference.sample import Sample, Sampler, fresh_seed
from charlm.inference.score import TextScore, score_distinct
from charlm.inference.stream import Fragment, fragments
from charlm.inference.unknown import Unknown
from charlm.metrics import UNITS
from charlm.models.arguments import each_text, one_text, several_texts
from charlm.models.engine_choice import EngineChoice
from charlm.text.portions import Mapped, in_turn
from charlm.text.streaming import Piece
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.prompt import Prompt

if TYPE_CHECKING:
    from charlm.novelty.measure import Novelty
    from charlm.novelty.text_index import Index


class TextModel(ABC):
    """A model, or several, and the text that it was trained on.

    ``checkpoint`` is where it stands; of several that of the first, which speaks for all of them.
    """

    checkpoint: Checkpoint

    @property
    def name(self) -> str:
        """The name of its run."""
        return self.checkpoint.path.parent.name

    @property
    def tokenizer(self) -> Tokenizer:
        """What turns texts into ids."""
        return self.checkpoint.tokenizer

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return self.checkpoint.num_parameters

    @abstractmethod
    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens after a prompt is done without torch as soon as with."""

    def forget(self) -> None:
        """Forget what helps with texts that are alike: the spelling of words that came before.

        Rounding differs with what is spelled together; after this, figures depend to the last
        digit on what comes alone.
        """
        unknown = getattr(self, "unknown", None)
        if unknown is not None:
            unknown.forget()

    def normalise(self, text: str) -> str:
        """The text as far as the model tells it from others, in which it is looked up."""
        return self.tokenizer.normalise(text)

    @property
    def known(self) -> NDArray[np.uint64] | None:
        """The hashes (S,) of its training sequences, sorted; None of one trained on files."""
        return self.checkpoint.known

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text is, word for word, a sequence of the training text; None: not known."""
        return stands_in(self.known, self.tokenizer, one_text(text, "text"))

    @functools.cached_property
    def index(self) -> "Index":
        """The index of the training text. Raises CheckpointError if the run keeps none."""
        from charlm.novelty import text_index

        about = self.checkpoint.info.get("text")
        fingerprint = about.get("fingerprint") if isinstance(about, dict) else None
        return text_index.load(self.checkpoint.path.parent, fingerprint)

    def novelty(
        self,
        texts: Iterable[str],
        *,
        prompt: str = "",
        characters: Iterable[int] | None = None,
        words: Iterable[int] | None = None,
    ) -> "Novelty":
        """What of texts is new, and what was copied from the training text.

        A prompt that they begin with was given, and is not counted. ``characters`` and ``words``
        are the n of n-grams; None are those of novelty.measure. Raises CheckpointError if the run
        keeps no index.
        """
        from charlm.novelty.measure import CHARACTERS, WORDS, measure, samples_of

        one_text(prompt, "prompt")
        texts = several_texts(texts, "texts")
        found = measure(
            self.index,
            samples_of(texts, self.normalise, prompt),
            characters=CHARACTERS if characters is None else characters,
            words=WORDS if words is None else words,
        )
        return found.judged(map(self.stands_in_training, texts))


class TextDistribution(TextModel):
    """P(text), over all texts: scored, evaluated and drawn from."""

    @abstractmethod
    def score_all(self, texts: Sequence[str], *, context: str = "") -> list[TextScore]:
        """log P of texts in nats, <EOS> included, in order; a ``context`` stands before each."""

    def score(self, text: str, *, context: str = "") -> TextScore:
        """log P(text), <EOS> included, in nats; a ``context`` stands before it, not scored."""
        return self.score_all([one_text(text, "text", _SEVERAL)], context=context)[0]

    def score_frame(
        self, frame: Any, column: str = "text", *, unit: str = "nats", prefix: str = ""
    ) -> Any:
        """A table with the figures of the texts of a column behind its own, as a new table.

        It is a DataFrame of pandas, a Table of pyarrow, or a dict of columns; names and figures are
        those of ``charlm score``, log-probabilities in ``unit``. A text that is missing has none.
        Raises UsageError if there is no such column, it holds what is no text, or a name is taken.

        >>> lm.score_frame(df, column="sentence")                      # doctest: +SKIP
        """
        if unit not in UNITS:
            raise FieldError("unit", must_be_one_of(UNITS, unit))
        kinds, texts = sums_types(unit), columns.column(frame, column)
        if taken := {prefix + name for name in kinds} & set(columns.names_of(frame)):
            raise UsageError(f"there is a column {min(taken)!r} already: give a prefix.")
        there = several_texts([text for text in texts if text is not None], column)
        scores = iter(self.score_all(there))
        rows = [
            [None] * len(kinds) if one is None else sums_of(next(scores), unit) for one in texts
        ]
        values = zip(*rows, strict=True) if rows else [[] for _ in kinds]
        added = {
            prefix + name: (kind, list(found))
            for (name, kind), found in zip(kinds.items(), values, strict=True)
        }
        return columns.with_columns(frame, added)

    @abstractmethod
    def log_prob_begins(self, text: str) -> float:
        """log P (nats) that a text begins with this one, however it goes on."""

    @abstractmethod
    def evaluate_pieces(
        self, pieces: Iterable[Piece], *, mapped: Mapped = in_turn
    ) -> Iterator[Summary]:
        """Figures of sequences in pieces (text.streaming): those so far; the last is of all.

        ``mapped`` has portions of them done, in this process or in several (text/portions.py).
        """

    def evaluate(self, texts: Iterable[str]) -> Summary:
        """All figures of a text, given as its sequences: perplexities, bits per character.

        They may come from a generator; memory does not grow with their number.
        """
        *_, summary = self.evaluate_pieces(pieces_of(texts))
        return summary

    @abstractmethod
    def sampler(self, n: int, config: SamplingConfig, prompt: str = "") -> Sampler | TurnSampler:
        """What draws, fit for a job of that size; the text does not depend on which it is."""

    def sample(
        self,
        n: int = 1,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_tokens: int = 1000,
        stop: Sequence[str] = (),
        unk: str = "resample",
        novel: bool = False,
        seed: int | None = None,
    ) -> list[Sample]:
        """Draw n sequences, each of which begins with the prompt (SamplingConfig says more).

        Temperature 0 is greedy. A sequence ends at <EOS>, before one of the ``stop`` texts, or
        after max_tokens. ``unk`` says what becomes of <UNK>: "resample", "spell" or "keep". With
        ``novel`` what stands in the training text is drawn again. The same seed gives the same
        text; without one each call draws another, which every sample tells.
        """
        one_text(prompt, "prompt")
        if not isinstance(n, int):
            raise UsageError(f"n must be a whole number, got {n!r:.40}.")
        config = sampling(temperature, top_k, top_p, max_tokens, stop, unk, seed)
        return list(self.sampler(n, config, prompt).sample(n, config, prompt=prompt, novel=novel))

    def stream(
        self,
        n: int = 1,
        *,
        prompt: str = "",
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_tokens: int = 1000,
        stop: Sequence[str] = (),
        unk: str = "resample",
        seed: int | None = None,
    ) -> Iterator[Fragment]:
        """The same n sequences one after another, each in fragments as it is drawn.

        >>> for fragment in lm.stream(prompt="Once"):                  # doctest: +SKIP
        ...     print(fragment.text, end="")
        """
        one_text(prompt, "prompt")
        if not isinstance(n, int):
            raise UsageError(f"n must be a whole number, got {n!r:.40}.")
        config = sampling(temperature, top_k, top_p, max_tokens, stop, unk, seed)
        return fragments(self.sampler(n, config, prompt), n, config, prompt=prompt)

    def most_tokens(self, n: int, config: SamplingConfig) -> int:
        """Tokens that n sequences seldom exceed: thrice what those of the training text had."""
        try:
            counts = self.checkpoint.info["text"]["train"]
            usual = int(3 * counts["characters"] / counts["sequences"]) + 1
        except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
            usual = config.max_tokens
        return n * min(config.max_tokens, usual)

    @abstractmethod
    def tuned(self, texts: Sequence[str]) -> Self:
        """The same with what is mixed in it fitted to texts that it was not trained on."""


class TokenDistribution(TextDistribution):
    """P(token given those before it), of one vocabulary: more can be told of every token.

    ``engines`` run it; ``unknown`` spells what is not in the vocabulary, None if it cannot.
    """

    engines: EngineChoice[Engine]
    unknown: Unknown | None

    @property
    def adapt(self) -> Adapt:
        """What it learns as it reads, if anything: see LanguageModel.adapting."""
        return self.engines.adapt

    @property
    def reads_in_order(self) -> bool:
        """Whether what a text is given depends on those read before it."""
        return self.adapt == "file"

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens after a prompt is done without torch as soon as with."""
        return self.engines.is_small(tokens, prompt)

    def score(
        self,
        text: str,
        *,
        context: str = "",
        per_token: bool = False,
        words: bool = False,
        closed: bool = False,
    ) -> TextScore:
        """log P(text), <EOS> included, in nats; options as for score_all.

        Every text has a probability: what is not in the vocabulary is <UNK> and spelled
        (unknown.py). Texts that differ in what ``tokenizer.ignores`` alone have one together.
        """
        texts = [one_text(text, "text", _SEVERAL)]
        return self.score_all(
            texts, context=context, per_token=per_token, words=words, closed=closed
        )[0]

    def score_all(
        self,
        texts: Sequence[str],
        *,
        context: str = "",
        per_token: bool = False,
        words: bool = False,
        closed: bool = False,
    ) -> list[TextScore]:
        """Score many texts at once, in order; faster than one by one, and the same.

        A ``context`` stands before each and is not scored. per_token and words ask for more than
        the sums. ``closed`` leaves the spelling of <UNK> out.
        """
        one_text(context, "context")
        return score_distinct(
            self.engines.for_tokens,
            self.tokenizer,
            several_texts(texts, "texts"),
            unknown=None if closed else self.unknown,
            context=context,
            per_token=per_token,
            words=words,
            repeats=self.reads_in_order,
        )

    def log_prob_begins(self, text: str) -> float:
        """log P (nats) that a text begins with this one, however it goes on."""
        engine = self.engines.for_tokens(1, one_text(text, "text"))
        return log_prob_begins(engine, self.tokenizer, self.unknown, text)

    def evaluate(self, texts: Iterable[str], *, closed: bool = False) -> Summary:
        """All figures of a text, given as its sequences: perplexities, bits per character.

        They may come from a generator; memory does not grow with their number. ``closed`` leaves
        the spelling of <UNK> out.
        """
        *_, summary = self.evaluate_pieces(pieces_of(texts), closed=closed)
        return summary

    def evaluate_pieces(
        self, pieces: Iterable[Piece], *, closed: bool = False, mapped: Mapped = in_turn
    ) -> Iterator[Summary]:
        """The same of sequences in pieces: the figures so far, and so on; the last is of all."""
        unknown = None if closed else self.unknown
        engine_for = self.engines.for_tokens
        return summarise(pieces, self.tokenizer, engine_for, unknown=unknown, mapped=mapped)

    def next_tokens(self, prefix: str = "", top: int | None = 20) -> NextTokens:
        """The types likeliest to come after a prefix, None for all, and how sure the model is.

        Raises UsageError if top is negative.
        """
        engine = self.engines.for_tokens(1, one_text(prefix, "prefix"))
        return next_tokens(engine, self.tokenizer, prefix, top=top)

    def sampler(
        self, n: int, config: SamplingConfig, prompt: str | Prompt = ""
    ) -> Sampler | TurnSampler:
        """What draws, fit for a job of that size; the text does not depend on which it is."""
        text = prompt if isinstance(prompt, str) else prompt.text
        kind = self.engines.kind_for(self.most_tokens(n, config), text)
        if kind not in self._samplers:
            self._samplers[kind] = Sampler(
                self.engines.of(kind), self.tokenizer, self.known, self.checkpoint.speller
            )
        return self._samplers[kind]

    @functools.cached_property
    def _samplers(self) -> dict[str, Sampler]:
        return {}


_SEVERAL = "Give several to score_all."


def pieces_of(texts: Iterable[str]) -> Iterator[Piece]:
    """Whole sequences as pieces; one text is refused at once."""
    return map(Piece, each_text(texts, "texts"))


def sampling(
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    max_tokens: int,
    stop: Sequence[str],
    unk: str,
    seed: int | None,
) -> SamplingConfig:
    """The config of what was asked for, with a fresh seed where none was given."""
    if unk not in UNKNOWN:
        raise FieldError("unk", must_be_one_of(UNKNOWN, unk))
    return SamplingConfig(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        max_tokens=max_tokens,
        stop=stop,  # type: ignore[arg-type]  # a list or a tuple; the config says so of others
        unknown=unk,
        seed=fresh_seed() if seed is None else seed,
    )
