"""Search over HTTP: requests that arrive together are encoded and searched together."""

# No `from __future__ import annotations`: FastAPI reads the types of the endpoints, which are made inside a function.

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from .retriever import OpticalRetriever, Passage


@dataclass(frozen=True)
class ServerLimits:
    """What a request may ask for, and how long requests wait for company.

    Attributes:
        max_k: passages per query.
        max_queries: queries per request.
        max_characters: characters per query.
        max_body_bytes: size of a request's body.
        timeout: seconds until a request is given up, its body's arrival and its answer counted apart.
        max_batch: queries that are encoded and searched together.
        max_wait: seconds that the first request of a batch waits for others while nothing else is being searched.
        max_waiting: queries that may wait; beyond that, requests are turned away.
        max_connections: open connections; beyond that, requests are turned away.
    """

    max_k: int = 100
    max_queries: int = 64
    max_characters: int = 10_000
    max_body_bytes: int = 1_000_000
    timeout: float = 30.0
    max_batch: int = 32
    max_wait: float = 0.002
    max_waiting: int = 1024
    max_connections: int = 512

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name != "max_wait"):
                raise ValueError(f"server limit {name} is {value}; it must be above 0.")


class TooManyRequests(RuntimeError):
    """More queries are waiting than `max_waiting` allows."""


class Batcher:
    """Queries of many requests, answered together by one thread.

    Args:
        retriever: with an open index.
        limits: batch size and waiting.

    Attributes:
        batches, queries: how many were answered so far.
    """

    def __init__(self, retriever: OpticalRetriever, limits: ServerLimits):
        self.retriever = retriever
        self.limits = limits
        self.batches = self.queries = 0
        self._waiting: asyncio.Queue[tuple[str, int, asyncio.Future]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search")
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> "Batcher":
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Answers what is waiting, then stops."""
        await self._waiting.join()
        assert self._task is not None
        self._task.cancel()
        self._thread.shutdown(wait=True)

    async def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        """Passages for each query.

        Raises:
            TooManyRequests: if too many are waiting.
            TimeoutError: if it takes longer than the limit.
        """
        if self._waiting.qsize() + len(queries) > self.limits.max_waiting:
            raise TooManyRequests(f"{self._waiting.qsize()} queries are waiting. Try again later.")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in queries]
        for query, future in zip(queries, futures, strict=True):
            self._waiting.put_nowait((query, k, future))
        return await asyncio.wait_for(asyncio.gather(*futures), self.limits.timeout)

    async def _work(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            closes = time.monotonic() + self.limits.max_wait
            while len(batch) < self.limits.max_batch:
                try:
                    batch.append(self._waiting.get_nowait())
                    continue
                except asyncio.QueueEmpty:
                    left = closes - time.monotonic()
                if left <= 0:
                    break
                try:
                    batch.append(await asyncio.wait_for(self._waiting.get(), left))
                except TimeoutError:
                    break
            await self._answer(batch)
            for _ in batch:
                self._waiting.task_done()

    async def _answer(self, batch: list[tuple[str, int, asyncio.Future]]) -> None:
        batch = [item for item in batch if not item[2].done()]  # given up meanwhile
        if not batch:
            return
        k = max(k for _, k, _ in batch)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self.retriever.search, [query for query, _, _ in batch], k)
        except Exception as error:  # whatever it was, those who wait hear of it; the server goes on
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self.batches += 1
        self.queries += len(batch)
        for (_, wanted, future), passages in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(passages[:wanted])


class BodyLimit:
    """ASGI middleware that turns away bodies above a size, also where their length is not announced, and those that trickle.

    Args:
        app: what gets the others.
        max_bytes: the largest body.
        timeout: seconds within which it must have arrived.
    """

    def __init__(self, app: Any, max_bytes: int, timeout: float):
        self.app = app
        self.max_bytes = max_bytes
        self.timeout = timeout

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict]], send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The whole body is read here, up to the limit, and handed on as one message.
        try:
            body = await asyncio.wait_for(self._body(receive), self.timeout)
        except TimeoutError:
            await _refuse(send, 408, f"the body did not arrive within {self.timeout:g} seconds")
            return
        if body is None:
            return
        if len(body) > self.max_bytes:
            await _refuse(send, 413, f"the body is larger than {self.max_bytes} bytes")
            return
        messages = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> dict:
            return next(messages, None) or await receive()

        await self.app(scope, replay, send)

    async def _body(self, receive: Callable[[], Awaitable[dict]]) -> bytearray | None:
        """The body, read up to the first byte too many; None if the client went away."""
        body = bytearray()
        while len(body) <= self.max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return body


async def _refuse(send: Any, status: int, sentence: str) -> None:
    text = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def create_app(retriever: OpticalRetriever, limits: ServerLimits | None = None) -> Any:
    """The FastAPI application: POST /search, GET /health, and its OpenAPI page at /docs.

    Args:
        retriever: with an open index.
        limits: what a request may ask for.

    Raises:
        ImportError: if FastAPI is not installed.
        ValueError: if no index is open.
    """
    try:
        from fastapi import FastAPI, HTTPException
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import JSONResponse
        from pydantic import BaseModel, Field
    except ImportError as error:
        raise ImportError('serving needs FastAPI: pip install "modeling-optical[serve]"') from error

    bounds = limits or ServerLimits()
    index = retriever.current

    class SearchRequest(BaseModel):
        queries: list[str] = Field(min_length=1, max_length=bounds.max_queries, description="queries, in any language")
        k: int = Field(default=min(10, bounds.max_k), ge=1, le=bounds.max_k, description="passages per query")

    class FoundPassage(BaseModel):
        id: str
        score: float
        text: str | None = None

    class SearchResponse(BaseModel):
        results: list[list[FoundPassage]] = Field(description="passages of each query, best first")
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

    app = FastAPI(title="modeling-optical", description="Late-interaction search in your language.", lifespan=lifespan)
    app.add_middleware(BodyLimit, max_bytes=bounds.max_body_bytes, timeout=bounds.timeout)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Any, error: RequestValidationError) -> JSONResponse:
        # FastAPI's own answer repeats the input, which may be large, or hold what JSON cannot (NaN, half a character).
        faults = [f"{'.'.join(str(part) for part in one['loc'])[:100]}: {one['msg'][:200]}" for one in error.errors()[:5]]
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
        results = [[FoundPassage(id=p.id, score=p.score, text=p.text) for p in row] for row in found]
        return SearchResponse(results=results, seconds=time.perf_counter() - started)

    @app.get("/health")
    async def health() -> Health:
        return Health(
            status="ok",
            documents=len(index),
            engine=index.engine,
            queries_answered=batcher.queries,
            batches=batcher.batches,
        )

    return app


def serve(
    retriever: OpticalRetriever, *, host: str = "127.0.0.1", port: int = 8000, limits: ServerLimits | None = None
) -> None:
    """Serves until it is told to stop (SIGINT, SIGTERM): no new requests then, and those that wait are answered.

    Args:
        retriever: with an open index.
        host, port: where to listen.
        limits: what a request may ask for.

    Raises:
        ImportError: if FastAPI or uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise ImportError('serving needs uvicorn: pip install "modeling-optical[serve]"') from error
    bounds = limits or ServerLimits()
    grace = int(bounds.timeout) + 1
    uvicorn.run(
        create_app(retriever, bounds),
        host=host,
        port=port,
        log_level="info",
        timeout_graceful_shutdown=grace,
        limit_concurrency=bounds.max_connections,
    )
