"""Load test of `optical serve`: latency at 1, 8 and 32 clients, or memory over time. Writes serving.md and serving.json.

    python benchmarks/serving.py INDEX --queries FILE [--model M] [--requests 200] [--backend torch onnx auto]
    python benchmarks/serving.py INDEX --queries FILE [--model M] --soak 180         (writes serving_memory.md and .json)

Starts the server on an index that is there and asks it the queries of the file. Clients and server share the
machine's cores.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from modeling_optical.files.atomic_write import write_text
from modeling_optical.indexes import IndexManifest

ROOT = Path(__file__).resolve().parents[1]


def ask(url: str, query: str, k: int = 10) -> dict[str, Any]:
    body = json.dumps({"queries": [query], "k": k}).encode()
    request = urllib.request.Request(f"{url}/search", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def load(url: str, queries: list[str], clients: int, requests: int) -> dict[str, Any]:
    """Each client asks one query after the other, all clients at once."""
    milliseconds: list[float] = []
    numbers = iter(range(requests))
    lock = threading.Lock()

    def client() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            started = time.perf_counter()
            ask(url, queries[number % len(queries)])
            with lock:
                milliseconds.append(1e3 * (time.perf_counter() - started))

    started = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    ordered = sorted(milliseconds)
    return {
        "clients": clients,
        "requests": len(ordered),
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 1),
        "requests_per_second": round(len(ordered) / seconds, 1),
    }


def soak(url: str, queries: list[str], process: int, seconds: float) -> dict[str, Any]:
    """Sixteen clients without a pause; every eighth request is a bad one. The server's memory, twelve times."""
    ends = time.monotonic() + seconds
    answered, refused = [0] * 16, [0] * 16

    def client(number: int) -> None:
        while time.monotonic() < ends:
            asked = answered[number] + refused[number]
            if asked % 8 == 7:
                refused[number] += _refused(url, _BAD[asked // 8 % len(_BAD)])
            else:
                ask(url, queries[(asked * 16 + number) % len(queries)])
                answered[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    server = psutil.Process(process)
    for thread in threads:
        thread.start()
    memory = []
    started = time.monotonic()
    while time.monotonic() < ends:
        memory.append((round(time.monotonic() - started), server.memory_info().rss // 2**20, server.num_threads()))
        time.sleep(seconds / 12)
    for thread in threads:
        thread.join()
    memory.append((round(time.monotonic() - started), server.memory_info().rss // 2**20, server.num_threads()))
    return {"answered": sum(answered), "refused": sum(refused), "seconds": seconds, "memory": memory}


_BAD = [b"{", b"[" * 100_000, b'{"queries": []}', b"x" * 1_100_000, b'{"queries": 1, "k": NaN}']


def _refused(url: str, body: bytes) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/search", body, {"Content-Type": "application/json"}), timeout=120)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
    except (ConnectionError, urllib.error.URLError):
        pass  # the rest of a body that is too large is not read
    else:
        raise AssertionError(f"a bad request was answered: {body[:40]!r}")
    return True


def write_soak(found: dict[str, Any], manifest: IndexManifest, note: str, output: Path) -> None:
    encoder = "/".join(Path(manifest.encoder.name).parts[-2:])
    text = "\n".join(
        [
            "# Memory of a server under load",
            "",
            f"Made by `python benchmarks/serving.py INDEX --queries FILE --soak {found['seconds']:g}`: {manifest.documents} "
            f"documents, encoder {encoder}, 16 clients without a pause; "
            f"{found['answered']} requests answered, {found['refused']} bad ones refused. {note}".rstrip(),
            "",
            "| second | resident MB | threads |",
            "|---|---|---|",
            *(f"| {second} | {megabytes} | {threads} |" for second, megabytes, threads in found["memory"]),
            "",
        ]
    )
    write_text(output / "serving_memory.md", text)
    write_text(output / "serving_memory.json", json.dumps(found, indent=1) + "\n")
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("--model", help="encodes the queries (default: the model that made the index)")
    parser.add_argument("--queries", type=Path, required=True, help="a text file with a query a line")
    parser.add_argument("--backend", nargs="+", default=["torch"], help="what encodes the queries, one after the other (torch)")
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32], help="numbers of clients (1 8 32)")
    parser.add_argument("--requests", type=int, default=200, help="per number of clients")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="full load for so long; the server's memory over time")
    parser.add_argument("--note", default="", help="a sentence for the report, such as what else ran on the machine")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of the results")
    options = parser.parse_args()
    queries = [line for line in options.queries.read_text(encoding="utf-8").splitlines() if line.strip()]
    manifest = IndexManifest.read(options.index)
    if options.soak:
        with serving(options, "torch") as (url, server):
            write_soak(soak(url, queries, server.pid, options.soak), manifest, options.note, options.output)
        return
    rows = []
    for backend in options.backend:
        with serving(options, backend) as (url, _):
            for query in queries[:20]:
                ask(url, query)  # the first ones warm up
            for clients in options.clients:
                before = health(url)
                row = load(url, queries, clients, options.requests)
                after = health(url)
                batches = after["batches"] - before["batches"]
                row["queries_per_batch"] = round((after["queries_answered"] - before["queries_answered"]) / batches, 1)
                rows.append({"backend": backend} | row)
    lines = [
        "# Serving under load",
        "",
        f"Made by `python benchmarks/serving.py` on {platform.machine()}, {platform.system()}: {manifest.documents} documents, "
        f"engine {manifest.engine}, {manifest.dtype}, encoder {manifest.encoder.name}. Clients and server share the machine's "
        f"cores. {options.note}",
        "",
        "| backend | clients | requests | p50 ms | p95 ms | requests/s | queries per batch |",
        "|---|---|---|---|---|---|---|",
        *("| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows),
    ]
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    write_text(options.output / "serving.md", text)
    write_text(options.output / "serving.json", json.dumps({"note": options.note, "rows": rows}, indent=1) + "\n")
    print(text)


@contextmanager
def serving(options: argparse.Namespace, backend: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server's address and process; it answers, and ends behind the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "recipes/command.py"), "serve", options.index, "--port", str(port)]
    command += ["--backend", backend, *(["--model", options.model] if options.model else [])]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server)
        yield url, server
    finally:
        server.terminate()
        server.wait(60)


def health(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/health") as answer:
        return json.load(answer)


def _wait(url: str, server: subprocess.Popen) -> None:
    for _ in range(1200):
        if server.poll() is not None:
            raise RuntimeError("the server ended; start `optical serve` by hand to see why.")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not answer within two minutes.")


if __name__ == "__main__":
    main()
