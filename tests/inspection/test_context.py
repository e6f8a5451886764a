"""Laws of the use of context: cutting is scoring with less of it, a planted distance is found."""

import numpy as np
import pytest

from charlm.inference.score import ended
from charlm.inspection.context import ALL, CACHE, NETWORK, NGRAM, context_use, last_log_probs
from charlm.models.language_model import LanguageModel
from tests.support.inspected import partnered, planted_copy, random_lm
from tests.support.tiny import LEVELS

TEXT = "the cat sat on the mat, the dog ran"


@pytest.mark.parametrize("level", ["char", "word"])
def test_cutting_is_scoring_with_that_context(level: str) -> None:
    """log P of a token after n tokens is what score says with these as context, and no others."""
    lm = partnered(level)
    ids, ranges = lm.tokenizer.encode_with_offsets(TEXT)
    alone = LanguageModel(lm.checkpoint, alone=True)
    compared = 0
    for n in (1, 2, 5):
        places = list(range(n, len(ids)))
        found = last_log_probs(
            lm.model, lm.partner, [ids[at - n : at] for at in places], ids[places]
        )
        for row, at in enumerate(places):
            context = TEXT[ranges[at - n][0] : ranges[at - 1][1]]
            rest = TEXT[ranges[at - 1][1] :]
            if (lm.tokenizer.encode(context + rest) != ids[at - n :]).any():
                continue  # a text that begins with a comma is cut into other tokens
            compared += 1
            for name, model in ((NETWORK, alone), (ALL, lm)):
                score = model.score(rest, context=context, per_token=True, closed=True)
                assert score.tokens is not None
                assert found[name][row] == pytest.approx(score.tokens[0].log_prob, abs=1e-5)
    assert compared > len(ids)


def test_losses_are_means_over_the_positions() -> None:
    """All positions of a text at once: with all of the context the loss is what score says."""
    lm = partnered("char")
    found = context_use(lm, [TEXT], lengths=(1, 5, 30), positions=10_000)
    assert found.positions == len(TEXT) + 1
    by_name = {one.model: one for one in found.models}
    assert list(by_name) == [NETWORK, NGRAM, CACHE, ALL]
    for name, model in ((NETWORK, LanguageModel(lm.checkpoint, alone=True)), (ALL, lm)):
        score = model.score(TEXT, closed=True)
        assert by_name[name].whole == pytest.approx(
            -score.total_log_prob / score.num_tokens, abs=1e-5
        )
    expected = []
    ids = ended(lm.tokenizer, [TEXT])[0]
    for at, token in enumerate(ids):
        context = ids[max(0, at - 5) : at]
        expected.append(last_log_probs(lm.model, None, [context], np.array([token]))[NETWORK][0])
    assert by_name[NETWORK].loss[1] == pytest.approx(-np.mean(expected), abs=1e-5)
    assert by_name[NGRAM].rise[1:] == pytest.approx(0, abs=1e-9)  # three tokens are all it sees
    assert abs(by_name[NGRAM].rise[0]) > 1e-3


@pytest.mark.parametrize("beyond", ["cut", "shuffle", "replace"])
def test_the_planted_distance_is_found(beyond: str) -> None:
    """A token is the one of four before: three tokens tell nothing, four tell all."""
    lm, texts = planted_copy(4)
    found = context_use(
        lm,
        texts,
        beyond=beyond,  # type: ignore[arg-type]
        lengths=(1, 2, 3, 4, 5, 10),
        positions=200,
    )
    (network,) = found.models
    assert (network.rise[:3] > 1).all()
    assert network.rise[3:] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_a_length_beyond_every_text_is_left_out(level: str) -> None:
    """What no text has is not measured; the same seed draws the same."""
    lm = random_lm(level)
    found = context_use(lm, ["the cat"], positions=5)
    assert max(found.lengths) <= len(ended(lm.tokenizer, ["the cat"])[0])
    again = context_use(lm, ["the cat"], positions=5)
    assert [one.loss.tolist() for one in again.models] == [
        one.loss.tolist() for one in found.models
    ]
