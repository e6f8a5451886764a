"""Single units: along a text, and found by what they follow in it or by a span they are on in."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError, UsageError
from charlm.inspection.features import FEATURES, Feature, along
from charlm.inspection.views import units as views
from charlm.models.activations import Activations
from charlm.models.language_model import LanguageModel

TOP = 3
ON = 0.3  # a unit whose state is above that is on


class Unit(NamedTuple):
    """One number of the state: h or c, the layer from the bottom (0 is the first), its number."""

    state: str
    layer: int
    number: int

    def __str__(self) -> str:
        return f"{self.state}{self.layer + 1}.{self.number}"

    def of(self, found: Activations) -> NDArray[np.floating]:
        """Its values (T,) along a text."""
        values: NDArray[np.floating] = found.states[self.state][:, self.layer, self.number]
        return values


class UnitAlong(NamedTuple):
    """A unit along texts."""

    found: tuple[Activations, ...]
    unit: Unit

    def _repr_html_(self) -> str:
        return views.along(self).html


class Follows(NamedTuple):
    """A unit that follows a feature of the text: Pearson's correlation over all tokens."""

    feature: str
    unit: Unit
    correlation: float


class Following(NamedTuple):
    """The units that follow each feature best in texts, the best of each feature first."""

    found: tuple[Activations, ...]
    ranked: tuple[Follows, ...]

    def _repr_html_(self) -> str:
        return views.following(self).html


class Span(NamedTuple):
    """Tokens first to last of text number ``text``, where so many of some units are on.

    ``begin`` and ``end`` are the range in the text; ``on`` is the mean number over its tokens.
    """

    text: int
    first: int
    last: int
    begin: int
    end: int
    on: float


class SpanUnits(NamedTuple):
    """The units that are on in a span and off just outside of it, and other spans where they are.

    ``others`` come with most of the units first.
    """

    found: tuple[Activations, ...]
    span: Span
    units: tuple[Unit, ...]
    others: tuple[Span, ...]

    def _repr_html_(self) -> str:
        return views.span(self).html


def read(lm: LanguageModel, texts: Sequence[str]) -> list[Activations]:
    """The activations of each text that is not empty. Raises TextError without any."""
    if not any(texts):
        raise TextError("there is no text to look at.")
    return [lm.activations(text) for text in texts if text]


def following(
    found: Sequence[Activations],
    features: Mapping[str, Feature] = FEATURES,
    *,
    top: int = TOP,
    state: str | None = None,
    layer: int | None = None,
) -> Following:
    """For each feature the units that follow it best, by the size of their correlation.

    A feature that never varies in the texts is left out. ``state`` and ``layer`` choose among
    units. Raises UsageError for a state or layer that is not there.
    """
    units = units_of(found[0], state=state, layer=layer)
    # (T, U) without the row of x<1>, where nothing has been read
    values = np.concatenate([_matrix(one, units)[1:] for one in found])
    values = values - values.mean(axis=0)
    sizes = np.sqrt((values**2).sum(axis=0))
    ranked: list[Follows] = []
    for name, feature in features.items():
        wanted = np.concatenate([along(feature, one.text, one.ranges[1:]) for one in found])
        wanted = wanted - wanted.mean()
        size = np.sqrt((wanted**2).sum())
        if size < 1e-9:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            correlations = np.nan_to_num(wanted @ values / (size * sizes))
        order = np.argsort(-np.abs(correlations), kind="stable")[:top]
        ranked += [Follows(name, units[at], float(correlations[at])) for at in order]
    return Following(tuple(found), tuple(ranked))


def units_of(
    found: Activations, *, state: str | None = None, layer: int | None = None
) -> list[Unit]:
    """All units, or those of one state or layer. Raises UsageError for what is not there."""
    if state is not None and state not in found.states:
        raise UsageError(f"this cell's states are {' and '.join(found.states)}, got {state!r}.")
    _, layers, size = next(iter(found.states.values())).shape
    if layer is not None and not 0 <= layer < layers:
        raise UsageError(f"this model's layers are 1 to {layers}, got {layer + 1}.")
    return [
        Unit(name, depth, number)
        for name in found.states
        if state in (None, name)
        for depth in range(layers)
        if layer in (None, depth)
        for number in range(size)
    ]


def unit_along(found: Sequence[Activations], unit: Unit) -> UnitAlong:
    """A unit along texts. Raises UsageError for one that the network has not."""
    if unit not in units_of(found[0], state=unit.state, layer=unit.layer):
        size = next(iter(found[0].states.values())).shape[2]
        raise UsageError(f"there is no unit {unit}: a layer has 0 to {size - 1}.")
    return UnitAlong(tuple(found), unit)


def of_span(
    found: Sequence[Activations],
    text: str,
    *,
    threshold: float = ON,
    top: int = 10,
    state: str | None = None,
    layer: int | None = None,
) -> SpanUnits:
    """The units of the first place where a text stands in those read, and other such places.

    As LSTMVis (Strobelt et al. 2018) does. Raises UsageError if it stands nowhere.
    """
    units = units_of(found[0], state=state, layer=layer)
    number, first, last = _place(found, text)
    on = [_matrix(one, units) > threshold for one in found]  # (T, U) each
    own = on[number]
    chosen = own[first : last + 1].all(axis=0) & ~own[first - 1]
    if last + 1 < len(own):
        chosen &= ~own[last + 1]
    kept = np.flatnonzero(chosen)
    others: list[Span] = []
    for index, one in enumerate(on if len(kept) else []):
        counts = one[:, kept].sum(axis=1)
        wanted = counts >= max(1.0, len(kept) / 2)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], wanted, [0]))))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if (index, begin <= last and first < end) != (number, True):
                others.append(_span(found, index, max(1, begin), end - 1, counts))
    length = last + 1 - first
    others.sort(key=lambda span: (-span.on, abs(span.last + 1 - span.first - length)))
    counts = own[:, kept].sum(axis=1)
    return SpanUnits(
        tuple(found),
        _span(found, number, first, last, counts),
        tuple(units[at] for at in kept),
        tuple(others[:top]),
    )


def _matrix(found: Activations, units: Sequence[Unit]) -> NDArray[np.float64]:
    """The values (T, U) of units."""
    names = list(dict.fromkeys(unit.state for unit in units))
    layers = sorted({unit.layer for unit in units})
    parts = [found.states[name][:, layers].reshape(len(found.ids), -1) for name in names]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _place(found: Sequence[Activations], text: str) -> tuple[int, int, int]:
    """Which text, and its first and last token that lie in the place where ``text`` stands."""
    for number, one in enumerate(found):
        begin = one.text.find(text) if text else -1
        if begin >= 0:
            end = begin + len(text)
            rows = [
                row
                for row, (start, stop) in enumerate(one.ranges)
                if row and start < end and stop > begin
            ]
            if rows:
                return number, rows[0], rows[-1]
    raise UsageError(f"{text!r} does not stand in the text.")


def _span(
    found: Sequence[Activations], text: int, first: int, last: int, counts: NDArray[np.int64]
) -> Span:
    last = max(first, last)
    ranges = found[text].ranges
    on = float(counts[first : last + 1].mean())
    return Span(text, first, last, ranges[first][0], ranges[last][1], on)
