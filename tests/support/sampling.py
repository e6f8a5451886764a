"""Listening to what a sampler draws."""

from collections.abc import Callable, Iterator
from typing import Any

from charlm.config import SamplingConfig
from charlm.inference.sample import BATCH_SIZE, Sample, Sampler


def heard(
    sampler: Sampler,
    n: int,
    config: SamplingConfig,
    *,
    on_token: Callable[[int, int], None] = lambda *_: None,
    on_spelling: Callable[[int, str], None] = lambda *_: None,
    batch_size: int = BATCH_SIZE,
    **options: Any,
) -> Iterator[Sample]:
    """The samples; every token is told as it is drawn, what an <UNK> spells before it."""
    for one in sampler.tokens(n, config, batch_size=batch_size, **options):
        if isinstance(one, Sample):
            yield one
            continue
        if one.spelled is not None:
            on_spelling(one.index, one.spelled)
        on_token(one.index, one.token_id)
