"""What a picture of lines shows, whoever draws it: lines, their axes, and numbers upon these."""

import math
from collections.abc import Sequence
from typing import NamedTuple

MARKS = "●○▲△■□◆◇"  # of lines, in this order
_DECADES = 12  # of a logarithmic axis, from the top
_POWERS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Line(NamedTuple):
    """One line: its name, and its points in the order of x; y may be nan.

    ``low`` and ``high`` are a band around it, such as quartiles; empty where there is none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Axis(NamedTuple):
    """What an axis shows, and whether equal steps are equal ratios."""

    name: str
    is_log: bool = False

    def scaled(self, value: float) -> float:
        """A value in steps that are equal on paper; nan where it has no place."""
        if not self.is_log:
            return value
        return math.log10(value) if value > 0 else math.nan

    def bounds(self, values: Sequence[float]) -> tuple[float, float]:
        """The least and the greatest of some scaled values, of which one at least is finite."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = min(finite), max(finite)
        return (max(low, high - _DECADES) if self.is_log else low), high

    def ticks(self, low: float, high: float, most: int) -> list[tuple[float, str]]:
        """Places between two bounds, scaled, that have a label; about so many at most."""
        if not self.is_log:
            return _labelled(*_round(low, high, most))
        if high - low < 1:
            labelled = _labelled(*_round(10**low, 10**high, most))
            return [(math.log10(value), label) for value, label in labelled if value > 0]
        first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
        for mantissas in ((1, 2, 5), (1, 3)):
            found = [
                (at, _power(mantissa, decade))
                for decade in range(first - 1, last + 1)
                for mantissa in mantissas
                if low - 1e-9 <= (at := decade + math.log10(mantissa)) <= high + 1e-9
            ]
            if len(found) <= most:
                return found
        step = max(1, math.ceil((last - first) / most))
        return [(float(decade), _power(1, decade)) for decade in range(last, first - 1, -step)]


class Figure(NamedTuple):
    """Lines over two axes; what stands upwards is its title."""

    lines: Sequence[Line]
    x: Axis
    y: Axis


def short(value: float) -> str:
    """A number of an axis."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e7):
        return f"{value:.1e}"
    return f"{value:,.0f}" if size >= 1000 or value == int(value) else f"{value:.3g}"


def _power(mantissa: int, decade: int) -> str:
    """A number of a logarithmic axis."""
    if -3 <= decade <= 5:
        return short(mantissa * 10.0**decade)
    power = f"10{str(decade).translate(_POWERS)}"
    return power if mantissa == 1 else f"{mantissa}·{power}"


def _labelled(values: Sequence[float], step: float) -> list[tuple[float, str]]:
    """Numbers that are a step apart with as many decimals as tell them apart."""
    if not 1e-5 <= step < 1e6:
        return [(value, short(value)) for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(value, f"{value:,.{decimals}f}") for value in values]


def _round(low: float, high: float, most: int) -> tuple[list[float], float]:
    """Round numbers between two, and how far they lie apart; 0 where there is but one to name."""
    if not high > low:
        return [low], 0.0
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if size * factor >= rough)
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [float(f"{number * step:.12g}") for number in numbers], step
