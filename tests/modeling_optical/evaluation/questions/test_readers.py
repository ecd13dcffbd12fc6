"""Questions from files of exactly the published layouts."""

import csv
import json

import pytest
from datasets import Dataset

from modeling_optical.evaluation.questions import MEDICAL_SUBJECTS, SUBJECT_GROUPS, load_questions


def global_mmlu_row(number: int, text: str, answer: str = "B", **changes) -> dict:
    """A row with all columns of the data set."""
    row = {
        "sample_id": f"anatomy/test/{number}", "subject": "anatomy", "subject_category": "Medical", "question": text,
        "option_a": "moyo", "option_b": "ini", "option_c": "figo", "option_d": "pafu", "answer": answer,
        "required_knowledge": "[]", "time_sensitive": "[]", "reference": "[]", "culture": "[]", "region": "[]",
        "country": "[]", "cultural_sensitivity_label": "-", "is_annotated": False,
    }  # fmt: skip
    return row | changes


def write_global_mmlu(folder, language: str, rows: list[dict], split: str = "test"):
    (folder / language).mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(folder / language / f"{split}-00000-of-00001.parquet")


def test_global_mmlu_by_language_and_split(tmp_path):
    write_global_mmlu(tmp_path, "sw", [global_mmlu_row(0, "Kiungo gani?"), global_mmlu_row(1, "Wapi?", "D")])
    write_global_mmlu(tmp_path, "en", [global_mmlu_row(0, "Which organ?"), global_mmlu_row(1, "Where?", "D")])
    write_global_mmlu(tmp_path, "en", [global_mmlu_row(7, "Why?", "A", sample_id="anatomy/dev/0")], split="dev")
    swahili = load_questions(tmp_path, "sw")
    assert (swahili.name, swahili.language, swahili.choice_language) == ("global-mmlu-test", "sw", "sw")
    assert [(q.identifier, q.text, q.right, q.subject) for q in swahili.questions] == [
        ("anatomy/test/0", "Kiungo gani?", 1, "anatomy"),
        ("anatomy/test/1", "Wapi?", 3, "anatomy"),
    ]
    assert swahili.questions[0].choices == ("moyo", "ini", "figo", "pafu")
    english = load_questions(tmp_path, "sw", in_english=True)
    assert [q.text for q in english.questions] == ["Which organ?", "Where?"]
    assert (english.language, english.choice_language) == ("sw", "en")
    assert [q.identifier for q in load_questions(tmp_path, "en", split="dev").questions] == ["anatomy/dev/0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": "E"}, "row 2: the answer is 'E'; it must be A, B, C or D"),
        ({"subject": "virology"}, "does not begin with the subject 'virology'"),
        ({"sample_id": "anatomy/test/0"}, "the question id 'anatomy/test/0' appears twice"),
    ],
)
def test_a_broken_row_of_global_mmlu_is_named(tmp_path, changes, message):
    write_global_mmlu(tmp_path, "sw", [global_mmlu_row(0, "a"), global_mmlu_row(1, "b") | changes])
    with pytest.raises(ValueError, match=message):
        load_questions(tmp_path, "sw")


@pytest.mark.parametrize("name", ["sample_id", "question", "option_a", "option_d", "answer"])
@pytest.mark.parametrize("empty", [None, "", " ", "\u200b"])
def test_a_row_with_an_empty_cell_is_left_out_and_counted(tmp_path, caplog, name, empty):
    rows = [global_mmlu_row(0, "a"), global_mmlu_row(1, "b") | {name: empty}, global_mmlu_row(2, "c")]
    write_global_mmlu(tmp_path, "sw", rows)
    with caplog.at_level("WARNING"):
        found = load_questions(tmp_path, "sw")
    assert [question.identifier for question in found.questions] == ["anatomy/test/0", "anatomy/test/2"]
    [note] = found.notes
    assert note.startswith("1 question left out (")
    assert note.endswith(f"row 2: `{name}` is empty)")
    assert f"questions global-mmlu-test, sw: {note}." in caplog.text
    assert found.drawn(1).notes == found.notes


def test_a_row_that_mmmlu_leaves_out_does_not_move_the_ids_of_the_others(tmp_path):
    rows = [[n, "Swali?", "a", "" if n == 1 else "b", "c", "d", "C", "virology"] for n in range(3)]
    write_mmmlu(tmp_path, "mmlu_SW-KE.csv", rows)
    found = load_questions(tmp_path, "sw")
    assert [question.identifier for question in found.questions] == ["virology/test/0", "virology/test/2"]
    assert found.notes[0].startswith("1 question left out (")


def test_a_set_without_a_complete_row_is_refused(tmp_path):
    write_global_mmlu(tmp_path, "sw", [global_mmlu_row(0, "")])
    with pytest.raises(ValueError, match="there is no question in 'sw'"):
        load_questions(tmp_path, "sw")


