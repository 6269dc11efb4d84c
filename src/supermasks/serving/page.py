"""The files of the page at `/`, and the headers that forbid it everything but these."""

from importlib.resources import files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The content security policy: the page loads its own script and style, asks its own server, and nothing else."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

TYPES = {"page.html": "text/html", "page.js": "text/javascript", "page.css": "text/css", "page.svg": "image/svg+xml"}


def file(name: str) -> bytes:
    """Return one of the files."""
    return (files("supermasks.serving") / "static" / name).read_bytes()
