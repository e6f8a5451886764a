"""Texts shaded by surprisal as one HTML file: nothing is fetched, nothing runs.

A token has a shade, and for those who cannot see it, or print without it, a line below that is the
thicker the more surprising the token is; a table below each text holds the figures.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from charlm import metrics
from charlm.display.html_file import HtmlFile, head
from charlm.display.safe_text import safe_text, visible
from charlm.display.shading import DARK, LIGHT, Patch, Scale, Shade, Shaded, patches

_TOKENS = {"char": "character", "subword": "subword", "word": "word"}


class _Terms(NamedTuple):
    """What figures are called: log P and those made of it, or their pseudo-figures."""

    log_prob: str = "log P"
    prefix: str = ""
    surprisal: str = "surprisal (bits)"
    title: str = "Surprisal"
    given: str = "which had read all that stands before it"
    sums: str = ""


_PLAIN = _Terms()
_PSEUDO = _Terms(
    log_prob="PLL",
    prefix="pseudo-",
    surprisal="pseudo-bits",
    title="Surprisal from both sides",
    given="which had read all others, before it and after it",
    sums=(
        "\nThe sums, pseudo-log-likelihoods (PLL), rank texts; they are no logarithms of "
        "probabilities."
    ),
)


class Page(HtmlFile):
    """A file that texts are added to, one after another; whole once the ``with`` is left.

    ``level`` says what the tokens are: "char", "subword" or "word". ``pseudo`` figures are those
    of tokens given what stands on both sides, and are named so. Raises OSError if the file cannot
    be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        model: str,
        level: str,
        unit: str = "nats",
        pseudo: bool = False,
    ) -> None:
        self._unit = unit
        self._terms = _PSEUDO if pseudo else _PLAIN
        self._scale = Scale.of(level)
        self._number = 0
        super().__init__(path, _head(model, _TOKENS[level], self._scale, self._terms))

    def add(self, text: str, tokens: Sequence[Shaded], bits: float | None = None) -> None:
        """Append a text with all its tokens, <EOS> among them if it was scored.

        ``bits`` are those of the whole text, None if its tokens' add up to them: after a context
        those of words do not.
        """
        self._number += 1
        number, unit, terms = self._number, self._unit, self._terms
        self._write(
            f'<section aria-labelledby="n{number}">\n<h2 id="n{number}">Text {number}</h2>\n'
            f'<div class="text" dir="auto">'
        )
        for patch in patches(text, tokens):
            self._write(_span(text, patch, self._scale, unit, terms))
        figures = " · ".join(_figures(text, tokens, bits, unit, terms))
        self._write(f'</div>\n<p class="figures">{figures}</p>\n')
        for part in _table(tokens, number, self._scale, unit, terms):
            self._write(part)
        self._write("</section>\n")


def heat_map(
    text: str,
    tokens: Sequence[Shaded],
    *,
    level: str,
    unit: str = "nats",
    pseudo: bool = False,
) -> str:
    """One text shaded by surprisal, as a piece of HTML that needs no style sheet (a notebook)."""
    scale, terms = Scale.of(level), _PSEUDO if pseudo else _PLAIN
    parts = []
    for patch in patches(text, tokens):
        html = _span(text, patch, scale, unit, terms)
        if patch.tokens:
            step = scale.step(patch.bits)
            shade = LIGHT[step]
            style = (
                f"background:{shade.background};color:{shade.ink};"
                f"border-bottom:{step}px solid #77777f"
            )
            html = html.replace("<span ", f'<span style="{style}" ', 1)
        parts.append(html)
    figures = " · ".join(_figures(text, tokens, None, unit, terms))
    return (
        '<div style="white-space:pre-wrap;line-height:2">'
        f'{"".join(parts)}</div>\n<p style="font-size:.875em">{figures}</p>'
    )


