"""`supermasks serve`: answer over HTTP with the tasks of a bank."""

import os
from pathlib import Path

from supermasks.bank import BankFolder
from supermasks.cli.bank_commands import backbone_of, bank_folder
from supermasks.cli.extra import tyro
from supermasks.errors import ConfigError
from supermasks.experiments.expression import parse
from supermasks.inference import TaskInference

TOKEN = "SUPERMASKS_TOKEN"
"""The environment variable with the token."""


def serve(
    bank: tyro.conf.Positional[Path],
    backbone: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    inference: str | None = None,
    max_batch: int = 256,
    max_wait_ms: float = 2.0,
    max_queue: int = 512,
    max_body: int = 16 << 20,
    max_answers: int = 10_000,
    timeout: float = 10.0,
    cache_mb: int = 1024,
    drain: float = 1.0,
) -> None:
    """Answer over HTTP with the tasks of a bank, by the Open Inference Protocol; the bank may change meanwhile.

    Args:
        bank: folder of a bank, or of a run.
        backbone: the network that the bank was learned with: `package.module:function`, which takes nothing and returns
            the module.
        host: the address to listen on; by default this machine alone.
        port: the port to listen on; 0 takes a free one.
        token_file: file with the token that a client needs to change the bank; without it, the environment variable
            SUPERMASKS_TOKEN. Without a token, nobody can change the bank over HTTP.
        inference: how the task of an input is found, such as "OneShot()" or "auto"; by default as the bank says.
        max_batch: most rows of a request, and of requests that are computed together.
        max_wait_ms: milliseconds that a request waits for others.
        max_queue: most requests that wait; further ones get the status 429.
        max_body: most bytes of a request.
        max_answers: most answers of a request to all tasks: its rows times the tasks.
        timeout: seconds that a request may wait, and that its body may take.
        cache_mb: megabytes of tasks to keep in memory.
        drain: seconds to go on answering after SIGTERM, so that a load balancer notices that the server is not ready.
    """
    from supermasks.serving import ServerSettings, Service, run  # the extra `serve` is needed for this command alone

    settings = ServerSettings(
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        max_queue=max_queue,
        max_body=max_body,
        max_answers=max_answers,
        timeout=timeout,
        cache_bytes=cache_mb << 20,
        drain=drain,
        token=_token(token_file),
    )
    how = inference if inference is None or inference == "auto" else parse(inference, TaskInference)
    folder: BankFolder = bank_folder(bank)
    service = Service(folder, backbone_of(backbone), how, settings)  # pyright: ignore[reportArgumentType]
    tasks = len(service.snapshot)
    run(service, host, port, lambda address: print(f"{tasks} tasks are served at {address}", flush=True))


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN) or None
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token cannot be read: {error}; pass a file with one line") from error
