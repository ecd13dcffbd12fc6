"""Mewsli-X, LAReQA and Tatoeba in their published files."""

import json
import random

import pytest

from modeling_optical.evaluation import load_collection, per_query

ARTICLE = "26 de marzo de 2012. Un sismo de 6,8 grados en la escala de Richter sacudió Chile. Nada más."
START = ARTICLE.index("escala de Richter")


def mentions(text: str = ARTICLE, language: str = "es") -> dict:
    sentences = [[0, 20], [21, ARTICLE.index(" Nada")], [ARTICLE.index("Nada"), len(ARTICLE)]]
    return {
        "context": {"document_id": "es-1", "language": language, "text": text, "sentence_spans": sentences},
        "mentions": [
            {
                "example_id": f"m-{language}",
                "entity_id": "Q38768",
                "mention_span": {"start": START, "end": START + 17, "text": "escala de Richter"},
            }
        ],
    }


MEWSLI = {
    "wikinews_mentions-test.jsonl": [mentions(), mentions(language="tr")],
    "candidate_set_entities.jsonl": [
        {
            "entity_id": "Q38768",
            "title": "Skala Richter",
            "description": "Skala Richter adalah …",
            "description_language": "id",
        },
        {"entity_id": "Q42", "title": "Douglas Adams", "description": "English author.", "description_language": "en"},
    ],
}


def test_a_mention_with_its_sentence_finds_its_entity(write):
    found = load_collection(write(MEWSLI), "es")
    assert found.name == "mewsli-x-test"
    expected = "escala de Richter: Un sismo de 6,8 grados en la escala de Richter sacudió Chile."
    assert found.queries == {"m-es": expected}
    assert found.qrels == {"m-es": {"Q38768": 1}}
    assert dict(found.corpus.items())["Q38768"] == "Skala Richter Skala Richter adalah …"


def test_sentence_spans_are_read_as_objects_too(write):
    record = mentions()
    record["context"]["sentence_spans"] = [{"start": s, "end": e} for s, e in record["context"]["sentence_spans"]]
    found = load_collection(write(MEWSLI | {"wikinews_mentions-test.jsonl": [record]}), "es")
    assert found.queries["m-es"].endswith("sacudió Chile.")


def test_mewsli_without_the_article_texts_says_how_to_restore_them(write):
    files = MEWSLI | {"wikinews_mentions-test.jsonl": [mentions(text="")]}
    with pytest.raises(ValueError, match=r"test\.jsonl:1: the article's text is empty.*get-mewsli-x\.sh"):
        load_collection(write(files), "es")
    with pytest.raises(FileNotFoundError, match=r"wikinews_mentions-dev\.jsonl is missing"):
        load_collection(write(MEWSLI), "es", split="dev")


def squad(sentences: list[str], answers: dict[str, tuple[str, str]]) -> str:
    context = " ".join(sentences)
    breaks, start = [], 0
    for sentence in sentences:
        breaks.append([start, start + len(sentence)])
        start += len(sentence) + 1
    questions = [
        {"id": key, "question": question, "answers": [{"answer_start": context.index(answer), "text": answer}]}
        for key, (question, answer) in answers.items()
    ]
    paragraph = {"context": context, "qas": questions, "sentences": sentences, "sentence_breaks": breaks}
    return json.dumps({"data": [{"paragraphs": [paragraph]}]}, ensure_ascii=False)


LAREQA = {
    "xquad-r/en.json": squad(
        ["The defense gave up 308 points.", "Short led with 11 sacks."],
        {"a": ("How many points?", "308"), "b": ("Who led?", "Short")},
    ),
    "xquad-r/de.json": squad(
        ["Die Abwehr gab 308 Punkte ab.", "Short führte mit 11 Sacks."],
        {"a": ("Wie viele Punkte?", "308"), "b": ("Wer führte?", "Short")},
    ),
}


