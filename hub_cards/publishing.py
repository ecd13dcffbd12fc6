"""A model folder on the Hub: what would go there, and one commit that takes it there."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, hf_hub_download
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
from modeling_optical.checkpoints.adapters import ADAPTER_FILE
from modeling_optical.checkpoints.exporting import add_sentence_transformers
from modeling_optical.checkpoints.names import PACKAGE_PREFIX, is_hub_id

from .card_file import CARD_FILE, card_metadata, merge_card, named
from .model_card import note_sentence_transformers

# What this package, transformers and sentence-transformers write into a model's folder, and what the Hub reads there.
_MODEL = (
    r"(config|generation_config|processor_config|preprocessor_config|sentence_bert_config|tokenizer|tokenizer_config"
    r"|special_tokens_map|added_tokens|vocab)\.json|chat_template\.jinja|(vocab|merges)\.txt"
    r"|(sentencepiece\.bpe|spiece|tokenizer)\.model|(source|target)\.spm"
    r"|model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|adapter_config\.json|adapter_model\.safetensors"
)
_WEIGHTS = re.compile(
    rf"(0_Transformer/)?({_MODEL})|(vocabulary|projection|modules|config_sentence_transformers)\.json"
    r"|\d+_(Dense|MultiVectorMask|Normalize|Pooling)/(config\.json|model\.safetensors)"
)
_WRITTEN = re.compile(rf"README\.md|LICENSE(\.md|\.txt)?|\.eval_results/[^/]+\.yaml|training_log\.json|{_WEIGHTS.pattern}")
# A repository that holds no more than this is as good as new.
_EMPTY = {".gitattributes"}
_SHOWN = re.compile(r"!\[[^\]\n]*\]\(([\w./-]+\.(?:png|jpe?g|svg|webp|gif))\)", re.IGNORECASE)
_IMPORTED = re.compile(r"^\s*from \.(\w+) import", re.MULTILINE)
NOT_OF_THE_MODEL = "not a part of the model"
_TRY_AGAIN = "Start the same command again: what has arrived is not sent twice."


@dataclass
class Push:
    """One push to the Hub.

    Attributes:
        repo_id: `organisation/name`.
        files: path in the repository to content: a file here, or bytes.
        card: the card as it will be there.
        notes: what the owner should know before.
        repo_type: `model` or `space`.
        left_out: files of the folder that stay here, with the reason.
    """

    repo_id: str
    files: dict[str, Path | bytes]
    card: str
    notes: list[str] = field(default_factory=list)
    repo_type: str = "model"
    left_out: dict[str, str] = field(default_factory=dict)

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
        shutil.copytree(folder, copy, symlinks=True)
        add_sentence_transformers(load_checkpoint(copy), copy)
        note_sentence_transformers(copy)
        yield copy


def check_folder(folder: Path) -> None:
    """Raises if a folder holds no model with a card; the message says what to give in its place."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder of a trained student.")
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
            f"and name it in {ADAPTER_FILE}, or push the merged model: load_checkpoint(FOLDER).save_pretrained(…)."
        )


def plan_push(folder: Path, repo_id: str, *, also: Sequence[str] = ()) -> Push:
    """Prepares a push of a folder without sending anything or asking the user.

    It has the files that this package and transformers write into a model's folder, the code that travels with the model, and
    the pictures that the card shows. All other files stay here, also those outside of the folder that are only linked.

    Args:
        folder: of the model.
        repo_id: `organisation/name`.
        also: paths in the folder of other files to send.

    Raises:
        ValueError: for a name that the Hub does not take, a card whose metadata is not valid, or a file among `also` that
            is not in the folder.
    """
    check_repo_id(repo_id)
    text = (folder / CARD_FILE).read_text(encoding="utf-8")
    card_metadata(folder / CARD_FILE)
    card = named(text, repo_id)
    _check_card(card, folder / CARD_FILE)
    expected = {f"{module}.py" for module in _code_of(folder)} | set(_SHOWN.findall(text))
    files: dict[str, Path | bytes] = {}
    left_out: dict[str, str] = {}
    for path in _files_below(folder):
        name = path.relative_to(folder).as_posix()
        reason = None
        if not _lies_in(path, folder):
            reason = "a link that leads out of the folder"
        elif _WRITTEN.fullmatch(name) is None and name not in expected and name not in also:
            reason = NOT_OF_THE_MODEL
        if reason is None:
            files[name] = path
        else:
            left_out[name] = reason
    missing = [name for name in also if name not in files]
    if missing:
        why = left_out.get(missing[0], "not a file in the folder")
        raise ValueError(f"{missing[0]} cannot be sent: it is {why}. Give paths as they are below {folder}.")
    files[CARD_FILE] = card.encode()
    notes = _notes(folder, card)
    if "config.json" in files:
        files["config.json"] = _config_without_local_teacher(folder)
    return Push(repo_id, files, card, notes, left_out=left_out)


