"""What one could use instead of the student, measured beside it."""

import pytest
import torch
from datasets import Dataset

from modeling_optical.evaluation import Collection, Evaluator, read_run
from modeling_optical.evaluation.references import dense
from recipes.runs.recipe.evaluation import EvaluationRecipe, RivalRecipe
from recipes.runs.reporting import rivals
from recipes.runs.reporting.rivals import describe_rivals, load_rival, measure_rivals

CORPUS = {f"d{n}": text for n, text in enumerate(["the cat sat", "a dog barked", "search works", "good vector"])}
QUERIES = {"q": "cat", "r": "dog"}
QRELS = {"q": {"d0": 1}, "r": {"d1": 1}}


def collection(name="tiny"):
    return Collection(name, "sw", CORPUS, QUERIES, QRELS)


def test_every_rival_is_measured_on_every_collection_and_described(bert, tmp_path):
    own = EvaluationRecipe(
        rivals={
            "averaged": RivalRecipe(model=bert, pooling="mean", query_prompt="query: "),
            "tokens": RivalRecipe(model=bert, scoring="maxsim"),
        },
        references=["bm25", "structured_queries", "fused"],
    )
    pairs = Dataset.from_dict({"source": ["cat", "dog"] * 3, "target": ["paka", "mbwa"] * 3, "language": ["sw"] * 6})
    evaluator = Evaluator(tmp_path, ["RR@10"])
    found = {("tiny", "sw"): {"q": {"d0": 1.0}}}
    measure_rivals(evaluator, own, [collection(), collection("other")], torch.device("cpu"), "fp32", pairs, found)
    systems = {(row.system, row.collection) for row in evaluator.rows}
    names = ("averaged", "tokens", "bm25", "structured_queries")
    assert systems == {(s, c) for s in names for c in ("tiny", "other")} | {("fused", "tiny")}
    assert set(describe_rivals(own)) == {*names, "fused"}
    assert len(list((tmp_path / "runs").glob("*.trec"))) == 9


def test_a_prompt_and_a_pooling_of_the_recipe_reach_the_rival(bert):
    rival = load_rival(RivalRecipe(model=bert, pooling="mean", query_prompt="query: "), "fp32")
    plain = load_rival(RivalRecipe(model=bert, pooling="mean"), "fp32")
    assert plain.precision == "fp32"
    assert rival.config.query_prompt == "query: "
    torch.testing.assert_close(rival.encode_pooled("cat"), plain.encode_pooled("query: cat"))


def test_an_encoder_that_does_not_say_how_it_pools_is_told(bert):
    with pytest.raises(ValueError, match="does not say how it pools its tokens: set `pooling`"):
        load_rival(RivalRecipe(model=bert))


@pytest.mark.parametrize(("values", "message"), [
    ({"model": ""}, "`model` is not set"),
    ({"model": "m", "scoring": "cosine"}, "scoring is 'cosine'"),
])  # fmt: skip
def test_a_wrong_rival_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        RivalRecipe(**values)


def test_a_rival_cannot_take_the_name_of_a_system():
    with pytest.raises(ValueError, match=r"rivals\.floor: this name stands for another system"):
        EvaluationRecipe(rivals={"floor": RivalRecipe(model="m")})


def test_a_corpus_that_languages_share_is_encoded_once_with_the_same_runs(bert, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(rivals, "dense", lambda *arguments, **options: calls.append(arguments) or dense(*arguments, **options))
    own = EvaluationRecipe(rivals={"averaged": RivalRecipe(model=bert, pooling="mean")})
    somali = Collection("tiny", "so", dict(CORPUS), {"q": "vector", "r": "sat"}, QRELS)
    together, apart = Evaluator(tmp_path / "together", ["RR@10"]), Evaluator(tmp_path / "apart", ["RR@10"])
    measure_rivals(together, own, [collection(), somali], torch.device("cpu"), "fp32")
    assert len(calls) == 1
    for one in (collection(), somali):
        measure_rivals(apart, own, [one], torch.device("cpu"), "fp32")
    assert together.values == apart.values
    for name in ("averaged.tiny.sw.trec", "averaged.tiny.so.trec"):
        ranked = [list(found) for found in (read_run(tmp_path / part / "runs" / name)["q"] for part in ("together", "apart"))]
        assert ranked[0] == ranked[1]
