"""LanguageModel: a trained model as a Python object."""

import copy
import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.language_model import Checkpoint
from charlm.config import RUNS, SamplingConfig
from charlm.counts import interpolation
from charlm.engines.interpolated import PartneredEngine, PartneredReader
from charlm.engines.marginal import MarginalEngine
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import Engine, Ids, Reader
from charlm.errors import UsageError
from charlm.inference.alternate import TurnSampler
from charlm.inference.beginning import log_prob_begins
from charlm.inference.classify import log_posterior
from charlm.inference.evaluate import Summary, summarise, summarise_whole
from charlm.inference.fill import Fillings, fill
from charlm.inference.labels import Labels
from charlm.inference.next_token import NextTokens, next_tokens
from charlm.inference.pseudo import PseudoScore, PseudoSummary
from charlm.inference.sample import Sample, Sampler, fresh_seed, stands_in
from charlm.inference.score import TextScore, ended, score_texts
from charlm.inference.unknown import unknown_of
from charlm.models.arguments import each_text, one_text, several_texts
from charlm.text.streaming import Piece
from charlm.tokenizers.prompt import Prompt

if TYPE_CHECKING:
    from charlm.nn.causal import RecurrentLM
    from charlm.novelty.measure import Novelty
    from charlm.novelty.text_index import Index

# A job is small if NumPy is done with it before torch would have been imported. What a token
# costs: each weight is read and used once, and each layer takes a dozen calls. A prompt is read
# by the layers alone, and torch, which must take its tokens one by one too, saves little of that.
_SMALL_SECONDS = 0.5
_SECONDS_PER_WEIGHT = 2e-10
_SECONDS_PER_LAYER = 6e-5
_SAVED_READING = 0.1


