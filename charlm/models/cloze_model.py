"""ClozeModel: a trained model that reads both sides of each token, as a Python object."""

from collections.abc import Iterable, Iterator, Sequence

from charlm.checkpoints.language_model import Checkpoint
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.errors import FieldError, UsageError, must_be_one_of
from charlm.inference.evaluate import summarise_whole
from charlm.inference.fill import Fillings, fill
from charlm.inference.pseudo import PseudoScore, PseudoSummary
from charlm.inference.score import score_distinct
from charlm.inference.unknown import unknown_of
from charlm.models.arguments import one_text, several_texts
from charlm.models.base import TextModel, pieces_of
from charlm.models.card import card
from charlm.models.engine_choice import ClozeEngines
from charlm.network_config import ClozeConfig
from charlm.text.portions import Mapped, in_turn
from charlm.text.streaming import Piece

_UNKNOWN = ("resample", "keep")


class ClozeModel(TextModel):
    """P(token given all others): fills the gaps of texts, and ranks texts.

    It has no next token and no probability of a text. Raises UsageError for a network that reads
    one side alone.

    >>> charlm.load("gaps").fill("The apple and [?] salad").entries    # doctest: +SKIP
    """

    def __init__(self, loaded: Checkpoint) -> None:
        if not isinstance(loaded.config, ClozeConfig):
            raise UsageError("this model reads from left to right alone: it is a LanguageModel.")
        self.checkpoint = loaded
        self.config = loaded.config
        self.unknown = unknown_of(loaded.tokenizer, loaded.speller)
        self.engines = ClozeEngines(loaded)

    def __repr__(self) -> str:
        return f"ClozeModel({str(self.checkpoint.path)!r})"

    def _repr_html_(self) -> str:
        return card("ClozeModel", self.checkpoint)

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens after a prompt is done without torch as soon as with."""
        return self.engines.is_small(tokens, prompt)

    def fill(self, text: str, *, top: int = 10, unk: str = "resample") -> Fillings:
        """The likeliest ways to fill the gaps of a text: [?] is one of one token, [?5] of five.

        <UNK> is among them where ``unk`` is "keep". A text is a sequence; for a model of whole
        files it is an excerpt, which goes on after its end. Raises TextError for a text without
        gaps.
        """
        if unk not in _UNKNOWN:
            raise FieldError("unk", must_be_one_of(_UNKNOWN, unk))
        return fill(
            self.engines.for_tokens(1, one_text(text, "text")),
            self.tokenizer,
            text,
            top=top,
            keep_unknown=unk == "keep",
            is_whole=self.checkpoint.split_on != "file",
        )

    def pseudo_score(
        self,
        text: str,
        *,
        context: str = "",
        per_token: bool = False,
        words: bool = False,
        closed: bool = False,
    ) -> PseudoScore:
        """The pseudo-log-likelihood of a text in nats; options as for pseudo_score_all."""
        texts = [one_text(text, "text", "Give several to pseudo_score_all.")]
        return self.pseudo_score_all(
            texts, context=context, per_token=per_token, words=words, closed=closed
        )[0]

    def pseudo_score_all(
        self,
        texts: Sequence[str],
        *,
        context: str = "",
        per_token: bool = False,
        words: bool = False,
        closed: bool = False,
    ) -> list[PseudoScore]:
        """Σt log P(y<t> given all other tokens) of texts, in order (Salazar et al. 2020).

        It ranks texts, and is no log-probability of them. A ``context`` stands before each and is
        not scored. per_token and words ask for more than the sums; ``closed`` leaves the spelling
        of <UNK> out.
        """
        one_text(context, "context")
        scores = score_distinct(
            self._engine_for,
            self.tokenizer,
            several_texts(texts, "texts"),
            unknown=None if closed else self.unknown,
            context=context,
            per_token=per_token,
            words=words,
        )
        return list(map(PseudoScore, scores))

    def pseudo_evaluate(self, texts: Iterable[str], *, closed: bool = False) -> PseudoSummary:
        """Pseudo-figures of a text, given as its sequences."""
        *_, summary = self.pseudo_evaluate_pieces(pieces_of(texts), closed=closed)
        return summary

    def pseudo_evaluate_pieces(
        self, pieces: Iterable[Piece], *, closed: bool = False, mapped: Mapped = in_turn
    ) -> Iterator[PseudoSummary]:
        """The same of sequences in pieces: the figures so far, and so on; the last is of all.

        A sequence is held in memory as a whole. ``mapped`` has portions of them done, in this
        process or in several (text/portions.py).
        """
        summaries = summarise_whole(
            pieces,
            self.tokenizer,
            self._engine_for,
            unknown=None if closed else self.unknown,
            mapped=mapped,
        )
        return map(PseudoSummary, summaries)

    def _engine_for(self, tokens: int) -> NumpyCloze:
        """The engine for so many tokens, each of which is read by two stacks."""
        return self.engines.for_tokens(2 * tokens)
