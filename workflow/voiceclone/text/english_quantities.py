"""Quantities of English and their ranges in words: money, measures, times, dates.

Each kind is one pattern that takes a range as well ("20-25°C", "9am-5pm"): a dash between two quantities is "to", and
a sign is only where no quantity stands before it.

Numbers in English words.
"""

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


NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
DASH = r"\s?[-‐‑–—−~～]\s?"
_SIGN = r"(?<![\w)%°$£€¢²³.,-])[-−]"
_UNITS = {
    "mm": "millimeter", "cm": "centimeter", "dm": "decimeter", "m": "meter", "km": "kilometer", "nm": "nanometer",
    "µm": "micrometer", "μm": "micrometer", "Å": "angstrom", "in": "inch", "inch": "inch", "ft": "foot", "yd": "yard",
    "mi": "mile",
    "mg": "milligram", "g": "gram", "kg": "kilogram", "µg": "microgram", "μg": "microgram", "mcg": "microgram",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "fl oz": "fluid ounce", "gal": "gallon", "qt": "quart", "pt": "pint",
    "ml": "milliliter", "mL": "milliliter", "cl": "centiliter", "dl": "deciliter", "dL": "deciliter", "l": "liter",
    "L": "liter", "tbsp": "tablespoon", "tsp": "teaspoon",
    "ns": "nanosecond", "µs": "microsecond", "μs": "microsecond", "ms": "millisecond", "s": "second",
    "sec": "second", "secs": "second", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour",
    "yr": "year", "yrs": "year",
    "mph": "mile per hour", "kph": "kilometer per hour", "kmh": "kilometer per hour", "rpm": "revolution per minute",
    "bpm": "beat per minute", "fps": "frame per second", "dpi": "dot per inch", "ppi": "pixel per inch",
    "ppm": "part per million", "mpg": "mile per gallon", "Mbps": "megabit per second", "Gbps": "gigabit per second",
    "kbps": "kilobit per second", "Kbps": "kilobit per second", "bps": "bit per second",
    "KB": "kilobyte", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte",
    "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte", "Mb": "megabit", "Gb": "gigabit", "MP": "megapixel",
    "px": "pixel", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "THz": "terahertz",
    "dB": "decibel", "W": "watt", "mW": "milliwatt", "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt",
    "Wh": "watt hour", "kWh": "kilowatt hour", "MWh": "megawatt hour", "V": "volt", "mV": "millivolt",
    "kV": "kilovolt", "mA": "milliamp", "mAh": "milliamp hour", "Ω": "ohm", "kΩ": "kiloohm",
    "Pa": "pascal", "hPa": "hectopascal", "kPa": "kilopascal", "MPa": "megapascal", "psi": "pound per square inch",
    "kJ": "kilojoule", "cal": "calorie", "kcal": "kilocalorie", "hp": "horsepower", "ha": "hectare",
    "sq ft": "square foot", "sq m": "square meter", "sq km": "square kilometer", "sq mi": "square mile",
    "°C": "degree celsius", "°F": "degree fahrenheit", "℃": "degree celsius", "℉": "degree fahrenheit",
    "°": "degree", "%": "percent", "‰": "per mille", "¢": "cent", "x": "time", "×": "time",
}  # fmt: skip
_POWERS = {"²": "square", "2": "square", "^2": "square", "³": "cubic", "3": "cubic", "^3": "cubic"}
_LENGTHS = ("mm", "cm", "m", "km", "in", "ft", "yd", "mi")
_UNITS |= {unit + sign: f"{power} {_UNITS[unit]}" for unit in _LENGTHS for sign, power in _POWERS.items()}
_UNITS |= {"s²": "second squared", "s2": "second squared", "s^2": "second squared"}
_ONLY_TOUCHING = frozenset({"in", "x", "pt", "cal"})
"""Units that are words, letters or names after a blank."""
_UNCHANGED = frozenset(
    {"hertz", "kilohertz", "megahertz", "gigahertz", "terahertz", "percent", "per", "horsepower", "yen", "yuan", "fen",
     "won", "mille", "baht", "rand", "dong"}
)  # fmt: skip
_PLURALS = {"foot": "feet", "inch": "inches", "penny": "pence", "paisa": "paise"}
_PER = _UNITS | {"day": "day", "wk": "week", "week": "week", "mo": "month", "month": "month", "year": "year",
                 "hour": "hour", "minute": "minute", "second": "second", "person": "person", "night": "night",
                 "user": "user", "unit": "unit", "share": "share", "barrel": "barrel", "seat": "seat",
                 "100km": "one hundred kilometers"}  # fmt: skip


