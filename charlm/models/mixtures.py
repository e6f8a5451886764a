"""Several language models as one: mixed token by token, or sequence by sequence.

Models of one vocabulary are mixed token by token (engines/mixture.py), and so are models of words
and characters if that is asked for: the former then say what the next character is, over all
completions (lettered.py). Else models of different ones,
a word and a character model for instance, agree on nothing smaller than a whole text: their mixture
is

    P(text) = Σk w_k P_k(text),

over all strings, since each of them gives every string a probability, unknown words spelled out;
models that do not tell all strings apart (case, spacing) are mixed if they ignore the same.
So it counts characters, of which it is a model, and an <EOS>; what a text costs is at most
-log w_k more than it costs the model that knows it best. It is sampled from by drawing a model
for each sequence.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import Adapt, SamplingConfig
from charlm.engines import mixture
from charlm.errors import UsageError
from charlm.inference.alternate import TurnSampler
from charlm.inference.drawing.known import united
from charlm.inference.evaluate import Summary, running
from charlm.inference.score import TextScore, ended
from charlm.models.adapting import AdaptingEngines, Beside
from charlm.models.arguments import one_text, several_texts
from charlm.models.base import TextDistribution, TextModel, TokenDistribution
from charlm.models.engine_choice import MixedEngines
from charlm.models.language_model import LanguageModel
from charlm.models.lettered import LetteredModel
from charlm.text import corpus
from charlm.text.portions import Mapped, Portion, in_turn, in_whole_portions
from charlm.text.streaming import Piece
from charlm.tokenizers.word_chunks import UNKNOWN_WORD

if TYPE_CHECKING:
    from charlm.novelty.text_index import Index


def mix(
    models: Sequence[TokenDistribution],
    weights: Sequence[float] = (),
    *,
    by_character: bool = False,
) -> "TokenMixture | SequenceMixture":
    """Models as one, mixed by weights, which are made to add up to 1; by equal ones if none.

    Models of one vocabulary are mixed token by token (TokenMixture), others text by text
    (SequenceMixture), or, of words and characters, ``by_character`` (TokenMixture). Raises
    UsageError if the weights cannot be, if a model of another vocabulary than the first's cannot
    spell what it does not know, or if one tells texts apart that another does not.
    """
    if isinstance(models, (str, TextModel)):
        raise UsageError("a mixture is made of a list of models that are loaded: mix([a, b]).")
    models = list(models)
    if not models:
        raise UsageError("a mixture needs a model.")
    for model in models:
        if not isinstance(model, TokenDistribution):
            raise UsageError(
                "a mixture is made of loaded language models that read from left to right, got "
                f"{model!r:.40}: mix([a, b])."
            )
    checked = mixture.check_weights(weights, len(models))
    first = models[0]
    for model in models[1:]:
        if set(model.tokenizer.ignores) != set(first.tokenizer.ignores):
            what = " and ".join(sorted(set(model.tokenizer.ignores) ^ set(first.tokenizer.ignores)))
            raise UsageError(
                f"{first.name} and {model.name} cannot be mixed: to one of them texts that differ "
                f"in {what} alone are one, to the other each is its own. Give models trained alike."
            )
    if by_character:
        models = _by_character(models)
    files = [model.tokenizer.to_files() for model in models]
    if all(other == files[0] for other in files[1:]):
        return TokenMixture(models, checked)
    return SequenceMixture(models, checked)


def _by_character(models: Sequence[TokenDistribution]) -> list[TokenDistribution]:
    """The models, those of words as models of the characters of the first that is one of these."""
    of_characters = [one for one in models if one.tokenizer.level == "char"]
    if not of_characters:
        raise UsageError(
            "to be mixed by character, one of the models must be of characters: give one more, or "
            "leave out by_character."
        )
    characters = of_characters[0].tokenizer
    found = [
        one if one.tokenizer.level == "char" else LetteredModel(one, characters) for one in models
    ]
    files = characters.to_files()
    for model in found:
        if model.tokenizer.to_files() != files:
            raise UsageError(
                f"{of_characters[0].name} and {model.name} know different characters: mixed by "
                "character are models of the same ones, trained on the same text."
            )
    return found


class _Several(TextModel):
    """What both kinds of mixture are as texts go: all that their models were trained on."""

    models: tuple[TokenDistribution, ...]
    weights: tuple[float, ...]

    def __repr__(self) -> str:
        parts = (f"{w:.3g} {m.name}" for m, w in zip(self.models, self.weights, strict=True))
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from charlm.display.html_page import figures_table

        pairs = zip(self.models, self.weights, strict=True)
        rows = {f"{number}. {m.name}": f"{w:.3f}" for number, (m, w) in enumerate(pairs, start=1)}
        return figures_table(rows, type(self).__name__)

    @property
    def num_parameters(self) -> int:
        """How many numbers they have learned."""
        return sum(model.num_parameters for model in self.models)

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens is done without torch as soon as with."""
        return all(model.is_small(tokens * len(self.models), prompt) for model in self.models)

    @functools.cached_property
    def known(self) -> NDArray[np.uint64] | None:
        """The hashes (S,) of what any of them was trained on; None if one does not know."""
        return united(model.known for model in self.models)

    def stands_in_training(self, text: str) -> bool | None:
        """Whether a text is a sequence of a training text; None: in none of those known."""
        found = [model.stands_in_training(text) for model in self.models]
        return True if True in found else None if None in found else False

    def forget(self) -> None:
        """Forget what words were spelled."""
        for model in self.models:
            model.forget()

    def normalise(self, text: str) -> str:
        """The text as far as all of them tell it from others."""
        for model in self.models:
            text = model.normalise(text)
        return text

    @functools.cached_property
    def index(self) -> "Index":
        """The index of all training texts. Raises CheckpointError if a run keeps none."""
        from charlm.novelty import text_index

        return text_index.united([model.index for model in self.models], self.normalise)


