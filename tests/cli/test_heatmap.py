"""Texts shaded by surprisal: nothing is lost, nothing gets out, and everyone can read it."""

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlm.cli.output.heatmap import BARS, NEWLINE, HeatMap
from charlm.display.columns import width
from charlm.display.html_page import Page
from charlm.display.safe_text import safe_text
from charlm.display.shading import DARK, EITHER, LIGHT, STEPS, Scale, Shade, patches

ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")
SHADED = tuple(shade for shade in EITHER if shade is not None)
BACKGROUNDS = (None, "light", "dark")
COLOURS = (256, 2**24)
CHARACTERS = Scale.of("char")
HOSTILE = (
    "<script>alert(1)</script>",
    "</div></main>",
    "\"'><img src=x onerror=y>",
    "&lt;&#10;&amp",
    "]]><!--",
    "\x00\x1b[31m\x7f\x9b\x07",
    "\ud800\udfff",
    "\u202e\u2066\u2029\u200b",
    "\r\n\t\n",
    "e\u0301\u0301 \ufe0f\u200d",
    "東京😀",
    "שלום عربي",
    "<EOS>",
    NEWLINE,
)

TAGS = {"html", "head", "meta", "title", "style", "body", "main", "header", "section"}
TAGS |= {"h1", "h2", "p", "sub", "ol", "li", "div", "span", "i", "b", "bdi", "code"}
TAGS |= {"details", "summary", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "title", "dir", "id", "scope"}
ATTRIBUTES |= {"aria-label", "aria-labelledby"}


class Token(NamedTuple):
    """A token of a made-up score."""

    start: int
    end: int
    piece: str
    surprisal: float
    rank: int | None = 1
    is_unknown: bool = False
    num_tokens: int = 1


@st.composite
def scored(draw: st.DrawFn) -> tuple[str, list[Token]]:
    """Any text, cut anywhere into tokens with gaps between them, some sharing a character."""
    any_text = st.text(st.characters(exclude_categories=()), max_size=8)
    text = "".join(draw(st.lists(st.sampled_from(HOSTILE) | any_text, max_size=5)))
    bits = st.floats(0, 40)
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        end = min(len(text), at + draw(st.integers(1, 4)))
        if draw(st.integers(0, 5)):
            for _ in range(draw(st.sampled_from((1, 1, 1, 3)))):
                tokens.append(Token(at, end, text[at:end], draw(bits), 1, draw(st.booleans())))
        at = end
    if draw(st.booleans()):
        tokens.append(Token(len(text), len(text), "<EOS>", draw(bits), None))
    return text, tokens


def characters(text: str, bits: Sequence[float], end: float = 0.5) -> list[Token]:
    """The score of a text that is cut into characters."""
    tokens = [Token(at, at + 1, text[at], bits[at]) for at in range(len(text))]
    return [*tokens, Token(len(text), len(text), "<EOS>", end, None)]


def as_shown(text: str) -> str:
    """A text as a heat map writes it, without the ends of its lines."""
    names = {"\n": NEWLINE, "\t": "\\t", NEWLINE: f"\\u{ord(NEWLINE):04x}"}
    return "".join(names.get(char) or safe_text(char) for char in text)


@given(scored())
def test_patches_are_the_text(case: tuple[str, list[Token]]) -> None:
    """Put together the patches are the text, and hold every token once, its bits with it."""
    text, tokens = case
    found = list(patches(text, tokens))
    assert "".join(text[patch.start : patch.end] for patch in found) == text
    assert sorted(token for patch in found for token in patch.tokens) == sorted(tokens)
    total = math.fsum(token.surprisal for token in tokens)
    assert math.isclose(sum(patch.bits for patch in found), total, abs_tol=1e-9)


def test_what_shares_a_place_is_one_patch() -> None:
    """The bytes of a character and the marks upon it add their bits; a space between has none."""
    text = "aé e\u0301x y"
    tokens = [
        Token(0, 1, "a", 1.0),
        Token(1, 2, "<0xC3>", 2.0),
        Token(1, 2, "<0xA9>", 0.5),
        Token(3, 4, "e", 3.0),
        Token(4, 5, "\u0301", 4.0, 1, True),
        Token(5, 6, "x", 1.0),
        Token(6, 8, " y", 6.0),
    ]
    found = [(text[p.start : p.end], p.bits, p.is_unknown) for p in patches(text, tokens)]
    assert found == [
        ("a", 1.0, False),
        ("é", 2.5, False),
        (" ", 0.0, False),
        ("e\u0301", 7.0, True),
        ("x", 1.0, False),
        (" ", 0.0, False),
        ("y", 6.0, False),
    ]


