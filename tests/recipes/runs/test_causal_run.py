"""The run of a causal language model: what it says on the way, and what goes to the Hub at its end."""

import re
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hub_cards.publishing import plan_push
from recipes.runs import skeleton
from recipes.runs.causal_run import CausalRun
from recipes.runs.recipe.causal import CausalRecipe
from tests.conftest import bytelevel_tokenizer


def test_a_causal_run_tells_its_stages_and_pushes_its_student_with_a_card(tmp_path, monkeypatch, capsys):
    tokenizer = bytelevel_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    pairs = "".join(f"the cat {n}\tpaka {n}\n" for n in range(12))
    (tmp_path / "pairs.tsv").write_text(f"en\ttarget\n{pairs}", encoding="utf-8")
    recipe = CausalRecipe.of(
        {
            "language": "sw",
            "output": str(tmp_path / "run"),
            "model": {"start": str(tmp_path / "model")},
            "data": {"bitext": [{"path": str(tmp_path / "pairs.tsv")}], "held_out": 0.2},
            "training": {"max_steps": 1, "disable_tqdm": True, "save_strategy": "no"},
            "baselines": {"plain": {"objectives": {"next_token": 1.0}}},
        }
    )
    pushed = []
    monkeypatch.setattr(skeleton, "push_finished", lambda folder, *_: pushed.append(plan_push(folder, "org/causal")))
    CausalRun(recipe)()
    said = capsys.readouterr().out
    assert re.search("this run (will take|takes) about", said, re.IGNORECASE)
    places = [
        said.index(f"[{n}/3] {stage}; about")
        for n, stage in ((1, "training plain"), (2, "training optical"), (3, "evaluation"))
    ]
    assert places == sorted(places)
    (push,) = pushed
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(push.files)
    assert "org/causal" in push.card
    assert push.left_out == {}
    # Every system is trained on the same pairs, though the run is stopped between two of them.
    shutil.rmtree(tmp_path / "run" / "student")
    (tmp_path / "pairs.tsv").write_text(f"en\ttarget\nthe dog\tmbwa\n{pairs}", encoding="utf-8")
    with pytest.raises(ValueError, match="the bitext has changed since the run"):
        CausalRun(recipe)()
