"""PCA of a retriever's own token vectors: what is computed, kept and saved."""

import json

import pytest
import torch

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.checkpoints import export_checkpoint
from tests.trainer.conftest import OTHER, WORDS, make_bitext
from trainer.teachers.projection import SecondMoment, TeacherProjection, fit_projection, project_model, save_projected

TEXTS = [*make_bitext(40)["source"], *make_bitext(40, seed=1)["target"]]


@pytest.fixture
def plain(bert: str) -> OpticalModel:
    """A retriever without a separate projection: vectors of 32 dimensions."""
    return load_checkpoint(bert, query_length=24, document_length=24)


def vectors_of(model: OpticalModel, kind: str, texts: list[str] = TEXTS) -> torch.Tensor:
    return torch.cat(model.encode(texts, kind, convert_to_tensor=True)).double()


def test_the_components_are_those_of_a_singular_value_decomposition(plain):
    projection = fit_projection(plain, iter(TEXTS), 5, kinds=["document"], show_progress_bar=False)
    vectors = vectors_of(plain, "document")
    _, values, directions = torch.linalg.svd(vectors, full_matrices=False)
    shares = values**2 / (values**2).sum()
    torch.testing.assert_close(projection.spectrum, shares, rtol=1e-5, atol=1e-9)
    # A direction is one up to its sign.
    torch.testing.assert_close((projection.components @ directions[:5].T).abs(), torch.eye(5).double(), rtol=0, atol=1e-4)
    assert projection.tokens == len(vectors)
    assert projection.texts == len(TEXTS)


def test_what_is_kept_is_the_squared_length_of_the_projected_vectors(plain):
    projection = fit_projection(plain, TEXTS, 7, kinds=["document"], show_progress_bar=False)
    kept = (vectors_of(plain, "document") @ projection.components.T).square().sum(1).mean()
    assert projection.explained() == pytest.approx(float(kept), abs=1e-6)
    assert projection.explained(32) == pytest.approx(1.0)


def test_queries_and_documents_weigh_alike_however_long_they_are(plain):
    plain.config.document_length = 6
    projection = fit_projection(plain, TEXTS, 4, show_progress_bar=False)
    means = [(v.T @ v) / len(v) for v in (vectors_of(plain, kind) for kind in ("query", "document"))]
    values = torch.linalg.eigvalsh((means[0] + means[1]) / 2).flip(0)
    torch.testing.assert_close(projection.spectrum, values / values.sum(), rtol=1e-5, atol=1e-8)


def test_no_other_plane_keeps_more_even_after_centring(plain):
    vectors = vectors_of(plain, "document")
    projection = fit_projection(plain, TEXTS, 6, kinds=["document"], show_progress_bar=False)
    centred = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)[2][:6]
    assert projection.explained() > float((vectors @ centred.T).square().sum(1).mean())


def test_blocks_add_up(plain):
    vectors, whole, parts = vectors_of(plain, "query"), SecondMoment(32), SecondMoment(32)
    whole.add(vectors)
    for start in range(0, len(vectors), 7):
        parts.add(vectors[start : start + 7].float())
    assert parts.tokens == whole.tokens
    torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-9, atol=1e-12)


LAYERS = [{"out_features": 16, "activation": "Tanh"}, {"out_features": 12, "bias": False, "residual": True}]


@pytest.mark.parametrize(
    "config", [{"embedding_dim": None}, {"embedding_dim": 12}, {"projection_layers": LAYERS}], ids=["none", "linear", "layers"]
)
def test_projected_vectors_are_the_old_ones_projected_and_normalised(bert, config):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, pooling_mode="mean", **config)
    projection = fit_projection(model, TEXTS, 5, show_progress_bar=False)
    projected = project_model(model, projection)
    assert projected.config.vector_dim == 5
    for kind in ("query", "document"):
        wanted = torch.nn.functional.normalize(vectors_of(model, kind) @ projection.components.T, dim=-1)
        torch.testing.assert_close(vectors_of(projected, kind), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(projected.encode_pooled(TEXTS[:3], "query"), model.encode_pooled(TEXTS[:3], "query"))
    assert model.config.vector_dim > 5, "the given model is left as it was"


def test_all_dimensions_but_one_hardly_change_a_score(plain):
    projected = project_model(plain, fit_projection(plain, TEXTS, 31, show_progress_bar=False))
    after, before = (
        model.similarity(model.encode_query(TEXTS[:3]), model.encode_document(TEXTS[3:8])) for model in (projected, plain)
    )
    torch.testing.assert_close(after, before, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("other", ["sentence-transformers", "pylate"])
def test_what_is_saved_loads_here_and_elsewhere(plain, tmp_path, other):
    projection = fit_projection(plain, TEXTS, 5, show_progress_bar=False)
    projected = project_model(plain, projection)
    folder = save_projected(projected, projection, tmp_path / "small", source="plain", kinds=["query"])
    wanted = projected.encode_document(WORDS + OTHER)
    loaded = load_checkpoint(folder)
    for found, vectors in zip(loaded.encode_document(WORDS + OTHER), wanted, strict=True):
        assert (found == vectors).all()
    record = json.loads((folder / "projection.json").read_text())
    assert (record["model"], record["dim"], len(record["spectrum"])) == ("plain", 5, 32)
    export_checkpoint(loaded, tmp_path / other, other)
    read = load_checkpoint(tmp_path / other)
    for found, vectors in zip(read.encode_document(WORDS + OTHER), wanted, strict=True):
        torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(vectors), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 32}, "must be between 1 and 31"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": 4, "kinds": ["passage"]}, "allowed: 'query', 'document'"),
        ({"dim": 20, "texts": ["cat"]}, "fewer than the 20 dimensions"),
    ],
)
def test_a_mistake_is_told(plain, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_projection(plain, **{"texts": TEXTS, "show_progress_bar": False} | arguments)


def test_a_projection_of_another_size_is_refused(plain):
    projection = TeacherProjection(torch.eye(3, 9).double(), torch.full((9,), 1 / 9), 1, 9)
    with pytest.raises(ValueError, match="vectors of 9 dimensions, the model's have 32"):
        project_model(plain, projection)
