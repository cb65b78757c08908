"""Mandarin text as it is spoken: numbers, dates, units and symbols become characters.

The order of the rules and the readings follow common Chinese text normalisation for speech (as in PaddleSpeech,
Apache-2.0): whatever is more specific comes first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
"""Chinese characters, as the inside of a regular expression's set."""

_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_GROUPS = ("", "万", "亿", "兆")
_MEASURE_WORDS = (
    "个|只|头|匹|条|张|把|本|件|名|位|次|遍|回|场|家|座|栋|间|套|辆|架|艘|台|部|支|枝|根|颗|粒|块|片|双|对|副|群|"
    "批|排|行|列|层|级|岁|年|周|天|日|夜|小时|分钟|秒钟|秒|分|刻|元|块钱|角|毛|斤|公斤|吨|克|千克|米|千米|公里|厘米|毫米|里|寸|"
    "尺|亩|升|毫升|平方米|立方米|杯|瓶|碗|盘|盒|箱|袋|包|桶|首|篇|章|节|句|段|页|册|幅|顿|口|人|倍|度|种|类|项|份|"
    "点|趟|步|票|株|棵|朵|亿|万|千|百|人次|年级|季度|楼|号|届|集|字|词|户|国|省|市|县|区|村|岛|站|蚊"
)
_UNITS = {
    "km/h": "千米每小时", "m/s": "米每秒", "km²": "平方千米", "km2": "平方千米", "cm²": "平方厘米", "cm2": "平方厘米",
    "m²": "平方米", "m2": "平方米", "㎡": "平方米", "m³": "立方米", "m3": "立方米", "cm³": "立方厘米",
    "cm3": "立方厘米", "km": "千米", "cm": "厘米", "mm": "毫米", "m": "米", "kg": "千克", "mg": "毫克", "g": "克",
    "ml": "毫升", "mL": "毫升", "L": "升", "l": "升", "dB": "分贝", "db": "分贝", "ms": "毫秒", "s": "秒",
    "min": "分钟", "h": "小时", "kHz": "千赫", "Hz": "赫兹", "MHz": "兆赫", "GHz": "吉赫", "kW": "千瓦", "W": "瓦",
    "V": "伏",
}  # fmt: skip
_SYMBOLS = {
    "+": "加", "×": "乘", "÷": "除以", "=": "等于", "≈": "约等于", "<": "小于", ">": "大于", "≤": "小于等于",
    "≥": "大于等于", "±": "正负", "√": "根号", "%": "百分之", "‰": "千分之", "℃": "度", "°": "度", "①": "一",
    "②": "二", "③": "三", "④": "四", "⑤": "五",
    "⑥": "六", "⑦": "七", "⑧": "八", "⑨": "九", "⑩": "十",
}  # fmt: skip
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        [
            "阿尔法",
            "贝塔",
            "伽玛",
            "德尔塔",
            "艾普西龙",
            "捷塔",
            "依塔",
            "西塔",
            "艾欧塔",
            "喀帕",
            "拉姆达",
            "缪",
            "拗",
            "克西",
            "欧米克伦",
            "派",
            "肉",
            "西格玛",
            "西格玛",
            "套",
            "宇普西龙",
            "服艾",
            "器",
            "普赛",
            "欧米伽",
        ],
        strict=True,
    )
)
_CURRENCIES = {"￥": "元", "¥": "元", "$": "美元", "€": "欧元", "£": "英镑"}
_MARKS = {
    "：": ",", ":": ",", "；": ",", ";": ",", "，": ",", "、": ",", "·": ",", "。": ".", "\n": ".", "！": "!",
    "？": "?", "～": "…", "~": "…", "……": "…", "/": ",",
}  # fmt: skip


def cardinal(number: str) -> str:
    """Digits as a number: ``10`` → 十, ``1010`` → 一千零一十, ``20000`` → 二万; beyond 16 digits one by one."""
    number = number.lstrip("0")
    if not number:
        return "零"
    if len(number) > 16:
        return digits(number, one="一")
    text, start = "", len(number) % 4 or 4
    groups = [number[:start], *(number[i : i + 4] for i in range(start, len(number), 4))]
    gap = False
    for place, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True):
        if not int(group):
            gap = bool(text)
            continue
        if text and (gap or group[0] == "0"):
            text += "零"
        text += _below_ten_thousand(int(group)) + _GROUPS[place]
        gap = False
    return re.sub(r"^一十", "十", text)


