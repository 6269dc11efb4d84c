"""A small bank that is served, and the learner whose answers it must give."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from supermasks import BankFolder, Learner, Task
from supermasks.nets import fully_connected

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")

from starlette.testclient import TestClient

from supermasks.serving import ServerSettings, create_app

TOKEN = "a token for these tests"
NAMES = ("cats", "dogs/2 100%", "birds")


def backbone() -> torch.nn.Module:
    return fully_connected([8, 16, 6])


@dataclass
class Served:
    """A served bank.

    Attributes:
        client: of the server.
        learner: that has learned the tasks.
        folder: of the bank.
    """

    client: TestClient
    learner: Learner
    folder: BankFolder

    def infer(self, name: str, inputs: Tensor, **fields: Any) -> Any:
        tensor = {"name": "input", "datatype": "FP32", "shape": list(inputs.shape), "data": inputs.flatten().tolist()}
        body = {"inputs": [tensor], **fields}
        return self.client.post(f"/v2/models/{quoted(name)}/infer", json=body)


def quoted(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(" ", "%20")


def outputs(response: Any) -> dict[str, Any]:
    """Return the outputs of a response by their names."""
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


@pytest.fixture
def learner(small: Callable[..., Learner], blobs: Callable[..., Task]) -> Learner:
    made = small(backbone(), seed=1)
    for number, name in enumerate(NAMES):
        made.learn(blobs(name, classes=("no", 7, ("a", 1))[: 2 + number % 2]))
    return made


@pytest.fixture
def serve(learner: Learner, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve the bank: `serve(max_batch=4)`."""
    clients: list[TestClient] = []

    def make(**settings: Any) -> Served:
        learner.save(tmp_path / "bank")
        settings = {"token": TOKEN, "watch": 0.05, "max_wait_ms": 1.0, **settings}
        app = create_app(tmp_path / "bank", backbone(), settings=ServerSettings(**settings))
        clients.append(TestClient(app, raise_server_exceptions=False))
        clients[-1].__enter__()
        return Served(clients[-1], learner, BankFolder(tmp_path / "bank"))

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()
