"""Multiple-choice questions in a run: what is answered, kept and refused."""

import json
from pathlib import Path

import pytest

from modeling_optical import OpticalModel
from modeling_optical.evaluation.questions import read_answers
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.recipe.retrieval import RetrievalRecipe
from recipes.runs.reporting.answering import QuestionAnswerer


@pytest.fixture
def documents(tmp_path):
    who, what = ("cat", "dog", "mat", "teacher"), ("vector", "search", "translation", "barked")
    rows = [
        {
            "id": f"wiki_{d}:{s}",
            "document": f"wiki_{d}",
            "en": f"the {who[d]} sat on the {what[s]}",
            "sw": f"paka {d} alikaa {s}",
        }
        for d in range(4)
        for s in range(4)
    ]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "sw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(tmp_path / "documents")


def recipe(questions: list[dict], **evaluation):
    values = {"language": "sw", "data": {"bitext": [{"path": "x.jsonl", "target": "sw"}]}}
    return Recipe.resolve(values | {"evaluation": {"questions": questions} | evaluation}, folder=Path())


def test_every_system_answers_and_the_ceiling_is_english(bert, documents, tmp_path):
    teacher = OpticalModel.from_backbone(bert, embedding_dim=8)
    own = recipe([{"path": documents, "topic": "wiki"}])
    answerer = QuestionAnswerer(own, [source.load("sw") for source in own.evaluation.questions], teacher, tmp_path)
    rows = [*answerer("optical", teacher), *answerer.ceilings()]
    assert [(row.system, row.metric, row.queries) for row in rows] == [("optical", "accuracy", 28), ("ceiling", "accuracy", 28)]
    kept = {answers.system: answers for answers in read_answers(tmp_path)}
    assert set(kept) == {"optical", "ceiling"}
    translated = [correct for name, correct in kept["ceiling"].correct.items() if name.startswith("wiki_translation")]
    assert all(translated), "a sentence finds itself among the choices"
    assert rows[0].value == pytest.approx(sum(kept["optical"].accuracy.values()) / 28)


def test_a_head_learned_from_tested_questions_is_refused(bert, documents, tmp_path):
    source = {"path": documents, "topic": "wiki"}
    (tmp_path / "documents" / "en.jsonl").write_text((tmp_path / "documents" / "sw.jsonl").read_text())
    own = recipe([source], choice_head={"questions": source})
    with pytest.raises(ValueError, match="28 of its questions are tested, too"):
        QuestionAnswerer(
            own, [own.evaluation.questions[0].load("sw")], OpticalModel.from_backbone(bert, embedding_dim=8), tmp_path
        )


def test_questions_without_english_ones_have_no_ceiling_and_it_is_said(bert, tmp_path):
    (tmp_path / "test").mkdir()
    line = "0,Swali?,moja,mbili,tatu,nne,A,virology\n"
    (tmp_path / "test" / "mmlu_SW-KE.csv").write_text(",Question,A,B,C,D,Answer,Subject\n" + line)
    own = recipe([{"path": str(tmp_path)}])
    answerer = QuestionAnswerer(own, [], OpticalModel.from_backbone(bert, embedding_dim=8), tmp_path / "out")
    assert answerer.ceilings() == []
    assert [(one.system, one.reason) for one in answerer.not_run] == [("ceiling", "there are no English questions")]


def test_a_head_without_questions_and_questions_for_a_retriever_are_refused():
    with pytest.raises(ValueError, match="choice_head is for multiple-choice questions"):
        recipe([], choice_head={"questions": {"path": "x"}})
    with pytest.raises(ValueError, match="max_questions is 0"):
        recipe([{"path": "x", "max_questions": 0}])
    values = {"model": {"start": "x"}, "data": {"train": [{"path": "x.jsonl"}]}, "evaluation": {"questions": [{"path": "x"}]}}
    with pytest.raises(ValueError, match="a retriever trained on labels answers none"):
        RetrievalRecipe.resolve(values, folder=Path())
