"""Korean text as it is spoken: numbers, dates, units and symbols become Hangul, letters their Korean names.

Numbers are Sino-Korean (이천이십사년), or native before the words that count with them (세 시, 두 명).
"""

from __future__ import annotations

import re
from collections.abc import Callable

_SINO = dict(zip("0123456789", "영일이삼사오육칠팔구", strict=True))
_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_GROUPS = ("", "만", "억", "조", "경")

_COUNTED = (
    "가지|개(?!월|년|국)|군데|곳|권|그루|그릇|다발|달|대|마디|마리|명|모금|방울|번|벌|병|봉지|사람|살|송이|시간|시|쌍|"
    "자루|잔|장|접시|채|척|켤레|통|판|포기|발짝|움큼|보루|두름|뭉치|바퀴"
)
"""Words before which numbers are native, up to 99 before the first kind, below ten before others."""
_ALWAYS_NATIVE = frozenset(
    [
        "군데",
        "권",
        "개",
        "그루",
        "대",
        "마리",
        "모금",
        "발",
        "발짝",
        "번",
        "벌",
        "보루",
        "살",
        "시",
        "움큼",
        "채",
        "척",
        "켤레",
        "통",
        "시간",
        "달",
        "가지",
        "장",
    ]
)
_PARTICLES = "(?:에서|에|은|는|이|가|을|를|으로|로|와|과|도|의)"

_UNITS = {
    "km/h": "킬로미터 퍼 아워", "m/s": "미터 퍼 세컨드", "km²": "제곱킬로미터", "km2": "제곱킬로미터",
    "m²": "제곱미터", "m2": "제곱미터", "㎡": "제곱미터", "m³": "세제곱미터", "m3": "세제곱미터", "cm": "센티미터",
    "mm": "밀리미터", "km": "킬로미터", "m": "미터", "kg": "킬로그램", "mg": "밀리그램", "g": "그램", "ml": "밀리리터",
    "mL": "밀리리터", "L": "리터", "l": "리터", "GB": "기가바이트", "MB": "메가바이트", "KB": "킬로바이트",
    "TB": "테라바이트", "kHz": "킬로헤르츠", "MHz": "메가헤르츠", "GHz": "기가헤르츠", "Hz": "헤르츠", "kW": "킬로와트",
    "W": "와트", "V": "볼트", "dB": "데시벨", "%": "퍼센트", "％": "퍼센트", "‰": "퍼밀", "°C": "도", "℃": "도",
    "°F": "도", "℉": "도", "°": "도",
}  # fmt: skip
_CURRENCIES = {"₩": "원", "￦": "원", "$": "달러", "€": "유로", "£": "파운드", "¥": "엔", "￥": "위안"}
_SYMBOLS = {
    "&": " 앤드 ", "+": " 더하기 ", "×": " 곱하기 ", "÷": " 나누기 ", "=": " 은 ", "@": " 골뱅이 ", "#": " 샵 ",
    "％": "퍼센트", "%": "퍼센트", "℃": "도", "㈜": "주식회사",
}  # fmt: skip
_MARKS = {
    "，": ",", "、": ",", "；": ",", "：": ",", "·": ",", "。": ".", "！": "!", "？": "?",
}  # fmt: skip
_LETTERS = {
    "a": "에이", "b": "비", "c": "시", "d": "디", "e": "이", "f": "에프", "g": "지", "h": "에이치", "i": "아이",
    "j": "제이", "k": "케이", "l": "엘", "m": "엠", "n": "엔", "o": "오", "p": "피", "q": "큐", "r": "아르",
    "s": "에스", "t": "티", "u": "유", "v": "브이", "w": "더블유", "x": "엑스", "y": "와이", "z": "제트",
}  # fmt: skip


def sino(number: str) -> str:
    """Digits as a Sino-Korean number: ``15000`` → 만오천; beyond 20 digits one by one."""
    number = number.replace(",", "").lstrip("0")
    if not number:
        return "영"
    if len(number) > 20:
        return digits(number)
    start = len(number) % 4 or 4
    groups = [number[:start], *(number[i : i + 4] for i in range(start, len(number), 4))]
    text = ""
    for place, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True):
        if not int(group):
            continue
        part = ""
        for unit, digit in zip(("천", "백", "십", "")[-len(group) :], group, strict=True):
            if digit != "0":
                part += ("" if digit == "1" and unit else _SINO[digit]) + unit
        text += ("" if part == "일" and place == 1 and not text else part) + _GROUPS[place]
    return text


