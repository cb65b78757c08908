"""Abbreviations of English: what they are read as, and whether the full stop after one also ends its sentence.

Sentence splitting asks :func:`ends_sentence` of texts in every language; the English front end writes abbreviations
out with :func:`expand`.
"""

from __future__ import annotations

import re

_TITLES = {
    "Mr": "Mr", "Mrs": "Mrs", "Ms": "Ms", "Mx": "Mx", "Messrs": "Messieurs", "Mme": "Madame", "Mlle": "Mademoiselle",
    "Dr": "Doctor", "Drs": "Doctors", "Prof": "Professor", "Profs": "Professors", "Rev": "Reverend", "Fr": "Father",
    "Gen": "General", "Maj": "Major", "Col": "Colonel", "Capt": "Captain", "Cpt": "Captain", "Lt": "Lieutenant",
    "Sgt": "Sergeant", "Cpl": "Corporal", "Pvt": "Private", "Adm": "Admiral", "Cmdr": "Commander",
    "Gov": "Governor", "Sen": "Senator", "Sens": "Senators", "Rep": "Representative", "Reps": "Representatives",
    "Pres": "President", "Hon": "Honorable", "Rt": "Right",
    "Supt": "Superintendent", "Det": "Detective", "Insp": "Inspector",
    "Asst": "Assistant", "Assoc": "Associate", "Mt": "Mount", "Ft": "Fort",
    "vs": "versus", "cf": "compare", "viz": "namely", "approx": "approximately", "ca": "circa", "esp": "especially",
    "incl": "including", "excl": "excluding", "govt": "government",
}  # fmt: skip
"""Followed by what they belong to: never the end of a sentence."""
_NUMBERED = {
    "No": "number", "Nos": "numbers", "Nr": "number", "Fig": "figure", "Figs": "figures", "Vol": "volume",
    "Vols": "volumes", "Ch": "chapter", "Chap": "chapter", "Sec": "section", "Sect": "section", "Eq": "equation",
    "Eqs": "equations", "Art": "article", "p": "page", "pp": "pages", "para": "paragraph", "Pt": "part",
    "ver": "version", "v": "version", "ext": "extension", "Op": "opus", "Tab": "table", "App": "appendix",
    "Ex": "example", "Ref": "reference", "Refs": "references", "Apt": "apartment",
    "Rm": "room", "Ste": "suite", "Ep": "episode", "c": "circa", "Sc": "scene", "agg": "aggregate",
}  # fmt: skip
"""Abbreviations before a number alone."""
_MONTHS = {
    "Jan": "January", "Feb": "February", "Mar": "March", "Apr": "April", "Jun": "June", "Jul": "July",
    "Aug": "August", "Sep": "September", "Sept": "September", "Oct": "October", "Nov": "November", "Dec": "December",
}  # fmt: skip
_WEEKDAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Weds": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_DATES = _MONTHS | _WEEKDAYS
_TRAILING = _DATES | {
    "Jr": "Junior", "Sr": "Senior", "Esq": "Esquire", "Inc": "Incorporated", "Ltd": "Limited", "Co": "Company",
    "Cos": "Companies", "Corp": "Corporation", "Bros": "Brothers", "Univ": "University", "Inst": "Institute",
    "Dept": "Department", "Dist": "District", "Div": "Division", "Govt": "Government", "Ave": "Avenue",
    "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane", "Hwy": "Highway", "Pkwy": "Parkway", "est": "established",
    "misc": "miscellaneous", "orig": "originally", "temp": "temperature", "tel": "telephone", "max": "maximum",
    "min": "minimum", "etc": "et cetera", "al": "", "ed": "edition", "eds": "editions", "doz": "dozen",
    "Calif": "California", "Fla": "Florida",
    "Mass": "", "Penn": "", "Conn": "", "Ariz": "Arizona", "Colo": "", "Wash": "", "Pl": "", "Sq": "", "Av": "",
}  # fmt: skip
"""Abbreviations that end a sentence now and then; what may be a word or a name too is read as written."""
_NAMES_TOO = frozenset({"Max", "Min", "Temp", "Tel", "Est"})
"""Names, or words at the end, but before a number."""
_UNITS = {
    "in": "inch", "ft": "ft", "yd": "yd", "mi": "mi", "oz": "oz", "lb": "lb", "lbs": "lbs", "gal": "gal", "qt": "qt",
    "pt": "pt", "sq": "square", "hr": "hr", "hrs": "hrs", "min": "min", "mins": "min", "sec": "sec", "secs": "sec",
    "wk": "week", "wks": "weeks", "mo": "month", "mos": "months", "yr": "yr", "yrs": "yr", "tsp": "tsp",
    "tbsp": "tbsp",
}  # fmt: skip
"""Units, which are abbreviations after a number alone; most are left to the rules of units."""
_TIMES = """
    EST EDT CST CDT MST MDT PST PDT ET PT CT MT GMT UTC BST CET CEST JST IST
    Eastern Pacific Central Mountain Greenwich Standard Daylight May
"""
_NAMES_OF_TIME = frozenset([*_TIMES.split(), *_MONTHS, *_WEEKDAYS, *_MONTHS.values(), *_WEEKDAYS.values()])
_PARTS_OF_DAY = frozenset(["Morning", "Afternoon", "Evening", "Night", "Mr", "Mrs", "Ms", "Dr", "Prof"])
_ENDS_WITH_TIME = re.compile(
    r"(?:^|\S\s+)(?:in|on|since|until|till|by|before|after|last|next|this|every|each|of|late|early|mid)[\s-]+$"
)
"""Before a month or a weekday that ends its sentence; one that begins with "In Dec." goes on."""
_FIRST_WORDS = """
    A After Again All Already Also Although Always An And Another Any Anyone Are As At Be Because Before Both But By
    Can Could Did Do Does Don't During Each Even Every Everybody Everyone Everything Finally First For From Had Has
    Have He He'd He'll He's Her Here Hers His How However I I'd I'll I'm I've If In Indeed Instead Is It It's Its
    Just Last Later Let Let's Like Many Maybe Meanwhile Most Much My Never Nevertheless Next No Nobody None Nor Not
    Nothing Now Of Often On Once One Only Or Other Others Our Perhaps Please Quite Rather See She She'd She'll She's
    Should Since So Some Someone Something Sometimes Soon Still Such Suddenly Thank That That's The Their Then There
    There's Therefore These They They'd They'll They're They've This Those Though Through Thus To Today Together
    Tomorrow Tonight Too Two Under Unless Until Up Upon Us Very Was We We'd We'll We're We've Well Were What What's
    When Where Whether Which While Who Who's Whose Why Will With Without Would Yes Yesterday Yet You You'd You'll
    You're You've Your
"""
STARTERS = frozenset(_FIRST_WORDS.split())
"""Words with which sentences begin and names do not."""

