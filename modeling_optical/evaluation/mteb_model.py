"""A student under `mteb`'s own runner: retrieval, reranking and bitext mining."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..files.fingerprint import model_fingerprint
from ..late_interaction import maxsim_pairwise, pad_vectors, search
from ..modeling_optical import OpticalModel
from .retrieval import EncodedDocuments, retrieve

_PACKAGE_MISSING = 'evaluation with mteb needs the package mteb: pip install "modeling-optical[mteb]"'


class MTEBModel:
    """A late-interaction model as `mteb.evaluate` takes it (its `SearchProtocol` and `EncoderProtocol`).

    Retrieval and reranking: the student encodes the queries, `documents` the corpus, whatever its language: choose subsets
    whose corpus it can read. The search is exact.
    Bitext mining: `documents` encodes the side that is in its language, the student every other; both as queries, which is
    how pairs are aligned in distillation.

    Args:
        student: encodes queries.
        documents: encodes documents: the teacher whose space the student shares. None: the student does it too.
        documents_language: ISO 639-3 code of the language that `documents` knows; only bitext mining asks.
        name: name in mteb's results, as `organisation/model`. None: the Hub id, or `local/` and the name of the folder.
        revision: revision in mteb's results. None: a hash of the weights and settings, so that mteb never takes the cached
            results of another model of the same name for this one's.

    Raises:
        ImportError: if mteb is not installed; the message has the command.
        ValueError: if the two models' vectors differ in dimension.

    Example:

    ```python
    >>> import mteb
    >>> model = MTEBModel(student, documents=teacher, name="my-org/swahili-colbert")
    >>> task = mteb.get_task("BelebeleRetrieval", hf_subsets=["eng_Latn-swh_Latn"])  # English passages, Swahili questions
    >>> results = mteb.evaluate(model, task)
    ```
    """

    def __init__(
        self,
        student: OpticalModel,
        documents: OpticalModel | None = None,
        *,
        documents_language: str = "eng",
        name: str | None = None,
        revision: str | None = None,
    ):
        self.student = student
        self.documents = student if documents is None else documents
        self.documents_language = documents_language
        if student.config.vector_dim != self.documents.config.vector_dim:
            raise ValueError(
                f"the student has token vectors of dimension {student.config.vector_dim}, the document encoder of "
                f"{self.documents.config.vector_dim}: they do not share a space. Pass the teacher that it was distilled from."
            )
        self.mteb_model_meta = _model_meta(student, name or _name(student), revision or _revision(student, self.documents))
        self._corpus: EncodedDocuments | None = None

    def index(
        self, corpus: Any, *, task_metadata: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None, **_: Any
    ) -> None:
        """Encodes a corpus (a `datasets.Dataset` with the columns id, text and, if there are titles, title)."""
        texts = _texts(corpus, task_metadata, "document", encode_kwargs, num_proc)
        vectors = self.documents.encode_document(texts, **_encoding(encode_kwargs))
        self._corpus = EncodedDocuments([str(identifier) for identifier in corpus["id"]], vectors)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Exact MaxSim search of the indexed corpus, or of each query's candidates in `top_ranked`.

        Returns:
            Query id to {document id: score}, best first.

        Raises:
            ValueError: if nothing has been indexed.
        """
        if self._corpus is None:
            raise ValueError("there is no corpus to search: call index(...) first.")
        texts = dict(zip(queries["id"], _texts(queries, task_metadata, "query", encode_kwargs, num_proc), strict=True))
        batch_size = _encoding(encode_kwargs)["batch_size"]
        if top_ranked is None:
            return retrieve(self.student, texts, self._corpus, k=top_k, batch_size=batch_size)
        places = {identifier: place for place, identifier in enumerate(self._corpus.ids)}
        results: dict[str, dict[str, float]] = {}
        for query, text in texts.items():
            ids = list(top_ranked.get(query, ()))
            candidates = EncodedDocuments(ids, [self._corpus.vectors[places[identifier]] for identifier in ids])
            results |= retrieve(self.student, {query: text}, candidates, k=top_k) if ids else {query: {}}
        return results

    def encode(
        self, inputs: Iterable[Mapping[str, Any]], *, task_metadata: Any, hf_subset: str, **encode_kwargs: Any
    ) -> BitextSide:
        """One side of a bitext, not encoded yet: mteb says only in `similarity` which side it is.

        Raises:
            ValueError: for a task that needs one vector per text.
        """
        if task_metadata.type != "BitextMining":
            raise ValueError(
                f"{task_metadata.name} is a task of type {task_metadata.type}, which needs one vector per text; a "
                "late-interaction model has one per token. MTEBModel evaluates Retrieval, Reranking and BitextMining."
            )
        texts = [text for batch in inputs for text in batch["text"]]
        languages = dict(task_metadata.hf_subsets_to_langscripts)

        def encoder(position: int) -> OpticalModel:
            if self.documents is self.student:
                return self.student
            known = self._documents_know(languages, hf_subset, position, task_metadata.name)
            return self.documents if known else self.student

        def vectors(model: OpticalModel) -> list[Any]:
            return model.encode_query(texts, **_encoding(encode_kwargs))

        return BitextSide(range(len(texts)), encoder, vectors, {})

    def _documents_know(self, languages: Mapping[str, Sequence[str]], subset: str, position: int, task: str) -> bool:
        """Whether one side of a bitext is in the language of `documents`.

        `subset` is a pair such as "swh-eng", whose sides and languages are in order, or, where a task has one column per
        language, the column itself.
        """
        for pair, scripts in languages.items():
            names = pair.split("-")
            if subset not in (pair, *names):
                continue
            codes = [script.split("-")[0] for script in scripts]
            if len(codes) > 1 and self.documents_language not in codes:
                return False
            if len(codes) == 2:
                return codes[position if subset == pair else names.index(subset)] == self.documents_language
        raise ValueError(
            f"task {task} does not say which two languages the subset {subset!r} pairs, so it is open which side the document "
            "encoder knows. Evaluate with documents=None: the student encodes both sides."
        )

    def similarity(self, embeddings1: BitextSide, embeddings2: BitextSide) -> torch.Tensor:
        """MaxSim of every text of the first side, as query, with every text of the second: (first, second)."""
        first, second = embeddings1.vectors(0), embeddings2.vectors(1)
        positions, scores = search(first, second, k=len(second), device=self.student.device)
        return torch.zeros_like(scores).scatter_(1, positions, scores)

    def similarity_pairwise(self, embeddings1: BitextSide, embeddings2: BitextSide) -> torch.Tensor:
        """MaxSim of text i of the first side with text i of the second: (texts,)."""
        first, first_mask = pad_vectors(embeddings1.vectors(0))
        second, second_mask = pad_vectors(embeddings2.vectors(1))
        return maxsim_pairwise(first, second, first_mask, second_mask)