@given(st.floats(0, math.inf), st.floats(0, math.inf), st.sampled_from(("char", "word")))
def test_the_scale_never_falls(one: float, other: float, level: str) -> None:
    """More bits are never a lower step; a step of so many bits begins where its label says."""
    scale = Scale.of(level)
    low, high = sorted((one, other))
    assert 0 <= scale.step(low) <= scale.step(high) < STEPS
    for step, label in enumerate(scale.labels):
        begin = float(re.match(r"[\d.]+", label)[0])  # type: ignore[index]
        assert scale.step(begin) == step
        assert step == 0 or scale.step(begin - 1e-9) == step - 1


@pytest.mark.parametrize("shades", [LIGHT, DARK, SHADED], ids=["light", "dark", "either"])
@pytest.mark.parametrize("few", [False, True], ids=["rgb", "256"])
def test_every_shade_can_be_read(shades: tuple[Shade, ...], few: bool) -> None:
    """Text on its shade has a contrast of 4.5 or more (WCAG 2, AA)."""
    for shade in shades:
        ink, background = (luminance(colour) for colour in colours_of(shade, few))
        darker, lighter = sorted((ink, background))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5


@pytest.mark.parametrize("shades", [LIGHT, DARK, SHADED], ids=["light", "dark", "either"])
@pytest.mark.parametrize("few", [False, True], ids=["rgb", "256"])
def test_shades_differ_in_lightness_alone(shades: tuple[Shade, ...], few: bool) -> None:
    """From step to step CIE L* goes one way, by more than an eye sees: no hue is needed."""
    lightness = [116 * luminance(colours_of(shade, few)[1]) ** (1 / 3) - 16 for shade in shades]
    steps = [abs(after - before) for before, after in pairwise(lightness)]
    assert lightness in (sorted(lightness), sorted(lightness, reverse=True))
    assert min(steps) > (5 if few else 8)
    assert few or max(steps) < 2 * min(steps)


@pytest.mark.parametrize("colours", [256, 2**24])
def test_what_is_likely_keeps_the_colours_of_an_unknown_terminal(colours: int) -> None:
    """Where the background is not known only what surprises is painted, and it stands out."""
    assert EITHER[:2] == (None, None)
    heat = HeatMap(CHARACTERS, colours)
    (row,) = heat.rows("likely", characters("likely", [0.1, 0.9, 1.0, 1.9, 0.0, 1.5], 0.2))
    assert row == "likely <EOS>"
    (row,) = heat.rows("ab", characters("ab", [0.1, 7.5]))
    assert row.startswith("a\x1b[38;")
    for shade in SHADED:  # neither near white nor near black
        ground = 116 * luminance(colours_of(shade, colours == 256)[1]) ** (1 / 3) - 16
        assert 40 <= ground <= 90


