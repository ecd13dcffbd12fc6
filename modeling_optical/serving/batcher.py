"""Queries that arrive together are encoded and searched together, by one worker that outlives any failure."""

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from transformers.utils import logging

from ..retriever import OpticalRetriever, Passage

logger = logging.get_logger(__name__)

_LAST_ANSWERS = 2.0  # seconds for queries whose requests have had their time already


@dataclass(frozen=True)
class ServerLimits:
    """Limits of a request, and how long requests wait for a batch.

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
        """Answers the waiting queries, then stops; a search that does not end is abandoned."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waiting.join(), _LAST_ANSWERS)
        assert self._task is not None
        self._task.cancel()

    def trouble(self) -> str | None:
        """The reason why queries cannot be answered, or None."""
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
                # One query may be the cause: every query is searched alone.
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
        """The retriever's results, or any exception that it raises: a panic in Rust code is not an `Exception`."""
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