class LanguageModel:
    """A model with its tokenizer: scores texts, draws new ones, tells what may come next.

    >>> lm = charlm.load("checkpoints/prose")                          # doctest: +SKIP
    >>> lm.score("The apple and pear salad").total_log_prob            # doctest: +SKIP
    """

    def __init__(self, loaded: Checkpoint, *, alone: bool = False) -> None:
        self.checkpoint = loaded
        self.config = loaded.config
        self.tokenizer = loaded.tokenizer
        self.unknown = unknown_of(loaded.tokenizer, loaded.speller)
        self.partner = None if alone else loaded.partner
        self.label: str | None = None
        self._networks: dict[str, Engine] = {}
        self._engines: dict[str, Engine] = {}
        self._samplers: dict[str, Sampler] = {}
        self._clozes: dict[str, NumpyCloze] = {}

    @property
    def model(self) -> "RecurrentLM":
        """The network as a torch module, in evaluation mode."""
        engine = self._network("torch")
        model: RecurrentLM = engine.model  # type: ignore[attr-defined]
        return model

    @property
    def labels(self) -> Labels | None:
        """The labels of a conditional model; None of one that knows of none."""
        return self.checkpoint.labels

    @functools.cached_property
    def _of_label(self) -> "dict[str, Self]":
        return {}

    def with_label(self, label: str) -> Self:
        """The same model for texts of this label: P(text given label).

        Without, a conditional model is the mixture over its labels, by the share that each had in
        training. The weights are shared. Raises UsageError for a label that it does not know.
        """
        if self.labels is None:
            raise UsageError(
                "this model knows no labels: train one with --label-from to write in kinds."
            )
        self.labels.index(label)
        if label not in self._of_label:
            given = copy.copy(self)
            given.__dict__.pop("_of_label")
            given.label, given._engines, given._samplers = label, {}, {}
            self._of_label[label] = given
        return self._of_label[label]

    @property
    def is_marginal(self) -> bool:
        """Whether it is the mixture over all labels."""
        return self.labels is not None and self.label is None

    def log_likelihoods(self, ids: Sequence[Ids]) -> NDArray[np.float64]:
        """log P(text given label) (N, L) in nats of texts as ids that end in <EOS>.

        <UNK> counts as one symbol: what it stands for says nothing of the label. Nor do counts
        beside the network, which are the same for all labels: they are left out, for the shares
        that they have are those that predict texts best, and would drown what tells labels apart.
        Raises UsageError if the model knows no labels.
        """
        if self.labels is None:
            raise UsageError("this model knows no labels: train one with --label-from.")
        if isinstance(ids, str) or any(isinstance(one, str) for one in ids):
            raise UsageError(
                "log_likelihoods takes ids, as inference.score.ended gives them, not texts."
            )
        found = np.empty((len(ids), len(self.labels.names)))
        if not len(ids):
            return found
        lengths = np.array([len(one) for one in ids])
        kind = self.kind_for(int(lengths.sum()) * len(self.labels.names))
        for column, label in enumerate(self.labels.names):
            log_probs, _ = self.with_label(label)._given(kind).token_log_probs(ids)
            found[:, column] = np.add.reduceat(log_probs, np.cumsum(lengths) - lengths)
        return found

    def classify(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """P(label given text) (N, L) of texts, in the order of ``labels``; rows add up to 1.

        By Bayes' rule from P(text given label), calibrated on the text that training held out.
        """
        return np.exp(self.log_posteriors(texts))

    def log_posteriors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Natural logarithms of what ``classify`` gives."""
        texts = several_texts(texts, "texts")
        log_probs = self.log_likelihoods(ended(self.tokenizer, texts))
        assert self.labels is not None
        return log_posterior(log_probs, self.labels.log_prior, self.labels.temperature or 1.0)

    @property
    def num_parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(array.size for array in self.checkpoint.weights.values())

    def score(self, text: str, **options: Any) -> TextScore:
        """log P(text), <EOS> included, in nats; options as for score_all.

        Every text has a probability: what is not in the vocabulary is <UNK> and spelled
        (unknown.py). Texts that differ in what ``tokenizer.ignores`` alone have one together.
        """
        return self.score_all([one_text(text, "text", "Give several to score_all.")], **options)[0]

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
        texts = several_texts(texts, "texts")
        distinct = list(dict.fromkeys(texts))
        kind = self.kind_for(sum(len(context) + len(text) + 1 for text in distinct))
        scores = score_texts(
            self.engine(kind),
            self.tokenizer,
            distinct,
            unknown=None if closed else self.unknown,
            context=context,
            per_token=per_token,
            words=words,
        )
        of_text = dict(zip(distinct, scores, strict=True))
        return [of_text[text] for text in texts]

    def log_prob_begins(self, text: str) -> float:
        """log P (nats) that a text begins with this one, however it goes on (beginning.py)."""
        engine = self.engine(self.kind_for(1, one_text(text, "text")))
        return log_prob_begins(engine, self.tokenizer, self.unknown, text)

    def evaluate(
        self, texts: Iterable[str], *, closed: bool = False, rate: float | None = None
    ) -> Summary:
        """All figures of a text, given as its sequences: perplexities, bits per character.

        They may come from a generator; memory does not grow with their number. With a ``rate``
        they are those of a model that goes on learning from them, with steps of that size
        (dynamic.py; its RATES are good ones). This model stays as it is.
        """
        pieces = map(Piece, each_text(texts, "texts"))
        *_, summary = self.evaluate_pieces(pieces, closed=closed, rate=rate)
        return summary

    def evaluate_pieces(
        self, pieces: Iterable[Piece], *, closed: bool = False, rate: float | None = None
    ) -> Iterator[Summary]:
        """The same of sequences in pieces (streams.read_sequences): the figures so far, and so on.

        The last summary is that of the whole.
        """
        unknown = None if closed else self.unknown
        if rate is None:
            return summarise(pieces, self.tokenizer, self.engine_for, unknown=unknown)
        if self.labels is not None:
            raise UsageError("a model with labels cannot learn as it reads: leave out --dynamic.")
        from charlm.engines.dynamic import DynamicEvaluator

        learner: Reader = DynamicEvaluator(self.model, rate=rate)
        if self.partner is not None:
            learner = PartneredReader(learner, self.partner, self.config.vocab_size)
        return summarise(pieces, self.tokenizer, lambda _: learner, unknown=unknown)

    def sample(
        self,
        n: int = 1,
        *,
        prompt: str = "",
        novel: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> list[Sample]:
        """Draw n sequences; options are the fields of SamplingConfig (temperature, top_k, …).

        The same seed gives the same text. Without one each call draws another, which every sample
        tells.
        """
        one_text(prompt, "prompt")
        if not isinstance(n, int):
            raise UsageError(f"n must be a whole number, got {n!r:.40}.")
        config = SamplingConfig(**options, seed=fresh_seed() if seed is None else seed)
        sampler = self.sampler(n, config, prompt)
        return list(sampler.sample(n, config, prompt=prompt, novel=novel))

    def next_tokens(self, prefix: str = "", top: int | None = 20) -> NextTokens:
        """The types likeliest to come after a prefix, None for all, and how sure the model is.

        Raises UsageError if top is negative.
        """
        engine = self.engine(self.kind_for(1, one_text(prefix, "prefix")))
        return next_tokens(engine, self.tokenizer, prefix, top=top)

    def fill(self, text: str, *, top: int = 10, keep_unknown: bool = False) -> Fillings:
        """The likeliest ways to fill the gaps of a text: [?] is one of one token, [?5] of five.

        <UNK> is among them with ``keep_unknown``. A text is a sequence; for a model of whole files
        it is an excerpt, which goes on after its end. Raises TextError for a text without gaps,
        UsageError if the model reads one side alone (it was trained without --bidirectional).
        """
        cloze = self._cloze(self.kind_for(1, one_text(text, "text")))
        return fill(
            cloze,
            self.tokenizer,
            text,
            top=top,
            keep_unknown=keep_unknown,
            is_whole=self.checkpoint.split_on != "file",
        )

    def pseudo_score(self, text: str, **options: Any) -> PseudoScore:
        """The pseudo-log-likelihood of a text in nats; options as for pseudo_score_all."""
        several = "Give several to pseudo_score_all."
        return self.pseudo_score_all([one_text(text, "text", several)], **options)[0]

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

        It ranks texts, and is no log-probability of them. Options as for score_all. Raises
        UsageError if the model reads one side alone.
        """
        one_text(context, "context")
        texts = several_texts(texts, "texts")
        distinct = list(dict.fromkeys(texts))
        scores = score_texts(
            self._cloze_for(sum(len(context) + len(text) + 1 for text in distinct)),
            self.tokenizer,
            distinct,
            unknown=None if closed else self.unknown,
            context=context,
            per_token=per_token,
            words=words,
        )
        of_text = dict(zip(distinct, map(PseudoScore, scores), strict=True))
        return [of_text[text] for text in texts]

    def pseudo_evaluate_pieces(
        self, pieces: Iterable[Piece], *, closed: bool = False
    ) -> Iterator[PseudoSummary]:
        """Pseudo-figures of sequences in pieces: those so far, and so on; the last is of the whole.

        A sequence is held in memory as a whole. Raises UsageError as pseudo_score_all does.
        """
        unknown = None if closed else self.unknown
        summaries = summarise_whole(pieces, self.tokenizer, self._cloze_for, unknown=unknown)
        yield from map(PseudoSummary, summaries)

    def _cloze_for(self, tokens: int) -> NumpyCloze:
        """What will be done first with so many tokens, each read by two stacks."""
        return self._cloze(self.kind_for(2 * tokens))

    def _cloze(self, kind: str) -> NumpyCloze:
        """What runs a bidirectional model, made on first use. Raises UsageError if it is none."""
        if not self.config.bidirectional:
            raise UsageError(
                "this model reads a text from left to right alone: gaps are filled, and texts "
                "scored from both sides, by one trained with --bidirectional."
            )
        if kind not in self._clozes:
            config, weights = self.checkpoint.config, self.checkpoint.weights
            if kind == "numpy":
                self._clozes[kind] = NumpyCloze(config, weights)
            else:
                from charlm.engines.torch_cloze import TorchCloze
                from charlm.nn.bidirectional import from_arrays

                self._clozes[kind] = TorchCloze(from_arrays(config, weights))
        return self._clozes[kind]

    def novelty(self, texts: Iterable[str], *, prompt: str = "", **options: Any) -> "Novelty":
        """What of texts is new, and what was copied from the training text.

        A prompt that they begin with was given, and is not counted; options are the n of n-grams,
        as for novelty.measure. Raises CheckpointError if the run keeps no index.
        """
        from charlm.novelty.measure import measure, samples_of

        one_text(prompt, "prompt")
        texts = several_texts(texts, "texts")
        found = measure(self.index, samples_of(texts, self.normalise, prompt), **options)
        return found.judged(map(self.stands_in_training, texts))

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

    def sampler(self, n: int, config: SamplingConfig, prompt: str = "") -> Sampler:
        """What draws, fit for a job of that size; the text does not depend on which it is."""
        if self.is_marginal:
            turns: Sampler = self._turn_sampler(n, config, prompt)
            return turns
        kind = self.kind_for(self.most_tokens(n, config), prompt)
        if kind not in self._samplers:
            engine = self.engine(kind)
            self._samplers[kind] = Sampler(
                engine, self.tokenizer, self.known, self.checkpoint.speller
            )
        return self._samplers[kind]

    def _turn_sampler(self, n: int, config: SamplingConfig, prompt: str) -> Any:
        """What draws a label for each sequence, by what the prompt makes of the shares."""
        assert self.labels is not None
        log_prior = self.labels.log_prior
        begun = np.array(Prompt(self.tokenizer, prompt).ids, dtype=np.int64)
        models = [self.with_label(label) for label in self.labels.names]
        joint = log_prior.copy()
        if len(begun):
            kind = self.kind_for(len(begun))
            joint += [model.engine(kind).read_on(begun)[0].sum() for model in models]
        weights = np.exp(joint - np.logaddexp.reduce(joint))
        return TurnSampler([model.sampler(n, config, prompt) for model in models], weights.tolist())

    def most_tokens(self, n: int, config: SamplingConfig) -> int:
        """Tokens that n sequences seldom exceed: thrice what those of the training text had."""
        try:
            counts = self.checkpoint.info["text"]["train"]
            usual = int(3 * counts["characters"] / counts["sequences"]) + 1
        except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
            usual = config.max_tokens
        return n * min(config.max_tokens, usual)

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens after a prompt is done without torch as soon as with."""
        if self.is_marginal:
            assert self.labels is not None
            number = len(self.labels.names)
            tokens, prompt = tokens * number, prompt * number
        weights = self.checkpoint.weights
        of_layers = sum(weights[name].size for name in weights if name.startswith("layers."))
        calls = self.config.num_layers * _SECONDS_PER_LAYER
        seconds = tokens * (self.num_parameters * _SECONDS_PER_WEIGHT + calls)
        seconds += len(prompt) * (of_layers * _SECONDS_PER_WEIGHT + calls) * _SAVED_READING
        return seconds < _SMALL_SECONDS

    def kind_for(self, tokens: int, prompt: str = "") -> str:
        """The kind of engine for a job of so many tokens after a prompt: numpy or torch."""
        return "torch" if "torch" in sys.modules or not self.is_small(tokens, prompt) else "numpy"

    def engine_for(self, tokens: int) -> Engine:
        """The engine that will be done first with so many tokens."""
        return self.engine(self.kind_for(tokens))

    def engine(self, kind: str) -> Engine:
        """What runs the model, its partner included; made on first use."""
        if kind not in self._engines:
            self._engines[kind] = self._made(kind)
        return self._engines[kind]

    def _made(self, kind: str) -> Engine:
        if self.is_marginal:
            assert self.labels is not None
            engines = [self.with_label(label).engine(kind) for label in self.labels.names]
            return MarginalEngine(engines, self.labels.log_prior)
        network = self._given(kind)
        return network if self.partner is None else PartneredEngine(network, self.partner)

    def _given(self, kind: str) -> Engine:
        """The network on this kind of engine, given the label if there is one."""
        network = self._network(kind)
        if self.labels is None or self.label is None:
            return network
        given: Engine = network.with_label(self.labels.index(self.label))  # type: ignore[attr-defined]
        return given

    def _network(self, kind: str) -> Engine:
        """The network on this kind of engine, made on first use.

        Raises UsageError for a bidirectional one, which does not run from left to right.
        """
        if self.config.bidirectional:
            raise UsageError(
                "this model reads both sides of each token (--bidirectional), so it has no next "
                "token to draw or predict, and no probability of a text. Fill gaps with charlm "
                "fill, score with charlm score (pseudo-log-likelihood), or take a model trained "
                "without --bidirectional."
            )
        if kind not in self._networks:
            config, weights = self.checkpoint.config, self.checkpoint.weights
            if kind == "numpy":
                self._networks[kind] = NumpyEngine(config, weights)
            else:
                from charlm.engines.torch_lm import TorchEngine
                from charlm.nn.causal import from_arrays

                self._networks[kind] = TorchEngine(from_arrays(config, weights))
        return self._networks[kind]

    def tuned(self, texts: Sequence[str]) -> Self:
        """The same model with its partner's shares and strengths fitted to texts.

        They should be texts that it was not trained on. Raises UsageError without a partner.
        """
        if self.labels is not None:
            raise UsageError("a model with labels is not tuned.")
        if self.partner is None:
            raise UsageError("there is nothing to tune: one model, which was trained alone.")
        ids = ended(self.tokenizer, several_texts(texts, "texts"))
        log_probs, _ = self._network(self.kind_for(sum(map(len, ids)))).token_log_probs(ids)
        fitted = interpolation.fit(self.partner, log_probs, self.partner.evidence(ids))
        tuned = copy.copy(self)
        tuned.partner, tuned._engines, tuned._samplers = fitted, {}, {}
        return tuned


def load(
    model: str | Path | None = None, *, alone: bool = False, root: str | Path = RUNS
) -> LanguageModel:
    """Load a run or a step by path, or by its name below ``root``; None is the newest there.

    With ``alone`` a network that was trained with a partner (n-grams, a cache) is without it.
    Raises CheckpointError if there is none, or if it is damaged.
    """
    found = Checkpoint.find(None if model is None else str(model), Path(root))
    return LanguageModel(found, alone=alone)
