"""charlm: train a recurrent language model on your own text, sample from it, score with it.

    import charlm
    lm = charlm.load("checkpoints/run")
    lm.score("The apple and pear salad").total_log_prob
    lm.sample(n=5, seed=1)

Importing the package is light; torch is imported when a model is loaded.
"""

from typing import TYPE_CHECKING, Any

from charlm.errors import CharlmError

if TYPE_CHECKING:
    from charlm.models.language_model import LanguageModel, load

__version__ = "0.1.0"
__all__ = ["CharlmError", "LanguageModel", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for (PEP 562)."""
    if name in ("LanguageModel", "load"):
        from charlm.models import language_model

        return getattr(language_model, name)
    raise AttributeError(f"module 'charlm' has no attribute {name!r}")
