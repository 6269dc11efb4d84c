"""The server as a deployment of Ray Serve: several processes, on one machine or a cluster, over one bank."""

import os
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from supermasks.errors import ConfigError, MissingExtraError
from supermasks.inference import TaskInference
from supermasks.serving.app import create_app
from supermasks.serving.extra import FastAPI
from supermasks.serving.settings import ServerSettings


def application(
    bank: str | os.PathLike[str],
    make_backbone: Callable[[], nn.Module],
    *,
    inference: TaskInference | Literal["auto"] | None = None,
    settings: ServerSettings | None = None,
    replicas: int = 2,
    **options: Any,
) -> Any:
    """Return an application for `ray.serve.run`: several replicas of `create_app` over the same bank.

    Each replica is a process with its own network. It reads the bank from the folder, and looks there for changes, as
    `ServerSettings.watch` says. So a task that one replica adds is with the others a moment later.

    Ray Serve sends each request to one replica. If a replica dies, the requests that it has accepted get the status
    500. Ray Serve sends all others to another replica, and starts a new one. An answer changes nothing, so a client may
    send a failed request again.

    Args:
        bank: the folder of a bank that a learner has saved; each replica must be able to read it by this path.
        make_backbone: makes a module of the same architecture as the one that was learned with.
        inference: how the task of an input is found; None takes what the bank says.
        settings: limits and times of each replica.
        replicas: the number of processes.
        options: further options of `ray.serve.deployment`, such as `ray_actor_options={"num_cpus": 2}`.

    Raises:
        ConfigError: `make_backbone` is a module itself, and no function that makes one.
        MissingExtraError: Ray Serve, or something that it needs, is not installed.

    Example:
        `ray.serve.run(application("bank", make))`, where `make` is a function. Then ask as without Ray Serve.
    """
    if isinstance(make_backbone, nn.Module) or not callable(make_backbone):
        raise ConfigError(
            f"make_backbone must be a function that makes the network in each replica, got {type(make_backbone)}; "
            "write lambda: MyNetwork()"
        )
    serve = _ray_serve()
    limits, folder = settings or ServerSettings(), os.path.abspath(bank)

    def build() -> FastAPI:
        return create_app(folder, make_backbone(), inference=inference, settings=limits)

    # Ray Serve's own limit of 5 would keep requests apart that can go through the network together.
    options = {"name": "Bank", "num_replicas": replicas, "max_ongoing_requests": limits.max_queue, **options}
    return serve.deployment(**options)(serve.ingress(build)()).bind()


def _ray_serve() -> Any:
    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtraError(
            f"Ray Serve needs {error.name}; install it with: pip install 'supermasks[serve]' 'ray[serve]'"
        ) from error
    return serve
