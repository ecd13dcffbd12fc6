"""A model folder on the Hub: what would go there, and one commit that takes it there."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, hf_hub_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import validate_repo_id

from modeling_optical import load_checkpoint
from modeling_optical.adapters import ADAPTER_FILE
from modeling_optical.checkpoints.exporting import add_sentence_transformers

from .card_file import CARD_FILE, merge_card, named
from .model_card import is_hub_id, note_sentence_transformers

# Nobody's business on the Hub: checkpoints, caches and hidden files, except the results that the Hub reads.
_LEFT_OUT = ("checkpoint-", "__pycache__", "runs")
_HIDDEN_KEPT = ".eval_results"
# A repository that holds no more than this is as good as new.
_EMPTY = {".gitattributes"}
_TRY_AGAIN = "Start the same command again: what has arrived is not sent twice."


@dataclass
class Push:
    """What goes to the Hub.

    Attributes:
        repo_id: `organisation/name`.
        files: path in the repository to content: a file here, or bytes.
        card: the card as it will stand there.
        notes: what the owner should know before.
        repo_type: `model` or `space`.
    """

    repo_id: str
    files: dict[str, Path | bytes]
    card: str
    notes: list[str] = field(default_factory=list)
    repo_type: str = "model"

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        return {name: len(c) if isinstance(c, bytes) else c.stat().st_size for name, c in self.files.items()}


@contextmanager
def prepared(folder: str | Path, *, also_sentence_transformers: bool = False) -> Iterator[Path]:
    """The folder to push: the model's own, or a copy to which sentence-transformers' files are added.

    Raises:
        FileNotFoundError, ValueError: if it holds no model, or sentence-transformers cannot say the model's settings.
    """
    folder = Path(folder).expanduser()
    check_folder(folder)
    if not also_sentence_transformers or (folder / "modules.json").is_file():
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / folder.name
        shutil.copytree(folder, copy)
        add_sentence_transformers(load_checkpoint(copy), copy)
        note_sentence_transformers(copy)
        yield copy


def check_folder(folder: Path) -> None:
    """Raises if a folder holds no model with a card; the message says what to give in its place."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the folder of a trained student.")
    if (folder / ADAPTER_FILE).is_file() and not (folder / "config.json").is_file():
        _check_adapter(folder)
    elif not (folder / "config.json").is_file():
        inside = next((name for name in ("student", "model") if (folder / name / "config.json").is_file()), None)
        hint = f"push {folder / inside}" if inside else "give the folder that holds config.json and model.safetensors"
        raise ValueError(f"{folder} holds no model: {hint}.")
    elif not list(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} has a config.json but no model.safetensors: the model is not whole. Save it again.")
    if not (folder / CARD_FILE).is_file():
        raise ValueError(
            f"{folder} has no card ({CARD_FILE}). A run writes one; else write what the model is for, and push again."
        )


def _check_adapter(folder: Path) -> None:
    base = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"]
    if not is_hub_id(str(base)):
        raise ValueError(
            f"{folder} is an adapter of {base}, which is not on the Hub, so that nobody else could load it. Push that model "
            f"and name it in {ADAPTER_FILE}, or push the merged model: load_checkpoint({folder.name!r}).save_pretrained(FOLDER)."
        )


def plan_push(folder: Path, repo_id: str) -> Push:
    """What a push of a folder would send; asks nobody.

    Raises:
        ValueError: for a name that the Hub does not take, or a card whose metadata is not valid.
    """
    check_repo_id(repo_id)
    files: dict[str, Path | bytes] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") and part != _HIDDEN_KEPT for part in parts)
        if path.is_file() and not hidden and not any(part.startswith(_LEFT_OUT) for part in parts):
            files["/".join(parts)] = path
    card = named((folder / CARD_FILE).read_text(encoding="utf-8"), repo_id)
    _check_card(card, folder / CARD_FILE)
    files[CARD_FILE] = card.encode()
    return Push(repo_id, files, card, _notes(folder, card))


