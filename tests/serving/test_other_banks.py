"""Banks of other kinds: pixels, token ids, weights that tasks have trained, a calibrated router."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from serving.conftest import TOKEN, outputs  # pyright: ignore[reportMissingImports]
from starlette.testclient import TestClient
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Task
from supermasks.data import make_task
from supermasks.methods import ExSSNeT
from supermasks.nets import fully_connected
from supermasks.serving import ServerSettings, create_app

Client = Callable[[Learner, nn.Module], TestClient]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(10, 6), nn.Linear(6, 4, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.last(self.table(ids).mean(dim=1))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    opened: list[TestClient] = []

    def make(learner: Learner, backbone: nn.Module) -> TestClient:
        learner.save(tmp_path)
        app = create_app(tmp_path, backbone, settings=ServerSettings(token=TOKEN, watch=0.05))
        opened.append(TestClient(app, raise_server_exceptions=False))
        opened[-1].__enter__()
        return opened[-1]

    yield make
    for each in opened:
        each.__exit__(None, None, None)


def ask(client: TestClient, name: str, inputs: Tensor, datatype: str) -> Any:
    tensor = {"name": "input", "datatype": datatype, "shape": list(inputs.shape), "data": inputs.flatten().tolist()}
    return client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})


def test_pixels(small: Callable[..., Learner], client: Client) -> None:
    pixels = torch.randint(0, 256, (20, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    learner = small(fully_connected([16, 8, 4]), seed=1)
    learner.learn(make_task("images", (pixels, [0, 1] * 10)))
    served = client(learner, fully_connected([16, 8, 4]))
    assert served.get("/v2/models/images").json()["inputs"][0]["datatype"] == "UINT8"
    truth = learner.predict(pixels[:3], task="images").confidence.tolist()
    assert outputs(ask(served, "images", pixels[:3], "UINT8"))["confidence"] == truth
    assert outputs(ask(served, "images", pixels[:3].float() / 255, "FP32"))["confidence"] == pytest.approx(truth)
    for wrong, datatype in ((pixels[:3].float(), "FP32"), (pixels[:3].long(), "INT64")):
        assert ask(served, "images", wrong, datatype).status_code == 400


def test_token_ids(small: Callable[..., Learner], client: Client) -> None:
    ids = torch.randint(0, 10, (20, 5), generator=torch.Generator().manual_seed(0))
    learner = small(Words(), seed=1)
    learner.learn(make_task("texts", (ids, ["bad", "good"] * 10), token_ids=True))
    served = client(learner, Words())
    assert served.get("/v2/models/texts").json()["inputs"] == [{"name": "input", "datatype": "INT64", "shape": [-1, 5]}]
    truth = learner.predict(ids[:3], task="texts")
    for name in ("texts", "_any"):
        assert outputs(ask(served, name, ids[:3], "INT64"))["label"] == truth.labels
        for wrong in (ids[:3] + 10, ids[:3] - 10):  # an embedding has no such entry
            assert ask(served, name, wrong, "INT64").status_code == 400
    assert ask(served, "texts", ids[:3].float(), "FP32").status_code == 400


def test_weights_that_tasks_have_trained(
    small: Callable[..., Learner], blobs: Callable[..., Task], client: Client, tmp_path: Path
) -> None:
    def backbone() -> nn.Module:
        return fully_connected([8, 16, 6])

    learner, x = small(backbone(), seed=1, method=ExSSNeT()), torch.randn(3, 8)
    learner.learn(blobs("cats"))
    served = client(learner, backbone())
    learner.learn(blobs("dogs"))
    learner.save(tmp_path)
    while "dogs" not in served.get("/v2/models").json()["models"]:
        pass
    for name in ("cats", "dogs"):
        found = outputs(ask(served, name, x, "FP32"))["confidence"]
        assert found == learner.predict(x, task=name).confidence.tolist()
    allowed = {"Authorization": f"Bearer {TOKEN}"}
    assert served.delete("/v2/models/cats", headers=allowed).status_code == 400
    assert served.put("/v2/models/dogs", content=learner.bank.encoded("dogs"), headers=allowed).status_code == 400


def test_a_calibrated_router(small: Callable[..., Learner], blobs: Callable[..., Task], client: Client) -> None:
    learner = small(fully_connected([8, 16, 6]), seed=1, inference="auto")
    tasks = [blobs(name) for name in ("cats", "dogs", "birds")]
    for task in tasks:
        learner.learn(task)
    learner.calibrate({task.name: task.test for task in tasks}, level=0.1)  # pyright: ignore[reportArgumentType]
    served = client(learner, fully_connected([8, 16, 6]))
    x = torch.cat([tasks[0].train.inputs[:2], 50 * torch.ones(1, 8)])  # pyright: ignore[reportArgumentType, reportIndexIssue]
    truth, found = learner.predict(x), outputs(ask(served, "_any", x, "FP32"))
    assert truth.unknown is not None
    assert truth.task_confidence is not None
    assert (found["task"], found["unknown"]) == (truth.tasks, truth.unknown.tolist())
    assert found["task_confidence"] == pytest.approx(truth.task_confidence.tolist(), rel=1e-4)


def test_a_bank_that_cannot_find_the_task_says_that_it_is_not_the_fault_of_the_client(
    small: Callable[..., Learner], blobs: Callable[..., Task], client: Client, tmp_path: Path
) -> None:
    learner = small(fully_connected([8, 16, 6]), seed=1, inference="auto")
    learner.learn(blobs("cats"))
    served, x = client(learner, fully_connected([8, 16, 6])), torch.randn(3, 8)
    assert outputs(ask(served, "_any", x, "FP32"))["task"] == ["cats"] * 3
    learner.learn(blobs("dogs"))
    BankFolder(tmp_path).append(replace(learner.bank["dogs"], means=None))
    while "dogs" not in served.get("/v2/models").json()["models"]:
        pass
    refused = ask(served, "_any", x, "FP32")
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, False)
    assert "the bank cannot find the task of an input" in refused.json()["error"]
    assert "'dogs'" in refused.json()["error"]
    assert outputs(ask(served, "dogs", x, "FP32"))["confidence"] == learner.predict(x, task="dogs").confidence.tolist()
    few = {"name": "tasks", "datatype": "BYTES", "shape": [1], "data": ["cats"]}
    rows = {"name": "input", "datatype": "FP32", "shape": [3, 8], "data": x.flatten().tolist()}
    among = served.post("/v2/models/_any/infer", json={"inputs": [rows, few]})
    assert outputs(among)["task"] == ["cats"] * 3


def test_a_request_that_no_bank_could_answer_is_the_fault_of_the_client(
    small: Callable[..., Learner], client: Client
) -> None:
    """Its two tasks take inputs of different types, so that no router could tell them apart."""
    pixels, floats = torch.randint(0, 256, (20, 4, 4), dtype=torch.uint8), torch.randn(20, 16)
    learner = small(fully_connected([16, 8, 4]), seed=1)
    learner.learn(make_task("images", (pixels, [0, 1] * 10)))
    learner.learn(make_task("rows", (floats, [0, 1] * 10)))
    served = client(learner, fully_connected([16, 8, 4]))
    assert ask(served, "_any", pixels[:3], "UINT8").status_code == 400


def test_a_bank_without_tasks(small: Callable[..., Learner], client: Client) -> None:
    served = client(small(fully_connected([8, 16, 6]), seed=1), fully_connected([8, 16, 6]))
    assert served.get("/v2/models").json()["models"] == []
    for name in ("_any", "_all"):
        assert served.get(f"/v2/models/{name}").status_code == 200
        assert ask(served, name, torch.zeros(1, 8), "FP32").status_code == 400
