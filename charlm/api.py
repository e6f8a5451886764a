"""LanguageModel: a trained model as a Python object."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm import checkpoint
from charlm.config import SamplingConfig
from charlm.sampling import Sample, Sampler
from charlm.scoring import TextScore, score_texts


class LanguageModel:
    """A model with its tokenizer: scores texts and draws new ones.

    >>> lm = charlm.load("checkpoints/prose")                          # doctest: +SKIP
    >>> lm.score("The apple and pear salad").total_log_prob            # doctest: +SKIP
    """

    def __init__(self, loaded: checkpoint.Checkpoint) -> None:
        self.path = loaded.path
        self.step = loaded.step
        self.model = loaded.model
        self.tokenizer = loaded.tokenizer
        self.split_on = loaded.split_on
        self.info = loaded.info
        self._sampler: Sampler | None = None
        self._known = loaded.known

    @property
    def sampler(self) -> Sampler:
        """The sampler of this model, its weights packed on first use."""
        if self._sampler is None:
            self._sampler = Sampler(self.model, self.tokenizer, self._known)
        return self._sampler

    def score(self, text: str, *, per_token: bool = False) -> TextScore:
        """log P(text), <EOS> included, in nats."""
        return self.score_all([text], per_token=per_token)[0]

    def score_all(self, texts: Sequence[str], *, per_token: bool = False) -> list[TextScore]:
        """Score many texts at once, in order; faster than one by one, and the same."""
        return score_texts(self.model, self.tokenizer, texts, per_token=per_token)

    def sample(
        self, n: int = 1, *, prompt: str = "", novel: bool = False, **options: Any
    ) -> list[Sample]:
        """Draw n sequences; options are the fields of SamplingConfig (seed, temperature, …)."""
        config = SamplingConfig(**options)
        return list(self.sampler.sample(n, config, prompt=prompt, novel=novel))


def load(model: str | Path | None = None) -> LanguageModel:
    """Load a run or a step by path, or by its name below checkpoints/; None is the newest.

    Raises CheckpointError if there is none, or if it is damaged.
    """
    path = checkpoint.find(None if model is None else str(model))
    return LanguageModel(checkpoint.load(path))
