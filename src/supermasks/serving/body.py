"""The body of a request, up to a number of bytes and seconds; and paths whose names may have any character."""

import asyncio
from urllib.parse import unquote

from supermasks.serving.digest import check_digest
from supermasks.serving.extra import ASGIApp, Receive, Request, Scope, Send
from supermasks.serving.refusal import RefusedError

_TIMEOUT = (asyncio.TimeoutError, TimeoutError)
"""Python 3.10 has two of them."""


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: that it belongs to.
        most: the most bytes to accept.
        seconds: how long the client may take.

    Raises:
        RefusedError: the body is larger, takes longer, is compressed, or has not the digest that a header names.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "the body must not be compressed; leave the header Content-Encoding out")
    large = RefusedError(413, f"a request may have at most {most} bytes; send fewer rows, or binary tensors")
    claimed = request.headers.get("content-length", "0")
    if len(claimed) > 15 or (claimed.isdigit() and int(claimed) > most):
        raise large
    try:
        content = await asyncio.wait_for(_read(request, most, large), seconds)
    except _TIMEOUT as error:
        raise RefusedError(408, f"the body took longer than {seconds:g} seconds to arrive") from error
    check_digest(request.headers, content)
    return content


async def _read(request: Request, most: int, large: RefusedError) -> bytes:
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise large
        parts.append(part)
    return b"".join(parts)


class EncodedPaths:
    """Routes by the path as the client sent it, so that the name of a task may have a slash, as %2F.

    Args:
        app: to route to.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope.get("raw_path"):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


def decoded(name: str) -> str:
    """Return the name of a task in a path; raise RefusedError if it is not UTF-8."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError as error:
        raise RefusedError(400, "the name of the task is not UTF-8 in the encoding of URLs") from error