def _any_of(names: object) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))  # type: ignore[call-overload]


UNIT = rf"(?:(?:{_any_of(_UNITS)})(?:/(?:{_any_of(_PER)}))?)"
_AFTER_UNIT = r"(?![\w°²³]|/\w|\^\d)"


def counted(noun: str, number: str) -> str:
    """The noun in the number that a quantity asks for; of several words, before "per" or at the end."""
    if number.replace(",", "") in ("1", "1.0"):
        return noun
    head, per, rest = noun.partition(" per ")
    before, _, last = head.rpartition(" ")
    if last in ("celsius", "fahrenheit", "squared"):
        before, last, rest = "", before, f"{last}{per}{rest}"
        return f"{_plural_noun(last)} {rest}"
    return f"{before} {_plural_noun(last)}{per}{rest}".strip()


def _plural_noun(noun: str) -> str:
    return noun if noun in _UNCHANGED else _PLURALS.get(noun, noun + "s")


def unit_words(unit: str, number: str) -> str:
    """A unit as it is written ("km/h") in the words that go with a number."""
    name, _, per = unit.partition("/")
    return counted(f"{_UNITS[name]} per {_PER[per]}" if per else _UNITS[unit], number)


def _signed(number: str, sign: str | None) -> str:
    return ("negative " if sign else "") + decimal(number)


MEASURE = re.compile(
    rf"(?P<sign>{_SIGN})?(?<![\w.])(?P<low>{NUMBER})"
    rf"(?:(?P<blank1>\s?)(?P<unit1>{UNIT})?{DASH}(?P<sign2>[-−])?(?P<high>{NUMBER}))?"
    rf"(?P<blank>\s?)(?P<unit>{UNIT}){_AFTER_UNIT}(?:(?<=[a-z])\.(?=,|\s[a-z]))?"
)