_TITLES_AND_SMALL = (
    {word.capitalize(): long for word, long in _TITLES.items()}
    | {word.lower(): long for word, long in _TITLES.items() if len(word) > 2}
    | _TITLES
)
_NUMBERED_AND_SMALL = _NUMBERED | {word.lower(): long for word, long in _NUMBERED.items()}
_TRAILING_AND_SMALL = _TRAILING | {word.lower(): long for word, long in _TRAILING.items() if word not in _DATES}
_DEGREES = "Ph\\.D|B\\.Sc|M\\.Sc|Ed\\.D|D\\.Phil|M\\.Phil"
_INITIALS = rf"(?:{_DEGREES}|[A-Za-z](?:\.\s?[A-Za-z]){{1,9}}|[A-Z])(?![A-Za-z])"
_EAST = r"\u3000-\u30ff\u3400-\u9fff\uac00-\ud7a3\uff00-\uffef"
_SHORT = re.compile(rf"(?<![^\s(\[{{\"“‘'—–/,-])({_INITIALS}|[A-Za-z]+)\.(?!\w)")
_LAST = re.compile(rf"(?<![^\s(\[{{\"“‘'—–/,{_EAST}-])({_INITIALS}|(?:(?![{_EAST}])[^\W_])+)\.$")
_NEXT = re.compile(r"[\s\"“‘'(\[]*([^\W_]+(?:['’][a-z]+)?)?")
_CLOSED = re.compile(r"[\s\"”’')\]}»]*$")
_LIST_MARK = re.compile(r"(?:^|[:;]\s)\s*[(\[]?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})\.$")
_NUMBER_BEFORE = re.compile(r"(?:^|[\s($€£])[\d.,/⁄]*[\d½⅓⅔¼¾]\s?$")
_NUMERAL = r"\d|(?:[IVXLivxl]+|[A-Z])(?![a-z])"
_WINDOW = 200
"""Characters before a stop that decide about it."""


def ends_sentence(before: str, after: str) -> bool:
    """True if the full stop at the end of ``before`` ends a sentence.

    Args:
        before: the sentence up to the stop, with it.
        after: what follows the stop.
    """
    if _CLOSED.match(after):
        return True
    if _LIST_MARK.search(before) or _is_counted(before):
        return False
    following = _NEXT.match(after)
    next_word = (following[1] if following else "") or ""
    found = _LAST.search(before)
    if not found:
        return not _goes_on(before, next_word)
    word, head = found[1], before[: found.start()]
    if re.match(f"[{_EAST}]", next_word) and word not in _TITLES:
        return True
    if word == "St" or (word == "Dr" and _is_drive(head, next_word)):
        return next_word in STARTERS and _after_name(head)
    if _stands_before(word, head, next_word):
        return False
    if word in _UNITS and _NUMBER_BEFORE.search(head):
        return next_word[:1].isupper()
    if word == "etc" or _is_half_of_day(word):
        return next_word[:1].isupper() and next_word not in _NAMES_OF_TIME
    if re.fullmatch(_INITIALS, word):
        return next_word in STARTERS or (word == "I" and head.rstrip()[-1:].islower())
    if word in _DATES and _ENDS_WITH_TIME.search(head) and next_word[:1].isupper():
        return next_word not in _NAMES_OF_TIME | _PARTS_OF_DAY
    if word in _TRAILING_AND_SMALL or (word in _NAMES_TOO and re.match(r"\d", next_word)):
        return next_word in STARTERS
    return not _goes_on(before, next_word)


