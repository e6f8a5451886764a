"""The models that a server answers with: by name, loaded once and whole, each with its worker.

A model is read and verified before the server listens (checkpoints/), and everything that it needs
is in memory then: what becomes of its files later, a training that goes on, a deletion, a damage,
changes no answer. The new step of a run is served by a server that is started anew.
"""

import os
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.checkpoints.pairs import PairsCheckpoint
from charlm.config import RUNS, Adapt
from charlm.errors import UsageError
from charlm.inference.labels import Labels
from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier
from charlm.models.kinds import kind_of
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel, load
from charlm.models.translator import Translator
from charlm.network_config import CountsConfig
from charlm.novelty import text_index
from charlm.serving.jobs import Call, Draw
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits
from charlm.serving.worker import Worker
from charlm.threads import num_cores
from charlm.tokenizers.base import Tokenizer


class Served:
    """A model by the name that requests have for it."""

    def __init__(self, model: AnyModel, limits: Limits, threads: int) -> None:
        self.model: Any = model
        self.name: str = model.checkpoint.path.parent.name
        self.kind = kind_of(model)
        self.step: int = model.checkpoint.step
        self.created = _written(model.checkpoint.path)
        threads = threads or max(1, num_cores() - 1)
        self.worker = Worker(model, limits, threads=threads, name=self.name)

    @property
    def labels(self) -> Labels | None:
        """The labels of a conditional model."""
        return self.model.labels if isinstance(self.model, LanguageModel) else None

    def tokenizer(self, *, target: bool = False) -> Tokenizer:
        """What cuts its texts: of a translator that of sources, or of its targets.

        Raises RequestError if there is none.
        """
        checkpoint = self.model.checkpoint
        if isinstance(checkpoint, PairsCheckpoint):
            return checkpoint.tokenizer if target else checkpoint.source_tokenizer
        if target:
            raise RequestError(
                400, f"{self.name} is no translator: it has no targets.", param="target"
            )
        if checkpoint.tokenizer is None:
            raise RequestError(400, f"{self.name} is a {self.kind}: it reads tokens that are cut.")
        tokenizer: Tokenizer = checkpoint.tokenizer
        return tokenizer

    def language_model(self, label: str | None = None, adapt: Adapt = "off") -> LanguageModel:
        """The same as a model of what comes next, given a label. Raises RequestError for others."""
        if not isinstance(self.model, LanguageModel):
            raise unsuited(self, "has no next token")
        if adapt != "off":
            return self.model.adapting(adapt)
        return self.model if label is None else self.model.with_label(label)

    def check_told(self, given: Mapping[str, Any]) -> None:
        """Raise RequestError for a label, or a way to adapt, that it does not know."""
        if given["label"] is not None and self.labels is None:
            raise RequestError(400, f"{self.name} knows no labels.", param="label")
        checkpoint = self.model.checkpoint
        if given["adapt"] != "off" and getattr(checkpoint, "adaptive", None) is None:
            raise RequestError(
                400,
                f"{self.name} keeps no memory to adapt with: it was trained without.",
                param="adapt",
            )

    async def call(
        self,
        key: Hashable,
        payload: Any,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        weight: int = 0,
    ) -> Any:
        """Ask the worker. Raises RequestError if too much waits, and whatever ``run`` raises."""
        job = Call(key, payload, run, weight)
        self.worker.submit(job)
        try:
            return await job.answer
        finally:
            job.left = True

    def draw(self, job: Draw) -> None:
        """Let the worker draw. Raises RequestError if too much waits."""
        self.worker.submit(job)

    def warm_up(self) -> None:
        """Do once, in the worker's thread, what each of its engines does at first."""
        if isinstance(self.model, LanguageModel):
            self.model.sample(1, max_tokens=2, seed=0)
            self.model.next_tokens("", top=1)
            self.model.score("")
        elif isinstance(self.model, ClozeModel):
            self.model.pseudo_score("")
        elif isinstance(self.model, Classifier):
            self.model.classify(["a " * 1000])
        elif isinstance(self.model, Translator):
            self.model.translate("", max_tokens=1)

    def to_json(self) -> dict[str, Any]:
        """What is told of it."""
        labels = (
            self.labels.names if self.labels is not None else getattr(self.model, "names", None)
        )
        config = self.model.checkpoint.config
        found = {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "charlm",
            "kind": self.kind,
            "step": self.step,
            **_shape(config),
            "has_index": text_index.stands(self.model.checkpoint.path.parent),
        }
        if isinstance(self.model, Translator):
            found["has_features"] = len(self.model.parts("")) > 1
        if self.kind != "tagger":
            tokenizer = self.tokenizer()
            found |= {"level": tokenizer.level, "vocab_size": tokenizer.vocab_size}
        return found if labels is None else {**found, "labels": list(labels)}


class Catalogue:
    """The models of a server; the first is the one that a request means which names none."""

    def __init__(self, models: Iterable[AnyModel], limits: Limits, *, threads: int = 0) -> None:
        found = [Served(model, limits, threads) for model in models]
        self.served = {one.name: one for one in found}
        if not found:
            raise UsageError("there is no model to serve.")
        if len(self.served) < len(found):
            raise UsageError("two models have the same name: requests could not tell them apart.")

    def get(self, name: str | None) -> Served:
        """The model of this name. Raises RequestError (404) if there is none."""
        if name is None:
            return next(iter(self.served.values()))
        if name not in self.served:
            there = ", ".join(self.served)
            raise RequestError(
                404,
                f"there is no model {name!r:.80} here: there are {there}.",
                param="model",
                code="model_not_found",
            )
        return self.served[name]

    def start(self) -> None:
        """Let the workers begin."""
        for one in self.served.values():
            one.worker.start()

    async def warm_up(self) -> None:
        """Return once every model is ready to answer at once."""
        for one in self.served.values():
            await one.call("warm up", one, lambda given: [served.warm_up() for served in given])

    def stop(self) -> None:
        """End the workers."""
        for one in self.served.values():
            one.worker.stop()


def load_models(names: Sequence[str], root: Path = RUNS, *, alone: bool = False) -> list[AnyModel]:
    """The models of these names, or the newest finished one if none is named.

    Raises CheckpointError for one that is not there, is damaged or belongs to nothing served.
    """
    return [load(name, alone=alone, root=root) for name in names or (None,)]


def _shape(config: Any) -> dict[str, Any]:
    """What is told of a network, or of counts."""
    of_network = ("cell", "num_layers", "hidden_size")
    names = ("order", "num_ngrams") if isinstance(config, CountsConfig) else of_network
    return {name: getattr(config, name) for name in names}


def unsuited(served: Served, why: str) -> RequestError:
    """The problem of a question that a model of this kind cannot answer."""
    return RequestError(
        400, f"{served.name} is a {served.kind}: it {why}.", param="model", code="unsuited_model"
    )


def _written(path: Path) -> int:
    """When a step was written, in seconds since 1970."""
    try:
        return int(os.stat(path / "manifest.json").st_mtime)
    except OSError:
        return int(time.time())
