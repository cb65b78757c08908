"""Korean text as it is spoken: numbers, dates, units and symbols become Hangul, letters their Korean names.

Numbers are Sino-Korean (이천이십사년), or native before the words that count with them (세 시, 두 명).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from voiceclone.text import short_dates
from voiceclone.text.english_quantities import roman

_SINO = dict(zip("0123456789", "영일이삼사오육칠팔구", strict=True))
_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_GROUPS = ("", "만", "억", "조", "경")

_COUNTED = (
    "가닥|가지|갈래|개(?!월|년|국)|고개|곡(?!선)|골(?![가-힣])|곳|군데|권|그루|그릇|꼬치|끼(?![가-힣])|다발|다스|"
    "달(?!러)|대|덩어리|덩이|두름|마디|마리|명|모금|모(?![가-힣])|묶음|뭉치|바퀴|박스|발짝|방울|"
    "배(?=[가나는로를의이]|[^가-힣]|$)|번|벌|병|보루|봉지|뿌리|사람|사발|살|상자|송이|숟가락|스푼|시간|시|쌍|"
    "알(?![가-힣])|움큼|자루|자리(?=\\s?(?:수|숫자|비밀|번호)|[,.을를로의])|작은술|잔|장|접시|조각|줄(?![가-힣])|차례|채|척|칸|캔|컵|켤레|큰술|토막|톨|톳|통|판|"
    "팩|팀|포대|편(?=[을이의도에]|[^가-힣]|$)|포기|필(?![가-힣])"
)
"""Words before which numbers are native, up to 99 before those that always are, up to 20 before others."""
_ALWAYS_NATIVE = frozenset(
    ["군데", "곡", "권", "개", "그루", "대", "마리", "모금", "발", "발짝", "번", "벌", "보루", "살", "시", "움큼",
     "채", "척", "켤레", "통", "달", "가지", "장", "차례", "배", "컵", "잔", "조각", "사람", "송이",
     "줄", "칸", "팀"]
)  # fmt: skip
_MACHINES = (
    "차|버스|트럭|택시|컴퓨터|노트북|카메라|자전거|비행기|로봇|전화기|에어컨|세탁기|냉장고"
    "|기계|헬기|드론|탱크|바이크|승용차"
)
"""What 대 counts."""
_NUMBERED = (
    "버스|출구|문제|선수|타자|투수|트랙|채널|국도|버튼|방|홈|게이트|승강장|창구|좌석|자리|교향곡|염색체|주자|"
    "레인|카드|항목|칸|차|기차|열차|길|도로|답|보기|사진|그림|예제|선|노선|척추|마을버스|테이블|손님|환자|"
    "학생|후보|트럭|구역|코스|국|소나타|협주곡|사물함|락커|라커|서버|포트|줄"
)
"""Counters with numbers of their own: 칠번 버스, but 일곱번 read."""
_SINO_COUNTERS = (
    "년도|년대|년|개월|월|일|주일|주|분|초|층|호선|호|등|위|인분|인|학년|반|회|차|단계|쪽|페이지|절|과|도|세|"
    "급|점|대|원|달러|유로|엔|위안|[만억천백조]+원?"
)
_PARTICLES = "(?:에서|에|은|는|이|가|을|를|으로|로|와|과|도|의)"

_UNITS = {
    "km/h": "킬로미터 퍼 아워", "m/s": "미터 퍼 세컨드", "km²": "제곱킬로미터", "km2": "제곱킬로미터",
    "m²": "제곱미터", "m2": "제곱미터", "㎡": "제곱미터", "m³": "세제곱미터", "m3": "세제곱미터", "cm": "센티미터",
    "mm": "밀리미터", "km": "킬로미터", "m": "미터", "kg": "킬로그램", "mg": "밀리그램", "g": "그램", "ml": "밀리리터",
    "mL": "밀리리터", "L": "리터", "l": "리터", "GB": "기가바이트", "MB": "메가바이트", "KB": "킬로바이트",
    "TB": "테라바이트", "kHz": "킬로헤르츠", "MHz": "메가헤르츠", "GHz": "기가헤르츠", "Hz": "헤르츠", "kW": "킬로와트",
    "min": "분", "rpm": "알피엠",
    "W": "와트", "V": "볼트", "dB": "데시벨", "%": "퍼센트", "％": "퍼센트", "‰": "퍼밀", "°C": "도", "℃": "도",
    "°F": "도", "℉": "도", "°": "도",
}  # fmt: skip
_CURRENCIES = {"₩": "원", "￦": "원", "$": "달러", "€": "유로", "£": "파운드", "¥": "엔", "￥": "위안"}
_SYMBOLS = {
    "±": " 플러스마이너스 ",
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
    """Telephone numbers and codes, digit by digit."""
    groups = re.findall(r"\d+", match[match.lastindex or 0])
    if len(groups) == 1 and match[0].startswith("01"):
        groups = [groups[0][:3], groups[0][3:-4], groups[0][-4:]]
    return "-".join(digits(group).replace("영", "공") for group in groups)


def _month(number: str) -> str:
    return {6: "유월", 10: "시월"}.get(int(number), f"{sino(number)}월")


def _ordinal(match: re.Match[str]) -> str:
    return f"{'첫' if int(match[1]) == 1 else native(match[1])} 번째"


def _range(match: re.Match[str]) -> str:
    """From one quantity to another; a counter that is said with native numbers follows both."""
    unit = match["unit"] or ""
    after = match.string[match.end() :]
    counter = re.match(rf"[\d,.]*\s?((?:{_COUNTED}))", after)
    return f"{unit or (counter[1] if counter else '')}에서 "


def _roman(match: re.Match[str]) -> str:
    value = roman(match[0])
    return sino(str(value)) if value else match[0]


def _counted(match: re.Match[str]) -> str:
    number, word = match["number"], match["word"]
    value = int(number.replace(",", ""))
    machines = re.search(rf"(?:{_MACHINES})[가-힣]?\s?$", match.string[: match.start()])
    decade = word == "대" and value % 10 == 0 and value < 100 and not machines  # 20대: in one's twenties
    if decade or (word == "시" and value > 12) or (value > 20 and word not in _ALWAYS_NATIVE):
        return sino(number) + match["blank"] + word
    return native(number) + match["blank"] + word


_CODE_WORDS = (
    "비밀번호|인증번호|우편번호|계좌번호|주민번호|주민등록번호|카드번호|차량번호|예약번호|주문번호|송장번호|운송장번호"
    "|전화번호|사업자번호|등록번호|접수번호|수험번호|일련번호|인증코드|암호|학번|사번|군번"
)
_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_OF_DAY = "(?:오전|오후|새벽|아침|저녁|밤|정오|다음 ?날|이튿날|영하|영상|제)"
_DASH = r"\s*[-‐–—−~～〜]\s*"
_FRACTIONS = {"½": (2, 1), "⅓": (3, 1), "⅔": (3, 2), "¼": (4, 1), "¾": (4, 3), "⅕": (5, 1), "⅛": (8, 1)}
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<![\d.])(\d{4})\s*[-/.]\s*(0?[1-9]|1[0-2])\s*[-/.]\s*(0?[1-9]|[12]\d|3[01])(?!\d|\.\d)"),
     lambda m: f"{sino(m[1])}년 {_month(m[2])} {sino(m[3])}일"),
    (re.compile(rf"(?<=\d)\+\s?({_COUNTED}|{_SINO_COUNTERS})"), lambda m: f"{m[1]} 이상"),
    (re.compile(rf"(?<=[일월년]){_DASH}(?=[가-힣]+년 [가-힣]+월)"), lambda m: "에서 "),
    (re.compile(r"(?<![\d:])(\d{1,3}):([0-5]\d):([0-5]\d)(?![\d:])"),
     lambda m: f"{sino(m[1]) + '시' if len(m[1]) > 1 else native(m[1]) + '시간'} {sino(m[2])}분 {sino(m[3])}초"),
    (re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])"),
     lambda m: (native(m[1]) if 0 < int(m[1]) <= 12 else sino(m[1])) + "시"
     + (f" {sino(m[2])}분" if int(m[2]) else "")),
    (re.compile(r"(?<![\d-])0\d{1,2}[-. )]\d{3,4}[-. ]\d{4}(?![\d-])|(?<![\d-])1[568]\d\d-\d{4}(?![\d-])"), _telephone),
    (re.compile(r"(?<![\d-])01[016789]\d{7,8}(?!\d)"), _telephone),
    (re.compile(rf"((?:{_CODE_WORDS})(?:[은는이가을를]|[:：])?\s?)(\d[\d-]*\d)(?!\d|[.,]\d|\s?[개자명번차])"),
     lambda m: m[1] + _telephone(m)),
    (re.compile(r"(?<![\d.,-])(\d+)장(?=\s?\d+\s?절)"), lambda m: sino(m[1]) + "장"),
    (re.compile(r"(?:(?<=고기 )|(?<=\b회 )|(?<=육회 ))(\d+)점(?=[ .,을만과]|$)"),  # slices
     lambda m: native(m[1]) + "점"),
    (re.compile(r"(?<=버스 )(\d{1,4})번|(?<=반 )(\d{1,2})번(?![가-힣])|(?<![\d.,-])(\d{3,})번"),
     lambda m: sino(m[1] or m[2] or m[3]) + "번"),
    (re.compile(rf"(?<=제)(\d+){_DASH}(?=\d+\s?[가-힣])(\d+)"), lambda m: f"{sino(m[1])}에서 {sino(m[2])}"),
    (re.compile(r"(?<=제)(\s?)(\d+)"), lambda m: m[1] + sino(m[2])),
    (re.compile(r"(?<![\d.,])(\d{1,2})\s?번째"), _ordinal),
    (re.compile(rf"(?<![\d.,-])(\d+)번(?=\s(?:{_NUMBERED})|[지가](?![가-힣])|지[에의로]"
                r"|[을를]\s(?:누르|눌러|선택|고르|골라|찍))"),
     lambda m: sino(m[1]) + "번"),
    (re.compile(r"(?<![\d-])(\d+)-(\d+)(?=\s?번지)"), lambda m: f"{sino(m[1])} 다시 {sino(m[2])}"),
    (re.compile(r"(?<![\d-])(\d+)(?:-|:)(\d+)(?=\s?으?로\s?(?:이[기겼긴]|승|졌|지[고는다]|패|꺾|역전|무승부))"),
     lambda m: f"{sino(m[1])} 대 {sino(m[2])}"),
    (re.compile(r"(?<=\d)\s?[-−–]\s?(?=\d+\s?=)"), lambda m: " 빼기 "),
    (re.compile(rf"([₩￦$€£¥￥])\s*({_N}){_DASH}(?:\1\s*)?({_N})([만억천백조]*)"),
     lambda m: f"{_number(m[2])}에서 {_number(m[3])}{m[4]}{_CURRENCIES[m[1]]}"),
    (re.compile(r"(?<![\d.])(\d+)대(\d+)(?![\d.,])"), lambda m: f"{sino(m[1])} 대 {sino(m[2])}"),
    (re.compile(r"(?<![\d.])(\d+)대(?=\s(?:대통령|사장|회장|총리|국왕|왕|황제|교황|총장|의장))"),
     lambda m: sino(m[1]) + "대"),
    (re.compile(r"(?<![\d.])(\d+)\s?대(?=\s?\d+\s?(?:으?로|[^\w\s]|$|의))"), lambda m: f"{sino(m[1])} 대"),
    (re.compile(rf"(?<=\d)(?P<unit>{_UNIT_NAMES}|{_SINO_COUNTERS}|{_COUNTED})?{_DASH}(?=(?:{_OF_DAY}\s?|[-−])?\d)(?!\d+-)"),
     _range),
    (re.compile(rf"(?<=[월화수목금토일]){_DASH}(?=[월화수목금토일](?:요일|[^가-힣]|$))"), lambda m: "에서 "),
    (re.compile(rf"(?<=[시분])(?:{_DASH})(?=(?:{_OF_DAY}\s?)?[한두세네다섯여덟일곱아홉열십이삼사오육칠팔구]+\s?시)"),
     lambda m: "에서 "),
    (re.compile(r"(?<!\d)(1[0-2]|0?[1-9])월"), lambda m: _month(m[1])),
    (re.compile(r"([$€])\s*(\d+)\.(\d\d)(?![\d만억천백조])"),
     lambda m: f"{sino(m[2])}{_CURRENCIES[m[1]]}" + (f" {sino(m[3])}센트" if int(m[3]) else "")),
    (re.compile(rf"(?P<symbol>[₩￦$€£¥￥])\s*(?P<n>{_N})(?P<scale>[만억천백조]*)"),
     lambda m: _number(m["n"]) + m["scale"] + _CURRENCIES[m["symbol"]]),
    (re.compile(rf"(?<![\d가-힣A-Za-z.])[-−](?={_N}\s?(?:도|°|℃))"), lambda m: "영하 "),
    (re.compile(r"(?<![\d가-힣A-Za-z.])[-−](?=\d)"), lambda m: "마이너스 "),
    (re.compile(rf"({_N})\s?({_UNIT_NAMES})(?![A-Za-z0-9])"), lambda m: _number(m[1]) + _UNITS[m[2]]),
    (re.compile(rf"(?<![A-Za-z])({_UNIT_NAMES})(?=당)"), lambda m: _UNITS[m[1]]),
    (re.compile(r"(?<![\d/])24/7(?![\d/])"), lambda m: "이십사 칠"),
    (re.compile(r"(?<![\d/.])(\d+\.\d+)/(5|10|100)점?(?![\d/])"),
     lambda m: f"{sino(m[2])}점 만점에 {_number(m[1])}점"),
    (re.compile(r"(?<![\d/.])(\d+)/(\d+)(?![\d/])"), lambda m: f"{sino(m[2])}분의 {sino(m[1])}"),
    (re.compile(r"(?<![A-Za-z])(\d+)\+(?!\s?[\dA-Za-z])"), lambda m: f"{_number(m[1])} 이상"),
    (re.compile(r"(?<![\d:])(\d{1,3}):(\d{1,3})(?![\d:])"), lambda m: f"{sino(m[1])} 대 {sino(m[2])}"),
    (re.compile(r"(?<![A-Za-z])[vV](?=\d+\.\d)"), lambda m: "버전 "),
    (re.compile(r"(?<=[A-Za-z])\+\+"), lambda m: " 플러스 플러스"),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: "점".join(digits(part) for part in m[0].split("."))),
    (re.compile(rf"(?<![\d.])(?P<number>\d{{1,3}}(?:,\d{{3}})+|\d+)(?P<blank>\s?)(?P<word>{_COUNTED})"), _counted),
    (re.compile(r"(?<![\d.,])0\d+"), lambda m: digits(m[0])),
    (re.compile(rf"(?<![\d.,])\d{{2,}}[1-9](?![\d.,]|(?!{_PARTICLES}(?![가-힣]))[가-힣])"), lambda m: digits(m[0])),
    (re.compile(r"(?<![\d·ㆍ])(1[0-2]|[1-9])[·ㆍ・‧](3[01]|[12]\d|[1-9])(?![\d·ㆍ])"),
     lambda m: sino(m[1]) + (sino(m[2]) if m[2] in ("10", m[1]) else digits(m[2]))),
    (re.compile(r"(?<![\d.])(\d)\.(\d\d?)(?=\s?(?:전쟁|운동|혁명|사변|사태|절(?![가-힣])))"),
     lambda m: digits(m[1] + m[2])),
    (re.compile(_N), lambda m: _number(m[0])),
]  # fmt: skip


def _vulgar(match: re.Match[str]) -> str:
    """``1½`` as 일과 이분의 일."""
    below, above = _FRACTIONS[match[2]]
    whole = f"{sino(match[1])}과 " if match[1] else ""
    return f"{whole}{sino(str(below))}분의 {sino(str(above))}"


def normalise(text: str) -> str:
    """Korean text without digits, units and Latin letters.

    Args:
        text: one utterance or a run of it.

    Returns:
        Hangul, single jamo, blanks and marks; anything else is kept and becomes a stop.
    """
    text = text.replace("\n", ".").replace("\u3000", " ").replace("⁄", "/")
    text = re.sub(f"(\\d*)([{''.join(_FRACTIONS)}])", _vulgar, text)
    text = re.sub("[Ⅰ-Ⅻⅰ-ⅻ]", lambda m: sino(str(int(unicodedata.numeric(m[0])))), text)
    text = re.sub("[①-⑳]", lambda m: str(ord(m[0]) - 0x245F), text)
    text = re.sub(r"(?<![A-Za-z])[IVX]+(?=\s?(?:장|부|권|편|세|형|절|차|막)(?![가-힣]{2}))", _roman, text)
    text = short_dates.write_out(text, "ko", lambda month, day: f"{_month(str(month))} {sino(str(day))}일", "에서 ")
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    for symbol, words in (_SYMBOLS | _MARKS).items():
        text = text.replace(symbol, words)
    text = re.sub("[A-Za-z]", lambda letter: _LETTERS[letter[0].lower()], text)
    return re.sub(r"\s+", " ", text)
