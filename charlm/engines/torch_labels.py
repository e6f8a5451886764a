"""Passes of a head over given texts: the scores of their labels."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.engines.several import ALONE, Several
from charlm.engines.torch_passes import Stopped
from charlm.nn.examples import Examples, collate, groups
from charlm.nn.head import Head

_READ_AT_ONCE = 512  # texts


@torch.inference_mode()
def read_scores(
    head: Head,
    examples: Examples,
    should_stop: Callable[[], bool] = lambda: False,
    several: Several = ALONE,
) -> NDArray[np.float32]:
    """Scores (S, C) of texts, or (N, C) of the tokens of sentences, in the order they are in.

    Of ``several`` processes each reads some of the groups. Raises Stopped if told to stop between
    two goes.
    """
    was_training = head.training
    head.eval()
    device = head.softmax.weight.device
    scores = np.zeros((len(examples.labels), head.config.num_labels), np.float32)
    try:
        with several.filling(scores):
            for index in several.mine(groups(examples.lengths, _READ_AT_ONCE)):
                if should_stop():
                    raise Stopped
                batch, _, live = collate(examples, index)
                found = head(batch.to(device)).cpu()
                if live is None:
                    scores[index] = found.numpy()
                    continue
                places = examples.starts[index] + np.arange(len(found))[:, None]  # (T, B)
                scores[places[live.numpy()]] = found[live].numpy()
    finally:
        head.train(was_training)
    return scores
