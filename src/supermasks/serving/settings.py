"""The limits of a server, and how long it waits."""

from dataclasses import dataclass

from supermasks.errors import ConfigError
from supermasks.spec import Settings

LEAST_TOKEN = 16
"""A shorter token could be guessed."""


@dataclass(frozen=True)
class ServerSettings(Settings):
    """The limits of a server. What exceeds them gets an answer of HTTP with a status of 4xx.

    Attributes:
        max_batch: the most rows of a request, and of requests that go through the network together.
        max_wait_ms: how many milliseconds a request waits for others to go through the network with.
        max_queue: the most requests that wait; further ones get the status 429.
        max_body: the most bytes of a request; larger ones get 413.
        max_answers: the most answers of a request to all tasks: its rows times the tasks.
        timeout: how many seconds a request may wait before it is computed; then it gets 429. A body that takes longer
            to arrive gets 408.
        watch: how many seconds pass between two looks at the folder of the bank.
        wait: how many seconds a change of the bank waits while another process writes into it.
        cache_bytes: the most bytes of tasks to keep in memory.
        drain: how many seconds the server goes on answering after it was told to stop, so that a load balancer can
            notice that it is no longer ready.
        token: allows a client to change the bank; None forbids that to all.

    Raises:
        ConfigError: a value is out of range, or the token is shorter than 16 characters.
    """

    max_batch: int = 256
    max_wait_ms: float = 2.0
    max_queue: int = 512
    max_body: int = 16 << 20
    max_answers: int = 10_000
    timeout: float = 10.0
    watch: float = 0.5
    wait: float = 5.0
    cache_bytes: int = 1 << 30
    drain: float = 1.0
    token: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_batch", "max_queue", "max_body", "max_answers", "cache_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of a server must be at least 1, got {getattr(self, name)}")
        for name in ("timeout", "watch"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} of a server must be a positive number of seconds, got {getattr(self, name)}")
        for name in ("max_wait_ms", "wait", "drain"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} of a server must be 0 or more, got {getattr(self, name)}")
        if self.token is not None and not (len(self.token) >= LEAST_TOKEN and self.token.isascii()):
            raise ConfigError(
                f"the token of a server must have at least {LEAST_TOKEN} ASCII characters; make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )

    def __repr__(self) -> str:  # a log must not show the token
        fields = {**vars(self), "token": None if self.token is None else "***"}
        return f"ServerSettings({', '.join(f'{name}={value!r}' for name, value in fields.items())})"
