"""The files of a published collection, in a folder or in a data set on the Hub, and how their lines are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ...files.lines import json_lines, text_lines
from .collection import Collection, assemble, read_queries
from .judgements import judgement_lines


class Files(Protocol):
    """The files of a folder or of a data set on the Hub, by their path in it."""

    label: str

    @property
    def names(self) -> list[str]:
        """All paths, with `/`, sorted."""
        ...

    def path(self, name: str) -> Path:
        """Where the file is on this machine; fetched first if it must be."""
        ...


class LocalFiles:
    """The files below a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.label = str(folder)

    @cached_property
    def names(self) -> list[str]:
        """All paths below the folder; hidden folders and files (`.git`, `.DS_Store`, `._x` of macOS) are left out."""
        found = []
        for root, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [(Path(root) / name).relative_to(self.folder).as_posix() for name in files if not name.startswith(".")]
        return sorted(found)

    def path(self, name: str) -> Path:
        return self.folder / name


class HubFiles:
    """The raw files of a data set on the Hub, fetched one by one into the Hub's cache."""

    def __init__(self, repo_id: str, revision: str | None = None):
        self.repo_id = repo_id
        self.revision = revision
        self.label = repo_id if revision is None else f"{repo_id}@{revision}"

    @cached_property
    def names(self) -> list[str]:
        """All paths in the data set at the revision.

        Raises:
            FileNotFoundError: if the data set cannot be reached; says what to do.
        """
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            return sorted(HfApi().list_repo_files(self.repo_id, repo_type="dataset", revision=self.revision))
        except (HfHubHTTPError, OfflineModeIsEnabled, httpx.TransportError, OSError) as error:
            raise FileNotFoundError(
                f"the files of {self.label!r} could not be listed on the Hub ({type(error).__name__}: {error}). Check id, "
                "revision and network (a gated data set needs `hf auth login`), or give a folder with the same files."
            ) from error

    def path(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(self.repo_id, name, repo_type="dataset", revision=self.revision))


@dataclass
class Request:
    """A request to a reader.

    Attributes:
        files: where the collection is.
        name: last part of the folder's name or Hub id.
        language: language code, as the user wrote it.
        split: which queries and judgements; None for the reader's default.
        corpus_revision: revision of the Hub data set that holds the documents, where that is another one.
    """

    files: Files
    name: str
    language: str
    split: str | None = None
    corpus_revision: str | None = None


RequestT = TypeVar("RequestT")
FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Layout(Generic[RequestT, FoundT]):
    """A published layout and its reader, which answers a request with what it has found.

    Attributes:
        name: value of `format=`.
        marks: the files that identify the layout, for messages.
        recognises: whether these paths are this layout.
        read: the reader.
        hub_ids: data sets on the Hub in this layout.
    """

    name: str
    marks: str
    recognises: Callable[[list[str]], bool]
    read: Callable[[RequestT], FoundT]
    hub_ids: tuple[str, ...] = ()


CollectionLayout = Layout[Request, Collection]
"""A published layout of test collections and its reader."""
LayoutT = TypeVar("LayoutT", bound=Layout[Any, Any])


