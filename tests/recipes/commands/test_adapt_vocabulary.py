"""`optical adapt-vocabulary`: a student with a vocabulary, its table and its record."""

import json
from pathlib import Path

import pytest
from transformers import AutoModel

from modeling_optical import OpticalModel
from recipes.cli import main
from trainer.vocabulary import TranslationTable

ENGLISH = ["search works", "the teacher is good", "good search works", "the teacher works"]
HINDI = ["खोज काम करती है", "शिक्षक अच्छा है", "खोज अच्छा काम", "शिक्षक काम करती"]
SWAHILI = ["utafutaji hufanya kazi", "mwalimu ni mzuri", "utafutaji mzuri", "mwalimu hufanya kazi"]


@pytest.fixture
def folder(tmp_path: Path, bert: str) -> Path:
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.save_pretrained(tmp_path / "model")
    for code, texts in (("hi", HINDI), ("sw", SWAHILI)):
        rows = "".join(f"{en}\t{text}\n" for en, text in zip(ENGLISH, texts, strict=True))
        (tmp_path / f"{code}.tsv").write_text(f"en\t{code}\n{rows}", encoding="utf-8")
    return tmp_path


def adapt(folder: Path, *arguments: str) -> int:
    return main(["adapt-vocabulary", "--student", str(folder / "model"), "--output", str(folder / "adapted"), *arguments])


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_several_languages_in_one_vocabulary(folder: Path, capsys, mode: str):
    files = ["--bitext", str(folder / "hi.tsv"), "--bitext", str(folder / "sw.tsv"), "--target", "hi", "--target", "sw"]
    assert adapt(folder, *files, "--size", "150", "--mode", mode) == 0
    student = AutoModel.from_pretrained(folder / "adapted")
    tokenizer = student.get_processor().tokenizer
    assert tokenizer.tokenize("शिक्षक") == ["शिक्षक"]
    assert len(student.encode_query(["खोज mwalimu"])[0]) > 2
    record = json.loads((folder / "adapted/vocabulary.json").read_text(encoding="utf-8"))
    assert set(record["report"]["by_language"]) == {"hi", "sw"}
    assert record["provenance"]["options"]["mode"] == mode
    old = AutoModel.from_pretrained(folder / "model").get_processor().tokenizer
    TranslationTable.load(folder / "adapted/translations.npz").check(tokenizer, old)
    assert "tokens per word" in capsys.readouterr().out


def test_the_language_that_the_student_knows_may_have_another_script(folder: Path, capsys):
    rows = "".join(f"{ru}\t{text}\n" for ru, text in zip(["поиск работает", "учитель хорош"], SWAHILI[:2], strict=True))
    (folder / "named.tsv").write_text(f"ru\tsw\n{rows}", encoding="utf-8")
    (folder / "ru.tsv").write_text(rows, encoding="utf-8")
    columns = ["--bitext", str(folder / "ru.tsv"), "--source", "0", "--target", "1", "--language", "sw", "--size", "60"]
    assert adapt(folder, *columns) == 2
    assert "en text not in Latn" in capsys.readouterr().err
    assert adapt(folder, *columns, "--source-language", "ru") == 0
    named = ["--bitext", str(folder / "named.tsv"), "--source", "ru", "--target", "sw", "--size", "60"]
    assert adapt(folder, *named, "--overwrite") == 0


def test_a_folder_that_is_there_is_replaced_only_when_asked(folder: Path, capsys):
    files = ["--bitext", str(folder / "hi.tsv"), "--target", "hi", "--size", "60"]
    assert adapt(folder, *files) == 0
    assert adapt(folder, *files) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert adapt(folder, *files, "--overwrite") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bitext", "hi.tsv", "--target", "hi", "--target", "sw"], "--target is given 2 times and --bitext 1 times"),
        (["--bitext", "a", "b", "c", "--target", "hi"], "--bitext takes one file or two, not 3"),
        (["--bitext", "hi.tsv", "--source", "0", "--target", "1"], "is a column number, so the language is not known"),
        (["--bitext", "nowhere.tsv", "--target", "hi"], "bitext file 'nowhere.tsv' does not exist"),
        (["--bitext", "hi.tsv", "--target", "hi", "--size", "0"], "vocabulary.size is 0"),
        (["--bitext", "hi.tsv", "--target", "hi", "--temperature", "0"], "temperature is 0"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_nothing(folder: Path, capsys, monkeypatch, arguments: list[str], message: str):
    monkeypatch.chdir(folder)
    assert adapt(folder, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "adapted").exists()
