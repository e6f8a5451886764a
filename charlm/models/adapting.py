"""Which engine runs a model that adapts: its mixture frozen, or learning as it reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from charlm.checkpoints.language_model import Checkpoint
from charlm.config import ADAPTS, Adapt
from charlm.engines.adapting.engine import AdaptiveEngine
from charlm.engines.adapting.stream import AdaptiveStream
from charlm.engines.mixture import MixtureEngine
from charlm.engines.protocol import Engine, RowEngine
from charlm.errors import FieldError, UsageError, must_be_one_of
from charlm.models.engine_choice import CausalEngines, EngineChoice, Networks

_NO_MEMORY = "this model has no memory to adapt with: train one with `adaptive`."


class Beside(NamedTuple):
    """What is mixed with the network before anything else is, and the weights, its own first."""

    choices: Sequence[EngineChoice[Engine]]
    weights: Sequence[float]


class AdaptingEngines(CausalEngines):
    """What runs a network with its adaptive mixture; weights are shared with other engines.

    With a ``rate`` the network learns, too, by steps of that size; that is for "file" alone. What
    stands ``beside`` it speaks with it, as one predictor.
    Raises UsageError for a model that was not trained for it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        adapt: Adapt,
        networks: Networks | None = None,
        rate: float | None = None,
        beside: Beside | None = None,
    ) -> None:
        super().__init__(checkpoint, checkpoint.partner, networks=networks)
        if adapt not in ADAPTS:
            raise FieldError("adapt", must_be_one_of(ADAPTS, adapt))
        if checkpoint.adaptive is None:
            raise UsageError(_NO_MEMORY)
        if rate is not None and adapt != "file":
            raise UsageError("the network learns as it reads a file: take adapt file with a rate.")
        self.adapt, self._adaptive, self._rate = adapt, checkpoint.adaptive, rate
        self._beside = beside

    def kind_for(self, tokens: int, prompt: str = "") -> str:
        """The kind of engine for such a job; what reads on and on has one for all."""
        return "torch" if self.adapt == "file" else super().kind_for(tokens, prompt)

    def make(self, kind: str) -> Engine:
        """The network with what belongs to it."""
        network = cast(RowEngine, self.network(kind))
        if self._beside is not None:
            others = [choice.of(kind) for choice in self._beside.choices]
            network = cast(RowEngine, MixtureEngine([network, *others], self._beside.weights))
        if self.adapt != "file":
            return AdaptiveEngine(network, self._adaptive, learns=self.adapt == "sequence")
        dynamic: Any = None
        if self._rate is not None:
            from charlm.engines.dynamic import DynamicEvaluator

            dynamic = DynamicEvaluator(self.module, rate=self._rate)
        return AdaptiveStream(network, self._adaptive, dynamic)
