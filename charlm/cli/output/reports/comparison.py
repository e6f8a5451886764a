"""Which of two models is the better one: a report for people."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from charlm.inference.compare import Comparison
    from charlm.inference.pairs.compare import Difference, PairComparison, SourceUnit

_COLUMNS = 80


def report(found: "Comparison", names: tuple[str, str], show: int) -> list[str]:
    """A comparison for a person, in lines of at most 80 columns."""
    shown = [cut(safe_text(name), 24) for name in names]
    lines = [f"{'model':<24} {'bits/char':>10} {'OOV rate':>10}"]
    for name, bits, rate in zip(shown, found.bits_per_character, found.oov_rates, strict=True):
        lines.append(f"{name:<24} {bits:10.4f} {'-' if rate is None else f'{rate:.2%}':>10}")
    lines += ["", f"{'difference':<24} {found.difference:+10.4f} bits/char"]
    number, blocks = len(found.units), found.num_blocks
    units = f"{number:,} unit{'s' if number != 1 else ''} of text"
    if blocks < number:
        units = f"{blocks:,} blocks of {found.block_size} units of text"
    better = shown[found.difference < 0]
    told = found.low is not None and found.high is not None
    if told:
        lines.append(f"{'95 % interval':<24} {found.low:+10.4f} to {found.high:+.4f}, {units}")
    if found.is_none:
        lines.append("no difference")
    elif not told:
        lines.append(f"too little to tell whether that is chance: {units}")
    else:
        lines.append(
            f"{better} {'is better' if found.is_real else 'may be better, or it is chance'}"
        )
    if show and len(found.units) > 1 and not found.is_none:
        lines += ["", f"{'bits more in B':>14}  text"]
        for unit in found.most_different(show):
            text = cut(safe_text(unit.text.replace("\n", "↵")), _COLUMNS - 16)
            lines.append(f"{unit.bits_more:+14.1f}  {text}")
    return lines


def pairs_report(found: "PairComparison", names: tuple[str, str], show: int) -> list[str]:
    """A comparison of translators for a person, in lines of at most 80 columns."""
    shown = (cut(safe_text(names[0]), 24), cut(safe_text(names[1]), 24))
    errors, loss = found.errors, found.loss
    told = ("-", "-") if loss is None else (f"{loss.one:.4f}", f"{loss.other:.4f}")
    lines = [f"{'model':<24} {'error rate':>10} {'nats/target token':>18}"]
    for name, rate, nats in zip(shown, (errors.one, errors.other), told, strict=True):
        lines.append(f"{name:<24} {rate:>10.2%} {nats:>18}")
    number = len(found.units)
    lines += ["", *_difference("error rate", errors, shown, number, "+10.2%")]
    if loss is not None:
        lines += ["", *_difference("nats/target token", loss, shown, number, "+10.4f")]
    if show and number > 1 and not (errors.is_none and (loss is None or loss.is_none)):
        lines += ["", f"{'nats more in B':>14}  source, and what A and B write (✓: right)"]
        for unit in found.most_different(show):
            lines += _unit(unit)
    return lines


def _difference(
    what: str, found: "Difference", names: tuple[str, str], number: int, form: str
) -> list[str]:
    """A difference, its interval, and which model is better."""
    units = f"{number:,} source{'' if number == 1 else 's'}"
    if found.block_size > 1:
        blocks = math.ceil(number / found.block_size)
        units = f"{blocks:,} block{'' if blocks == 1 else 's'} of {found.block_size} sources"
    lines = [f"{'difference':<24} {found.difference:{form}} {what}"]
    if found.low is not None and found.high is not None:
        bounds = f"{found.low:{form}} to {format(found.high, form).strip()}"
        lines.append(f"{'95 % interval':<24} {bounds}, {units}")
    better = names[found.difference < 0]
    if found.is_none:
        lines.append("no difference")
    elif found.low is None:
        lines.append(f"too little to tell whether that is chance: {units}")
    else:
        lines.append(
            f"{better} {'is better' if found.is_real else 'may be better, or it is chance'}"
        )
    return lines


def _unit(unit: "SourceUnit") -> Iterator[str]:
    """A source, and what either model writes."""
    yield f"{unit.nats_more:+14.1f}  {cut(safe_text(unit.source), _COLUMNS - 16)}"
    for name, side in zip("AB", unit.sides, strict=True):
        wrote = cut(safe_text(side.written), _COLUMNS - 21)
        yield f"{'':16}{name} {'✓' if side.is_right else ' '} {wrote}".rstrip()
