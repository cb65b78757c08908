"""Numbers in English words."""

from __future__ import annotations

import re

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if 0 < rest < 20:
        words.append(_ONES[rest])
    elif rest:
        words.append(_TENS[rest // 10] + (f"-{_ONES[rest % 10]}" if rest % 10 else ""))
    return " ".join(words)


def cardinal(number: str) -> str:
    """Digits (commas allowed) as words: ``1234`` → "one thousand, two hundred thirty-four"; very long ones singly."""
    value = int(number.replace(",", ""))
    if value >= 1000 ** len(_THOUSANDS):
        return digits(number)
    groups, rest = [], value
    for scale in _THOUSANDS:
        rest, group = divmod(rest, 1000)
        if group:
            groups.append(f"{_below_thousand(group)} {scale}".strip())
    if not groups:
        return "zero"
    last = value % 1000
    joined = ", ".join(reversed(groups[1:] if 0 < last < 100 else groups))
    return f"{joined} {groups[0]}".strip() if 0 < last < 100 else joined


def ordinal(number: str) -> str:
    """Digits as an ordinal number in words: ``21`` → "twenty-first"."""
    before, mark, last = re.fullmatch(r"(?:(.*)([ -]))?([a-z]+)", cardinal(number)).groups(default="")  # type: ignore[union-attr]
    ending = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return f"{before}{mark}{ending}"


def digits(number: str) -> str:
    """Digits one by one, as in telephone numbers: ``105`` → "one zero five"."""
    return " ".join(_ONES[int(digit)] for digit in number if digit.isdecimal())


def year(number: str) -> str:
    """Four digits read in pairs, as years are: ``1995`` → "nineteen ninety-five", ``2005`` → "two thousand five"."""
    high, low = divmod(int(number), 100)
    if 2000 <= int(number) <= 2009 or (high % 10 == 0 and low == 0):
        return cardinal(number)
    if low == 0:
        return f"{cardinal(str(high))} hundred"
    return f"{cardinal(str(high))} {'oh ' if low < 10 else ''}{cardinal(str(low))}"


def decimal(number: str) -> str:
    """A number with commas and a point in words: ``2.50`` → "two point five zero"."""
    whole, _, fraction = number.replace(",", "").partition(".")
    return f"{cardinal(whole or '0')} point {digits(fraction)}" if fraction else cardinal(whole)


def plural(words: str) -> str:
    """A number in words as a group of its like: "nineties", "thousands", "forty-sevens"."""
    return re.sub("y$", "ie", words) + ("es" if words.endswith("x") else "s")


_ROMAN = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman(numeral: str) -> int:
    """Value of a Roman numeral in either case; 0 if it is none."""
    letters = numeral.upper()
    if not _ROMAN.fullmatch(letters):
        return 0
    values = [_ROMAN_VALUES[letter] for letter in letters]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))
