"""Checks of hosts, methods and bodies in front of the application."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any


class Gate:
    """ASGI middleware in front of the application: rejects requests for another host, and answers HEAD like GET.

    A page in a browser can point its domain to this machine and then read the answers (DNS rebinding). It cannot change the
    `Host` header, which still has that domain.

    Args:
        app: gets the other requests.
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
        app: gets the other requests.
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
