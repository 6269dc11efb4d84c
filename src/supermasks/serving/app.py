"""The routes of the server: the Open Inference Protocol, changes of the bank, metrics, and the page."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Literal
from urllib.parse import unquote

from torch import nn

from supermasks.bank import BankFolder
from supermasks.errors import SupermasksError
from supermasks.inference import TaskInference
from supermasks.serving import metadata, page
from supermasks.serving.answer import outputs_of, response
from supermasks.serving.asked import asked
from supermasks.serving.body import EncodedPaths, decoded, read_body
from supermasks.serving.extra import ClientDisconnect, FastAPI, HTTPException, Request, Response
from supermasks.serving.living_bank import unknown
from supermasks.serving.refusal import RefusedError
from supermasks.serving.service import Service
from supermasks.serving.settings import ServerSettings
from supermasks.serving.snapshot import ALL, ANY, RESERVED
from supermasks.version import __version__

LENGTH = "Inference-Header-Content-Length"
"""The header of the binary tensor extension: how many bytes of the body are JSON."""

_GONE = 499  # as nginx names a client that did not wait for the answer


def create_app(
    bank: str | os.PathLike[str],
    backbone: nn.Module,
    *,
    inference: TaskInference | Literal["auto"] | None = None,
    settings: ServerSettings | None = None,
) -> FastAPI:
    """Return an application of ASGI that serves a bank; `app.state.service` answers without HTTP.

    Args:
        bank: the folder of a bank that a learner has saved.
        backbone: a module of the same architecture as the one that was learned with.
        inference: how the task of an input is found; None takes what the bank says.
        settings: limits and times.

    Raises:
        SupermasksError: the bank cannot be read, or was not learned over this backbone.
    """
    return app_of(Service(BankFolder(bank), backbone, inference, settings or ServerSettings()))


def app_of(service: Service) -> FastAPI:
    """Return the application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        service.start()
        yield
        await service.stop()

    # The pages of FastAPI load scripts from elsewhere; the schema itself stays, at /openapi.json.
    app = FastAPI(title="supermasks", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(EncodedPaths)
    _handle_errors(app)
    _add_health(app, service)
    _add_models(app, service)
    _add_page(app, service)
    return app


def _handle_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Any) -> Response:
        return _refused(error)

    async def no_route(_: Request, error: Any) -> Response:
        return _error(error.status_code, f"{error.detail}; GET /v2 says what there is", error.headers)

    async def failed(_: Request, error: Exception) -> Response:
        return _error(500, "the server failed; its log says how")

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(Exception, failed)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2", tags=["protocol"])
    async def about() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Say what the server is, and under which names one asks without a task."""
        return _json(metadata.of_server())

    @app.get("/v2/health/live", tags=["protocol"])
    async def live() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Say that the server runs."""
        return _json({"live": True})

    @app.get("/v2/health/ready", tags=["protocol"])
    async def ready() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Say whether new requests are welcome."""
        return _json({"ready": service.ready}, 200 if service.ready else 503)

    @app.get("/metrics", tags=["operation"])
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction]
        """Return the metrics in the format of Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v2/models", tags=["protocol"])
    async def models() -> Response:  # pyright: ignore[reportUnusedFunction]
        """List the tasks, and the reserved names."""
        return _json({"models": list(service.snapshot.names), "reserved": list(RESERVED)})

    @app.get("/v2/models/{name}", tags=["protocol"])
    async def model(name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Describe the inputs, outputs and classes of a task."""
        return _json(await _described(service, decoded(name)))

    @app.get("/v2/models/{name}/ready", tags=["protocol"])
    async def model_ready(name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Say whether there is a task of this name."""
        ready = decoded(name) in (*RESERVED,) or decoded(name) in service.snapshot
        return _json({"name": decoded(name), "ready": ready}, 200 if ready else 404)

    @app.post("/v2/models/{name}/infer", tags=["protocol"])
    async def infer(name: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer inputs: by a task, by the task that is found (_any), or by many tasks (_all)."""
        kind = {ANY: "any", ALL: "all"}.get(unquote(name), "task")
        return await _counted(service, kind, _infer(service, name, request))

    @app.put("/v2/models/{name}", tags=["bank"])
    async def put(name: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Add or replace a task: the body has its bytes, as `MaskBank.encoded` returns them. Needs the token."""
        return await _counted(service, "put", _put(service, name, request))

    @app.delete("/v2/models/{name}", tags=["bank"])
    async def delete(name: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Remove a task. Needs the token."""
        return await _counted(service, "delete", _delete(service, name, request))


def _add_page(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(page.file("page.html"), headers=page.HEADERS, media_type="text/html")

    for name in ("page.js", "page.css", "page.svg"):

        @app.get(f"/{name}", include_in_schema=False)
        async def part(name: str = name) -> Response:  # pyright: ignore[reportUnusedFunction]
            return Response(page.file(name), headers=page.HEADERS, media_type=page.TYPES[name])

    @app.get("/status", tags=["operation"])
    async def status(search: str = "") -> Response:  # pyright: ignore[reportUnusedFunction]
        """Return what the page shows."""
        shown = service.traffic.described(service.snapshot, search[:200])
        shown |= {"ready": service.ready, "queue": service.batcher.waiting, "problem": service.bank.problem}
        return _json(shown, headers={"Cache-Control": "no-store"})


async def _described(service: Service, name: str) -> dict[str, Any]:
    snapshot = service.snapshot
    if name not in RESERVED:
        return metadata.of_task((await service.bank.state(snapshot, name))[1])
    first = (await service.bank.state(snapshot, snapshot.names[0]))[1] if len(snapshot) else None
    return metadata.of_reserved(name, first, snapshot.network.norm == "batch")


async def _infer(service: Service, encoded: str, request: Request) -> tuple[Response, int]:
    limits, name = service.settings, decoded(encoded)
    body = await read_body(request, limits.max_body, limits.timeout)
    if name not in RESERVED and name not in service.snapshot:
        raise unknown(name)
    question = asked(body, request.headers.get(LENGTH), limits.max_batch)
    answer = await service.answer(name, question)
    content, head = response(name, question, outputs_of(answer))
    service.traffic.found(answer, name, service.snapshot)
    if head is None:
        return Response(content, media_type="application/json"), len(question.inputs)
    made = Response(content, media_type="application/octet-stream", headers={LENGTH: str(head)})
    return made, len(question.inputs)


async def _put(service: Service, encoded: str, request: Request) -> tuple[Response, int]:
    service.allow(request.headers.get("authorization"))
    name, limits = decoded(encoded), service.settings
    added = await service.bank.put(name, await read_body(request, limits.max_body, limits.timeout))
    return _json({"name": name, "added": added}, 201 if added else 200), 0


async def _delete(service: Service, encoded: str, request: Request) -> tuple[Response, int]:
    service.allow(request.headers.get("authorization"))
    name = decoded(encoded)
    await service.bank.remove(name)
    return _json({"name": name, "removed": True}), 0


async def _counted(service: Service, kind: str, work: Awaitable[tuple[Response, int]]) -> Response:
    """Return what a request gets, and count it."""
    start, status, rows = perf_counter(), 500, 0
    try:
        made, rows = await work
        status = made.status_code
        return made
    except (RefusedError, SupermasksError) as error:
        refusal = error if isinstance(error, RefusedError) else RefusedError.of(error)
        status = refusal.status
        return _refused(refusal)
    except ClientDisconnect:
        status = _GONE
        return Response(status_code=400)
    finally:
        seconds = perf_counter() - start
        service.metrics.answered(kind, status, rows, seconds)
        service.traffic.answered(status, seconds)


def _refused(refusal: RefusedError) -> Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _error(refusal.status, refusal.message, headers)


def _error(status: int, message: str, headers: Any = None) -> Response:
    return _json({"error": message}, status, headers)


def _json(content: Any, status: int = 200, headers: Any = None) -> Response:
    """Return JSON in ASCII: labels and names may have characters that UTF-8 cannot express."""
    return Response(json.dumps(content), status, headers, media_type="application/json")
