"""English text as it is spoken: numbers, money, times, units, abbreviations and symbols become words.

The result keeps letters, apostrophes, spaces and the marks ``, . ? ! -``. Rules run in a fixed order; each is one
pattern with one function.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial

_ABBREVIATIONS = {
    "Dr": "Doctor", "Rev": "Reverend",
    "Gen": "General", "Col": "Colonel", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Gov": "Governor",
    "Sen": "Senator", "Rep": "Representative", "Hon": "Honorable", "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire",
    "dept": "department", "Inc": "Incorporated",
    "Ltd": "Limited", "Co": "Company", "Corp": "Corporation", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "Mt": "Mount", "Jan": "January", "Feb": "February", "Aug": "August", "Sept": "September", "Oct": "October",
    "Nov": "November", "Dec": "December",
}  # fmt: skip

_UNITS = {
    "km/h": "kilometer per hour", "m/s": "meter per second", "mph": "mile per hour", "kph": "kilometer per hour",
    "mm": "millimeter", "cm": "centimeter", "m": "meter", "km": "kilometer", "mg": "milligram", "g": "gram",
    "kg": "kilogram", "ml": "milliliter", "mL": "milliliter", "l": "liter", "L": "liter", "ft": "foot", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "yd": "yard", "mi": "mile", "ms": "millisecond", "s": "second", "sec": "second",
    "min": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "tbsp": "tablespoon", "tsp": "teaspoon",
    "kHz": "kilohertz", "Hz": "hertz", "MHz": "megahertz", "GHz": "gigahertz", "dB": "decibel",
    "W": "watt", "kW": "kilowatt",
    "kWh": "kilowatt hour", "V": "volt", "°C": "degree celsius", "°F": "degree fahrenheit",
    "℃": "degree celsius", "℉": "degree fahrenheit", "°": "degree",
}  # fmt: skip
_PLURALS = {
    "foot": "feet", "hertz": "hertz", "kilohertz": "kilohertz", "megahertz": "megahertz", "gigahertz": "gigahertz",
    "penny": "pence", "yen": "yen", "yuan": "yuan", "fen": "fen",
}  # fmt: skip

_CURRENCIES = {
    "$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", ""), "￥": ("yuan", "fen"),
    "₹": ("rupee", "paisa"),
}  # fmt: skip
_SYMBOLS = {
    "%": " percent", "&": " and ", "+": " plus ", "=": " equals ", "×": " times ", "÷": " divided by ", "@": " at ",
    "#": " number ", "<": " less than ", ">": " greater than ", "~": " about ", "±": " plus or minus ", "©": "",
    "®": "", "™": "", "§": " section ", "π": " pi ", "μ": " micro ", "√": " square root of ",
    "≈": " approximately equals ", "ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
}  # fmt: skip
_PUNCTUATION = str.maketrans(
    {
        "’": "'", "‘": "'", "ʼ": "'", "′": "'", "“": " ", "”": " ", '"': " ", "«": " ", "»": " ",
        "，": ",", "、": ",", "；": " ", ";": " ", ":": " ", "：": " ", "。": ".", "！": "!", "？": "?", "…": ".",
        "—": " ", "–": " ", "―": " ", "−": "-", "‐": "-", "‑": "-", "(": " ", ")": " ", "（": " ", "）": " ",
        "[": " ", "]": " ", "/": " ", "\\": " ", "|": " ", "_": " ", "*": " ", "·": " ",
    }
)  # fmt: skip


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


def _decimal(number: str) -> str:
    whole, _, fraction = number.replace(",", "").partition(".")
    return f"{cardinal(whole or '0')} point {digits(fraction)}" if fraction else cardinal(whole)


def _plural(noun: str, number: str) -> str:
    """The noun (its first word) in the number that a quantity asks for."""
    if number.replace(",", "") in ("1", "1.0"):
        return noun
    first, _, rest = noun.partition(" ")
    return f"{_PLURALS.get(first, first + 's')} {rest}".strip()


def _money(match: re.Match[str]) -> str:
    symbol, number, scale = match["symbol"], match["number"], match["scale"]
    unit, subunit = _CURRENCIES[symbol]
    if scale:
        return f"{_decimal(number)} {scale.lower()} {_plural(unit, '2')}"
    whole, _, fraction = number.replace(",", "").partition(".")
    cents = int((fraction + "00")[:2]) if fraction and subunit else 0
    parts = [f"{cardinal(whole)} {_plural(unit, whole)}"] if int(whole or 0) or not cents else []
    if cents:
        parts.append(f"{cardinal(str(cents))} {_plural(subunit, str(cents))}")
    return " and ".join(parts)


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def _date(match: re.Match[str]) -> str:
    return f"{_MONTHS[int(match['month']) - 1]} {ordinal(str(int(match['day'])))}, {year(match['year'])}"


def _time(match: re.Match[str]) -> str:
    """A time of day; the hours of a clock of 24 tell the half of the day where it is not written."""
    hour, minute, half = int(match["hour"]), int(match["minute"]), (match["half"] or "").upper()[:1]
    half = half if half and hour <= 12 else "P" if hour > 11 else "A"
    half = "" if match["said"] is not None else f" {half}. M."
    hours = cardinal(str(hour - 12 if hour > 12 else hour))
    if minute == 0:
        return f"{hours} o'clock{half}"
    return f"{hours} {'oh ' if minute < 10 else ''}{cardinal(str(minute))}{half}"


def _fraction(match: re.Match[str]) -> str:
    above, below = match["above"], match["below"]
    if below == "2":
        return f"{cardinal(above)} {'half' if above == '1' else 'halves'}"
    return f"{cardinal(above)} {ordinal(below)}{'' if above == '1' else 's'}"


def _mixed(match: re.Match[str]) -> str:
    """A fraction, with its whole number and its unit where they stand beside it."""
    whole = f"{cardinal(match['whole'])} and " if match["whole"] else ""
    unit = _UNITS.get(match["unit"] or "", "")
    return f"{whole}{_fraction(match)} {_plural(unit, match['whole'] or '1') if unit else ''}".rstrip()


def _unit(match: re.Match[str]) -> str:
    sign = "negative " if match["sign"] else ""
    return f"{sign}{_decimal(match['number'])} {_plural(_UNITS[match['unit']], match['number'])}"


def _address(match: re.Match[str]) -> str:
    """Mail and web addresses are spoken with their punctuation."""
    spoken = re.sub(r"^https?://", "", match[0])
    end = "." if spoken.endswith(".") else ""
    names = {".": " dot ", "/": " slash ", "@": " at ", "?": " question mark ", "=": " equals ", "_": " underscore ",
             "-": " dash ", "&": " and ", ":": " colon ", "#": " hash ", "%": " percent "}  # fmt: skip
    return "".join(names.get(character, character) for character in spoken.rstrip("./")) + end


def _plain_number(match: re.Match[str]) -> str:
    number = match[0]
    if re.fullmatch(r"1[1-9]\d\d|10[1-9]\d|2\d\d\d", number):
        return year(number)
    if (number.startswith("0") and len(number) > 1) or len(number) > 15:
        return digits(number)
    return cardinal(number)


def _saint_or_street(match: re.Match[str]) -> str:
    return "Saint " if match["next"] else "Street."


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))

_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\bhttps?://[\w./?=&%#:-]+|\b[\w.-]{1,64}@[\w-]+(?:\.[\w-]+)+|\bwww\.[\w./?=&%#:-]+"),
     _address),
    (re.compile(r"\b[\w-]{1,63}\.(?:com|org|net|edu|gov|io|ai|cn|de|uk)\b"), _address),
    (re.compile(r"\be\.\s?g\.,?", re.I), "for example"),
    (re.compile(r"\bi\.\s?e\.,?", re.I), "that is"),
    (re.compile(r"\b([ap])\.\s?m\b\.?", re.I), lambda m: f"{m[1].upper()}. M."),
    (re.compile(r"\b((?:[A-Z]\.){2,})"), lambda m: m[1].replace(".", ". ")),
    (re.compile(r"\bNo\.\s*(?=\d)"), "number "),
    (re.compile(r"\bSt\.(?:(?P<next>\s+(?=[A-Z]))|(?P<end>\s*$)?)"), _saint_or_street),
    *[(re.compile(rf"\b{short}\.(?=\s+\S|\s*$|[,;])"), f"{long}.") for short, long in _ABBREVIATIONS.items()],
    (re.compile(r"\bDr\b(?=\s+[A-Z])"), "Doctor"),
    (re.compile(r"(?<![\w-])(?P<year>[12]\d{3})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12]\d|3[01])(?![\w-])"),
     _date),
    (re.compile(r"(?<![\d:])(\d{1,3}):([0-5]\d):([0-5]\d)(?![\d:])"), lambda m: " ".join(map(cardinal, m.groups()))),
    (re.compile(r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?!\d|:)(?:\s?(?P<half>[AaPp]\.?\s?[Mm]\b\.?))?"
                r"(?P<said>(?=\s(?:in the (?:morning|afternoon|evening)|at night|tonight|o'clock)\b))?"), _time),
    (re.compile(rf"(?P<symbol>[$£€¥￥₹])\s?(?P<number>{_NUMBER})(?:\s(?P<scale>(?:thous|[mbtr]+illi)[a-z]+))?", re.I),
     _money),
    (re.compile(r"(?<![\w.,-])(?:\+?\d{1,2}[- ])?(?:\(?\d{3}\)?[- ])?\d{3}-\d{4}(?![\w-])"),
     lambda m: ", ".join(digits(group) for group in re.findall(r"\d+", m[0]))),
    (re.compile(r"(?<![\w.,-])(?:\+\d{1,3} ?|0(?=[1-9]))\d{1,5}(?: \d{2,6})+(?![\w-])"),
     lambda m: ", ".join(digits(group) for group in re.findall(r"\d+", m[0]))),
    (re.compile(r"\b(1[1-9]|20)([1-9])0s\b"), lambda m: re.sub(r"y$", "ies", year(m[1] + m[2] + "0"))),
    (re.compile(r"(?<=\bthe )'?([2-9])0s\b", re.I), lambda m: re.sub(r"y$", "ies", cardinal(m[1] + "0"))),
    (re.compile(r"\b(\d)'\s?(\d{1,2})\b\"?"), lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}"),
    (re.compile(rf"(?<![\w./])(?:(?P<whole>\d+)\s)?(?P<above>\d{{1,2}})/(?P<below>[1-9]\d{{0,2}})"
                rf"(?:\s?(?P<unit>{_UNIT_NAMES}))?(?![\w/°])"), _mixed),
    (re.compile(rf"(?P<sign>(?<!\w)[-−])?(?P<number>{_NUMBER})\s?(?P<unit>{_UNIT_NAMES})(?![\w/°])"), _unit),
    (re.compile(r"\b([1-9]\d?)\.\s+(?=[a-z])"), lambda m: f"{ordinal(m[1])}, "),
    (re.compile(r"\b(\d+(?:,\d{3})*)(?:st|nd|rd|th)\b", re.I), lambda m: ordinal(m[1])),
    (re.compile(r"(?<=\d)\s+[-−]\s+(?=\d)"), " minus "),
    (re.compile(r"(?<=\d)\s*[-–—]\s*(?=\d)"), " to "),
    (re.compile(r"(?<=\d):(?=\d)"), " to "),
    (re.compile(r"(?<![\w)])[-−](?=\d)"), "negative "),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: " point ".join(digits(part) for part in m[0].split("."))),
    (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+"), lambda m: _decimal(m[0])),
    (re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])"), " "),
    (re.compile(r"\d+"), _plain_number),
]  # fmt: skip


def _shouted(text: str) -> bool:
    """Whether the whole text is in capitals, so that capitals say nothing about acronyms."""
    words = re.findall(r"[A-Za-z]{2,}", text)
    return len(words) >= 4 and sum(word.isupper() for word in words) > 0.8 * len(words)


def normalise(text: str) -> str:
    """English text with everything written out that is not a word.

    Args:
        text: one utterance.

    Returns:
        Letters, apostrophes, spaces and ``, . ? ! -``; runs of marks are reduced to the first. May be empty.
    """
    text = unicodedata.normalize("NFC", text).translate({ord("’"): "'", ord("‘"): "'"})
    if _shouted(text):
        text = text.lower()
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"(?<=[a-z])\(s\)", "s", text).replace("()", "")
    text = text.translate(_PUNCTUATION)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    text = re.sub(r"[^A-Za-z' ,.?!-]", " ", text)
    text = re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", partial(_quote, text), text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r"([,.?!])(?:\s*[,.?!-])+", r"\1", text)
    text = re.sub(r"(?<![A-Za-z])-|-(?![A-Za-z])", " ", text)  # a hyphen joins words or is nothing
    text = re.sub(r"\.(?=[A-Za-z])", ". ", text)
    return re.sub(r"\s+", " ", text).strip()


def _quote(text: str, match: re.Match[str]) -> str:
    """Keep an apostrophe that stands for letters (dogs', 'em), drop a quotation mark."""
    before = text[match.start() - 1] if match.start() else " "
    return "'" if before in "sS" else " "
