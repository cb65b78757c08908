from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.support.corpus_fixture import TAKE, Results, utterance_id
from typer.testing import CliRunner

from voiceclone.commands.corrections import register
from voiceclone.corpus.corrections import read_corrections
from voiceclone.corpus.listfile import Imported, ListEntry, import_as_corrections, read_list, write_list
from voiceclone.errors import DataError
from voiceclone.stages.corpus import CorpusSettings


def test_codes_of_any_case_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.list"
    path.write_text("\ufeffa.wav|x|ZH|你好\r\n\nb.wav|x|En|Hi.\nc.wav|x|JP|はい\nd.wav|x|yue|係\n", encoding="utf-8")
    assert [entry.language for entry in read_list(path)] == ["zh", "en", "ja", "yue"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav|x|EN", "line 2 has 3 fields"),
        ("a.wav|x|EN|one|two", "line 2 has 5 fields"),
        ("a.wav|x|XX|text", "line 2: language 'XX' is unknown"),
        ("|x|EN|text", "line 2: the path is empty"),
        ("a.wav|x|EN| ", "line 2: the text is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.list"
    path.write_text(f"a.wav|x|EN|fine\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_list(path)


@pytest.mark.parametrize("text", ["one|two", "one\ntwo"])
def test_separators_inside_a_field_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="inside a field"):
        write_list(tmp_path / "a.list", [ListEntry("a.wav", "x", "en", text)])
    assert not (tmp_path / "a.list").exists()


def test_languages_without_a_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'de' has no code"):
        write_list(tmp_path / "a.list", [ListEntry("a.wav", "x", "de", "Ja.")])


def vars_of(entry: ListEntry) -> tuple[str, ...]:
    return entry.path, entry.speaker, entry.text


words = st.text(st.characters(exclude_characters="|\r\n", exclude_categories=("Cs",)), min_size=1).map(str.strip)


@given(st.lists(st.builds(ListEntry, words, words, st.sampled_from(["en", "zh", "ja", "ko", "yue"]), words)))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, entries: list[ListEntry]) -> None:
    whole = [entry for entry in entries if entry.path and entry.text and entry.path[0] not in '\ufeff"#\0']
    whole = [entry for entry in whole if '""' not in entry.text and "\0" not in "".join(vars_of(entry))]
    path = tmp_path_factory.mktemp("list") / "a.list"
    write_list(path, whole)
    assert read_list(path) == whole


def test_a_proofread_list_becomes_corrections(tmp_path: Path) -> None:
    results = Results(tmp_path)
    corpus = results.build(CorpusSettings())
    text = (corpus / "anna.list").read_text(encoding="utf-8").replace("quiet", "loud").replace("slices/", "D:\\x\\")
    edited = tmp_path / "edited.list"
    edited.write_text(text + "other.wav|anna|EN|Not ours.\n", encoding="utf-8")
    assert import_as_corrections(edited, results.folder, results.corrections) == Imported(1, 0, 11, ("other.wav",), 0)
    (correction,) = read_corrections(results.corrections)
    assert (correction.utterance, correction.action) == (utterance_id(0), "text")
    assert correction.value == "The harbour was loud before the first boats came in."
    results.build(CorpusSettings())
    assert read_list(corpus / "anna.list")[0].text == correction.value


def corpus_of_cases(results: Path) -> None:
    """The corpus that the case files speak of."""
    first, second = "01-hello-45c3df28-0000490-0003090", "01-hello-45c3df28-0003670-0007760"
    (results / "corpus").mkdir(parents=True)
    (results / "corpus" / "corpus.tsv").write_text(
        f"utterance\ttext\tlanguage\n{first}\tA first sentence.\ten\n{second}\tPrices rose.\ten\n"
    )
    (results / "corpus" / "rejected.tsv").write_text("utterance\n")


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("B14_cp1252.list", {("text", "A corrected first sentence."), ("text", "Café prices rose.")}),
        (
            "B14_gbk.list",
            {("text", "A corrected first sentence."), ("text", "融资四亿美元。"), ("language", "zh")},
        ),
        ("B14_sbv2_lang.list", {("text", "今日はいい天気です。"), ("language", "ja")}),
        ("B14_six_columns.list", {("text", "A corrected first sentence.")}),
    ],
)
def test_lists_from_the_field(shared_cases: Path, tmp_path: Path, case: str, expected: set[tuple[str, str]]) -> None:
    corpus_of_cases(tmp_path / "demo")
    import_as_corrections(shared_cases / case, tmp_path / "demo", tmp_path / "demo.tsv")
    assert {(item.action, item.value) for item in read_corrections(tmp_path / "demo.tsv")} == expected


def test_two_texts_for_one_utterance_name_the_file_and_both_lines(tmp_path: Path) -> None:
    corpus_of_cases(tmp_path / "demo")
    mine = tmp_path / "mine.list"
    line = "01-hello-45c3df28-0000490-0003090.wav|demo|EN|"
    mine.write_text(f"{line}First version.\n{line}Second version.\n")
    with pytest.raises(DataError, match=r"mine\.list: lines 1 and 2 say different things"):
        import_as_corrections(mine, tmp_path / "demo", tmp_path / "demo.tsv")
    mine.write_text(f"{line}First version.\n{line}First version.\n")
    assert import_as_corrections(mine, tmp_path / "demo", tmp_path / "demo.tsv").texts == 1


def test_quotes_that_a_spreadsheet_doubled(tmp_path: Path) -> None:
    path = tmp_path / "a.list"
    path.write_text('"a.wav|x|EN|He said ""hi"", and left."\nb.wav|x|EN|"She said ""no""."\nc.wav|x|EN|"Oh, well."\n')
    assert [entry.text for entry in read_list(path)] == ['He said "hi", and left.', 'She said "no".', '"Oh, well."']


def test_corrections_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "demo.tsv"
    path.write_bytes("utterance\taction\tvalue\tnote\na-0000490-0003090\ttext\tCafé prices.\t\n".encode("cp1252"))
    assert read_corrections(path)[0].value == "Café prices."


def test_the_commands_check_merge_export_and_import(tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    results = Results(tmp_path)
    corpus = results.build(CorpusSettings())
    folder = tmp_path / "corrections"

    def run(*arguments: str) -> str:
        given = [*arguments, "--results", str(results.folder.parent)] if arguments[1] != "merge" else arguments
        given = [*given, "--corrections", str(folder)] if arguments[1] != "export" else given
        outcome = CliRunner().invoke(app, list(given), catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    download = tmp_path / "download.tsv"
    download.write_text(f"utterance\taction\tvalue\tnote\n{utterance_id(2)}\tdrop\t\tcough\n", encoding="utf-8")
    assert "1 corrections merged" in run("corrections", "merge", "anna", str(download))
    checked = run("corrections", "check", "anna")
    assert f"{utterance_id(2)}  drop" in checked
    assert "1 corrections, all valid" in checked

    exported = tmp_path / "out.list"
    run("list", "export", "anna", "-o", str(exported))
    entries = read_list(exported)
    assert len(entries) == 12
    assert entries[0].path == str(results.folder.resolve() / "slices" / TAKE / f"{utterance_id(0)}.flac")
    exported.write_text(exported.read_text(encoding="utf-8").replace("baker", "miller"), encoding="utf-8")
    assert "1 texts and 0 languages imported" in run("list", "import", str(exported), "--speaker", "anna")
    assert sum("\ttext\t" in line for line in (folder / "anna.tsv").read_text(encoding="utf-8").splitlines()) == 1
    assert (corpus / "corpus.tsv").is_file()
