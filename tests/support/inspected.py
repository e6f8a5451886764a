"""Language models in memory: random ones, and ones whose weights were set by hand for a language.

The planted models are plain RNNs with ReLU, whose units can hold and count exactly.
"""

from pathlib import Path

import numpy as np

from charlm.checkpoints.language_model import Checkpoint
from charlm.counts.interpolation import Partner
from charlm.models.language_model import LanguageModel
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.tokenizers.base import Tokenizer
from tests.support.tiny import model_of, tokenizer_of

SURE = 30.0  # logits so far apart that a type is certain


def lm_of(
    model: RecurrentLM, tokenizer: Tokenizer, *, partner: Partner | None = None
) -> LanguageModel:
    """A network and its tokenizer as a language model."""
    return LanguageModel(
        Checkpoint(
            path=Path("checkpoints/planted/step-00000001"),
            step=1,
            run_id=None,
            config=model.config,
            weights=to_arrays(model),
            tokenizer=tokenizer,
            speller=None,
            partner=partner,
            labels=None,
            split_on="line",
            known=None,
            info={},
        )
    )


def random_lm(
    level: str = "char", *, partner: Partner | None = None, **shape: object
) -> LanguageModel:
    """A model of random weights."""
    tokenizer = tokenizer_of(level)
    model = model_of(tokenizer.vocab_size, **{"std": 0.4, **shape})  # type: ignore[arg-type]
    return lm_of(model, tokenizer, partner=partner)


def blank(texts: list[str], units: int) -> tuple[Tokenizer, dict[str, np.ndarray], CausalConfig]:
    """A tokenizer of characters, and a network of zeros that reads each type as a unit vector."""
    tokenizer = tokenizer_of("char", texts)
    size = tokenizer.vocab_size
    config = CausalConfig(
        vocab_size=size, cell="rnn-relu", hidden_size=units, embedding_size=size, num_layers=1
    )
    arrays = {name: np.zeros_like(a) for name, a in to_arrays(RecurrentLM(config)).items()}
    arrays["embedding.weight"][:size] = np.eye(size)
    return tokenizer, arrays, config