def write_lines(file, rows: list[dict]):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def belebele_row(number: int, passage: str, question: str, answer: str = "3") -> dict:
    row = {"link": "https://example.org/a", "question_number": number, "flores_passage": passage, "question": question}
    return row | {f"mc_answer{n}": f"{n}" for n in (1, 2, 3, 4)} | {"correct_answer_num": answer}


def test_belebele_asks_a_question_behind_its_passage(tmp_path):
    write_lines(tmp_path / "data/swh_Latn.jsonl", [belebele_row(1, "Mbweha hubweka.", "Nini?"), belebele_row(2, "", "Nani?")])
    write_lines(tmp_path / "data/eng_Latn.jsonl", [belebele_row(1, "A fox barks.", "What?")])
    found, english = load_questions(tmp_path, "sw"), load_questions(tmp_path, "sw", in_english=True)
    assert [(q.identifier, q.text, q.right) for q in found.questions] == [
        ("belebele/https://example.org/a#1", "Mbweha hubweka. Nini?", 2)
    ]
    assert (found.name, found.choice_language, len(found.notes)) == ("belebele", "sw", 1)
    assert (english.questions[0].identifier, english.questions[0].text) == (found.questions[0].identifier, "A fox barks. What?")
    write_lines(tmp_path / "data/swh_Latn.jsonl", [belebele_row(1, "Mbweha.", "Nini?", "5")])
    with pytest.raises(ValueError, match=r"swh_Latn\.jsonl:1: correct_answer_num is '5'"):
        load_questions(tmp_path, "sw")


def test_xcopa_by_language_and_split(tmp_path):
    rows = [{"premise": "Kikombe kilivunjika.", "choice1": "Kilianguka.", "choice2": "Kilijaa.", "question": "cause",
             "label": 0, "idx": 7, "changed": False}]  # fmt: skip
    write_lines(tmp_path / "data/sw/test.sw.jsonl", rows)
    write_lines(tmp_path / "data/sw/val.sw.jsonl", [rows[0] | {"label": 1}])
    [question] = load_questions(tmp_path, "sw").questions
    assert (question.identifier, question.choices, question.right) == ("xcopa/test-7", ("Kilianguka.", "Kilijaa."), 0)
    assert load_questions(tmp_path, "sw", split="val").questions[0].right == 1
    with pytest.raises(FileNotFoundError, match=r"'tr, split test'. Languages here: sw \(test\), sw \(val\)"):
        load_questions(tmp_path, "tr")
    write_lines(tmp_path / "data/sw/test.sw.jsonl", [rows[0] | {"label": 2}])
    with pytest.raises(ValueError, match=r"test\.sw\.jsonl:1: the label is '2'"):
        load_questions(tmp_path, "sw")


def test_a_missing_column_or_language_is_named(tmp_path):
    write_global_mmlu(tmp_path, "sw", [{"sample_id": "anatomy/test/0", "subject": "anatomy"}])
    with pytest.raises(ValueError, match="the column 'question' is missing"):
        load_questions(tmp_path, "sw")
    with pytest.raises(FileNotFoundError, match=r"'fr, split test'. Languages here: sw \(test\)"):
        load_questions(tmp_path, "fr")


def write_mmmlu(folder, name: str, rows: list[list], header: str = ",Question,A,B,C,D,Answer,Subject"):
    (folder / "test").mkdir(parents=True, exist_ok=True)
    with open(folder / "test" / name, "w", encoding="utf-8", newline="") as stream:
        stream.write(header + "\n")
        csv.writer(stream).writerows(rows)


def test_mmmlu_by_language_with_the_english_questions_beside_it(tmp_path):
    write_mmmlu(tmp_path, "mmlu_SW-KE.csv", [[0, "Swali,\nrefu?", "a", "b", "c", "d", "C", "virology"]])
    write_mmmlu(tmp_path, "mmlu_EN-US.csv", [[0, "A long\nquestion?", "a", "b", "c", "d", "C", "virology"]])
    found = load_questions(tmp_path, "sw")
    assert (found.name, found.questions[0].identifier, found.questions[0].right) == ("mmmlu", "virology/test/0", 2)
    assert found.questions[0].text == "Swali,\nrefu?"
    english = load_questions(tmp_path, "sw", in_english=True)
    assert english.questions[0].identifier == found.questions[0].identifier
    assert english.questions[0].text == "A long\nquestion?"
    with pytest.raises(FileNotFoundError, match="Languages here: en, sw"):
        load_questions(tmp_path, "de")


def test_a_broken_line_of_mmmlu_is_named(tmp_path):
    write_mmmlu(tmp_path, "mmlu_SW-KE.csv", [[0, "Swali?", "a", "b", "c", "d", "x", "virology"]])
    with pytest.raises(ValueError, match=r"mmlu_SW-KE.csv:2: the answer is 'x'"):
        load_questions(tmp_path, "sw")
    write_mmmlu(tmp_path, "mmlu_SW-KE.csv", [], header=",Question,A,B,C,Answer,Subject")
    with pytest.raises(ValueError, match="the column 'D' is missing"):
        load_questions(tmp_path, "sw")


