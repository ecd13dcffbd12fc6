"""CIRAL and AfriCLIRMatrix: English queries over African documents. AfriQA: African questions over English and French ones."""

import pytest

from modeling_optical.evaluation import load_collection

CIRAL = {
    "ciral/ciral-hausa/topics/topics.ciral-v1.0-ha-dev.tsv": "5\tWho won?\n",
    "ciral/ciral-swahili/topics/topics.ciral-v1.0-sw-dev.tsv": "1\tWhat did the minister say?\n",
    "ciral/ciral-swahili/topics/topics.ciral-v1.0-sw-test-a.tsv": "101\tWhy did prices rise?\n102\tWho resigned?\n",
    "ciral/ciral-swahili/qrels/qrels.ciral-v1.0-sw-dev.tsv": "1 Q0 d1 1\n",
    "ciral/ciral-swahili/qrels/qrels.ciral-v1.0-sw-test-a.tsv": "101 Q0 d1 1\n101 Q0 d2 0\n102 Q0 d2 1\n",
    "ciral/ciral-swahili/qrels/qrels.ciral-v1.0-sw-test-a-pools.tsv": "101 Q0 d2 1\n",
    "ciral-corpus/passages-v1.0/swahili_passages.jsonl": [
        {"docid": "d1", "title": "Bei", "text": "Bei zimepanda.", "url": "https://example.org/1"},
        {"docid": "d2", "title": "", "text": "Amejiuzulu.", "url": "https://example.org/2"},
    ],
}
MATRIX = {
    "test/queries/topics.africlirmatrix-v1.0.en.swa.tsv": "536\tNairobi\n781\tLake Victoria\n",
    "test/qrels/qrels.africlirmatrix-v1.0.en.swa.txt": "536 Q0 10 6\n781 Q0 11 5\n781 Q0 10 4\n",
    "africlirmatrix-v1.0-swahili/corpus.jsonl": [{"id": "10", "contents": "Nairobi ni mji"}, {"id": 11, "contents": "Ziwa"}],
}


def test_ciral_gives_english_queries_over_the_passages_of_the_language(write):
    found = load_collection(write(CIRAL), "sw")
    assert (found.name, found.language, found.query_language) == ("ciral-test-a", "sw", "en")
    assert found.queries == {"101": "Why did prices rise?", "102": "Who resigned?"}
    assert found.qrels == {"101": {"d1": 1, "d2": 0}, "102": {"d2": 1}}
    assert dict(found.corpus.items()) == {"d1": "Bei Bei zimepanda.", "d2": "Amejiuzulu."}


def test_the_pools_of_ciral_are_other_judgements_of_the_same_queries(write):
    found = load_collection(write(CIRAL), "sw", split="test-a-pools")
    assert found.qrels == {"101": {"d2": 1}}


