"""Search in a corpus that is encoded block by block."""

import pytest
import torch

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import (
    Collection,
    StreamedCorpus,
    encode_corpus_in_memory,
    per_query,
    retrieve,
    retrieve_streaming,
    unjudged_share,
)
from modeling_optical.evaluation.retrieval import TopK

WORDS = ["cat", "dog", "mat", "search", "teacher", "vector", "Somali", "English", "translation", "barked"]
CORPUS = {f"d{n}": f"{WORDS[n % 10]} {WORDS[n * 3 % 7]} {n}" for n in range(23)}
QUERIES = {"q": "the cat barked", "r": "search in Somali"}


@pytest.fixture
def model(bert):
    return load_checkpoint(bert)


@pytest.mark.parametrize("block", [1, 5, 23, 100])
def test_blocks_give_what_the_whole_corpus_gives(model, block):
    whole = retrieve(model, QUERIES, encode_corpus_in_memory(model, CORPUS), k=7)
    streamed = StreamedCorpus(lambda: ((key, key, text) for key, text in CORPUS.items()), "corpus")
    found = retrieve_streaming(model, QUERIES, model, streamed, k=7, block=block)
    for query in QUERIES:
        assert list(found[query].values()) == pytest.approx(list(whole[query].values()), abs=1e-4)
        assert set(found[query]) == set(whole[query])


def test_the_best_over_blocks_are_the_best_of_all():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 6, (4, 50), generator=generator).float()  # with many ties
    kept = TopK(4, 8)
    for start in range(0, 50, 7):
        part = scores[:, start : start + 7]
        ranked, order = part.sort(dim=1, descending=True, stable=True)
        kept.add([f"d{n}" for n in range(start, start + part.shape[1])], ranked, order)
    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    expected = [
        [(f"d{p}", s) for p, s in zip(o[:8].tolist(), r[:8].tolist(), strict=True)] for o, r in zip(order, ranked, strict=True)
    ]
    assert [list(found.items()) for found in kept.run(dict.fromkeys("abcd")).values()] == expected


def test_a_model_of_another_dimension_is_refused(model, backbones):
    other = load_checkpoint(backbones["bert"], embedding_dim=8)
    with pytest.raises(ValueError, match="dimension 8, the documents of 32"):
        retrieve_streaming(other, QUERIES, model, CORPUS)


def test_the_unjudged_share_is_what_ir_measures_judged_leaves():
    qrels = {"q": {"a": 1, "b": 0}, "r": {"a": 1}, "s": {"a": 1}}
    run = {"q": {f"x{n}": 20.0 - n for n in range(9)} | {"b": 19.5, "a": 0.5}, "r": {"a": 1.0}}
    judged = per_query({"q": qrels["q"]}, run, ["Judged@10"])["Judged@10"]
    shares = unjudged_share(qrels, run)
    assert shares["q"] == pytest.approx(1 - judged["q"]) == pytest.approx(0.9)
    assert (shares["r"], shares["s"]) == (0, 0)


def test_a_collection_without_a_query_language_has_that_of_its_name():
    assert Collection("c", "sw", {}, {}, {}).query_language == "sw"
