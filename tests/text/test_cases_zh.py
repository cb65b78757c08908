"""What users found wrong in Chinese: codes, years, ranges, labels, polyphones, odd characters, Cantonese.

The cases of ``../shared/cases`` are read where they are; their values, and many more of each kind, stand here too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from voiceclone.text.frontend import to_phones
from voiceclone.text.inline import Mark, parts, plain
from voiceclone.text.mandarin import to_pair

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

MANDARIN = [
    ("持续2h15min，转速1200rpm，120fps。", "持续两小时十五分钟,转速一千二百转每分钟,一百二十帧每秒."),
    ("￥9.9，500RMB，100 USD。", "九点九元,五百元,一百美元."),
    ("他是60后，她是95后，孩子是10后。", "他是六零后,她是九五后,孩子是一零后."),
    ("康熙在位61年，他生于73年。", "康熙在位六十一年,他生于七三年."),
    ("2024届毕业生，2020级新生，第25届。", "二零二四届毕业生,二零二零级新生,第二十五届."),
    ("315国道，301医院，3.8妇女节，10.1国庆。", "三幺五国道,三零幺医院,三八妇女节,十一国庆."),
    ("月薪8k-12k，年薪10-20w。", "月薪八千到一万二千,年薪十万到二十万."),
    ("3:00pm-5:00pm，9am开会，下午3pm。", "下午三点至下午五点,上午九点开会,下午三点."),
    ("1980年代-1990年代，-20～-10℃。", "一九八零年代到一九九零年代,零下二十到零下十度."),
    ("按*号键，价格￥1,999.00，共10 000人。", "按星号键,价格一千九百九十九元,共一万人."),
    ("I am here at 5 pm.", "I am here at five P M."),
    ("2/14我们见面，10/1放假，5/1-5/3休息。", "二月十四日我们见面,十月一日放假,五月一日到五月三日休息."),
    (
        "今天是1/2，截止12/5。3/4拍，得了3/15，5/13的人。",
        "今天是一月二日,截止十二月五日.四分之三拍,得了十五分之三,十三分之五的人.",
    ),
    ("标准号GB/T 19001-2016，按GB 50016—2014执行。", "标准号GB T幺九零零幺,二零一六,按GB五零零幺六,二零一四执行."),
    ("ISO 9001:2015和DB11/T 1234", "ISO九零零幺,二零一五和DB幺幺T幺二三四"),
    ("12年伦敦奥运会，他干了12年。", "一二年伦敦奥运会,他干了十二年."),
    ("A4纸70g/m²，含量5mg/L，速度9.8m/s²。", "A四纸七十克每平方米,含量五毫克每升,速度九点八米每二次方秒."),
    ("一二·九运动，东经120°，-20°，30°15′。", "一二九运动,东经一百二十度,负二十度,三十度十五分."),
    ("7/8月，第3/4季度，3/4的人，共RMB500。", "七,八月,第三,四季度,四分之三的人,共五百元."),
    ("Vol.3，P.12，Fig.2。", "volume three,P twelve,figure two."),
    (
        "领先1-0，战胜了对手3-1，赢2-3分，落后5-10个百分点。",
        "领先一比零,战胜了对手三比一,赢两到三分,落后五到十个百分点.",
    ),
    (
        "2/14是情人节，3/5的人，1/2是对的，12/3（周二）开会。",
        "二月十四日是情人节,五分之三的人,二分之一是对的,十二月三日周二开会.",
    ),
    ("我们是No.1，10^6和2^-3。", "我们是number one,十的六次方和二的负三次方."),
    ("(010)88886666转801。", "零幺零,八八八八六六六六转八零幺."),
    ("~5天，约3~5天，5℃~8℃。", "约五天,约三到五天,五度至八度."),
    ("温度-3~5℃", "温度零下三到五度"),
    ("1/2-3/4杯", "二分之一到四分之三杯"),
    ("比分3-2", "比分三比二"),
    ("二○二四年", "二零二四年"),
    ("这袋大米重12.75克，他爷爷生于52年3月9日。", "这袋大米重十二点七五克,他爷爷生于五二年三月九日."),
    ("箱子的编号是38164，有5/12的人同意。", "箱子的编号是三八一六四,有十二分之五的人同意."),
    (
        "苹果8块5一斤，梨3.5元，去年卖了15.2万箱，涨了48％。",
        "苹果八块五一斤,梨三点五元,去年卖了十五点二万箱,涨了百分之四十八.",
    ),
    (
        "办公室固话0571-88776655，手机+86 13912345678。",
        "办公室固话零五七幺,八八七七六六五五,手机八六幺三九幺二三四五六七八.",
    ),
    ("验证码是886422对吗？", "验证码是八八六四二二对吗?"),
    ("我的工号是10086对不对？", "我的工号是幺零零八六对不对?"),
    ("您的取件码是5283个人信息请保密。", "您的取件码是五二八三个人信息请保密."),
    ("邮编100800。", "邮编幺零零八零零."),
    ("他住在302号房间。", "他住在三百零二号房间."),
    ("固话：0595-23865596或23880880。", "固话,零五九五,二三八六五五九六或二三八八零八八零."),
    ("手机：+86 19859213959或15659451527。", "手机,八六幺九八五九二幺三九五九或幺五六五九四五幺五二七."),
    ("分数：32477/76391。", "分数,七万六千三百九十一分之三万二千四百七十七."),
    ("百分数：80.03%。", "百分数,百分之八十点零三."),
    ("编号：31520181154418。", "编号,三一五二零一八一一五四四一八."),
    ("纯数：2983.07克或12345.60米。", "纯数,二千九百八十三点零七克或一万二千三百四十五点六零米."),
    ("日期：1999年2月20日或09年3月15日。", "日期,一九九九年二月二十日或零九年三月十五日."),
    ("金钱：12块5，34.5元，20.1万", "金钱,十二块五,三十四点五元,二十点一万"),
    ("今天气温20℃-25℃。", "今天气温二十度到二十五度."),
    ("涨幅在10%-20%之间。", "涨幅在百分之十到百分之二十之间."),
    ("价格100元-200元。", "价格一百元到二百元."),
    ("3月1日-5日放假。", "三月一日到五日放假."),
    ("2019年-2021年在北京工作。", "二零一九年到二零二一年在北京工作."),
    ("20-25℃。", "二十到二十五度."),
    ("2019-2021年", "二零一九到二零二一年"),
    ("$5-$10", "五美元到十美元"),
    ("$5-10", "五到十美元"),
    ("￥100-￥200", "一百元到二百元"),
    ("9:00-17:00", "九点至十七点"),
    ("9:00–17:00", "九点至十七点"),
    ("9点-17点", "九点到十七点"),
    ("9点半-10点", "九点半到十点"),
    ("上午9:00-下午5:00", "上午九点至下午五点"),
    ("5km-8km", "五千米到八千米"),
    ("5-8km", "五到八千米"),
    ("3-5个", "三到五个"),
    ("2-3天", "两到三天"),
    ("-5℃-5℃", "零下五度到五度"),
    ("-10℃~-5℃", "零下十度至零下五度"),
    ("-10℃--5℃", "零下十度到零下五度"),
    ("20% – 30%", "百分之二十到百分之三十"),
    ("20%—30%", "百分之二十到百分之三十"),
    ("10-20%", "百分之十到百分之二十"),
    ("10%至20%", "百分之十至百分之二十"),
    ("1.5-2.5万元", "一点五到二点五万元"),
    ("1万-2万元", "一万到两万元"),
    ("1,000-2,000元", "一千到二千元"),
    ("周一-周五", "周一到周五"),
    ("第1-3章", "第一到三章"),
    ("第1章-第3章", "第一章到第三章"),
    ("1月-3月", "一月到三月"),
    ("3月1日-4月5日", "三月一日到四月五日"),
    ("2019年3月-2021年5月", "二零一九年三月到二零二一年五月"),
    ("2019年3月1日-2019年5月3日", "二零一九年三月一日到二零一九年五月三日"),
    ("18-25岁", "十八到二十五岁"),
    ("5-3=2", "五减三等于二"),
    ("20%-10%=10%", "百分之二十减百分之十等于百分之十"),
    ("歼-20战机", "歼二十战机"),
    ("跌幅-3.5%", "跌幅负百分之三点五"),
    ("气温-5℃", "气温零下五度"),
    ("98°F", "华氏九十八度"),
    ("5℉", "华氏五度"),
    ("2023-24赛季", "二零二三到二四赛季"),
    ("80年代", "八十年代"),
    ("90年代末", "九十年代末"),
    ("98年洪水", "九八年洪水"),
    ("70年历史", "七十年历史"),
    ("第2名", "第二名"),
    ("第2次", "第二次"),
    ("2个", "两个"),
    ("2度", "二度"),
    ("16GB内存", "十六GB内存"),
    ("5元/kg", "五元每千克"),
    ("5㎡", "五平方米"),
    ("㎏和㎡", "千克和平方米"),
    ("10Ω", "十欧姆"),
    ("5μm", "五微米"),
    ("1½杯", "一又二分之一杯"),
    ("1 1/2杯", "一又二分之一杯"),
    ("10⁻³", "十的负三次方"),
    ("北纬39°54′26″", "北纬三十九度五十四分二十六秒"),
    ("$1.5M", "一百五十万美元"),
    ("$20k", "二万美元"),
    ("HK$50", "五十港元"),
    ("9·11事件", "九一一事件"),
    ("3.15晚会", "三一五晚会"),
    ("拨打110", "拨打幺幺零"),
    ("24/7", "二十四,七"),
    ("7*24小时", "七乘二十四小时"),
    ("密码123456和654321", "密码幺二三四五六和六五四三二幺"),
    ("(010)88889999", "零幺零,八八八八九九九九"),
    ("400-820-8820", "四零零,八二零,八八二零"),
    ("1203房间", "幺二零三房间"),
    ("302室", "三零二室"),
    ("5米²", "五平方米"),
    ("话¹是", "话是"),
    ("打开a1、a2开关，再关b3。", "打开A一,A二开关,再关B三."),
    ("航班CA1300延误。", "航班CA幺三零零延误."),
    ("G1234次列车", "G幺二三四次列车"),
    ("电话13812345678转801", "电话幺三八幺二三四五六七八转八零幺"),
    ("10万+", "十万加"),
    ("100+个", "一百多个"),
    ("2021-03-05", "二零二一年三月五日"),
    ("他买了1000个", "他买了一千个"),
    ("公元前221年", "公元前二二一年"),
    ("5个人", "五个人"),
    ("等了60年", "等了六十年"),
    ("1+1=2", "一加一等于二"),
    ("A-10、F-16", "A十,F十六"),
    ("我用iPhone 15打电话", "我用iPhone十五打电话"),
    ("PM2.5", "PM二点五"),
    ("他说I have 2 cats。", "他说I have two cats."),
    ("IP是192.168.1.1", "IP是一九二点一六八点一点一"),
    ("2024年5月6号，3月1日", "二零二四年五月六号,三月一日"),
    ("他是001号选手", "他是零零一号选手"),
    ("他1米8，我1米75", "他一米八,我一米七五"),
    ("康熙61年，民国38年，69年的老兵", "康熙六十一年,民国三十八年,六九年的老兵"),
    ("血压120/80", "血压一百二十,八十"),
    ("比赛结果是2-1，上半场0-1落后，3-1战胜对手", "比赛结果是二比一,上半场零比一落后,三比一战胜对手"),
    ("初一-初三，第一-第三名，10月-次年3月", "初一到初三,第一到第三名,十月到次年三月"),
    ("h1n1病毒和H7N9", "H一N一病毒和H七N九"),
    ("GPT-4o、p2p、机器人R2-D2", "GPT四O,P二P,机器人R二D二"),
    ("C++比C#快吗", "C plus plus比C sharp快吗"),
    ("H₂O和CO₂", "H二O和CO二"),
]
CANTONESE = [
    ("HK$1.5M買咗，$20-30k，2兩茶葉，3pm開會", "一百五十萬蚊買咗,二萬到三萬蚊,二兩茶葉,下午三點開會"),
    ("2/14情人節，3/1-3/5放假，3/4杯", "二月十四號情人節,三月一號到三月五號放假,四分之三杯"),
    ("HK$50，US$100，3-1贏咗。", "五十蚊,一百美元,三比一贏咗."),
    ("$500蚊，$1.5億，$20-30，$50-$60蚊，$5萬。", "五百蚊,一點五億蚊,二十到三十蚊,五十到六十蚊,五萬蚊."),
    ("5°C", "五度"),
    ("呢個單位680呎", "呢個單位六百八十呎"),
    ("100平方呎同埋350磅", "一百平方呎同埋三百五十磅"),
    ("氣溫20℃-25℃，濕度70%-80%。", "氣溫二十度到二十五度,濕度百分之七十到百分之八十."),
    ("10月1號-5號", "十月一號到五號"),
    ("2019-2021年", "二零一九到二零二一年"),
    ("9:00-17:00", "九点至十七点"),
    ("2個鐘", "兩個鐘"),
    ("2隻貓", "兩隻貓"),
    ("$5-$10", "五到十蚊"),
    ("HK$1,200", "一千二百蚊"),
    ("電話2345 6789", "電話二三四五,六七八九"),
    ("密碼886422", "密碼八八六四二二"),
    ("航班CX880延誤", "航班CX八八零延誤"),
    ("打開a1、a2", "打開A一,A二"),
    ("52年3月", "五二年三月"),
    ("3斤半", "三斤半"),
    ("12吋pizza", "十二吋pizza"),
    ("850蚊", "八百五十蚊"),
    ("200樓", "二百樓"),
    ("½杯", "二分之一杯"),
    ("第Ⅳ章", "第四章"),
    ("5㎏", "五千克"),
    ("180厘米", "一百八十厘米"),
    ("60歲", "六十歲"),
    ("第2次", "第二次"),
    ("2點", "兩點"),
    ("120粒", "一百二十粒"),
    ("300尺", "三百尺"),
    ("35部", "三十五部"),
    ("250毫升", "二百五十毫升"),
    ("3-5日", "三到五日"),
    ("10-15分鐘", "十到十五分鐘"),
    ("150公斤", "一百五十公斤"),
    ("120加侖", "一百二十加侖"),
    ("130平方米", "一百三十平方米"),
    ("150人", "一百五十人"),
    ("周一-周五", "周一到周五"),
    ("0.5-1.5米", "零点五到一点五米"),
    ("12蚊3毫", "十二蚊三毫"),
    ("今日係2024年5月6號", "今日係二零二四年五月六號"),
    ("8月-10月有風季，3樓-5樓", "八月到十月有風季,三樓到五樓"),
]


@pytest.mark.parametrize(("text", "spoken"), MANDARIN)
def test_mandarin(text: str, spoken: str) -> None:
    assert to_phones(text, "zh").normalised == spoken


@pytest.mark.parametrize(("text", "spoken"), CANTONESE)
def test_cantonese(text: str, spoken: str) -> None:
    assert to_phones(text, "yue").normalised == spoken


@pytest.mark.parametrize(
    "joined", ["a1、a2、b3", "a1,a2,b3", "a1 a2 b3", "a1/a2/b3", "a-1、a-2、b-3", "A1；A2；B3", "a1和a2和b3"]
)
def test_letters_and_digits_are_read_in_one_way(joined: str) -> None:
    phones = [symbol for symbol in to_phones(f"打开{joined}开关", "zh").symbols if symbol not in ",.-"]
    said = " ".join(phones[4:-4]).replace("h e2 ", "")
    assert said == "EY1 y i1 EY1 EE er4 B IY1 s an1"


def _wrong(line: str) -> list[str]:
    """Marked characters of a sentence that are read otherwise than marked, third tones raised or not."""
    phones = to_phones(plain(line), "zh")
    assert phones.word2ph is not None
    starts = [sum(phones.word2ph[:position]) for position in range(len(phones.word2ph))]
    position, wrong = 0, []
    for part in parts(line):
        if isinstance(part, Mark):
            initial, final = to_pair(part.reading[0])
            got = phones.symbols[starts[position] : starts[position] + 2]
            if got not in {(initial, final), (initial, final.replace("3", "2"))}:
                wrong.append(f"{line}: {' '.join(got)}")
        position += len(part.word if isinstance(part, Mark) else part)
    return wrong


def test_polyphones_by_dictionary() -> None:
    """Sentences of ours with the right reading of one character each; the rest are rare words."""
    lines = Path(__file__).with_name("polyphones_zh.txt").read_text(encoding="utf-8").splitlines()
    wrong = [found for line in lines for found in _wrong(line)]
    print(f"\npolyphones: {len(lines) - len(wrong)} of {len(lines)} by the dictionary; wrong: {'; '.join(wrong)}")
    assert len(wrong) <= 10


CASE_READINGS = {
    "他中了解元": "zh ong4 l e5 j ie4 y van2",
    "我了解元素": "l iao2 j ie3 y van2 s u4",
    "藏书遗赠": "y i2 z eng4",
    "唐代的经幢": "j ing1 ch uang2",
    "奸臣秦桧": "q in2 h ui4",
    "这箭一语中的": "zh ong4 d i4",
    "太阳落下山去": "l uo4 x ia4 sh an1",
    "别落下东西": "l a4 x ia4",
    "把他当朋友": "d ang4 p eng2",
    "忙得来得了吗": "l ai2 d e5 l iao3 m a5",
    "商家囤货": "t un2 h uo4",
    "冲着我喊": "ch ong4 zh e5",
    "那个男子": "n an2 z i03",
    "电子书": "d ian4 z i03",
    "小孩子": "h ai2 z i05",
    "孔子曰": "k ong2 z i03",
    "静静地走": "j ing4 j ing4 d e5",
    "红红的脸": "h ong2 h ong2 d e5",
    "看看妈妈": "k an4 k an5 m a1 m a5",
    "以上的天下": "y i3 sh ang4 d e5 t ian1 x ia4",
    "李冰冰": "b ing1 b ing1",
    "古书上说那是个千乘之国": "q ian1 sh eng4",
    "妈妈买了一包果脯": "g uo2 f u3",
    "你得早点出门": "n i2 d ei3",
    "他把鞋带系上了": "j i4 sh ang4",
    "孩子们在院子里和泥玩": "h uo2 n i2",
    "银\u200b行行长": "y in2 h ang2 h ang2 zh ang3",
    "\u2f00个\u2f08": "y i2 g e5 r en2",
    "答案选A还是D？": "x van3 EY1 h ai2 sh ir4 D IY1",
    "请拼一下名字：K A T E Kate": "K EY1 EY1 T IY1 IY1 K EY1 T",
}


@pytest.mark.parametrize(("text", "phones"), CASE_READINGS.items())
def test_readings(text: str, phones: str) -> None:
    assert phones in " ".join(to_phones(text, "zh").symbols)


def test_a_character_that_the_models_cannot_say_is_named() -> None:
    assert to_phones("𰻝𰻝面", "zh").unread == ("𰻝",)


def test_cantonese_readings() -> None:
    assert to_phones("瀡滑梯", "yue").symbols[:2] == ("Ys", "Yoe4")
    assert to_phones("效率", "yue").symbols[2:] == ("Yl", "Yeot6")
    assert to_phones("往返香港，返工", "yue").symbols[2:4] == ("Yf", "Yaan2")


@pytest.mark.parametrize(
    ("name", "language"),
    [("B01_zh_numbers", "zh"), ("B02_zh_ranges", "zh"), ("B02_ranges_yue_ja_ko_en", "yue"), ("B07_yue", "yue")],
)
def test_case_files(name: str, language: str) -> None:
    if not CASES.is_dir():
        pytest.skip("the cases are not beside the repository")
    for line in (CASES / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        fields = [] if line.startswith("#") else line.split("\t")
        if len(fields) == 3:
            fields = fields[1:] if fields[0] == language else []
        if not fields:
            continue
        text, expected = fields
        phones = to_phones(text, language)
        assert not phones.unread
        for piece in expected.replace("或", ";").replace(" ", ";").split(";"):
            if piece and not piece.isascii() and piece not in ("逐位", "三零二", "七十到八十"):
                assert piece in phones.normalised, (text, phones.normalised)
