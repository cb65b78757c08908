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

from voiceclone.text import short_dates

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"
"""Chinese characters, as the inside of a regular expression's set."""

_DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_GROUPS = ("", "万", "亿", "兆")


def _any(words: str) -> str:
    """The words of a text, separated by blanks, as alternatives of a regular expression."""
    return "|".join(words.split())


_MEASURE_WORDS = _any(
    "个 只 头 匹 条 张 把 本 件 名 位 次 遍 回 场 家 座 栋 间 套 辆 架 艘 台 部 支 枝 根 颗 粒 块 片 双 "
    "对(?![吗不的了吧于应面方比此我你他她它这那您咱]) 副 群 批 排 行 列 层 级 岁 年 周 天 日 夜 小时 分钟 秒钟 "
    "秒 分 刻 元 块钱 角 毛 斤 公斤 吨 克 千克 米 千米 公里 厘米 毫米 里 寸 尺 亩 升 毫升 平方米 立方米 杯 瓶 碗 "
    "盘 盒 箱 袋 包 桶 首 篇 章 节 句 段 页 册 幅 顿 口 人 倍 度 种 类 项 份 点 趟 步 票 株 棵 朵 亿 万 千 百 "
    "人次 年级 季度 楼 号 届 集 字 词 户 国 省 市 县 区 村 岛 站 蚊 平方 立方 公分 英里 英尺 英寸 海里 公顷 磅 "
    "盎司 摄氏度 华氏度 美元 美金 欧元 英镑 日元 韩元 港元 港币 澳元 人民币 卢布 勺 滴 丝 串 束 枚 团 堆 卷 罐 "
    "壶 筐 节课 课 道 期(?!间|望|待|盼) 版 款 具 尊 顶 床 圈 轮 局 代 帧 毫克 两 折 呎 吋 安士 加仑 毫 仙 个半 "
    "个钟 嚿 樽 餐 個 點 隻 張 條 塊 間 層 歲 週 對(?![嗎唔不的了於應]) 雙 頭 輛 臺 顆 級 場 噸 億 萬 號 樓 頁 "
    "冊 項 種 類 國 縣 區 島 屆 鐘 幾 餘 單位 戶 聲 兩 錢 碼 英呎 英吋 平方呎 平方英尺 公噸 公頃 加侖 時 分鐘 "
    "小時 煲 啖 匙 碟 籠 紮 針 齣 團 盞 頂 盤 輪 筆 層樓 "
)
"""Things that are counted, in the characters of Mandarin and of Cantonese."""
_MONEY_CODES = {
    "RMB": "元", "CNY": "元", "USD": "美元", "EUR": "欧元", "GBP": "英镑", "JPY": "日元", "HKD": "港元",
}  # fmt: skip
"""Before or after a number."""
_UNITS = _MONEY_CODES | {
    "km/h": "千米每小时", "m/s": "米每秒", "km²": "平方千米", "km2": "平方千米", "cm²": "平方厘米", "cm2": "平方厘米",
    "mm²": "平方毫米", "mm2": "平方毫米", "dm²": "平方分米", "dm2": "平方分米",
    "m²": "平方米", "m2": "平方米", "m³": "立方米", "m3": "立方米", "cm³": "立方厘米", "km³": "立方千米",
    "cm3": "立方厘米", "mm³": "立方毫米", "mm3": "立方毫米", "dm³": "立方分米", "dm3": "立方分米",
    "km": "千米", "dm": "分米", "cm": "厘米", "mm": "毫米", "μm": "微米", "nm": "纳米", "m": "米",
    "kg": "千克", "mg": "毫克", "μg": "微克", "g": "克", "ml": "毫升", "mL": "毫升", "ML": "毫升", "μL": "微升",
    "μl": "微升", "dL": "分升", "L": "升", "l": "升", "cc": "毫升", "dB": "分贝", "db": "分贝",
    "ms": "毫秒", "μs": "微秒", "ns": "纳秒", "s": "秒", "min": "分钟", "h": "小时", "kHz": "千赫", "KHz": "千赫",
    "Hz": "赫兹", "MHz": "兆赫", "GHz": "吉赫", "kWh": "千瓦时", "MWh": "兆瓦时", "Wh": "瓦时", "kW": "千瓦",
    "MW": "兆瓦", "W": "瓦", "kV": "千伏", "mV": "毫伏", "V": "伏", "mAh": "毫安时", "mA": "毫安", "Ω": "欧姆",
    "kΩ": "千欧", "MΩ": "兆欧", "kPa": "千帕", "MPa": "兆帕", "hPa": "百帕", "Pa": "帕", "kcal": "千卡", "cal": "卡",
    "g/m²": "克每平方米", "g/m2": "克每平方米", "kg/m³": "千克每立方米", "g/cm³": "克每立方厘米", "mg/L": "毫克每升",
    "g/L": "克每升", "mg/dL": "毫克每分升", "mg/kg": "毫克每千克", "μg/m³": "微克每立方米", "mmol/L": "毫摩尔每升",
    "W/m²": "瓦每平方米", "km/s": "千米每秒", "m/s²": "米每二次方秒", "L/min": "升每分钟", "ml/min": "毫升每分钟",
    "r/min": "转每分钟", "rpm": "转每分钟", "bpm": "拍每分钟", "fps": "帧每秒", "MB/s": "兆字节每秒",
    "mmHg": "毫米汞柱", "kJ": "千焦", "mol": "摩尔", "lb": "磅", "oz": "盎司", "ft": "英尺", "mph": "英里每小时",
}  # fmt: skip
_SQUARED = {
    character: _UNITS[letters]
    for character in map(chr, range(0x3371, 0x33E0))
    for letters in (unicodedata.normalize("NFKC", character).replace("∕", "/"),)
    if letters in _UNITS
}
"""Units in one character: ㎏, ㎡."""
UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
"""Units in letters, as the inside of a regular expression: those that belong to a number in Chinese text."""
_SYMBOLS = {
    "+": "加", "×": "乘", "÷": "除以", "=": "等于", "≈": "约等于", "≠": "不等于", "<": "小于", ">": "大于",
    "≤": "小于等于", "≥": "大于等于", "⩽": "小于等于", "⩾": "大于等于", "±": "正负", "√": "根号", "∞": "无穷大",
    "∵": "因为", "∴": "所以", "∠": "角", "△": "三角形", "∈": "属于", "∪": "并", "∩": "交",
    "%": "百分之", "‰": "千分之", "℃": "度", "℉": "华氏度", "°": "度", "&": "和", "@": "艾特",
    "#": "井", "§": "节", "−": "减",
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
_CURRENCIES = {
    "￥": "元", "¥": "元", "$": "美元", "€": "欧元", "£": "英镑", "₩": "韩元", "₽": "卢布", "₹": "卢比", "฿": "泰铢",
    "₫": "越南盾", "₿": "比特币", "US$": "美元", "HK$": "港元", "NT$": "新台币", "A$": "澳元", "C$": "加元",
    "S$": "新元", **_MONEY_CODES,
}  # fmt: skip
MONEY_LETTERS = "|".join(re.escape(sign) for sign in _CURRENCIES if sign[0].isalpha())
"""Currencies that begin with letters, as the inside of a regular expression."""
SCALES = {"k": 3, "K": 3, "m": 6, "M": 6, "b": 9, "B": 9}
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


def _year(number: str) -> str:
    return digits(number, one="一")


_YEAR_FOLLOWED = re.compile(
    rf"\s*年\s*(?:\d{{1,2}}\s*月|[{HAN}]{{0,4}}(?:世界杯|奥运|亚运|欧洲杯)|[春夏秋冬初末底款]|出生|毕业|入学|入伍|结婚|高考|生[人的，。,.]|生$)"
)
_SPAN_BEFORE = re.compile(
    r"(?:[近约超过整长共花这满每大了有]|长达|足足|差不多|前后|经历|历时|历经|工作|奋斗|坚持|干了|等了|民国"
    r"|在位|执政|统治|任职|服役|从业|从教|从军|行医|婚龄|工龄|教龄|党龄|相伴|相守|生活|居住|定居|持续|延续|徒刑|服刑|入狱"
    r"|[康雍乾嘉道咸同光宣顺崇][熙正隆庆光丰治绪统祯]|洪武|永乐|万历|贞观|开元|明治|大正|昭和|平成|令和)\s*$"
)
_SPAN_AFTER = re.compile(
    r"\s*年(?:级|前|后|来|间|以|代|多|历|之|里|内|左右|期|有余|未|时间|如|漫长|光阴|岁月|陈"
    r"|的(?:历史|时间|经验|婚姻|积累|传统))"
)


def _short_year(match: re.Match[str]) -> str:
    """Two digits before 年 or 后: a year, 98年, 52年3月, 05年; or how many years, 等了60年, 80年代."""
    number, before, after = match[0], match.string[: match.start()], match.string[match.end() :]
    span = _SPAN_AFTER.match(after)
    year = _YEAR_FOLLOWED.match(after) or re.search(r"(?:生于|['’])\s*$", before) or number[0] == "0"
    likely = number[0] in "6789" and not _SPAN_BEFORE.search(before)
    return _year(number) if not span and (year or likely) else number


def _date(match: re.Match[str]) -> str:
    month, day = match["month"], match["day"]
    return f"{_year(match['year'])}年{cardinal(month)}月{cardinal(day)}{match['called'] or '日'}"


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
    """A hyphen or brackets between groups become a pause, blanks do not; 转 leads to an extension."""
    number, _, extension = match[0].partition("转")
    spoken = ",".join(filter(None, (digits(group) for group in re.split(r"[-()]", number))))
    return f"{spoken}转{digits(extension)}" if extension else spoken


def _code(match: re.Match[str]) -> str:
    """Digits after a word for a code, one by one; the number of a thing in a row has 一 for 1."""
    one = "一" if re.match("编号|編號|序号|序號", match["word"]) else "幺"
    spoken = re.sub(r"\d+", lambda m: digits(m[0], one), match["codes"])
    return match["word"] + spoken.replace("+", "").replace("-", ",")


def _money(match: re.Match[str]) -> str:
    name, scale = _CURRENCIES[match["symbol"]], match["scale"]
    number = re.sub(r"\.00?$", "", match["n"])
    if scale in SCALES:
        number, scale = scaled(number, SCALES[scale]), ""
    return _number(number) + scale + (name.removesuffix("元") + match["said"] if match["said"] else name)


def scaled(number: str, power: int) -> str:
    """The digits of a number times a power of ten: 1.5 and 6 give 1500000."""
    whole, _, fraction = number.replace(",", "").partition(".")
    moved = fraction.ljust(power, "0")
    rest = moved[power:].rstrip("0")
    return whole + moved[:power] + (f".{rest}" if rest else "")


def _money_range(match: re.Match[str]) -> str:
    """$5-$10 and $5-10, the currency said with the second."""
    first = f"{match['symbol']}{match['a']}" if match["again"] else _number(match["a"])
    return f"{first}到{match['symbol']}{match['b']}"


def _percentage(match: re.Match[str]) -> str:
    """Per cent or per mille; between two of them stands 至."""
    share = ("千" if match["mark"] == "‰" else "百") + "分之" + _number(match["n"])
    return ("负" if match["sign"] else "") + share + ("至" if match["to"] else "")


def _percent_range(match: re.Match[str]) -> str:
    """10-20%: both are per cent."""
    share = ("千" if match["mark"] == "‰" else "百") + "分之"
    return f"{share}{_number(match['a'])}到{share}{_number(match['b'])}"


def _degrees(match: re.Match[str]) -> str:
    scale = "华氏" if re.search("[F℉华]", match["unit"]) else ""
    below = "零下" if match["sign"] else ""
    return f"{scale}{below}{_number(match['n'])}度"


_PLAIN_TWO = "日号號级級楼樓届屆两兩度期代版折成课課毫"
"""Before these 2 is 二: what they count is numbered, or a unit."""


def _counted(match: re.Match[str]) -> str:
    """A number before a measure word: 2 alone is 两."""
    number = match["number"]
    if re.match(r"0\d", number):
        return digits(number, one="一") + match["word"]
    two = number == "2" and match["word"][0] not in _PLAIN_TWO
    return ("两" if two else _number(number)) + match["more"].replace("+", "多") + match["word"]


def _counted_range(match: re.Match[str]) -> str:
    """2-3天: the first number is counted too."""
    two = match["a"] == "2" and match["word"] and match["word"][0] not in _PLAIN_TWO
    return ("两" if two else _number(match["a"])) + "到"


def _bare(match: re.Match[str]) -> str:
    """A number without measure word: three digits and more are codes, read one by one."""
    number = match[0]
    code = len(number) >= 3 and not number.endswith("00" if len(number) < 7 else "000")
    if code or (number.startswith("0") and len(number) > 1):
        return digits(number)
    return cardinal(number)


def _raised(power: str) -> str:
    """-3 as 的负三次方."""
    return f"的{'负' if power[0] in '-−' else ''}{cardinal(power.lstrip('+-−'))}次方"


def _power(match: re.Match[str]) -> str:
    sign, number = re.fullmatch(r"([⁺⁻]?)(.*)", match[0]).groups()  # type: ignore[union-attr]
    value = "N" if number == "ⁿ" else cardinal(unicodedata.normalize("NFKC", number))
    return f"的{'负' if sign == '⁻' else ''}{value}次方"


_PER = "元角块分里米克斤升吨次人个天时卡焦瓦度"
"""Last characters of what is counted per something: 元/斤."""
_N = r"\d+(?:,\d{3})*(?:\.\d+)?"
_TO = r"\s*[-–—−~～]\s*"
"""Marks between the ends of a range."""
_MONEY = "|".join(re.escape(sign) for sign in sorted(_CURRENCIES, key=len, reverse=True))
_SQUARES = "".join(_SQUARED)
_QUANTITY = (
    rf"°C|℃|℉|°F|°|%|‰|{UNIT_NAMES}|[{_SQUARES}]|[年月日号號时時]|点半|[点點](?:\d+分?)?|月\d+[日号號]|年\d+月(?:\d+[日号號])?"
    rf"|[万萬亿億千百]+[{HAN}]?|{_MEASURE_WORDS}"
)
_CODE_WORDS = _any(
    "编号 編號 序号 序號 号码 號碼 编码 編碼 代码 代碼 密码 密碼 验证码 驗證碼 校验码 识别码 激活码 邀请码 "
    "邀請碼 取件码 取货码 提货码 兑换码 动态码 确认码 口令 暗号 工号 學號 学号 卡号 卡號 账号 帳號 帐号 户号 "
    "戶號 单号 單號 流水号 车牌号? 車牌號? 房号 房間號 房间号 座位号 邮编 郵編 邮政编码 郵政編碼 区号 區號 "
    "分机号? 內線 航班号? 航班號? 车次 車次 车号 票号 序列号 身份证号? 身份證號? 护照号? 批号 货号 型号 型號 "
    "桌号 群号 微信号? QQ号? 电话号? 電話號? 手机号? 手機號? 固话 座机 热线 熱線 传真 傳真 拨打 撥打 致电 致電 "
    "尾号 尾號 门牌号? 門牌號? 考号 准考证号? 证号 代号 代號 股票代码 会议号 房间密码 条形码 条码 快递号 订单号? "
    "訂單號? 运单号? 频道号 呼号 学籍号 拨 "
)
_DAYS = "周|星期|礼拜|週|禮拜"
_COUNTED_THINGS = "年月日号度元个天人章节页层楼"
_AIRCRAFT = _any("歼 轰 运 直 强 水 东风 长征 神舟 天舟 嫦娥 天宫 快舟 巨浪 红旗 天问 问 玉兔 苏 米格 图 鲲龙 伊尔")
"""Names that a hyphen joins with a number: 歼-20."""
_BEFORE_SCORES = "(?:比分|比数|结果|总分|成绩|[上下半全终]场|[首次末]局|[一二三四五]局)(?:[是为以:：]|暂时)?|以"
_AFTER_SCORES = _any(
    "战胜 击败 战平 打平 落后 领先 取胜 获胜 险胜 大胜 完胜 小胜 告负 惜败 不敌 负于 逆转 淘汰 横扫 击退 力克 赢 输 胜 "
    "戰勝 擊敗 戰平 打平 落後 領先 獲勝 險勝 大勝 完勝 贏 輸 勝"
)
"""A hyphen between the points of two sides: 结果是2-1, 3-1战胜."""
_HOURS = "(?:上午|下午|晚上|早上|中午|凌晨|傍晚|夜里|夜晚|清晨|次日|第二天|当天|下晝|上晝|夜晚)?"
_HAN_NUMBER = "零一二三四五六七八九十百千万亿两半"
_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<![\d.])(?P<year>\d{4})\s*[-/.年]\s*(?P<month>0?[1-9]|1[0-2])\s*[-/.月]\s*"
                r"(?P<day>0?[1-9]|[12]\d|3[01])(?!\d|\s*月)(?P<called>[日号號])?"), _date),
    (re.compile(rf"(?<![\d{HAN}A-Za-z%‰°℃℉.)）])[~～]\s*(?=[-−]?\d)"), lambda m: "约"),
    (re.compile(rf"(?<![A-Za-z\d.])({_N})[eE]([-−+]?\d{{1,3}})(?![A-Za-z\d.])"),
     lambda m: f"{_number(m[1])}乘十{_raised(m[2])}"),
    (re.compile(r"(?<=[\dA-Za-z)）])\^([-−+]?\d{1,3})(?!\d)"), lambda m: _raised(m[1])),
    # Codes and telephone numbers, before anything that counts.
    (re.compile(rf"(?P<word>(?:{_CODE_WORDS})[码碼号號]?[{HAN}]{{0,2}}?(?:就?[是为為係]|叫|有|[:：,，\s])*)"
                r"(?P<codes>\+?\d[\d -]*\d(?:(?:、|,|，|和|或|同|及|以及|或者|还有)\d[\d-]{2,})*"
                r"(?![\d.%‰℃:：/年月块元万亿]))"), _code),
    (re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"), _telephone),
    (re.compile(r"(?<!\d)(?:(?:\+?86[- ]?)?(?:0\d{2,3}[- ]|\(0\d{2,3}\)\s?)\d{3,4}[- ]?\d{4}|[48]00[- ]?\d{3}[- ]?\d{4}"
                r"|[48]00[- ]\d{4}[- ]\d{3})(?:[-转]\d{1,4})?(?![-\d])"), _telephone),
    (re.compile(r"(?<![\dA-Za-z.-])\d{1,4}(?:-\d{1,4}){2,}(?![\d-]|\s*[=.])"),  # a door: 3-2-501
     lambda m: ",".join(digits(group) if len(group) > 2 else digits(group, one="一") for group in m[0].split("-"))),
    (re.compile(r"(?<=\d)#(?=楼|樓|栋|棟|幢|机|機|线|線|炉|爐|门|門|库|庫|泵|井|车|車)"), lambda m: "号"),
    (re.compile(r"\d{3,4}(?=\s?(?:室|教室|病房|宿舍|包间|包厢|房间?(?!子|屋|贷|价)))"), lambda m: digits(m[0])),
    (re.compile(r"(?<![\d.])10\.1(?=国庆)"), lambda m: "十一"),
    (re.compile(r"[*＊](?=号键|號鍵)"), lambda m: "星"),
    (re.compile(r"(?<![\d.])\d{1,2}\.\d{1,2}(?=晚会|事件|地震|运动|事变|袭击|惨案|妇女节|劳动节|儿童节)"
                r"|(?<!\d)\d{1,2}[·•]\d{1,2}(?!\d)"),
     lambda m: digits(m[0], one="一")),
    # Ranges of years.
    (re.compile(rf"(?<![\d.])(?P<a>\d{{4}}){_TO}(?P<b>\d{{4}})(?=年)"), lambda m: f"{_year(m['a'])}到{_year(m['b'])}"),
    (re.compile(rf"(?<![\d.-])(?P<a>(?:1[89]|20)\d\d){_TO}(?P<b>(?:1[89]|20)\d\d)(?![\d.-]|\s*[{HAN}=])"),
     lambda m: f"{_year(m['a'])}到{_year(m['b'])}"),
    (re.compile(r"(?<!\d)((?:19|20)\d\d)\s*[-/–—]\s*((?:19|20)?\d\d)\s?(?=赛季|学年|年度|财年)"),
     lambda m: f"{_year(m[1])}到{_year(m[2])}"),
    # Ranges: a hyphen behind a quantity and before another is no sign.
    (re.compile(rf"(?P<symbol>{_MONEY})\s?(?P<a>{_N}){_TO}(?P<again>(?P=symbol)\s?)?(?P<b>{_N})"
                rf"(?!\s?(?:=|{_QUANTITY}))"),
     _money_range),
    (re.compile(rf"(?<![A-Za-z0-9.-])(?P<a>{_N}){_TO}(?P<b>{_N})\s*(?P<mark>[%‰])(?!\s*=)"), _percent_range),
    (re.compile(rf"(?P<a>{_N}\s?(?:%|‰))\s*[-–—−]\s*(?P<b>{_N}\s?(?:%|‰))(?=\s*=)"), lambda m: f"{m['a']}减{m['b']}"),
    (re.compile(rf"(?P<a>\d\s?(?:{_QUANTITY})){_TO}(?=(?P<sign>[-−])?(?:{_HOURS}|第|{_MONEY})\s?\d)"
                r"(?!\s*[-−]?[\d.]+\s*[%‰]?\s*=)"),
     lambda m: f"{m['a']}{'至' if re.search('[~～]', m[0]) and not re.search('[年月日号元]', m['a'][-1:]) else '到'}"),
    (re.compile(rf"(?<![A-Za-z0-9.])[-−]({_N}){_TO}(?:([-−])(?={_N}\s?(?:°C|℃|度|摄氏度))|(?={_N}\s?(?:°C|℃|度|摄氏度)))"),
     lambda m: f"零下{_number(m[1])}到{'零下' if m[2] else ''}"),
    (re.compile(rf"(\d+/\d+){_TO}(?=\d+/\d)"), lambda m: f"{m[1]}到"),
    (re.compile(rf"((?:{_BEFORE_SCORES})\s?)(\d+)\s*[-–—]\s*(\d+)(?![\d{_COUNTED_THINGS}])"
                rf"|(?<![\d.-])(?P<a>\d+)\s*[-–—]\s*(?P<b>\d+)(?=\s*(?:{_AFTER_SCORES}))"
                rf"|((?:{_AFTER_SCORES})了?[{HAN}]{{0,4}}?\s?)(\d{{1,3}})\s*[-–—]\s*(\d{{1,3}})(?!\s?(?:[\d.]|{_QUANTITY}))"),
     lambda m: f"{m['a']}比{m['b']}" if m["a"] else f"{m[1] or m[6]}{m[2] or m[7]}比{m[3] or m[8]}"),
    (re.compile(r"(血压\D{0,4})(\d{2,3})/(\d{2,3})"), lambda m: f"{m[1]}{cardinal(m[2])},{m[3]}"),
    (re.compile(r"(?<!\d)(\d{2,3})/(?=\d{2,3}\s?mmHg)"), lambda m: f"{cardinal(m[1])},"),
    (re.compile(r"(?<![A-Za-z\d.+])([1-9]\d*0)(?<!0000)\+(?!\s?[\dA-Za-z(（=])"), lambda m: f"{cardinal(m[1])}多"),
    (re.compile(rf"(?<=[年月日号號点天]){_TO}(?=(?:[次翌今明去后同当前][年月日天]|第二[年天]))"
                rf"|(?<=[第初][一二三四五六七八九十]){_TO}(?=[第初][一二三四五六七八九十])"),
     lambda m: "到"),
    (re.compile(r"(?<=\d)米(\d{2})(?!\d|\s?[厘公分])"), lambda m: f"米{digits(m[1], one='一')}"),
    (re.compile(rf"(?<![A-Za-z0-9./-])(?P<a>{_N}){_TO}(?={_N}\s?(?:(?P<word>{_MEASURE_WORDS})|{_QUANTITY}))"),
     _counted_range),
    (re.compile(rf"({_DAYS})([一二三四五六日天]){_TO}(?=(?:{_DAYS})?[一二三四五六日天](?!周))"),
     lambda m: f"{m[1]}{m[2]}到"),
    (re.compile(r"(?<![\d/.])(\d{1,2})/(\d{1,2})(?=月(?!的))"), lambda m: f"{cardinal(m[1])},{cardinal(m[2])}"),
    (re.compile(r"第(\d{1,2})/(\d{1,2})(?![\d/])"), lambda m: f"第{cardinal(m[1])},{cardinal(m[2])}"),
    (re.compile(r"(?<=[一二三四五六七八九十])[·•](?=[一二三四五六七八九十])"), lambda m: ""),
    # Years.
    (re.compile(r"(公元前?)(\d+)(?=年)"), lambda m: m[1] + (cardinal(m[2]) if len(m[2]) < 3 else _year(m[2]))),
    (re.compile(r"(?<!\d)\d{4}(?=\s*年(?!级|級|前|后|後|来|來|间|間|以|多)|[后後](?=[\u4e00-\u9fff]|$))"),
     lambda m: _year(m[0])),
    (re.compile(r"(?<![\d.])\d{2}(?=\s*(?:年|[后後](?=[\u4e00-\u9fff])))"), _short_year),
    (re.compile(r"(?<![\d.])\d[05](?=[后後](?![\u4e00-\u9fff]))"), lambda m: _year(m[0])),
    (re.compile(r"(?<!\d)(?:19|20)\d\d(?=\s?(?:[届屆]|[级級](?![别別台])|款|版|赛季|财年|财季|学年|奥运|世界杯|春晚|亚运))"),
     lambda m: _year(m[0])),
    (re.compile(r"(?<!\d)\d{3}(?=国道|省道|县道|國道|医院|部队)"), lambda m: digits(m[0])),
    # Times of day.
    (re.compile(r"(?P<hour>(?<!\d)[01]?\d|2[0-4])[:：](?P<minute>[0-5]\d)(?:[:：](?P<second>[0-5]\d))?(?![\d:：])"),
     _time),
    (re.compile(rf"(?<=[点分秒半])\s*[-–—−~～]\s*(?={_HOURS}[零一二两三四五六七八九十]+点)"), lambda m: "至"),
    (re.compile(r"(?P<a>\d+)\s*[:：]\s*(?P<b>\d+)"), lambda m: f"{cardinal(m['a'])}比{cardinal(m['b'])}"),
    (re.compile(rf"(?<=[{_HAN_NUMBER}年][{_COUNTED_THINGS}代])\s*[-–—−]\s*(?=第?[{_HAN_NUMBER}]+[{_COUNTED_THINGS}])"),
     lambda m: "到"),
    # Temperatures, money, shares.
    (re.compile(rf"(?P<sign>(?<![A-Za-z0-9°℃℉])[-−])?(?P<n>{_N})\s*(?P<unit>°\s?[CF]|℃|℉|摄氏度|华氏度|(?<=\d)度)"),
     lambda m: _degrees(m) if m["sign"] or m["unit"] != "度" else m[0]),
    (re.compile(rf"((?:(?<![A-Za-z0-9])[-−])?(?<![A-Za-z\d]){_N})\s?°(?!\s?[\dCF])"), lambda m: f"{_number(m[1])}度"),
    (re.compile(r"(\d)\s?°\s?(?:(\d+)\s?[′'])(?:\s?(\d+(?:\.\d+)?)\s?[″\"])?"),
     lambda m: f"{m[1]}度{_number(m[2])}分" + (f"{_number(m[3])}秒" if m[3] else "")),
    (re.compile(rf"(?P<symbol>{_MONEY})\s*(?P<n>{_N})\s?(?P<scale>[万亿千百]+|[kKmMbB](?![A-Za-z])|)(?P<said>元|块)?"),
     _money),
    (re.compile(rf"(?P<sign>(?<![A-Za-z0-9%‰])[-−])?(?P<n>{_N})\s*(?P<mark>[%‰])(?P<to>\s*[~～](?=\s*[-\d]))?"),
     _percentage),
    (re.compile(rf"(?P<a>{_N})\s*(?P<unit>{UNIT_NAMES})?\s*[~～]\s*(?P<b>{_N})"),
     lambda m: f"{_number(m['a'])}{_UNITS[m['unit']]}至{m['b']}" if m["unit"] else f"{_number(m['a'])}到{m['b']}"),
    (re.compile(rf"(?<![A-Za-z0-9.-])(?P<a>{_N})\s*[-–—]\s*(?P<b>{_N})(?!\s*[-=\d])"),
     lambda m: f"{_number(m['a'])}到{m['b']}"),
    (re.compile(rf"({_AIRCRAFT})[-–—](?=\d)"), lambda m: m[1]),
    (re.compile(rf"(?P<n>(?:(?<![A-Za-z0-9])[-−])?{_N})\s*(?P<unit>{UNIT_NAMES})(?![A-Za-z0-9/])"),
     lambda m: _number(m["n"]) + _UNITS[m["unit"]]),
    (re.compile(rf"[{_SQUARES}]"), lambda m: _SQUARED[m[0]]),
    (re.compile(rf"(?<=[{_PER}])/({UNIT_NAMES})(?![A-Za-z0-9])"), lambda m: f"每{_UNITS[m[1]]}"),
    (re.compile(r"(千|厘|毫|分|公)?米([²³])"), lambda m: ("平方" if m[2] == "²" else "立方") + (m[1] or "") + "米"),
    (re.compile(r"(?<=\d)\s*[*＊]\s*(?=\d)"), lambda m: "乘"),
    # Fractions and numbers of several parts.
    (re.compile(r"(?<![\d/])(\d+)(?:\s+|又)(?=\d+/\d)"), lambda m: f"{cardinal(m[1])}又"),
    (re.compile(r"(?<!\d)24/7(?!\d)"), lambda m: "二十四,七"),
    (re.compile(r"(?<![\d/])(?P<a>\d+)/(?P<b>\d+)(?=\s*=)"), lambda m: f"{cardinal(m['a'])}除以{cardinal(m['b'])}"),
    (re.compile(r"(?<![\d/.])(\d+\.\d+)/(\d+)(?![\d/])"), lambda m: f"{cardinal(m[2])}分之{_number(m[1])}"),
    (re.compile(r"(?<![\d/.])(?P<a>\d+)/(?P<b>\d+)(?![\d/])"), lambda m: f"{cardinal(m['b'])}分之{cardinal(m['a'])}"),
    (re.compile(r"\d+(?:\.\d+){2,}"), lambda m: "点".join(digits(part, one="一") for part in m[0].split("."))),
    (re.compile(r"(第\s*)(\d+)"), lambda m: "第" + cardinal(m[2])),
    (re.compile(rf"(?P<number>(?:(?<![A-Za-z0-9])[-−])?{_N})\s?(?P<more>[多余几+]?)(?P<word>{_MEASURE_WORDS})"),
     _counted),
    (re.compile(r"(?:(?<![A-Za-z0-9])[-−])?\d+(?:,\d{3})*\.\d+|(?<!\d)\.\d+"
                r"|(?<![A-Za-z0-9])[-−]\d+|\d{1,3}(?:,\d{3})+"),
     lambda m: _number(m[0])),
    (re.compile(r"\d+"), _bare),
    (re.compile(r"(?<=[一二三四五六七八九十百千万亿零\w])\s*-\s*(?=[一二三四五六七八九十])"), lambda m: "减"),
    # A power, but not the number of a note behind a word.
    (re.compile(rf"(?:(?<![㐀-鿿])(?<![A-Za-z]{{3}})|(?<=[{_HAN_NUMBER}派]))[⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+"), _power),
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
    text = re.sub(r"(?<=[一二三四五六七八九零〇])○+", lambda m: "零" * len(m[0]), text)
    if simplify:
        text = _simplifier().convert(text)
    text = short_dates.write_out(text, "zh", lambda month, day: f"{cardinal(str(month))}月{cardinal(str(day))}日", "到")
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
