"""A client of the server for load tests: plain sockets, binary tensors, as little work as possible for an answer."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor

LENGTH = b"inference-header-content-length"


class Reply(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Connection:
    """One connection that is kept alive; it is opened again if the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Reply:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self.address)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        pairs = (line.split(b":", 1) for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return Reply(int(lines[0].split()[1]), headers, body)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def http(method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def infer(name: str, inputs: Tensor) -> bytes:
    """Return a request with binary inputs that wants a binary confidence."""
    content = inputs.numpy().tobytes()
    tensor = {
        "name": "input",
        "datatype": "FP32",
        "shape": list(inputs.shape),
        "parameters": {"binary_data_size": len(content)},
    }
    fields = {"inputs": [tensor], "outputs": [{"name": "confidence", "parameters": {"binary_data": True}}]}
    head = json.dumps(fields).encode()
    path = f"/v2/models/{quote(name, safe='')}/infer"
    return http("POST", path, head + content, f"{LENGTH.decode()}: {len(head)}\r\n")


def confidence(reply: Reply) -> Tensor:
    return torch.frombuffer(bytearray(reply.body[int(reply.headers[LENGTH]) :]), dtype=torch.float32)


@asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    made = [Connection("127.0.0.1", port) for _ in range(count)]
    yield made
    for connection in made:
        connection.close()


async def closed_loop(port: int, clients: int, seconds: float, draw: Callable[[], bytes]) -> tuple[float, list[float]]:
    """Let each client ask as soon as it has its answer; return requests a second, and the latency of each."""
    latencies, end = list[float](), perf_counter() + seconds

    async def client(connection: Connection) -> None:
        while (start := perf_counter()) < end:
            reply = await connection.ask(draw())
            assert reply.status == 200, reply
            latencies.append(perf_counter() - start)

    async with connections(port, clients) as made:
        await asyncio.gather(*map(client, made))
    return len(latencies) / seconds, latencies


async def open_loop(
    port: int,
    rate: float,
    seconds: float,
    ask: Callable[[Connection], "asyncio.Future[None] | object"],
    most: int = 256,
) -> list[float]:
    """Let requests arrive at random times at a rate, whether or not earlier ones are answered.

    The latency counts from the time at which a request should have been sent.
    """
    latencies, tasks, free = list[float](), set["asyncio.Task[None]"](), asyncio.Queue[Connection]()
    rng = random.Random(0)

    async def one(due: float) -> None:
        connection = await free.get()
        try:
            await ask(connection)
        finally:
            free.put_nowait(connection)
        latencies.append(perf_counter() - due)

    async with connections(port, most) as made:
        for connection in made:
            free.put_nowait(connection)
        due = perf_counter()
        end = due + seconds
        while due < end:
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - perf_counter()))
            tasks.add(task := asyncio.ensure_future(one(due)))
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return latencies
