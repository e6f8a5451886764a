"""Makes numbers.tsv: numbers in digits, and in English words, one pair per line.

python data/numbers.py > data/numbers.tsv
"""

import random
import sys

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def words(number: int) -> str:
    """A number below a million in words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" and {words(number % 100)}" if number % 100 else ""
        return f"{ONES[number // 100]} hundred{rest}"
    rest, joined = number % 1000, ""
    if rest:
        joined = f" and {words(rest)}" if rest < 100 else f" {words(rest)}"
    return f"{words(number // 1000)} thousand{joined}"


def main() -> None:
    """All numbers below 200, and some of the larger ones."""
    rng = random.Random(0)
    drawn = {rng.randrange(200, 10 ** rng.randint(3, 6)) for _ in range(2400)}
    for number in sorted({*range(200), *drawn}):
        sys.stdout.write(f"{number:,}\t{words(number)}\n")


if __name__ == "__main__":
    main()
