"""Their folders read by us, ours read by them: the same texts, the same vectors.

What the peers compute is pinned in `fixtures/`; where a peer is installed (`make interop`), it is asked again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from parity_variants import HERE, TEXTS, VARIANTS, save_five_script_bert, vary
from safetensors.torch import load_file

from modeling_optical import OpticalModel, load_checkpoint, maxsim
from modeling_optical.checkpoints import export_checkpoint
from modeling_optical.late_interaction import pad_vectors

CASES = [(name, variant) for name, variants in VARIANTS.items() for variant in variants]
SCRIPTS = {
    "sentence-transformers": "with_sentence_transformers.py",
    "pylate": "with_pylate.py",
    "stanford": "with_colbert.py",
}
WHERE = {"pylate": "OPTICAL_PYLATE_PYTHON", "stanford": "OPTICAL_COLBERT_PYTHON"}


def peer(name: str) -> str:
    """The interpreter that has the peer; skips where there is none."""
    if name == "sentence-transformers":
        package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
        if not hasattr(package, "MultiVectorEncoder"):
            pytest.skip("sentence-transformers 6 or newer is needed")
        return sys.executable
    python = os.environ.get(WHERE[name])
    if not python:
        pytest.skip(f"{WHERE[name]} names no interpreter with the peer; `make interop` builds one")
    return python


class Peer:
    """A peer's process, which is asked as often as there is a case; most of a question's time is its imports."""

    def __init__(self, name: str):
        command = [peer(name), str(HERE / "peers" / SCRIPTS[name]), "answer"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def encode(self, folder: Path, out: Path) -> dict[str, torch.Tensor]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(folder), str(TEXTS), str(out)]) + "\n")
        self.process.stdin.flush()
        # The packages print, too.
        answer = next((line for line in self.process.stdout if line.startswith("answer:")), None)
        assert answer, f"the peer has ended with status {self.process.wait()}; what it said is above"
        wrong = json.loads(answer.removeprefix("answer:"))
        assert wrong is None, wrong
        return load_file(out)

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def peers():
    """The peers' processes by name, each started when it is first asked."""
    found: dict[str, Peer] = {}

    def asked(name: str) -> Peer:
        if name not in found:
            found[name] = Peer(name)
        return found[name]

    yield asked
    for one in found.values():
        one.end()


def encode_with_us(model: OpticalModel) -> dict[str, torch.Tensor]:
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    return {
        f"{kind}.{number}": vectors
        for kind, encode in (("queries", model.encode_query), ("documents", model.encode_document))
        for number, vectors in enumerate(encode(texts[kind], convert_to_tensor=True))
    }


def scores(vectors: dict[str, torch.Tensor]) -> torch.Tensor:
    queries, documents = (
        pad_vectors([vectors[key] for key in sorted(vectors) if key.startswith(kind)]) for kind in ("queries", "documents")
    )
    return maxsim(queries[0], documents[0], queries[1], documents[1])


def assert_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, vectors in theirs.items():
        assert ours[key].shape == vectors.shape, key
        torch.testing.assert_close(ours[key], vectors.float(), atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
    torch.testing.assert_close(scores(ours), scores(theirs), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_a_checkpoint_read_gives_the_vectors_that_its_own_package_gives(name, variant, tmp_path):
    folder = vary(HERE / "fixtures" / name / "checkpoint", tmp_path / "checkpoint", VARIANTS[name][variant])
    assert_same(encode_with_us(load_checkpoint(folder)), load_file(HERE / "fixtures" / name / f"{variant}.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_package_still_gives_the_vectors_that_are_pinned(name, variant, peers, tmp_path):
    folder = vary(HERE / "fixtures" / name / "checkpoint", tmp_path / "checkpoint", VARIANTS[name][variant])
    found = peers(name).encode(folder, tmp_path / "out.safetensors")
    assert_same(found, load_file(HERE / "fixtures" / name / f"{variant}.safetensors"))


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_what_was_read_survives_our_own_folder_and_an_export_back(name, variant, tmp_path):
    folder = vary(HERE / "fixtures" / name / "checkpoint", tmp_path / "checkpoint", VARIANTS[name][variant])
    pinned = load_file(HERE / "fixtures" / name / f"{variant}.safetensors")
    model = load_checkpoint(folder)
    model.save_pretrained(tmp_path / "ours")
    own = load_checkpoint(tmp_path / "ours")
    assert_same(encode_with_us(own), pinned)
    assert export_checkpoint(own, tmp_path / "back", name) == []
    assert_same(encode_with_us(load_checkpoint(tmp_path / "back")), pinned)


SETTINGS = {
    "none": {"query_expansion": "none", "skiplist": "none"},
    "fixed": {"query_expansion": "fixed", "skiplist": "punctuation"},
    "fixed-attended": {"query_expansion": "fixed", "attend_to_expansion_tokens": True, "skiplist": "punctuation_and_symbols"},
    "min": {"query_expansion": "min", "query_length": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("family", ["five-scripts", "bert", "xlm-roberta", "modernbert"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_what_we_export_its_package_encodes_alike(name, family, setting, backbones, peers, tmp_path):
    if setting == "min" and name != "sentence-transformers":
        pytest.skip(f"{name} has no such expansion; refused, see test_exporting")
    if name == "stanford" and setting != "fixed":
        pytest.skip("stanford checkpoints always expand; the skip list is its own")
    peer(name)
    backbone = save_five_script_bert(tmp_path / "backbone") if family == "five-scripts" else Path(backbones[family])
    torch.manual_seed(0)
    values = {"embedding_dim": 8, "query_length": 32, "document_length": 40} | SETTINGS[setting]
    if (name, family) == ("stanford", "modernbert"):
        # The tiny model's local attention spans less than a query: an expansion token that sees nothing of it has no defined
        # vector, and transformers 4 gives it another one than transformers 5.
        values["attend_to_expansion_tokens"] = True
    model = OpticalModel.from_backbone(backbone, query_marker="[Q]", document_marker="[D]", **values)
    if name == "stanford":
        from modeling_optical.checkpoints.formats.stanford import punctuation_ids

        model.config.skiplist_token_ids = punctuation_ids(model.processor.tokenizer)
    model.save_pretrained(tmp_path / "ours")
    model = load_checkpoint(tmp_path / "ours")
    assert export_checkpoint(model, tmp_path / "theirs", name) == []
    theirs = peers(name).encode(tmp_path / "theirs", tmp_path / "out.safetensors")
    ours = encode_with_us(model)
    if family == "xlm-roberta" and name == "sentence-transformers":
        # An empty text behind a prompt is a lone "▁" there, and nothing here.
        for vectors in (ours, theirs):
            for kind in ("queries", "documents"):
                vectors.pop(f"{kind}.7")
    assert_same(ours, theirs)