class TokenMixture(_Several, TokenDistribution):
    """Models of one vocabulary; what is unknown is spelled as the first of them does.

    Those of words that are read by characters are never the first.
    """

    def __init__(self, models: Sequence[TokenDistribution], weights: Sequence[float]) -> None:
        first = next(one for one in models if not isinstance(one, LetteredModel))
        self.checkpoint, self.unknown = first.checkpoint, first.unknown
        self.models, self.weights = tuple(models), tuple(weights)
        self.engines = MixedEngines([model.engines for model in models], weights)

    def log_probs(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """log P (K, N) in nats that each model gives to each token of texts."""
        ids = ended(self.tokenizer, several_texts(texts, "texts"))
        kind = self.engines.kind_for(sum(map(len, ids)))
        return np.stack([model.engines.of(kind).token_log_probs(ids)[0] for model in self.models])

    def tuned(self, texts: Sequence[str]) -> Self:
        """The same models, mixed by the weights under which the tokens of texts are likeliest."""
        return type(self)(self.models, mixture.tune(self.log_probs(texts)))

    def adapting(
        self, adapt: Adapt = "sequence", *, rate: float | None = None
    ) -> "Adapting | Self":
        """One of characters that adapts, and models of words beside it: LanguageModel.adapting.

        Raises UsageError for others.
        """
        if adapt == "off" and rate is None:
            return self
        return Adapting(self, adapt, rate)


class Adapting(_Several, LanguageModel):
    """A model that adapts, of which a mixture with models of words is the network."""

    def __init__(self, mixture: TokenMixture, adapt: Adapt, rate: float | None) -> None:
        is_words = [isinstance(one, LetteredModel) for one in mixture.models]
        first = mixture.models[is_words.index(False)]
        if is_words.count(False) > 1 or not isinstance(first, LanguageModel) or not any(is_words):
            raise UsageError(
                "of models that are mixed one of characters adapts, beside models of words, by "
                "character."
            )
        self.mixture, self.models, self.weights = mixture, mixture.models, mixture.weights
        pairs = list(zip(mixture.models, mixture.weights, strict=True))
        others = [(one.engines, weight) for one, weight in pairs if isinstance(one, LetteredModel)]
        own = math.fsum(mixture.weights) - math.fsum(weight for _, weight in others)
        choices, weights = zip(*others, strict=True)
        beside = Beside(choices, (own, *weights))
        networks = first.engines.networks
        engines = AdaptingEngines(first.checkpoint, adapt, networks, rate, beside)
        super().__init__(first.checkpoint, engines=engines)

    def adapting(self, adapt: Adapt = "sequence", *, rate: float | None = None) -> Any:
        """The mixture in another way."""
        return self.mixture.adapting(adapt, rate=rate)


class SequenceMixture(_Several, TextDistribution):
    """Models of different vocabularies: they have no tokens in common, and spell all."""

    def __init__(self, models: Sequence[TokenDistribution], weights: Sequence[float]) -> None:
        self.checkpoint = models[0].checkpoint
        self.models, self.weights = tuple(models), tuple(weights)
        for model in models:
            if model.unknown is None:
                raise UsageError(
                    f"{model.name} cannot spell what it does not know, so it cannot be mixed with "
                    "a model of another vocabulary. Train it anew."
                )

    def log_probs(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """log P (K, N) in nats that each model gives to each text.

        Raises UsageError if a text names what is unknown to the models: that is other words in
        each.
        """
        texts = several_texts(texts, "texts")
        if any(UNKNOWN_WORD in self.tokenizer.unknown(text) for text in texts):
            raise UsageError(
                "the text holds <unk>, which stands for other words in each of these models: mix "
                "models of one vocabulary, or leave it out."
            )
        scores = [model.score_all(texts) for model in self.models]
        return np.array([[score.total_log_prob for score in row] for row in scores])

    def score_all(self, texts: Sequence[str], *, context: str = "") -> list[TextScore]:
        """log P of whole texts; a token is a character here, or the end.

        After a context it is log P of context and text as one, less log P that a text begins with
        the context: so the models have the weights that they have earned by it.
        """
        one_text(context, "context")
        texts = several_texts(texts, "texts")
        if not texts:
            return []
        of_each = list(self.log_probs([context + text for text in texts]))
        mixed = mixture.mix(of_each, self.weights) - self.log_prob_begins(context)
        return [
            TextScore(text=text, total_log_prob=float(value), num_tokens=len(text) + 1, num_oov=0)
            for text, value in zip(texts, mixed, strict=True)
        ]

    def evaluate_pieces(
        self, pieces: Iterable[Piece], *, mapped: Mapped = in_turn
    ) -> Iterator[Summary]:
        """The figures so far, again and again. A sequence is held in memory as a whole."""
        nothing = Summary(eos_log_prob=None, spelling_log_prob=0.0)
        return running(mapped(self._summary, in_whole_portions(pieces)), nothing)

    def _summary(self, portion: Portion) -> Summary:
        self.forget()
        scores = self.score_all(portion.texts)
        return Summary(
            **corpus.count(portion.texts)._asdict(),
            tokens=sum(score.num_tokens for score in scores),
            closed_log_prob=sum(score.total_log_prob for score in scores),
            eos_log_prob=None,
            spelling_log_prob=0.0,
        )

    def log_prob_begins(self, text: str) -> float:
        """log P (nats) that a text begins with this one, however it goes on."""
        return float(np.logaddexp.reduce(self._begun(text)))

    def sampler(self, n: int, config: SamplingConfig, prompt: str = "") -> TurnSampler:
        """What draws a model for each sequence, by what the prompt makes of the weights."""
        drawing = [model.sampler(n, config, prompt).beside(self.models) for model in self.models]
        begun = self._begun(prompt)
        return TurnSampler(drawing, np.exp(begun - np.logaddexp.reduce(begun)).tolist())

    def tuned(self, texts: Sequence[str]) -> Self:
        """The same models, mixed by the weights under which texts are likeliest."""
        return type(self)(self.models, mixture.tune(self.log_probs(texts)))

    def _begun(self, text: str) -> NDArray[np.float64]:
        """log w_k P_k(a text begins with this one) (K,): what the models have earned by it."""
        with np.errstate(divide="ignore"):
            weights = np.log(self.weights)
        begun = [
            model.log_prob_begins(text) if weight > 0 else 0.0
            for model, weight in zip(self.models, self.weights, strict=True)
        ]
        return np.asarray(weights + np.array(begun))
