"""The Open Inference Protocol: what is answered equals what the learner answers, and what is wrong gets 4xx."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from serving.conftest import NAMES, Served, outputs, quoted  # pyright: ignore[reportMissingImports]
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.serving import ServerSettings

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "datatype": "FP32", "shape": [3, 8], "data": X.flatten().tolist(), **changes}


def binary(given: Tensor, datatype: str, **fields: Any) -> tuple[bytes, dict[str, str]]:
    content = given.numpy().tobytes()
    described = {"name": "input", "datatype": datatype, "shape": list(given.shape)}
    described["parameters"] = {"binary_data_size": len(content)}
    head = json.dumps({"inputs": [described], **fields}).encode()
    return head + content, {"Inference-Header-Content-Length": str(len(head))}


def test_health_and_metadata(served: Served) -> None:
    client = served.client
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    about = client.get("/v2").json()
    assert about["extensions"] == ["binary_tensor_data"]
    assert about["parameters"] == {"task_unknown": "_any", "all_tasks": "_all"}
    assert client.get("/v2/models").json() == {"models": list(NAMES), "reserved": ["_any", "_all"]}
    for name in (*NAMES, "_any", "_all"):
        assert client.get(f"/v2/models/{quoted(name)}/ready").json() == {"name": name, "ready": True}
        described = client.get(f"/v2/models/{quoted(name)}").json()
        assert described["inputs"][0] == {"name": "input", "datatype": "FP32", "shape": [-1, 8]}
    assert client.get("/v2/models/birds").json()["parameters"]["classes"] == ["no", 7]
    assert client.get("/v2/models/dogs%2F2%20100%25").json()["parameters"]["classes"] == ["no", 7, {"tuple": ["a", 1]}]
    assert client.get("/v2/models/nobody/ready").status_code == 404
    assert set(client.get("/openapi.json").json()["paths"]) >= {"/v2/models/{name}/infer", "/metrics"}
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_a_named_task_answers_like_the_learner(served: Served, name: str) -> None:
    response = served.infer(name, X, id="an id \u2028")
    truth = served.learner.predict(X, task=name)
    found, classes = outputs(response), served.learner.bank[name].classes
    assert (response.json()["model_name"], response.json()["id"]) == (name, "an id \u2028")
    assert [classes[index] for index in found["class"]] == truth.labels
    assert found["label"] == [
        '{"tuple": ["a", 1]}' if isinstance(label, tuple) else str(label) for label in truth.labels
    ]
    assert found["confidence"] == truth.confidence.tolist()


def test_an_unknown_task_is_found_as_the_learner_finds_it(served: Served) -> None:
    truth, found = served.learner.predict(X), outputs(served.infer("_any", X))
    assert found["task"] == truth.tasks
    assert torch.allclose(torch.tensor(found["confidence"]), truth.confidence, rtol=1e-5)
    among = ("cats", "birds")
    tasks = {"name": "tasks", "datatype": "BYTES", "shape": [2], "data": list(among)}
    some = outputs(served.client.post("/v2/models/_any/infer", json={"inputs": [tensor(), tasks]}))
    assert some["task"] == served.learner.predict(X, among=among).tasks


def test_all_tasks_answer(served: Served) -> None:
    response = served.infer("_all", X)
    found = outputs(response)
    assert found["task"] == list(NAMES)
    assert next(o["shape"] for o in response.json()["outputs"] if o["name"] == "class") == [3, 3]
    for row, name in enumerate(NAMES):
        truth = served.learner.predict(X, task=name)
        assert torch.allclose(torch.tensor(found["confidence"][3 * row : 3 * row + 3]), truth.confidence, rtol=1e-5)
    tasks = {"name": "tasks", "datatype": "BYTES", "shape": [1], "data": ["birds"]}
    one = outputs(served.client.post("/v2/models/_all/infer", json={"inputs": [tensor(), tasks]}))
    assert one["task"] == ["birds"]


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", torch.float32), ("FP16", torch.float16)])
def test_binary_tensors(served: Served, datatype: str, dtype: torch.dtype) -> None:
    given = X.to(dtype)
    body, headers = binary(given, datatype, parameters={"binary_data_output": True})
    response = served.client.post("/v2/models/cats/infer", content=body, headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    end = int(response.headers["Inference-Header-Content-Length"])
    described, rest, read = json.loads(response.content[:end])["outputs"], response.content[end:], dict[str, Any]()
    for output in described:
        size = output["parameters"]["binary_data_size"]
        read[output["name"]], rest = rest[:size], rest[size:]
    assert not rest
    truth = served.learner.predict(given.float(), task="cats")
    assert np.frombuffer(read["confidence"], "<f4").tolist() == truth.confidence.tolist()
    classes = served.learner.bank["cats"].classes
    assert [classes[index] for index in np.frombuffer(read["class"], "<i8")] == truth.labels
    size = int.from_bytes(read["label"][:4], "little")
    assert read["label"][4 : 4 + size].decode() == str(truth.labels[0])


def test_numbers_in_lists_of_lists(served: Served) -> None:
    found = outputs(served.client.post("/v2/models/cats/infer", json={"inputs": [tensor(data=X.tolist())]}))
    assert found == outputs(served.infer("cats", X))


def test_outputs_can_be_chosen_one_by_one(served: Served) -> None:
    wanted = [{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "class"}]
    response = served.infer("cats", X, outputs=wanted)
    end = int(response.headers["Inference-Header-Content-Length"])
    described = json.loads(response.content[:end])["outputs"]
    assert [output["name"] for output in described] == ["confidence", "class"]
    assert "data" in described[1]
    assert len(response.content) - end == 12


def wrong() -> dict[str, Any]:
    """Return wrong bodies by what is wrong."""
    big = [[0.0] * 8] * 300
    return {
        "no JSON": b"{",
        "no object": b"[]",
        "not UTF-8": b"\xff\xfe\xfd",
        "deep": b"[" * 100_000,
        "no inputs": {},
        "inputs are no list": {"inputs": 3},
        "a tensor is no object": {"inputs": [3]},
        "another name": {"inputs": [tensor(name="x")]},
        "twice": {"inputs": [tensor(), tensor()]},
        "another type": {"inputs": [tensor(datatype="FP64")]},
        "no type": {"inputs": [tensor(datatype=None)]},
        "a list as a type": {"inputs": [tensor(datatype=["FP32"])]},
        "no shape": {"inputs": [tensor(shape=None)]},
        "a negative shape": {"inputs": [tensor(shape=[-3, -8])]},
        "a float as a shape": {"inputs": [tensor(shape=[3.0, 8])]},
        "a huge shape": {"inputs": [tensor(shape=[2**40, 2**40])]},
        "a huge shape without entries": {"inputs": [tensor(shape=[0, 2**62], data=[])]},
        "lists of another shape": {"inputs": [tensor(data=X.T.tolist())]},
        "another shape": {"inputs": [tensor(shape=[4, 6])]},
        "too few numbers": {"inputs": [tensor(data=[1.0])]},
        "no rows": {"inputs": [tensor(shape=[0, 8], data=[])]},
        "too many rows": {"inputs": [tensor(shape=[300, 8], data=big)]},
        "strings": {"inputs": [tensor(data=["1"] * 24)]},
        "nothing": {"inputs": [tensor(data=[None] * 24)]},
        "an object as data": {"inputs": [tensor(data={"a": 1})]},
        "ragged": {"inputs": [tensor(data=[[1.0], [1.0, 2.0]])]},
        "no data": {"inputs": [{"name": "input", "datatype": "FP32", "shape": [3, 8]}]},
        "NaN": b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 8], "data": [NaN,0,0,0,0,0,0,0]}]}',
        "infinite": {"inputs": [tensor(data=[1e300] * 24)]},
        "a huge integer": {"inputs": [tensor(datatype="INT64", data=[10**30] * 24)]},
        "integers for floats": {"inputs": [tensor(datatype="INT64", data=[1] * 24)]},
        "bytes for floats": {"inputs": [tensor(datatype="UINT8", data=[1] * 24)]},
        "out of range": {"inputs": [tensor(datatype="UINT8", data=[300] * 24)]},
        "a number as id": {"inputs": [tensor()], "id": 3},
        "another output": {"inputs": [tensor()], "outputs": [{"name": "logits"}]},
        "a number as output": {"inputs": [tensor()], "outputs": [{"name": 3}]},
        "binary without bytes": {"inputs": [{**tensor(), "parameters": {"binary_data_size": 96}}]},
        "a text as flag": {"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}},
        "tasks for a task": {"inputs": [tensor(), {"name": "tasks", "datatype": "BYTES", "shape": [1], "data": ["a"]}]},
        "half a surrogate": {"inputs": [tensor(name="\ud800")]},
    }


@pytest.mark.parametrize("what", list(wrong()))
def test_wrong_bodies_get_400(served: Served, what: str) -> None:
    body = wrong()[what]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    for name in ("cats", "_any", "_all"):
        if what == "tasks for a task" and name != "cats":
            continue
        response = served.client.post(f"/v2/models/{name}/infer", content=content)
        assert response.status_code == 400, response.text
        assert set(response.json()) == {"error"}
    assert served.infer("cats", X).status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "9999", "1" * 30, "\u0663"])
def test_wrong_lengths_of_the_header_get_400(served: Served, length: str) -> None:
    body, _ = binary(X, "FP32")
    headers = {"Inference-Header-Content-Length": length.encode()}
    response = served.client.post("/v2/models/cats/infer", content=body, headers=headers)
    assert response.status_code == 400


def test_bytes_that_do_not_fit_get_400(served: Served) -> None:
    body, headers = binary(X, "FP32")
    for content in (body[:-1], body + b"x"):
        assert served.client.post("/v2/models/cats/infer", content=content, headers=headers).status_code == 400
    texts = {"name": "tasks", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}}
    head = json.dumps({"inputs": [tensor(), texts]}).encode()
    for rest in (b"\x09\0\0\0ab", b"\x02\0\0\0\xff\xff", b"\x01\0\0\0a\0"):
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert served.client.post("/v2/models/_any/infer", content=head + rest, headers=headers).status_code == 400


def test_what_is_not_there_gets_404(served: Served) -> None:
    assert served.infer("nobody", X).status_code == 404
    assert served.infer("x" * 5000, X).status_code == 404
    assert served.client.get("/v2/models/nobody").status_code == 404
    for content in (b"", b"{}", b"no request", b'{"inputs": []}'):
        nobody = served.client.post("/v2/models/nobody/infer", content=content)
        assert (nobody.status_code, "no task 'nobody'" in nobody.json()["error"]) == (404, True)
        assert served.client.post("/v2/models/_any/infer", content=content).status_code == 400
    assert "error" in served.client.get("/v3").json()
    tasks = {"name": "tasks", "datatype": "BYTES", "shape": [1], "data": ["nobody"]}
    assert served.client.post("/v2/models/_all/infer", json={"inputs": [tensor(), tasks]}).status_code == 404
    assert served.client.get("/v2/models/cats/infer").status_code == 405
    assert served.client.post("/v2/models/%ff/infer", json={}).status_code == 400


def test_limits(serve: Callable[..., Served]) -> None:
    served = serve(max_body=2000, max_batch=4, max_answers=5)
    large = served.client.post("/v2/models/cats/infer", content=b"x" * 2001)
    assert (large.status_code, set(large.json())) == (413, {"error"})
    streamed = served.client.post("/v2/models/cats/infer", content=(b"x" * 100 for _ in range(30)))
    assert streamed.status_code == 413
    assert served.infer("cats", X[:1].repeat(5, 1)).status_code == 400
    assert "at most 5 answers" in served.infer("_all", X).json()["error"]
    zipped = served.client.post("/v2/models/cats/infer", content=b"x", headers={"Content-Encoding": "gzip"})
    assert zipped.status_code == 415


def test_one_bad_request_does_not_harm_those_beside_it(served: Served) -> None:
    huge = torch.full((1, 8), 3e38)  # finite, but the outputs of the network are not
    assert served.infer("cats", huge).status_code == 400
    assert served.infer("_any", huge).status_code in (200, 400)


@pytest.mark.parametrize(
    "settings",
    [{"max_batch": 0}, {"timeout": 0.0}, {"max_wait_ms": -1.0}, {"token": "short"}, {"watch": float("inf")}],
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ServerSettings(**settings)


def test_a_log_does_not_show_the_token() -> None:
    assert "secret" not in repr(ServerSettings(token="a secret of this server"))
