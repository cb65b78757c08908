"""Japanese and Korean as people write them: ranges, counters, rare characters, half-width kana, liaison."""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceclone.text import japanese, korean
from voiceclone.text.frontend import to_phones
from voiceclone.text.symbols import UNKNOWN


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("20℃-25℃、10%～20%", "20度から25度、10パーセントから20パーセント"),
        ("2019年-2021年、3月1日-5日", "2019年から2021年、3月1日から5日"),
        ("9:00-17:00、$5-$10、5-10人", "9時から17時、5ドルから10ドル、5から10人"),
        ("90minで100+人", "90分で100人以上"),
        ("〇〇さん、××、△△、○×クイズ、×社", "まるまるさん、ばつばつ、さんかくさんかく、まるばつクイズ、ばつ社"),
        ("血圧は120/80mmHg、3×4、東京-大阪", "血圧は120の80ミリメートルエイチジー、3かける4、東京 大阪"),
        ("±3と+4", "プラスマイナス3とプラス4"),
        ("第1章-第3章、¥1,000〜¥2,000", "第1章から第3章、1000円から2000円"),
        ("3月は-5℃、5-3=2、3-2で勝った", "3月はマイナス5度、5ひく3イコール2、3対2で勝った"),
        ("月-金", "月曜から金曜"),
        ("赤いﾊﾞｽとﾎﾟｽﾄ", "赤いバスとポスト"),
        ("第Ⅲ章と½杯、1½個", "第3章と2分の1はい、1と2分の1個"),
        ("v2.0、5m²、x²", "v2点ゼロ、5平方メートル、xの2乗"),
        ("-10℃～-5℃、午前9時-午後5時", "マイナス10度からマイナス5度、午前9時から午後5時"),
        ("すご〜い！はい〜、500円/kgあたり", "すごーい！はいー、500円/キログラムあたり"),
        ("3/14(金)に会おう、5/1〜5/5は休み、締切は1/9", "3月14日(金)に会おう、5月1日から5月5日は休み、締切は1月9日"),
        ("3/4カップ、2/3の人、1/2に減った", "4分の3カップ、3分の2の人、2分の1に減った"),
        ("8月上旬～9月下旬、スコアは2-1だった。", "8月上旬から9月下旬、スコアは2対1だった。"),
        ("〒100-0001", "郵便番号、イチゼロゼロのゼロゼロゼロイチ"),
    ],
)
def test_japanese(text: str, spoken: str) -> None:
    assert japanese.normalise(text) == spoken


@pytest.mark.parametrize(
    ("text", "kana"),
    [
        ("彼は鼻で嗤った。", "わらった"),
        ("木々の間で声高々に歌う。", "こわだかだかに"),
        ("長崎の山﨑さんです。", "やまざき"),
        ("犬を𠮟る。", "しかる"),
        ("嗄れた声", "しゃがれた"),
        ("鱻を食べる", "せん"),
        ("黑田さん", "くろだ"),
        ("壽司を食べる", "すし"),
        ("顰め面をする", "しかめつら"),
        ("俄かに曇る", "にわかにくもる"),
        ("彼は強かだ", "したたかだ"),
        ("風が強かった", "つよかった"),
        ("鋸で切る", "のこぎり"),
    ],
)
def test_rare_characters_are_read(text: str, kana: str) -> None:
    def sounds(written: str) -> str:
        symbols = japanese.to_symbols(japanese.normalise(written), {})
        return "".join(symbol for symbol in symbols if symbol[0].islower())

    assert sounds(kana) in sounds(text)
    assert to_phones(text, "ja").unread == ()


