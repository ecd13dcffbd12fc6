"""Search over HTTP: answers, limits, batches, a graceful stop."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel, OpticalRetriever
from modeling_optical.retriever import Passage
from modeling_optical.serving.server import ServerLimits, create_app

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient

ROOT = Path(__file__).resolve().parents[2]
CORPUS = {"cat": "the cat sat on the mat", "dog": "and the dog barked", "search": "search works in English"}


@pytest.fixture
def retriever(bert, tmp_path) -> OpticalRetriever:
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.save_pretrained(tmp_path / "model")
    made = OpticalRetriever.from_pretrained(tmp_path / "model")
    made.index(CORPUS, tmp_path / "index", show_progress_bar=False)
    return made


class SlowRetriever(OpticalRetriever):
    """Counts the queries of each call and takes its time."""

    def __init__(self, retriever: OpticalRetriever, seconds: float):
        self.__dict__.update(retriever.__dict__)
        self.seconds = seconds
        self.calls: list[int] = []

    def search(self, queries, k=10, **settings) -> list[list[Passage]]:
        self.calls.append(len(queries))
        time.sleep(self.seconds)
        return super().search(queries, k, **settings)


def test_an_answer_is_what_the_retriever_finds(retriever):
    with TestClient(create_app(retriever)) as client:
        answer = client.post("/search", json={"queries": ["the dog", "search"], "k": 2})
        assert answer.status_code == 200
        expected = retriever.search(["the dog", "search"], 2)
        assert [[p["id"] for p in row] for row in answer.json()["results"]] == [[p.id for p in row] for row in expected]
        assert answer.json()["results"][0][0]["text"] == CORPUS[expected[0][0].id]
        health = client.get("/health").json()
        assert (health["status"], health["documents"], health["engine"]) == ("ok", 3, "exact")
        assert health["queries_answered"] == 2
        assert "/search" in client.get("/openapi.json").json()["paths"]
        assert client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"queries": []}, 422),
        ({"queries": ["x"] * 5}, 422),
        ({"queries": ["x"], "k": 0}, 422),
        ({"queries": ["x"], "k": 11}, 422),
        ({"queries": [" "]}, 422),
        ({"queries": ["x" * 101]}, 422),
        ({"queries": "x"}, 422),
        ({"queries": ["x"], "padding": "x" * 3000}, 413),
    ],
)
def test_what_goes_beyond_the_limits_is_refused(retriever, request_, status):
    limits = ServerLimits(max_k=10, max_queries=4, max_characters=100, max_body_bytes=2000)
    with TestClient(create_app(retriever, limits)) as client:
        assert client.post("/search", json=request_).status_code == status
        assert client.post("/search", json={"queries": ["x"]}).status_code == 200


def test_a_body_of_unannounced_length_is_cut_off_at_the_limit(retriever):
    with TestClient(create_app(retriever, ServerLimits(max_body_bytes=2000))) as client:
        assert client.post("/search", content=(b"x" * 1000 for _ in range(10))).status_code == 413


def test_requests_that_come_together_are_answered_together(retriever):
    slow = SlowRetriever(retriever, 0.2)
    with TestClient(create_app(slow)) as client, ThreadPoolExecutor(16) as pool:

        def ask(text: str) -> list[str]:
            return [p["id"] for p in client.post("/search", json={"queries": [text], "k": 1}).json()["results"][0]]

        texts = list(CORPUS.values()) * 5
        found = list(pool.map(ask, texts))
    assert found == [[row[0].id] for row in retriever.search(texts, 1)]
    assert sum(slow.calls) == 15
    assert len(slow.calls) <= 5


def test_too_slow_and_too_many_are_told(retriever):
    limits = ServerLimits(timeout=0.2, max_waiting=2)
    with TestClient(create_app(SlowRetriever(retriever, 0.6), limits)) as client:
        assert client.post("/search", json={"queries": ["x"]}).status_code == 504
        assert client.post("/search", json={"queries": ["x"] * 3}).status_code == 503


def test_a_limit_that_makes_no_sense_and_a_retriever_without_an_index_are_refused(retriever):
    with pytest.raises(ValueError, match="max_k is 0"):
        ServerLimits(max_k=0)
    with pytest.raises(ValueError, match="no index is open"):
        create_app(OpticalRetriever(retriever.query_model))


_SERVING = """
import sys, time
from modeling_optical.retriever import retriever_for_index
from modeling_optical.serving.server import serve
retriever = retriever_for_index(sys.argv[1])
search = retriever.search
retriever.search = lambda *a, **k: (time.sleep(1.0), search(*a, **k))[1]
serve(retriever, port=int(sys.argv[2]))
"""


@contextmanager
def started(script: str, index: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server in a separate process that answers, and its port; it is killed in the end."""
    pytest.importorskip("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-c", script, str(index), str(port)], env=environment)
    try:
        for _ in range(1800):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        yield server, port
    finally:
        server.kill()


def test_a_server_that_is_told_to_stop_answers_who_waits_and_ends(retriever, tmp_path):
    with started(_SERVING, tmp_path / "index") as (server, port):
        answers = []

        def ask() -> None:
            body = json.dumps({"queries": ["the dog"], "k": 1}).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}/search", body, headers)
            answers.append(json.load(urllib.request.urlopen(request, timeout=30)))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.4)
        server.send_signal(signal.SIGTERM)
        asking.join(30)
        assert len(answers[0]["results"][0]) == 1
        assert server.wait(30) in (0, -signal.SIGTERM)


