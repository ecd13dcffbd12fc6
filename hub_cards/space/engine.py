"""The demo's search: students by language, one index that the teacher has made, explanations and plans as HTML."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from threading import Lock

from modeling_optical import OpticalRetriever, load_checkpoint
from modeling_optical.checkpoints.backends import cache_folder
from modeling_optical.checkpoints.names import teacher_of
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.retriever import Passage
from modeling_optical.serving.explanation import Explanation
from modeling_optical.text_encoding import TextEncoder

from ..drawing.alignment import align
from ..drawing.alignment_page import alignment_fragment
from ..drawing.symbols import symbol

LONGEST_TEXT = 10_000
LONGEST_PAIR = 2_000
SHOWN = 8
SETTINGS_FILE = "settings.json"
_MET = 0.5  # weaker meetings are not shown


@dataclass
class DemoSettings:
    """Settings of the demo.

    Attributes:
        students: language code to folder or Hub id.
        teacher: encodes the documents; None takes the one that the first student names.
        corpus: file of the documents, a JSON object `{"_id", "text"}` a line; ids such as `U+1F408` are shown as symbols.
        index: folder of an index that is there; None makes one in the user's cache.
        examples: language code to pairs of a teacher's text and its translation.
        other_students: whether a visitor may name another student, any folder or Hub id; one such is kept.
        backend: what runs the models, as for `load_checkpoint`.
    """

    students: dict[str, str]
    teacher: str | None = None
    corpus: str | None = None
    index: str | None = None
    examples: dict[str, list[list[str]]] = field(default_factory=dict)
    other_students: bool = False
    backend: str = "torch"

    def save(self) -> str:
        """The settings as JSON."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike) -> DemoSettings:
        """Reads the settings; the corpus is looked for beside the file.

        Raises:
            ValueError: if the file is not a settings file.
        """
        path = Path(path)
        try:
            settings = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} holds no settings of the demo ({error}).") from None
        if settings.corpus is not None:
            settings.corpus = str(path.parent / settings.corpus)
        return settings


class DemoEngine:
    """Searches and aligns for the page; students are loaded when they are first asked for.

    Raises:
        ValueError: if there is neither a corpus nor an index, or nothing says what the teacher is.
    """

    def __init__(self, settings: DemoSettings):
        if not settings.students:
            raise ValueError("the demo needs a student: give its folder or its id on the Hub.")
        self.settings = settings
        self._students: dict[str, TextEncoder] = {}
        self._other: tuple[str, TextEncoder] | None = None
        self._lock = Lock()
        first = next(iter(settings.students.values()))
        name = teacher_of(self.student(first).config.teacher, first, settings.teacher)
        self.teacher = load_checkpoint(name, precision="auto", backend=settings.backend)
        self._index = Path(settings.index) if settings.index else self._make_index(name)

    def student(self, name: str) -> TextEncoder:
        """A student by folder or Hub id. Of those that visitors name, only the last is kept.

        Raises:
            ValueError: for a student that is not in the settings, where they do not let visitors name one.
        """
        own = name in self.settings.students.values()
        if not own and not self.settings.other_students:
            raise ValueError("This demo has its own students only.")
        with self._lock:
            if own:
                if name not in self._students:
                    self._students[name] = load_checkpoint(name, precision="auto", backend=self.settings.backend)
                return self._students[name]
            if self._other is None or self._other[0] != name:
                self._other = None  # before the next one is loaded, so that there are never two
                self._other = name, load_checkpoint(name, precision="auto", backend=self.settings.backend)
            return self._other[1]

    def _make_index(self, teacher: str) -> Path:
        """An index of the corpus in the user's cache, made once per teacher and corpus."""
        if self.settings.corpus is None:
            raise ValueError("the demo needs documents: give a corpus (--corpus) or an index (--index).")
        corpus = Path(self.settings.corpus)
        digest = hashlib.sha256(f"{Encoder.of(self.teacher).fingerprint}\0".encode() + corpus.read_bytes()).hexdigest()[:16]
        folder = cache_folder() / f"demo-{digest}"
        if not (folder / "index.json").is_file():
            OpticalRetriever(self.teacher).index(str(corpus), folder, name=teacher)
        return folder

    def _retriever(self, name: str) -> OpticalRetriever:
        student = self.student(name)
        if student.config.vector_dim != self.teacher.config.vector_dim:
            raise ValueError(
                f"{name} has vectors of {student.config.vector_dim} dimensions, this demo's teacher of "
                f"{self.teacher.config.vector_dim}: it was distilled from another teacher. Start a separate demo for it."
            )
        retriever = OpticalRetriever(student, self.teacher)
        retriever.open(self._index)
        return retriever

    def search(self, name: str, query: str) -> str:
        """The best documents with the tokens that met, as HTML; a note for an empty query."""
        cut = len(query) > LONGEST_TEXT
        query = " ".join(query[:LONGEST_TEXT].split())
        if not query:
            return note("Type a query first.")
        retriever = self._retriever(name)
        (passages,) = retriever.search([query], k=SHOWN)
        length = len(retriever.query_model.get_processor().tokenize([query], "query")[0]["input_ids"])
        longest = retriever.query_model.config.query_length
        notes = note(f"A long query: only its first {longest} tokens are read.") if cut or length == longest else ""
        found = [_passage(p, retriever.explain(query, p.text or "")) for p in passages]
        return f'{notes}<ol class="optical-results">{"".join(found)}</ol>'

    def plan(self, name: str, sentence: str, translation: str) -> str:
        """The plans of a pair, with the student and with the untaught teacher, as HTML; a note for an empty side."""
        cut = max(len(sentence), len(translation)) > LONGEST_PAIR
        sentence, translation = (" ".join(text[:LONGEST_PAIR].split()) for text in (sentence, translation))
        if not sentence or not translation:
            return note("Type a sentence and its translation first.")
        student = self.student(name)
        options = student.config.transport
        plans = [
            (caption, align(model, self.teacher, translation, sentence, options=options))
            for caption, model in (
                ("The student reads the translation", student),
                ("The teacher reads it, which never learnt the language", self.teacher),
            )
        ]
        notes = note(f"A long text: only its first {LONGEST_PAIR:,} characters are read.") if cut else ""
        long = max(len(p.student_tokens) for _, p in plans) > 60 or len(plans[0][1].teacher_tokens) > 60
        warned = note("A long pair: the picture is large. A sentence shows more.") if long else ""
        return notes + warned + alignment_fragment(plans)


