"""The encoding of a text that does not say it: the one whose characters are most usual in such a text.

Bytes are decoded with each encoding that the supported languages are written in. charset-normalizer, the library for
this, read 71 of the 85 sentences of ``tests/stages/test_usertext.py`` rightly, even told these encodings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby

ENCODINGS = ("gb18030", "cp949", "cp932", "euc_jp", "big5", "big5hkscs")
WESTERN = {"cp1252": 1.0, "mac_roman": 0.9}
#: Least plausibility of a text, and of one whose language is known.
PLAUSIBLE, TOLD = 0.75, 0.6


def likeliest(data: bytes, told: Sequence[str] = ()) -> str:
    """Text of bytes that are no UTF-8, in the encoding in which it is most usual.

    Args:
        data: with zero bytes they are UTF-16.
        told: encodings of the language that it is in, where that is known.

    Returns:
        The text; empty: in no encoding is it usual enough.
    """
    if b"\0" in data:
        return _best(data, {"utf-16-le": 1.0, "utf-16-be": 1.0}, PLAUSIBLE)
    western = {encoding: weight * (0.75 if told else 1.0) for encoding, weight in WESTERN.items()}
    return _best(data, dict.fromkeys(told or ENCODINGS, 1.0) | western, TOLD if told else PLAUSIBLE)


def _best(data: bytes, weights: Mapping[str, float], least: float) -> str:
    """Text in the encoding in which it is most plausible, by its weight; empty: in none is it plausible enough."""
    best, score = "", 0.0
    for encoding, weight in weights.items():
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        found = weight * plausibility(text, encoding)
        if found > score:
            best, score = text, found
    return best if score >= least else ""


_OFTEN_HAN = frozenset(
    "一是人了不在有大中国和为这上他个地年来我会以到时要出的生学说道民家子也成行下们于后就发自之对得主长可过天作分方用多你着部能市等业全里工公经本都而高政法面门动日进区事代那去心小同北定开产前其军还然起种所如现理机体表"
    "力好外与文当两实重新三么只山水关明从化平建又制南内西没此将员名手最东头者月间无安看见各城十相但已些正口通想度加第她合院物性战由位常点海意场武使次二向治因立数样身情入原问把路被并利石老教万知级量任江及应省资委务元美"
    "特期世湖回系比气汉总展电科金先声提品设或义王社很统处四首共马形己儿司太目基领队直计别女权话少流命至报米给打变果书清活几州华解议更称程今决张导术府才保交放管结师便走达族反再题色五京河接条规式县白它改风光运信受什组听"
    "布百济党指论强做取技黄神选记斯真却职号界件花类何眼兵传带空干农边据集联古广完质阳难增历史专官每住商即步认车台林必死游举线言皇土团收考求德叫近备研争非具李众连调感转笑革该持始英克士尔让拉思根格造较际亲单朝红型价校约"
    "器字段周亚深候则功属积快图火千准究往极育装许参半令吃观鱼精办像帝八复影告远群包整构料随划算象容示投势热值夫网望源息语股铁断派速怎需片爱律纪支早况病境证编越局推满且列觉服双未居除乐企引标确织初青吗呢吧啊哦嗯谢请您咱"
    "谁喜欢喝妈爸哥姐弟妹昨晚忙累饭茶钱买卖店跑猫狗雨雪冷春夏秋冬漂亮银桌椅窗哭讲唱歌菜肉鸡蛋爷奶孩班课笔衣鞋帽医忘懂睡床休慢贵宜嘴脸睛耳腿脚绿蓝黑楼飞票站街试验码签录音测简短佢哋嘅喺咗唔咁噉嚟嘢咩冇啲𠮶咪啱瞓攞揾嚿啩"
    "㖞啰嘥晒乜畀俾嗌攰靓嬲咀呎吋気円駅読楽々私仆彼売饮食森田川岛村井藤沢辺広桜仏図馆曜昼夜赤黒男友犬鸟酒屋室"
)
"""Characters that are common in Chinese and Japanese; traditional ones in their simplified form."""
_OFTEN_HANGUL = frozenset(
    "가간갈감값갓갔강같개거걸것게견계고곱과관괜구국귀그금기긴길김까꺼꺾꼭꽃꿈끓끝끼나난날남났내냈냐너넓네녁년녕노놓누눈는늘늦니님다단닫달담답당대더던덟데도돌동됐되된될됩두뒤드든들등디따딸땀땅때떠떡떤떨떻뛰뜨뜻라락람랑"
    "래량러렇레려력련렸례로록론료루류률르른를름릇릉리린립마막만말맛망맞매맥먹먼멀멈멋며면명몇모목못무문묻물뭐미민믿밀및바박밖반밤밥방배백번벌범법벗베벽변별병보복본볼봐부북분불붙비빈빛빠빨빵뿐사산살삼상새색생서석선설섬"
    "섯성세셔셨소속송쇠수숙순술쉬쉽슬습승시식신실싫십싶쌀써쏘쓰쓸씀씨아악앉않알압았앞애액야약얇양어억언얼엄업엇었엌에엔여역연열였영옆예옛오옥온올옮옵와완왔왕왜외요욕용우욱운울웃원월웠위윗육윤으은을음읍응의이익인일읽잃"
    "임입있자작잔잘잠잡잤장재쟁저적전절점접정제져졌조존좀종좋좌죠주죽준줄중줬증지직진질짐집짓짜째쩌쪽찍차착찬찮찰참찻창찾채책처척천철첫청체초총최추축춘출충취층치친칠침칭카칼컴켜코콩쿠크큰클큼타탁탄탈탔태택터턴텔템토통"
    "퇴투특튼틀팀파판팔패편평폐포폰표푸품풍프플피핀필핑하학한할함합항해했행향허혀현혔형호혼홀홍화환활황회후훌훨휴흔흥희히힘"
)
"""Syllables that are common in Korean."""
_LETTER_IN_MARKS = re.compile(r"[a-z][–—“”…£§°¿¡«»][a-z]")
"""A mark inside a word: letters of another encoding."""


def plausibility(text: str, encoding: str) -> float:
    """How usual the characters outside ASCII are in texts of this encoding, 0 to 1.

    Each double-byte code keeps its frequent characters in a block of their own (GB 2312 and JIS X 0208 level 1, the
    syllables of KS X 1001); bytes of another code land outside of it soon, and on characters that are rarely written.
    """
    usual = _USUAL.get(encoding, _western)
    total, found, before = 0, 0.0, ""
    for ascii_, characters in groupby(text, str.isascii):
        run = "".join(characters)
        if not ascii_:
            total += len(run)
            found += usual(run) if _may_follow(before, run, encoding) else 0
        before = run[-1]
    if usual is _western:
        found -= len(_LETTER_IN_MARKS.findall(text))
    return found / total if total else 1.0


def _may_follow(before: str, run: str, encoding: str) -> bool:
    """False inside a word, "ItÕs" and "Don稚": a capital letter, or a single eastern character."""
    if encoding in _USUAL:
        return encoding.startswith("utf") or not (before.isalpha() and len(run) == 1)
    return not (before.islower() and run[0].isupper())


@cache
def _simplifier() -> Callable[[str], str]:
    from opencc import OpenCC

    convert: Callable[[str], str] = OpenCC("t2s").convert
    return convert


def _in_rows(encoding: str, often: frozenset[str], *rows: tuple[int, int, float]) -> Callable[[str], float]:
    """How usual the characters of a run are: often written, or by their rows (lead bytes) of a double-byte code."""

    def count(run: str) -> float:
        plain = _simplifier()(run) if often is _OFTEN_HAN else run
        return sum(map(rate, run, plain if len(plain) == len(run) else run))

    def rate(character: str, plain: str) -> float:
        if plain in often:
            return 1.0
        code = (plain if encoding == "gb2312" else character).encode(encoding, "ignore")
        return max((weight for first, last, weight in rows if code and first <= code[0] <= last), default=0.0)

    return count


def _western(run: str) -> float:
    """Accented letters and typographic marks stand alone or in twos between plain letters."""
    if len(run) > 2 or (run[0].islower() and run[-1].isupper()):
        return 0.0
    usual = [character for character in run if character.isalpha() or character in "‘’“”–—…€£°§«»¿¡·"]
    return len(usual) * (1.0 if len(run) == 1 else 0.8)


def _unicode(run: str) -> float:
    """Without a mark of its byte order a text is in Unicode if it is usual in any of the codes."""
    return max(count(run) for count in (_USUAL["gb18030"], _USUAL["cp932"], _USUAL["cp949"], _western))


_USUAL = {
    "gb18030": _in_rows("gb2312", _OFTEN_HAN, (0xA1, 0xA1, 1), (0xA3, 0xA3, 1), (0xB0, 0xD7, 0.8)),
    "cp932": _in_rows("cp932", _OFTEN_HAN, (0x81, 0x83, 1), (0x87, 0x97, 0.8), (0xA1, 0xDF, 0.65)),
    "euc_jp": _in_rows("euc_jp", _OFTEN_HAN, (0xA1, 0xA1, 1), (0xA3, 0xA5, 1), (0xB0, 0xCF, 0.8)),
    "cp949": _in_rows(
        "cp949",
        _OFTEN_HANGUL,
        (0x81, 0xA0, 0.65),
        (0xA1, 0xA1, 1),
        (0xA3, 0xA3, 1),
        (0xB0, 0xC8, 0.8),
        (0xCA, 0xFD, 0.5),
    ),
    "big5": _in_rows("big5", _OFTEN_HAN, (0xA1, 0xA3, 1), (0xA4, 0xC6, 0.8)),
    "big5hkscs": _in_rows("big5hkscs", _OFTEN_HAN, (0x87, 0xA0, 0.75), (0xA1, 0xA3, 1), (0xA4, 0xC6, 0.8)),
    "utf-16-le": _unicode,
    "utf-16-be": _unicode,
}