def is_attribute(match: re.Match[str]) -> bool:
    """True if a quantity stands between "a" and a noun, so that its unit is in the singular: a 20 ft boat."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    noun = re.match(
        r"\s(?!(?:of|per|in|on|off|for|from|to|and|or|each|more|less|than|at|by|a|an|is|was|are|were|we|you|he|she|it|they"
        r"|I|that|which|the|had|has|have|would|will)\b)[A-Za-z]",
        after,
    )
    return bool(noun and re.search(r"\b(?:[Aa]n?|[Tt]he)\s$", before))


def measure(match: re.Match[str]) -> str:
    """A measure or a range of measures: "5 km", "-3°C", "20-25°C", "10%-20%"."""
    unit, first = match["unit"], match["unit1"]
    if (match["blank"] and unit in _ONLY_TOUCHING) or (first and match["blank1"] and first in _ONLY_TOUCHING):
        return match[0]
    one = "1" if is_attribute(match) else ""
    if match["high"] is None:
        return f"{_signed(match['low'], match['sign'])} {unit_words(unit, one or match['low'])}"
    low = _signed(match["low"], match["sign"])
    if first and first != unit:
        low += f" {unit_words(first, match['low'])}"
    return f"{low} to {_signed(match['high'], match['sign2'])} {unit_words(unit, one or match['high'])}"


_CURRENCIES = {
    "$": ("dollar", "cent"), "US$": ("U S dollar", "cent"), "C$": ("Canadian dollar", "cent"),
    "CA$": ("Canadian dollar", "cent"), "A$": ("Australian dollar", "cent"), "AU$": ("Australian dollar", "cent"),
    "NZ$": ("New Zealand dollar", "cent"), "HK$": ("Hong Kong dollar", "cent"), "S$": ("Singapore dollar", "cent"),
    "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", ""), "￥": ("yuan", "fen"), "₹": ("rupee", "paisa"),
    "₩": ("won", ""), "₽": ("ruble", "kopeck"), "₿": ("bitcoin", ""), "₺": ("lira", ""), "₫": ("dong", ""),
    "₱": ("peso", "centavo"), "₪": ("shekel", ""), "฿": ("baht", ""), "₴": ("hryvnia", ""), "₦": ("naira", ""),
    "＄": ("dollar", "cent"), "￡": ("pound", "penny"), "￦": ("won", ""),
}  # fmt: skip
_CODES = {
    "USD": ("U S dollar", "cent"), "EUR": ("euro", "cent"), "GBP": ("British pound", "penny"), "JPY": ("yen", ""),
    "CNY": ("yuan", "fen"), "RMB": ("yuan", "fen"), "CAD": ("Canadian dollar", "cent"),
    "AUD": ("Australian dollar", "cent"), "CHF": ("Swiss franc", "centime"), "INR": ("rupee", "paisa"),
    "KRW": ("won", ""), "HKD": ("Hong Kong dollar", "cent"), "NZD": ("New Zealand dollar", "cent"),
    "BTC": ("bitcoin", ""), "ETH": ("ether", ""),
}  # fmt: skip
_SCALES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mil": "million", "b": "billion",
    "bn": "billion", "t": "trillion", "tn": "trillion", "trn": "trillion", "thousand": "thousand",
    "million": "million", "billion": "billion", "trillion": "trillion", "hundred": "hundred", "grand": "grand",
    "quadrillion": "quadrillion",
}  # fmt: skip
_SCALE = (
    r"(?:(?:k|mn|mm|mil|m|bn|b|tn|trn|t)(?![\w])|\s?(?:thousand|hundred|million|billion|trillion|quadrillion)(?!\w))"
)
_SYMBOL = _any_of(_CURRENCIES)
_SUFFIX = rf"(?:[€$£¥₽]|(?:\s(?:{_any_of(_CODES)})(?!\w)))"
MONEY = re.compile(
    rf"(?P<sign>{_SIGN}\s?)?(?<![\w.])(?:(?P<symbol>{_SYMBOL})|(?P<code>{_any_of(_CODES)})(?=\s?\d))\s?(?P<sign2>[-−])?"
    rf"(?P<low>{NUMBER})(?P<scale1>{_SCALE})?"
    rf"(?:{DASH}(?:(?P=symbol)|(?P=code))?\s?(?P<high>{NUMBER})(?P<scale>{_SCALE})?)?"
    rf"(?:/(?P<per>{_any_of(_PER)})(?!\w))?(?!\.?\d|[A-Za-z])",
    re.I,
)  # fmt: skip
MONEY_AFTER = re.compile(
    rf"(?P<sign>{_SIGN})?(?<![\w.])(?P<low>{NUMBER})(?P<scale1>{_SCALE})?(?:\s?[€$£¥])?"
    rf"(?:{DASH}(?P<high>{NUMBER})(?P<scale>{_SCALE})?)?\s?(?P<symbol>[€$£¥₽](?!\s?\d)|(?:{_any_of(_CODES)})(?!\w))"
)
PENCE = re.compile(r"(?<![\w.])([1-9]\d?)p\b")


def money(match: re.Match[str]) -> str:
    """A sum or a range of sums: "$1.5M", "£3bn", "$5-$10", "€2.50/day", "USD 20"."""
    groups = match.groupdict()
    mark = (groups["symbol"] or groups.get("code") or "").upper()
    unit, subunit = _CURRENCIES.get(mark) or _CODES[mark]
    low, high = groups["low"], groups["high"]
    first, last = _scale(groups["scale1"]), _scale(groups["scale"])
    sign = "negative " if groups["sign"] or groups.get("sign2") else ""
    per = f" per {_PER[groups['per']]}" if groups.get("per") else ""
    if high is None:
        said = sign + _sum(low, first, unit, subunit) + per
        return re.sub(f"{_plural_noun(unit)}$", unit, said) if is_attribute(match) else said
    upper = _sum(high, last, unit, subunit)
    if "." in low and not (first or last):
        return f"{sign}{_sum(low, first, unit, subunit)} to {upper}{per}"
    return f"{sign}{decimal(low)}{f' {first}' if first and first != last else ''} to {upper}{per}"


def _scale(written: str | None) -> str:
    return _SCALES[written.strip().lower()] if written else ""


def _sum(number: str, scale: str, unit: str, subunit: str) -> str:
    if scale:
        return f"{decimal(number)} {scale} {counted(unit, '2')}"
    whole, _, fraction = number.replace(",", "").partition(".")
    if len(fraction) > 2 or (fraction and not subunit):
        return f"{decimal(number)} {counted(unit, '2')}"
    cents = int((fraction + "00")[:2]) if fraction else 0
    parts = [f"{cardinal(whole or '0')} {counted(unit, whole)}"] if int(whole or 0) or not cents else []
    if cents:
        parts.append(f"{cardinal(str(cents))} {counted(subunit, str(cents))}")
    return " and ".join(parts)


_HALF = r"\s?(?P<half{0}>[ap](?:\.?\s?m\b\.?|(?=[\s,.!?;)]|$)))"
_SAID = r"(?P<said>(?=\s(?:in the (?:morning|afternoon|evening)|at night|tonight|o'clock)\b))"
_CLOCK = r"(?P<h{0}>[01]?\d|2[0-4])(?:(?P<colon{0}>:)(?P<m{0}>[0-5]\d)(?::[0-5]\d)?)?"
TIMES = re.compile(
    rf"(?<![\w:.$£€,]){_CLOCK.format(1)}(?:\s?(?P<half1>[ap]\s?m)\b)?{DASH}"
    rf"{_CLOCK.format(2)}(?:\s?(?P<half2>[ap]\s?m)\b)?(?![\w:]|[.,]\d)",
    re.I,
)
TIME = re.compile(
    rf"(?<![\w:.$£€,]){_CLOCK.format('')}(?:\s?(?P<half>[ap]\s?m)\b)?{_SAID}?(?![\w:]|[.,]\d)|"
    r"(?<![\w:.$£€,])(?P<h2>1[0-2]|0?\d)\.(?P<m2>[0-5]\d)\s?(?P<half2>[ap]\s?m)\b",
    re.I,
)


def times(match: re.Match[str]) -> str:
    """From one time of day to another: "9:00-17:00", "9am-5pm", "9-11 am"."""
    if not any(match[name] for name in ("colon1", "colon2", "half1", "half2")):
        return match[0]
    if (match["colon1"] or match["colon2"]) and not (match["colon1"] and match["colon2"]) and not match["half2"]:
        return match[0]
    of_24 = int(match["h1"]) > 12 or int(match["h2"]) > 12
    return f"{_clock(match['h1'], match['m1'], match['half1'], of_24, match['half2'])} to " + _clock(
        match["h2"], match["m2"], match["half2"], of_24
    )


def time_of_day(match: re.Match[str]) -> str:
    """One time of day: "3:05 pm", "9am", "17:30"; without a half of the day it has none in words up to noon."""
    if match["h2"]:
        return _clock(match["h2"], match["m2"], match["half2"])
    if not (match["colon"] or match["half"]):
        return match[0]
    words = _clock(match["h"], match["m"], match["half"], said=match["said"] is not None)
    return words.removesuffix(" o'clock") if match.string.startswith(" o'clock", match.end()) else words


def _clock(
    hour: str,
    minute: str | None,
    half: str | None,
    of_24: bool = False,
    half_after: str | None = None,
    said: bool = False,
) -> str:
    """Words of a time; ``of_24``: a clock of 24 hours; ``half_after``: of the time after it; ``said``: in words."""
    number, minutes = int(hour), int(minute or 0)
    if number == 24 and not minutes:
        return "midnight"
    letter = half[0].upper() if half else ""
    if not letter and (number > 12 or number == 0 or of_24):
        letter = "P" if 12 <= number < 24 else "A"
    words = cardinal(str(number % 12 or 12))
    if minutes:
        words += f" {'oh ' if minutes < 10 else ''}{cardinal(str(minutes))}"
    if said:
        letter = ""
    if letter:
        return f"{words} {letter} M"
    return words if minutes or half_after else f"{words} o'clock"


OF_24_HOURS = re.compile(
    r"(?<![\w.,:-])0([1-9])([0-5]\d)(?=\s(?:hours|hrs)\b)|(?<=\b[Aa]t )0([1-9])([0-5]\d)(?![\w:-]|[.,]\d)"
    r"|(?<=\b[Aa]t )(1\d|2[0-3])([0-5]\d)(?=\s(?:hours|hrs)\b)"
)


def of_24_hours(match: re.Match[str]) -> str:
    """ "at 0630", "0800 hours", "at 2300 hours"."""
    hour, minute = match[1] or match[3] or match[5], match[2] or match[4] or match[6]
    return f"{'' if match[5] else 'oh '}{cardinal(hour)} " + (
        "hundred" if minute == "00" else ("oh " if minute < "10" else "") + cardinal(minute)
    )


DURATION = re.compile(
    r"(?<![\w.])(?:(?P<h>\d+)\s?h(?:rs?)?\s?(?P<m>\d{1,2})\s?m(?:ins?)?(?:\s?(?P<s>\d{1,2})\s?s(?:ecs?)?)?"
    r"|(?P<m2>\d+)\s?m(?:ins?)?\s?(?P<s2>\d{1,2})\s?s(?:ecs?)?)\b"
)


def duration(match: re.Match[str]) -> str:
    """ "2h 15m", "1h30m", "5m 30s": here m is no meter."""
    parts = {"hour": match["h"], "minute": match["m"] or match["m2"], "second": match["s"] or match["s2"]}
    return " ".join(f"{cardinal(number)} {counted(unit, number)}" for unit, number in parts.items() if number)


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_SHORT = {month[:3]: month for month in _MONTHS} | {"Sept": "September"}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT_DAYS = {day[:3]: day for day in _WEEKDAYS} | {"Tues": "Tuesday", "Thur": "Thursday", "Thurs": "Thursday"}
_CALENDAR = {**{name: name for name in (*_MONTHS, *_WEEKDAYS)}, **_SHORT, **_SHORT_DAYS}
_MONTH = _any_of({**{name: name for name in _MONTHS}, **_SHORT})
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_NTH = r"(?:st|nd|rd|th)?"
NAMES = re.compile(
    rf"\b(?P<low>{_any_of(_CALENDAR)})\.?{DASH}(?P<high>{_any_of(_CALENDAR)})\b(?:\.(?=[,;]|\s[a-z\d]))?"
)
ISO_DATE = re.compile(
    r"(?<![\w-])(?P<year>[12]\d{3})(?P<dash>[-/.])(?P<month>0?[1-9]|1[0-2])(?P=dash)(?P<day>0?[1-9]|[12]\d|3[01])"
    r"(?![\w-]|\.\d)"
)
DATE = re.compile(
    r"(?<![\w/.-])(?P<first>\d{1,2})(?P<dash>[-/.])(?P<second>\d{1,2})(?P=dash)(?P<year>[12]\d{3}|\d\d)(?![\w/-]|\.\d)"
)
MONTH_DAY = re.compile(
    rf"\b(?P<month>{_MONTH})\s(?P<low>{_DAY}){_NTH}(?:{DASH}(?P<high>{_DAY}){_NTH})?(?:(?P<comma>,?\s)(?P<year>[12]\d{{3}})(?!\d|[.:,]\d|s\b))?"
    r"(?=[.,;:!?)\"”](?!\d)|\s*$|\s(?:at|in|on|to|and|or|through|until|till|by|from|for|with|is|was|were|will|as|when|the"
    r"|after|before|this|last|next|we|he|she|it|they|I|you|of|there|has|had|a|an|that|which)\b|\s[-–—(]"
    rf"|[-–—](?:{_MONTH})\b)"
)
DAY_MONTH = re.compile(
    rf"(?P<the>\b[Tt]he\s)?(?<![\w.,:/$£€-])(?P<low>{_DAY}){_NTH}(?:{DASH}(?P<high>{_DAY}){_NTH})?\s(?:of\s)?(?P<month>{_MONTH})\b"
    r"(?:,?\s(?P<year>[12]\d{3})(?!\d|[.:,]\d|s\b))?",
)
TO = re.compile(
    rf"(?<=(?:st|nd|rd|th| M)){DASH}(?=(?:{'|'.join(_MONTHS)}|noon|midnight)\b)|(?<=\bnoon)[-–](?=\d|[a-z]+ [AP] M\b)"
)
"""A dash between two days or times of day that are in words already."""


WEEKDAY = re.compile(rf"\b({_any_of(_SHORT_DAYS)})\.?(?=,?\s\d{{1,2}}(?:/\d|[-–:]\d|\s?[ap]\.?m\b))")


def weekday(match: re.Match[str]) -> str:
    """ "Fri" before 2/14, "Sat" before 10-4."""
    return _SHORT_DAYS[match[1]]


def names(match: re.Match[str]) -> str:
    """Weekdays or months: "Mon-Fri"."""
    return f"{_CALENDAR[match['low']]} to {_CALENDAR[match['high']]}"


def date(match: re.Match[str]) -> str:
    """ "2024-03-05", "2024/3/5"."""
    return _spoken_date(int(match["month"]), int(match["day"]), match["year"])


def short_date(match: re.Match[str]) -> str:
    """ "12/25/2023", or with the day first where that alone makes sense or points part the numbers."""
    first, second, century = int(match["first"]), int(match["second"]), match["year"]
    month, day = (second, first) if (first > 12 or match["dash"] == ".") else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31) or (len(century) == 2 and match["dash"] != "/"):
        return match[0]
    return _spoken_date(month, day, century if len(century) == 4 else ("19" if int(century) > 50 else "20") + century)


def month_and_day(month: int, day: int) -> str:
    """ "February fourteenth"."""
    return f"{_MONTHS[month - 1]} {ordinal(str(day))}"


def _spoken_date(month: int, day: int, of_year: str) -> str:
    return f"{month_and_day(month, day)}, {year(of_year)}"


def _days(match: re.Match[str]) -> str:
    high = f" to {ordinal(str(int(match['high'])))}" if match["high"] else ""
    return ordinal(str(int(match["low"]))) + high


def month_day(match: re.Match[str]) -> str:
    """ "March 5", "Jan 5-10, 2024"."""
    of_year = f"{match['comma']}{year(match['year'])}" if match["year"] else ""
    return f"{_CALENDAR[match['month']]} {_days(match)}{of_year}"


def day_month(match: re.Match[str]) -> str:
    """ "5 March 2024", "the 3rd of May"."""
    of_year = f", {year(match['year'])}" if match["year"] else ""
    return f"the {_days(match)} of {_CALENDAR[match['month']]}{of_year}"


_SPECIAL_FRACTIONS = {"24/7": "twenty-four seven", "9/11": "nine eleven", "7/11": "seven eleven", "7/7": "seven seven"}
SHARE = re.compile(r"(?<![\w./])(\d+\.\d+)/(\d{1,3})(?![\w/]|\.\d)")
FRACTION = re.compile(
    rf"(?<![\w./])(?:(?P<whole>\d+)\s)?(?P<above>\d{{1,3}})[/⁄](?P<below>\d{{1,3}})"
    rf"(?:\s?(?P<unit>{UNIT}){_AFTER_UNIT})?(?![\w/°]|\.\d)"
)
_MEASURED = re.compile(
    r"\s(?:cup|mile|inch|pound|hour|teaspoon|tablespoon|century|acre|ounce|pint|quart|gallon|yard|(?:of )?an? )"
)


def fraction(match: re.Match[str]) -> str:
    """A fraction with its whole number and unit; "24/7", "10/10" and "50/50" are none."""
    above, below, whole = match["above"], match["below"], match["whole"]
    rest = match.string[match.end() :]
    written = f"{above}/{below}"
    if written in _SPECIAL_FRACTIONS and not whole and not rest.startswith(" of"):
        return _SPECIAL_FRACTIONS[written]
    if not whole and int(above) == int(below) and int(above) >= 20:
        return f"{cardinal(above)} {cardinal(below)}"
    if not whole and (int(above) == int(below) or (below in ("10", "100") and not re.match(r"\s+of\b", rest))):
        return f"{cardinal(above)} out of {cardinal(below)}"
    if int(above) >= 100 > int(below) > 10:  # blood pressure
        return f"{cardinal(above)} over {cardinal(below)}"
    if int(below) < 2 or int(above) > int(below) * 2 or above.startswith("0") or below.startswith("0"):
        return f"{cardinal(above)} {cardinal(below)}" + match[0][match.end("below") - match.start() :]
    words = f"{cardinal(whole)} and " if whole else ""
    measured = unit_words(match["unit"], "2" if whole else "1") if match["unit"] else ""
    if below == "4" and (measured or _MEASURED.match(rest)):  # quarters are measured, fourths are counted
        return f"{words}{cardinal(above)} quarter{'' if above == '1' else 's'} {measured}".rstrip()
    return f"{words}{_parts(above, below)} {measured}".rstrip()


def _parts(above: str, below: str) -> str:
    if below == "2":
        return f"{cardinal(above)} {'half' if above == '1' else 'halves'}"
    return f"{cardinal(above)} {ordinal(below)}{'' if above == '1' else 's'}"


TELEPHONES = re.compile(
    r"(?<![\w.,-])(?:\+?\d{1,2}[- .])?(?:\(?\d{3}\)?[- .]\s?)?\d{3}[-.]\d{4}(?![\w-]|\.\d)"
    r"|(?<![\w.,-])(?:\+?\d{1,2}[- ])?\(\d{3,5}\)\s?\d{3,4}[- ]?\d{3,4}(?![\w-])"
    r"|(?<![\w.,-])\d{3} \d{3} \d{4}(?![\w-])"
    r"|(?<![\w.,-])\+\d{1,3}(?:[ -]?\(?\d{1,5}\)?)(?:[ -]\d{2,6})+(?![\w-])|(?<![\w.,-])\+\d{7,15}(?!\w)"
    r"|(?<![\w.,-])0(?=[1-9])\d{1,5}(?:[ -]\d{2,6})+(?![\w-])"
    r"|(?<![\w.,-])0800(?:[ -]\d{2,6})+(?![\w-])"
    r"|(?<=\b[Cc]all )\d{3}(?!\w)|(?<=\b[Dd]ial )\d{3}(?!\w)|(?<=\b[Cc]alled )\d{3}(?!\w)|(?<=\b[Dd]ialed )\d{3}(?!\w)"
    r"|(?<![\w.,-])1-8\d\d(?=-[A-Z])"
)


def telephone(match: re.Match[str]) -> str:
    """Groups of digits, one by one."""
    plus = "plus " if match[0].startswith("+") else ""
    groups = re.findall(r"\d+", match[0])
    if len(match[0]) > 4 and (
        sum(map(len, groups)) < 7 or (len(groups) == 2 and all(int(g) % 50 == 0 for g in groups))
    ):
        return match[0]  # a range: 500-1000
    return plus + ", ".join(map(digits, groups))
