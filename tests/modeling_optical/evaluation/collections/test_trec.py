"""TREC-style collections: topics of NeuCLIR, CLEF and TREC, judgements, documents in JSONL and SGML."""

import pytest

from modeling_optical.evaluation import load_collection


def topic(number: str, *titles: tuple[str, str, str]) -> dict:
    texts = [
        {"lang": lang, "source": source, "topic_title": title, "topic_description": f"about {title}", "topic_narrative": "n"}
        for lang, source, title in titles
    ]
    return {"topic_id": number, "languages_with_qrels": ["zho"], "topics": texts}


NEUCLIR = {
    "topics.0720.utf8.jsonl": [
        topic(
            "1",
            ("eng", "original", "vaccines"),
            ("zho", "google translation", "疫苗机器"),
            ("zho", "human translation", "疫苗"),
        ),
        topic("2", ("eng", "original", "floods"), ("zho", "human translation", "洪水"), ("zho", "google translation", "水")),
    ],
    "2022-qrels.all": "1 zho z1 3\n1 zho z2 0\n1 fas f1 1\n2 zho z2 1\n2 rus r1 1\n",
    "data/zho-00000-of-00001.jsonl.gz": [
        {"id": "z1", "title": "标题", "text": "疫苗的文章", "url": "u", "time": "t", "cc_file": "c"},
        {"id": "z2", "title": "", "text": "洪水", "url": "u", "time": "t", "cc_file": "c"},
    ],
    "data/fas-00000-of-00001.jsonl.gz": [{"id": "f1", "title": "", "text": "متن", "url": "u", "time": "t", "cc_file": "c"}],
}
CLEF_DOCUMENTS = """<DOC>
<DOCNO>LA010194-0001</DOCNO>
<DOCID>1</DOCID>
<HEADLINE><P>Caf&eacute; closes</P></HEADLINE>
<TEXT>
<P>The café
closed.</P>
</TEXT>
<SUBJECT>not text</SUBJECT>
</DOC>
<DOC>
<DOCNO> LA010194-0002 </DOCNO>
<TEXT>Rain.</TEXT>
</DOC>
"""
CLEF = {
    "topics.de.xml": """<topics>
<topic lang="de"><identifier>10.2452/451-AH</identifier><title>Caf&#233; geschlossen</title>
<description>Finde Berichte.</description><narrative>…</narrative></topic>
<topic lang="de"><identifier>10.2452/452-AH</identifier><title>Regen</title><description>Wetter.</description></topic>
</topics>""",
    "topics.fi.xml": '<topics><topic lang="fi"><identifier>10.2452/452-AH</identifier><title>Sade</title></topic></topics>',
    "qrels.txt": "10.2452/451-AH 0 LA010194-0001 1\n10.2452/452-AH 0 LA010194-0002 1\n",
    "documents/la/la010194": CLEF_DOCUMENTS,
}


def test_neuclir_gives_topics_documents_and_judgements_of_one_language(write):
    found = load_collection(write(NEUCLIR), "zh")
    assert found.queries == {"1": "疫苗", "2": "洪水"}  # the human translation, not the machine's
    assert found.qrels == {"1": {"z1": 3, "z2": 0}, "2": {"z2": 1}}
    assert dict(found.corpus.items()) == {"z1": "标题 疫苗的文章", "z2": "洪水"}
    assert not found.parallel


def test_english_queries_over_chinese_documents(write):
    found = load_collection(write(NEUCLIR), "en:zh")
    assert (found.language, found.query_language) == ("en-zh", "en")
    assert found.queries == {"1": "vaccines", "2": "floods"}
    assert set(dict(found.corpus.items())) == {"z1", "z2"}


def test_the_description_is_part_of_the_query_if_asked_for(write):
    assert load_collection(write(NEUCLIR), "en:zh", format="trec-td").queries["2"] == "floods about floods"


def test_clef_topics_and_sgml_documents_are_read(write):
    found = load_collection(write(CLEF), "de")
    assert found.queries == {"10.2452/451-AH": "Café geschlossen", "10.2452/452-AH": "Regen"}
    assert dict(found.corpus.items()) == {"LA010194-0001": "Café closes The café closed.", "LA010194-0002": "Rain."}
    assert found.parallel
    assert load_collection(write(CLEF), "fi").queries == {"10.2452/452-AH": "Sade"}


