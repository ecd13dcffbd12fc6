"""Every configuration in recipes/accelerate trains on two CPU processes, and what it saves loads without the package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tiny_workshop import ROOT

pytestmark = pytest.mark.slow

FOLDER = ROOT / "recipes" / "accelerate"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
_LOAD = """
import json, sys
sys.modules["modeling_optical"] = None  # importing it fails
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True)
print(json.dumps(model.encode_query("tac tam").tolist()))
"""


def ran(*words: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", FILES)
def test_what_a_configuration_trains_loads_without_the_package(name, backbones, tmp_path):
    if name == "deepspeed.yaml":
        pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    shared = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(FOLDER / name), *shared]
    ran(*launch, str(ROOT / "tests/recipes/launched_distillation.py"), backbones["bert"], str(tmp_path))
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["class"].startswith("FSDP") == (name == "fsdp.yaml")
    assert 0 <= found["metrics"]["eval_translation_success_at_1"] <= 1
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert saved["auto_map"]["AutoModel"] == "modeling_optical.OpticalForDistillation"
    assert saved["architectures"] == ["OpticalForDistillation"]
    loaded = json.loads(ran("-c", _LOAD, str(tmp_path / "saved")))
    # A configuration may train in bf16; what it saves is read in the weights' own precision.
    np.testing.assert_allclose(loaded, found["vectors"], atol=2e-2)
