"""English front end: normalise, pronounce, one phone sequence with the marks that shape its melody.

English text as it is spoken: numbers, money, times, units, abbreviations and symbols become words.

The result keeps letters, apostrophes, spaces and the marks ``, . ? ! -``, and characters that nothing here can read,
so that they can be named. Rules run in a fixed order; each is one pattern with one function.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial

from voiceclone.text import english_quantities as quantities
from voiceclone.text import short_dates
from voiceclone.text.english_abbreviations import STARTERS, expand
from voiceclone.text.english_g2p import is_stressed, pronounce_all
from voiceclone.text.english_quantities import cardinal, decimal, digits, ordinal, plural, roman, year

_SYMBOLS = {
    "%": " percent", "&": " and ", "+": " plus ", "=": " equals ", "×": " times ", "÷": " divided by ", "@": " at ",
    "#": " number ", "<": " less than ", ">": " greater than ", "~": " about ", "±": " plus or minus ", "©": "",
    "®": "", "™": "", "§": " section ", "π": " pi ", "μ": " micro ", "µ": " micro ", "√": " square root of ",
    "≈": " approximately equals ", "≠": " is not equal to ", "≤": " less than or equal to ", "≥": " at least ",
    "→": " to ", "∞": " infinity ", "°": " degrees ", "¢": " cents ", "$": " dollars ", "€": " euros ",
    "£": " pounds ", "¥": " yen ", "№": " number ", "♯": " sharp ", "♭": " flat ", "¬": " not ", "¶": " paragraph ",
    "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "ŋ": "ng",
}  # fmt: skip
_PUNCTUATION = str.maketrans(
    {
        "’": "'", "‘": "'", "ʼ": "'", "′": "'", "“": " ", "”": " ", '"': " ", "«": " ", "»": " ",
        "，": ",", "、": ",", "；": " ", ";": " ", ":": " ", "：": " ", "。": ".", "！": "!", "？": "?", "…": ".",
        "—": " ", "–": " ", "―": " ", "−": "-", "‐": "-", "‑": "-", "(": " ", ")": " ", "（": " ", "）": " ",
        "[": " ", "]": " ", "/": " ", "\\": " ", "|": " ", "_": " ", "*": " ", "·": " ", "^": " ", "`": " ",
        "⁄": " ",
    }
)  # fmt: skip
_FRACTIONS = {"½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters"}
_POWERS = {"²": " squared", "³": " cubed", "⁴": " to the fourth", "⁵": " to the fifth", "⁶": " to the sixth",
           "⁷": " to the seventh", "⁸": " to the eighth", "⁹": " to the ninth", "ⁿ": " to the N"}  # fmt: skip
_ALTERNATIVES = {"he/she", "she/he", "him/her", "her/him", "his/her", "her/his", "his/hers", "himself/herself",
                 "he/she/they", "yes/no", "true/false", "either/or", "mr/mrs", "on/off", "win/lose"}  # fmt: skip
# Web and mail addresses, names of files
_DOMAINS = "com|org|net|edu|gov|mil|int|info|biz|io|ai|app|dev|me|tv|co|cn|de|uk|fr|jp|kr|eu|us|ca|au|in|ru|nl|ch|it|es"
_FILES = (
    "txt|pdf|docx?|xlsx?|pptx?|csv|tsv|json|ya?ml|toml|xml|html?|css|js|ts|jsx|tsx|py|ipynb|sh|exe|dll|zip|tar|gz|rar"
    "|png|jpe?g|gif|svg|webp|mp3|mp4|wav|flac|ogg|mov|avi|mkv|md|log|ini|cfg|cpp|java|rs|go|rb|php|sql|onnx|ckpt|pth"
)
_ADDRESS = re.compile(
    r"\b(?:https?|ftp)://[\w./?=&%#:~+@-]+|\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+|\bwww\.[\w./?=&%#:~+-]+"
    rf"|(?<![\w.@])(?:[\w-]{{1,63}}\.){{1,3}}(?:{_DOMAINS})(?![\w-]|\.\w)(?:/[\w./?=&%#:~+-]*)?"
    rf"|(?<![\w.@])[\w-]{{1,63}}\.(?:{_FILES})(?![\w-])"
)
_SPOKEN_IN_ADDRESSES = {
    ".": " dot ", "/": " slash ", "@": " at ", "?": " question mark ", "=": " equals ", "_": " underscore ",
    "-": " dash ", "&": " and ", ":": " colon ", "#": " hash ", "%": " percent ", "~": " tilde ", "+": " plus ",
}  # fmt: skip


def _address(match: re.Match[str]) -> str:
    """Mail and web addresses are spoken with their punctuation."""
    spoken = re.sub(r"^[a-z]+://", "", match[0])
    end = re.search(r"[.?:]?$", spoken)
    mark = end[0] if end else ""
    bare = spoken.removesuffix(mark).rstrip("./")
    if (
        "/" not in spoken
        and "@" not in spoken
        and re.search(r"\d\.\w+$", bare)
        and not re.search("[A-Za-z].*[.]", bare)
    ):
        return match[0]
    return "".join(_SPOKEN_IN_ADDRESSES.get(character, character) for character in bare) + mark


def _path(match: re.Match[str]) -> str:
    return match[0].replace("/", " slash ").replace("\\", " backslash ").replace("~", " tilde ")


# Roman numerals
_BEFORE_NUMERALS = (
    "War|Wars|Chapter|Chapters|Part|Parts|Volume|Book|Books|Act|Scene|Section|Phase|Type|Types|Stage|Level|Class|Grade"
    "|Figure|Table|Appendix|Title|Article|Bowl|Version|Step|Unit|Lesson|Episode|Season|Canto|Psalm|Amendment|Tier"
    "|Category|Mark|Model|Group|Factor|Division|Number|Numbers|Page|Pages|Verse|Schedule|Annex|Series|Round|Quarter"
    "|Rocky|Rambo|Apollo|Civilization|Fantasy|Elizabethan|Vatican|Photosystem|Collagen|Angiotensin|Area|Zone|Region"
)
_KINGS = (
    "Henry|Louis|Elizabeth|George|Charles|Edward|Richard|James|William|Mary|John|Paul|Pope|Benedict|Pius|Leo|Philip"
    "|Napoleon|Nicholas|Alexander|Catherine|Peter|Ivan|Frederick|Wilhelm|Ramses|Ramesses|Ferdinand|Francis|Gregory"
    "|Clement|Innocent|Urban|Victor|Umberto|Alfonso|Carlos|Christian|Gustav|Carl|Karl|Haakon|Olav|Harald|Margrethe"
    "|Matilda|Stephen|Mehmed|Mahmud|Suleiman|Selim|Murad|Darius|Xerxes|Cyrus|Ptolemy|Cleopatra|Constantine"
    "|Theodosius|Justinian|Otto|Henri|Leopold|Albert|Rama|Thutmose|Amenhotep|Seti|Robert|David|Malcolm|Kenneth|Sancho"
    "|Pedro|Joseph|Isabella|Rudolf|Maximilian|Sigismund|Casimir|Edmund|Ethelred|Emmanuel|Emperor|King|Queen|Joao|João"
    "|Juan|Felipe|Abdullah|Hussein|Akbar|Celestine|Boniface|Sixtus|Julius|Adrian|Martin|Eugene|Manuel|Oscar|Anne"
)
_AFTER_FIRST = (
    r"(?=\s*(?:[.,;:!?)\"”']|$)|'s\b|\s(?:of|was|is|had|has|became|ruled|reigned|died|and|in|to|who|married|came|took|did"
    r"|would|succeeded|ascended|on|from|at|by|for|as|with|or)\b)"
)
_NOT_I = (
    r"(?!\s(?:think|thought|am|have|had|want|like|know|knew|was|need|can|will|saw|love|did|do|would|could|should|got|get"
    r"|made|use|read|wrote|bought|mean|guess|hope|say|said|see)\b)"
)
_NUMERAL = r"(?:[IVX]|[MDCLXVI]{2,})"
_NUMERAL_RULES = (
    (rf"\b(?P<before>(?:{_KINGS})\s)(?P<numeral>I{_AFTER_FIRST}|(?!I\b){_NUMERAL})\b(?!-)", "the"),
    (rf"\b(?P<before>(?i:{_BEFORE_NUMERALS})\s)(?P<numeral>I{_NOT_I}|(?!I\b){_NUMERAL}|[ivx][ivxl]*)\b(?!'(?!s)|-\d)",
     ""),
    (rf"(?P<before>\d to |\b)(?P<numeral>{_NUMERAL})(?=(?:st|nd|rd|th)?\s[Cc]entur(?:y|ies)\b)", "th"),
    (r"(?P<before>\b[A-Z][a-z]+\s)(?P<numeral>(?!XX+\b)[IVX]{2,5})\b(?![-'])", ""),
    (r"(?P<before>\b)(?P<numeral>M[MDCLXVI]{3,})\b", "year"),
)  # fmt: skip


def _roman(kind: str, match: re.Match[str]) -> str:
    """A numeral after what decides its reading: a king ("the"), a century ("th"), a year, else a number."""
    value, before = roman(match["numeral"]), match["before"]
    if not value or not _is_numeral(match["numeral"]) or before.strip() in STARTERS:
        return match[0]
    if kind == "the":
        return f"{before}X" if (before, value) == ("Malcolm ", 10) else f"{before}the {ordinal(str(value))}"
    if kind == "th":
        return before + ordinal(str(value))
    return before + (year(str(value)) if kind == "year" else cardinal(str(value)))


def _is_numeral(letters: str) -> bool:
    """Not the letters of a section ("C") or a short form ("CD", "MC")."""
    return not re.search("[CDM]", letters) or len(letters) > 2


def _numeral_range(match: re.Match[str]) -> str:
    low, high = roman(match["low"]), roman(match["high"])
    return f"{match['before']}{low}{match['between']}{high}" if low and high else match[0]


# Versions, codes, numbers
def _version(match: re.Match[str]) -> str:
    return f"version {_points(match[1])}"


def _points(number: str) -> str:
    """``3.11.2`` as "three point eleven point two"; parts with a leading zero, and long ones, digit by digit."""
    return " point ".join(
        digits(part) if len(part) > 2 or part[0] == "0" else cardinal(part) for part in number.split(".")
    )


def _scientific(match: re.Match[str]) -> str:
    """``3.2e-5`` as "three point two times ten to the power of negative five"."""
    sign, power = ("negative " if match[1] else ""), ("negative " if match[3] in ("-", "−") else "")
    return f"{sign}{decimal(match[2])} times ten to the power of {power}{cardinal(match[4].lstrip('0') or '0')}"


def _dotted(match: re.Match[str]) -> str:
    parts = match[0].split(".")
    if len(parts) == 4 and any(len(part) == 3 for part in parts):  # an address of a computer
        return " dot ".join(map(digits, parts))
    return _points(match[0])


def _scaled(match: re.Match[str]) -> str:
    if (
        re.fullmatch("[2458]K", match[0])
        or (  # of screens; of a run
            re.fullmatch(r"\d+K", match[0]) and re.search(r"\b[Aa]n? $", match.string[: match.start()])
        )
    ):
        return f"{cardinal(match['number'])} K"
    low = f"{decimal(match['low'])} to " if match["low"] else ""  # 100k-200k: the scale is said with the second
    scale = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}[match["scale"][0].lower()]
    return f"{low}{decimal(match['number'])} {scale}"


def _decade(match: re.Match[str]) -> str:
    number = match["decade"]
    return plural(cardinal(number) if len(number) < 4 or number in ("1000", "2000") else year(number))


def _plain_number(match: re.Match[str]) -> str:
    number = match[0]
    if re.fullmatch(r"1[1-9]\d\d|10[1-9]\d|2\d\d\d", number):
        return year(number)
    if (number.startswith("0") and len(number) > 1) or len(number) > 15:
        return digits(number)
    return cardinal(number)


def _dash_between(match: re.Match[str]) -> str:
    """Minus in a sum, else "to"."""
    sum_ = re.search(r"[=+×÷*]|\b(?:[Ww]hat(?:'s| is| are)|equals?|[Cc]alculate|[Cc]ompute|[Ss]olve)\b", match.string)
    return " minus " if sum_ or _ARITHMETIC.fullmatch(match.string) else " to "


def _inches(match: re.Match[str]) -> str:
    """``27"`` as inches, unless the mark closes a quotation."""
    before = match.string[: match.start()]
    if match[0][-1] == '"' and len(re.findall(r'(?<!\S)"', before)) > len(re.findall(r'(?<=[^\s\d])"', before)):
        return match[0]
    return f"{decimal(match[1])} {quantities.counted('inch', '1' if quantities.is_attribute(match) else match[1])}"


