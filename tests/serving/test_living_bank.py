"""A bank that changes while it is served: by other processes, and by clients with a token."""

import base64
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import torch
from serving.conftest import TOKEN, Served, backbone, outputs  # pyright: ignore[reportMissingImports]
from starlette.testclient import TestClient
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import TaskError
from supermasks.inference import OneShot
from supermasks.methods import ExSSNeT
from supermasks.nets import fully_connected
from supermasks.router import LinearDiscriminant, RandomFeatures
from supermasks.serving import ServerSettings, create_app

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(2))
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def more(small: Callable[..., Learner], blobs: Callable[..., Task]) -> Learner:
    """A learner over the same weights, with other tasks."""
    made = small(backbone(), seed=1)
    made.learn(blobs("fish"))
    made.learn(replace(blobs("another"), name="cats"))
    return made


def until(holds: Callable[[], bool]) -> None:
    end = monotonic() + 60
    while not holds():
        assert monotonic() < end
        sleep(0.02)


def names(served: Served) -> list[str]:
    return served.client.get("/v2/models").json()["models"]


def test_tasks_that_others_add_replace_and_remove_are_seen(served: Served, more: Learner) -> None:
    served.folder.append(more.bank["fish"])
    until(lambda: "fish" in names(served))
    assert outputs(served.infer("fish", X))["confidence"] == more.predict(X, task="fish").confidence.tolist()
    served.folder.replace(more.bank["cats"])
    truth = more.predict(X, task="cats").confidence.tolist()
    until(lambda: outputs(served.infer("cats", X))["confidence"] == truth)
    served.folder.rename("birds", "ravens")
    until(lambda: "ravens" in names(served))
    assert served.infer("birds", X).status_code == 404
    served.folder.remove("ravens")
    until(lambda: "ravens" not in names(served))
    assert served.infer("ravens", X).status_code == 404
    assert names(served) == ["cats", "dogs/2 100%", "fish"]
    again = Learner.load(served.folder.path, backbone())
    assert outputs(served.infer("_any", X))["task"] == again.predict(X).tasks


def test_a_client_puts_and_deletes_tasks(served: Served, more: Learner) -> None:
    added = served.client.put("/v2/models/fish", content=more.bank.encoded("fish"), headers=ALLOWED)
    assert (added.status_code, added.json()) == (201, {"name": "fish", "added": True})
    assert outputs(served.infer("fish", X))["confidence"] == more.predict(X, task="fish").confidence.tolist()
    replaced = served.client.put("/v2/models/cats", content=more.bank.encoded("cats"), headers=ALLOWED)
    assert (replaced.status_code, replaced.json()["added"]) == (200, False)
    assert outputs(served.infer("cats", X))["confidence"] == more.predict(X, task="cats").confidence.tolist()
    assert served.client.delete("/v2/models/dogs%2F2%20100%25", headers=ALLOWED).status_code == 200
    assert served.client.delete("/v2/models/dogs%2F2%20100%25", headers=ALLOWED).status_code == 404
    assert names(served) == served.folder.open().names == ["cats", "birds", "fish"]
    assert served.folder.verify(served.learner.network) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer \xff".encode("latin-1")}, 401),
    ],
)
def test_without_the_token_nothing_changes(served: Served, headers: Any, status: int) -> None:
    before = served.folder.stamp()
    refused = served.client.delete("/v2/models/cats", headers=headers)
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (status, "Bearer")
    assert served.client.put("/v2/models/new", content=b"x", headers=headers).status_code == status
    assert served.folder.stamp() == before


def test_a_server_without_a_token_changes_nothing(serve: Callable[..., Served]) -> None:
    served = serve(token=None)
    for headers in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        assert served.client.delete("/v2/models/cats", headers=headers).status_code == 403