def write_documents(folder, language: str = "sw", documents: int = 5, sentences: int = 5):
    rows = [
        {"id": f"wiki_{d}:{s}", "document": f"wiki_{d}", "en": f"English {d} {s}", language: f"Swahili {d} {s}"}
        for d in range(documents)
        for s in range(sentences)
    ]
    folder.mkdir(exist_ok=True)
    (folder / f"{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_questions_from_documents_have_one_right_choice_and_none_of_the_text_asked_for(tmp_path):
    write_documents(tmp_path / "tico")
    found = load_questions(tmp_path / "tico", "sw", topic="medical", documents=["wiki_0", "wiki_1", "wiki_2", "wiki_3"])
    assert (found.name, found.choice_language) == ("medical-documents", "en")
    by_subject = {}
    for question in found.questions:
        by_subject.setdefault(question.subject, []).append(question)
        document, sentence = question.text.split()[1:]
        assert len(set(question.choices)) == 4
        assert all(choice.startswith("English") and "English 4" not in choice for choice in question.choices)
        following = question.subject == "medical_continuation"
        assert question.choices[question.right] == f"English {document} {int(sentence) + following}"
        own = [choice for choice in question.choices if choice.split()[1] == document]
        assert len(own) == (1 if following else 4), "a continuation's others are from other documents"
    assert {subject: len(own) for subject, own in by_subject.items()} == {"medical_translation": 20, "medical_continuation": 16}
    assert len({question.right for question in found.questions}) == 4, "the right choice stands anywhere"


def test_documents_give_the_same_questions_every_time_and_in_english(tmp_path):
    write_documents(tmp_path / "tico")
    found, again = (load_questions(tmp_path / "tico", "sw", topic="medical") for _ in range(2))
    assert found == again
    english = load_questions(tmp_path / "tico", "sw", topic="medical", in_english=True)
    for ours, theirs in zip(found.questions, english.questions, strict=True):
        assert (ours.identifier, ours.choices, ours.right) == (theirs.identifier, theirs.choices, theirs.right)
        assert theirs.text == ours.text.replace("Swahili", "English")


def test_sentences_of_many_languages_are_grouped_by_article_and_domain(tmp_path):
    rows = [
        {"id": f"s{i}", "article": f"a{i // 2}", "url": "", "domain": "wikinews", "en": f"English {i}", "sw": f"Swahili {i}"}
        for i in range(10)
    ]
    (tmp_path / "sentences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_questions(tmp_path, "sw", format="parallel-documents", topic="general")
    continued = [question for question in found.questions if question.subject == "general_continuation"]
    assert len(continued) == 5
    assert continued[0].choices[continued[0].right] == "English 1"


def test_what_documents_lack_is_said(tmp_path):
    write_documents(tmp_path / "tico")
    with pytest.raises(ValueError, match="there is no document 'wiki_9' in 'sw'"):
        load_questions(tmp_path / "tico", "sw", documents=["wiki_9"])
    with pytest.raises(FileNotFoundError, match="Languages here: sw"):
        load_questions(tmp_path / "tico", "fr")
    (tmp_path / "tico/so.jsonl").write_text('{"id": "a", "document": "b", "en": "c"}\n')
    with pytest.raises(ValueError, match=r"so.jsonl:1: no text in 'so'"):
        load_questions(tmp_path / "tico", "so")


def test_what_is_no_place_of_questions_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"question folder .* no file by which .*global-mmlu: .*mmmlu: "):
        load_questions(tmp_path, "sw")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_questions(tmp_path / "nowhere", "sw")
    with pytest.raises(ValueError, match="give `format`"):
        load_questions("somebody/else", "sw")
    with pytest.raises(ValueError, match="Known: global-mmlu, mmmlu, belebele, xcopa, parallel-documents"):
        load_questions(tmp_path, "sw", format="mmlu")


def test_fewer_drawn_questions_are_a_part_of_more_and_the_same_in_english(tmp_path):
    write_documents(tmp_path / "tico")
    found = load_questions(tmp_path / "tico", "sw")
    ids = [{q.identifier for q in found.drawn(count).questions} for count in (5, 9, None)]
    assert [len(one) for one in ids] == [5, 9, len(found)]
    assert ids[0] < ids[1] < ids[2]
    assert {q.identifier for q in load_questions(tmp_path / "tico", "sw", in_english=True).drawn(5).questions} == ids[0]


def test_the_57_subjects_are_in_four_groups_and_the_medical_ones_among_them():
    assert len(SUBJECT_GROUPS) == 57
    counts = {group: list(SUBJECT_GROUPS.values()).count(group) for group in set(SUBJECT_GROUPS.values())}
    assert counts == {"STEM": 18, "humanities": 13, "social sciences": 12, "other": 14}
    assert set(MEDICAL_SUBJECTS) <= {subject for subject, group in SUBJECT_GROUPS.items() if group == "other"}