def figures_table(rows: Mapping[str, str], title: str = "") -> str:
    """Names and values as a table of HTML, everything in it escaped."""
    head = f"<caption>{escape(safe_text(title))}</caption>" if title else ""
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(safe_text(name))}</th>'
        f'<td style="text-align:left">{escape(safe_text(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>{head}<tbody>{body}</tbody></table>"


def shown(text: str) -> str:
    """A text as HTML: line ends and tabs stay, what cannot be seen is written out as \\x1b."""
    parts = []
    for char in text:
        safe = safe_text(char, keep="\n\t")
        if char == "\n":
            parts.append("<i>\n</i>")
        elif safe != char:
            parts.append(f"<code>{safe}</code>")
        else:
            parts.append(escape(char))
    return "".join(parts)


def _span(text: str, patch: Patch, scale: Scale, unit: str, terms: _Terms) -> str:
    """A patch of the text, shaded, its figures to be seen where it is pointed at."""
    inner = shown(text[patch.start : patch.end])
    if not patch.tokens:
        return inner
    names = f"s{scale.step(patch.bits)}{' u' if patch.is_unknown else ''}"
    if patch.start == patch.end:
        names, inner = f"{names} e", escape(safe_text(patch.tokens[0].piece))
    title = escape("\n".join(_told(token, unit, terms) for token in patch.tokens))
    return f'<span class="{names}" title="{title}">{inner}</span>'


def _told(token: Shaded, unit: str, terms: _Terms) -> str:
    """A token in one line of plain text."""
    parts = [
        visible(token.piece),
        f"{token.surprisal:.3f} {terms.prefix}bits",
        f"{terms.log_prob} {_signed(_log_prob(token.surprisal, unit))} {unit}",
    ]
    if token.rank is not None:
        parts.append(f"rank {token.rank:,}")
    if token.is_unknown:
        parts.append("unknown")
    return "   ".join(parts)


def _figures(
    text: str, tokens: Sequence[Shaded], bits: float | None, unit: str, terms: _Terms
) -> Iterator[str]:
    """What is said of a text as a whole, in the order and with the names of docs/metrics.md."""
    if bits is None:
        bits = math.fsum(token.surprisal for token in tokens)
    nats = -bits * metrics.NATS_PER_BIT
    yield f"{terms.log_prob} = <b>{_signed(_log_prob(bits, unit))}</b> {unit}"
    if terms is _PLAIN:
        yield f"P = {metrics.scientific(nats)}"
    number = sum(token.num_tokens for token in tokens)
    yield f"{number:,} token{'' if number == 1 else 's'}"
    unknown = sum(token.is_unknown for token in tokens)
    if unknown:
        yield f"{unknown:,} unknown"
    if tokens:
        value = metrics.perplexity(nats, number)
        told = f"{value:,.3f}" if value < 1e6 else metrics.scientific(-nats / number)
        yield f"{terms.prefix}perplexity <b>{told}</b> per token"
    per_character = metrics.bits_per(nats, len(text))
    if per_character is not None:
        yield f"<b>{per_character:.3f}</b> {terms.prefix}bits per character"


def _table(
    tokens: Sequence[Shaded], number: int, scale: Scale, unit: str, terms: _Terms
) -> Iterator[str]:
    """The figures of each token, folded away until somebody asks."""
    yield (
        f"<details>\n<summary>Figures of each token</summary>\n"
        f'<table aria-label="Tokens of text {number}">\n<thead><tr><th scope="col">token</th>'
        f'<th scope="col">place</th><th scope="col">{terms.log_prob} ({unit})</th>'
        f'<th scope="col">{terms.surprisal}</th><th scope="col">rank</th>'
        f'<th scope="col">sum ({unit})</th></tr></thead>\n<tbody>\n'
    )
    so_far = 0.0
    for token in tokens:
        so_far += token.surprisal
        unknown = ' <span class="u">unknown</span>' if token.is_unknown else ""
        place = f"{token.start}–{token.end}" if token.start < token.end else "end"
        yield (
            f"<tr><td><bdi>{escape(visible(token.piece))}</bdi>{unknown}</td><td>{place}</td>"
            f"<td>{_signed(_log_prob(token.surprisal, unit))}</td>"
            f'<td class="s{scale.step(token.surprisal)}">{token.surprisal:.3f}</td>'
            f"<td>{'' if token.rank is None else f'{token.rank:,}'}</td>"
            f"<td>{_signed(_log_prob(so_far, unit))}</td></tr>\n"
        )
    yield "</tbody>\n</table>\n</details>\n"