_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA"
    "|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC"
)
_NAMED = re.compile(
    r"\b(?:[Rr]ooms?|[Ss]uites?|[Aa]partments?|[Ff]lights?|Highway|Route|Interstate|Boeing|Airbus|Porsche|Peugeot|Ferrari"
    r"|Volvo|Lotus|Fiat|Nokia|Extension)\s[1-9]\d\d(?:-[1-9]\d{0,2})?(?!-?\w|[.,:/]\d)"
)


def _named(match: re.Match[str]) -> str:
    """Three digits that are a name, said in two parts as years are: Room 302, the Boeing 737-400."""
    name, number, *second = re.split("[ -]", match[0])
    said = [year(part) if len(part) == 3 else cardinal(part) for part in second]
    to = [" " if name in ("Boeing", "Airbus") else " to ", *said]
    return f"{name} {year(number)}{''.join(to) if second else ''}"


def _model(match: re.Match[str]) -> str:
    """``x86-64``, ``A380-800``: two numbers of a name, where they cannot be a range."""
    low, high = match[2], match[3]
    is_name = len(low) == len(high) == 3 or int(low) > int(high)
    return f"{match[1]}{low} {year(high) if len(high) == 3 else high}" if is_name else match[0]


def _spelled(text: str) -> str:
    """Letters and digits one by one."""
    return " ".join(digits(character) if character.isdigit() else character for character in text)


