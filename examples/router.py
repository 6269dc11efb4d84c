"""A small service: tasks are added to a bank while it runs, and each input is routed to its task.

One object learns, another one answers. They share only the folder of the bank, so each could be a process of its own.
"""

from tempfile import TemporaryDirectory

import torch

import supermasks as sm

OUTPUTS, STEPS, IMAGES, HELD_OUT = 100, 150, 50, 100


def held_out(tasks: list[sm.Task]) -> dict[str, sm.Examples]:
    """Return examples of each task that no mask was trained on."""
    return {task.name: sm.Examples(*task.test.batch(torch.arange(HELD_OUT))) for task in tasks}


class Router:
    """Answers inputs of any task in a bank, and refuses those that seem to be of none."""

    def __init__(self, bank: str) -> None:
        self.bank, self.learner = sm.BankFolder(bank), sm.Learner.load(bank, sm.nets.lenet_300_100(outputs=OUTPUTS))

    def refresh(self, examples: dict[str, sm.Examples]) -> None:
        """Take in the tasks that are new in the folder, then measure again which inputs are typical of a task."""
        present = self.bank.open()
        for name in present.names[len(self.learner.tasks) :]:
            self.learner.add(present[name])
        self.learner.calibrate(examples, level=0.02)

    def answer(self, images: torch.Tensor) -> list[str]:
        """Return "task: label" for each image, or "unknown"."""
        found = self.learner.predict(images)
        answers = [f"{task}: {label}" for task, label in zip(found.tasks, found.labels, strict=True)]
        return ["unknown" if unknown else answer for answer, unknown in zip(answers, found.unknown, strict=True)]


def main() -> None:
    """Route the images of four tasks, then of a fifth, before and after it was learned."""
    *tasks, late = sm.data.PermutedStream(sm.datasets.load_source("sample"), tasks=5, seed=0)
    trainer = sm.Learner(sm.nets.lenet_300_100(outputs=OUTPUTS), seed=0, **sm.recipes.recognisable(steps=STEPS))
    images, _ = late.test.batch(torch.arange(HELD_OUT, HELD_OUT + IMAGES))
    with TemporaryDirectory() as folder:
        for task in tasks:
            trainer.learn(task)
        trainer.save(folder)
        router = Router(folder)
        router.refresh(held_out(tasks))
        print(f"before it is learned: {router.answer(images).count('unknown')} of {IMAGES} images are unknown")
        trainer.learn(late)
        router.bank.append(trainer.bank[late.name])
        router.refresh(held_out([*tasks, late]))
        routed = sum(answer.startswith(late.name) for answer in router.answer(images))
        print(f"afterwards: {routed} of {IMAGES} images are routed to {late.name}")


if __name__ == "__main__":
    main()
