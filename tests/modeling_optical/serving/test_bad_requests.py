"""Requests as nobody should send them: answered with 4xx and a sentence; the server goes on, and its memory is bounded."""

import asyncio
import json
import tracemalloc

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as some

from modeling_optical import OpticalModel, OpticalRetriever
from modeling_optical.serving.server import BodyLimit, ServerLimits, create_app

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
pytest.importorskip("httpx", reason="httpx is not installed (extra test)")
from fastapi.testclient import TestClient

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(backbones, tmp_path_factory):
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("served")
    model = OpticalModel.from_backbone(backbones["bert"], embedding_dim=8)
    model.save_pretrained(home / "model")
    retriever = OpticalRetriever.from_pretrained(home / "model")
    retriever.index({"cat": "the cat", "dog": "the dog"}, home / "index", show_progress_bar=False)
    limits = ServerLimits(max_body_bytes=100_000, max_characters=1000, max_queries=4)
    with TestClient(create_app(retriever, limits), raise_server_exceptions=False) as made:
        yield made


def refused(answer) -> bool:
    """Whether it is a refusal with a sentence that does not repeat the request."""
    detail = answer.json()["detail"]
    return 400 <= answer.status_code < 500 and isinstance(detail, str) and 0 < len(detail) < 3000


HALVES = (b"\\ud800", b"\\ufffd")
BODIES = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"queries": ["\xff"]}',
    "a key of half a character": b'{"queries": ["x"], "k": {"\\ud800": 1}}',
    "NaN": b'{"queries": ["x"], "k": NaN}',
    "a huge number": b'{"queries": ["x"], "k": 1' + b"0" * 5000 + b"}",
    "deep nesting": b"[" * 50_000,
    "deeply nested queries": b'{"queries": ' + b"[" * 40_000,
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "queries that are none": b'{"queries": {"a": 1}}',
    "numbers": b'{"queries": [1, 2]}',
    "white space": '{"queries": ["\u2003"]}'.encode(),
    "too long": json.dumps({"queries": ["x" * 2000]}).encode(),
    "too large": b'{"queries": ["' + b"x" * 200_000 + b'"]}',
}


@pytest.mark.parametrize("body", BODIES)
def test_a_bad_body_is_refused_with_a_sentence_and_the_next_is_answered(body, client):
    assert refused(client.post("/search", content=BODIES[body], headers=JSON))
    assert client.post("/search", json={"queries": ["cat"], "k": 1}).status_code == 200


def test_half_a_character_is_searched_for_as_the_replacement_character(client):
    broken, replaced = (client.post("/search", content=b'{"queries": ["the %s"]}' % c, headers=JSON) for c in HALVES)
    assert broken.status_code == 200
    assert broken.json()["results"] == replaced.json()["results"]


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/xml", "x" * 2000, ""])
def test_a_body_of_another_kind_is_refused(kind, client):
    assert refused(client.post("/search", content=b"--x\r\nqueries=cat", headers={"content-type": kind}))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/search"), ("POST", "/health"), ("GET", "/../../etc/passwd"), ("PUT", "/")]
)
def test_another_method_or_path_is_refused(method, path, client):
    assert refused(client.request(method, path))


VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(queries=VALUES | some.lists(some.text(max_size=8), max_size=5), k=VALUES)
@example(queries=["\0"], k=1)
@example(queries=["\u202e"], k=1)
@example(queries=["cat"], k=10**30)
def test_any_request_is_answered_or_refused(queries, k, client):
    answer = client.post("/search", content=json.dumps({"queries": queries, "k": k}).encode(), headers=JSON)
    if answer.status_code == 200:
        assert len(answer.json()["results"]) == len(queries)
    else:
        assert refused(answer)


@given(body=some.binary(max_size=100))
def test_any_bytes_are_refused(body, client):
    assert refused(client.post("/search", content=body, headers=JSON))


async def _sent_to(limit: BodyLimit, parts: list[bytes], pause: float) -> tuple[int, int]:
    """Status of the answer, and how many parts were taken."""
    taken = 0
    status = []

    async def receive() -> dict:
        nonlocal taken
        await asyncio.sleep(pause)
        taken += 1
        return {"type": "http.request", "body": parts[taken - 1], "more_body": taken < len(parts)}

    async def send(message: dict) -> None:
        status.append(message.get("status"))

    await limit({"type": "http"}, receive, send)
    return status[0], taken


async def _never(scope: dict, receive: object, send: object) -> None:
    raise AssertionError("the request was not stopped")


def test_a_client_that_trickles_is_given_up():
    limit = BodyLimit(_never, max_bytes=1000, timeout=0.05)
    status, taken = asyncio.run(_sent_to(limit, [b"x"] * 1000, 0.01))
    assert status == 408
    assert taken < 100


def test_a_body_in_single_bytes_takes_no_more_memory_than_its_limit():
    limit = BodyLimit(_never, max_bytes=50_000, timeout=60)
    tracemalloc.start()
    status, taken = asyncio.run(_sent_to(limit, [b"x"] * 100_000, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (status, taken) == (413, 50_001)
    assert peak < 2_000_000
