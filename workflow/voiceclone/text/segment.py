"""Text to runs of one language each: by script and, for characters that Chinese and Japanese share, by evidence.

The modes are those of GPT-SoVITS (:data:`voiceclone.languages.MODES`). Where that asks a
statistical model of language identification, which takes short Chinese for Japanese now and then, this looks for
characters that only one of the languages writes, and lets neighbours decide the rest.
"""

from __future__ import annotations

import re

from voiceclone.languages import HAN, HANGUL, IN_LATIN, KANA, LANGUAGES, LATIN, MODES
from voiceclone.text.mandarin_normalise import MONEY_LETTERS, UNIT_NAMES

Run = tuple[str, str]
"""Language and text."""

_EAST = rf"{HAN}{KANA}{HANGUL}"
_ADDRESS = r"(?:https?://|www\.)[A-Za-z\d._~/?#@!$&'*+=%:-]*[A-Za-z\d/]"
_ENGLISH = re.compile(
    rf"{_ADDRESS}|[{LATIN}](?:[{LATIN}\d]|['’&](?=[{LATIN}])|[-._@/](?=[{LATIN}\d])|\++(?![{LATIN}\d])"
    rf"|(?<![{LATIN}].)(?<=[A-GJX])#(?![{LATIN}\d])"
    rf"|[,.!?;:]?\s+(?=[{LATIN}])|\s+(?=\d))*"
)
_CODE = re.compile(rf"(?<=[{LATIN}])(?:\d{{3,}}|\d+\.\d+)$")
"""A long number at the end of letters, which is read in the language around it: abc123, PM2.5."""
_LAST_NUMBER = re.compile(r"(\s*)\d[\d.,:]*$")
_UNIT = re.compile(
    r"(?:km/h|m/s|[kcm]?m[²³23]?|[km]?g|m?[lL]|[hs]|ms|min|[kMG]?Hz|[kM]?Wh?|V|d[Bb]|[KMGT]B|mmHg|rpm)(?![A-Za-z])"
)
_CHINESE_UNIT = re.compile(rf"(?:{UNIT_NAMES})(?![A-Za-z0-9])")
_UNIT_BEFORE = re.compile(r"\d\s?[°μ]?$")
_CHINESE_MONEY = re.compile(rf"(?:{MONEY_LETTERS})(?=\s?\d)")
_SCALE_OF_MONEY = re.compile(r"[kKmMbB](?![A-Za-z0-9])")
_EAST_IN_LATIN = re.compile(rf"\d*[{_EAST}](?:[{_EAST}\d，。！？、；：％%.]|\s+(?=[{_EAST}]))*")
_SCRIPTS = re.compile(
    rf"\d*[{HANGUL}][^{HAN}{KANA}]*|\d*[{HAN}{KANA}][^{HANGUL}]*|[^{_EAST}]+?(?=\d*[{_EAST}])|[^{_EAST}]+"
)
_CLAUSES = re.compile(r"[^，。、！？；：,!?;:…\n]*[，。、！？；：,!?;:…\n]*")
_SENTENCE_END = re.compile(r"[。！？!?\n]\W*$")
_FOREIGN = {
    code: "".join(script for script in (HAN, KANA, HANGUL) if script not in row.scripts)
    for code, row in LANGUAGES.items()
}
"""Eastern scripts that a language does not write itself."""
_CHINESE = frozenset("你您她们们这哪吗呢吧啊哦很哋佢嘅喺唔咁噉嚟嘢咩")
"""Characters of everyday Chinese that Japanese hardly writes, though its character set may have them."""


def _in(charset: str, character: str) -> bool:
    return bool(character.encode(charset, errors="ignore"))


def evidence(text: str) -> str:
    """``zh`` or ``ja`` if something in the text is written in that language alone, else the empty string.

    A character that Japan's character set (JIS X 0208) lacks is Chinese; one that only it has is Japanese.
    """
    if re.search(f"[{KANA}]", text):
        return "ja"
    if any(c in _CHINESE or not _in("shift_jis", c) for c in re.findall("[\u4e00-\u9fff]", text)):
        return "zh"
    return "ja" if any(map(_is_japanese, re.findall(f"[{HAN}]", text))) else ""


def _is_japanese(character: str) -> bool:
    return character == "々" or (
        _in("shift_jis", character) and not (_in("gb2312", character) or _in("big5", character))
    )


def _is_simplified(character: str) -> bool:
    return _in("gb2312", character) and not _in("shift_jis", character)


def split(text: str, mode: str) -> list[Run]:
    """Runs of a text in order; joined, they are the text.

    Args:
        text: one utterance.
        mode: one of :data:`voiceclone.languages.MODES`.

    Returns:
        Runs with ISO codes, neighbours in different languages. Digits go with the English word before them unless an
        eastern character follows at once; marks go with what is before them.
    """
    if mode in IN_LATIN:
        return _merge(_split_latin(text, mode))
    runs: list[Run] = []
    position = 0
    while match := _ENGLISH.search(text, position):
        start, end = match.start(), _english_end(text, match, mode)
        if unit_end := _unit_end(text, position, start, end, MODES[mode]):
            end = unit_end
            runs.append(("", text[position:end]))
        else:
            runs += [("", text[position:start]), ("en", text[start:end])]
        position = end
    runs.append(("", text[position:]))
    main = MODES[mode]
    if mode.startswith("all_") or not (mode.startswith("auto") or re.search(f"[{_FOREIGN[main]}]", text)):
        return _merge([(language or main, part) for language, part in runs])
    runs = [run for language, part in _merge(runs) for run in ([("en", part)] if language else _by_script(part))]
    if main == "ja":
        runs = [("ja" if language == "zh" else language, part) for language, part in runs]
    return _merge(_settle(runs, main))


