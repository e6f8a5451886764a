"""The names that figures have where each token is predicted from both sides."""

from collections.abc import Mapping
from typing import Any

_NAMES = {  # beginnings of names, and what stands there instead
    "total_log_prob_": "pseudo_log_likelihood_",
    "running_total_": "running_pseudo_log_likelihood_",
    "log_prob_": "log_prob_given_others_",
    "surprisal_bits": "surprisal_given_others_bits",
    "entropy_bits": "entropy_given_others_bits",
    "cross_entropy_": "pseudo_cross_entropy_",
    "perplexity_": "pseudo_perplexity_",
    "bits_per_": "pseudo_bits_per_",
}
_OF_WORDS = {  # which are sums over tokens, as those of a text are
    **_NAMES,
    "log_prob_": "pseudo_log_likelihood_",
    "surprisal_bits": "pseudo_bits",
}


def pseudo_name(name: str, *, of_word: bool = False) -> str:
    """The name of a figure that is no log-probability of a text, and not made of one."""
    for plain, pseudo in (_OF_WORDS if of_word else _NAMES).items():
        if name.startswith(plain):
            return pseudo + name.removeprefix(plain)
    return name


def pseudo_named(figures: Mapping[str, Any], *, of_word: bool = False) -> dict[str, Any]:
    """Figures by their pseudo-names; exp of a pseudo-log-likelihood is no probability, and goes."""
    return {
        pseudo_name(name, of_word=of_word): value
        for name, value in figures.items()
        if name != "probability"
    }
