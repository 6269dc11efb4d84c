"""Metrics, the page, and a real process that is told to stop."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from serving.conftest import NAMES, Served  # pyright: ignore[reportMissingImports]

import supermasks
from supermasks import Learner
from supermasks.cli import main
from supermasks.serving import page

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(4))
NASTY = "<img src=x onerror=alert(1)>"


def test_metrics_count_without_names_of_tasks(served: Served) -> None:
    for name in (*NAMES, "nobody", "_any", "_all"):
        served.infer(name, X)
    served.client.post("/v2/models/cats/infer", content=b"x")
    text = served.client.get("/metrics").text
    assert 'supermasks_requests_total{kind="task",outcome="ok"} 3.0' in text
    assert 'supermasks_requests_total{kind="task",outcome="unknown_task"} 1.0' in text
    assert 'supermasks_requests_total{kind="task",outcome="bad_request"} 1.0' in text
    assert 'supermasks_rows_total{kind="any"} 2.0' in text
    assert "supermasks_tasks 3.0" in text
    assert f"supermasks_bank_bytes {float(sum(served.folder.sizes().values()))}" in text
    assert "process_resident_memory_bytes" in text
    assert not any(name in text for name in (*NAMES, "nobody"))


def test_the_page_loads_only_from_its_server(served: Served) -> None:
    index = served.client.get("/")
    policy = index.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for file in ("page.js", "page.css", "page.svg"):
        assert f'"{file}"' in index.text
        assert served.client.get(f"/{file}").headers["Content-Security-Policy"] == policy
    everything = b"".join(map(page.file, page.TYPES)).decode()
    assert set(re.findall(r"https?://[^\"'\s]+", everything)) == {"http://www.w3.org/2000/svg"}
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write", " onclick", " style="):
        assert word not in everything


def test_the_status_has_traffic_and_beliefs(served: Served) -> None:
    for name in ("birds", "birds", "_any", "nobody"):
        served.infer(name, X)
    status = served.client.get("/status").json()
    assert status["requests"] == {"ok": 3, "refused": 1, "failed": 0}
    assert (status["tasks"], status["ready"], sum(status["by_second"]) <= 4) == (3, True, True)
    (belief,) = status["beliefs"]
    truth = served.learner.predict(X)
    assert belief["task"] == truth.tasks[-1]
    assert belief["candidates"][0]["weight"] == pytest.approx(float(truth.belief.alpha[-1].max()), abs=1e-3)
    found = served.client.get("/status", params={"search": "BIRD"}).json()
    assert [task["name"] for task in found["shown"]] == ["birds"]
    assert found["shown"][0]["rows"] >= 4


@pytest.fixture
def process(learner: Learner, tmp_path: Path) -> Iterator[Any]:
    """A server in a process of its own: the process, and its address."""
    learner.bank.rename("birds", NASTY)
    learner.save(tmp_path / "bank")
    (tmp_path / "net.py").write_text(
        "import time, torch\n"
        "class Slow(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        time.sleep(0.05)\n"
        "        return x\n"
        "def make():\n"
        "    from supermasks.nets import fully_connected\n"
        "    return torch.nn.Sequential(*fully_connected([8, 16, 6]), Slow())\n"
    )
    command = [sys.executable, "-m", "supermasks", "serve", str(tmp_path / "bank"), "--backbone", "net:make"]
    command += ["--port", "0", "--drain", "0.2", "--max-batch", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1])}
    started = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        assert "3 tasks are served at http://127.0.0.1:" in line, line or started.stderr.read()  # pyright: ignore[reportOptionalMemberAccess]
        yield started, line.split()[-1]
    finally:
        started.kill()
        started.communicate()


def asked(address: str, name: str = "cats") -> Any:
    tensor = {"name": "input", "datatype": "FP32", "shape": [2, 8], "data": X.flatten().tolist()}
    request = urllib.request.Request(
        f"{address}/v2/models/{name}/infer", json.dumps({"inputs": [tensor]}).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def stops_being_ready(address: str) -> bool:
    while True:
        try:
            urllib.request.urlopen(f"{address}/v2/health/ready")
        except urllib.error.HTTPError as error:
            return error.code == 503


def test_a_server_that_is_told_to_stop_answers_what_it_has_begun(process: Any, learner: Learner) -> None:
    started, address = process
    answers: list[Any] = []
    clients = [threading.Thread(target=lambda: answers.append(asked(address))) for _ in range(12)]
    for client in clients:
        client.start()
    while '"queue": 0' in urllib.request.urlopen(f"{address}/status").read().decode():
        pass
    started.send_signal(signal.SIGTERM)
    assert stops_being_ready(address)  # before the socket closes
    for client in clients:
        client.join()
    output, errors = started.communicate(timeout=60)
    assert (started.returncode, output, errors) == (0, "", "")
    truth = learner.predict(X, task="cats").confidence
    assert len(answers) == 12
    for answer in answers:
        assert torch.allclose(torch.tensor(answer["outputs"][2]["data"]), truth, rtol=1e-5)


def test_the_page_in_a_browser(process: Any) -> None:
    """Skips without a browser. Names are text, nothing is loaded from elsewhere, no policy is violated."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no browser")
    _, address = process
    for name in ("_any", "cats", "_any"):
        asked(address, name)
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        shown, said, loaded = browser.new_page(), list[str](), list[str]()
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on("dialog", lambda dialog: said.append(dialog.message))
        shown.on("request", lambda request: loaded.append(request.url))
        shown.goto(address)
        shown.wait_for_selector("#list tr")
        assert shown.inner_text("#tasks") == "3"
        assert shown.inner_text("#state") == "ready"
        assert NASTY in shown.inner_text("#list")
        assert shown.locator("#list img").count() == 0
        assert shown.locator("#beliefs tr").count() == 2
        shown.fill("#search", "onerror")
        playwright.expect(shown.locator("#list tr")).to_have_count(1)
        browser.close()
    assert said == []
    assert all(url.startswith((address, "data:")) for url in loaded)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backbone", "nowhere:nothing"], "package.module:function"),
        (["--backbone", "serving.conftest:backbone", "--port", "70000"], "cannot listen"),
        (["--backbone", "serving.conftest:backbone", "--token-file", "nowhere"], "the token cannot be read"),
        (["--backbone", "serving.conftest:backbone", "--max-batch", "0"], "max_batch"),
        (["--backbone", "serving.conftest:backbone", "--inference", "Guess()"], "TaskInference"),
    ],
)
def test_wrong_words(
    learner: Learner, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    learner.save(tmp_path)
    assert main(["serve", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