def _oh(number: str) -> str:
    """Minutes or seconds of a time that has hours or minutes before them."""
    if number == "00":
        return digits(number)
    return f"{'oh ' if number[0] == '0' else ''}{cardinal(number)}"


_CODE_WORDS = (
    r"\b(?:[Zz][Ii][Pp](?: [Cc]ode)?|SSN|PIN|[Pp]asscode|[Pp]assword|[Cc]ode(?= is\b| was\b|:)"
    r"|(?:[Ee]rror|[Aa]rea|[Ss]ecurity|[Vv]erification) code"
    r"|(?:[Oo]rder|[Aa]ccount|[Ss]erial|[Tt]racking|[Ii]nvoice|[Cc]onfirmation|[Rr]eference|[Cc]ard)"
    r" (?:[Nn]umber|[Nn]o\.|#))"
)
_CODE = re.compile(rf"({_CODE_WORDS}(?: is| was|:)?\s)(\d[\d-]+\d)(?![\w%]|[.,:]\d|\s[a-z]+s\b)")

_COMPASS = {"N": "north", "E": "east", "S": "south", "W": "west"}
_ARITHMETIC = re.compile(r"[\d\s.,−–-]+[.?!]?")
_RULES: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<![\d.,])(?<!\d )([1-9]\d{0,2})((?: 000)+|(?: \d{3}){2,})(?![ -]?\d)"),
     lambda m: m[0].replace(" ", "")),
    (re.compile(r"(?<![\w.,])\d{1,3}(?:['’]\d{3})+(?![\w'’])"), lambda m: re.sub("['’]", ",", m[0])),
    (_CODE, lambda m: m[1] + ", ".join(map(digits, m[2].split("-")))),
    (re.compile(r"\b(\d+)['′]\s?[x×]\s?(\d+)['′](?!\w)"), lambda m: f"{cardinal(m[1])} foot by {cardinal(m[2])} foot"),
    (re.compile(r"\b(\d[\d.]*\s?(?:[kcm]?m|in|ft|yd))\s?[x×]\s?(?=\d)"), r"\1 by "),
    (re.compile(r"\b(\d{3,4})([pi])\b(?=[\s.,;!?)]|$)"), lambda m: f"{year(m[1])} {m[2].upper()}"),  # lines of a screen
    (re.compile(r"\b([1-9]\d\d)\(([a-z])\)"), lambda m: f"{year(m[1])} {m[2].upper()}"),  # 401(k)
    (re.compile(r"(?<=\d)\s?°\s(?=(?:angles?|turns?|rotations?|views?|bends?|videos?)\b)"), " degree "),
    (_ADDRESS, _address),
    (re.compile(r"(?<![\w.])[~.]?(?:/[\w.-]+){2,}/?(?<!\.)|\b[A-Z]:(?:\\[\w.-]+)+"), _path),
    (re.compile(r"\b(and|or)/(or|and)\b", re.I), r"\1 \2"),
    (re.compile(r"\bw/o\b"), "without"),
    (re.compile(r"\bw/(?=\s?[a-z]{2})"), "with "),
    (re.compile(r"\bc/o\b"), "care of"),
    (re.compile(r"\bb/c\b"), "because"),
    (re.compile(r"(?<=\d(?:st|nd|rd|th) )(?:cent|c)\.(?=\s(?:[a-zBCA]|$)|,)"), "century"),
    (re.compile(r"\b([YQM])o\1\b"),
     lambda m: {"Y": "year over year", "Q": "quarter over quarter", "M": "month over month"}[m[1]]),
    (re.compile(r"(?<=\b[QH][1-4])\s?['’]?(?=\d\d\b(?!%))"), " 20"),  # Q3'24
    (re.compile(r"(?<![\w.,])(\d{1,3}) ?bps\b"), r"\1 basis points"),
    (re.compile(r"(?<=\ba )([A-F])[-−](?![\w-])|(?<=\ban )([AEF])[-−](?![\w-])"), lambda m: f"{m[1] or m[2]} minus"),
    (re.compile(r"(?<=\d[\"″'′])\s?[x×]\s?(?=\d)"), " by "),
    (re.compile(r"(?<![\w.,$£€#-])911(?![\w,-]|\.\d|\s[a-z]+s\b)"), digits("911")),
    (re.compile(r"\b802\.(?=\d{1,2}[a-z]{0,2}\b)"), "eight oh two point "),  # standards of networks
    (re.compile(r"(?<=[€£]\d),(?=\d\d(?!,?\d))|(?<=[€£]\d\d),(?=\d\d(?!,?\d))"), "."),  # the continent's comma
    (re.compile(r"\b(\d\d+(?=['′]\s?[0-5]\d)|\d(?=['′]\s?(?:1[2-9]|[2-5]\d)))['′]\s?(\d\d)(?:[\"″]|'')"),
     r"\1 min \2 s"),
    (re.compile(r"(?<=\d)\s?[×x]\s?(?=10(?:\^|[⁰¹²³⁻⁴-⁹]| to the ))"), " times "),
    (re.compile(r"(?<=\d)\s[/÷]\s(?=\d)"), " divided by "),
    (re.compile(r"\bn/a\b", re.I), "N A"),
    (re.compile(r"(?<=\d )mmHg\b"), "millimeters of mercury"),
    (re.compile(r"(?<=\d )deg\b\.?"), "degrees"),
    (re.compile(r"\bRs\.?\s?(?=\d)"), "₹"),
    (re.compile(r"\bb\. (?=1\d{3}\b|20\d\d\b)"), "born "),
    (re.compile(r"\bd\. (?=1\d{3}\b|20\d\d\b)"), "died "),
    (re.compile(r"\bapt\. ?(?=#|\d)"), "apartment "),
    (re.compile(r"(?<![\w:])(?=[\dA-F:]*[A-F])[\dA-F]{2}(?::[\dA-F]{2}){2,7}(?![\w:])"),  # of a network card
     lambda m: ", ".join(map(_spelled, m[0].split(":")))),
    (re.compile(r"(\b\d{1,3}(?:\.\d{1,3}){3}|\blocalhost):(\d{2,5})\b"), lambda m: f"{m[1]} port {digits(m[2])}"),
    (re.compile(r"(?<![\w-])([A-Za-z]{1,3})(\d{2,4})-(\d{2,4})(?![\w-])"), _model),
    (re.compile(r"\b[A-Za-z]+(?:/[A-Za-z]+)+\b"),
     lambda m: m[0].replace("/", " or ") if m[0].lower() in _ALTERNATIVES else m[0]),
    (re.compile(r"\b([A-Ga-gJMFX])[#♯](?!\w)"), lambda m: f"{m[1].upper()} sharp"),
    (re.compile(r"(?<=\w)\+\+(?!\w)"), " plus plus"),
    (re.compile(r"(?<![\w.])\.(?=(?:NET|env|git\w*|[a-z]{2,4}rc|com|org|io|[a-z0-9]{2,5} files?)\b)"), "dot "),
    (re.compile(r"(?<=[A-Za-z])\.(?=NET\b)"), " dot "),
    (re.compile(r"#(?=[A-Za-z])"), "hashtag "),
    (re.compile(r"\b[Nn]o (?=\d)"), "number "),
    (re.compile(r"(?<![\w.@/])([A-Za-z]{1,5})\.(?=\d+(?![\w@]))"), r"\1. "),
    (re.compile(rf"(?:(?<=\b(?:{_STATES}) )|(?<=\bD\.C\. ))\d{{5}}(?:-\d{{4}})?(?![\w-]|,\d)"),  # a postal code
     lambda m: ", ".join(map(digits, m[0].split("-")))),
    (re.compile(r"\bc\. (?=\d{3,4}\b)"), "circa "),
    (re.compile(r"(?<=\d)\s?° ?([NESW])\b"), lambda m: f" degrees {_COMPASS[m[1]]}"),
    (re.compile(r"\bFY ?(?=(?:19|20)\d\d\b)"), "FY "),
    (re.compile(r"(?<![\w.,])([-−])?(\d+(?:\.\d+)?)[eE]([-−+])?(\d{1,3})(?!\w|\.\d)"), _scientific),
    (re.compile(r"\b(?:pp|[Vv]ols?|[Ff]igs?|[Cc]h)(?= \d)"), r"\g<0>."),
    (re.compile(r"\bvs\b(?!\.)"), "versus"),
    (quantities.WEEKDAY, quantities.weekday),
    (re.compile(r"(?<![\w&])([A-Z]{1,3})&([A-Z]{1,3})(?![\w&])"), lambda m: f"{' '.join(m[1])} and {' '.join(m[2])}"),
    (re.compile(r"\b(?:St|Mt|Prof|Dr)\b(?=\s+[A-Z])"),
     lambda m: {"St": "Saint", "Mt": "Mount", "Prof": "Professor", "Dr": "Doctor"}[m[0]]),
]  # fmt: skip
_LIKE = r"(?:\d+/\d+|\d+(?:st|nd|rd|th)\b)"
_AFTER_ABBREVIATIONS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (quantities.ISO_DATE, quantities.date),
    (quantities.DATE, quantities.short_date),
    (quantities.NAMES, quantities.names),
    (quantities.MONTH_DAY, quantities.month_day),
    (quantities.DAY_MONTH, quantities.day_month),
    (quantities.TIMES, quantities.times),
    (quantities.OF_24_HOURS, quantities.of_24_hours),
    (quantities.DURATION, quantities.duration),
    (_NAMED, _named),
    (re.compile(r"(?<![\d:])(\d{1,3}):([0-5]\d)\.(\d{1,3})(?![\d:])"),
     lambda m: f"{cardinal(m[1])} {_oh(m[2])} point {digits(m[3])}"),
    (re.compile(r"(?<=\bin )(\d{1,2}):(0)?([0-5]?\d)(?![\d:]|\s?[ap]\.?\s?m\b)", re.I),  # how long it took
     lambda m: f"{cardinal(m[1])} {'oh ' if m[2] else ''}{cardinal(m[3])}"),
    (re.compile(r"(?<![\d:])(\d{1,3}):([0-5]\d):([0-5]\d)(?![\d:])"),
     lambda m: " ".join([cardinal(m[1]), *map(_oh, m.groups()[1:])])),
    (quantities.TIME, quantities.time_of_day),
    (quantities.TO, " to "),
    (quantities.MONEY, quantities.money),
    (quantities.MONEY_AFTER, quantities.money),
    (quantities.PENCE, lambda m: f"{cardinal(m[1])} pence"),
    (re.compile(rf"(?<![\w.])(?:(?P<low>{quantities.NUMBER})(?P<scale1>[kK])?{quantities.DASH})?(?P<number>{quantities.NUMBER})"
                r"(?P<scale>[kK]|bn|tn|(?<=\.\d)[MBT]|(?<=\d)M(?=\s[a-z]))(?![\w/])"), _scaled),
    (re.compile(r"(?<=\d0s)\s?[-–]\s?(?='?\d+0s)|(?<=\d[\"″'])\s?[-–]\s?(?=\d')"), " to "),
    (re.compile(r"(?<![\w.])(?P<decade>(?:1[0-9]|20)[0-9]0)'?s\b"), _decade),
    (re.compile(r"(?:(?<!\w)['’])(?P<decade>[1-9]0)s\b"), _decade),
    (re.compile(r"(?<![\w.,$£€])(?P<decade>[2-9]0)s(?= (?:music|kids?|era|styles?|movies?|films?|bands?|songs?"
                r"|hits|fashion|rock|pop|hip|nostalgia|cartoons?|sitcoms?|disco|synth|party)\b)"), _decade),
    (re.compile(r"(?P<before>\b(?:the|his|her|my|our|your|their|early|late|mid|low|upper)[ -])(?P<decade>[2-9]0)'?s\b",
                re.I),
     lambda m: m["before"] + _decade(m)),
    (re.compile(r"(?<![\w.])(10{2,3})s\b"), lambda m: "hundreds" if m[1] == "100" else "thousands"),
    (re.compile(r"(?<!\w)'(\d\d)\b"), lambda m: year("20" + m[1]).partition(" ")[2] or cardinal(m[1])),
    (re.compile(r"\b(\d)['′]\s?(\d{1,2})\b[\"″]?"), lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}"),
    (re.compile(r"(?<![\w.])(\d+)['′](?= tall\b)"), lambda m: f"{cardinal(m[1])} foot"),
    (re.compile(r"(?<![\w.])(\d+)['′](?= (?:long|wide|high|deep|x|×|by)\b)"),
     lambda m: f"{cardinal(m[1])} {quantities.counted('foot', m[1])}"),
    (re.compile(r"(?<![\w./])([1-9]\d?/(?:2|4|8|16|32))(?:″|\"(?!\w))"), r"\1 inch"),
    (re.compile(r"(?<![\w./])(\d+(?:\.\d+)?)(?:″|\"(?!\w))"), _inches),
    (re.compile(r"(?<=\d )in(?= of\b)"), "inches"),
    (re.compile(r"(?<![\w.])(\d+) ?(?:ft|foot|feet) (\d{1,2}) ?in\b(?:\.(?=,|\s[a-z]))?"),
     lambda m: " ".join([cardinal(m[1]), quantities.counted("foot", m[1]),
                         cardinal(m[2]), quantities.counted("inch", m[2])])),
    (re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) ?[x×*] ?(?=\d+(?:\.\d+)?(?: ?[x×] ?\d)?(?![\w.]*[A-Za-z]\d))"),
     lambda m: f"{m[1]} times " if re.search(r"=|\*", m.string) else f"{m[1]} by "),
    (re.compile(rf"(?<![\w/-])({_LIKE})\s?[-–]\s?(?={_LIKE})"), r"\1 to "),
    (re.compile(r"(?<![\w/-])(\d[\w:.]*|[A-Z] M)\s?–\s?(?=[a-z])"), r"\1 to "),
    (re.compile(r"\bWW(?=II?\b|[12]\b)"), "World War "),
    (quantities.SHARE, lambda m: f"{decimal(m[1])} out of {cardinal(m[2])}"),
    (quantities.FRACTION, quantities.fraction),
    (quantities.MEASURE, quantities.measure),
    (quantities.TELEPHONES, quantities.telephone),
    (re.compile(rf"\b(?P<before>(?i:{_BEFORE_NUMERALS})\s)(?P<low>[IVXL]+|[ivxl]+)"
                rf"(?P<between>{quantities.DASH}|\s(?:and|or|to|through)\s)(?P<high>[IVXL]+|[ivxl]+)\b"),
     _numeral_range),
    *[(re.compile(pattern), partial(_roman, kind)) for pattern, kind in _NUMERAL_RULES],
    (re.compile(r"\b[Vv](?:er(?:sion)?\.?\s?)?(\d+(?:\.\d+)+)\b"), _version),
    (re.compile(r"\bv(\d{1,3})\b"), _version),
    (re.compile(r"(?P<name>\b(?:[Vv]ersions?|[Rr]elease|Python|Android|macOS|iOS|Ubuntu|Debian|Java|PHP|Ruby|Rust"
                r"|Node|CUDA|PyTorch|Django|Linux|Go) )(?P<number>\d+\.\d{1,2})(?![\w.]*\d)"),
     lambda m: m["name"] + _points(m["number"])),
    (re.compile(r"\b([1-9]\d?)\.\s+(?=[a-z])"), lambda m: f"{ordinal(m[1])}, "),
    (re.compile(r"\b(\d+(?:,\d{3})*)(?:st|nd|rd|th)\b", re.I), lambda m: ordinal(m[1])),
    (re.compile(r"(?<=\b[Aa])\s?[-–]\s?(?=[Zz]\b)"), " to "),
    (re.compile(r"\b50-50\b"), "fifty fifty"),
    (re.compile(r"(?<=\b[12]\d{3}) - (?=[12]\d{3}\b(?!\s?=))"), " to "),
    (re.compile(r"(?<=\d)(?:\s+[-−]\s+)(?=\d)"), _dash_between),
    (re.compile(r"(?<=\d)[-−](?=\d+\s?=)"), " minus "),
    (re.compile(r"(?<![\w-])\d+(?:-\d+){3,}(?:-X)?(?![\w-])"),
     lambda m: ", ".join(digits(group) or group for group in m[0].split("-"))),
    (re.compile(r"(?<!\d)(\d{1,4})-(\d{1,4})-(\d{1,6})((?:-\d+)*)(?!\d)"), lambda m: m[0].replace("-", " ")),
    (re.compile(r"(?<=\d)\s*[-–—~～]\s*(?=\d)"), " to "),
    (re.compile(r"(?<=\d):(?=\d)"), " to "),
    (re.compile(r"(?<=\d)\s?\*\s?(?=\d)"), " times "),
    (re.compile(r"(?<=[\w)])\^([-−])?(\d+)"),
     lambda m: _POWERS["²³"[int(m[2]) - 2]] if not m[1] and m[2] in ("2", "3")
     else f" to the power of {'negative ' if m[1] else ''}{cardinal(m[2])}"),
    (re.compile(r"(?<![\w)%°])[-−](?=\.?\d)"), "negative "),
    (re.compile(r"(?:(?<=[A-Z])-|(?<=[A-Za-z]))(\d{3,})(?!\d)"), lambda m: f" {digits(m[1])} "),
    (re.compile(r"(?<![A-Za-z'])([a-z])-?(?=\d)|(?<=\d)-?([a-z])(?![A-Za-z'])"),
     lambda m: f" {(m[1] or m[2]).upper()} "),
    (re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])"), " "),
    (re.compile(r"\d+(?:\.\d+){2,}"), _dotted),
    (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+"), lambda m: decimal(m[0])),
    (re.compile(r"\d+"), _plain_number),
]  # fmt: skip


