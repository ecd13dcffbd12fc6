"""The last step of a run with `training.push_to_hub`: the finished model goes to the Hub, with its results on the card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from hub_cards.publishing import plan_push, send, telling_hub_errors


def hub_arguments(training: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Arguments for the trainer, which otherwise calls the repository by its folder's name; none without a push.

    Args:
        training: as the recipe has it.
        name: of the repository, if the recipe names none.
    """
    return {"hub_model_id": training.get("hub_model_id") or name} if training.get("push_to_hub") else {}


def push_finished(folder: Path, training: Mapping[str, Any], name: str) -> str | None:
    """Sends a finished model where the recipe asks for it; returns its address, None without a push.

    Args:
        folder: the model's, with its card.
        training, name: as for `hub_arguments`.

    Raises:
        OSError, ValueError: as `send`.
    """
    if not training.get("push_to_hub"):
        return None
    api = HfApi()
    repo_id, private = hub_arguments(training, name)["hub_model_id"], training.get("hub_private_repo")
    with telling_hub_errors(repo_id):
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id  # with the user's name, if it lacks one
    return send(plan_push(folder, repo_id), private=private, update=True, revision=training.get("hub_revision"), api=api)