class Panic(BaseException):
    """As pyo3's PanicException: no Exception."""


def test_one_query_that_fails_harms_no_other(retriever):
    class Fragile(SlowRetriever):
        def search(self, queries, k=10, **settings):
            if any("boom" in query for query in queries):
                raise Panic("the library fell over")
            return super().search(queries, k, **settings)

    with (
        TestClient(create_app(Fragile(retriever, 0.1)), raise_server_exceptions=False) as client,
        ThreadPoolExecutor(6) as pool,
    ):
        texts = ["the dog", "boom", "search", "boom", "the cat"]
        answers = list(pool.map(lambda text: client.post("/search", json={"queries": [text]}), texts))
        assert [answer.status_code for answer in answers] == [200, 500, 200, 500, 200]
        assert "log says why" in answers[1].json()["detail"]
        assert client.get("/health").json()["status"] == "ok"


def test_health_tells_of_a_stuck_search_and_of_a_worker_that_ended(retriever):
    with TestClient(create_app(SlowRetriever(retriever, 1.5), ServerLimits(timeout=0.2))) as client:
        assert client.post("/search", json={"queries": ["x"]}).status_code == 504
        answer = client.get("/health")
        assert (answer.status_code, "running for more than" in answer.json()["status"]) == (503, True)
        time.sleep(1.6)
        assert client.get("/health").json()["status"] == "ok"


def test_health_tells_of_an_index_that_another_model_made_anew(retriever, bert, tmp_path):
    index = retriever.current
    with TestClient(create_app(retriever)) as client:
        assert client.get("/health").status_code == 200
        manifest = json.loads((index.path / "index.json").read_text())
        manifest["encoder"]["fingerprint"] = "0" * 64
        (index.path / "index.json").write_text(json.dumps(manifest))
        answer = client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "the index cannot be read")
        assert client.post("/search", json={"queries": ["x"]}).status_code == 503


def test_head_is_answered_where_get_is_and_unknown_keys_are_named(retriever):
    with TestClient(create_app(retriever)) as client:
        for path in ("/health", "/docs", "/openapi.json"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
        assert client.head("/search").status_code == 405
        answer = client.post("/search", json={"queries": ["x"], "top_k": 3})
        assert answer.status_code == 422
        assert "top_k" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST.:80", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:8000", 421),
        ("localhost@evil.example", 421),
        ("[::1]evil", 421),
        ("", 421),
    ],
)
def test_a_server_answers_to_its_own_names(retriever, host, status):
    with TestClient(create_app(retriever, hosts=("127.0.0.1", "localhost", "::1"))) as client:
        for method, path in (("GET", "/health"), ("HEAD", "/health"), ("GET", "/docs")):
            assert client.request(method, path, headers={"host": host}).status_code == status


def test_an_index_that_is_changed_replaced_or_removed_is_served_whole_or_not_at_all(retriever, tmp_path):
    corpora = [CORPUS, {name: f"another {text}" for name, text in CORPUS.items()}]
    other = OpticalRetriever(retriever.query_model)
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            other.index(corpora[number % 2], tmp_path / "index", overwrite=True, show_progress_bar=False)
            other.remove(["dog"])
            other.add({"dog": corpora[number % 2]["dog"]})

    changing = threading.Thread(target=change)
    with TestClient(create_app(retriever)) as client:

        def texts() -> dict[str, str]:
            answer = client.post("/search", json={"queries": ["the dog"]})
            assert answer.status_code == 200
            return {passage["id"]: passage["text"] for passage in answer.json()["results"][0]}

        changing.start()
        try:
            for _ in range(25):
                found = texts()
                assert any(found.items() <= corpus.items() for corpus in corpora), found
        finally:
            stop.set()
            changing.join()
        assert texts() in corpora
        shutil.rmtree(tmp_path / "index")
        assert client.post("/search", json={"queries": ["the dog"]}).status_code == 503
        assert client.get("/health").status_code == 503
        other.index(CORPUS, tmp_path / "index", show_progress_bar=False)
        assert texts() == CORPUS


_STUCK = """
import sys, time
from modeling_optical.retriever import retriever_for_index
from modeling_optical.serving.server import ServerLimits, serve
retriever = retriever_for_index(sys.argv[1])
retriever.search = lambda *a, **k: time.sleep(600)
serve(retriever, port=int(sys.argv[2]), limits=ServerLimits(timeout=3, max_connections=8))
"""


def test_idle_connections_make_room_and_a_stuck_search_does_not_hold_up_the_stop(retriever, tmp_path):
    with started(_STUCK, tmp_path / "index") as (server, port):
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for number, connection in enumerate(idle):
            if number % 2:
                connection.sendall(b"GET /health HT")
        for _ in range(5):
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).status == 200
        idle[-1].settimeout(10)
        assert idle[-1].recv(1) == b""  # closed when no request came
        request = urllib.request.Request(f"http://127.0.0.1:{port}/health", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(request, timeout=10)
        body = json.dumps({"queries": ["the dog"]}).encode()
        search = urllib.request.Request(f"http://127.0.0.1:{port}/search", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError, match="504"):
            urllib.request.urlopen(search, timeout=30)
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) in (0, -signal.SIGTERM)
