"""Checksums of a body: the headers `Content-Digest` (RFC 9530) and `Digest` (RFC 3230)."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from typing import Any

from supermasks.brief import brief
from supermasks.serving.extra import Headers
from supermasks.serving.refusal import RefusedError

_KNOWN: dict[str, Callable[[bytes], Any]] = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_FORMS = {
    "Content-Digest": re.compile(r"\s*([\w.*-]+)=:([A-Za-z0-9+/=]*):\s*", re.ASCII),
    "Digest": re.compile(r"\s*([\w.*-]+)=([A-Za-z0-9+/=]*)\s*", re.ASCII),
}


def check_digest(headers: Headers, content: bytes) -> None:
    """Raise RefusedError unless a body has the checksums that its headers name.

    Args:
        headers: of the request; without a checksum nothing is checked.
        content: the body.
    """
    for name in _FORMS:
        for given in headers.getlist(name):
            stated = [*_stated(name, given)]
            if not any(algorithm in _KNOWN for algorithm, _ in stated):
                raise RefusedError(
                    400, f"{name} must have a digest by {' or '.join(_KNOWN)}, got {brief(given)}; send one of these"
                )
            for algorithm, digest in stated:
                if algorithm in _KNOWN and not hmac.compare_digest(_KNOWN[algorithm](content).digest(), digest):
                    raise RefusedError(
                        400,
                        f"the body does not have the {algorithm} digest of the header {name}: it was damaged on the "
                        "way, or is another one; send it again",
                    )


def _stated(name: str, given: str) -> Iterator[tuple[str, bytes]]:
    """Yield the algorithms and digests of a header."""
    for part in given.split(","):
        match = _FORMS[name].fullmatch(part)
        try:
            if match is None:
                raise ValueError("it has another form")
            yield match[1].lower(), base64.b64decode(match[2], validate=True)
        except (ValueError, binascii.Error) as error:
            form = "sha-256=:BASE64:" if name == "Content-Digest" else "sha-256=BASE64"
            raise RefusedError(400, f"{name} must have the form {form}, got {brief(given)}") from error
