"""Search over HTTP: requests that arrive together are encoded and searched together."""

# No `from __future__ import annotations`: FastAPI reads the types of the endpoints, which are made inside a function.

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from transformers.utils import logging

from ..indexes import Index
from ..retriever import OpticalRetriever
from .batcher import Batcher, SearchFailed, ServerLimits, TooManyRequests
from .gates import BodyLimit, Gate

logger = logging.get_logger(__name__)

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def create_app(retriever: OpticalRetriever, limits: ServerLimits | None = None, hosts: Collection[str] | None = None) -> Any:
    """The FastAPI application: POST /search, GET /health, and its OpenAPI page at /docs.

    Args:
        retriever: with an open index.
        limits: what a request may ask for.
        hosts: names that clients may call the server by (`Host` header); None: any.

    Raises:
        ImportError: if FastAPI is not installed.
        ValueError: if no index is open.
    """
    try:
        from fastapi import FastAPI, HTTPException, Request, Response
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import JSONResponse
        from pydantic import BaseModel, ConfigDict, Field
    except ImportError as error:
        raise ImportError('serving needs FastAPI: pip install "modeling-optical[serve]"') from error

    bounds = limits or ServerLimits()
    index = retriever.current

    class SearchRequest(BaseModel):
        model_config = ConfigDict(extra="forbid")

        queries: list[str] = Field(
            min_length=1, max_length=bounds.max_queries, description="queries, in a language that the query model has learnt"
        )
        k: int = Field(default=min(10, bounds.max_k), ge=1, le=bounds.max_k, description="passages per query")

    class FoundPassage(BaseModel):
        id: str = Field(description="of the document")
        score: float = Field(
            description="MaxSim: the sum of the best cosine of each query token; ranks the passages of one query"
        )
        text: str | None = Field(default=None, description="the document; null if the index has no texts")

    class SearchResponse(BaseModel):
        results: list[list[FoundPassage]] = Field(
            description="k passages of each query, best first, however far they are; none for a query without tokens"
        )
        seconds: float = Field(description="from the arrival of the request to its results")

    class Health(BaseModel):
        status: str
        documents: int
        engine: str
        queries_answered: int
        batches: int

    batcher = Batcher(retriever, bounds)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with batcher:
            yield

    app = FastAPI(
        title="modeling-optical",
        description="Late-interaction search: POST /search. This page loads its scripts from a CDN; /openapi.json needs none.",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, max_bytes=bounds.max_body_bytes, timeout=bounds.timeout)
    app.add_middleware(Gate, hosts=hosts)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the input, which may be large, or hold what JSON cannot (NaN, half a character).
        faults = [f"{'.'.join(str(part) for part in one['loc'])[:100]}: {one['msg'][:200]}" for one in error.errors()[:5]]
        if "json" not in request.headers.get("content-type", ""):
            faults.append("send it as JSON: the header Content-Type: application/json is missing")
        return JSONResponse({"detail": "; ".join(faults).encode("utf-8", "replace").decode()}, status_code=422)

    @app.post("/search")
    async def search(request: SearchRequest) -> SearchResponse:
        started = time.perf_counter()
        for query in request.queries:
            if not query.strip() or len(query) > bounds.max_characters:
                raise HTTPException(422, f"a query has 1 to {bounds.max_characters} characters, not only white space.")
        try:
            found = await batcher.search(request.queries, request.k)
        except TooManyRequests as error:
            raise HTTPException(503, str(error)) from error
        except TimeoutError as error:
            raise HTTPException(504, f"no answer within {bounds.timeout} seconds.") from error
        except SearchFailed as error:
            raise HTTPException(error.status, str(error)) from error
        results = [[FoundPassage(id=p.id, score=p.score, text=p.text) for p in row] for row in found]
        return SearchResponse(results=results, seconds=time.perf_counter() - started)

    @app.get("/health")
    async def health(response: Response) -> Health:
        trouble = batcher.trouble() or await asyncio.to_thread(_unreadable, index)
        if trouble is not None:
            response.status_code = 503
        return Health(
            status=trouble or "ok",
            documents=index.manifest.documents,
            engine=index.engine,
            queries_answered=batcher.queries,
            batches=batcher.batches,
        )

    return app


def _unreadable(index: Index) -> str | None:
    """The reason why an index cannot be searched now, or None; nothing about this machine's files."""
    if not index.is_there():
        return "the index was removed"
    try:
        index.refresh()
    except (OSError, ValueError) as error:
        logger.error(f"the index cannot be read: {str(error)[:1000]}")
        return "the index cannot be read"
    return None


def check_serving() -> None:
    """Fails at once where `serve` would, before a model is loaded.

    Raises:
        ImportError: if FastAPI or uvicorn is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ImportError('serving needs FastAPI and uvicorn: pip install "modeling-optical[serve]"') from error


def serve(
    retriever: OpticalRetriever,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: ServerLimits | None = None,
    allowed_hosts: Collection[str] = (),
) -> None:
    """Serves until SIGINT or SIGTERM. It then takes no new requests and answers those that wait.

    It stops within the time of a request and a few seconds, even if a search is stuck.

    Args:
        retriever: with an open index.
        host, port: where to listen. On local addresses, only requests for this machine are answered.
        limits: what a request may ask for.
        allowed_hosts: further host names of the server. On an address that others can reach, only these and the address itself
            are then answered; without them, any name is.

    Raises:
        ImportError: if FastAPI or uvicorn is not installed.
    """
    check_serving()
    import uvicorn

    bounds = limits or ServerLimits()
    local = host in _THIS_MACHINE
    hosts = {host, *(_THIS_MACHINE if local else ()), *allowed_hosts} if local or allowed_hosts else None
    uvicorn.run(
        create_app(retriever, bounds, hosts),
        host=host,
        port=port,
        log_level="info",
        http=_connection_class(bounds),
        timeout_graceful_shutdown=int(bounds.timeout) + 1,
        limit_concurrency=bounds.max_connections,
    )


def _connection_class(limits: ServerLimits) -> Any:
    """Connections that end when no request comes: after a while, or when others need the room."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._await_request()
            idle = (c for c in self.connections if isinstance(c, Connection) and c is not self and c.is_idle())
            surplus = len(self.connections) + 1 - limits.max_connections
            if surplus > 0:
                for connection in sorted(idle, key=lambda c: c.idle_since)[:surplus]:
                    connection.end()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._await_request()

        def is_idle(self) -> bool:
            """Whether no request has arrived with all its headers."""
            return self.cycle is None or self.cycle.response_complete

        def _await_request(self) -> None:
            self.idle_since = self.loop.time()
            self.loop.call_later(limits.timeout, self._end_if_idle, self.idle_since)

        def _end_if_idle(self, since: float) -> None:
            if self.is_idle() and self.idle_since == since:
                self.end()

        def end(self) -> None:
            """Ends the connection, and gives up an answer that the client does not read."""
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self.transport.close()

    return Connection