def test_what_has_no_reading_is_named() -> None:
    text = japanese.normalise("雪☃とゟ")
    assert UNKNOWN in japanese.to_symbols(text, {})
    assert to_phones("雪☃とゟ", "ja").unread == ("☃",)
    assert to_phones("눈☃과 가자", "ko").unread == ("☃",)
    assert to_phones("「はい」、行く。", "ja").unread == to_phones("“네”, 가.", "ko").unread == ()


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("20℃-25℃입니다", "이십도에서 이십오도입니다"),
        ("90min에 50+명이 왔다", "구십분에 오십명 이상이 왔다"),
        ("고기 2점, 90점, 광고 2점", "고기 두점, 구십점, 광고 이점"),
        ("제1~3장, ±3, 3대 1, 자동차 3대 왔다", "제일에서 삼장, 플러스마이너스 삼, 삼 대 일, 자동차 세대 왔다"),
        ("6·25 전쟁, 3·1절, 12·12 사태, 6·10 항쟁", "육이오 전쟁, 삼일절, 십이십이 사태, 육십 항쟁"),
        (
            "10%-20%, 2019년-2021년, 3월 1일-5일",
            "십퍼센트에서 이십퍼센트, 이천십구년에서 이천이십일년, 삼월 일일에서 오일",
        ),
        ("9:00-17:00, $5-$10, 3~5개", "아홉시에서 십칠시, 오에서 십달러, 세개에서 다섯개"),
        ("-5도, 5-3=2, 3:2로 이겼다", "영하 오도, 오 빼기 삼 은 이, 삼 대 이로 이겼다"),
        ("오늘은 1번째 날, 내일은 2번째 날, 21번째", "오늘은 첫 번째 날, 내일은 두 번째 날, 스물한 번째"),
        ("책의 제1장을 읽었다. 1장 2절, 종이 1장", "책의 제일장을 읽었다. 일장 이절, 종이 한장"),
        ("7번 버스를 타세요. 7번 읽었다. 1번을 눌러", "칠번 버스를 타세요. 일곱번 읽었다. 일번을 눌러"),
        ("연락처는 010-9876-5432입니다.", "연락처는 공일공-구팔칠육-오사삼이입니다."),
        ("½컵을 넣고 Ⅱ장을 읽는다.", "이분의 일컵을 넣고 이장을 읽는다."),
        ("2끼, 5차례, 3배로, 3층, 3호선, 2인분", "두끼, 다섯차례, 세배로, 삼층, 삼호선, 이인분"),
        ("-10℃~-5℃, 영하 10도~영하 5도", "영하 십도에서 영하 오도, 영하 십도에서 영하 오도"),
        ("오전 9시-오후 6시, 010 1234 5678", "오전 아홉시에서 오후 여섯시, 공일공-일이삼사-오육칠팔"),
        ("3대 1로 졌다, 차 3대, 4자리 숫자", "삼 대 일로 졌다, 차 세대, 네자리 숫자"),
        ("kg당 5천원, ㎡당 3만원", "킬로그램당 오천원, 제곱미터당 삼만원"),
        ("참석자는 12명, 20명, 21명", "참석자는 열두명, 스무명, 이십일명"),
        ("물 16병, 14그릇, 3포대, 25살", "물 열여섯병, 열네그릇, 세포대, 스물다섯살"),
        ("1대1 상담, 2대 사장, 10대 소녀, 트럭 10대", "일 대 일 상담, 이대 사장, 십대 소녀, 트럭 열대"),
        ("2/14 금요일, 3/1(토)부터 3/5까지, 1/2컵", "이월 십사일 금요일, 삼월 일일(토)에서 삼월 오일까지, 이분의 일컵"),
        (
            "비밀번호는 1234, 학번은 20231234, 01012345678",
            "비밀번호는 일이삼사, 학번은 이공이삼일이삼사, 공일공-일이삼사-오육칠팔",
        ),
        ("버스 271번, 2반 15번, 버스를 3번", "버스 이백칠십일번, 이반 십오번, 버스를 세번"),
        ("노래 3곡, 두부 1모, 24시간, 20시간", "노래 세곡, 두부 한모, 이십사시간, 스무시간"),
        (
            "2019.3.1-2019.3.5, 오전 9:00~오후 6:00",
            "이천십구년 삼월 일일에서 이천십구년 삼월 오일, 오전 아홉시에서 오후 여섯시",
        ),
        ("010.1234.5678", "공일공-일이삼사-오육칠팔"),
        ("C++, v2.0", "시 플러스 플러스, 버전 이점영"),
    ],
)
def test_korean(text: str, spoken: str) -> None:
    assert korean.normalise(text) == spoken


@pytest.mark.parametrize(
    ("text", "language", "spoken"),
    [
        ("A4とB5、P12。", "ja", "A4とBゴ、Pジューニ。"),
        ("A1과 B2, KTX 3호차", "ko", "A일과 B이, KTX 삼호차"),
        ("C919型機、N700系、A4用紙", "ja", "Cキューイチキュー型機、N700系、A4用紙"),
        ("B787과 N700", "ko", "B칠팔칠과 N칠백"),
        ("H1N1과 C#", "ko", "H일N일과 C sharp"),
        ("㎡당 3만원", "ko", "제곱미터당 삼만원"),
        ("㈜삼성과 3pm", "ko", "주식회사 삼성과 오후 세시"),
        ("2hと2h15minと1h30m20s", "ja", "2時間と2時間15分と1時間30分20秒"),
        ("2h와 2h15min", "ko", "두시간와 두시간십오분"),
        ("㈱山田は3pmから", "ja", "株式会社山田は午後3時から"),
    ],
)
def test_letters_and_digits_are_read_in_one_way(text: str, language: str, spoken: str) -> None:
    assert to_phones(text, language).normalised == spoken


@pytest.mark.parametrize(
    ("written", "sound"),
    [
        ("맛없다, 첫인상, 겉옷, 넋없이, 값어치", "마덥따, 처딘상, 거돋, 너겁씨, 가버치"),  # 15
        ("십육, 백육십, 첫여름, 물엿", "심뉵, 뱅뉵씹, 천녀름, 물렫"),  # 29
        ("맛있다, 꽃이, 부엌에, 밖에", "마싣따, 꼬치, 부어케, 바께"),  # 13
        ("글자를, 문법, 인기, 칠십", "글짜를, 문뻡, 인끼, 칠씹"),  # 26
    ],
)
def test_korean_liaison(written: str, sound: str) -> None:
    assert korean.respell(written) == sound


@pytest.mark.parametrize(("name", "language"), [("B04_ja.txt", "ja"), ("B06_ko.txt", "ko")])
def test_cases_from_the_field(shared_cases: Path, name: str, language: str) -> None:
    lines = (shared_cases / name).read_text(encoding="utf-8").splitlines()
    for text in (line.partition("\t")[0] for line in lines if line and line[0] != "#"):
        assert not to_phones(text, language).unread
