"""What the page at `/` shows: the traffic of the last minute, requests by task, and the belief of the last inputs."""

from collections import Counter, deque
from time import time
from typing import Any

from supermasks.serving.jobs import Answer
from supermasks.serving.snapshot import Snapshot
from supermasks.types import Prediction

MINUTE = 60
SHOWN_TASKS, SHOWN_BELIEFS, CANDIDATES = 100, 20, 3
LATENCIES = 1000


class Traffic:
    """Counts of bounded size; no input is kept."""

    def __init__(self) -> None:
        self._since = time()
        self._total = Counter[str]()
        self._by_second = deque[tuple[int, int]](maxlen=MINUTE)
        self._by_task = Counter[str]()
        self._latencies = deque[float](maxlen=LATENCIES)
        self._beliefs = deque[dict[str, Any]](maxlen=SHOWN_BELIEFS)

    def answered(self, status: int, seconds: float) -> None:
        """Count a request."""
        self._total["ok" if status < 400 else "refused" if status < 500 else "failed"] += 1
        self._latencies.append(seconds)
        now = int(time())
        if self._by_second and self._by_second[-1][0] == now:
            self._by_second[-1] = (now, self._by_second[-1][1] + 1)
        else:
            self._by_second.append((now, 1))

    def found(self, answer: Answer, name: str, snapshot: Snapshot) -> None:
        """Count the tasks of an answer, and keep the belief if there is one.

        Args:
            answer: to count.
            name: that the client asked.
            snapshot: of the bank; tasks that left it are forgotten before they become many.
        """
        if len(self._by_task) > 2 * len(snapshot) + SHOWN_TASKS:
            self.keep(snapshot)
        if isinstance(answer, Prediction):
            self._by_task.update(answer.tasks)
            self._beliefs.append(_believed(answer))
        elif not isinstance(answer, list):
            self._by_task[name] += len(answer.classes)

    def keep(self, snapshot: Snapshot) -> None:
        """Forget the tasks that the bank no longer has."""
        for name in [name for name in self._by_task if name not in snapshot]:
            del self._by_task[name]

    def described(self, snapshot: Snapshot, search: str) -> dict[str, Any]:
        """Return everything that the page shows, as JSON data.

        Args:
            snapshot: of the bank.
            search: part of the names of the tasks to show.
        """
        self.keep(snapshot)
        found = [name for name in snapshot.names if search.casefold() in name.casefold()]
        found.sort(key=lambda name: -self._by_task[name])  # a stable order: by traffic, then as learned
        now, latencies = int(time()), sorted(self._latencies)
        recent = [(second, count) for second, count in self._by_second if now - second <= MINUTE]
        return {
            "tasks": len(snapshot),
            "found": len(found),
            "bytes": snapshot.bytes,
            "seconds": time() - self._since,
            "requests": {kind: self._total[kind] for kind in ("ok", "refused", "failed")},
            "by_second": [dict(recent).get(second, 0) for second in range(now - MINUTE, now)],
            "latency_ms": {f"p{part}": _percentile(latencies, part) for part in (50, 99)},
            "shown": [{"name": name, "rows": self._by_task[name]} for name in found[:SHOWN_TASKS]],
            "beliefs": list(self._beliefs)[::-1],
        }


def _percentile(values: list[float], part: int) -> float | None:
    return round(1000 * values[min(len(values) * part // 100, len(values) - 1)], 2) if values else None


def _believed(found: Prediction) -> dict[str, Any]:
    """Return what the last row of a prediction says about its task."""
    belief = found.belief
    assert belief is not None  # the task was not given
    alpha = belief.alpha[-1]
    best = alpha.topk(min(CANDIDATES, len(alpha)))
    sure = found.task_confidence
    return {
        "time": time(),
        "rows": len(found.tasks),
        "task": found.tasks[-1],
        "confidence": round(float(found.confidence[-1]), 4),
        "task_confidence": None if sure is None else round(float(sure[-1]), 4),
        "candidates": [
            {"name": belief.candidates[index], "weight": round(weight, 4)}
            for weight, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ],
    }
