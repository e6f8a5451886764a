"""Where a decoder looked while it wrote, as one HTML file: nothing is fetched, nothing runs.

A row is a token of the target, a column one of the source; a cell is the darker the more the
decoder looked there, and holds the share in per cent.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Protocol

from charlm import metrics
from charlm.display.html_file import HtmlFile, head
from charlm.display.safe_text import safe_text, visible

_LEAST = 0.005  # of a share that is written out
_DARK = 0.5  # from which share on the figure is white


class Looked(Protocol):
    """A token of a target."""

    @property
    def token(self) -> str:
        """As it is written."""

    @property
    def surprisal(self) -> float:
        """In bits."""

    @property
    def attention(self) -> Sequence[float]:
        """The share of each token of the source; empty where there is no attention."""


class Aligned(Protocol):
    """A source and its target."""

    @property
    def source(self) -> str:
        """The source."""

    @property
    def target(self) -> str:
        """The target."""

    @property
    def total_log_prob(self) -> float:
        """log P of the target in nats."""

    @property
    def source_tokens(self) -> Sequence[str]:
        """Those of the source, its end included."""

    @property
    def tokens(self) -> Sequence[Looked]:
        """Those of the target, its end included."""


class AlignmentPage(HtmlFile):
    """A file that pairs are added to. Raises OSError if it cannot be written."""

    def __init__(self, path: str | Path, *, model: str) -> None:
        super().__init__(path, head(f"Attention, by {model}", _RULES, intro=_INTRO))
        self._number = 0

    def add(self, pair: Aligned) -> None:
        """Append a pair with all its tokens."""
        self._number += 1
        source = pair.source.replace("\t", " ")  # in front of features
        self._write(
            f'<section aria-labelledby="n{self._number}">\n<h2 id="n{self._number}">'
            f"<bdi>{escape(safe_text(source))}</bdi> → "
            f"<bdi>{escape(safe_text(pair.target))}</bdi></h2>\n{alignment(pair)}</section>\n"
        )


def alignment(pair: Aligned) -> str:
    """One pair as a piece of HTML that needs no style sheet (a notebook)."""
    head = "".join(
        f'<th scope="col" style="{_HEAD}"><bdi>{escape(visible(token))}</bdi></th>'
        for token in pair.source_tokens
        if any(one.attention for one in pair.tokens)
    )
    rows = "".join(
        f'<tr><th scope="row" style="{_HEAD};text-align:right"><bdi>{escape(visible(one.token))}'
        f"</bdi></th>{_cells(pair, one)}"
        f'<td style="{_FIGURE};text-align:right">{one.surprisal:.2f}</td></tr>\n'
        for one in pair.tokens
    )
    number, nats = len(pair.tokens), pair.total_log_prob
    value = metrics.perplexity(nats, number)
    told = f"{value:,.3f}" if value < 1e6 else metrics.scientific(-nats / number)
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:separate;border-spacing:2px">\n'
        f"<thead><tr><td></td>{head}"
        f'<th scope="col" style="{_FIGURE}">bits</th></tr></thead>\n<tbody>\n{rows}</tbody>\n'
        f'</table></div>\n<p class="figures" style="font-size:.875em">log P = '
        f"<b>{f'{nats + 0.0:.4f}'.replace('-', '−')}</b> nats · P = {metrics.scientific(nats)} · "
        f"{number:,} token{'' if number == 1 else 's'} · perplexity <b>{told}</b> per token</p>\n"
    )


_HEAD = "font-weight:600;padding:.1em .4em;text-align:center"
_FIGURE = "font-size:.75em;opacity:.7;padding:.1em .4em"


def _cells(pair: Aligned, one: Looked) -> str:
    return "".join(
        f'<td style="background:rgba(153,27,55,{share:.3f});'
        f"{'color:#eee;' if share >= _DARK else ''}"
        "print-color-adjust:exact;-webkit-print-color-adjust:exact;"
        f'font-size:.75em;text-align:center;min-width:2em;height:2em" '
        f'title="{escape(f"{visible(one.token)} ← {visible(token)}: {share:.1%}")}">'
        f"{f'{100 * share:.0f}' if share >= _LEAST else ''}</td>"
        for token, share in zip(pair.source_tokens, one.attention, strict=False)
    )


_INTRO = """\
<p>A column is a token of the source, a row one of the target, both with their ends. A cell is the
darker the more the decoder looked there before it wrote the token, and holds the share in per cent;
the shares of a row add up to 100. On the right is how surprising the token was: −log<sub>2</sub> P
in bits.</p>
"""
_RULES = """\
:root{color-scheme:light dark}
body{margin:0;font:1rem/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:1.125rem;font-weight:600;margin:0 0 .5rem;overflow-wrap:anywhere}
sub{line-height:0}
header p,.figures{opacity:.75;font-size:.875rem;margin:.5rem 0}
section{border-top:1px solid #7777;margin-top:1.5rem;padding-top:1rem}
@media print{main{max-width:none;padding:0}section{break-inside:avoid}}
"""