def find_layout(
    path: str | os.PathLike,
    layouts: Sequence[LayoutT],
    kind: str,
    *,
    format: str | None,
    revision: str | None,
    otherwise: LayoutT | None = None,
) -> tuple[LayoutT, Files, str]:
    """The layout of a folder or a data set on the Hub.

    Args:
        path: the folder, or the Hub id of the data set.
        layouts: all layouts, in the order in which they are tried on a folder.
        kind: of the data, for messages: `collection` or `question`.
        format: a layout's name, if it cannot be detected.
        revision: of the data set.
        otherwise: the layout of data sets that no layout names; None: such a data set is an error.

    Returns:
        The layout, the files, and the last part of the folder's name or of the Hub id.

    Raises:
        FileNotFoundError: for a folder that does not exist or matches no layout.
        ValueError: for an unknown format, or a data set of an unknown layout.
    """
    written = os.fspath(path)
    known = {layout.name: layout for layout in layouts}
    if format is not None and format not in known:
        raise ValueError(f"unknown format {format!r} of a {kind}. Known: {', '.join(known)}.")
    folder = Path(written).expanduser()
    if folder.is_dir():
        local = LocalFiles(folder.resolve())
        found = known[format] if format else next((one for one in layouts if one.recognises(local.names)), None)
        if found is None:
            marks = "; ".join(f"{one.name}: {one.marks}" for one in layouts)
            raise FileNotFoundError(
                f"{kind} folder {local.label}: there is no file by which a layout that is known is recognised. These are: "
                f"{marks}. `format` names one outright."
            )
        return found, local, local.folder.name
    if written.startswith((".", "/", "~")) or written.count("/") > 1 or (otherwise is None and "/" not in written):
        raise FileNotFoundError(f"{kind} folder {written!r} does not exist.")
    named = (one for one in layouts if written.lower() in (known_id.lower() for known_id in one.hub_ids))
    found = known[format] if format else next(named, otherwise)
    if found is None:
        raise ValueError(f"the layout of {written!r} is not known: give `format`, one of {', '.join(known)}.")
    return found, HubFiles(written, revision), written.rsplit("/", 1)[-1]


def ending(names: Iterable[str], relative: str) -> str | None:
    """The path that is `relative` or ends with it after a `/`; packed (`.gz`) if only that is there."""
    listed = list(names)
    for wanted in (relative, f"{relative}.gz"):
        found = [name for name in listed if name == wanted or name.endswith(f"/{wanted}")]
        if found:
            return min(found, key=len)
    return None


def needed(files: Files, relative: str, advice: str = "") -> Path:
    """The file that is `relative` or ends with it.

    Raises:
        FileNotFoundError: if there is none.
    """
    name = ending(files.names, relative)
    if name is None:
        raise FileNotFoundError(f"collection {files.label}: {relative} is missing.{' ' if advice else ''}{advice}")
    return files.path(name)


def json_documents(paths: Iterable[Path], identifier: str, text: str) -> Iterator[tuple[str, str, str]]:
    """(place, id, title and text) of documents in files with a JSON object a line.

    Args:
        paths: the files, in order.
        identifier: key of the id.
        text: key of the text.
    """
    for path in paths:
        for place, record in json_lines(path):
            if not isinstance(record.get(identifier), (str, int)) or not isinstance(record.get(text), str):
                raise ValueError(
                    f"{place}: a document needs `{identifier}` and `{text}`; it has {', '.join(record) or 'nothing'}."
                )
            title = record.get("title")
            yield place, str(record[identifier]), f"{title} {record[text]}" if title else record[text]


def tab_topics(path: Path) -> Iterator[tuple[str, str, str]]:
    """(place, id, text) of a file with `id<tab>text` a line."""
    for place, line in text_lines(path):
        if not line.strip():
            continue
        identifier, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(f"{place}: expected query id and text, separated by a tab.")
        yield place, identifier.strip(), text.strip()


def with_topics(
    name: str,
    language: str,
    passages: Sequence[Path],
    topics: Path,
    qrels: Path,
    *,
    identifier: str = "docid",
    text: str = "text",
    query_language: str = "",
) -> Collection:
    """A collection of passages in JSON (see `json_documents`), topics with a tab, and judgements as TREC has them."""
    return assemble(
        name,
        language,
        read_corpus=lambda: json_documents(passages, identifier, text),
        corpus_bytes=unpacked_bytes(passages),
        queries=read_queries(tab_topics(topics)),
        judgements=judgement_lines(qrels),
        query_language=query_language,
    )


def unpacked_bytes(paths: Iterable[Path]) -> int:
    """About how much text the files hold; gzip packs text to about a quarter."""
    return sum(path.stat().st_size * (4 if path.name.endswith(".gz") else 1) for path in paths)


def no_queries(files: Files, language: str, there: Iterable[str]) -> FileNotFoundError:
    """The error for a language that a collection lacks; names those that it has."""
    known = ", ".join(sorted(set(there))) or "none"
    return FileNotFoundError(f"collection {files.label}: there are no queries in {language!r}. Languages here: {known}.")