def test_wrong_task_files_are_refused(
    served: Served, more: Learner, small: Callable[..., Learner], blobs: Callable[..., Task]
) -> None:
    good, before = more.bank.encoded("fish"), served.folder.stamp()
    elsewhere = small(torch.nn.Sequential(torch.nn.Linear(8, 5, bias=False)), seed=1)
    elsewhere.learn(blobs("fish"))
    other_seed = small(backbone(), seed=2)
    other_seed.learn(blobs("fish"))
    counted = small(backbone(), seed=1, inference=LinearDiscriminant(features=RandomFeatures(8)))
    counted.learn(blobs("fish"))
    owning = small(backbone(), seed=1, method=ExSSNeT())
    owning.learn(blobs("fish"))
    owning.learn(blobs("fish2"))
    wide = replace(more.bank["fish"], info=replace(more.bank["fish"].info, input_shape=(9,)), answers=())
    many = replace(more.bank["fish"], info=replace(more.bank["fish"].info, classes=tuple(range(99))), answers=())
    forged = Learner(more.network, seed=1)
    forged.bank.add(wide)
    forged.bank.add(many.renamed("many"))
    files = {
        "nothing": b"",
        "noise": b"x" * 1000,
        "cut off": good[:-10],
        "changed": good[:-10] + bytes(10),
        "another network": elsewhere.bank.encoded("fish"),
        "another base": other_seed.bank.encoded("fish"),
        "statistics": counted.bank.encoded("fish"),
        "over other weights": owning.bank.encoded("fish2"),
        "another shape": forged.bank.encoded("fish"),
        "more classes than outputs": forged.bank.encoded("many"),
    }
    for what, content in files.items():
        refused = served.client.put("/v2/models/fish", content=content, headers=ALLOWED)
        assert (refused.status_code, set(refused.json())) == (400, {"error"}), what
    for name in ("_any", "_all", "%00", ""):
        refused = served.client.put(f"/v2/models/{name}", content=good, headers=ALLOWED)
        assert refused.status_code in (400, 404, 405), name
    assert served.folder.stamp() == before


def test_a_bank_over_another_network_does_not_take_the_place(served: Served, small: Callable[..., Learner]) -> None:
    for name in ("cats", "birds"):  # these are then in memory
        served.infer(name, X)
    small(backbone(), seed=9).save(served.folder.path, overwrite=True)
    until(lambda: bool(served.client.get("/status").json()["problem"]))
    assert outputs(served.infer("cats", X))["confidence"]
    assert served.infer("dogs/2 100%", X).status_code in (200, 503)  # it may have to be read
    assert "supermasks_bank_failures_total" in served.client.get("/metrics").text
    served.learner.save(served.folder.path, overwrite=True)
    until(lambda: not served.client.get("/status").json()["problem"])
    assert outputs(served.infer("birds", X))


def test_a_task_is_seen_whole_or_not_at_all(served: Served, more: Learner) -> None:
    """While a task is replaced many times, each answer is that of the one or of the other."""
    allowed = [served.learner.predict(X, task="cats").confidence.tolist()]
    allowed.append(more.predict(X, task="cats").confidence.tolist())
    states, done = [more.bank["cats"], served.learner.bank["cats"]], threading.Event()

    def change() -> None:
        folder = BankFolder(served.folder.path)
        for turn in range(30):
            folder.replace(states[turn % 2])
            folder.append(more.bank["fish"].renamed(f"new-{turn}"))
            folder.remove(f"new-{turn}")
        done.set()

    changer = threading.Thread(target=change)
    changer.start()
    seen = 0
    while not done.is_set() or seen < 10:
        assert outputs(served.infer("cats", X))["confidence"] in allowed
        assert len(outputs(served.infer("_any", X))["task"]) == 3
        everyone = outputs(served.infer("_all", X))["task"]
        assert everyone[:3] == ["cats", "dogs/2 100%", "birds"]
        seen += 1
    changer.join()
    assert served.client.get("/status").json()["requests"]["failed"] == 0


def test_tasks_with_reserved_names_are_refused(served: Served, more: Learner, tmp_path: Path) -> None:
    """No client could ask for such a task, but `_any` could find it."""
    for name in ("_any", "_all"):
        path = tmp_path / name
        served.learner.save(path)
        BankFolder(path).append(more.bank["fish"].renamed(name))
        with pytest.raises(TaskError, match=rf"a task named '{name}'.*rename\('{name}', NEW_NAME\)"):
            create_app(path, backbone())
        BankFolder(path).rename(name, "any")
        assert "any" in create_app(path, backbone()).state.service.snapshot
    served.folder.append(more.bank["fish"].renamed("_any"))  # while it is served: the tasks of before go on answering
    until(lambda: "'_any'" in served.client.get("/status").json()["problem"])
    assert names(served) == ["cats", "dogs/2 100%", "birds"]
    assert "_any" not in outputs(served.infer("_any", X))["task"]
    served.folder.rename("_any", "fish")
    until(lambda: names(served)[-1] == "fish")


def digests(content: bytes) -> dict[str, dict[str, str]]:
    """Return headers that name the digest of a body, in each form."""
    two, five = (base64.b64encode(kind(content).digest()).decode() for kind in (hashlib.sha256, hashlib.sha512))
    return {
        "Content-Digest": {"Content-Digest": f"sha-256=:{two}:"},
        "sha-512": {"Content-Digest": f"sha-512=:{five}:"},
        "both": {"Content-Digest": f"sha-256=:{two}:, sha-512=:{five}:"},
        "and one that is not known": {"Content-Digest": f"md5=:AAAA:,sha-256=:{two}:"},
        "Digest": {"Digest": f"SHA-256={two}"},
        "both headers": {"Digest": f"sha-256={two}", "Content-Digest": f"sha-256=:{two}:"},
    }


