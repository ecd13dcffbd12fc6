"""Raw files fetched from the Hub: a local server speaks the few requests, a separate process reads from it."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORIES = {
    "miracl/miracl": {
        "miracl-v1.0-sw/topics/topics.miracl-v1.0-sw-dev.tsv": b"2\tMji mkuu?\n",
        "miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv": b"2 Q0 39#0 1\n",
        "miracl.py": b"raise SystemExit('a loading script is never run')",
    },
    "miracl/miracl-corpus": {
        "miracl-corpus-v1.0-sw/docs-0.jsonl.gz": gzip.compress(b'{"docid": "39#0", "title": "Nairobi", "text": "Mji."}\n'),
        "miracl-corpus-v1.0-fi/docs-0.jsonl.gz": b"never fetched",
    },
}


class Hub(BaseHTTPRequestHandler):
    """Lists and gives the files of data sets; remembers what was asked for."""

    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlparse(self.path).path)
        self.asked.append(path)
        for name, files in REPOSITORIES.items():
            if path.startswith(f"/api/datasets/{name}/tree/"):
                listed = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in files.items()]
                return self._send(json.dumps(listed).encode(), body)
            prefix = f"/datasets/{name}/resolve/"
            if path.startswith(prefix):
                revision, _, file = path.removeprefix(prefix).partition("/")
                if file in files and revision in ("main", "v1", COMMIT):
                    return self._send(files[file], body)
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub():
    Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def read(hub: str, cache: Path, call: str) -> subprocess.CompletedProcess[str]:
    # The Hub's client reads its address when it is imported.
    script = f"from modeling_optical.evaluation import load_collection\nfound = load_collection({call})\n"
    script += "print(found.name, found.queries, found.qrels, dict(found.corpus.items()))"
    environment = os.environ | {"HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
    root = Path(__file__).parents[4]
    environment["PYTHONPATH"] = str(root)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=cache)


def test_miracl_is_read_from_the_raw_files_of_its_two_data_sets(hub, tmp_path):
    done = read(hub, tmp_path, '"miracl/miracl", "sw", revision="v1"')
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "miracl-dev {'2': 'Mji mkuu?'} {'2': {'39#0': 1}} {'39#0': 'Nairobi Mji.'}"
    assert any("/datasets/miracl/miracl/resolve/v1/" in path for path in Hub.asked)
    assert not any("miracl.py" in path or "-fi/docs" in path for path in Hub.asked if "resolve" in path)


def test_a_data_set_that_is_not_there_is_told_with_the_remedy(hub, tmp_path):
    done = read(hub, tmp_path, '"castorini/africlirmatrix", "sw"')
    assert done.returncode != 0
    assert "the files of 'castorini/africlirmatrix' could not be listed on the Hub" in done.stderr
    assert "or give a folder with the same files" in done.stderr
