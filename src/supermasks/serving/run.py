"""Runs the server until it is told to stop, and then lets it finish what it has begun."""

import asyncio
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

from supermasks.errors import ConfigError
from supermasks.serving.app import app_of
from supermasks.serving.extra import uvicorn
from supermasks.serving.service import Service

_CLOSING = 30
"""How many seconds the last requests may take."""


def run(service: Service, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT: then be no longer ready, answer what was begun, and return.

    Args:
        service: that answers.
        host: the address to listen on; "127.0.0.1" is this machine alone.
        port: the port to listen on; 0 takes a free one.
        started: is called with the address as soon as the server answers.

    Raises:
        ConfigError: nothing can listen there.
    """
    if not 0 <= port < 2**16:
        raise ConfigError(f"cannot listen on port {port}; choose one from 0 to {2**16 - 1}")
    try:
        listening = socket.create_server((host, port), family=_family(host), backlog=1024)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error}; choose another host or port") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        asyncio.run(_serve(service, listening, lambda: started(f"http://{shown}:{listening.getsockname()[1]}")))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _serve(service: Service, listening: socket.socket, started: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app_of(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSING,
    )
    server = _Server(config, started)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not service.ready:  # told twice
            server.should_exit = True
        service.ready = False
        loop.call_later(service.settings.drain, lambda: setattr(server, "should_exit", True))

    with _on_signals(lambda: loop.call_soon_threadsafe(stop)):
        await server.serve(sockets=[listening])


@contextmanager
def _on_signals(call: Callable[[], object]) -> Generator[None]:
    """Call a function on SIGTERM and SIGINT."""

    def called(*_: object) -> None:
        call()

    before = {number: signal.signal(number, called) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to `_serve`: uvicorn would end the process by the signal, and not with the status 0."""
        yield
