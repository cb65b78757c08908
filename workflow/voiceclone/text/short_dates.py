"""Days written as month and day, 2/14 and 3/1-3/15, told from fractions by what stands around them.

A month before its day: an order of the day first, as in much of Europe, is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_DAY = r"(?P<month{0}>1[0-2]|0?[1-9])/(?P<day{0}>3[01]|[12]\d|0?[1-9])"
_EAST_SUM = r"(?:[=+×÷*＝]|\s-\s)"


@dataclass(frozen=True)
class Signs:
    """What a language writes around days and fractions.

    Attributes:
        day_before: ends before a day whatever its numbers are.
        day_after: begins after such a day.
        fraction_before: ends before a fraction.
        fraction_after: begins after a fraction.
        between: between the ends of a range of days; a dash always is.
        weekday: between a day and such a word: 3/1(토)부터 3/5.
    """

    day_before: str
    day_after: str
    fraction_before: str
    fraction_after: str
    between: str = ""
    weekday: str = ""

    def pattern(self) -> re.Pattern[str]:
        """A day, or a range of days."""
        between = (
            f"(?P<weekday>{self.weekday or ''})(?:\\s?[-‐–—−~～〜]\\s?{f'|{self.between}' if self.between else ''})"
        )
        second = _DAY.format(2)
        return re.compile(rf"(?<![\w/.:]){_DAY.format(1)}(?:(?P<to>{between}){second})?(?![\d/.:]\d|[\d/%‰°℃])", re.A)


_CHINESE = Signs(
    day_before=r"(?:[今昨明后後]天是|日期(?:是|为|為)?[:：]?|截[止至](?:日期|时间|時間)?(?:是|为|為|到|至|[:：])?|定[于於]|生日(?:是|为|為)?)\s*",
    day_after=r"\s*[(（]?(?:是[^,，。.]{0,8}?(?:节|節|生日|纪念日|周年|星期|周[一二三四五六日]|最[后後])|[当當那][天日]|之[前后後]|前[后後]|早上"
    r"|上午|中午|下午|晚上|晚|凌晨|星期|[周週][一二三四五六日]|截止|到期|出[发發]|放假|[开開][学學会會]|考[试試]|上映|[发發]布|[发發]售|上[线線])",
    fraction_before=r"(?:[第之占佔约約仅僅得分了]|完成|通[过過]|血压\D{0,4})\s*",
    fraction_after=rf"\s*(?:[的嘅之杯勺匙磅斤两兩寸吋呎米拍倍张張个個碗份]|英寸|公[里斤]|小[时時]|以[上下]|{_EAST_SUM}|[A-Za-z\"″])",
    between="[到至]",
)
SIGNS = {
    "zh": _CHINESE,
    "yue": _CHINESE,
    "ja": Signs(
        day_before=r"(?:今日は|昨日は|明日は|締め?切り?は|期限は|日付は?[:：]?|誕生日は)\s*",
        day_after=r"\s*(?:[(（][月火水木金土日][)）]|[月火水木金土日]曜|頃|開催|開始|発売|発送|公開|放送|生まれ|締め?切|必着|付け?で?|時点)",
        fraction_before=r"(?:約|第|得点は?|血圧は?)\s*",
        fraction_after=rf"\s*(?:の(?:確率|割合|人|量|大き|サイズ|速|価格|値段|時間|スケール|縮尺|面積|確立)|カップ|[杯個本枚倍]|インチ|拍子"
        rf"|程度|以[上下]|に(?:減|縮|な)|スケール|サイズ|{_EAST_SUM}|[A-Za-z\"″])",
        between="から",
        weekday=r"(?:[(（][月火水木金土日][)）])?",
    ),
    "ko": Signs(
        day_before=r"(?:오늘은|어제는|내일은|마감일?은|날짜는?|생일은)\s*",
        day_after=r"\s*(?:[(（][월화수목금토일][)）]|[월화수목금토일]요일|일?자(?![가-힣])|부터"
        r"|까지(?! ?(?:줄|감소|하락)))",
        fraction_before=r"(?:약|제|점수는?|혈압은?)\s*",
        fraction_after=rf"\s*(?:[의컵배]|큰술|작은술|스푼|인치|박자|정도|수준|크기|확률|지점|이[하상]"
        rf"|로 ?(?:줄|감소)|{_EAST_SUM}|[A-Za-z\"″])",
        between="에서|부터 ?",
        weekday=r"(?:[(（][월화수목금토일][)）])?",
    ),
}
_PATTERNS = {language: signs.pattern() for language, signs in SIGNS.items()}

_WEEKDAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,?\s"
_ENGLISH = re.compile(
    rf"(?P<before>(?P<sure>\b{_WEEKDAY})|\b(?:[Oo]n|[Bb]y|[Ss]ince|[Uu]ntil|[Tt]ill|[Ff]rom|[Bb]efore|[Aa]fter|[Tt]hrough|[Bb]etween"
    rf"|[Dd]ated|[Dd]eadline|[Dd]ue|[Ss]tarting|[Ee]nding)(?:\sis)?:?\s|\()(?<![\w/.:]){_DAY.format(1)}"
    rf"(?:(?P<to>\s?[-‐–—−]\s?|\s(?:to|through|thru|until|till|and)\s){_DAY.format(2)})?"
    r"(?![\d/.:]\d|[\w/%°\"])(?!\s(?:of|inch|cups?|miles?|pounds?|hours?|tea|table|acres?|ounces?|pints?|full|an?)\b)"
)


def write_out(text: str, language: str, spoken: Callable[[int, int], str], to: str) -> str:
    """Text in which days are in words; fractions stay.

    Args:
        text: in a language of :data:`SIGNS`.
        language: its ISO code.
        spoken: words for month and day.
        to: between the ends of a range.
    """
    signs = SIGNS[language]

    def say(match: re.Match[str]) -> str:
        before, after = text[: match.start()], text[match.end() :]
        if not _in_the_calendar(match):
            return match[0]
        sure = re.match(signs.day_after, after) or re.search(f"{signs.day_before}$", before) or match["weekday"]
        share = re.match(signs.fraction_after, after) or re.search(
            rf"(?:{signs.fraction_before}|\d\s|[-=+×÷*又])$", before
        )
        if not sure and (share or not _hardly_a_fraction(match)):
            return match[0]
        second = f"{to}{spoken(int(match['month2']), int(match['day2']))}" if match["to"] else ""
        return spoken(int(match["month1"]), int(match["day1"])) + (match["weekday"] or "") + second

    return _PATTERNS[language].sub(say, text)


def write_out_english(text: str, spoken: Callable[[int, int], str]) -> str:
    """English text in which days after a preposition, a weekday or a bracket are in words."""

    def say(match: re.Match[str]) -> str:
        if not _in_the_calendar(match) or not (match["sure"] or _hardly_a_fraction(match)):
            return match[0]
        if int(match["day1"]) < 13 and not match["to"] and re.match("by", match["before"], re.I):
            return match[0]  # multiplied by 3/2
        to = match["to"] or ""
        to = to if to.strip().isalpha() else " to "
        second = f"{to}{spoken(int(match['month2']), int(match['day2']))}" if match["to"] else ""
        return match["before"] + spoken(int(match["month1"]), int(match["day1"])) + second

    return _ENGLISH.sub(say, text)


def _ends(match: re.Match[str]) -> list[tuple[int, int]]:
    """Month and day of a match, or of both ends of a range."""
    numbers = [(match[f"month{end}"], match[f"day{end}"]) for end in (1, 2)]
    return [(int(month), int(day)) for month, day in numbers if month]


def _in_the_calendar(match: re.Match[str]) -> bool:
    return all(day <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1] for month, day in _ends(match))


def _hardly_a_fraction(match: re.Match[str]) -> bool:
    """True: more than a whole, or parts that are no usual ones (2/14), at an end."""
    return any((month > day or (day > 12 and month > 1)) and (month, day) != (9, 11) for month, day in _ends(match))
