"""Batches: marginals, expansion, kinds, languages."""

import pytest
import torch

from modeling_optical import OpticalForDistillation, TransportOptions
from modeling_optical.transport import transport_loss
from trainer import DistillationCollator, InverseDocumentFrequencies, Teacher, TeacherCache


def rows(bitext, count=6):
    return [bitext[i] for i in range(count)]


def test_with_expansion_both_sides_of_a_pair_have_as_many_tokens(bert, student, teacher, bitext):
    expanding = Teacher(teacher.model, max_length=24, expand=True)
    batch = DistillationCollator(student.processor, expanding, 24, expand=True)(rows(bitext))
    assert torch.equal(batch["token_mask"].sum(1), batch["teacher_mask"].sum(1))
    plain = DistillationCollator(student.processor, teacher, 24)(rows(bitext))
    longest = torch.maximum(plain["token_mask"].sum(1), plain["teacher_mask"].sum(1))
    assert torch.equal(batch["token_mask"].sum(1), longest)
    assert torch.equal(batch["content_mask"].sum(1), plain["content_mask"].sum(1))


def test_expansion_changes_no_vector_of_the_text(student, teacher, bitext):
    expanding = Teacher(teacher.model, max_length=24, expand=True)
    batch = DistillationCollator(student.processor, expanding, 24, expand=True)(rows(bitext))
    plain = DistillationCollator(student.processor, teacher, 24)(rows(bitext))
    tokens = plain["teacher_vectors"].shape[1]
    own = plain["teacher_mask"].unsqueeze(2)
    torch.testing.assert_close(
        torch.where(own, batch["teacher_vectors"][:, :tokens], 0), plain["teacher_vectors"], rtol=1e-5, atol=1e-5
    )
    student.eval()
    with torch.no_grad():
        with_expansion, without = student(**batch).token_vectors, student(**plain).token_vectors
    tokens = without.shape[1]
    own = plain["token_mask"].unsqueeze(2)
    torch.testing.assert_close(torch.where(own, with_expansion[:, :tokens], 0), without, rtol=1e-4, atol=1e-5)


def test_an_expanding_teacher_serves_students_that_do_not_expand(student, teacher, bitext, tmp_path):
    cache = TeacherCache(tmp_path, Teacher(teacher.model, max_length=24, expand=True), dtype="float32")
    cache.build(bitext["source"], show_progress_bar=False)
    found = DistillationCollator(student.processor, cache)(rows(bitext))
    plain = DistillationCollator(student.processor, teacher, 24)(rows(bitext))
    assert torch.equal(found["teacher_mask"], plain["teacher_mask"])
    torch.testing.assert_close(found["teacher_vectors"], plain["teacher_vectors"], rtol=1e-5, atol=1e-5)


def test_rare_tokens_have_more_idf_than_frequent_ones(student, teacher, bitext):
    frequencies = InverseDocumentFrequencies.count(bitext, student.processor, teacher.processor)
    ids = [set(f["input_ids"]) for f in teacher.processor.tokenize(bitext["source"], "query")]
    token = teacher.processor.tokenizer.convert_tokens_to_ids("cat")
    expected = torch.log1p(torch.tensor(len(ids) / (1 + sum(token in own for own in ids))))
    torch.testing.assert_close(frequencies.teacher[token], expected)
    first = teacher.processor.tokenizer.cls_token_id
    assert float(frequencies.teacher[first]) == frequencies.teacher.min()
    assert float(frequencies.student.min()) > 0


def test_frequencies_survive_their_file(student, teacher, bitext, tmp_path):
    frequencies = InverseDocumentFrequencies.count(bitext, student.processor, teacher.processor)
    frequencies.save(tmp_path / "f.safetensors")
    loaded = InverseDocumentFrequencies.load(tmp_path / "f.safetensors")
    assert torch.equal(loaded.student, frequencies.student)
    assert torch.equal(loaded.teacher, frequencies.teacher)
    (tmp_path / "f.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no token frequencies"):
        InverseDocumentFrequencies.load(tmp_path / "f.safetensors")


@pytest.mark.parametrize("marginals", ["idf", "norm", "attention"])
@pytest.mark.parametrize("tokens", ["content", "with_markers"])
def test_the_plan_has_the_marginals_that_were_asked_for(bert, teacher, bitext, tmp_path, marginals, tokens):
    options = TransportOptions(marginals=marginals, tokens=tokens, tolerance=1e-6)
    student = OpticalForDistillation.from_backbone(bert, embedding_dim=8, transport=options)
    weighing = Teacher(teacher.model, 24, weigh_tokens_by=[marginals] if marginals != "idf" else [])
    cache = TeacherCache(tmp_path, weighing, dtype="float32")
    cache.build(bitext["source"], show_progress_bar=False)
    student.set_attn_implementation("eager")
    frequencies = InverseDocumentFrequencies.count(bitext, student.processor, teacher.processor)
    batch = DistillationCollator(student.processor, cache, marginals=marginals, frequencies=frequencies)(rows(bitext))
    with torch.no_grad():
        output = student(**batch)
    for weights, mask, axis in (
        (output.token_weights, batch["content_mask"] if tokens == "content" else batch["token_mask"], 2),
        (batch["teacher_weights"], batch["teacher_content_mask"] if tokens == "content" else batch["teacher_mask"], 1),
    ):
        wanted = weights * mask / (weights * mask).sum(1, keepdim=True)
        torch.testing.assert_close(output.plan.plan.sum(axis), wanted, rtol=1e-3, atol=1e-4)
        assert bool((wanted.amax(1) > 1.002 * wanted.masked_fill(wanted == 0, 1).amin(1)).any())


