"""Tasks that workers learn, in the order of the tasks."""

from collections.abc import Iterator
from contextlib import closing

from supermasks.training.learning import LearnApart, LearnedTask
from supermasks.workers import Workers


def learned_apart(job: LearnApart, workers: Workers) -> Iterator[LearnedTask]:
    """Yield the tasks of a job in their order, each as soon as it and all tasks before it were learned.

    Args:
        job: learns a task by its number.
        workers: do the job.

    Raises:
        WorkerError: workers were lost again and again.
        SupermasksError: everything that `learn_task` raises.
    """
    early, following = dict[int, LearnedTask](), 0
    with closing(workers.run(job, range(len(job.tasks)))) as results:
        for number, result in results:
            early[number] = result
            while following in early:
                yield early.pop(following)
                following += 1