def _shouted(text: str) -> bool:
    """True if the whole text is in capitals, so that capitals say nothing about acronyms."""
    words = re.findall(r"(?<!\w)[A-Za-z]{2,}(?!\w)", text)
    capitals = [word for word in words if word.isupper()]
    return len(words) >= 4 and len(capitals) > 0.8 * len(words) and sum(map(is_stressed, capitals)) > 0.5 * len(words)


def _plain_characters(text: str) -> str:
    """Powers, Roman numerals and numbers in circles, which are one character, as they are usually written."""
    text = unicodedata.normalize("NFC", text).translate({ord("’"): "'", ord("‘"): "'"})
    text = re.sub(r"[₀-₉]+", lambda m: "".join(str(ord(c) - 0x2080) for c in m[0]), text)
    text = re.sub(r"(?<!\s)([²³])(?!\w)|([⁴⁵⁶⁷⁸⁹ⁿ])", _power, text)
    return "".join(map(_plain_character, text)) if re.search(r"[^\x00-\x7f]", text) else text


def _power(match: re.Match[str]) -> str:
    unit = re.search(rf"\d\s?(?:{quantities.UNIT})$", match.string[max(0, match.start() - 12) : match.end()])
    return match[0] if unit else _POWERS[match[0]]


def _plain_character(character: str) -> str:
    if character in _FRACTIONS or unicodedata.category(character) not in ("No", "Nl") or character in "²³":
        return character
    if "⅐" <= character <= "⅞" or "\u2160" <= character <= "\u217f":  # NFKC: 1⁄8, VIII
        return unicodedata.normalize("NFKC", character)
    value = unicodedata.numeric(character)
    return f" {int(value)} " if value == int(value) else character


