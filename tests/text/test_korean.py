"""Korean: numbers and the rules of the standard pronunciation."""

from __future__ import annotations

import pytest

from voiceclone.text.korean import normalise, respell, to_symbols
from voiceclone.text.korean_normalise import digits, native, sino


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("2024년 6월 5일 오후 3시 30분", "이천이십사년 유월 오일 오후 세시 삼십분"),
        ("2024-10-05", "이천이십사년 시월 오일"),
        ("15,000원과 ₩1만", "만오천원과 일만원"),
        ("010-1234-5678", "공일공-일이삼사-오육칠팔"),
        ("3개, 2명, 20살, 21살, 100번, 20대, 15시", "세개, 두명, 스무살, 스물한살, 백번, 이십대, 십오시"),
        ("3.14와 1/2", "삼점일사와 이분의 일"),
        ("5km, 60%, -3°C", "오킬로미터, 육십퍼센트, 영하 삼도"),
        ("10:30에 3~5일", "열시 삼십분에 삼에서 오일"),
        ("2병, 12명, 119에 신고, 112", "두병, 열두명, 일일구에 신고, 일일이"),
        ("6.25 전쟁", "육이오 전쟁"),
        ("AI와 1.2.3", "에이아이와 일점이점삼"),
    ],
)
def test_normalise(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


@pytest.mark.parametrize(
    ("written", "sound"),
    [("갈등", "갈뜽"), ("술잔", "술짠"), ("솜이불", "솜니불"), ("디귿이", "디그시"), ("무릎을", "무르플")],
)
def test_words_of_the_standard(written: str, sound: str) -> None:
    assert respell(written) == sound


def test_numbers() -> None:
    numbers = {
        "0": "영",
        "1": "일",
        "10": "십",
        "110": "백십",
        "10000": "만",
        "20304": "이만삼백사",
        "100000000": "일억",
    }
    assert {number: sino(number) for number in numbers} == numbers
    assert [native(number) for number in ("1", "12", "99", "105")] == ["한", "열두", "아흔아홉", "백다섯"]
    assert digits("105") == "일영오"


@pytest.mark.parametrize(
    ("written", "sounds"),
    [
        ("국물, 막내, 밥물, 앞마당", "궁물, 망내, 밤물, 암마당"),  # 18
        ("독립, 심리, 대통령, 십리", "동닙, 심니, 대통녕, 심니"),  # 19
        ("신라, 칼날, 의견란", "실라, 칼랄, 의견난"),  # 20
        ("국밥, 옷고름, 덮개, 있던", "국빱, 옫꼬름, 덥깨, 읻떤"),  # 23
        ("앉고, 넘다, 껴안다, 신고", "안꼬, 넘따, 껴안따, 신고"),  # 24
        ("넓게, 핥다, 여덟도", "널께, 할따, 여덜도"),  # 25
        ("할 것을, 갈 데가, 할게", "할 꺼슬, 갈 떼가, 할께"),  # 27
        ("옷이, 값을, 닭을, 앉아, 강아지", "오시, 갑쓸, 달글, 안자, 강아지"),  # 13, 14
        ("놓고, 많던, 닳지, 쌓네, 좋아, 싫어, 좋소", "노코, 만턴, 달치, 싼네, 조아, 시러, 조쏘"),  # 12
        ("맏형, 꽂히다, 넓히다, 못하다, 옷 한벌", "마텽, 꼬치다, 널피다, 모타다, 오 탄벌"),  # 12
        ("굳이, 밭이, 핥이다, 굳히다, 묻혀", "구지, 바치, 할치다, 구치다, 무처"),  # 17
        ("맑게, 닭과, 맑다, 밟다, 밟는", "말께, 닥꽈, 막따, 밥따, 밤는"),  # 10, 11
        ("가져, 희망, 의사", "가저, 히망, 의사"),  # 5
        ("삶, 읊다, 없다, 부엌, 무릎", "삼, 읍따, 업따, 부억, 무릅"),  # 9 to 11
        ("꽃잎, 솔잎, 담요, 색연필, 서울역에", "꼰닙, 솔립, 담뇨, 생년필, 서울려게"),  # 29
        ("책을 나눈다", "채글 나눈다"),
    ],
)
def test_standard_pronunciation(written: str, sounds: str) -> None:
    assert respell(written) == sounds


def test_symbols() -> None:
    assert " ".join(to_symbols("왜, 의자", {})) == "ㅇ ㅗ ㅐ , 空 ㅇ ㅡ ㅣ ㅈ ㅏ ."
    assert to_symbols("ㅠ“가”!", {}) == ("ㅣ", "ㅜ", "停", "ㄱ", "ㅏ", "停", "!")
    assert to_symbols("맛있다", {"맛있": ("마싣",)}) == tuple("ㅁㅏㅅㅣㄷㄸㅏ.")
