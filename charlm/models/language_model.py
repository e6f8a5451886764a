"""LanguageModel: a trained model that reads from left to right, as a Python object."""

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.language_model import Checkpoint
from charlm.config import Adapt, SamplingConfig
from charlm.counts.interpolation import Partner, fit
from charlm.engines.interpolated import PartneredReader
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import Reader
from charlm.errors import TextError, UsageError
from charlm.inference.alternate import TurnSampler, weights_after
from charlm.inference.classify import log_posterior
from charlm.inference.evaluate import Summary, Summing, nothing_yet, summarise
from charlm.inference.labels import Labels
from charlm.inference.sample import Sampler
from charlm.inference.score import ended
from charlm.inference.unknown import unknown_of
from charlm.models.activations import Activations, activations
from charlm.models.adapting import AdaptingEngines
from charlm.models.arguments import one_text, several_texts
from charlm.models.base import TokenDistribution, pieces_of
from charlm.models.card import card
from charlm.models.engine_choice import CausalEngines, check_network
from charlm.network_config import CausalConfig
from charlm.text.portions import Mapped, Portion, in_portions, in_turn
from charlm.text.streaming import Piece
from charlm.tokenizers.prompt import Prompt

if TYPE_CHECKING:
    from charlm.nn.causal import RecurrentLM
    from charlm.text.labelled import Labelled

_NO_LABELS = "this model knows no labels: train one with label_from, or with labels."


