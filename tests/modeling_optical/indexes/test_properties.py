"""Every engine against a plain dictionary: build, add, remove, replace and reopen in any order, with a reader beside them."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.encoding.words import words
from modeling_optical.indexes import Index, QdrantIndex, TwoStageIndex, new_index, open_index

from .conftest import DIM, unit_vectors
from .test_engines import MAKINGS, PACKAGES

ENCODER = Encoder("teacher", DIM, "f" * 64)
QUERIES = [*unit_vectors([3, 1], seed=8), np.zeros((0, DIM), np.float32)]
ASKED = ["boat नमस्ते", "東京塔", "boat"]
SEEDS = some.integers(0, 10**6)
NAMES = some.lists(some.sampled_from(["a", "b'", "ç", "d d", "e%_", "f\n"]), unique=True, min_size=1, max_size=4)
TEXTS = ("the boat", "नमस्ते दुनिया", "東京塔 boat", "", "nothing")


class Dictionary(RuleBasedStateMachine):
    """What an index does, said by a dictionary of id to (vectors, text)."""

    engine = "exact"

    @initialize(names=NAMES, seed=SEEDS)
    def build_first(self, names, seed):
        self.folder = Path(tempfile.mkdtemp())
        self.documents: dict[str, tuple[np.ndarray, str]] = {}
        name = "two-stage" if self.engine == "bm25" else self.engine
        self.index: Index = new_index(self.folder / "i", ENCODER, name, dtype="float32", **MAKINGS[self.engine])
        self.build(names, seed)
        self.reader = self.index if self.engine == "qdrant" else open_index(self.folder / "i")

    def made(self, names, seed) -> dict[str, tuple[np.ndarray, str]]:
        generator = np.random.default_rng(seed)
        vectors = unit_vectors(generator.integers(1, 4, len(names)), seed=seed)
        return {name: (v, TEXTS[generator.integers(len(TEXTS))]) for name, v in zip(names, vectors, strict=True)}

    def give(self, change, made) -> None:
        change(list(made), [v for v, _ in made.values()], [text for _, text in made.values()])

    @rule(names=NAMES, seed=SEEDS)
    def build(self, names, seed):
        self.documents = self.made(names, seed)
        self.give(self.index.build, self.documents)

    @rule(names=NAMES, seed=SEEDS)
    def add(self, names, seed):
        made = self.made(names, seed)
        if self.documents.keys() & made.keys():
            with pytest.raises(ValueError, match="taken"):
                self.give(self.index.add, made)
        else:
            self.give(self.index.add, made)
            self.documents |= made

    @rule(names=NAMES)
    def remove(self, names):
        if set(names) <= self.documents.keys():
            self.index.remove(names)
            for name in names:
                del self.documents[name]
        else:
            with pytest.raises(KeyError):
                self.index.remove(names)

    @precondition(lambda self: self.documents)
    @rule(seed=SEEDS, data=some.data())
    def replace(self, seed, data):
        name = data.draw(some.sampled_from(sorted(self.documents)))
        self.index.remove([name])
        made = self.made([name], seed)
        self.give(self.index.add, made)
        del self.documents[name]
        self.documents |= made

    @rule()
    def reopen(self):
        if isinstance(self.index, QdrantIndex):
            self.index.close()
        self.index = open_index(self.folder / "i")
        self.reader = self.index if self.engine == "qdrant" else self.reader

    @invariant()
    def every_reader_finds_what_the_dictionary_says(self):
        for index in {id(i): i for i in (self.index, self.reader)}.values():
            assert len(index) == len(self.documents)
            assert index.known([*self.documents, "nobody"]) == set(self.documents)
            ids, scores, texts = index.search_passages(QUERIES, 10, ASKED)
            for query, asked, row_ids, row_scores in zip(QUERIES, ASKED, ids, scores, strict=True):
                expected = {n: float((query @ v.T).max(1).sum()) for n, (v, _) in self.documents.items() if len(query)}
                if isinstance(index, TwoStageIndex) and index.candidates == "bm25":
                    expected = {n: s for n, s in expected.items() if {*words(asked)} & {*words(self.documents[n][1])}}
                assert sorted(row_ids) == sorted(expected)
                assert row_scores == sorted(row_scores, reverse=True)
                assert row_scores == pytest.approx([expected[name] for name in row_ids], abs=1e-3)
                assert all(texts[name] == self.documents[name][1] for name in row_ids)

    def teardown(self):
        if hasattr(self, "index") and isinstance(self.index, QdrantIndex):
            self.index.close()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


@pytest.mark.parametrize("engine", MAKINGS)
def test_an_engine_does_what_a_dictionary_does(engine):
    if engine in PACKAGES:
        pytest.importorskip(PACKAGES[engine])
    machine = type(f"Dictionary_{engine}", (Dictionary,), {"engine": engine})
    nightly = settings.default.max_examples > 100
    examples = 4 if engine in ("lancedb", "qdrant") else 15
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples * 20 if nightly else examples, stateful_step_count=10, deadline=None)
    )
