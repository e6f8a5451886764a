"""Which engine runs a model: NumPy for small jobs, torch for large ones, each made on first use.

A job is small if NumPy is done with it before torch would have been imported.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.config import Adapt
from charlm.counts.interpolation import Partner
from charlm.engines.counted.engine import CountsEngine
from charlm.engines.interpolated import PartneredEngine
from charlm.engines.marginal import MarginalEngine
from charlm.engines.mixture import MixtureEngine
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.numpy_pairs import NumpyPairs
from charlm.engines.protocol import Engine, Ids
from charlm.errors import UsageError
from charlm.network_config import CausalConfig, ClozeConfig, CountsConfig

if TYPE_CHECKING:
    from charlm.engines.torch_lm import TorchEngine
    from charlm.engines.torch_pairs import TorchPairs
    from charlm.nn.causal import RecurrentLM

# What a token costs: each weight is read and used once, and each layer takes a dozen calls. A
# prompt is read by the layers alone, and torch, which must take its tokens one by one too, saves
# little of that.
_SMALL_SECONDS = 0.5
_SECONDS_PER_WEIGHT = 2e-10
_SECONDS_PER_LAYER = 6e-5
_SAVED_READING = 0.1

E = TypeVar("E")


class EngineChoice(ABC, Generic[E]):
    """The engines of one model, by their kind: ``numpy`` or ``torch``."""

    adapt: Adapt = "off"

    def __init__(self) -> None:
        self._made: dict[str, E] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": {}}  # another process makes its own

    @abstractmethod
    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether a job of so many tokens after a prompt is done without torch as soon as with."""

    @abstractmethod
    def make(self, kind: str) -> E:
        """An engine of this kind."""

    def kind_for(self, tokens: int, prompt: str = "") -> str:
        """The kind of engine for a job of so many tokens after a prompt."""
        return "torch" if "torch" in sys.modules or not self.is_small(tokens, prompt) else "numpy"

    def of(self, kind: str) -> E:
        """The engine of this kind."""
        if kind not in self._made:
            self._made[kind] = self.make(kind)
        return self._made[kind]

    def for_tokens(self, tokens: int, prompt: str = "") -> E:
        """The engine that will be done first with so many tokens after a prompt."""
        return self.of(self.kind_for(tokens, prompt))


def is_small(checkpoint: Checkpoint | PairsCheckpoint, tokens: int, prompt: str = "") -> bool:
    """Whether NumPy is done with so many tokens of one network before torch is imported."""
    if isinstance(checkpoint.config, CountsConfig):  # which torch would not help
        return True
    weights = checkpoint.weights
    every = sum(array.size for array in weights.values())
    of_layers = sum(weights[name].size for name in weights if name.startswith("layers."))
    calls = checkpoint.config.num_layers * _SECONDS_PER_LAYER
    seconds = tokens * (every * _SECONDS_PER_WEIGHT + calls)
    seconds += len(prompt) * (of_layers * _SECONDS_PER_WEIGHT + calls) * _SAVED_READING
    return seconds < _SMALL_SECONDS


def check_network(checkpoint: Checkpoint) -> None:
    """Raise UsageError for a model of counts alone: there is nothing inside it to look at."""
    if isinstance(checkpoint.config, CountsConfig):
        raise UsageError(f"{checkpoint.path.parent.name} is a model of counts: it has no network.")


class Networks(EngineChoice["NumpyEngine | TorchEngine | CountsEngine"]):
    """The network of a checkpoint by itself; of a model of counts alone, the counts."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with."""
        return is_small(self._checkpoint, tokens, prompt)

    def make(self, kind: str) -> "NumpyEngine | TorchEngine | CountsEngine":
        """The network, its weights shared with the checkpoint."""
        config, weights = self._checkpoint.config, self._checkpoint.weights
        if isinstance(config, CountsConfig):
            assert self._checkpoint.counts is not None
            return CountsEngine(config, self._checkpoint.counts)
        assert isinstance(config, CausalConfig)
        if kind == "numpy":
            return NumpyEngine(config, weights)
        from charlm.engines.torch_lm import TorchEngine
        from charlm.nn.causal import from_arrays

        return TorchEngine(from_arrays(config, weights))