def test_a_language_that_ciral_lacks_is_told(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'so'\. Languages here: ha, sw\."):
        load_collection(write(CIRAL), "so")


def test_ciral_without_its_corpus_says_where_the_corpus_is(write):
    with pytest.raises(FileNotFoundError, match=r"swahili_passages\.jsonl is missing; it is in CIRAL/ciral-corpus"):
        load_collection(write({name: text for name, text in CIRAL.items() if "passages" not in name}), "sw")


@pytest.mark.parametrize("language", ["sw", "swa"])
def test_africlirmatrix_takes_two_and_three_letters(write, language):
    found = load_collection(write(MATRIX), language)
    assert (found.name, found.language, found.query_language) == ("africlirmatrix", language, "en")
    assert found.queries == {"536": "Nairobi", "781": "Lake Victoria"}
    assert found.qrels == {"536": {"10": 6}, "781": {"11": 5, "10": 4}}
    assert dict(found.corpus.items()) == {"10": "Nairobi ni mji", "11": "Ziwa"}


def test_africlirmatrix_reads_a_packed_corpus_too(write):
    packed = {name.replace("corpus.jsonl", "corpus.jsonl.gz"): content for name, content in MATRIX.items()}
    assert len(load_collection(write(packed), "sw").corpus) == 2


def test_documents_of_another_language_are_not_taken(write):
    files = {name.replace("-swahili/", "-hausa/"): content for name, content in MATRIX.items()}
    with pytest.raises(FileNotFoundError, match=r"africlirmatrix-v1\.0-swahili/corpus\.jsonl is missing.*here: hausa"):
        load_collection(write(files), "sw")


def gold(number: int, question: str, translated: str, title: str, context: str) -> dict:
    answer = {"answer_start": [0], "text": ["x"]}
    return {
        "answer_pivot": answer, "context": context, "id": str(number), "question_lang": question,
        "question_translated": translated, "title": title, "answer_lang": "x",
    }  # fmt: skip


AFRIQA = {
    "data/gold_passages/swa/gold_span_passages.afriqa.swa.en.test.json": [
        gold(0, "Nani alianzisha FORD-Kenya?", "Who founded FORD-Kenya?", "FORD-Kenya", "It was founded by Odinga."),
        gold(0, "Mji mkuu ni upi?", "Which is the capital?", "Nairobi", "Nairobi is the capital."),
        gold(1, "Mji mkuu ni upi?", "Which is the capital?", "Kenya", "Its capital is Nairobi."),
    ],
    "data/gold_passages/hau/gold_span_passages.afriqa.hau.en.train.json": [
        gold(0, "Wane ne?", "Who is it?", "Nairobi", "Nairobi  is the capital."),
        gold(1, "Yaushe?", "When?", "Kano", "Kano is old."),
    ],
    "data/gold_passages/wol/gold_span_passages.afriqa.wol.fr.test.json": [gold(0, "Kan la?", "Qui ?", "Dakar", "Une ville.")],
    "data/queries/swa/queries.afriqa.swa.en.test.json": [{"id": 0, "question": "not read"}],
}


@pytest.mark.parametrize("language", ["sw", "swa"])
def test_afriqa_searches_the_gold_passages_of_all_languages_with_the_same_pivot(write, language):
    found = load_collection(write(AFRIQA), language)
    assert (found.name, found.language, found.query_language) == ("afriqa-test", language, language)
    assert list(found.corpus.values()) == [
        "Nairobi Nairobi is the capital.",
        "Kano Kano is old.",
        "FORD-Kenya It was founded by Odinga.",
        "Kenya Its capital is Nairobi.",
    ]
    texts = {query: {found.corpus[document] for document in grades} for query, grades in found.qrels.items()}
    capital = {"Nairobi Nairobi is the capital.", "Kenya Its capital is Nairobi."}
    assert texts == {"0": {"FORD-Kenya It was founded by Odinga."}, "1": capital, "2": capital}
    assert found.queries["0"] == "Nani alianzisha FORD-Kenya?"


def test_the_translated_questions_of_afriqa_are_in_the_passages_language(write):
    found = load_collection(write(AFRIQA), "wo", split="test-translated")
    assert (found.name, found.query_language, found.queries) == ("afriqa-test-translated", "fr", {"0": "Qui ?"})
    assert list(found.corpus.values()) == ["Dakar Une ville."]


def test_what_afriqa_lacks_is_named(write):
    root = write(AFRIQA)
    with pytest.raises(FileNotFoundError, match=r"no queries in 'yo'\. Languages here: hau, swa, wol"):
        load_collection(root, "yo")
    with pytest.raises(FileNotFoundError, match=r"no split 'dev' in 'swa'\. Splits: test"):
        load_collection(root, "sw", split="dev")
    with pytest.raises(ValueError, match=r"wol\.fr\.test\.json:1: `context` is missing"):
        load_collection(write({"x/gold_span_passages.afriqa.wol.fr.test.json": [{"id": "0", "question_lang": "Kan la?",
                        "question_translated": "Qui ?", "title": "Dakar"}]}), "wo")  # fmt: skip
