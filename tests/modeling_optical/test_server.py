"""Search over HTTP: answers, limits, batches, a graceful stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel, OpticalRetriever
from modeling_optical.retriever import Passage
from modeling_optical.server import ServerLimits, create_app

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
from modeling_optical.server import serve
retriever = retriever_for_index(sys.argv[1])
search = retriever.search
retriever.search = lambda *a, **k: (time.sleep(1.0), search(*a, **k))[1]
serve(retriever, port=int(sys.argv[2]))
"""


def test_a_server_that_is_told_to_stop_answers_who_waits_and_ends(retriever, tmp_path):
    pytest.importorskip("uvicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, "-c", _SERVING, str(tmp_path / "index"), str(port)], env=environment)
    try:
        for _ in range(1800):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
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
    finally:
        server.kill()
