"""A student under mteb's runner gives what our own retrieval and metrics give."""

import sys

import pytest
import torch

from modeling_optical import OpticalModel, maxsim
from modeling_optical.evaluation import MTEBModel, encode_corpus_in_memory, per_query, retrieve, translation_retrieval
from modeling_optical.late_interaction import pad_vectors

ENGLISH = ["the cat sat on the mat", "search works in English", "a good teacher", "the dog barked", "a translation"]
SWAHILI = ["paka alikaa kwenye mkeka", "utafutaji hufanya kazi", "mwalimu mzuri", "mbwa akabweka", "tafsiri"]
CORPUS = {f"d{i}": text for i, text in enumerate([*ENGLISH, "one, two, three"])}
QUERIES = {f"q{i}": text for i, text in enumerate(SWAHILI)}
QRELS = {f"q{i}": {f"d{i}": 1} for i in range(len(SWAHILI))}


@pytest.fixture(scope="module")
def models(backbones: dict[str, str]) -> tuple[OpticalModel, OpticalModel]:
    """A student and a teacher with vectors of one dimension."""
    torch.manual_seed(3)
    student = OpticalModel.from_backbone(backbones["xlm-roberta"], embedding_dim=8, query_marker="[Q]", document_marker="[D]")
    return student, OpticalModel.from_backbone(backbones["bert"], embedding_dim=8, query_marker="[Q]", document_marker="[D]")


@pytest.fixture
def mteb():
    return pytest.importorskip("mteb", reason='needs mteb: pip install "modeling-optical[mteb]"')


def metadata(mteb, kind: str, languages, **values):
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=f"Local{kind}",
        description="Made in memory.",
        reference=None,
        type=kind,
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=languages,
        main_score={"BitextMining": "accuracy", "STS": "cosine_spearman"}.get(kind, "ndcg_at_10"),
        dataset={"path": "local/made-in-memory", "revision": "1"},
        **values,
    )


def retrieval_task(mteb, kind: str = "Retrieval", top_ranked=None):
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    corpus = [{"id": key, "text": text, "title": ""} for key, text in CORPUS.items()]
    queries = [{"id": key, "text": text} for key, text in QUERIES.items()]
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": QRELS,
        "top_ranked": top_ranked,
    }

    class LocalRetrieval(AbsTaskRetrieval):
        def load_data(self, *args, **kwargs) -> None:
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    LocalRetrieval.metadata = metadata(mteb, kind, ["swh-Latn"])
    return LocalRetrieval()


def bitext_task(mteb, pair: str, columns: dict[str, list[str]], parallel: bool = False):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.text.bitext_mining import AbsTaskBitextMining

    split = DatasetDict({"test": Dataset.from_dict(columns)})

    class LocalBitext(AbsTaskBitextMining):
        parallel_subsets = parallel

        def load_data(self, *args, **kwargs) -> None:
            self.dataset = split if parallel else {pair: split}
            self.data_loaded = True

    code = {"eng": "eng-Latn", "swh": "swh-Latn", "eng_Latn": "eng-Latn", "swh_Latn": "swh-Latn"}
    LocalBitext.metadata = metadata(mteb, "BitextMining", {pair: [code[name] for name in pair.split("-")]})
    return LocalBitext()


def scores(mteb, model: MTEBModel, task) -> dict[str, float]:
    results = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    return results.task_results[0].scores["test"][0]


@pytest.mark.parametrize("symmetric", [False, True])
def test_retrieval_scores_are_those_of_our_own_search_and_metrics(mteb, models, symmetric):
    student, teacher = models
    documents = student if symmetric else teacher
    found = scores(mteb, MTEBModel(student, None if symmetric else teacher), retrieval_task(mteb))
    run = retrieve(student, QUERIES, encode_corpus_in_memory(documents, CORPUS))
    ours = per_query(QRELS, run, ["nDCG@10", "AP@100", "R@10"])
    for theirs, name in (("ndcg_at_10", "nDCG@10"), ("map_at_100", "AP@100"), ("recall_at_10", "R@10")):
        assert found[theirs] == pytest.approx(sum(ours[name].values()) / len(QRELS), abs=1e-5)


def test_reranking_scores_only_the_candidates(mteb, models):
    student, teacher = models
    candidates = {query: [f"d{i}", f"d{(i + 1) % 5}", "d5"] for i, query in enumerate(QUERIES)}
    found = scores(mteb, MTEBModel(student, teacher), retrieval_task(mteb, "Reranking", candidates))
    run = retrieve(student, QUERIES, encode_corpus_in_memory(teacher, CORPUS))
    run = {query: {d: s for d, s in documents.items() if d in candidates[query]} for query, documents in run.items()}
    ours = per_query(QRELS, run, ["nDCG@10"])["nDCG@10"]
    assert found["ndcg_at_10"] == pytest.approx(sum(ours.values()) / len(QRELS), abs=1e-5)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("english_first", [False, True])