def _below_ten_thousand(number: int) -> str:
    text = ""
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, unit)
        if digit:
            text += _DIGITS[str(digit)] + name
        elif text and not text.endswith("零") and number:
            text += "零"
    return text


def digits(number: str, one: str = "幺") -> str:
    """Digits one by one; in telephone numbers and codes 1 is read 幺."""
    return "".join(one if digit == "1" else _DIGITS[digit] for digit in number if digit in _DIGITS)


def _number(text: str) -> str:
    """A decimal or whole number with optional sign."""
    sign, text = ("负", text[1:]) if text[:1] in "-−" else ("", text)
    whole, _, fraction = text.replace(",", "").partition(".")
    return sign + cardinal(whole or "0") + (f"点{digits(fraction, one='一')}" if fraction else "")


def _date(match: re.Match[str]) -> str:
    month, day = match["month"], match["day"]
    return f"{digits(match['year'], one='一')}年{cardinal(month)}月{cardinal(day)}日"


def _time(match: re.Match[str]) -> str:
    hour, minute, second = int(match["hour"]), int(match["minute"]), match["second"]
    text = {0: "零点", 2: "两点"}.get(hour, f"{cardinal(str(hour))}点")
    if minute == 30:
        text += "半"
    elif minute or int(second or 0):
        text += ("零" if minute < 10 else "") + (f"{cardinal(str(minute))}分" if minute else "分")
    if second and int(second):
        text += ("零" if second.startswith("0") else "") + f"{cardinal(second)}秒"
    return text


def _telephone(match: re.Match[str]) -> str:
    """Groups that a hyphen parts are parted by a pause, those between blanks are not."""
    return ",".join(digits(group) for group in match[0].split("-"))


def _money(match: re.Match[str]) -> str:
    name = _CURRENCIES[match["symbol"]]
    return _number(match["n"]) + match["scale"] + (name.removesuffix("元") + match["said"] if match["said"] else name)


def _percentage(match: re.Match[str]) -> str:
    """Per cent or per mille; between two of them stands 至."""
    share = ("千" if match["mark"] == "‰" else "百") + "分之" + _number(match["n"])
    return ("负" if match["sign"] else "") + share + ("至" if match["to"] else "")


def _counted(match: re.Match[str]) -> str:
    """A number before a measure word: 2 alone is 两."""
    number = match["number"]
    plain = number == "2" and match["word"] in "日号级楼届两"
    return ("两" if number == "2" and not plain else _number(number)) + match["more"].replace("+", "多") + match["word"]


def _bare(match: re.Match[str]) -> str:
    """A number without measure word: three digits and more are codes, read one by one."""
    number = match[0]
    code = len(number) >= 3 and not number.endswith("00")
    if code or (number.startswith("0") and len(number) > 1):
        return digits(number)
    return cardinal(number)


