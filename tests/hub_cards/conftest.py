"""A Hub on this machine, and a student to push to it."""

import huggingface_hub.constants
import pytest
import torch
from hub_server import start_hub

from modeling_optical import OpticalModel


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The Hub that this process talks to, with a good token in the environment."""
    hub, server = start_hub()
    old = huggingface_hub.constants.ENDPOINT
    template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(old, hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made once, with an address
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def student(bert, tmp_path):
    """Folder of a tiny student with a card."""
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    folder = tmp_path / "student"
    model.save_pretrained(folder)
    (folder / "README.md").write_text(
        "---\nlanguage:\n- sw\nlicense: mit\n---\n\n<!-- optical:summary -->\n# tiny\n<!-- /optical:summary -->\n\n"
        "<!-- optical:use -->\nload PATH_OR_ID_OF_THIS_MODEL\n<!-- /optical:use -->\n\n"
        "<!-- optical:sentence-transformers -->\nno\n<!-- /optical:sentence-transformers -->\n"
    )
    return folder