def test_bitext_mining_finds_what_translation_retrieval_finds(mteb, models, parallel, english_first):
    student, teacher = models
    texts = {"swh": SWAHILI, "eng": ENGLISH}
    order = ["eng", "swh"] if english_first else ["swh", "eng"]
    names = [f"{name}_Latn" for name in order] if parallel else order
    columns = names if parallel else ["sentence1", "sentence2"]
    data = {column: texts[language] for column, language in zip(columns, order, strict=True)}
    found = scores(mteb, MTEBModel(student, teacher), bitext_task(mteb, "-".join(names), data, parallel))
    encoders = {"swh": student, "eng": teacher}
    first, second = (encoders[language].encode_query(texts[language]) for language in order)
    ours = translation_retrieval(first, second, range(len(ENGLISH)))
    assert found["accuracy"] == pytest.approx(ours["translation_success_at_1"])


def test_each_side_is_encoded_once_however_often_it_is_sliced(mteb, models, monkeypatch):
    student, teacher = models
    calls = []
    encode = OpticalModel.encode_query

    def counted(self, texts, **kwargs):
        calls.append(self)
        return encode(self, texts, **kwargs)

    monkeypatch.setattr(OpticalModel, "encode_query", counted)
    model = MTEBModel(student, teacher)
    arguments = {"task_metadata": metadata(mteb, "BitextMining", {"swh-eng": ["swh-Latn", "eng-Latn"]}), "hf_subset": "swh-eng"}
    first, second = (model.encode([{"text": texts}], **arguments) for texts in (SWAHILI, ENGLISH))
    parts = torch.cat([model.similarity(first[:2], second), model.similarity(first[2:], second)])
    assert [encoder is student for encoder in calls] == [True, False]
    assert first.shape[0] == len(first) == 5
    torch.testing.assert_close(parts, model.similarity(first, second))
    torch.testing.assert_close(parts.diagonal(), model.similarity_pairwise(first, second))


def test_a_bitext_without_the_language_of_the_documents_is_the_students_alone(mteb, models):
    student, teacher = models
    languages = {"dan-nor": ["dan-Latn", "nor-Latn", "nno-Latn"]}
    arguments = {"task_metadata": metadata(mteb, "BitextMining", languages), "hf_subset": "dan-nor"}
    for model in (MTEBModel(student, teacher), MTEBModel(student)):
        first, second = (model.encode([{"text": texts}], **arguments) for texts in (SWAHILI, ENGLISH[:3]))
        expected = translation_scores(student, SWAHILI, ENGLISH[:3])
        torch.testing.assert_close(model.similarity(first, second), expected)


def translation_scores(model: OpticalModel, first: list[str], second: list[str]) -> torch.Tensor:
    sides = [pad_vectors(model.encode_query(texts)) for texts in (first, second)]
    (queries, query_mask), (documents, document_mask) = sides
    return maxsim(queries, documents, query_mask, document_mask)


def test_tasks_that_need_one_vector_per_text_are_refused_by_name(mteb, models):
    with pytest.raises(ValueError, match="LocalSTS is a task of type STS"):
        MTEBModel(*models).encode([{"text": ["a"]}], task_metadata=metadata(mteb, "STS", ["eng-Latn"]), hf_subset="default")


def test_a_bitext_whose_languages_are_unknown_is_refused_with_the_remedy(mteb, models):
    model = MTEBModel(*models)
    side = model.encode([{"text": ["a"]}], task_metadata=metadata(mteb, "BitextMining", ["eng-Latn"]), hf_subset="default")
    with pytest.raises(ValueError, match="documents=None"):
        model.similarity(side, side)


def test_mteb_knows_a_late_interaction_model_and_never_takes_it_for_another(mteb, models):
    student, teacher = models
    meta = MTEBModel(student, teacher, name="org/student").mteb_model_meta
    assert (meta.name, meta.model_type, meta.similarity_fn_name) == ("org/student", ["late-interaction"], "MaxSim")
    assert meta.embed_dim == 8
    assert meta.revision == MTEBModel(student, teacher).mteb_model_meta.revision
    assert meta.revision != MTEBModel(student).mteb_model_meta.revision
    assert MTEBModel(student).mteb_model_meta.name.startswith("local/")


def test_models_of_two_spaces_are_refused(backbones, models):
    with pytest.raises(ValueError, match="dimension 8, the document encoder of 4"):
        MTEBModel(models[0], OpticalModel.from_backbone(backbones["bert"], embedding_dim=4))


def test_without_mteb_the_message_has_the_command(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb.models.model_meta", None)
    with pytest.raises(ImportError, match=r"pip install .modeling-optical\[mteb\]"):
        MTEBModel(models[0])