def test_norm_is_the_length_before_normalisation_and_attention_sums_to_one(bert, teacher):
    processor, model = teacher.processor, teacher.model
    model.set_attn_implementation("eager")
    batch = processor(["the cat sat", "a dog"])
    batch.pop("content_mask")
    with torch.no_grad():
        output = model(**batch, weigh_tokens_by=("norm", "attention"))
        hidden = model.backbone(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    torch.testing.assert_close(output.token_weights["norm"], model.projection(hidden).norm(dim=-1))
    torch.testing.assert_close(output.token_weights["attention"].sum(1), torch.ones(2))
    assert float(output.token_weights["attention"][~batch["attention_mask"].bool()].sum()) == pytest.approx(0, abs=1e-6)


def test_attention_that_the_backbone_does_not_return_is_missed_with_its_remedy(bert, teacher):
    teacher.model.set_attn_implementation("sdpa")
    batch = teacher.processor(["the cat sat"])
    batch.pop("content_mask")
    with pytest.raises(ValueError, match=r"eager"):
        teacher.model(**batch, weigh_tokens_by=("attention",))


def test_the_plan_may_come_from_other_vectors_and_the_loss_never_does():
    torch.manual_seed(0)
    unit = torch.nn.functional.normalize
    student, teacher, average = (unit(torch.randn(3, 5, 8), dim=-1) for _ in range(3))
    mask = torch.ones(3, 5, dtype=torch.bool)
    options = TransportOptions(plan_from="ema", solver="exact")
    loss, plan = transport_loss(student, teacher, mask, mask, solving_vectors=average, options=options)
    _, wanted = transport_loss(average, teacher, mask, mask, options=TransportOptions(solver="exact"))
    torch.testing.assert_close(plan.plan, wanted.plan)
    torch.testing.assert_close(loss, (wanted.plan * (1 - student @ teacher.transpose(1, 2))).sum((1, 2)).mean())
    bonus = torch.rand(3, 5, 5)
    lexical = TransportOptions(plan_from="lexical", solver="exact")
    _, plan = transport_loss(student, teacher, mask, mask, solving_bonus=bonus, options=lexical)
    _, other = transport_loss(average, teacher, mask, mask, solving_bonus=bonus, options=lexical)
    assert torch.equal(plan.plan, other.plan)
    for name, missing in (("ema", "solving_vectors"), ("lexical", "solving_bonus")):
        with pytest.raises(ValueError, match=missing):
            transport_loss(student, teacher, mask, mask, options=TransportOptions(plan_from=name))


def test_queries_and_documents_of_one_batch_are_processed_as_what_they_are(bert, bitext, tmp_path):
    marked = {"query_marker": "[UNK]", "document_marker": "[MASK]", "embedding_dim": 8, "document_length": 6}
    student = OpticalForDistillation.from_backbone(bert, **marked)
    teacher = Teacher(OpticalForDistillation.from_backbone(bert, **marked), 24)
    cache = TeacherCache(tmp_path, teacher, dtype="float32")
    kinds = ["query", "document"] * 3
    features = [row | {"kind": kind} for row, kind in zip(rows(bitext), kinds, strict=True)]
    for kind in ("query", "document"):
        cache.build([f["source"] for f in features if f["kind"] == kind], kind, show_progress_bar=False)
    batch = DistillationCollator(student.processor, cache, 24, max_document_length=8)(features)
    ids = student.processor.tokenizer
    markers = [ids.unk_token_id if kind == "query" else ids.mask_token_id for kind in kinds]
    assert batch["input_ids"][:, 1].tolist() == markers
    assert int(batch["attention_mask"].sum(1)[1::2].max()) == 8
    assert int(batch["teacher_mask"].sum(1)[1::2].max()) == 6
    live = DistillationCollator(student.processor, teacher, 24, max_document_length=8)(features)
    torch.testing.assert_close(batch["teacher_vectors"], live["teacher_vectors"], rtol=1e-5, atol=1e-5)
    with pytest.raises(KeyError, match="no vectors for the document"):
        cache.get(features[0]["source"], "document")


def test_a_language_that_is_not_trained_on_is_named(student, teacher, bitext):
    batch = DistillationCollator(student.processor, teacher, languages=["so", "sw"])(rows(bitext, 2))
    assert batch["language_ids"].tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"is in 'sw', which is none of the languages trained on \(so\)"):
        DistillationCollator(student.processor, teacher, languages=["so"])(rows(bitext, 1))


def test_equal_sources_have_equal_keys_and_others_do_not(student, teacher, bitext):
    features = [bitext[0], bitext[1], bitext[0] | {"target": "paka"}]
    keys = DistillationCollator(student.processor, teacher, with_source_keys=True)(features)["source_keys"].tolist()
    assert keys[0] == keys[2] != keys[1]


def test_an_expanding_teacher_needs_a_length_to_expand_to(teacher):
    teacher.model.config.query_length = None
    with pytest.raises(ValueError, match=r"has no query_length: give max_length"):
        Teacher(teacher.model, expand=True)
    assert Teacher(teacher.model, max_length=12, expand=True).max_length == 12
