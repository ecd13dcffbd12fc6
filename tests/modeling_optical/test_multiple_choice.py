"""Choosing by late interaction: the logits are MaxSim, padding changes nothing, saving and loading neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMultipleChoice

from modeling_optical import OpticalForMultipleChoice, OpticalModel, maxsim
from modeling_optical.multiple_choice import choice_features

QUESTIONS = ["the cat sat on the mat", "search works in English"]
CHOICES = [["the dog barked", "a good teacher", "the mat"], ["it fails in Somali", "a cat", "search works in English"]]


@pytest.fixture
def student(bert):
    torch.manual_seed(0)
    return OpticalModel.from_backbone(bert, embedding_dim=16, query_marker="[Q]", document_marker="[D]")


@pytest.fixture
def saved(student, tmp_path):
    student.save_pretrained(tmp_path / "student")
    return str(tmp_path / "student")


def batch(model: OpticalModel) -> dict[str, torch.Tensor]:
    processor = model.get_processor()
    questions = processor(QUESTIONS, kind="query")
    choices = processor([choice for own in CHOICES for choice in own], kind="document")
    inputs = {name: choices[name].unflatten(0, (2, 3)) for name in ("input_ids", "attention_mask", "token_mask")}
    return inputs | {f"question_{name}": questions[name] for name in inputs}


def test_an_encoders_checkpoint_answers_zero_shot_by_maxsim_over_the_questions_tokens(student, saved):
    model = OpticalForMultipleChoice.from_pretrained(saved)
    logits = model(**batch(model)).logits
    for row, question in enumerate(QUESTIONS):
        encoded = student.encode_query([question], convert_to_tensor=True)[0]
        for column, choice in enumerate(CHOICES[row]):
            document = student.encode_document([choice], convert_to_tensor=True)[0]
            ones = (torch.ones(1, len(x), dtype=torch.bool) for x in (encoded, document))
            expected = maxsim(encoded[None], document[None], *ones) / len(encoded)
            assert logits[row, column].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_labels_and_reaches_the_encoder(saved):
    model = OpticalForMultipleChoice.from_pretrained(saved)
    labels = torch.tensor([2, 0])
    output = model(**batch(model), labels=labels)
    expected = -output.logits.log_softmax(1)[torch.arange(2), labels].mean()
    assert output.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    output.loss.backward()
    assert model.choice_head.weight.grad.abs().sum() > 0
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


def test_a_choice_that_is_padding_is_never_chosen_and_changes_nothing(saved):
    model = OpticalForMultipleChoice.from_pretrained(saved).eval()
    inputs = batch(model)
    wider = {
        name: torch.cat([value, torch.zeros_like(value[:, :1])], 1) if value.dim() == 3 else value
        for name, value in inputs.items()
    }
    wider["attention_mask"][:, 3, 0] = 1  # a text of padding that attention can see
    logits, padded = model(**inputs).logits, model(**wider).logits
    assert torch.allclose(padded[:, :3], logits, atol=1e-6)
    assert (padded[:, 3] == torch.finfo(padded.dtype).min).all()
    one = wider | {"choice_mask": torch.tensor([[True, True, False, False]] * 2)}
    assert (model(**one).logits[:, 2:] == torch.finfo(padded.dtype).min).all()


def test_the_head_is_saved_and_loaded_and_the_class_is_found(saved, tmp_path):
    model = OpticalForMultipleChoice.from_pretrained(saved)
    model.choice_head.weight.data.copy_(torch.tensor([[3.0, 0.5, -0.25]]))
    model.save_pretrained(tmp_path / "choosing")
    loaded = AutoModelForMultipleChoice.from_pretrained(tmp_path / "choosing")
    assert isinstance(loaded, OpticalForMultipleChoice)
    assert torch.equal(loaded(**batch(model)).logits, model(**batch(model)).logits)
    encoder = OpticalModel.from_pretrained(tmp_path / "choosing")  # without its head it is the student again
    assert torch.equal(encoder.projection.weight, model.projection.weight)


def test_it_loads_without_this_package(saved, tmp_path):
    model = OpticalForMultipleChoice.from_pretrained(saved)
    folder = tmp_path / "choosing"
    model.save_pretrained(folder)
    script = f"""
import sys
sys.path = [place for place in sys.path if place not in ("", {str(Path(__file__).parents[2])!r})]
import importlib.util
for finder in list(sys.meta_path):
    if "editable" in type(finder).__module__ or "editable" in getattr(finder, "__name__", "").lower():
        sys.meta_path.remove(finder)
assert importlib.util.find_spec("modeling_optical") is None
from transformers import AutoModelForMultipleChoice
model = AutoModelForMultipleChoice.from_pretrained({str(folder)!r}, trust_remote_code=True)
print(type(model).__name__, model.choice_head.weight.tolist())
"""
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "OpticalForMultipleChoice [[1.0, 0.0, 0.0]]"


def test_the_features_are_means_over_tokens_both_ways_and_the_length():
    torch.manual_seed(0)
    questions = torch.nn.functional.normalize(torch.randn(1, 3, 4), dim=-1)
    choices = torch.nn.functional.normalize(torch.randn(1, 2, 5, 4), dim=-1)
    mask = torch.tensor([[[True] * 5, [True, True, False, False, False]]])
    features = choice_features(questions, torch.ones(1, 3, dtype=torch.bool), choices, mask)
    similar = questions[0] @ choices[0, 1, :2].T
    expected = [similar.amax(1).mean(), similar.amax(0).mean(), torch.tensor(2.0).log()]
    assert features[0, 1].tolist() == pytest.approx([value.item() for value in expected], abs=1e-6)


@pytest.mark.parametrize("wrong", ["flat", "missing", "rows"])
def test_wrong_shapes_are_told(saved, wrong):
    model = OpticalForMultipleChoice.from_pretrained(saved)
    inputs = batch(model)
    if wrong == "flat":
        inputs["input_ids"] = inputs["input_ids"][0]
    elif wrong == "missing":
        del inputs["question_input_ids"]
    else:
        inputs["question_input_ids"] = inputs["question_input_ids"][:1]
    with pytest.raises(ValueError, match="question_input_ids"):
        model(**inputs)
