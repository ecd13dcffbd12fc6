"""What users of transformers and sentence-transformers write: it works, or one sentence says what to write in its place.

docs/interoperability.md shows the same table, and a test compares the two.
"""

import copy
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMultipleChoice, AutoProcessor, AutoTokenizer, pipeline

from modeling_optical import OpticalForDistillation, OpticalForMultipleChoice, OpticalModel, OpticalProcessor, load_checkpoint
from modeling_optical.pipeline_optical import OpticalFeatureExtractionPipeline

PAGE = Path(__file__).parents[2] / "docs" / "interoperability.md"
TEXT = "the cat sat, on the mat"


@dataclass
class Places:
    """Folders of a student and of a plain encoder, and a folder for more."""

    student: Path
    encoder: Path
    scratch: Path

    def load(self, **given: Any) -> OpticalModel:
        return AutoModel.from_pretrained(self.student, **given)

    def changed(self, source: Path, *, without: str = "", **settings: Any) -> Path:
        """A copy of a folder without the weights or files that a pattern names, and with other settings."""
        target = Path(shutil.copytree(source, self.scratch / "changed"))
        weights = load_file(target / "model.safetensors")
        kept = {key: value for key, value in weights.items() if not (without and re.match(without, key))}
        save_file(kept, target / "model.safetensors", metadata={"format": "pt"})
        for path in target.iterdir():
            if without and re.match(without, path.name):
                path.unlink()
        config = json.loads((target / "config.json").read_text())
        (config.get("backbone_config") or config).update(settings)
        (target / "config.json").write_text(json.dumps(config))
        return target


@pytest.fixture(scope="module")
def saved(bert_folder, tmp_path_factory) -> Path:
    torch.manual_seed(0)
    settings = {"query_marker": "[Q]", "document_marker": "[D]", "query_length": 12, "skiplist": "punctuation"}
    model = OpticalModel.from_backbone(bert_folder, embedding_dim=8, query_prompt="search: ", **settings)
    folder = tmp_path_factory.mktemp("student")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert_folder(backbones) -> str:
    return backbones["bert"]


@pytest.fixture
def places(saved, bert_folder, tmp_path) -> Places:
    return Places(saved, Path(bert_folder), tmp_path)


def same(one: Any, other: Any) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


def saved_again(places: Places) -> bool:
    load_checkpoint(places.student).save_pretrained(places.scratch / "x")
    again = AutoModel.from_pretrained(places.scratch / "x")
    return same(again.encode_query(TEXT), places.load().encode_query(TEXT)) and not same(
        again.encode_query("a dog barked"), again.encode_query(TEXT)
    )


def set_later(places: Places) -> bool:
    model = places.load()
    model.encode_query(TEXT)
    model.config.query_length, model.config.skiplist, model.config.document_marker = 5, "none", None
    model.config.query_expansion = "fixed"
    return len(model.encode_query("cat")) == 5 and len(model.encode_document(TEXT)) == len(
        places.load(skiplist="none", document_marker=None).encode_document(TEXT)
    )


def hooks_run(places: Places) -> bool:
    calls: list[str] = []
    for model_class in (OpticalModel, OpticalForDistillation, OpticalForMultipleChoice):
        model = model_class.from_pretrained(places.student)
        model.register_forward_hook(lambda *_, name=model_class.__name__: calls.append(name))
        assert same(model.encode_query(TEXT), places.load().encode_query(TEXT))
    return len(calls) == 3


def compiled(places: Places) -> bool:
    seen: list[int] = []

    def backend(graph: torch.fx.GraphModule, example: list[torch.Tensor]) -> Callable[..., Any]:
        seen.append(len(graph.graph.nodes))
        return graph.forward

    model = places.load()
    model.compile(backend=backend)
    return np.allclose(model.encode_query(TEXT), places.load().encode_query(TEXT), atol=1e-6) and bool(seen)


def in_a_pipeline(places: Places) -> bool:
    model = places.load()
    for given in ({"trust_remote_code": True}, {"pipeline_class": OpticalFeatureExtractionPipeline}) * 2:
        extract = pipeline("feature-extraction", model=str(places.student), **given)
        assert np.allclose(extract(TEXT)[0], model.encode_query(TEXT), atol=1e-6)
        assert np.allclose(extract([TEXT, "dog"], kind="document")[1][0], model.encode_document("dog"), atol=1e-6)
    return True


def tuples(places: Places) -> bool:
    model = places.load()
    batch = model.get_processor()(TEXT)
    del batch["content_mask"]
    output, values = model(**batch), model(**batch, return_dict=False)
    return (
        output.last_hidden_state.shape[-1] == model.config.hidden_size
        and torch.equal(values[0], output.token_vectors)
        and same(places.load(return_dict=False).encode_query(TEXT), model.encode_query(TEXT))
    )


