"""What the demo answers, without a browser."""

import re
import runpy
import shutil
import time

import pytest
import torch

from hub_cards.space.engine import LONGEST_TEXT, DemoEngine, DemoSettings, languages_of
from modeling_optical import OpticalModel


@pytest.fixture
def engine(settings):
    return DemoEngine(settings)


def test_the_best_document_comes_first_with_its_symbol_and_the_tokens_that_met(engine, settings):
    page = engine.search(settings.students["sw"], "the cat sat on the mat")
    first = page.split('class="optical-result"')[1]
    assert "🐈" in first
    assert re.search(r"<mark[^>]*>cat</mark>", first)
    assert "<bdi>cat</bdi> → <bdi>cat</bdi>" in first
    assert page.count('class="optical-result"') == 3


def test_another_student_is_loaded_only_where_the_operator_lets_visitors_name_one(settings, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "student", tmp_path / name)
    engine = DemoEngine(settings)
    for name in ("one", "two", "one", "two"):
        assert "optical-result" in engine.search(str(tmp_path / name), "cat")
    assert engine._other[0] == str(tmp_path / "two")
    assert list(engine._students) == list(dict.fromkeys(settings.students.values()))
    settings.other_students = False
    for ask in (engine.search, lambda name, text: engine.plan(name, text, text)):
        with pytest.raises(ValueError, match="has its own students only"):
            ask(str(tmp_path / "one"), "cat")


def test_texts_of_any_size_are_cut_before_anything_is_done_with_them(engine, settings):
    student, text = settings.students["sw"], "paka " * 5_000_000
    start = time.process_time()
    assert "A long query" in engine.search(student, text)
    assert "only its first 2,000 characters are read" in engine.plan(student, text, text)
    assert time.process_time() - start < 10


def test_ids_and_texts_are_shown_as_they_are_and_never_as_html(engine, settings, tmp_path):
    assert "<b>" not in engine.search(settings.students["sw"], "<script>alert(1)</script> search")
    assert "<script>" not in engine.plan(settings.students["sw"], "<script>", "<script>")


def test_an_empty_query_and_an_empty_side_get_a_note(engine, settings):
    assert "Type a query first." in engine.search(settings.students["sw"], "  \n ")
    assert "Type a sentence and its translation first." in engine.plan(settings.students["sw"], "the cat", "")


def test_ten_thousand_characters_are_answered_and_the_cut_is_told(engine, settings):
    page = engine.search(settings.students["sw"], "cat " * (LONGEST_TEXT // 4))
    assert "only its first 32 tokens are read" in page
    assert page.count('class="optical-result"') == 3


def test_student_and_teacher_stand_side_by_side_over_the_same_kind_of_tokens(engine, settings):
    page = engine.plan(settings.students["sw"], "the cat sat", "paka alikaa")
    assert page.count("<figure") == 2
    assert "The student reads the translation" in page
    assert "never learnt the language" in page


def test_the_index_is_made_once(settings, monkeypatch):
    DemoEngine(settings)

    def again(*args, **kwargs):
        raise AssertionError("the index is made again")

    monkeypatch.setattr("modeling_optical.OpticalRetriever.index", again)
    DemoEngine(settings)


def test_a_student_of_another_dimension_is_told(engine, bert, tmp_path):
    other = OpticalModel.from_backbone(bert, embedding_dim=4)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"4 dimensions, this demo's teacher of 8: it was distilled from another teacher"):
        engine.search(str(tmp_path / "other"), "cat")


def test_what_is_missing_is_told(settings, bert, tmp_path):
    with pytest.raises(ValueError, match=r"give a corpus \(--corpus\) or an index \(--index\)"):
        DemoEngine(DemoSettings(settings.students))
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.save_pretrained(tmp_path / "orphan")
    with pytest.raises(ValueError, match="give its teacher with --teacher"):
        DemoEngine(DemoSettings({"sw": str(tmp_path / "orphan")}, None, settings.corpus))


def test_settings_come_back_as_they_were_saved(settings, tmp_path):
    settings.corpus = "corpus.jsonl"
    (tmp_path / "settings.json").write_text(settings.save(), encoding="utf-8")
    loaded = DemoSettings.load(tmp_path / "settings.json")
    assert loaded.corpus == str(tmp_path / "corpus.jsonl")
    assert (loaded.students, loaded.examples) == (settings.students, settings.examples)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ValueError, match=r"settings.json holds no settings of the demo"):
        DemoSettings.load(tmp_path / "settings.json")


@pytest.mark.parametrize(
    ("metadata", "languages"),
    [
        ({"language": ["sw", "en"]}, ["sw"]),
        ({"language": ["zh", "en"], "language_bcp47": ["zh-Hant", "en"]}, ["zh-Hant"]),
        ({"language": "en"}, ["en"]),
        ({}, []),
    ],
)
def test_the_languages_are_those_of_the_card_without_the_teachers(metadata, languages):
    assert languages_of(metadata) == languages


def test_the_spaces_entry_serves_what_stands_in_the_settings_beside_it(settings, tmp_path, monkeypatch):
    from hub_cards import space_files

    shutil.copyfile(space_files.SPACE / "app.py", tmp_path / "app.py")
    settings.corpus = "corpus.jsonl"
    (tmp_path / "settings.json").write_text(settings.save(), encoding="utf-8")
    served = []
    monkeypatch.setattr("hub_cards.space.page.launch", served.append)
    runpy.run_path(str(tmp_path / "app.py"), run_name="__main__")
    assert "🐈" in served[0].search(settings.students["sw"], "the cat sat on the mat")
