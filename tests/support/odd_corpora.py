"""Sixty texts that a person may have, or that somebody may send, by name."""

import random
import sys
from collections.abc import Iterator

_PROSE = "".join(
    f"the {size} {animal} eats the {fruit}, and {animal}s sleep.\n"
    for size in ("big", "small", "old")
    for animal in ("bear", "badger", "jay")
    for fruit in ("pear", "apple", "plum")
)


def odd_corpora() -> Iterator[tuple[str, bytes]]:
    """Names and bytes, the same every time."""
    rng = random.Random(6)
    controls = "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0)))
    texts = {
        "empty": "",
        "one byte": "a",
        "one newline": "\n",
        "spaces alone": " " * 100,
        "blank lines alone": "\r\n \r\n\t\r\n" * 10,
        "one character 100,000 times": "a" * 100_000,
        "two characters by turns": "ab" * 5_000,
        "a million lines of one character": "a\n" * 1_000_000,
        "a line of 5 MB": "the bear eats the pear and then some more " * 125_000,
        "prose": _PROSE,
        "no newline at the end": _PROSE.rstrip("\n"),
        "a byte order mark": "\ufeff" + _PROSE,
        "a byte order mark alone": "\ufeff",
        "two byte order marks": "\ufeff\ufeff" + _PROSE,
        "byte order marks inside": "a\ufeffb\n" * 20,
        "NUL": "a\0b\n\0\n\0\0c\n" * 10,
        "all controls": f"{controls}\n" * 10,
        "each control a line": "".join(f"{char}x{char}\n" for char in controls * 3),
        "CR for line ends": _PROSE.replace("\n", "\r"),
        "CRLF for line ends": _PROSE.replace("\n", "\r\n"),
        "line ends mixed": "a\r\nb\nc\rd\n\re\r\r\nf\x0bg\x0ch\x85i\u2028j\u2029k\n" * 5,
        "NFC and NFD twins": "café\ncafe\u0301\nÅngström\nA\u030angstro\u0308m\n" * 10,
        "Hangul in jamo": "\u1112\u1161\u11ab\u1100\u116e\u11a8\n한국\n" * 10,
        "ZWJ emoji": "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 1️⃣ ❤️ 🇩🇪🇫🇷\n" * 10,
        "right to left": "שלום עולם, مرحبا بالعالم می‌خواهم\n" * 10,
        "bidirectional controls": "abc\u202edef\u202c \u2066ghi\u2069 \u200fjkl\n" * 10,
        "1,000 combining marks": "e" + "\u0301" * 1_000 + "\nzalgo\n" * 5,
        "marks with nothing to stand on": "\u0301\n\u0301\u0316 \u0301\n" * 10,
        "U+2581": "\u2581 and \u2581literal\u2581\u2581\n" * 10,
        "U+FFFD": "\ufffd\ufffd a\ufffdb\n" * 10,
        "noncharacters": "\ufffe\uffff \U0001ffff \U0010ffff \ufdd0\n" * 10,
        "private use": "\ue000\uf8ff \U000f0000\U0010fffd\n" * 10,
        "astral planes": "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𠀀𠀁 🀄\n" * 10,
        "the names of specials": "<unk> <UNK> <EOS> </s> <s> <pad> <0x41> <0x0A>\n" * 10,
        "joiners of words": "￭a￭ b￭ ￭c ￭ ￭￭\n" * 10,
        "flags of words": "0a 1b 2c 3d 0 1 2 3 00 33\n" * 10,
        "ideographs": "这是中文。かなカナ、漢字\n" * 10,
        "every letter another": "".join(chr(0x4E00 + i) for i in range(1_500)),
        "Indic and Thai": "हिन्दी में क्षत्रिय, தமிழ், ไทยไม่มีช่องว่าง\n" * 10,
        "odd spaces": "no\u00a0break\u2009thin\u3000wide\u200bzero\u00adsoft\n" * 10,
        "spaces at the ends": "  a  \n\tb\t\n c\n" * 10,
        "a word of 20,000 letters": "".join(rng.choices("abcdefgh", k=20_000)),
        "digits": "".join(f"{i * i * i},{i / 7:.3f}\n" for i in range(200)),
        "punctuation": "".join(rng.choices("!?.,;:-()[]{}'\"`~@#$%^&*_+=<>/\\|\n", k=2_000)),
        "escape sequences": "\x1b[2J\x1b]0;title\x07\x1b]52;c;aGk=\x07\x9b31m\n" * 10,
        "markup of rich": "[bold]a[/bold] [/x] [link=b]c[/link]\n" * 10,
        "HTML": "<script>alert('&amp;')</script><!-- -->\n" * 10,
        "JSON Lines": '{"text": "a\\ud83d b", "n": NaN}\n[]\n{\n' * 10,
        "tabs": "a\tb\tc\n\t\t\n" * 20,
        "one sequence": "just one line\n",
        "paragraphs": "a\nb\n\n\n\nc\nd\n \ne\nf\n" * 10,
    }
    yield from ((name, text.encode()) for name, text in texts.items())
    yield "UTF-16 with its mark", _PROSE.encode("utf-16")
    yield "UTF-16 without it", _PROSE.encode("utf-16-le")
    yield "UTF-32", _PROSE.encode("utf-32")
    yield "cp1252", "naïve café “quoted” – £5\n".encode("cp1252") * 20
    yield "Shift JIS", "日本語のテキスト\n".encode("shift-jis") * 20
    yield "UTF-8 cut inside a character", _PROSE.encode() + "é".encode()[:1]
    yield "surrogates in UTF-8", b"a\xed\xa0\xbd\xed\xb8\x80b\n" * 20
    yield "overlong and too large UTF-8", b"\xc0\x80 \xf4\x90\x80\x80\n" * 20
    with open(sys.executable, "rb") as program:
        yield "a program (ELF on Linux)", program.read(100_000)
