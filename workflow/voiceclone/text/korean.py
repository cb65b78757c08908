"""Korean front end: normalise, apply the standard pronunciation, one symbol per jamo.

The rules are those of the Standard Pronunciation (표준 발음법, National Institute of Korean Language); their numbers
stand at the code. Where a rule asks for the part of speech (stems, adnominal endings) the few stems and endings that
decide are listed; a user's lexicon has the rest. Diphthongs are written as two symbols (ㅑ as ㅣ ㅏ), a blank is 空 and
a character without a sound 停, as the public models were trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from voiceclone.text.korean_normalise import normalise, unread
from voiceclone.text.symbols import PUNCTUATION

__all__ = ["normalise", "respell", "to_symbols", "unread"]

BLANK, STOP = "空", "停"

_ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_CODAS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_SPLIT = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ", "ㅢ": "ㅡㅣ", "ㅑ": "ㅣㅏ",
    "ㅒ": "ㅣㅐ", "ㅕ": "ㅣㅓ", "ㅖ": "ㅣㅔ", "ㅛ": "ㅣㅗ", "ㅠ": "ㅣㅜ", "ㄳ": "ㄱㅅ", "ㄵ": "ㄴㅈ", "ㄶ": "ㄴㅎ",
    "ㄺ": "ㄹㄱ", "ㄻ": "ㄹㅁ", "ㄼ": "ㄹㅂ", "ㄽ": "ㄹㅅ", "ㄾ": "ㄹㅌ", "ㄿ": "ㄹㅍ", "ㅀ": "ㄹㅎ", "ㅄ": "ㅂㅅ",
}  # fmt: skip
_TENSE = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))
_ASPIRATED = dict(zip("ㄱㄷㅂㅈ", "ㅋㅌㅍㅊ", strict=True))
_CLUSTERS = {
    cluster: (pair[0], pair[1]) for cluster, pair in _SPLIT.items() if pair[0] in "ㄱㄴㄹㅂ" and pair[1] not in _VOWELS
}
# Rules 8 to 11: the seven sounds that end a syllable.
_FINAL = {
    "ㄲ": "ㄱ", "ㅋ": "ㄱ", "ㄳ": "ㄱ", "ㄺ": "ㄱ", "ㅅ": "ㄷ", "ㅆ": "ㄷ", "ㅈ": "ㄷ", "ㅊ": "ㄷ", "ㅌ": "ㄷ",
    "ㅎ": "ㄷ", "ㅍ": "ㅂ", "ㅄ": "ㅂ", "ㄿ": "ㅂ", "ㄵ": "ㄴ", "ㄶ": "ㄴ", "ㄼ": "ㄹ", "ㄽ": "ㄹ", "ㄾ": "ㄹ",
    "ㅀ": "ㄹ", "ㄻ": "ㅁ",
}  # fmt: skip
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}

# Rule 24: verb stems in ㄴ and ㅁ before the endings that cannot be another word.
_TENSE_STEMS = re.compile(
    r"(?:[품뿜넘심담참감굶닮젊옮곪숨듬신남검금]|(?<=껴)안|(?<=끌어)안)"
    r"(?=다(?:[가는니면며.,!? ]|$)|게(?![가-힣])|더[라니]|던)"
    r"|(?<=[발말두화][을를] )신(?=고(?![가-힣]))"
    r"|(?:[넘담품뿜굶닮젊옮곪듬삶감남숨]|(?<=껴)안|(?<=끌어)안|(?<=[을를] )안)(?=고(?![가-힣])|지(?:[는도만 ]|$))"
)
# Rule 27: bound nouns after an adnominal ending in ㄹ, and endings that begin with ㄹ.
_AFTER_ADNOMINAL = re.compile(
    r"(?<!를) (?=(?:수(?:[가는도를]|밖에|조차)?|것[가-힣]*|거(?:[야다라]|[예에]요|든요?|니까?|지요?)?"
    r"|건|걸(?:요)?|겁[가-힣]*|게|데(?:[가는도를]|에)?|바(?:[가는도를]|에)?|줄(?:[은을도]|로)?|듯[가-힣]*|적[에은이도]?|곳[가-힣]*"
    r"|사람[가-힣]*)(?![가-힣]))"
)
_WITHIN_ENDING = re.compile(r"(?=(?:게요?|걸요?)(?![가-힣])|밖에|세라|수록|지라도|지언정|진대)")
# Rule 20: words in which ㄴ before ㄹ stays and ㄹ becomes ㄴ.
_NASAL_WORDS = re.compile(
    "(?:의견|임진|생산|결단|공권|동원|상견|횡단|이원|입원|구근|음운|판단|추진)(?=[란량력령례로론료류])"
)
# Rule 29: compounds in which ㄴ comes before 이, 야, 여, 요, 유.
_ADDED_N = re.compile(
    "(?:꽃|나뭇|깻|솔|풀|콩|연)(?=잎)|담(?=요)|한(?=여름)|색(?=연필)|홑(?=이불)|막(?=일)|첫(?=여름)|물(?=엿)|[십백천만](?=육)|(?:알|물|내복|소독)(?=약)"
    "|(?:식용|휘발|윤활)(?=유)|(?:급행|직행|완행)(?=열차)|신(?=여성)|콩(?=엿)|영업(?=용)|눈(?=요기)"
    "|솜(?=이불)|맨(?=입)|삯(?=일)|늑막(?=염)|금(?=융)|검(?=열)|서른(?=여섯)|스물(?=여섯)|밤(?=윷)|설(?=익)|불(?=여우)"
    "|(?:서울|부산|강남|용산|대전|수원|광명|시청|잠실|신촌|종각|역삼)(?=역)"
)
# Rules 26 and 28: words in which a consonant becomes tense though its neighbour is voiced.
_TENSE_WORDS = re.compile(
    "갈(?=[등증])|발(?=[동전]|바닥)|절(?=도)|말(?=살)|불(?=소|세출)|일(?=시)|물(?=질|동이)|몰(?=상식)|문(?=고리)|눈(?=동자)"
    "|신(?=바람)|산(?=새)|손(?=재주)|길(?=가)|굴(?=속)|술(?=잔)|바람(?=결)|그믐(?=달)|아침(?=밥)|잠(?=자리)|강(?=가|줄기)"
    "|초승(?=달)|등(?=불)|창(?=살)|[글문한](?=자(?![가-힣]|[를가는에의로])|자[를가는에의로](?![가-힣]))|헌(?=법)|문(?=법)|인(?=기(?!관|계|척))"
    "|성(?=격)|인(?=권)|증(?=권)|결(?=[정심과석])|일(?=[정등])|활(?=[동성자])|실(?=[수제시천])|출(?=[장신석])|열(?=정)"
    "|[칠팔](?=십)"
)
# Rule 15: words in which a consonant ends its syllable before a vowel that begins a word: 맛없다 is 마덥따.
_CUT = re.compile(
    "맛(?=없)|첫(?=인상|아이|아기|애(?!국)|음절|얼음)|겉(?=옷|웃)|헛(?=웃|일)|넋(?=없)|값(?=어치|있|없)|웃(?=어른|옷)|젖(?=어미)"
)
_LETTER_NAMES = {"귿": "ㅅ", "읒": "ㅅ", "읓": "ㅅ", "읕": "ㅅ", "읗": "ㅅ", "읔": "ㄱ", "읖": "ㅂ"}  # rule 16
_NOUNS_IN_LG = "닭흙칡슭삵"


@dataclass
class _Syllable:
    """One written syllable on its way to its sound; ``onset`` ㅇ and an empty ``coda`` are silent.

    Attributes:
        written: the character.
        tense: whether the consonant after it becomes tense by a rule that knows the word.
        keeps_n: whether a ㄹ after its ㄴ becomes ㄴ.
        cut: whether its coda sounds as at the end of a word, also before a vowel.
    """

    written: str
    onset: str
    vowel: str
    coda: str
    tense: bool = False
    keeps_n: bool = False
    cut: bool = False


def _decompose(text: str) -> list[_Syllable | str]:
    items: list[_Syllable | str] = []
    for character in text:
        number = ord(character) - 0xAC00
        if 0 <= number < 11172:
            onset, rest = divmod(number, 588)
            vowel = _VOWELS[rest // 28]
            if vowel == "ㅢ" and _ONSETS[onset] != "ㅇ":  # rule 5.3
                vowel = "ㅣ"
            items.append(_Syllable(character, _ONSETS[onset], vowel, _CODAS[rest % 28]))
        else:
            items.append(character)
    return items


def _mark_words(text: str, items: list[_Syllable | str]) -> None:
    """Note at the syllables what only the word can tell."""
    for pattern in (_TENSE_STEMS, _TENSE_WORDS):
        for match in pattern.finditer(text):
            stem = items[match.end() - 1]
            if isinstance(stem, _Syllable):
                stem.tense = True
    for pattern in (_AFTER_ADNOMINAL, _WITHIN_ENDING):
        for match in pattern.finditer(text):
            before = items[match.start() - 1] if match.start() else ""
            if isinstance(before, _Syllable) and before.coda == "ㄹ":
                before.tense = True
    for match in _ADDED_N.finditer(text):
        after = items[match.end()]
        if isinstance(after, _Syllable):
            after.onset = "ㄴ"
    for match in _CUT.finditer(text):
        before = items[match.end() - 1]
        if isinstance(before, _Syllable):
            before.cut = True
    for match in _NASAL_WORDS.finditer(text):
        before = items[match.end() - 1]
        if isinstance(before, _Syllable):
            before.keeps_n = True


def respell(text: str) -> str:
    """Normalised text as it sounds, in Hangul: 국물이 → 궁무리. What is not Hangul stays."""
    return "".join(item if isinstance(item, str) else _compose(item) for item in _sounds(text))


def _compose(syllable: _Syllable) -> str:
    number = _ONSETS.index(syllable.onset) * 588 + _VOWELS.index(syllable.vowel) * 28 + _CODAS.index(syllable.coda)
    return chr(0xAC00 + number)


def _sounds(text: str) -> list[_Syllable | str]:
    items = _decompose(text)
    _mark_words(text, items)
    for position, item in enumerate(items):
        if isinstance(item, str):
            continue
        after = items[position + 1] if position + 1 < len(items) else ""
        if isinstance(after, _Syllable):
            _meet(item, after, blank=False)
            continue
        beyond = items[position + 2] if after == " " and position + 2 < len(items) else ""
        if isinstance(beyond, _Syllable) and beyond.onset != "ㅇ":
            _meet(item, beyond, blank=True)
        item.coda = _FINAL.get(item.coda, item.coda)
    for item in items:
        if isinstance(item, _Syllable) and item.onset in "ㅈㅉㅊ" and item.vowel == "ㅕ":  # rule 5.1
            item.vowel = "ㅓ"
    return items


def _meet(first: _Syllable, second: _Syllable, blank: bool) -> None:
    """Change the coda of a syllable and the onset of the next as they sound together."""
    if not first.coda:
        return
    if second.onset == "ㅇ":
        _link(first, second)
    elif second.onset == "ㅎ":
        _aspirate(first, second, blank)
    elif first.coda in "ㅎㄶㅀ" and second.onset in "ㄱㄷㅈㅅ":  # rule 12.1, 12.2
        second.onset = "ㅆ" if second.onset == "ㅅ" else _ASPIRATED[second.onset]
        first.coda = {"ㅎ": "", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}[first.coda]
    else:
        _assimilate(first, second, blank)


def _link(first: _Syllable, second: _Syllable) -> None:
    """Rules 12.4, 13, 14, 17: the coda, or its second part, begins the next syllable."""
    coda = first.coda
    if coda == "ㅇ":
        return
    if first.cut:
        first.coda, second.onset = "", _FINAL.get(coda, coda)
        return
    if first.written in _LETTER_NAMES:
        first.coda, second.onset = "", _LETTER_NAMES[first.written]
        return
    if coda in "ㄷㅌㄾ" and second.vowel in "ㅣㅕ":
        first.coda, second.onset = ("ㄹ" if coda == "ㄾ" else ""), ("ㅈ" if coda == "ㄷ" else "ㅊ")
    elif coda in "ㅎㄶㅀ":
        first.coda = ""
        second.onset = {"ㅎ": "ㅇ", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}[coda]
    elif coda in _CLUSTERS:
        first.coda, moved = _CLUSTERS[coda]
        second.onset = "ㅆ" if moved == "ㅅ" else moved
    else:
        first.coda, second.onset = "", coda


def _aspirate(first: _Syllable, second: _Syllable, blank: bool) -> None:
    """Rules 12.1, 17: an obstruent and ㅎ melt into an aspirated consonant."""
    coda = first.coda
    if not blank and coda in "ㄷㅌ" and second.vowel in "ㅣㅕ" and second.coda in ("", "ㄴ", "ㄹ", "ㅁ", "ㅆ"):
        first.coda, second.onset = "", "ㅊ"
        return
    if coda in ("ㄺ", "ㄼ", "ㄵ"):
        first.coda, coda = _CLUSTERS[coda]
        second.onset = _ASPIRATED[coda]
        return
    sound = coda if coda == "ㅈ" else _FINAL.get(coda, coda)
    if sound in _ASPIRATED:
        first.coda, second.onset = "", _ASPIRATED[sound]
    else:
        first.coda = sound


def _assimilate(first: _Syllable, second: _Syllable, blank: bool) -> None:
    """Rules 10, 11, 18 to 20, 23 to 25, 27: two consonants that meet."""
    coda, onset = first.coda, second.onset
    stem_tense = first.tense or coda in "ㄵㄾ" or (coda == "ㄼ" and first.written != "덟")
    if coda == "ㄺ" and onset in "ㄱㄲ" and first.written not in _NOUNS_IN_LG:
        first.coda, second.onset = "ㄹ", "ㄲ"
        return
    kept_b = first.written == "밟" or (first.written == "넓" and second.written in "죽적둥")
    sound = "ㅂ" if kept_b else _FINAL.get(coda, coda)
    if sound in _NASAL:
        if onset in "ㄴㅁ":
            sound = _NASAL[sound]
        elif onset == "ㄹ":
            sound, onset = _NASAL[sound], "ㄴ"
        else:
            onset = _TENSE.get(onset, onset)
    elif sound in "ㅁㅇ" and onset == "ㄹ":
        onset = "ㄴ"
    elif sound == "ㄴ" and onset == "ㄹ":
        sound, onset = ("ㄴ", "ㄴ") if first.keeps_n else ("ㄹ", "ㄹ")
    elif sound == "ㄹ" and onset == "ㄴ" and not (blank and first.written in "을를"):
        onset = "ㄹ"
    elif stem_tense:
        onset = _TENSE.get(onset, onset)
    first.coda, second.onset = sound, onset


def to_symbols(text: str, lexicon: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Symbols of normalised Korean text.

    Args:
        text: as :func:`normalise` returns it.
        lexicon: word to the Hangul in which it sounds, before the rules.

    Returns:
        Jamo (a silent onset is ㅇ), 空 for a blank, marks, 停 for anything else; a text that ends in a jamo gets a
        full stop.
    """
    for word in sorted(lexicon, key=len, reverse=True):
        text = text.replace(word, "".join(lexicon[word]))
    symbols: list[str] = []
    for item in _sounds(text):
        if isinstance(item, _Syllable):
            symbols += [item.onset, *_SPLIT.get(item.vowel, item.vowel), *item.coda]
        elif item == " ":
            symbols.append(BLANK)
        elif item in PUNCTUATION:
            symbols.append(item)
        elif "ㄱ" <= item <= "ㅣ":
            symbols += _SPLIT.get(item, item)
        else:
            symbols.append(STOP)
    if symbols and "ㄱ" <= symbols[-1] <= "ㅣ":
        symbols.append(".")
    return tuple(symbols)
