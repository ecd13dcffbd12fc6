"""Texts in, passages out: symmetric, asymmetric, over an index made elsewhere; changes, refusals, explanations."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_optical import OpticalModel, OpticalRetriever, load_checkpoint
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.encoding.passages import PassageStore
from modeling_optical.indexes import ExactIndex

ROOT = Path(__file__).resolve().parents[2]
CORPUS = {
    "cat": "the cat sat on the mat, and the dog barked!",
    "search": "search works in English; it fails in Somali.",
    "teacher": "a good teacher gives the same vector for a translation",
}


def save(model: OpticalModel, folder: Path) -> str:
    model.save_pretrained(folder)
    return str(folder)


def make(backbone: str, folder: Path, seed: int = 0, dim: int | None = 8, **settings) -> str:
    torch.manual_seed(seed)
    return save(OpticalModel.from_backbone(backbone, embedding_dim=dim, **settings), folder)


@pytest.fixture
def teacher(bert, tmp_path) -> str:
    return make(bert, tmp_path / "teacher", document_marker="[unused1]", skiplist="punctuation")


@pytest.fixture
def student(backbones, tmp_path) -> str:
    return make(backbones["xlm-roberta"], tmp_path / "student", seed=1, query_expansion="fixed", query_length=12)


def by_definition(student: str, teacher: str, query: str) -> dict[str, float]:
    (q,) = load_checkpoint(student).encode_query([query])
    documents = load_checkpoint(teacher).encode_document(list(CORPUS.values()))
    return {name: float((q @ d.T).max(1).sum()) for name, d in zip(CORPUS, documents, strict=True)}


def test_a_student_searches_what_its_teacher_has_read(student, teacher, tmp_path):
    retriever = OpticalRetriever.from_pretrained(student, documents=teacher)
    retriever.index(CORPUS, tmp_path / "i", dtype="float32")
    expected = by_definition(student, teacher, "paka alikaa")
    (found,) = retriever.search(["paka alikaa"], k=3)
    assert [p.id for p in found] == sorted(expected, key=lambda name: -expected[name])
    assert [p.score for p in found] == pytest.approx(sorted(expected.values(), reverse=True), abs=1e-5)
    assert [p.text for p in found] == [CORPUS[p.id] for p in found]
    assert not (tmp_path / "i" / "encoding").exists()
    again = OpticalRetriever.from_pretrained(student, documents=teacher)
    again.open(tmp_path / "i")
    assert again.search(["paka alikaa"], k=3) == [found]


def test_a_model_alone_finds_a_document_by_its_own_text(bert, tmp_path):
    # Without markers and skip list a text has the same vectors on both sides, so MaxSim is the number of its tokens.
    alone = make(bert, tmp_path / "alone")
    retriever = OpticalRetriever.from_pretrained(alone)
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in CORPUS.items()))
    retriever.index(tmp_path / "corpus.jsonl", tmp_path / "i")
    assert [row[0].id for row in retriever.search(list(CORPUS.values()), k=1)] == list(CORPUS)
    retriever = OpticalRetriever.from_pretrained(alone)
    with pytest.raises(ValueError, match="no index is open"):
        retriever.search(["x"])


def test_an_index_made_with_sentence_transformers_serves_a_student_of_ours(bert, student, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers", minversion="6.0")
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer

    model = sentence_transformers.MultiVectorEncoder(
        modules=[Transformer(bert, max_seq_length=64), MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    )
    index = ExactIndex(tmp_path / "i", Encoder(bert, 32), "float32")
    index.build(CORPUS, model.encode_document(list(CORPUS.values()), convert_to_numpy=True))
    PassageStore(tmp_path / "i" / "passages.sqlite").put(CORPUS.items())
    asker = make(bert, tmp_path / "asker", dim=None)
    retriever = OpticalRetriever.from_pretrained(asker, documents=bert)
    retriever.open(tmp_path / "i")
    (found,) = retriever.search(["the dog barked"], k=3)
    expected = by_definition(asker, bert, "the dog barked")
    assert {p.id: p.score for p in found} == pytest.approx(expected, abs=1e-4)
    assert found[0].text == CORPUS[found[0].id]
    with pytest.raises(ValueError, match=r"dimension 32.*dimension 8"):
        OpticalRetriever.from_pretrained(student, documents=bert).open(tmp_path / "i")


def test_an_index_made_by_other_weights_is_refused_by_name(bert, teacher, student, tmp_path):
    OpticalRetriever.from_pretrained(teacher).index(CORPUS, tmp_path / "i")
    other = make(bert, tmp_path / "another", seed=5)
    for wrong in (OpticalRetriever.from_pretrained(other), OpticalRetriever.from_pretrained(student, documents=other)):
        with pytest.raises(ValueError, match=r"was made by .*teacher.*, not by .*another"):
            wrong.open(tmp_path / "i")
    with pytest.raises(FileExistsError, match="holds an index"):
        OpticalRetriever.from_pretrained(other).index(CORPUS, tmp_path / "i")


def test_a_student_of_another_teacher_is_told_apart_though_the_dimension_fits(bert, teacher, student, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("modeling_optical.retriever.logger.warning", said.append)
    distilled = OpticalModel.from_pretrained(student)
    distilled.config.teacher = "org/its-teacher"
    distilled.config.teacher_fingerprint = Encoder.of(load_checkpoint(teacher)).fingerprint
    distilled = save(distilled, tmp_path / "distilled")
    right, itself = tmp_path / "of-the-teacher", tmp_path / "of-the-student"
    OpticalRetriever.from_pretrained(distilled, documents=teacher).index(CORPUS, right)
    OpticalRetriever.from_pretrained(distilled).index(CORPUS, itself)
    OpticalRetriever.from_pretrained(distilled, documents=teacher).open(right)
    assert not said
    other = make(bert, tmp_path / "another", seed=5)
    retriever = OpticalRetriever.from_pretrained(distilled, documents=other)
    retriever.index(CORPUS, tmp_path / "of-another")
    retriever.open(tmp_path / "of-another")
    assert len(said) == 2
    assert "distilled from org/its-teacher, and the index was made by" in said[0]
    assert "another (dimension 8, fingerprint" in said[0]


def test_documents_come_and_go(teacher, tmp_path):
    retriever = OpticalRetriever.from_pretrained(teacher)
    retriever.index(CORPUS, tmp_path / "i", pool_factor=2)
    assert retriever.add([("new", "a good mat")]) == 1
    assert {p.id: p.text for p in retriever.search(["a good mat"], k=10)[0]} == CORPUS | {"new": "a good mat"}
    with pytest.raises(ValueError, match="in the index already: cat"):
        retriever.add({"cat": "another text"})
    assert retriever.search(["x"], k=10)[0][0].text != "another text"
    retriever.remove(["new", "cat"])
    assert {p.id for p in retriever.search(["x"], k=10)[0]} == {"search", "teacher"}
    with pytest.raises(KeyError, match="cat"):
        retriever.remove(["cat"])
    assert len(retriever.current) == 2


def test_an_iterator_is_refused_before_anything_is_written(teacher, tmp_path):
    retriever = OpticalRetriever.from_pretrained(teacher)
    with pytest.raises(ValueError, match="more than once"):
        retriever.index(iter(CORPUS.items()), tmp_path / "i")
    assert not (tmp_path / "i").exists()
    retriever.index(lambda: iter(CORPUS.items()), tmp_path / "i")
    assert len(retriever.current) == 3
    assert retriever.search("cat") == retriever.search(["cat"])[0]
    with pytest.raises(ValueError, match="no engine 'faiss'; engines: exact"):
        OpticalRetriever.from_pretrained(teacher).index(CORPUS, tmp_path / "j", engine="faiss")


_KILLED = """
import os, signal, sys
from modeling_optical import OpticalRetriever
from modeling_optical.indexes import ExactIndex
def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
ExactIndex.build = kill
OpticalRetriever.from_pretrained(sys.argv[1]).index({"a": "the cat", "b": "the dog"}, sys.argv[2])
"""


def test_indexing_that_is_killed_is_no_index_and_goes_on(teacher, tmp_path):
    command = [sys.executable, "-c", _KILLED, teacher, str(tmp_path / "i")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    retriever = OpticalRetriever.from_pretrained(teacher)
    with pytest.raises(FileNotFoundError, match="is not an index"):
        retriever.open(tmp_path / "i")
    retriever.index({"a": "the cat", "b": "the dog"}, tmp_path / "i")
    assert len(retriever.current) == 2
    assert not (tmp_path / "i" / "encoding").exists()


@pytest.mark.parametrize("query", ["paka alikaa", "mwalimu " * 40])
def test_an_explanation_adds_up_to_the_score_and_points_at_the_words(student, teacher, query):
    retriever = OpticalRetriever.from_pretrained(student, documents=teacher)
    document = CORPUS["cat"]
    explanation = retriever.explain(query, document)
    assert explanation.score == pytest.approx(by_definition(student, teacher, query)["cat"], abs=1e-4)
    assert sum(m.similarity for m in explanation.matches) == pytest.approx(explanation.score, abs=1e-4)
    assert len(explanation.matches) == 12
    for match in explanation.matches:
        assert match.document.piece not in ",!"
        if match.document.start is not None:
            assert document[match.document.start : match.document.end].lower() == match.document.piece.removeprefix("##")
    for (start, end, similarity), following in zip(explanation.spans(), [*explanation.spans()[1:], None], strict=True):
        assert -1 <= similarity <= 1.001
        assert following is None or end <= following[0]
        assert document[start:end].strip() == document[start:end]


def test_a_text_explains_itself_word_by_word(bert, tmp_path):
    retriever = OpticalRetriever.from_pretrained(make(bert, tmp_path / "m"))
    explanation = retriever.explain("the cat sat", "the cat sat")
    assert [(m.query.piece, m.document.piece) for m in explanation.matches][1:-1] == [(w, w) for w in ("the", "cat", "sat")]
    assert [span[:2] for span in explanation.spans()] == [(0, 3), (4, 7), (8, 11)]
    assert str(explanation).splitlines()[0].startswith(f"score {explanation.score:.3f}")
    assert len(str(explanation).splitlines()) <= 23
    assert "Match(" not in str(explanation)
    np.testing.assert_allclose([m.similarity for m in explanation.matches], 1, atol=1e-5)


def test_a_prompt_and_stripped_space_do_not_move_what_an_explanation_points_at(bert, tmp_path):
    retriever = OpticalRetriever.from_pretrained(
        make(bert, tmp_path / "m", query_prompt="search: ", document_prompt="a: ", strip_text=True, document_marker="[unused1]")
    )
    document = "  the cat sat "
    explanation = retriever.explain("the cat", document)
    met = [m.document for m in explanation.matches if m.document.start is not None]
    assert met
    assert all(document[m.start : m.end] == m.piece for m in met)
    assert {m.query.start for m in explanation.matches} == {None, 0, 4}


def test_a_document_without_scoring_tokens_has_nothing_to_explain(bert, tmp_path):
    model = OpticalModel.from_backbone(bert, embedding_dim=8, skiplist_token_ids=list(range(200)))
    explanation = OpticalRetriever(model).explain("the cat", "the dog")
    assert explanation.score == 0
    assert explanation.matches == []


def test_passages_are_stored_replaced_and_removed(tmp_path):
    store = PassageStore(tmp_path / "p.sqlite")
    assert store.get(["a"]) == {}
    store.put((str(i), f"text {i}") for i in range(2500))
    store.put([("7", "another")])
    store.remove(["8", "unknown"])
    assert len(store) == 2499
    assert store.get(["7", "8", "2499"]) == {"7": "another", "2499": "text 2499"}
    (tmp_path / "bad.sqlite").write_text("not a data base, and long enough to be looked at as one" * 50)
    with pytest.raises(OSError, match="passages"):
        PassageStore(tmp_path / "bad.sqlite").get(["a"])