def native(number: str) -> str:
    """Digits before a counted noun: ``3`` → 세, ``20`` → 스무, ``21`` → 스물한; from 100 on Sino-Korean hundreds."""
    value = int(number.replace(",", ""))
    if value == 0 or value > 9999:
        return sino(number)
    hundreds, rest = divmod(value, 100)
    head = sino(str(hundreds * 100)) if hundreds else ""
    return head + ("스무" if rest == 20 else _TENS[rest // 10] + _ONES[rest % 10])


def digits(number: str) -> str:
    """Digits one by one."""
    return "".join(_SINO[digit] for digit in number if digit in _SINO)


def _number(number: str) -> str:
    whole, _, fraction = number.replace(",", "").partition(".")
    return sino(whole) + (f"점{digits(fraction)}" if fraction else "")


def _telephone(match: re.Match[str]) -> str:
    return "-".join(digits(group) for group in re.findall(r"\d+", match[0]))


def _month(number: str) -> str:
    return {6: "유월", 10: "시월"}.get(int(number), f"{sino(number)}월")


def _counted(match: re.Match[str]) -> str:
    number, word = match["number"], match["word"]
    value = int(number.replace(",", ""))
    decade = word == "대" and value % 10 == 0 and value < 100  # 20대: in one's twenties
    if decade or (word == "시" and value > 12) or (value > 9 and word not in _ALWAYS_NATIVE):
        return sino(number) + match["blank"] + word
    return native(number) + match["blank"] + word


_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<![\d.])(\d{4})\s*[-/.]\s*(0?[1-9]|1[0-2])\s*[-/.]\s*(0?[1-9]|[12]\d|3[01])(?!\d|\.\d)"),
     lambda m: f"{sino(m[1])}년 {_month(m[2])} {sino(m[3])}일"),
    (re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])"),
     lambda m: (native(m[1]) if 0 < int(m[1]) <= 12 else sino(m[1])) + "시"
     + (f" {sino(m[2])}분" if int(m[2]) else "")),
    (re.compile(r"(?<![\d-])0\d{1,2}[- )]\d{3,4}-\d{4}(?![\d-])|(?<![\d-])1[568]\d\d-\d{4}(?![\d-])"), _telephone),
    (re.compile(r"(?<!\d)(1[0-2]|0?[1-9])월"), lambda m: _month(m[1])),
    (re.compile(rf"(?P<symbol>[₩￦$€£¥￥])\s*(?P<n>{_N})(?P<scale>[만억천백조]*)"),
     lambda m: _number(m["n"]) + m["scale"] + _CURRENCIES[m["symbol"]]),
    (re.compile(rf"(?<![\d가-힣A-Za-z.])[-−](?={_N}\s?(?:도|°|℃))"), lambda m: "영하 "),
    (re.compile(r"(?<![\d가-힣A-Za-z.])[-−](?=\d)"), lambda m: "마이너스 "),
    (re.compile(rf"(?<=\d)\s*(?:{_UNIT_NAMES})?\s*[~～]\s*(?=\d)"), lambda m: "에서 "),
    (re.compile(rf"({_N})\s?({_UNIT_NAMES})(?![A-Za-z0-9])"), lambda m: _number(m[1]) + _UNITS[m[2]]),
    (re.compile(r"(?<![\d/])(\d+)/(\d+)(?![\d/])"), lambda m: f"{sino(m[2])}분의 {sino(m[1])}"),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: "점".join(digits(part) for part in m[0].split("."))),
    (re.compile(rf"(?<![\d.])(?P<number>\d{{1,3}}(?:,\d{{3}})+|\d+)(?P<blank>\s?)(?P<word>{_COUNTED})"), _counted),
    (re.compile(r"(?<![\d.,])0\d+"), lambda m: digits(m[0])),
    (re.compile(rf"(?<![\d.,])\d{{2,}}[1-9](?![\d.,]|(?!{_PARTICLES}(?![가-힣]))[가-힣])"), lambda m: digits(m[0])),
    (re.compile(r"(?<![\d.])(\d)\.(\d\d?)(?=\s?(?:전쟁|운동|혁명|사변|사태|절(?![가-힣])))"),
     lambda m: digits(m[1] + m[2])),
    (re.compile(_N), lambda m: _number(m[0])),
]  # fmt: skip


def normalise(text: str) -> str:
    """Korean text without digits, units and Latin letters.

    Args:
        text: one utterance or a run of it.

    Returns:
        Hangul, single jamo, blanks and marks; what else stands there is kept and becomes a stop.
    """
    text = text.replace("\n", ".").replace("\u3000", " ")
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    for symbol, words in (_SYMBOLS | _MARKS).items():
        text = text.replace(symbol, words)
    text = re.sub("[A-Za-z]", lambda letter: _LETTERS[letter[0].lower()], text)
    return re.sub(r"\s+", " ", text)