def _unit_end(text: str, position: int, start: int, end: int, main: str) -> int:
    """End of the letters of a number, which are read in the language around it: 5 km, HK$50, $20k; 0: no such."""
    before = text[max(position, start - 20) : start]
    chinese = main in ("zh", "yue")
    unit = (_CHINESE_UNIT if chinese else _UNIT).match(text, start)
    if unit is None and re.search(r"\d\s?°\s?$", before):
        unit = re.compile("[CF](?![A-Za-z])").match(text, start)
    if unit and re.match("당|あたり|当たり", text[unit.end() :]):
        return unit.end()
    if unit and _UNIT_BEFORE.search(before):
        following = text[unit.end() : unit.end() + 1]
        return unit.end() if unit.end() >= end or following in tuple("-~/–—") else 0
    if chinese and unit and re.search(r"[元角块]/$", before):
        return unit.end()
    money = chinese and (
        _CHINESE_MONEY.match(text, start)
        or (re.search(r"[$€£¥￥]\s?[\d.,~～–-]+$", text[:start][-20:]) and _SCALE_OF_MONEY.match(text, start))
    )
    return money.end() if money else 0


def _english_end(text: str, match: re.Match[str], mode: str) -> int:
    """End of an English run: before a number that belongs to what follows it, or to the text around it."""
    end = match.end()
    number = _LAST_NUMBER.search(match[0])
    code = _CODE.search(match[0])
    if code and not mode.startswith("auto") and "//" not in match[0]:
        return match.start() + code.start()
    east_follows = bool(re.match(rf"[{_EAST}]", text[end : end + 1]))
    one_language = not mode.startswith("auto") and mode != "en"
    if number and (mode.startswith("all_") or (east_follows and (one_language or not number[1]))):
        return match.start() + number.start()
    return end


def _split_latin(text: str, language: str) -> list[Run]:
    """A language in Latin letters, but for runs in an eastern script with the digits that touch them."""
    runs: list[Run] = []
    position = 0
    for match in _EAST_IN_LATIN.finditer(text):
        runs += [(language, text[position : match.start()]), *_settle(_by_script(match[0]), "zh")]
        position = match.end()
    return [*runs, (language, text[position:])]


def _by_script(text: str) -> list[Run]:
    """Runs of Korean, and clauses of Chinese or Japanese; no language where there is no evidence."""
    runs: list[Run] = []
    for run in _SCRIPTS.findall(text):
        if re.match(rf"\d*[{HANGUL}]", run):
            runs.append(("ko", run))
        elif re.match(rf"\d*[{HAN}{KANA}]", run):
            runs += [piece for clause in _CLAUSES.findall(run) if clause for piece in _clause(clause)]
        else:
            runs.append(("", run))
    return runs


def _clause(clause: str) -> list[Run]:
    """A clause in one language, but for plainly Chinese words between kana."""
    language = evidence(clause)
    if language != "ja":
        return [(language, clause)]
    pieces = re.findall(f"[{HAN}]+|[^{HAN}]+", clause)
    return [("zh" if any(map(_is_simplified, piece)) else "ja", piece) for piece in pieces]


def _settle(runs: list[Run], main: str) -> list[Run]:
    """Give the runs without a language that of their neighbours, and Chinese its dialect."""
    shared = _nearest(runs)
    settled: list[Run] = []
    for position, (language, text) in enumerate(runs):
        if not language and re.search(f"[{HAN}{KANA}]", text):
            language = shared.get(position, "ja" if main == "ja" else "zh")
        elif not language:  # digits and marks
            language = settled[-1][0] if settled else next((after for after, _ in runs if after), main)
        settled.append((main if language == "zh" and main == "yue" else language, text))
    return settled


def _nearest(runs: list[Run]) -> dict[int, str]:
    """For each run: language of the nearest Chinese or Japanese in its sentence, else in the text."""
    found: dict[int, tuple[bool, int, str]] = {}
    for order in (range(len(runs)), range(len(runs) - 1, -1, -1)):
        last: tuple[int, str] | None = None
        ends = 0
        for position in order:
            language, text = runs[position]
            forward = order.step > 0
            if not forward and last and _SENTENCE_END.search(text):
                ends += 1
            if last:
                candidate = (ends > 0, abs(position - last[0]), last[1])
                found[position] = min(found.get(position, candidate), candidate)
            if language in ("zh", "ja"):
                last, ends = (position, language), 0
            if forward and last and _SENTENCE_END.search(text):
                ends += 1
    return {position: language for position, (_, _, language) in found.items()}


def _merge(runs: list[Run]) -> list[Run]:
    merged: list[Run] = []
    for language, text in runs:
        if merged and (merged[-1][0] == language or not text.strip()):
            merged[-1] = (merged[-1][0], merged[-1][1] + text)
        elif text:
            merged.append((language, text))
    return merged
