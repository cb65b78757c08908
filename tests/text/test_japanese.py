"""Japanese: what is written out before Open JTalk, and phonemes with accent."""

from __future__ import annotations

import pytest

from voiceclone.text.japanese import normalise, to_symbols


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("これは1,500円です", "これは1500円です"),
        ("25.5℃、60％", "25点五度、60パーセント"),
        ("$5と￥3万", "5ドルと3万円"),
        ("03-1234-5678", "ゼロサン、イチニーサンヨン、ゴーロクナナハチ"),
        ("2024-03-05の10:30", "2024年3月5日の10時30分"),
        ("3/4、-2、5kg、10~20", "4分の3、マイナス2、5キログラム、10から20"),
        ("ＡＢＣ①", "ABC1"),
        ("気温は-3.5℃", "気温はマイナス3点五度"),
        ("3×4＝12、3:2、1.2.3", "3かける4イコール12、3対2、1点2点3"),
        ("ええ！！！...", "ええ！！！."),
    ],
)
def test_normalise(text: str, spoken: str) -> None:
    assert normalise(text) == spoken


def test_accent() -> None:
    chopsticks, bridge = to_symbols("箸を", {}), to_symbols("橋を", {})
    assert " ".join(chopsticks) == "h a ] sh i o" and " ".join(bridge) == "h a [ sh i ] o"
    assert " ".join(to_symbols("「学校」へ、行く。", {})) == "UNK g a [ cl k o o UNK e , i [ k u ."


def test_lexicon_gives_kana() -> None:
    assert to_symbols("今日は", {"今日": ("こんにち",)}) == to_symbols("こんにちは", {})


def test_text_without_marks_is_read_in_pieces() -> None:
    assert len(to_symbols("あ" * 9000, {})) >= 9000
