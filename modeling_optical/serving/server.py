"""Search over HTTP: requests that arrive together are encoded and searched together."""

# No `from __future__ import annotations`: FastAPI reads the types of the endpoints, which are made inside a function.

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from transformers.utils import logging

from ..retriever import OpticalRetriever, Passage

logger = logging.get_logger(__name__)

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_LAST_ANSWERS = 2.0  # seconds for queries whose requests have had their time already


@dataclass(frozen=True)
class ServerLimits:
    """What a request may ask for, and how long requests wait for company.

    Attributes:
        max_k: passages per query.
        max_queries: queries per request.
        max_characters: characters per query.
        max_body_bytes: size of a request's body.
        timeout: seconds until a request is given up: its headers, its body and its answer, each counted apart.
        max_batch: queries that are encoded and searched together.
        max_wait: seconds that the first request of a batch waits for others while nothing else is being searched.
        max_waiting: queries that may wait; beyond that, requests are turned away.
        max_connections: open connections; beyond that, idle ones are closed, and requests are turned away if there are none.
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


class SearchFailed(RuntimeError):
    """A search ended with an error, which the log has.

    Attributes:
        status: 503 if the index cannot be read now, 500 for anything else.
    """

    def __init__(self, error: BaseException):
        unreadable = isinstance(error, (OSError, ValueError))
        self.status = 503 if unreadable else 500
        super().__init__(
            "the index cannot be searched at the moment. Try again later."
            if unreadable
            else "this request could not be answered; the server's log says why."
        )


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
        self._task: asyncio.Task | None = None
        self._searching_since: float | None = None

    async def __aenter__(self) -> "Batcher":
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Answers what is waiting, then stops; a search that does not end is left behind."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), _LAST_ANSWERS)
        assert self._task is not None
        self._task.cancel()

    def trouble(self) -> str | None:
        """What keeps queries from being answered; None if nothing does."""
        if self._task is None or self._task.done():
            return "the worker has ended"
        if self._searching_since is not None and time.monotonic() - self._searching_since > self.limits.timeout:
            return f"a search has been running for more than {self.limits.timeout:g} seconds"
        return None

    async def search(self, queries: list[str], k: int) -> list[list[Passage]]:
        """Passages for each query.

        Raises:
            TooManyRequests: if too many are waiting.
            TimeoutError: if it takes longer than the limit.
            SearchFailed: if the search ended with an error.
        """
        if self._waiting.qsize() + len(queries) > self.limits.max_waiting:
            raise TooManyRequests(f"{self._waiting.qsize()} queries are waiting. Try again later.")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in queries]
        for query, future in zip(queries, futures, strict=True):
            self._waiting.put_nowait((query, k, future))
        try:
            return await asyncio.wait_for(asyncio.gather(*futures), self.limits.timeout)
        finally:
            for future in futures:
                future.cancel()

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
        found = await self._found([query for query, _, _ in batch], max(k for _, k, _ in batch))
        if isinstance(found, BaseException):
            logger.error(f"a search ended with {type(found).__name__}: {str(found)[:1000]}")
            failed = SearchFailed(found)
            if failed.status == 500 and len(batch) > 1:
                # One query may have done it: each of the others gets its own answer.
                for item in batch:
                    await self._answer([item])
                return
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(failed)
            return
        self.batches += 1
        self.queries += len(batch)
        for (_, wanted, future), passages in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(passages[:wanted])

    async def _found(self, queries: list[str], k: int) -> list[list[Passage]] | BaseException:
        """What the retriever gives or raises, whatever that is: a panic in Rust code is no `Exception`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[list[Passage]] | BaseException] = loop.create_future()

        def told(found: list[list[Passage]] | BaseException) -> None:
            if not answer.done():
                answer.set_result(found)

        def work() -> None:
            found: list[list[Passage]] | BaseException
            try:
                found = self.retriever.search(queries, k)
            except BaseException as error:
                found = error
            with suppress(RuntimeError):  # the server has stopped meanwhile
                loop.call_soon_threadsafe(told, found)

        self._searching_since = time.monotonic()
        try:
            # Not of a pool, whose threads Python waits for at its end: one that is stuck must not hold up the stop.
            threading.Thread(target=work, name="search", daemon=True).start()
            return await answer
        finally:
            self._searching_since = None


class Gate:
    """ASGI middleware in front of everything: turns away requests for another host, and answers HEAD where GET is answered.

    A page in a browser can have its own name point to this machine and then read the answers (DNS rebinding); it cannot change
    the `Host` header, which still has its name.

    Args:
        app: what gets the others.
        hosts: names that clients may call this server by; None: any.
    """

    def __init__(self, app: Any, hosts: Collection[str] | None = None):
        self.app = app
        self.hosts = None if hosts is None else {host.lower().strip("[]") for host in hosts}

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict]], send: Any) -> None:
        if scope["type"] == "http":
            named = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
            if self.hosts is not None and (len(named) != 1 or _host(named[0]) not in self.hosts):
                await _refuse(send, 421, "this server does not answer under that name (--allowed-host adds one)")
                return
            if scope["method"] == "HEAD":
                answer = send

                async def without_body(message: dict) -> None:
                    await answer(message | {"body": b""} if message["type"] == "http.response.body" else message)

                scope, send = scope | {"method": "GET"}, without_body
        await self.app(scope, receive, send)


def _host(header: str) -> str:
    """The host of a `Host` header, without its port."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::\d{1,5})?", header.strip())
    return (match[1] or match[2]).lower().rstrip(".") if match else ""


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
        from fastapi import FastAPI, HTTPException, Response
        from fastapi.exceptions import RequestValidationError
        from fastapi.responses import JSONResponse
        from pydantic import BaseModel, ConfigDict, Field
    except ImportError as error:
        raise ImportError('serving needs FastAPI: pip install "modeling-optical[serve]"') from error

    bounds = limits or ServerLimits()
    index = retriever.current

    class SearchRequest(BaseModel):
        model_config = ConfigDict(extra="forbid")

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
    app.add_middleware(Gate, hosts=hosts)

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
        except SearchFailed as error:
            raise HTTPException(error.status, str(error)) from error
        results = [[FoundPassage(id=p.id, score=p.score, text=p.text) for p in row] for row in found]
        return SearchResponse(results=results, seconds=time.perf_counter() - started)

    @app.get("/health")
    async def health(response: Response) -> Health:
        trouble = batcher.trouble() or (None if index.is_there() else "the index was removed")
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
    """Serves until it is told to stop (SIGINT, SIGTERM): no new requests then, and those that wait are answered.

    It stops within the time of a request and a few seconds, also when a search is stuck.

    Args:
        retriever: with an open index.
        host, port: where to listen. On this machine's own addresses, only requests for this machine are answered.
        limits: what a request may ask for.
        allowed_hosts: further names that clients may call the server by. Given with an address that others can reach, only
            these and the address itself are answered; without, any name is.

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
                    connection.transport.close()

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
            if self.is_idle() and self.idle_since == since and not self.transport.is_closing():
                self.transport.close()

    return Connection
