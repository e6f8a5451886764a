"""Laws of the figures: what they are worth by hand, and where floats would break."""

import decimal
import doctest
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm import metrics


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 10**6), st.integers(1, 10**4))
def test_uniform_model_has_perplexity_vocab_size(vocab_size: int, num_tokens: int) -> None:
    """Where every type is as likely as another, perplexity is their number."""
    total = num_tokens * math.log(1 / vocab_size)
    assert metrics.perplexity(total, num_tokens) == pytest.approx(vocab_size, rel=1e-10)


def test_three_tokens_by_hand() -> None:
    """P = 1/2 x 1/4 x 1/8: 6 bits, perplexity 4 a token, 2 bits a character, p = 1.6e-02."""
    log_probs = [math.log(0.5), math.log(0.25), math.log(0.125)]
    total = math.fsum(log_probs)
    assert [metrics.surprisal_bits(p) for p in log_probs] == pytest.approx([1, 2, 3], abs=1e-12)
    assert metrics.surprisal_bits(total) == pytest.approx(6, abs=1e-12)
    assert metrics.perplexity(total, 3) == pytest.approx(4, abs=1e-12)
    assert metrics.bits_per(total, 3) == pytest.approx(2, abs=1e-12)
    assert metrics.bits_per(total, 12) == pytest.approx(0.5, abs=1e-12)
    assert metrics.scientific(total) == "1.6e-02"
    assert metrics.scientific(total, digits=5) == "1.5625e-02"


def test_units_convert_nats() -> None:
    """Nats divided by a unit's figure are in that unit: ln 8 is 3 bits, ln 1000 is 3 bans."""
    assert math.log(8) / metrics.UNITS["bits"] == pytest.approx(3, abs=1e-12)
    assert math.log(1000) / metrics.UNITS["log10"] == pytest.approx(3, abs=1e-12)
    assert metrics.UNITS["nats"] == 1


def test_an_empty_text_has_no_bits_per_character() -> None:
    """Nothing is shared over no characters: None, not a division by zero and not 0."""
    assert metrics.bits_per(-3.0, 0) is None


def test_certainty_is_plain_zero() -> None:
    """Probability 1 is 0 bits and perplexity 1, and never minus zero."""
    assert str(metrics.surprisal_bits(0.0)) == "0.0"
    assert str(metrics.bits_per(0.0, 4)) == "0.0"
    assert metrics.perplexity(0.0, 4) == 1
    assert metrics.scientific(0.0) == "1.0e+00"


def test_the_impossible_is_infinite() -> None:
    """Probability 0 is infinitely surprising, and what no float holds is inf, not an error."""
    assert metrics.perplexity(-math.inf, 3) == math.inf
    assert metrics.perplexity(-1e6, 3) == math.inf
    assert metrics.surprisal_bits(-math.inf) == math.inf
    assert metrics.scientific(-math.inf) == "0"


def by_decimal(total: float, digits: int) -> decimal.Decimal:
    """exp(total), correct to fifty digits."""
    with decimal.localcontext(prec=50, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX):
        return decimal.Decimal(total).exp()


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.floats(-1e9, 0),
        st.floats(-800, 0),
        st.floats(-3, 0),
        st.integers(-400, 0).map(lambda k: k * math.log(10)),  # around powers of ten
    ),
    st.integers(1, 5),
)
def test_scientific_never_underflows(total: float, digits: int) -> None:
    """However small, a probability is written as its right mantissa and exponent."""
    text = metrics.scientific(total, digits)
    mantissa, exponent = text.split("e")
    assert len(mantissa.replace(".", "")) == digits
    assert 1 <= float(mantissa) < 10
    assert exponent[0] in "+-"
    with decimal.localcontext(prec=50, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX):
        relative = decimal.Decimal(text) / by_decimal(total, digits) - 1
        # Half a digit in the last place, and what a float of this size leaves unsaid.
        assert abs(relative) <= decimal.Decimal(0.5001 * 10 ** (1 - digits) + 1e-15 * abs(total))


def test_the_examples_in_the_docstrings_hold() -> None:
    """What the docstrings show is what comes out."""
    results = doctest.testmod(metrics)
    assert results.attempted > 0
    assert results.failed == 0