def _files_below(folder: Path) -> list[Path]:
    """All files of a folder; linked folders count as files, so that nothing behind them is looked at."""
    found = []
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if Path(root, name).is_symlink()]
        found += [Path(root, name) for name in [*names, *links]]
    return sorted(found)


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file, all links followed, is an ordinary file of the folder."""
    target = path.resolve()
    return target.is_file() and target.is_relative_to(folder.resolve())


def _code_of(folder: Path) -> set[str]:
    """Modules that `config.json` and the processor name as the model's own code, with those that they import from beside."""
    mapped: list[str] = []
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            values = json.loads((folder / file).read_text(encoding="utf-8")).get("auto_map", {})
            entries = values.values() if isinstance(values, dict) else values if isinstance(values, list) else []
            mapped += [
                one for entry in entries for one in (entry if isinstance(entry, list) else [entry]) if isinstance(one, str)
            ]
    found: set[str] = set()
    waiting = {name.rpartition("--")[2].partition(".")[0] for name in mapped}
    while waiting:
        module = waiting.pop()
        place = folder / f"{module}.py"
        if module in found or not module.isidentifier() or not place.is_file() or not _lies_in(place, folder):
            continue
        found.add(module)
        waiting |= set(_IMPORTED.findall(place.read_text(encoding="utf-8")))
    return found


def _config_without_local_teacher(folder: Path) -> bytes:
    """`config.json` without the name of a local folder, which other machines cannot load."""
    text = (folder / "config.json").read_text(encoding="utf-8")
    values = json.loads(text)
    if not _is_local(values.get("teacher")):
        return text.encode()
    return (json.dumps(values | {"teacher": None}, indent=2, ensure_ascii=False) + "\n").encode()


def _is_local(teacher: object) -> bool:
    return isinstance(teacher, str) and not teacher.startswith(PACKAGE_PREFIX) and not is_hub_id(teacher)


def send(
    push: Push,
    *,
    private: bool | None = None,
    update: bool = False,
    revision: str | None = None,
    api: HfApi | None = None,
) -> str:
    """Makes the repository if need be and sends everything in one commit; returns its address.

    An interrupted push resumes: weights that have arrived are not sent twice. The commit comes last and is complete or absent.
    In a repository with a card, parts that this package did not write stay (see `merge_card`). Files of the model that was
    there and that this one has not are deleted: weights in another number of files would be loaded in the place of these.

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
        of_a_model = {name for name in there or () if push.repo_type == "model" and _WEIGHTS.fullmatch(name)}
        deleted = [CommitOperationDelete(name) for name in sorted(of_a_model - files.keys())]
        commit = api.create_commit(
            push.repo_id,
            [*(CommitOperationAdd(name, content) for name, content in files.items()), *deleted],
            commit_message="Student distilled by optimal transport" if push.repo_type == "model" else "Demo",
            repo_type=push.repo_type,
            revision=revision,
        )
    return str(commit.repo_url)


def check_repo_id(repo_id: str) -> None:
    """Raises ValueError for a name that the Hub does not take."""
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id!r} is not a name on the Hub: give organisation/name (or your user name in its place).")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is not a name on the Hub: {error}") from None


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
    if _is_local(teacher):
        notes.append(
            f"the teacher is a folder of this machine ({teacher}), which is not named on the Hub: push it, too, and name it."
        )
    if ModelCard(card).data.license is None:
        notes.append("the card names no licence: `optical card RUN --license cc-by-4.0` adds one, here CC-BY-4.0.")
    if "[!WARNING]" in card:
        notes.append("the card warns about licences of what the model was made from: read its section on licences.")
    return notes
