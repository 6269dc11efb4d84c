"""Load tests of the server: requests a second, latencies, and a soak test that checks each answer.

The network is LeNet 300-100 with random masks. A request has one row, as a binary tensor. The client and the server
share the machine, so compare the rows with each other. Each server has its own process.

    masks, one task     all requests name the same task
    masks, mixed        each request names a random task
    masks, unknown      no request names a task (--unknown)
    plain               the plain module behind the same server: an upper bound
    peft                LoRA adapters of rank 8, one for each task, random tasks (--peft; needs peft)

    python benchmarks/serve.py [--tasks 200] [--seconds 10] [--clients 32] [--unknown] [--peft]
    python benchmarks/serve.py --soak 600 [--tasks 200]

The soak test first measures the highest rate. Then it sends requests for random tasks at 80% of this rate. Each second
one task is added and another is removed: through the folder of the bank, and through PUT and DELETE, in turn. One
request in twenty is wrong: another shape, an unknown task, NaN, too large, or cut off.

The test fails in any of these cases:

- an answer differs from that of the learner;
- a wrong request gets a status other than 4xx;
- a request gets 5xx, or no answer;
- memory grows by more than 10%.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch
from serve_client import Connection, closed_loop, confidence, http, infer, open_loop
from serve_servers import TOKEN, backbone

from supermasks import BankFolder, Learner
from supermasks.changes import Masked
from supermasks.encoding import encode_state
from supermasks.masks import Mask
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo
from supermasks.trial import trial_answers

ROWS = 32  # different inputs
COMING = 8  # tasks that come and go in the soak test
SHARE = 0.8
WRONG = 0.05
INPUTS = torch.randn(ROWS, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def make_state(learner: Learner, name: str, seed: int) -> TaskState:
    rng = torch.Generator().manual_seed(seed)
    shapes = learner.network.shapes
    mask = Mask.pack({part: torch.rand(shape, generator=rng) < 0.5 for part, shape in shapes.items()})
    state = TaskState(TaskInfo(name, tuple(range(10)), (1, 28, 28)), Masked.of(mask))
    return TaskState(state.info, state.changes, answers=trial_answers(learner.network, state))


def make_bank(tasks: int, folder: Path) -> Learner:
    learner = Learner(backbone(), seed=0)
    for number in range(tasks):
        learner.add(make_state(learner, f"task-{number}", number))
    learner.save(folder)
    return learner


@contextmanager
def served(what: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Start a server; yield its port and the id of its process. It must end with the status 0."""
    script = Path(__file__).with_name("serve_servers.py")
    with subprocess.Popen([sys.executable, script, what, folder], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
            process.terminate()
            assert process.wait(60) == 0, f"the server ended with {process.returncode}"
        finally:
            process.kill()


def percentiles(latencies: list[float]) -> str:
    ordered = sorted(latencies)
    shown = [(part, 1000 * ordered[min(int(len(ordered) * part / 100), len(ordered) - 1)]) for part in (50, 90, 99)]
    return "  ".join(f"p{part} {value:7.2f} ms" for part, value in shown)


def mixed(names: list[str]) -> Callable[[], bytes]:
    rng = random.Random(0)
    requests = {(name, row): infer(name, INPUTS[row : row + 1]) for name in names for row in range(4)}
    keys = list(requests)
    return lambda: requests[rng.choice(keys)]


def measure(options: argparse.Namespace, folder: Path, learner: Learner) -> None:
    names = learner.tasks
    cases = [
        ("plain", "plain", mixed(names)),
        ("masks, one task", "masks", mixed(names[:1])),
        ("masks, mixed", "masks", mixed(names)),
    ]
    cases += [("masks, unknown", "masks", mixed(["_any"]))] if options.unknown else []
    cases += [("peft, mixed", "peft", mixed(names))] if options.peft else []
    for shown, what, draw in cases:
        with served(what, folder) as (port, _):

            async def ask(connection: Connection, draw: Callable[[], bytes] = draw) -> None:
                assert (await connection.ask(draw())).status == 200

            asyncio.run(closed_loop(port, options.clients, options.seconds / 5, draw))
            rate, latencies = asyncio.run(closed_loop(port, options.clients, options.seconds, draw))
            print(f"{shown:16} closed, {options.clients} clients  {rate:8.0f}/s  {percentiles(latencies)}", flush=True)
            latencies = asyncio.run(open_loop(port, SHARE * rate, options.seconds, ask))
            reached = len(latencies) / options.seconds
            print(f"{shown:16} open, {SHARE:.0%} of it     {reached:8.0f}/s  {percentiles(latencies)}", flush=True)


class Soak:
    """Sends right and wrong requests, checks the replies, and counts them."""

    def __init__(self, learner: Learner, coming: list[TaskState]) -> None:
        states = [*learner.bank, *coming]
        self.names = [state.name for state in states]
        logits = {state.name: learner.network.logits(INPUTS, state) for state in states}
        self.truth = {name: of.softmax(dim=1).max(dim=1).values for name, of in logits.items()}
        self.always = set(learner.tasks)
        self.found, self.failures, self._rng = Counter[str](), list[str](), random.Random(1)

    async def ask(self, connection: Connection) -> None:
        try:
            await (self._wrong(connection) if self._rng.random() < WRONG else self._good(connection))
        except (OSError, asyncio.IncompleteReadError) as error:
            connection.close()
            self._fail("no answer", repr(error))

    async def _good(self, connection: Connection) -> None:
        name, row = self._rng.choice(self.names), self._rng.randrange(ROWS)
        reply = await connection.ask(infer(name, INPUTS[row : row + 1]))
        if reply.status == 404 and name not in self.always:
            self.found["404 of a task that comes and goes"] += 1
        elif reply.status == 429:
            self.found["429"] += 1
        elif reply.status != 200:
            self._fail(f"status {reply.status}", str(reply.body))
        elif not torch.allclose(confidence(reply), self.truth[name][row : row + 1], rtol=1e-5):
            self._fail("wrong answer", f"{name} {confidence(reply)} {self.truth[name][row]}")
        else:
            self.found["right"] += 1

    async def _wrong(self, connection: Connection) -> None:
        kind = self._rng.choice(["shape", "task", "NaN", "large", "cut off", "no JSON"])
        if kind == "cut off":
            await cut_off(connection)
            self.found["cut off"] += 1
            return
        reply = await connection.ask(wrong(kind))
        if not 400 <= reply.status < 500:
            self._fail(f"{kind} got {reply.status}", str(reply.body))
        self.found[f"{kind} got {reply.status}"] += 1
        if reply.status == 413:
            connection.close()

    def _fail(self, what: str, detail: str) -> None:
        self.found[what] += 1
        self.failures.append(f"{what}: {detail}"[:300])


def wrong(kind: str) -> bytes:
    if kind == "shape":
        return infer("task-0", torch.zeros(1, 1, 27, 28))
    if kind == "task":
        return infer("nobody", INPUTS[:1])
    if kind == "NaN":
        return infer("task-0", torch.full((1, 1, 28, 28), torch.nan))
    if kind == "large":
        return b"POST /v2/models/task-0/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n"
    return http("POST", "/v2/models/task-0/infer", b'{"inputs": [')


async def cut_off(connection: Connection) -> None:
    """Send half of a request on a new connection, and close it."""
    _, writer = await asyncio.open_connection(*connection.address)
    request = infer("task-0", INPUTS[:1])
    writer.write(request[: len(request) // 2])
    await writer.drain()
    writer.close()


async def change(port: int, folder: BankFolder, learner: Learner, coming: list[TaskState], soak: Soak) -> None:
    """Each second add one task and remove another, through the folder and through HTTP in turn."""
    connection, there, turn = Connection("127.0.0.1", port), list[TaskState](), 0
    headers = f"authorization: Bearer {TOKEN}\r\n"
    while True:
        await asyncio.sleep(1)
        state, turn = coming[turn % len(coming)], turn + 1
        gone = there.pop(0) if len(there) >= len(coming) - 1 else None
        if turn % 2:
            await asyncio.to_thread(folder.append, state)
            if gone is not None:
                await asyncio.to_thread(folder.remove, gone.name)
        else:
            body = encode_state(state, learner.bank.header.layout)[0]
            statuses = [(await connection.ask(http("PUT", f"/v2/models/{state.name}", body, headers))).status]
            if gone is not None:
                statuses.append((await connection.ask(http("DELETE", f"/v2/models/{gone.name}", b"", headers))).status)
            if not set(statuses) <= {200, 201}:
                soak.failures.append(f"a change of the bank got {statuses}")
        there.append(state)
        soak.found["tasks added"] += 1


def memory(process: int) -> int:
    """Return the resident bytes of a process; Linux only."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def soaked(options: argparse.Namespace, port: int, process: int, folder: Path, learner: Learner) -> bool:
    coming = [make_state(learner, f"coming-{number}", 10_000 + number) for number in range(COMING)]
    soak = Soak(learner, coming)
    rate, _ = await closed_loop(port, options.clients, min(10.0, options.soak / 5), mixed(learner.tasks))
    print(f"highest rate {rate:.0f}/s; {options.soak:g} s at {SHARE * rate:.0f}/s", flush=True)
    changer = asyncio.ensure_future(change(port, BankFolder(folder), learner, coming, soak))
    begin, latencies = 0, list[float]()
    parts = 10
    for part in range(parts):  # the first part warms up
        latencies = await open_loop(port, SHARE * rate, options.soak / parts, soak.ask)
        if part == 0:
            begin = memory(process)
        held = memory(process) / 2**20
        print(f"part {part + 1:2} of {parts}: {percentiles(latencies)}  {held:.0f} MiB  {dict(soak.found)}", flush=True)
    changer.cancel()
    grown = memory(process) / begin - 1
    if changer.done() and not changer.cancelled() and changer.exception():
        soak.failures.append(f"changing the bank failed: {changer.exception()!r}")
    print(json.dumps({"found": dict(soak.found), "memory_grown": round(grown, 4), "failures": soak.failures[:20]}))
    return not soak.failures and grown < 0.1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--unknown", action="store_true")
    parser.add_argument("--peft", action="store_true")
    parser.add_argument("--soak", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder, start = Path(temporary) / "bank", perf_counter()
        learner = make_bank(options.tasks, folder)
        print(f"{options.tasks} tasks made in {perf_counter() - start:.0f} s", flush=True)
        if not options.soak:
            measure(options, folder, learner)
            return 0
        with served("masks", folder) as (port, process):
            return 0 if asyncio.run(soaked(options, port, process, folder, learner)) else 1


if __name__ == "__main__":
    sys.exit(main())