class BitextSide:
    """Rows of one side of a bitext, encoded at first use and only once however often mteb slices them.

    Args:
        rows: which texts.
        encoder: position of the side (0: first, 1: second) to the model that encodes it.
        encode: that model to the vectors of all texts.
        encoded: what `encode` has returned, by the model's id; shared between slices.
    """

    def __init__(
        self,
        rows: range,
        encoder: Callable[[int], OpticalModel],
        encode: Callable[[OpticalModel], list[Any]],
        encoded: dict[int, list[Any]],
    ):
        self._rows, self._encoder, self._encode, self._encoded = rows, encoder, encode, encoded

    @property
    def shape(self) -> tuple[int, None]:
        """(texts, None): the second axis is ragged."""
        return len(self._rows), None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> BitextSide:
        return BitextSide(self._rows[rows], self._encoder, self._encode, self._encoded)

    def vectors(self, position: int) -> list[Any]:
        """Arrays (tokens, dim) of these rows, as the first (0) or the second (1) side."""
        model = self._encoder(position)
        if id(model) not in self._encoded:
            self._encoded[id(model)] = self._encode(model)
        return [self._encoded[id(model)][row] for row in self._rows]


def _encoding(encode_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of mteb's encode_kwargs that `OpticalModel.encode` takes."""
    return {"batch_size": encode_kwargs.get("batch_size", 32), "show_progress_bar": encode_kwargs.get("show_progress_bar")}


def _texts(dataset: Any, task_metadata: Any, kind: str, encode_kwargs: Mapping[str, Any], num_proc: int | None) -> list[str]:
    """The texts as mteb itself prepares them: titles before documents, instructions after queries."""
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    loader = create_dataloader(
        dataset,
        task_metadata=task_metadata,
        prompt_type=PromptType(kind),
        batch_size=encode_kwargs.get("batch_size", 32),
        num_proc=num_proc,
    )
    return [text for batch in loader for text in batch["text"]]


def _model_meta(student: OpticalModel, name: str, revision: str) -> Any:
    try:
        from mteb.models.model_meta import ModelMeta, ScoringFunction
    except ImportError as error:
        raise ImportError(_PACKAGE_MISSING) from error
    return ModelMeta.create_empty(
        overwrites={
            "name": name,
            "revision": revision,
            "framework": ["PyTorch", "Transformers"],
            "model_type": ["late-interaction"],
            "similarity_fn_name": ScoringFunction.MAX_SIM,
            "embed_dim": student.config.vector_dim,
            "max_tokens": student.config.document_length,
            "n_parameters": student.num_parameters(),
        }
    )


def _name(student: OpticalModel) -> str:
    source = student.config._name_or_path
    if not source or os.path.isdir(source):
        return f"local/{Path(source).resolve().name if source else 'student'}"
    return source


def _revision(*models: OpticalModel) -> str:
    """Short name of what the vectors come from."""
    return hashlib.sha256("".join(model_fingerprint(model, "mteb") for model in models).encode()).hexdigest()[:16]
