"""A trainer's own push sends the card that a run writes."""

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hub_cards.card_file import LOWEST_TRANSFORMERS, PLACEHOLDER, sections
from hub_cards.licences import CardInput
from hub_cards.model_card import CardData, write_model_card
from modeling_optical import OpticalForDistillation, OpticalModel
from recipes.cli import main
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher, load_bitext
from trainer.bitext import BitextSource


@pytest.fixture
def bitext(tmp_path):
    lines = [f"the cat {i} sat on the mat\tpaka {i} alikaa kwenye mkeka\n" for i in range(280)]
    (tmp_path / "pairs.tsv").write_text("".join(lines))
    return tmp_path / "pairs.tsv"


def test_push_to_hub_sends_the_card_of_hub_cards(hub, bert, bitext, tmp_path):
    torch.manual_seed(0)
    teacher = Teacher(OpticalModel.from_backbone(bert, embedding_dim=8), max_length=16)
    student = OpticalForDistillation.from_backbone(bert, embedding_dim=8)
    card = CardData("tiny", ["sw"], "en", [CardInput("teacher", "org/teacher")], "1 × transport", {}, {"sw": 280}, [], {}, {})
    data, _ = load_bitext([BitextSource(path=str(bitext), source=0, target=1, language="sw")])
    arguments = OpticalTrainingArguments(
        str(tmp_path / "out"), max_steps=1, use_cpu=True, report_to="none", hub_model_id="org/tiny", disable_tqdm=True
    )
    trainer = OpticalTrainer(
        student,
        arguments,
        teacher=teacher,
        train_dataset=data,
        write_card=lambda folder, repo_id: write_model_card(folder, card, repo_id),
    )
    trainer.train()
    trainer.push_to_hub()
    pushed = hub.model("org/tiny").files
    written = write_model_card(tmp_path / "other", card, "org/tiny").read_text(encoding="utf-8")
    assert pushed["README.md"].decode() == written
    assert PLACEHOLDER not in written
    assert 'from_pretrained("org/tiny", trust_remote_code=True)' in written
    assert "model.safetensors" in pushed


def test_a_run_that_pushes_while_it_trains_sends_the_card_of_the_run(hub, bert, bitext, tmp_path):
    torch.manual_seed(0)
    teacher = OpticalModel.from_backbone(bert, embedding_dim=8)
    teacher.save_pretrained(tmp_path / "teacher")
    recipe = {
        "language": "sw",
        "output": str(tmp_path / "run"),
        "teacher": {"model": str(tmp_path / "teacher")},
        "data": {
            "held_out": 0.2,
            "bitext": [{"path": str(bitext), "source": 0, "target": 1, "language": "sw", "license": "cc-by-sa-4.0"}],
        },
        "baselines": {"pooled_mse": {"objectives": {"pooled_mse": 1.0}}},
        "training": {"max_steps": 2, "disable_tqdm": True, "push_to_hub": True, "hub_model_id": "org/tiny"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["run", str(tmp_path / "recipe.yaml")]) == 0
    card = hub.model("org/tiny").files["README.md"].decode()
    assert PLACEHOLDER not in card
    assert f'pip install torch "transformers>={LOWEST_TRANSFORMERS}"' in card
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["model-index"][0]["results"]
    assert "base_model" not in metadata  # the teacher is a folder here
    assert str(tmp_path) not in card
    pushed = sections(card)
    written = sections((tmp_path / "run" / "student" / "README.md").read_text(encoding="utf-8"))
    for same in ("summary", "results", "licences", "recipe"):
        assert pushed[same] == written[same]
    student = OpticalModel.from_pretrained(tmp_path / "run" / "student")
    (tmp_path / "pushed.safetensors").write_bytes(hub.model("org/tiny").files["model.safetensors"])
    weights = load_file(tmp_path / "pushed.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in student.state_dict().items())  # not the baseline's
    assert "cc-by-sa-4.0, which is share-alike" in pushed["licences"]
    assert "Not measured yet" not in written["results"]