def note(text: str) -> str:
    """A sentence to the visitor, as HTML."""
    return f'<p class="optical-note" role="status">{escape(text)}</p>'


def _passage(passage: Passage, explanation: Explanation) -> str:
    shown = symbol(passage.id) if passage.id.startswith("U+") else ""
    met = [
        (match.query.piece, match.document.piece, match.similarity)
        for match in sorted(explanation.matches, key=lambda match: -match.similarity)
        if match.query.start is not None and match.document.start is not None and match.similarity >= _MET
    ]
    pairs = "".join(
        f"<li><bdi>{escape(_bare(query))}</bdi> → <bdi>{escape(_bare(document))}</bdi> <small>{similarity:.2f}</small></li>"
        for query, document, similarity in met[:6]
    )
    head = f'<span class="optical-symbol" aria-hidden="true">{escape(shown)}</span>' if shown else ""
    return (
        f'<li class="optical-result">{head}<div><div dir="auto">{_marked(passage.text or passage.id, explanation)}</div>'
        f'<ul class="optical-met" aria-label="tokens that met">{pairs}</ul></div>'
        f'<span class="optical-score" title="MaxSim">{passage.score:.2f}</span></li>'
    )


def _bare(piece: str) -> str:
    return piece.replace("▁", "").replace("##", "").replace("Ġ", "") or piece


def _marked(text: str, explanation: Explanation) -> str:
    """The text with what the query met marked, the stronger the deeper."""
    parts, last = [], 0
    for start, end, similarity in explanation.spans():
        if similarity >= _MET and start >= last:
            depth = min((similarity - _MET) / (1 - _MET), 1.0) * 0.6 + 0.15
            mark = f'<mark style="background: rgba(255, 184, 28, {depth:.2f})">{escape(text[start:end])}</mark>'
            parts += [escape(text[last:start]), mark]
            last = end
    return "".join([*parts, escape(text[last:])])


def languages_of(metadata: Mapping[str, object], teacher_language: str = "en") -> list[str]:
    """The student's languages by its card's metadata: all but the teacher's."""
    stated = metadata.get("language_bcp47") or metadata.get("language") or []
    codes = [stated] if isinstance(stated, str) else [str(code) for code in stated]  # type: ignore[attr-defined]
    return [code for code in codes if code != teacher_language] or codes