def colours_of(shade: Shade, few: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and background as red, green and blue."""
    if few:
        return xterm(shade.ink_number), xterm(shade.number)
    ink, background = (
        tuple(bytes.fromhex(colour.removeprefix("#"))) for colour in (shade.ink, shade.background)
    )
    return ink, background


def xterm(number: int) -> tuple[int, ...]:
    """A colour of the 256: the cube of six levels, then the greys."""
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    levels = (0, 95, 135, 175, 215, 255)
    return tuple(levels[(number - 16) // base % 6] for base in (36, 6, 1))


def luminance(colour: tuple[int, ...]) -> float:
    """The relative luminance of sRGB, 0 to 1 (WCAG 2)."""
    linear = [
        part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4
        for part in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@given(scored(), st.integers(2, 90))
@example(("a\n", characters("a\n", (1.0, 2.0))), 2)
@example(("\u0301a\n\u0301", characters("\u0301a\n\u0301", (1.0, 2.0, 3.0, 4.0))), 10)
def test_the_text_can_be_read_back(case: tuple[str, list[Token]], columns: int) -> None:
    """Without colour every other line is the text, what is unseen written out, and <EOS>."""
    text, tokens = case
    rows = list(HeatMap(CHARACTERS, 0, columns).rows(text, tokens))
    end = " <EOS>" if tokens and tokens[-1].rank is None else ""
    assert "".join(rows[::2]) == as_shown(text) + end
    for row, bars in zip(rows[::2], rows[1::2], strict=True):
        assert width(bars) <= width(row)
        assert set(bars) <= set(BARS + " ?")
        assert NEWLINE not in row[:-1]


@given(scored(), st.integers(2, 90), st.sampled_from(COLOURS), st.sampled_from(BACKGROUNDS))
def test_colours_are_all_that_is_added(
    case: tuple[str, list[Token]], columns: int, colours: int, background: str | None
) -> None:
    """Without its colour codes each row is the row of the plain form; no other code gets out."""
    text, tokens = case
    heat = HeatMap(CHARACTERS, colours, columns, background)
    rows = list(heat.rows(text, tokens))
    plain = list(heat._replace(colours=0).rows(text, tokens))
    assert [ESCAPE.sub("", row) for row in rows] == plain[::2]
    for row in rows:
        codes = ESCAPE.findall(row)
        assert all(code == "0" for code in codes[1::2])
        assert all(code.startswith("38;") or code == "4" for code in codes[::2])
        assert len(codes) % 2 == 0


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-256color"}, 256),
        ({"TERM": "xterm-kitty", "COLORTERM": "truecolor"}, 2**24),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit", "NO_COLOR": "1"}, 0),
        ({"TERM": "dumb"}, 0),
        ({"TERM": "linux"}, 0),
        ({"TERM": "vt100"}, 0),
        ({}, 0),
    ],
)
def test_the_terminal_says_how_many_colours(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: int
) -> None:
    """Colours where TERM and COLORTERM know them; none in a pipe or where none are wanted."""
    for name in ("TERM", "COLORTERM", "NO_COLOR", "COLORFGBG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Screen())
    monkeypatch.setenv("COLUMNS", "72")
    assert HeatMap.of_stdout(CHARACTERS) == HeatMap(CHARACTERS, expected, 72)
    monkeypatch.setenv("COLORFGBG", "0;15")
    assert HeatMap.of_stdout(CHARACTERS) == HeatMap(CHARACTERS, expected, 72, "light")
    monkeypatch.setenv("COLORFGBG", "15;0")
    assert HeatMap.of_stdout(CHARACTERS) == HeatMap(CHARACTERS, expected, 72, "dark")
    monkeypatch.setenv("COLORFGBG", "default;default")
    assert HeatMap.of_stdout(CHARACTERS) == HeatMap(CHARACTERS, expected, 72, None)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert HeatMap.of_stdout(CHARACTERS).colours == 0


class Screen(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@given(scored(), st.integers(2, 90), st.sampled_from((0, *COLOURS)))
def test_nothing_is_wider_than_the_terminal(
    case: tuple[str, list[Token]], columns: int, colours: int
) -> None:
    """No line of the text, its bars, its figures or the legend exceeds the columns."""
    for level in ("char", "word"):
        heat = HeatMap(Scale.of(level), colours, columns)
        for line in (*heat.legend(), *heat.lines(*case)):
            bare = ESCAPE.sub("", line)
            assert width(bare) <= columns
            assert "\n" not in bare


@given(st.lists(st.tuples(st.characters(categories=["Lu", "Nd"], codec="ascii"), st.floats(0, 12))))
def test_bars_stand_below_their_tokens(pairs: list[tuple[str, float]]) -> None:
    """The bar below a character is that of its step, and the legend names it."""
    text, bits = "".join(char for char, _ in pairs), [bits for _, bits in pairs]
    heat = HeatMap(CHARACTERS, 0, 200)
    _, bars = heat.rows(text, characters(text, bits))
    assert bars[: len(text)] == "".join(BARS[CHARACTERS.step(value)] for value in bits)
    (legend,) = heat.legend()
    assert legend.split() == [
        "bits",
        *(word for pair in zip(BARS, CHARACTERS.labels, strict=True) for word in pair),
    ]


def test_rows_break_between_words() -> None:
    """A row ends after a space where it can; a newline is seen; the figures come last."""
    text = "one two\nthree 東京"
    tokens = [
        Token(0, 3, "one", 3.0),
        Token(4, 7, "two", 17.0, 9, True),
        Token(7, 8, "\n", 0.0),
        Token(8, 13, "three", 5.5),
        Token(14, 16, "東京", 15.0),
        Token(16, 16, "<EOS>", 2.0, None),
    ]
    assert list(HeatMap(Scale.of("word"), 0, 12).lines(text, tokens)) == [
        "one two↵",
        "▂▂▂ ?██▁",
        "three 東京 ",
        "▃▃▃▃▃ ████",
        "<EOS>",
        "▂▂▂▂▂",
        "42.50 bits ",
        "in total, ",
        "2.66 per ",
        "character, ",
        "<EOS> 2.00, ",
        "1 unknown, ",
        "marked ?",
    ]


class Reader(HTMLParser):
    """Reads a page strictly: what is in it, and whether every element is closed."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.titles: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and what hangs on it."""
        values = dict(attrs)
        assert len(values) == len(attrs)
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append((tag, values.get("class") or ""))
        if values.get("class") == "text":
            self.texts.append("")
        if "title" in values:
            self.titles.append(values["title"] or "")
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Nothing is closed that was not opened last."""
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        """Collect texts and cells."""
        classes = [name for _, name in self.open]
        if "text" in classes and not any(name.endswith(" e") for name in classes):
            self.texts[-1] += data
        if any(tag == "td" for tag, _ in self.open):
            self.rows[-1][-1] += data


def read(path: Path) -> Reader:
    """A page, parsed to its end."""
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>\n")
    assert html.endswith("</html>\n")
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages of this module go."""
    return tmp_path_factory.mktemp("pages") / "page.html"


@given(
    case=st.lists(scored(), max_size=3),
    model=st.sampled_from(HOSTILE),
    level=st.sampled_from(("char", "subword", "word")),
)
def test_a_page_holds_the_texts_and_nothing_else(
    place: Path, case: list[tuple[str, list[Token]]], model: str, level: str
) -> None:
    """Whatever the texts and names hold, the page is whole and they are text in it."""
    with Page(place, model=model, level=level) as page:
        for text, tokens in case:
            page.add(text, tokens)
    reader = read(place)
    assert reader.texts == [safe_text(text, keep="\n\t") for text, _ in case]
    assert reader.tags <= TAGS
    assert {name for name, _ in reader.attributes} <= ATTRIBUTES
    rows = [row for row in reader.rows if row]
    assert len(rows) == sum(len(tokens) for _, tokens in case)


@given(case=scored())
def test_a_page_tells_every_figure(place: Path, case: tuple[str, list[Token]]) -> None:
    """Each token's surprisal and rank stand in its table and where it is pointed at."""
    text, tokens = case
    with Page(place, model="m", level="char", unit="bits") as page:
        page.add(text, tokens)
    reader = read(place)
    rows = [row for row in reader.rows if row]
    for row, token in zip(rows, tokens, strict=True):
        assert row[3] == f"{token.surprisal:.3f}"
        assert row[2] in (f"−{token.surprisal:.4f}", "0.0000")
        assert row[4] == ("" if token.rank is None else str(token.rank))
    told = "\n".join(reader.titles)
    assert told.count(" bits ") >= len(tokens)
    if tokens:
        total = math.fsum(token.surprisal for token in tokens)
        assert abs(float(rows[-1][5].replace("−", "-")) + total) < 1e-3


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    """No script, no address, nothing fetched; both schemes of colour; nothing left unstyled."""
    path = tmp_path / "page.html"
    with Page(path, model="m", level="word") as page:
        page.add("a b", [Token(0, 1, "a", 1.0), Token(2, 3, "b", 99.0, 7, True)])
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|<img|@import|url\(|https?:|src=", html)
    assert "prefers-color-scheme:dark" in html
    for shade in (*LIGHT, *DARK):
        assert shade.background in html
    used = set(re.findall(r'class="([^"]+)"', html))
    for name in {word for names in used for word in names.split()}:
        assert f".{name}" in html


def test_a_page_is_whole_however_it_ends(tmp_path: Path) -> None:
    """Texts are written as they come; after an error the page is closed and says so."""
    path = tmp_path / "page.html"
    tokens = characters("abc", (1.0, 2.0, 3.0))

    def broken() -> Iterator[tuple[str, list[Token]]]:
        yield from [("abc", tokens)] * 200
        assert path.stat().st_size > 100_000
        raise KeyError

    with pytest.raises(KeyError):
        write(path, broken())
    assert len(read(path).texts) == 200
    assert "Stopped here" in path.read_text(encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "no" / "page.html", [])


def write(path: Path, cases: Iterable[tuple[str, list[Token]]]) -> None:
    """A page of texts."""
    with Page(path, model="m", level="char") as page:
        for text, tokens in cases:
            page.add(text, tokens)