def _stands_before(word: str, head: str, next_word: str) -> bool:
    """True if the abbreviation belongs to the word after it: titles, "No." before a number, "v." between parties."""
    if _is_numbered(word, next_word):
        return True
    if word == "v" and next_word[:1].isupper() and head.strip():
        return True
    return word in _TITLES_AND_SMALL or bool(re.fullmatch(r"e\.\s?g|i\.\s?e", word, re.I))


def _is_numbered(word: str, next_word: str) -> bool:
    """True if a number follows an abbreviation used before numbers; "No." is a word before a numeral."""
    numeral = (
        r"\d{3}"
        if word == "c"
        else r"\d"
        if word.lower() in ("no", "nos", "art", "p", "pp", "l", "v", "ex", "app", "op")
        else _NUMERAL
    )
    return word in _NUMBERED_AND_SMALL and bool(re.match(numeral, next_word))


def _is_half_of_day(word: str) -> bool:
    return bool(re.fullmatch(r"[ap]\.?\s?m", word, re.I))


def _goes_on(before: str, next_word: str) -> bool:
    """A sentence that began with a capital and is followed by a small letter: an abbreviation that no table has."""
    first = re.search(r"[^\W\d_]", before)
    return bool(first and first[0].isupper() and re.match("[a-z]", next_word))


def _is_counted(before: str) -> bool:
    """``2.`` in "1. First 2. Second"."""
    number = re.search(r"(?<!\S)(\d{1,2})\.$", before)
    return bool(number and re.search(rf"(?<!\S){int(number[1]) - 1}\.\s", before[: number.start()]))


def _after_name(head: str) -> bool:
    """True if the word before is a name or an ordinal, so that "St." is a street."""
    last = head.split()[-1] if head.split() else ""
    return bool(re.match(r"[A-Z][a-z]|\d+(?:st|nd|rd|th)$", last)) and last not in STARTERS


def _is_street(head: str, next_word: str) -> bool:
    return _after_name(head) and (not next_word[:1].isupper() or next_word in STARTERS)


def _is_drive(head: str, next_word: str) -> bool:
    """A street, but not "Ask Dr. Who": the word that begins a sentence is no name."""
    return len(head.split()) > 1 and _is_street(head, next_word)


def expand(text: str) -> str:
    """English text with its abbreviations in words; their stops stay where they end a sentence."""
    return _SHORT.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    before, after = match.string[max(0, match.end() - _WINDOW) : match.end()], match.string[match.end() :][:_WINDOW]
    following = _NEXT.match(after)
    next_word = (following[1] if following else "") or ""
    words = _words(match[1], before[: -len(match[0])], next_word)
    if words is None:
        return match[0]
    return words + ("." if ends_sentence(before, after) else "")


def _words(word: str, head: str, next_word: str) -> str | None:
    """Reading of an abbreviation; None: the word is none."""
    if word == "St":
        return "Street" if _is_street(head, next_word) else "Saint"
    if word == "Dr" and _is_drive(head, next_word):
        return "Drive"
    if word in _UNITS and _NUMBER_BEFORE.search(head):
        return _UNITS[word] + ("es" if word == "in" and not re.search(r"(?<![\d.])1\s?$", head) else "")
    if _is_numbered(word, next_word):
        return _NUMBERED_AND_SMALL[word]
    if word == "v" and _stands_before(word, head, next_word):
        return "versus"
    if re.fullmatch(r"e\.\s?g", word, re.I):
        return "for example"
    if re.fullmatch(r"i\.\s?e", word, re.I):
        return "that is"
    if re.fullmatch(r"p\.\s?a", word):
        return "per annum"
    if re.fullmatch(_INITIALS, word):
        return _letters(word)
    if word in _TITLES_AND_SMALL:
        return _TITLES_AND_SMALL[word]
    if word in _DATES and not _is_date(head, next_word):
        return None
    if word in _NAMES_TOO:
        return _TRAILING[word.lower()] if re.match(r"\d", next_word) else None
    return _TRAILING_AND_SMALL.get(word) or None


def _letters(word: str) -> str:
    """``U.S.`` as "U S", ``Ph.D.`` as "P H D"."""
    parts = [part.strip() for part in word.split(".")]
    return " ".join(part if len(part) > 2 else " ".join(part.upper()) for part in parts)


def _is_date(head: str, next_word: str) -> bool:
    """True if a short month or weekday is one, rather than a name or a word ("Jan", "Sun")."""
    if re.match(r"\d", next_word) or next_word in _DATES:
        return True
    return bool(
        re.search(
            r"(?:\d|\b(?:on|in|every|each|next|last|this|until|till|by|from|to|and|or|since|before|after))[\s-]+$", head
        )
    )