def test_documents_in_latin_1_are_read(write):
    root = write(CLEF)
    (root / "documents/la/la010194").write_bytes(CLEF_DOCUMENTS.encode("iso-8859-1"))
    assert dict(load_collection(root, "de").corpus.items())["LA010194-0001"] == "Café closes The café closed."


def test_documents_end_and_begin_on_any_line(write):
    joined = '<doc id="x"><DOCNO>LA010194-0001</DOCNO><TEXT>one</TEXT></doc>'
    joined += "<DOC><DOCNO>LA010194-0002</DOCNO>\n<TEXT>two</TEXT></DOC>"
    files = CLEF | {"documents/la/la010194": joined + joined.replace("-000", "-100")}
    found = dict(load_collection(write(files), "de").corpus.items())
    assert found == {"LA010194-0001": "one", "LA010194-0002": "two", "LA010194-1001": "one", "LA010194-1002": "two"}


def test_a_file_of_documents_without_one_is_told(write):
    with pytest.raises(ValueError, match="there is no document in it, between <DOC> and </DOC>"):
        dict(load_collection(write(CLEF | {"documents/la/la010194": "nothing here\n"}), "de").corpus.items())


@pytest.mark.parametrize(
    "topics",
    [
        "<top>\n<num> C451 </num>\n<EN-title> Café closed </EN-title>\n<EN-desc> Find. </EN-desc>\n</top>\n"
        "<top>\n<num> C452 </num>\n<EN-title> Rain </EN-title>\n</top>\n",
        "<top>\n<num> Number: C451\n<title> Café closed\n\n<desc> Description:\nFind.\n\n<narr> Narrative:\nn\n</top>\n"
        "<top>\n<num> Number: C452\n<title> Rain\n</top>\n",
        "<top>\n<num> Number: C451\n<title> Topic: Café closed\n</top>\n"
        "<top>\n<num> Number: C452\n<title> Topic:  Rain\n</top>\n",
        '<xml><topic number="C451"><title>Café closed</title></topic><topic number="C452"><title>Rain</title></topic></xml>',
    ],
    ids=["CLEF 2000 to 2003", "TREC without closing tags", "TREC's first ones", "number as attribute"],
)
def test_topics_are_read_in_every_spelling(write, topics):
    qrels = "C451 0 LA010194-0001 1\nC452 0 LA010194-0002 1\n"
    files = {"topics.txt": topics, "qrels.txt": qrels, "documents/la010194": CLEF_DOCUMENTS}
    assert load_collection(write(files), "en").queries == {"C451": "Café closed", "C452": "Rain"}


def test_a_missing_language_lists_the_languages(write):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'ru'"):
        load_collection(write(NEUCLIR | {"data/rus-00000-of-00001.jsonl.gz": [{"id": "r1", "text": "t"}]}), "ru")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("documents/la/la010194", "<DOC>\n<TEXT>t</TEXT>\n</DOC>\n", r"la010194:1: a document without <DOCNO>"),
        ("documents/la/la010194", "\n<DOC>\n<DOCNO>1</DOCNO>\n", r"la010194:2: the document that begins here has no </DOC>"),
        ("topics.de.xml", "<topics></topics>", r"topics\.de\.xml: no <top> or <topic>"),
        ("topics.de.xml", "<topics>\n<topic><title>t</title></topic></topics>", r"topics\.de\.xml:2: a topic needs a number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(write, name, text, message):
    with pytest.raises(ValueError, match=message):
        load_collection(write(CLEF | {name: text}), "de")


@pytest.mark.parametrize("missing", ["documents", "topics", "qrels"])
def test_a_missing_part_is_told(write, missing):
    files = {name: text for name, text in CLEF.items() if not name.startswith(missing)}
    with pytest.raises(FileNotFoundError, match=missing if missing != "topics" else "topic"):
        load_collection(write(files), "de", format="trec")