class LanguageModel(TokenDistribution):
    """A model with its tokenizer: scores texts, draws new ones, tells what may come next.

    With ``alone`` a network that was trained with a partner (n-grams, a cache) is without it.
    Raises UsageError for a network that reads both sides of each token.

    >>> lm = charlm.load("checkpoints/prose")                          # doctest: +SKIP
    >>> lm.score("The apple and pear salad").total_log_prob            # doctest: +SKIP
    """

    engines: CausalEngines

    def __init__(
        self, loaded: Checkpoint, *, alone: bool = False, engines: CausalEngines | None = None
    ) -> None:
        self.checkpoint = loaded
        self.config = loaded.config
        self.unknown = unknown_of(loaded.tokenizer, loaded.speller)
        self.engines = engines or CausalEngines(loaded, None if alone else loaded.partner)

    def __repr__(self) -> str:
        given = "" if self.label is None else f", label={self.label!r}"
        return f"LanguageModel({str(self.checkpoint.path)!r}{given})"

    def _repr_html_(self) -> str:
        more = {} if self.labels is None else {"labels": ", ".join(self.labels.names[:20])}
        more |= {} if self.label is None else {"label": self.label}
        return card("LanguageModel", self.checkpoint, **more)

    @property
    def shape(self) -> CausalConfig:
        """The shape of its network. Raises UsageError for a model of counts alone."""
        check_network(self.checkpoint)
        assert isinstance(self.config, CausalConfig)
        return self.config

    @property
    def model(self) -> "RecurrentLM":
        """The network as a torch module, in evaluation mode. Raises UsageError without one."""
        return self.engines.module

    @property
    def partner(self) -> Partner | None:
        """What the network, or a model of counts, is mixed with; None if it is alone."""
        return self.engines.partner

    def activations(self, text: str) -> Activations:
        """States and gates at each token of a text, by name, as arrays (T, L, H).

        They are those of the network: what stands beside it has none. Raises UsageError for a
        model with labels that was given none.

        >>> lm.activations("The cat").states["h"]                      # doctest: +SKIP
        """
        one_text(text, "text")
        check_network(self.checkpoint)
        if self.is_marginal:
            raise UsageError("this model is one network for each label: choose one, with_label.")
        network = self.engines.network("numpy")
        assert isinstance(network, NumpyEngine)
        return activations(network.config.cell, network.weights, self.tokenizer, text)

    # Labels

    @property
    def labels(self) -> Labels | None:
        """The labels of a conditional model; None of one that knows of none."""
        return self.checkpoint.labels

    @property
    def label(self) -> str | None:
        """The label of the texts that it is a model of; None for all texts."""
        return self.engines.label

    @property
    def is_marginal(self) -> bool:
        """Whether it is the mixture over all labels."""
        return self.engines.is_marginal

    def with_label(self, label: str) -> Self:
        """The same model for texts of this label: P(text given label).

        Without, a conditional model is the mixture over its labels, by the share that each had in
        training. The weights are shared. Raises UsageError for a label that it does not know.
        """
        if self.labels is None:
            raise UsageError(_NO_LABELS)
        self.labels.index(label)
        if label not in self._of_label:
            given = self.engines.with_label(label)
            self._of_label[label] = type(self)(self.checkpoint, engines=given)
        return self._of_label[label]

    @functools.cached_property
    def _of_label(self) -> dict[str, Self]:
        return {}

    def classify(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """P(label given text) (N, L) of texts, in the order of ``labels``; rows add up to 1.

        By Bayes' rule from P(text given label), calibrated on the text that training held out.
        """
        return np.exp(self.log_posteriors(texts))

    def log_posteriors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Natural logarithms of what ``classify`` gives. Raises UsageError without labels."""
        if self.labels is None:
            raise UsageError(_NO_LABELS)
        log_probs = self.engines.log_likelihoods(
            ended(self.tokenizer, several_texts(texts, "texts"))
        )
        return log_posterior(log_probs, self.labels.log_prior, self.labels.temperature or 1.0)

    # Learning while reading

    def adapting(self, adapt: Adapt = "sequence", *, rate: float | None = None) -> Self:
        """The same model mixed with contexts of its training text, by weights that were learned.

        "frozen": nothing is learned, and its figures are those of a static model. "sequence":
        memory and weights go on learning within each sequence, and begin anew with the next, so
        what a text is given depends on it alone. "file": they go on over all texts in the order
        that they are given, call after call; what is drawn or comes next needs one of the others.
        With a ``rate`` (engines/dynamic.py) the network learns from the file, too. "off" is the
        model as it was trained. Raises UsageError for one that was not trained with adaptive.

        >>> lm.adapting("frozen").score("The apple and pear salad")        # doctest: +SKIP
        """
        if adapt == self.adapt == "off" and rate is None:
            return self
        if adapt in self._of_adapt and rate is None:
            return self._of_adapt[adapt]
        networks = self.engines.networks
        if adapt == "off" and rate is None:
            engines = CausalEngines(self.checkpoint, self.checkpoint.partner, networks=networks)
        else:
            engines = AdaptingEngines(self.checkpoint, adapt, networks, rate)
        found = type(self)(self.checkpoint, engines=engines)
        if adapt != "file":  # which learns, and so is another each time
            self._of_adapt[adapt] = found
        return found

    @functools.cached_property
    def _of_adapt(self) -> dict[Adapt, Self]:
        return {}

    def evaluate(
        self, texts: Iterable[str], *, closed: bool = False, rate: float | None = None
    ) -> Summary:
        """All figures of a text, given as its sequences: perplexities, bits per character.

        They may come from a generator; memory does not grow with their number. ``closed`` leaves
        the spelling of <UNK> out. With a ``rate`` they are those of a model that goes on learning
        from them, with steps of that size (engines/dynamic.py; its RATES are good ones). This
        model stays as it is.
        """
        *_, summary = self.evaluate_pieces(pieces_of(texts), closed=closed, rate=rate)
        return summary

    def evaluate_pieces(
        self,
        pieces: Iterable[Piece],
        *,
        closed: bool = False,
        rate: float | None = None,
        mapped: Mapped = in_turn,
    ) -> Iterator[Summary]:
        """The same of sequences in pieces: the figures so far, and so on; the last is of all.

        What learns as it reads does so in this process, whatever ``mapped`` is.
        """
        if rate is not None and self.adapt != "off":
            return self.adapting(self.adapt, rate=rate).evaluate_pieces(pieces, closed=closed)
        if rate is None:
            by = in_turn if self.reads_in_order else mapped
            return super().evaluate_pieces(pieces, closed=closed, mapped=by)
        if self.labels is not None:
            raise UsageError("a model with labels cannot learn as it reads: leave out the rate.")
        from charlm.engines.dynamic import DynamicEvaluator

        learner: Reader = DynamicEvaluator(self.model, rate=rate)
        if self.partner is not None:
            learner = PartneredReader(learner, self.partner, self.config.vocab_size)
        unknown = None if closed else self.unknown
        return summarise(pieces, self.tokenizer, lambda _: learner, unknown=unknown)

    def evaluate_labelled(
        self, found: "Iterable[Labelled]", *, closed: bool = False, mapped: Mapped = in_turn
    ) -> Summary:
        """All figures of sequences, each given its own label. Raises TextError for no text."""
        texts: dict[str, list[str]] = {}
        for one in found:
            texts.setdefault(one.label, []).append(one.text)
        if not texts:
            raise TextError("there is no text in the files.")
        unknown = None if closed else self.unknown
        summing = {
            label: Summing(self.tokenizer, self.with_label(label).engines.for_tokens, unknown)
            for label in sorted(texts)
        }
        portions = [
            _Labelled(label, portion)
            for label in sorted(texts)
            for portion in in_portions(map(Piece, texts[label]))
        ]
        totals = dict.fromkeys(summing, nothing_yet(unknown))
        summaries = mapped(_OfLabels(summing), portions)
        for (label, _), summary in zip(portions, summaries, strict=True):
            totals[label] += summary
        return functools.reduce(operator.add, totals.values())

    # Drawing

    def sampler(
        self, n: int, config: SamplingConfig, prompt: str | Prompt = ""
    ) -> Sampler | TurnSampler:
        """What draws; of all labels one for each sequence, by what the prompt makes of them."""
        if self.labels is None or not self.is_marginal:
            return super().sampler(n, config, prompt)
        models = [self.with_label(label) for label in self.labels.names]
        given = Prompt(self.tokenizer, prompt) if isinstance(prompt, str) else prompt
        begun = np.array(given.begun, dtype=np.int64)
        kind = self.engines.kind_for(len(begun))
        engines = [model.engines.of(kind) for model in models] if len(begun) else []
        weights = weights_after(begun, self.labels.log_prior, engines)
        return TurnSampler([model.sampler(n, config, prompt) for model in models], weights)

    def tuned(self, texts: Sequence[str]) -> Self:
        """The same model with its partner's shares and strengths fitted to texts.

        They should be texts that it was not trained on. Raises UsageError without a partner.
        """
        if self.labels is not None:
            raise UsageError("a model with labels is not tuned.")
        if self.adapt != "off":
            raise UsageError("what adapts has learned its weights in training, and is not tuned.")
        if self.partner is None:
            raise UsageError("there is nothing to tune: one model, which was trained alone.")
        ids = ended(self.tokenizer, several_texts(texts, "texts"))
        network = self.engines.network(self.engines.kind_for(sum(map(len, ids))))
        log_probs, _ = network.token_log_probs(ids)
        fitted = fit(self.partner, log_probs, self.partner.evidence(ids))
        return type(self)(self.checkpoint, engines=self.engines.with_partner(fitted))


class _Labelled(NamedTuple):
    """A portion of texts of one label."""

    label: str
    portion: Portion

    @property
    def part_of(self) -> tuple[str, int] | None:
        """The long sequence that it is a part of."""
        number = self.portion.part_of
        return None if number is None else (self.label, number)


class _OfLabels:
    """The summary of a portion given its label."""

    def __init__(self, summing: dict[str, Summing]) -> None:
        self._summing = summing

    def __call__(self, one: _Labelled) -> Summary:
        return self._summing[one.label](one.portion)
