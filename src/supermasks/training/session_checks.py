"""Checks of what the sessions of a method return: the classes of users may forget a part of it."""

from collections.abc import Collection, Mapping

from torch import Tensor

from supermasks.brief import expect, listed
from supermasks.errors import ConfigError
from supermasks.methods import Learned, Lesson, Method, Session


def begun(method: Method, lesson: Lesson) -> Session:
    """Return the session of a new task; raise ConfigError if the method returns anything else."""
    session = method.begin(lesson)
    expect(session, Session, f"what begin() of {type(method).__name__} returns")
    return session


def next_of(session: Session) -> Session | None:
    """Return the next stage of a session, if any; raise ConfigError if it returns anything else."""
    following = session.next()
    if following is not None:
        expect(following, Session, f"what next() of {type(session).__name__} returns")
    return following


def check_effective(session: Session, effective: Mapping[str, Tensor]) -> None:
    """Raise ConfigError unless there is a value for each weight, each parameter of the head, and each buffer."""
    network = session.network
    _check_names(
        f"effective() of {type(session).__name__} must return a value",
        (*network.shapes, *network.head_shapes(1), *session.buffers),
        effective,
    )


def checked_learned(session: Session, learned: Learned, unreached: Collection[str]) -> Learned:
    """Return what was learned; raise ConfigError unless it has a change for each weight and parameter of the head.

    Args:
        session: that has learned it.
        learned: what its `finish` returned.
        unreached: the names of weights that need no change.
    """
    kind, network = type(session).__name__, session.network
    expect(learned, Learned, f"what finish() of {kind} returns")
    names = [name for name in (*network.shapes, *network.head_shapes(1)) if name not in unreached]
    _check_names(f"finish() of {kind} must return a change", names, learned.changes)
    return learned


def _check_names(what: str, names: Collection[str], given: Mapping[str, object]) -> None:
    if missing := [name for name in names if name not in given]:
        raise ConfigError(
            f"{what} for each of the {len(names)} weights and other values that a task sets, got none for "
            f"{listed(missing)}; see docs/extending.md"
        )