class CausalEngines(EngineChoice[Engine]):
    """What runs a language model: its network, given a label or over all, its partner beside it.

    ``partner`` are the counts that the network is mixed with; ``label`` is that of the texts.
    Raises UsageError for a network that reads both sides, and so has no next token.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        partner: Partner | None,
        label: str | None = None,
        networks: Networks | None = None,
    ) -> None:
        super().__init__()
        if isinstance(checkpoint.config, ClozeConfig):
            raise UsageError("this model reads both sides of each token: it is a ClozeModel.")
        self._checkpoint, self.networks = checkpoint, networks or Networks(checkpoint)
        self.partner, self.label = partner, label
        self._of_label: dict[str, Self] = {}

    @property
    def is_marginal(self) -> bool:
        """Whether it is the mixture over all labels."""
        return self._checkpoint.labels is not None and self.label is None

    def with_label(self, label: str) -> Self:
        """The same for texts of this label; weights are shared."""
        if label not in self._of_label:
            kind = type(self)
            self._of_label[label] = kind(self._checkpoint, self.partner, label, self.networks)
        return self._of_label[label]

    def with_partner(self, partner: Partner) -> Self:
        """The same with another partner; weights are shared."""
        return type(self)(self._checkpoint, partner, self.label, self.networks)

    @property
    def module(self) -> "RecurrentLM":
        """The network as a torch module, in evaluation mode. Raises UsageError without one."""
        check_network(self._checkpoint)
        module: RecurrentLM = self.networks.of("torch").model  # type: ignore[union-attr]
        return module

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with."""
        if self.is_marginal:
            assert self._checkpoint.labels is not None
            number = len(self._checkpoint.labels.names)
            tokens, prompt = tokens * number, prompt * number
        return self.networks.is_small(tokens, prompt)

    def network(self, kind: str) -> Engine:
        """The network given the label, if there is one, without its partner."""
        network = self.networks.of(kind)
        labels = self._checkpoint.labels
        if labels is None or self.label is None:
            return network
        assert not isinstance(network, CountsEngine)
        return network.with_label(labels.index(self.label))

    def make(self, kind: str) -> Engine:
        """The network with what belongs to it."""
        labels = self._checkpoint.labels
        if labels is not None and self.label is None:
            engines = [self.with_label(label).of(kind) for label in labels.names]
            return MarginalEngine(engines, labels.log_prior)
        network = self.network(kind)
        return network if self.partner is None else PartneredEngine(network, self.partner)

    def log_likelihoods(self, ids: Sequence[Ids]) -> NDArray[np.float64]:
        """log P(text given label) (N, L) in nats of texts as ids that end in <EOS>.

        <UNK> counts as one symbol: what it stands for says nothing of the label. Nor do counts
        beside the network, which are the same for all labels: they are left out, for the shares
        that they have are those that predict texts best, and would drown what tells labels apart.
        Raises UsageError for texts that are not ids.
        """
        assert self._checkpoint.labels is not None
        if isinstance(ids, str) or any(isinstance(one, str) for one in ids):
            raise UsageError(
                "log_likelihoods takes ids, as inference.score.ended gives them, not texts."
            )
        names = self._checkpoint.labels.names
        found = np.empty((len(ids), len(names)))
        if not len(ids):
            return found
        lengths = np.array([len(one) for one in ids])
        kind = self.kind_for(int(lengths.sum()) * len(names))
        for column, label in enumerate(names):
            log_probs, _ = self.with_label(label).network(kind).token_log_probs(ids)
            found[:, column] = np.add.reduceat(log_probs, np.cumsum(lengths) - lengths)
        return found


class ClozeEngines(EngineChoice[NumpyCloze]):
    """What runs a bidirectional model."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with."""
        return is_small(self._checkpoint, tokens, prompt)

    def make(self, kind: str) -> NumpyCloze:
        """Both stacks."""
        config, weights = self._checkpoint.config, self._checkpoint.weights
        assert isinstance(config, ClozeConfig)
        if kind == "numpy":
            return NumpyCloze(config, weights)
        from charlm.engines.torch_cloze import TorchCloze
        from charlm.nn.bidirectional import from_arrays

        return TorchCloze(from_arrays(config, weights))


class MixedEngines(EngineChoice[Engine]):
    """What runs models of one vocabulary as one, mixed by weights."""

    def __init__(self, choices: Sequence[EngineChoice[Engine]], weights: Sequence[float]) -> None:
        super().__init__()
        self._choices, self._weights = tuple(choices), tuple(weights)

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with."""
        number = len(self._choices)
        return all(choice.is_small(tokens * number, prompt) for choice in self._choices)

    def make(self, kind: str) -> Engine:
        """Their engines of this kind, mixed."""
        return MixtureEngine([choice.of(kind) for choice in self._choices], self._weights)


class PairEngines(EngineChoice["NumpyPairs | TorchPairs"]):
    """What runs a translator: ``exact`` is in double precision."""

    def __init__(self, checkpoint: PairsCheckpoint) -> None:
        super().__init__()
        self._checkpoint = checkpoint

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with."""
        return is_small(self._checkpoint, tokens, prompt)

    def make(self, kind: str) -> "NumpyPairs | TorchPairs":
        """Encoder and decoder."""
        config, weights = self._checkpoint.config, self._checkpoint.weights
        if kind != "torch":
            return NumpyPairs(config, weights, np.float64 if kind == "exact" else np.float32)
        from charlm.engines.torch_pairs import TorchPairs
        from charlm.nn.pairs import from_arrays

        return TorchPairs(from_arrays(config, weights))
