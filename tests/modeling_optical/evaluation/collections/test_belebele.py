"""Belebele in its published files, read as MTEB reads it."""

import pytest

from modeling_optical.evaluation import load_collection


def row(link: str, number: int, passage: str, question: str, **changes) -> dict:
    answers = {f"mc_answer{n}": f"{question} {n}" for n in (1, 2, 3, 4)}
    rest = {"correct_answer_num": "2", "dialect": "x", "ds": "2023-05-03"}
    return {"link": link, "question_number": number, "flores_passage": passage, "question": question} | answers | rest | changes


FILES = {
    "data/eng_Latn.jsonl": [
        row("https://example.org/fox", 1, "A fox barks.", "What barks?"),
        row("https://example.org/fox", 2, "A fox barks.", "What does a fox do?"),
        row("https://example.org/dog", 1, "A dog sleeps.", "Who sleeps?"),
    ],
    "data/swh_Latn.jsonl": [
        row("https://example.org/dog", 1, "Mbwa hulala.", "Nani hulala?"),
        row("https://example.org/fox", 1, "Mbweha hubweka.", "Nini hubweka?"),
        row("https://example.org/fox", 2, "Mbweha hubweka.", "Mbweha hufanya nini?"),
    ],
    "data/arb_Arab.jsonl": [row("https://example.org/fox", 1, "ثعلب", "ماذا؟")],
    "data/arb_Latn.jsonl": [row("https://example.org/fox", 1, "thaclab", "maadhaa?")],
    "data/zho_Hans.jsonl": [row("https://example.org/fox", 1, "狐狸", "什么?")],
    "data/zho_Hant.jsonl": [row("https://example.org/fox", 1, "狐狸", "什麼?")],
}
FOX, DOG = "https://example.org/fox", "https://example.org/dog"


@pytest.mark.parametrize("code", ["sw", "swh", "swa", "swh_Latn"])
def test_questions_in_the_language_search_english_passages(write, code):
    found = load_collection(write(FILES), code)
    assert (found.name, found.language, found.query_language, found.parallel) == (
        "belebele-english-documents",
        code,
        code,
        True,
    )
    assert found.corpus == {FOX: "A fox barks.", DOG: "A dog sleeps."}
    assert found.queries == {f"{DOG}#1": "Nani hulala?", f"{FOX}#1": "Nini hubweka?", f"{FOX}#2": "Mbweha hufanya nini?"}
    assert found.qrels == {f"{DOG}#1": {DOG: 1}, f"{FOX}#1": {FOX: 1}, f"{FOX}#2": {FOX: 1}}


def test_english_questions_search_passages_in_the_language_and_the_language_its_own(write):
    root = write(FILES)
    english = load_collection(root, "sw", split="english-questions")
    assert (english.query_language, english.parallel) == ("en", False)
    assert english.corpus[FOX] == "Mbweha hubweka."
    assert english.queries[f"{FOX}#1"] == "What barks?"
    own = load_collection(root, "sw", split="one-language")
    assert (own.corpus, own.queries[f"{FOX}#1"]) == (english.corpus, "Nini hubweka?")
    with pytest.raises(ValueError, match=r"no split 'test'\. Splits: english-documents, english-questions, one-language"):
        load_collection(root, "sw", split="test")


def test_a_question_that_is_asked_of_two_passages_has_both_for_answers(write):
    twice = [row(FOX, 1, "A fox barks.", "Who is it?"), row(DOG, 1, "A dog sleeps.", "Who is it?")]
    found = load_collection(write({"data/eng_Latn.jsonl": twice}), "en")
    assert found.qrels == {f"{FOX}#1": {FOX: 1, DOG: 1}, f"{DOG}#1": {FOX: 1, DOG: 1}}


@pytest.mark.parametrize(("code", "text"), [("ar", "ماذا؟"), ("arb_Latn", "maadhaa?"), ("zh", "什么?"), ("zho_Hant", "什麼?")])
def test_a_code_with_several_scripts_means_the_usual_one(write, code, text):
    assert list(load_collection(write(FILES), code).queries.values()) == [text]


def test_a_language_that_belebele_lacks_and_a_broken_line_are_named(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'fi'\. Languages here: arb_Arab, arb_Latn, eng_Latn, swh_Latn"):
        load_collection(write(FILES), "fi")
    broken = [{key: value for key, value in FILES["data/swh_Latn.jsonl"][0].items() if key != "link"}]
    with pytest.raises(ValueError, match=r"swh_Latn\.jsonl:1: `link` is missing"):
        load_collection(write(FILES | {"data/swh_Latn.jsonl": broken}), "sw")