def many_inputs(places: Places) -> bool:
    model, texts = places.load(), [TEXT, "dog"]
    expected = model.encode_query(texts)
    given = [tuple(texts), np.array(texts), (text for text in texts), dict.fromkeys(texts).keys()]
    assert all(same(a, b) for found in map(model.encode_query, given) for a, b in zip(found, expected, strict=True))
    processor = model.get_processor()
    return processor.tokenize(TEXT) == processor.tokenize([TEXT]) and model.encode_query([]) == []


def no_projection(places: Places) -> bool:
    made = (OpticalModel.from_backbone(places.encoder), load_checkpoint(places.encoder))
    return all(model.projection is None and model.encode_query(TEXT).shape[1] == model.config.hidden_size for model in made)


def without_prompt(model: OpticalModel) -> Any:
    model.config.query_prompt = None
    return model.encode_query(TEXT)


def copied(places: Places) -> bool:
    model = copy.deepcopy(places.load())
    model.get_processor()
    model = copy.deepcopy(model)
    model.config.query_length = 4
    return len(model.encode_query(TEXT)) == 4


# What they write; what it does; None if it works, else the sentence that refuses it.
Row = tuple[str, Callable[[Places], Any], str | None]
HABITS: list[Row] = [
    ("load_checkpoint(A).save_pretrained(B), then AutoModel.from_pretrained(B)", saved_again, None),
    (
        "AutoModel of a folder without tokenizer files",
        lambda p: AutoModel.from_pretrained(p.changed(p.student, without="tokenizer")).encode_query(TEXT),
        "knows no word: every text would become the same unknown tokens",
    ),
    (
        "load_checkpoint of an encoder without tokenizer files",
        lambda p: load_checkpoint(p.changed(p.encoder, without="tokenizer")),
        "knows no word: every text would become the same unknown tokens",
    ),
    (
        "OpticalProcessor(another model's tokenizer, config)",
        lambda p: OpticalProcessor(AutoTokenizer.from_pretrained(p.student), load_checkpoint(p.encoder).config),
        "has ids up to .* but the model's embedding matrix has .* rows",
    ),
    ("from_pretrained(A, query_length=8)", lambda p: len(p.load(query_length=8).encode_query(TEXT)) == 8, None),
    (
        "load_checkpoint(A, query_length=8)",
        lambda p: len(load_checkpoint(p.student, query_length=8).encode_query(TEXT)) == 8,
        None,
    ),
    ("model.config.query_length = 8 after the first encode", set_later, None),
    (
        "model.config.skiplist = a value that is not allowed",
        lambda p: (
            setattr(model := p.load(), "config", model.config) or setattr(model.config, "skiplist", "x") or model.encode("a")
        ),
        "skiplist is 'x'; allowed: 'none', 'punctuation', 'punctuation_and_symbols'",
    ),
    ("copy.deepcopy(model)", copied, None),
    (
        "from_pretrained(A, query_lenght=8)",
        lambda p: p.load(query_lenght=8),
        "unknown argument 'query_lenght': did you mean 'query_length'",
    ),
    (
        "load_checkpoint(A, query_lenght=8)",
        lambda p: load_checkpoint(p.student, query_lenght=8),
        "unknown argument 'query_lenght': did you mean 'query_length'",
    ),
    (
        "from_backbone(A, revison=…)",
        lambda p: OpticalModel.from_backbone(p.encoder, revison="main"),
        "unknown argument 'revison': did you mean 'revision'",
    ),
    (
        "encode(…, batchsize=8)",
        lambda p: p.load().encode(TEXT, batchsize=8),
        "unknown argument 'batchsize': did you mean 'batch_size'",
    ),
    (
        "from_backbone(A, dtype=…, attn_implementation=…)",
        lambda p: OpticalModel.from_backbone(p.encoder, dtype="bfloat16"),
        None,
    ),
    (
        "a checkpoint without its projection",
        lambda p: AutoModel.from_pretrained(p.changed(p.student, without="projection")),
        "lacks 1 weights, which would start random: projection.weight",
    ),
    (
        "a checkpoint without its encoder",
        lambda p: load_checkpoint(p.changed(p.student, without="backbone")),
        "lacks .* weights, which would start random: backbone",
    ),
    (
        "an encoder without its embeddings",
        lambda p: load_checkpoint(p.changed(p.encoder, without="embeddings")),
        "lacks .* weights, which would start random: embeddings",
    ),
    *(
        (
            f"a {kind} with num_hidden_layers {depth}",
            lambda p, source=source, depth=depth: load_checkpoint(p.changed(getattr(p, source), num_hidden_layers=depth)),
            problem,
        )
        for kind, source in (("student", "student"), ("plain encoder", "encoder"))
        for depth, problem in ((0, "has .* weights too many"), (-1, "has .* weights too many"), (9, "lacks .* weights"))
    ),
    (
        "from_pretrained(A without its projection, strict=False)",
        lambda p: AutoModel.from_pretrained(p.changed(p.student, without="projection"), strict=False),
        None,
    ),
    (
        "AutoModelForMultipleChoice.from_pretrained(A), and AutoModel of what it saves",
        lambda p: (
            AutoModelForMultipleChoice.from_pretrained(p.student).save_pretrained(p.scratch / "x")
            or same(AutoModel.from_pretrained(p.scratch / "x").encode_query(TEXT), p.load().encode_query(TEXT))
        ),
        None,
    ),
    ('pipeline("feature-extraction", model=A, trust_remote_code=True)', in_a_pipeline, None),
    (
        'pipeline("feature-extraction", model=A)',
        lambda p: pipeline("feature-extraction", model=str(p.student)),
        "set the option `trust_remote_code=True`",
    ),
    ("model.register_forward_hook(…), then encode", hooks_run, None),
    ("model.compile(), then encode", compiled, None),
    ("encode(text) without a kind: a query", lambda p: same(p.load().encode(TEXT), p.load().encode_query(TEXT)), None),
    ("one text, a tuple, an array, a generator for a list", many_inputs, None),
    (
        "encode(…, prompt=…), encode(…, prompt_name=…)",
        lambda p: (
            same(p.load().encode_query(TEXT, prompt=""), without_prompt(p.load()))
            and same(p.load().encode(TEXT, prompt_name="query"), p.load().encode_query(TEXT))
            and p.load().prompts == {"query": "search: ", "document": ""}
        ),
        None,
    ),
    (
        "encode(…, prompt_name=a name that the model lacks)",
        lambda p: p.load().encode(TEXT, prompt_name="passage"),
        "prompt_name is 'passage'; this model has prompts for 'query' and 'document'",
    ),
    (
        "encode(…, convert_to_tensor=True), encode(…, convert_to_numpy=False)",
        lambda p: all(
            isinstance(p.load().encode(TEXT, **given), torch.Tensor)
            for given in ({"convert_to_tensor": True}, {"convert_to_numpy": False})
        ),
        None,
    ),
    (
        "encode(…, device=…, normalize_embeddings=True)",
        lambda p: same(p.load().encode(TEXT, device="cpu", normalize_embeddings=True), p.load().encode(TEXT)),
        None,
    ),
    ("encode(…, device=[…, …])", lambda p: p.load().encode(TEXT, device=["cpu", "cpu"]), "encode works on one device"),
    ("start_multi_process_pool()", lambda p: p.load().start_multi_process_pool(), "encode works on one device"),
    (
        "similarity(queries, documents), also of one text or a padded tensor",
        lambda p: torch.allclose(
            (model := p.load()).similarity(
                query := model.encode_query(TEXT), documents := model.encode_document([TEXT, "dog"])
            ),
            model.similarity(
                [query], torch.nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in documents], batch_first=True)
            ),
        ),
        None,
    ),
    (
        "config.hidden_size, config.vocab_size",
        lambda p: (
            (config := p.load().config).hidden_size == 32 and config.vocab_size == len(AutoTokenizer.from_pretrained(p.student))
        ),
        None,
    ),
    ("output.last_hidden_state, return_dict=False", tuples, None),
    (
        "AutoProcessor.from_pretrained(A)(text)",
        lambda p: AutoProcessor.from_pretrained(p.student)(TEXT).input_ids.dim() == 2,
        None,
    ),
    ("a plain encoder gets no projection, whichever way it is loaded", no_projection, None),
]


@pytest.mark.parametrize(("does", "refused"), [pytest.param(*habit[1:], id=habit[0]) for habit in HABITS])
def test_a_habit_works_or_is_refused_in_a_sentence(does, refused, places):
    if refused is None:
        assert does(places) is not False
    else:
        with pytest.raises((ValueError, TypeError, NotImplementedError), match=refused):
            does(places)


def test_the_page_shows_the_table_of_habits():
    rows = [
        f"| {what} | {'works' if sentence is None else '“' + sentence.replace('.*', '…') + '”'} |"
        for what, _, sentence in HABITS
    ]
    page = PAGE.read_text(encoding="utf-8")
    assert [row for row in rows if row not in page] == []