def _log_prob(bits: float, unit: str) -> float:
    """Of a surprisal."""
    return -bits * metrics.NATS_PER_BIT / metrics.UNITS[unit] + 0.0


def _signed(value: float) -> str:
    """Four decimals, with a minus sign that is one."""
    return f"{value:.4f}".replace("-", "−")


def _head(model: str, token: str, scale: Scale, terms: _Terms) -> str:
    """All that stands before the first text."""
    steps = "".join(f'<li class="s{step}">{label}</li>' for step, label in enumerate(scale.labels))
    intro = f"""\
<p>Each {token} is shaded by how surprising it was to the model, {terms.given}:
−log<sub>2</sub> P, in {terms.prefix}bits. The line below it is the thicker the more surprising it
was. Point at a {token} to see its figures, or open the table below its text.{terms.sums}</p>
<ol class="legend" aria-label="Surprisal in {terms.prefix}bits">{steps}</ol>
"""
    return head(f"{terms.title}, by {model}", _style(terms), kind=token, intro=intro)


def _style(terms: _Terms) -> str:
    """The style sheet."""
    lines = [
        f".s{step}{{background:var(--b{step});color:var(--i{step});"
        f"border-bottom:{step}px solid var(--line)}}\n"
        for step in range(len(LIGHT))
    ]
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}--quiet:#59595f;--line:#77777f}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}"
        f"--quiet:#a6a6ad;--line:#92929c}}}}\n{''.join(lines)}"
        f'.legend::after{{content:"{terms.prefix}bits"}}\n{_RULES}'
    )


def _variables(shades: Sequence[Shade]) -> str:
    return "".join(
        f"--b{step}:{shade.background};--i{step}:{shade.ink};" for step, shade in enumerate(shades)
    )


_RULES = """\
body{margin:0;background:var(--b0);color:var(--i0);font:1rem/1.5 system-ui,sans-serif}
main{max-width:46rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:.8rem;font-weight:600;color:var(--quiet);margin:0 0 .25rem}
sub{line-height:0}
header p,.figures,summary{color:var(--quiet);font-size:.875rem;margin:.5rem 0}
.figures b{color:var(--i0)}
.legend{display:flex;flex-wrap:wrap;list-style:none;margin:1rem 0 0;padding:0;font-size:.8rem}
.legend li{flex:1 0 2.5rem;align-self:start;text-align:center}
.legend::after{color:var(--quiet);padding-left:.75rem}
.legend li,.text span{padding-bottom:2px;background-clip:content-box;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
section{border-top:1px solid color-mix(in srgb,var(--line) 40%,transparent);margin-top:1.5rem;
padding-top:1rem}
.text{font-size:1.125rem;line-height:2.1;white-space:pre-wrap;overflow-wrap:anywhere;tab-size:4;
unicode-bidi:plaintext}
.character .text{font-family:ui-monospace,monospace}
.word .text span,.subword .text span{box-shadow:inset 1px 0 var(--b0)}
.text i::before{content:"↵";font-style:normal;opacity:.6}
.text code{font-size:.8em}
.text .e{margin-left:.6em;font-size:.75em;user-select:none}
.u{text-decoration:underline dotted}
summary{cursor:pointer}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
th,td{text-align:right;padding:.15rem .75rem}
td[class]{border:0}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{font-weight:600;color:var(--quiet)}
@media print{main{max-width:none;padding:0}section,tr{break-inside:avoid}}
"""
