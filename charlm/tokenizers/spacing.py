"""Whether spaces part the words of a text: in some scripts they do not.

Ideographs and kana are tokens of their own at word level (word.py). Of the scripts below a run of
letters is a phrase or a whole line, unless somebody has put spaces between the words.
(Unicode 16.0, chapters 16 to 18; UAX #14, line breaking class SA.)
"""

import re
import unicodedata
from collections.abc import Iterable

_UNSPACED = {
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Tibetan": "\u0f00-\u0fff",  # its syllables are parted by a mark, so a long one is strange
    "Burmese": "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f",
    "Khmer": "\u1780-\u17ff",
    "Tai Le": "\u1950-\u197f",
    "New Tai Lue": "\u1980-\u19df",
    "Tai Tham": "\u1a20-\u1aaf",
    "Balinese": "\u1b00-\u1b7f",
    "Yi": "\ua000-\ua4cf",
    "Vai": "\ua500-\ua63f",
    "Javanese": "\ua980-\ua9df",
    "Tai Viet": "\uaa80-\uaadf",
    "Cuneiform": "\U00012000-\U0001254f",
    "Egyptian hieroglyphs": "\U00013000-\U000143ff",
    "Tangut": "\U00017000-\U00018aff\U00018d00-\U00018d7f",
    "Khitan": "\U00018b00-\U00018cff",
    "Nushu": "\U0001b170-\U0001b2ff",
}
_SCRIPTS = "|".join(f"([{ranges}])" for ranges in _UNSPACED.values())
_LONGEST = 9.0  # characters of a word, marks included, on average: Thai has four, Burmese seven
_LONGEST_ANYWHERE = 24.0  # more than in any language whose words are parted
_SHARE = 0.1  # of the letters: of less than that not a word is lost


def note_on_spacing(words: Iterable[tuple[str, int]]) -> str | None:
    """What there is to say of words, each with its number, that spaces do not seem to part."""
    names = (*_UNSPACED, "")
    numbers, characters = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for word, number in words:
        if word and unicodedata.category(word[0])[0] in "LM":
            match = re.match(_SCRIPTS, word)
            script = names[match.lastindex - 1] if match and match.lastindex else ""
            numbers[script] += number
            characters[script] += number * len(word)
    all_characters = sum(characters.values())
    for script in sorted(_UNSPACED, key=lambda name: -characters[name]):
        mean = characters[script] / max(1, numbers[script])
        if mean > _LONGEST and characters[script] > _SHARE * all_characters:
            return (
                f"{script} is written without spaces between words: what stands between two "
                f"spaces, {mean:.0f} characters on average, counts as one word. The levels subword "
                "and char need no spaces"
            )
    mean = all_characters / max(1, sum(numbers.values()))
    if mean > _LONGEST_ANYWHERE:
        return (
            f"words have {mean:.0f} characters on average: is there no space between them? The "
            "levels subword and char need none"
        )
    return None
