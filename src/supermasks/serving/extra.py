"""What the server takes from the extra `serve`: the one place that notices when FastAPI or uvicorn is missing."""

from supermasks.errors import MissingExtraError

try:
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        ProcessCollector,
        generate_latest,
    )
    from starlette.datastructures import Headers
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as error:
    raise MissingExtraError(
        f"the server needs {error.name}; install it with: pip install 'supermasks[serve]'"
    ) from error

__all__ = [
    "ASGIApp",
    "ClientDisconnect",
    "CollectorRegistry",
    "Counter",
    "FastAPI",
    "Gauge",
    "HTTPException",
    "Headers",
    "Histogram",
    "ProcessCollector",
    "Receive",
    "Request",
    "Response",
    "Scope",
    "Send",
    "generate_latest",
    "uvicorn",
]
