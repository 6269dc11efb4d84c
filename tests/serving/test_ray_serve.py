"""The server as a deployment of Ray Serve, whose replicas may die."""

import json
import os
import socket
import threading
import urllib.error
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic, sleep
from typing import Any

import pytest
import torch
from serving.conftest import NAMES, backbone, quoted  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from supermasks import BankFolder, Learner
from supermasks.errors import ConfigError

if any(find_spec(name) is None for name in ("ray", "aiohttp", "grpc")):  # `import ray.serve` fails without these
    pytest.skip("ray[serve] is not installed", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    import ray
    from ray import serve

from supermasks.serving import ServerSettings
from supermasks.serving.ray import application

pytestmark = pytest.mark.filterwarnings("default")  # Ray has more of them
TOKEN, REQUESTS, SECONDS = "a token for these tests", 200, 120
X = torch.randn(REQUESTS, 2, 8, generator=torch.Generator().manual_seed(4))


def make() -> Callable[[], nn.Module]:
    """Return a function that is sent to the replicas as it is: they cannot import this file."""

    def fully() -> nn.Module:
        from supermasks.nets import fully_connected

        return fully_connected([8, 16, 6])

    return fully


@pytest.fixture
def address(learner: Learner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Two replicas that serve the bank."""
    for check in ("READY", "HEALTH"):  # on a machine that is busy
        monkeypatch.setenv(f"RAY_SERVE_PROXY_{check}_CHECK_TIMEOUT_S", str(SECONDS))
    learner.save(tmp_path / "bank")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    usual = {"log_to_driver": False, "namespace": "serve"}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**usual)
    else:  # not in the folder of the test, since paths of sockets must be short; nor in /tmp/ray, which others may use
        ray.init(num_cpus=4, include_dashboard=False, _temp_dir=mkdtemp(prefix="ray"), **usual)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        settings = ServerSettings(token=TOKEN, watch=0.1, timeout=SECONDS)
        options = {"ray_actor_options": {"num_cpus": 1}, "health_check_timeout_s": 300}
        serve.run(application(tmp_path / "bank", make(), settings=settings, **options))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def send(request: str | urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ask(address: str, name: str, inputs: Tensor) -> tuple[int, Any]:
    tensor = {"name": "input", "datatype": "FP32", "shape": list(inputs.shape), "data": inputs.flatten().tolist()}
    return send(
        urllib.request.Request(
            f"{address}/v2/models/{quoted(name)}/infer", json.dumps({"inputs": [tensor]}).encode(), method="POST"
        )
    )


def asked_until_answered(address: str, name: str, inputs: Tensor, statuses: Counter[int]) -> dict[str, Any]:
    """Do what the documentation tells a client to do: send a request again that got a status of 500 or more."""
    end = monotonic() + SECONDS
    while True:
        status, body = ask(address, name, inputs)
        statuses[status] += 1
        if status == 200:
            return {output["name"]: output["data"] for output in body["outputs"]}
        assert status >= 500, body
        assert monotonic() < end
        sleep(0.2)


def replicas() -> list[Any]:
    """Return the handles of the actors that are replicas."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return [
        ray.get_actor(actor["name"], namespace=actor["namespace"])
        for actor in named
        if actor["name"].startswith("SERVE_REPLICA") and "#Bank#" in actor["name"]
    ]


def test_a_replica_that_is_killed_loses_no_answer(address: str, learner: Learner, blobs: Any, tmp_path: Path) -> None:
    statuses, done = Counter[int](), threading.Event()
    names = [NAMES[number % 3] for number in range(REQUESTS)]
    before = replicas()
    assert len(before) == 2

    def work(number: int) -> dict[str, Any]:
        if number == REQUESTS // 4:
            ray.kill(before[0], no_restart=True)
            done.set()
        return asked_until_answered(address, names[number], X[number], statuses)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(work, range(REQUESTS)))
    assert done.is_set()
    for name, inputs, answer in zip(names, X, answers, strict=True):
        truth = learner.predict(inputs, task=name)
        assert answer["class"] == [learner.bank[name].classes.index(label) for label in truth.labels]
        assert torch.allclose(torch.tensor(answer["confidence"]), truth.confidence, rtol=1e-5)
    assert statuses[200] == REQUESTS
    assert set(statuses) <= {200, 500, 503}

    # Another replica takes its place.
    end = monotonic() + SECONDS
    while len(replicas()) < 2:
        assert monotonic() < end
        sleep(0.5)
    # A task that one replica adds is soon with all of them.
    more = Learner(backbone(), seed=1, training=learner.training)
    more.learn(blobs("fish"))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    put = urllib.request.Request(f"{address}/v2/models/fish", more.bank.encoded("fish"), headers, method="PUT")
    assert send(put) == (201, {"name": "fish", "added": True})
    assert BankFolder(tmp_path / "bank").open().names == [*NAMES, "fish"]
    sleep(1)
    for _ in range(20):
        assert send(f"{address}/v2/models")[1]["models"] == [*NAMES, "fish"]
    assert ask(address, "nobody", X[0])[0] == 404


def test_a_module_is_refused() -> None:
    with pytest.raises(ConfigError, match="a function that makes the network"):
        application("bank", backbone())  # pyright: ignore[reportArgumentType]