@pytest.mark.parametrize("form", digests(b""))
def test_a_damaged_body_is_noticed_by_its_digest(served: Served, more: Learner, form: str) -> None:
    good, before = more.bank.encoded("fish"), served.folder.stamp()
    headers = {**ALLOWED, **digests(good)[form]}
    for place in range(0, len(good), max(len(good) // 20, 1)):
        bad = bytearray(good)
        bad[place] ^= 1
        refused = served.client.put("/v2/models/fish", content=bytes(bad), headers=headers)
        assert (refused.status_code, "digest" in refused.json()["error"]) == (400, True), place
    assert served.folder.stamp() == before
    assert served.client.put("/v2/models/fish", content=good, headers=headers).status_code == 201
    assert outputs(served.infer("fish", X))["confidence"] == more.predict(X, task="fish").confidence.tolist()


@pytest.mark.parametrize(
    "header",
    [
        {"Content-Digest": "sha-256"},
        {"Content-Digest": ""},
        {"Content-Digest": "sha-256=AAAA"},
        {"Content-Digest": "sha-256=:AAA:"},
        {"Content-Digest": "md5=:AAAA:"},
        {"Digest": "sha-256=:AAAA:"},
        {"Digest": "sha-256=AAAA"},
    ],
)
def test_a_digest_that_cannot_be_checked_is_refused(served: Served, more: Learner, header: dict[str, str]) -> None:
    content = more.bank.encoded("fish")
    refused = served.client.put("/v2/models/fish", content=content, headers={**ALLOWED, **header})
    assert (refused.status_code, "igest" in refused.json()["error"]) == (400, True)
    assert "fish" not in names(served)


def test_a_request_is_answered_by_one_snapshot(served: Served, more: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank changes after the task was found and before the task answers: the answer is that of the bank before."""
    truth, changed = served.learner.predict(X), list[str]()
    others = {name: replace(more.bank["cats"], info=replace(more.bank["cats"].info, name=name)) for name in truth.tasks}
    service = served.client.app.state.service  # pyright: ignore[reportAttributeAccessIssue]
    usual = OneShot.infer_each

    def then_changed(self: OneShot, *args: Any) -> Any:
        belief = usual(self, *args)
        for name, state in others.items():
            served.folder.replace(state)
            changed.append(name)
        return belief

    monkeypatch.setattr(type(service.snapshot.predictor.inference), "infer_each", then_changed)
    service.snapshot.bank._recent.limit = 0  # nothing of it stays in memory
    found = outputs(served.infer("_any", X))
    assert changed
    assert found["task"] == truth.tasks
    assert torch.allclose(torch.tensor(found["confidence"]), truth.confidence, rtol=1e-5)


def test_a_task_over_statistics_of_the_batch_is_put(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path
) -> None:
    def module() -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6))

    learner, other = (small(Network(module(), RandomBase(0), norm="batch")) for _ in range(2))
    learner.learn(blobs("cats"))
    other.learn(blobs("fish"))
    learner.save(tmp_path / "bank")
    settings = ServerSettings(token=TOKEN)
    with TestClient(create_app(tmp_path / "bank", module(), settings=settings)) as client:
        put = client.put("/v2/models/fish", content=other.bank.encoded("fish"), headers=ALLOWED)
    assert put.status_code == 201, put.text


def test_a_task_without_the_statistics_that_tasks_are_found_by_is_not_put(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path
) -> None:
    learner = small(inference=LinearDiscriminant(features=RandomFeatures(10), bits=8))
    for name in ("cats", "dogs"):
        learner.learn(blobs(name))
    learner.save(tmp_path / "bank")
    inputs, other = blobs("cats").test.inputs, small()
    assert isinstance(inputs, Tensor)
    other.learn(blobs("dogs"))
    settings = ServerSettings(token=TOKEN)
    with TestClient(create_app(tmp_path / "bank", fully_connected([8, 16, 6]), settings=settings)) as client:
        put = client.put("/v2/models/dogs", content=other.bank.encoded("dogs"), headers=ALLOWED)
        assert put.status_code == 400
        assert "lacks the statistics by which LinearDiscriminant finds the task" in put.json()["error"]
        body = {"inputs": [{"name": "input", "shape": [30, 8], "datatype": "FP32", "data": inputs.flatten().tolist()}]}
        found = client.post("/v2/models/_any/infer", json=body)
    assert found.status_code == 200, found.text