_VULGAR = re.compile(
    rf"(?:(?P<whole>\d+)\s?)?(?P<part>[{''.join(_FRACTIONS)}])(?:\s?(?P<unit>{quantities.UNIT})(?![\w/°]))?"
)


def _vulgar(match: re.Match[str]) -> str:
    """``1½ km`` as "one and one half kilometers"."""
    whole = f"{cardinal(match['whole'])} and " if match["whole"] else ""
    unit = f" {quantities.unit_words(match['unit'], '2' if whole else '1')}" if match["unit"] else ""
    return f"{whole}{_FRACTIONS[match['part']]}{unit}"


def normalise(text: str) -> str:
    """English text with everything written out that is not a word.

    Args:
        text: one utterance.

    Returns:
        Letters, apostrophes, spaces and ``, . ? ! -``; runs of marks are reduced to the first; characters that have no
        reading stay. May be empty.
    """
    text = _plain_characters(text)
    if _shouted(text):
        text = text.lower()
    text = _VULGAR.sub(_vulgar, text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = short_dates.write_out_english(expand(text), quantities.month_and_day)
    for pattern, replacement in _AFTER_ABBREVIATIONS:
        text = pattern.sub(replacement, text)
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    text = re.sub(r"(?<=[a-z])\(s\)", "s", text).replace("()", "")
    text = text.translate(_PUNCTUATION)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    text = "".join(c if c.isascii() or _is_unread(c) else " " for c in text)
    text = re.sub(r"[^A-Za-z' ,.?!\u0080-\U0010ffff-]", " ", text)
    text = re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", partial(_quote, text), text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"\s+([,.?!])", r"\1", text)
    text = re.sub(r"([,.?!])(?:\s*[,.?!-])+", r"\1", text)
    text = re.sub(r"(?<![A-Za-z])-|-(?![A-Za-z])", " ", text)  # a hyphen joins words or is nothing
    text = re.sub(r"\.(?=[A-Za-z])", ". ", text)
    return re.sub(r"\s+(?=[\s,.?!])", "", text).strip()


def _is_unread(character: str) -> bool:
    """True if a character that is no mark and no blank has no reading: letters, digits and symbols of other kinds."""
    return unicodedata.category(character)[0] in "LNS" and unicodedata.category(character) != "Sk"


def _quote(text: str, match: re.Match[str]) -> str:
    """Keep an apostrophe that stands for letters (dogs', 'em), drop a quotation mark."""
    before = text[match.start() - 1] if match.start() else " "
    return "'" if before in "sS" else " "


_TOKEN = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*'?|[,.?!]|(?<=\s)-(?=\s)")
__all__ = ["normalise", "to_symbols"]


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Phones of normalised English text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: lower-case word to phones, before every other source.

    Returns:
        ARPAbet phones with stress and the marks ``, . ? ! -``. Hyphens inside a word only part it.
    """
    tokens = _TOKEN.findall(text)
    phones: list[str] = []
    for token, found in zip(tokens, pronounce_all(tokens), strict=True):
        phones += _in(lexicon, token) or found
    return tuple(phones)


def _in(lexicon: Mapping[str, tuple[str, ...]], token: str) -> tuple[str, ...]:
    """The user's pronunciation of a word, or of any of the words that hyphens join."""
    word = token.lower()
    found = lexicon.get(word) or lexicon.get(word.removesuffix("'"))
    if found or "-" not in word or not lexicon.keys() & set(word.split("-")):
        return found or ()
    parts = token.split("-")
    return tuple(phone for part in parts for phone in lexicon.get(part.lower()) or pronounce_all([part])[0])
