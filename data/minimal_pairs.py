"""Makes minimal-pairs.tsv: a good sentence, one that is worse by a word, and what it is a case of.

python data/minimal_pairs.py > data/minimal-pairs.tsv
"""

import itertools
import random
import sys
from collections.abc import Iterator

EACH = 60  # pairs of a category

PEOPLE = ("cook", "boy", "farmer", "teacher", "girl", "gardener", "baker", "guard", "captain")
THINGS = ("pear", "apple", "table", "window", "spoon", "basket", "tree", "door", "boat", "house")
STATES = ("old", "small", "cold", "green", "warm", "wet", "brown", "red", "new", "clean")
PLACES = ("behind", "beside", "near", "under", "above")
NUMBERS = ("two", "three", "four", "five", "six", "ten", "many", "both")
DOINGS = (
    ("eats", "eat"),
    ("wants", "want"),
    ("has", "have"),
    ("sees", "see"),
    ("takes", "take"),
    ("does", "do"),
)
CARRIED = ("pear", "apple", "spoon", "basket", "plate", "egg", "chair", "cup")
VOWELS = ("apple", "onion", "orchard", "evening", "egg", "old pear", "open door", "inn")
CONSONANTS = ("pear", "spoon", "salad", "basket", "green apple", "cold evening", "tree", "day")
EDIBLE = ("pear", "apple and pear", "pear and cheese", "ripe pear", "green pear", "cold pear")
TWOFOLD = ("boots", "gloves", "socks", "scissors", "shoes")

Triple = tuple[str, str, str]


def agreement(noun: str, middle: str, state: str, category: str) -> Iterator[Triple]:
    """A subject of one and of several, with what stands between it and its verb."""
    yield f"The {noun}{middle} was {state}.", f"The {noun}{middle} were {state}.", category
    yield f"The {noun}s{middle} were {state}.", f"The {noun}s{middle} was {state}.", category


def next_to() -> Iterator[Triple]:
    """The verb stands behind its subject."""
    for noun, state in itertools.product(THINGS + PEOPLE, STATES):
        yield from agreement(noun, "", state, "agreement, next to it")


def attracted() -> Iterator[Triple]:
    """Between them stands a noun of the other number."""
    for noun, place, other, state in itertools.product(THINGS, PLACES, THINGS, STATES):
        if noun != other:
            one, several = agreement(noun, f" {place} the {other}", state, "agreement, attracted")
            yield tuple(part.replace(f"the {other}", f"the {other}s") for part in one)  # type: ignore[misc]
            yield several


def across() -> Iterator[Triple]:
    """Between them stands a clause."""
    for noun, person, state in itertools.product(THINGS, PEOPLE, STATES):
        middle = f", which the {person} had seen before,"
        yield from agreement(noun, middle, state, "agreement, across a clause")


def present() -> Iterator[Triple]:
    """Verbs of today, behind one and behind several."""
    for person, (one, several), place, thing in itertools.product(PEOPLE, DOINGS, PLACES, THINGS):
        rest = f"what the others {several} {place} the {thing}."
        yield f"The {person} {one} {rest}", f"The {person} {several} {rest}", "present tense"
        rest = f"what the other {one} {place} the {thing}."
        yield f"The {person}s {several} {rest}", f"The {person}s {one} {rest}", "present tense"


def articles() -> Iterator[Triple]:
    """A before a consonant, an before a vowel."""
    for person, thing in itertools.product(PEOPLE, VOWELS):
        yield f"The {person} saw an {thing}.", f"The {person} saw a {thing}.", "a or an"
    for person, thing in itertools.product(PEOPLE, CONSONANTS):
        yield f"The {person} saw a {thing}.", f"The {person} saw an {thing}.", "a or an"


def counted() -> Iterator[Triple]:
    """Behind a number stands a plural."""
    for person, number, thing in itertools.product(PEOPLE, NUMBERS, CARRIED):
        good = f"The {person} carried {number} {thing}s home."
        yield good, good.replace(f"{thing}s", thing), "plural behind a number"


def fruit() -> Iterator[Triple]:
    """Pears are eaten; of boots there is a pair."""
    for person, what in itertools.product(PEOPLE, EDIBLE):
        good = f"The {person} made a {what} salad."
        yield good, good.replace("pear", "pair"), "pear or pair"
    for person, what in itertools.product(PEOPLE, TWOFOLD):
        good = f"The {person} bought a pair of {what}."
        yield good, good.replace("pair", "pear"), "pear or pair"


def quoted() -> Iterator[Triple]:
    """What was opened is closed."""
    for person, thing, state in itertools.product(PEOPLE, THINGS, STATES):
        good = f'"The {thing} is {state}," said the {person}.'
        yield good, good.replace(',"', ","), "closing quote"


def main() -> None:
    """Some of each category, drawn without a bias."""
    rng = random.Random(0)
    for make in (next_to, attracted, across, present, articles, counted, fruit, quoted):
        found = list(make())
        for at in sorted(rng.sample(range(len(found)), EACH)):
            sys.stdout.write("\t".join(found[at]) + "\n")


if __name__ == "__main__":
    main()
