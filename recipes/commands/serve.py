"""`optical serve`: search over HTTP."""

from __future__ import annotations

import argparse
import socket

from .encoders import add_encoder_options, device, encoder_arguments, say_who_reads
from .index import engine_settings


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve an index over HTTP",
        description="POST /search, GET /health, and the OpenAPI page at /docs. Ends after the waiting requests on SIGTERM and "
        "Ctrl-C.",
    )
    serve.add_argument("index", help="folder of the index")
    serve.add_argument("--model", help="encodes the queries: your student (default: the model that made the index)")
    serve.add_argument("--documents-model", help="the model that made the index (default: the one that the index names)")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1; 0.0.0.0 for every interface)")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument(
        "--allowed-host", action="append", default=[], metavar="NAME", help="name that clients may use; may be repeated"
    )
    serve.add_argument("--setting", action="append", default=[], metavar="key=value", help="setting of the engine")
    serve.add_argument("--max-k", type=int, default=100, help="passages per query at most (100)")
    serve.add_argument("--max-body-bytes", type=int, default=1_000_000, help="size of a request at most (1000000)")
    serve.add_argument("--timeout", type=float, default=30.0, help="seconds until a request is given up (30)")
    serve.add_argument("--max-batch", type=int, default=32, help="queries encoded and searched together at most (32)")
    add_encoder_options(serve)
    serve.set_defaults(work=_serve)


def _serve(options: argparse.Namespace) -> int:
    from modeling_optical.retriever import retriever_for_index
    from modeling_optical.serving.server import ServerLimits, check_serving, serve

    check_serving()
    _check_address(options.host, options.port)
    limits = ServerLimits(
        max_k=options.max_k,
        max_body_bytes=options.max_body_bytes,
        timeout=options.timeout,
        max_batch=options.max_batch,
    )
    settings = engine_settings(options.setting)
    retriever = retriever_for_index(
        options.index, options.model, options.documents_model, device=device(), **encoder_arguments(options), **settings
    )
    say_who_reads(retriever, options.model)
    print(_greeting(len(retriever.current), options), flush=True)
    serve(retriever, host=options.host, port=options.port, limits=limits, allowed_hosts=options.allowed_host)
    return 0


def _check_address(host: str, port: int) -> None:
    """Whether the server could listen, before a model is loaded.

    Raises:
        ValueError: for a port that there is none of. OSError: if it is in use, or the host is not this machine's.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"--port is {port}; ports are from 1 to 65535 (0: a free one).")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise OSError(f"{host}, port {port}: {error.strerror or error}. Choose another with --port or --host.") from error


def _greeting(documents: int, options: argparse.Namespace) -> str:
    """The number of documents, an example request and its response."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(
        options.host, f"[{options.host}]" if ":" in options.host else options.host
    )
    address = f"http://{host}:{options.port}"
    ask = f"""curl {address}/search -H 'Content-Type: application/json' -d '{{"queries": ["a query"], "k": 2}}'"""
    answer = """{"results": [[{"id": "…", "score": 11.2, "text": "…"}, …]], "seconds": 0.03}"""
    return (
        f"{documents:,} documents. Ask for the best passages of each query:\n  {ask}\n  {answer}\n"
        "A score is a sum of cosines over the query's tokens: it ranks the passages of one query.\n"
        f"Page to try it: {address}/docs (loads its scripts from a CDN; without one: {address}/openapi.json)"
    )