def test_a_question_finds_its_answer_in_every_language_of_the_pool(write):
    found = load_collection(write(LAREQA), "de")
    assert (found.name, found.parallel) == ("xquad-r", True)
    assert found.queries == {"a": "Wie viele Punkte?", "b": "Wer führte?"}
    assert found.qrels == {"a": {"de-0-0": 1, "en-0-0": 1}, "b": {"de-0-1": 1, "en-0-1": 1}}
    texts = dict(found.corpus.items())
    assert len(texts) == 4
    assert texts["en-0-1"] == "Short led with 11 sacks. The defense gave up 308 points. Short led with 11 sacks."


def test_an_answer_outside_every_sentence_is_refused(write):
    broken = json.loads(LAREQA["xquad-r/de.json"])
    broken["data"][0]["paragraphs"][0]["sentence_breaks"][0] = [0, 1]
    with pytest.raises(ValueError, match=r"de\.json, paragraph 1: the answer to question 'a' is in no sentence"):
        load_collection(write(LAREQA | {"xquad-r/de.json": json.dumps(broken)}), "de")


def test_a_plain_squad_file_is_not_lareqa(write):
    with pytest.raises(ValueError, match=r"de\.json: not in LAReQA's format"):
        load_collection(write(LAREQA | {"xquad-r/de.json": '{"data": [{"paragraphs": [{"context": ""}]}]}'}), "de")


TATOEBA = {
    "tatoeba.swh-eng.swh": "Habari gani?\nNinasoma kitabu.\n",
    "tatoeba.swh-eng.eng": "How are you?\nI am reading a book.\n",
    "tatoeba.deu-eng.deu": "Wie geht's?\n",
    "tatoeba.deu-eng.eng": "How are you?\n",
}


@pytest.mark.parametrize("language", ["sw", "swh"])
def test_line_i_translates_line_i(write, language):
    found = load_collection(write(TATOEBA), language)
    assert found.queries == {"0": "Habari gani?", "1": "Ninasoma kitabu."}
    assert dict(found.corpus.items()) == {"0": "How are you?", "1": "I am reading a book."}
    assert found.qrels == {"0": {"0": 1}, "1": {"1": 1}}


def test_files_of_different_length_are_refused(write):
    with pytest.raises(ValueError, match=r"tatoeba\.swh-eng\.swh has 2 lines, tatoeba\.swh-eng\.eng 1"):
        load_collection(write(TATOEBA | {"tatoeba.swh-eng.eng": "How are you?\n"}), "sw")


def test_a_language_that_tatoeba_lacks_is_told(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'fi'\. Languages here: deu, swh\."):
        load_collection(write(TATOEBA), "fi")


XQUAD_R = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"]


def official_average_precision(targets: set[str], ranking: list[str], k: int) -> float:
    """As LAReQA and XTREME-R define it: the divisor is the smaller of k and the number of relevant documents."""
    hits, total = 0, 0.0
    for rank, document in enumerate(ranking[:k], 1):
        if document in targets:
            hits += 1
            total += hits / rank
    return total / min(len(targets), k)


def test_mean_average_precision_at_20_of_lareqa_is_ap_at_20():
    generator = random.Random(0)
    pool = [f"{language}-{n}" for language in XQUAD_R for n in range(20)]
    # An answer in each of the eleven languages.
    qrels = {f"q{n}": {document: 1 for document in pool if document.endswith(f"-{n}")} for n in range(20)}
    run = {query: {document: generator.random() + (document in own) / 3 for document in pool} for query, own in qrels.items()}
    values = per_query(qrels, run, ["AP@20"])["AP@20"]
    for query, own in qrels.items():
        ranking = sorted(pool, key=lambda document: -run[query][document])
        assert values[query] == pytest.approx(official_average_precision(set(own), ranking, 20))


def test_accuracy_of_tatoeba_is_success_at_1(write):
    found = load_collection(write(TATOEBA), "sw")
    run = {"0": {"0": 0.9, "1": 0.1}, "1": {"0": 0.8, "1": 0.7}}
    assert per_query(found.qrels, run, ["Success@1"])["Success@1"] == {"0": 1.0, "1": 0.0}