def send(
    push: Push,
    *,
    private: bool | None = None,
    update: bool = False,
    revision: str | None = None,
    api: HfApi | None = None,
) -> str:
    """Makes the repository if need be and sends everything in one commit; returns its address.

    Broken off and called again, it goes on: weights that have arrived are not sent twice, and the commit, which is the last
    step, is there whole or not at all. In a repository with a card, what is not ours in it stays (see `merge_card`).

    Args:
        push: what to send.
        private: whether a new repository is private; None leaves it to the account's default.
        update: whether a repository that holds something already gets another commit.
        revision: branch that gets the commit; the main one if None.
        api: of the Hub; the default one if None.

    Raises:
        PermissionError: without a token, or without the right to write.
        FileExistsError: if the repository holds something and `update` is False.
        ConnectionError: if the Hub cannot be reached, or stops answering.
        ValueError: if the Hub refuses the card or a name.
    """
    api = api or HfApi()
    with telling_hub_errors(push.repo_id):
        api.whoami()
        there = _files_there(api, push)
        if there is not None and there - _EMPTY and not update:
            raise FileExistsError(
                f"{push.repo_id} is on the Hub already and holds {len(there - _EMPTY)} files: add a commit to it with "
                "--update, or choose another name."
            )
        sdk = "gradio" if push.repo_type == "space" else None
        api.create_repo(push.repo_id, repo_type=push.repo_type, private=private, exist_ok=True, space_sdk=sdk)
        files = dict(push.files)
        if there and CARD_FILE in there:
            files[CARD_FILE] = merge_card(_card_there(api, push), push.card).encode()
        commit = api.create_commit(
            push.repo_id,
            [CommitOperationAdd(name, content) for name, content in files.items()],
            commit_message="Student distilled by optimal transport" if push.repo_type == "model" else "Demo",
            repo_type=push.repo_type,
            revision=revision,
        )
    return str(commit.repo_url)


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError for a name that the Hub does not take."""
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is no name on the Hub: give organisation/name (or your user name in its place).")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name on the Hub: {error}") from None


@contextmanager
def telling_hub_errors(repo_id: str) -> Iterator[None]:
    """Turns what the Hub's client raises into a sentence that says what to do."""
    try:
        yield
    except LocalTokenNotFoundError:
        raise PermissionError(
            "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN to a token with write access "
            "(huggingface.co/settings/tokens)."
        ) from None
    except OfflineModeIsEnabled:
        raise ConnectionError("HF_HUB_OFFLINE is set, so nothing can be pushed: unset it and start again.") from None
    except BadRequestError as error:
        raise ValueError(f"the Hub refused {repo_id}: {_said(error)}") from error
    except HfHubHTTPError as error:
        raise _of_status(error, repo_id) from error
    except HTTPError as error:
        raise ConnectionError(f"the connection to the Hub broke ({type(error).__name__}). {_TRY_AGAIN}") from error
    except RuntimeError as error:  # how the client reports a file that did not get through
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise _of_status(cause, repo_id) from error
        if isinstance(cause, (HTTPError, OSError)):
            raise ConnectionError(f"the connection to the Hub broke ({error}) {_TRY_AGAIN}") from error
        raise


def _of_status(error: HfHubHTTPError, repo_id: str) -> OSError:
    status = error.response.status_code
    owner = repo_id.partition("/")[0]
    if status == 401:
        return PermissionError("the Hub does not know this token: log in again with `hf auth login`, or mend HF_TOKEN.")
    if status == 403:
        return PermissionError(
            f"this token may not write to {owner!r}: take a token with write access to it, or push under a name of your own. "
            f"(The Hub: {_said(error)})"
        )
    if status == 429:
        return ConnectionError(f"the Hub asks to wait (too many requests). Wait a while. {_TRY_AGAIN}")
    return ConnectionError(f"the Hub answered {status} ({_said(error)}). {_TRY_AGAIN}")


def _said(error: HfHubHTTPError) -> str:
    return error.server_message or " ".join(str(error).split())


def _files_there(api: HfApi, push: Push) -> set[str] | None:
    if not api.repo_exists(push.repo_id, repo_type=push.repo_type):
        return None
    return set(api.list_repo_files(push.repo_id, repo_type=push.repo_type))


def _card_there(api: HfApi, push: Push) -> str:
    try:
        path = hf_hub_download(push.repo_id, CARD_FILE, repo_type=push.repo_type, endpoint=api.endpoint, token=api.token)
    except EntryNotFoundError:
        return ""
    return Path(path).read_text(encoding="utf-8")


def _check_card(card: str, path: Path) -> None:
    try:
        ModelCard(card)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: the Hub would refuse this card: {' '.join(str(error).split())}") from None


def _notes(folder: Path, card: str) -> list[str]:
    notes = []
    config = folder / "config.json"
    teacher = json.loads(config.read_text(encoding="utf-8")).get("teacher") if config.is_file() else None
    if teacher and (teacher.startswith((".", "/", "~")) or Path(teacher).is_dir()):
        notes.append(
            f"config.json names a folder of this machine as the teacher ({teacher}): push the teacher, too, and name it."
        )
    if ModelCard(card).data.license is None:
        notes.append("the card names no licence: set `license` in the recipe, or write it into the card's metadata.")
    if "[!WARNING]" in card:
        notes.append("the card warns about licences of what the model was made from: read its section on licences.")
    return notes