_PER = "元角块分里米克斤升吨次人个天时卡焦瓦度"
"""Last characters of what is counted per something: 元/斤."""
_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?P<year>\d{4})\s*[-/.年]\s*(?P<month>0?[1-9]|1[0-2])\s*[-/.月]\s*(?P<day>0?[1-9]|[12]\d|3[01])(?!\d)[日号]?"),
     _date),
    (re.compile(r"(?<!\d)(\d{4}|[06-9]\d)(?=\s*年(?!级|前|后|来|间|以)|后(?=[\u4e00-\u9fff]|$))"),
     lambda m: digits(m[1], one="一")),
    (re.compile(r"(?P<hour>[01]?\d|2[0-4])[:：](?P<minute>[0-5]\d)(?:[:：](?P<second>[0-5]\d))?(?![\d:：])"), _time),
    (re.compile(r"(?<=[点分秒半])\s*[-–—~～]\s*(?=[零一二两三四五六七八九十]+点)"), lambda m: "至"),
    (re.compile(r"(?P<a>\d+)\s*[:：]\s*(?P<b>\d+)"), lambda m: f"{cardinal(m['a'])}比{cardinal(m['b'])}"),
    (re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"), _telephone),
    (re.compile(r"(?<!\d)(?:0\d{2,3}[- ]\d{7,8}|[48]00[- ]?\d{3}[- ]?\d{4})(?![-\d])"), _telephone),
    (re.compile(rf"[-−](?P<n>{_N})\s*(?:°C|℃|度|摄氏度)"), lambda m: f"零下{_number(m['n'])}度"),
    (re.compile(rf"(?P<n>{_N})\s*(?:°C|℃)"), lambda m: f"{_number(m['n'])}度"),
    (re.compile(rf"(?P<symbol>[￥¥$€£])\s*(?P<n>{_N})(?P<scale>[万亿千百]*)(?P<said>元|块)?"),
     _money),
    (re.compile(rf"(?P<sign>(?<![A-Za-z0-9])[-−])?(?P<n>{_N})\s*(?P<mark>[%‰％])(?P<to>\s*[~～](?=\s*[-\d]))?"),
     _percentage),
    (re.compile(rf"(?P<a>{_N})\s*(?P<unit>{_UNIT_NAMES})?\s*[~～]\s*(?P<b>{_N})"),
     lambda m: f"{_number(m['a'])}{_UNITS[m['unit']]}至{m['b']}" if m["unit"] else f"{_number(m['a'])}到{m['b']}"),
    (re.compile(rf"(?<![A-Za-z0-9.-])(?P<a>{_N})\s*[-–—]\s*(?P<b>{_N})(?!\s*[-=\d])"),
     lambda m: f"{_number(m['a'])}到{m['b']}"),
    (re.compile(rf"(?P<n>[-−]?{_N})\s*(?P<unit>{_UNIT_NAMES})(?![A-Za-z0-9/])"),
     lambda m: _number(m["n"]) + _UNITS[m["unit"]]),
    (re.compile(r"(?<!\d)(?P<a>\d+)/(?P<b>\d+)(?!\d)"), lambda m: f"{cardinal(m['b'])}分之{cardinal(m['a'])}"),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: "点".join(digits(part, one="一") for part in m[0].split("."))),
    (re.compile(rf"(?P<number>(?:(?<![A-Za-z0-9])[-−])?{_N})(?P<more>[多余几+]?)(?P<word>{_MEASURE_WORDS})"), _counted),
    (re.compile(r"(?<=第)\d+"), lambda m: cardinal(m[0])),
    (re.compile(r"(?:(?<![A-Za-z0-9])[-−])?\d+(?:,\d{3})*\.\d+|(?<!\d)\.\d+"
                r"|(?<![A-Za-z0-9])[-−]\d+|\d{1,3}(?:,\d{3})+"),
     lambda m: _number(m[0])),
    (re.compile(r"\d+"), _bare),
    (re.compile(r"(?<=[一二三四五六七八九十百千万亿零\w])\s*-\s*(?=[一二三四五六七八九十])"), lambda m: "减"),
    (re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+"), lambda m: f"的{cardinal(''.join(str(unicodedata.digit(c)) for c in m[0]))}次方"),
    (re.compile(rf"(?<=[{_PER}])/(?=[\u4e00-\u9fff])"), lambda m: "每"),
    (re.compile(r"(?<=[\u4e00-\u9fff])/(?=[\u4e00-\u9fff])"), lambda m: ","),
    (re.compile("[\u0370-\u03ff]"), lambda m: _GREEK.get(m[0].lower(), "")),
]  # fmt: skip


@cache
def _simplifier() -> Any:
    from opencc import OpenCC

    return OpenCC("t2s")


_HALF_WIDTH = {ord("\u3000"): " "} | {
    code: chr(code - 0xFEE0) for first, last in ("０９", "ＡＺ", "ａｚ") for code in range(ord(first), ord(last) + 1)
}
"""Full-width letters, digits and space as ASCII; punctuation stays Chinese."""


def write_out(text: str, simplify: bool = True) -> str:
    """Numbers, units and symbols in characters; letters and marks remain.

    Args:
        text: as written.
        simplify: traditional to simplified characters before.
    """
    text = re.sub(r"https?://", "", text).translate(_HALF_WIDTH)
    if simplify:
        text = _simplifier().convert(text)
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    for symbol, words in _SYMBOLS.items():
        text = text.replace(symbol, words)
    return text


def normalise(text: str) -> str:
    """Mandarin text with nothing but characters and the marks ``, . ! ? … -``.

    Args:
        text: one utterance or a run of it.

    Returns:
        Chinese characters and marks; runs of marks are reduced to the first. May be empty.
    """
    text = write_out(text).replace("嗯", "恩").replace("呣", "母").replace("...", "…").replace("〇", "零")
    for mark, symbol in _MARKS.items():
        text = text.replace(mark, symbol)
    text = re.sub(rf"[^{HAN},.!?…-]|-(?![{HAN}])|(?<![{HAN}])-", "", text)
    return re.sub(r"([,.!?…-])[,.!?…-]+", r"\1", text)
