"""Which of two models is the better one: a report for people."""

from typing import TYPE_CHECKING

from charlm.cli.output.terminal import cut
from charlm.display.safe_text import safe_text

if TYPE_CHECKING:
    from charlm.inference.compare import Comparison

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
