"""Writes entities.conll and entities-held-out.conll: made-up sentences with tagged names.

python data/entities.py DIR. The names are put together from syllables, those of the held-out file
from others than those of the training file; the sentences are templates. The same program writes
the same files.
"""

import random
import sys
from pathlib import Path

GIVEN = [
    "Ada",
    "Bela",
    "Carlo",
    "Dina",
    "Emre",
    "Fatou",
    "Goran",
    "Hanna",
    "Ilse",
    "Jonas",
    "Kofi",
    "Lena",
    "Marta",
    "Nils",
    "Olga",
    "Pavel",
    "Rosa",
    "Sami",
    "Tove",
    "Uwe",
    "Vera",
    "Wanda",
    "Yusuf",
    "Zita",
]
OTHER_GIVEN = [
    "Anton",
    "Bruna",
    "Cleo",
    "Dario",
    "Elif",
    "Femi",
    "Greta",
    "Hugo",
    "Ines",
    "Jorma",
    "Katya",
    "Liam",
    "Mira",
    "Nadia",
]
PERSON = (
    ["Brand", "Col", "Dor", "Fen", "Gar", "Hol", "Jan", "Kel", "Lor", "Mar"],
    ["ic", "man", "ssen", "ova", "etti", "kins"],
)
OTHER_PERSON = (
    ["Bor", "Dan", "Hal", "Lind", "Nor", "Pell", "Ras"],
    ["ic", "man", "ssen", "ova", "etti", "kins"],
)
PLACE = (
    ["Ash", "Black", "Clear", "Elm", "Fair", "Green", "Hazel", "Long", "Mill", "North"],
    ["bury", "field", "ford", "mouth", "port", "ton", "wick"],
)
OTHER_PLACE = (
    ["Alder", "Birch", "Cold", "Oak", "Red", "South", "White"],
    ["bury", "field", "ford", "mouth", "port", "ton", "wick"],
)
FIRM = ["Foods", "Bank", "Motors", "Press", "Airlines", "Mills", "Insurance", "Textiles"]

# {P} a person, {L} a place, {O} an organisation; tokens stand between spaces.
TEMPLATES = [
    "{P} was born in {L} .",
    "{P} has worked for {O} since 1998 .",
    "{O} will open a second office in {L} next year .",
    "The river runs from {L} to {L} .",
    "{P} and {P} met at the station in {L} .",
    '" We are not for sale , " said {P} of {O} .',
    "Shares in {O} fell by 4 percent on Monday .",
    "{O} has bought {O} for 20 million .",
    "It rained in {L} all week .",
    "{P} , who plays the cello , comes from {L} .",
    "The mayor of {L} , {P} , opened the new bridge .",
    "Nobody at {O} wanted to speak about the fire .",
    "The last train to {L} leaves at 11 .",
    "{P} sold the house and moved to {L} in March .",
    "In {L} the apples are ripe by August .",
    "{O} asked {P} to lead its office in {L} .",
    "A letter from {P} was found in the old mill .",
    "The library is closed on Mondays .",
    "{P} wrote three books about bees .",
    "Prices rose again , according to {O} .",
    "The road between {L} and {L} is closed because of snow .",
    "My neighbour makes good cheese .",
    "{P} left {O} after a quarrel with {P} .",
    "Two students of the {U} won the prize .",
    "{P} teaches chemistry at the {U} .",
    "The concert in {L} was sold out within an hour .",
    "They waited for the bus , but it never came .",
    "{C} beat {C} by two goals to one .",
    "The keeper of {C} , {P} , was hurt in the first half .",
    "Bread was cheaper then , {P} told us .",
]

NOTE = {"P": "PER", "L": "LOC", "O": "ORG", "U": "ORG", "C": "ORG"}


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1])
    usual = (GIVEN, PERSON, PLACE)
    other = (OTHER_GIVEN, OTHER_PERSON, OTHER_PLACE)
    for name, number, seed, names in (
        ("entities.conll", 400, 1, usual),
        ("entities-held-out.conll", 100, 2, other),
    ):
        (folder / name).write_text(written(number, random.Random(seed), *names), encoding="utf-8")


def written(number: int, rng: random.Random, given: list[str], *parts: tuple) -> str:
    """So many sentences, a token and its tag a line."""
    seen: set[str] = set()
    while len(seen) < number:
        sentence = ""
        for token in rng.choice(TEMPLATES).split():
            kind = token[1] if token.startswith("{") else ""
            name = made(kind, rng, given, *parts) if kind else [token]
            for at, word in enumerate(name):
                tag = f"{'I' if at else 'B'}-{NOTE[kind]}" if kind else "O"
                sentence += f"{word}\t{tag}\n"
        if sentence not in seen:
            seen.add(sentence)
    ordered = sorted(seen)
    rng.shuffle(ordered)
    return "\n".join(ordered)


def made(kind: str, rng: random.Random, given: list[str], person: tuple, place: tuple) -> list[str]:
    """The words of a name."""
    surname = rng.choice(person[0]) + rng.choice(person[1])
    town = rng.choice(place[0]) + rng.choice(place[1])
    if kind == "P":
        return [rng.choice(given), surname] if rng.random() < 0.7 else [surname]
    if kind == "L":
        return [town]
    if kind == "U":
        return ["University", "of", town]
    if kind == "C":
        return [town, rng.choice(("United", "Rovers", "Athletic"))]
    return [rng.choice((surname, town)), rng.choice(FIRM)]


if __name__ == "__main__":
    main()
