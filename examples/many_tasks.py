"""Learn ten tasks one after the other, then recognise the task of inputs that nobody labelled.

Each task shows the same handwritten digits under its own permutation of the pixels.
"""

import torch

import supermasks as sm

TASKS, STEPS, IMAGES = 10, 150, 50


def main() -> None:
    """Learn, forget nothing, recognise."""
    tasks = sm.data.PermutedStream(sm.datasets.load_source("sample"), tasks=TASKS, seed=0)
    # 10 classes and 90 superfluous neurons: they help to tell tasks apart.
    learner = sm.Learner(sm.nets.lenet_300_100(outputs=100), seed=0, **sm.recipes.recognisable(steps=STEPS))

    first = tasks[0]
    learner.learn(first)
    images, digits = first.test.batch(torch.arange(IMAGES))
    before = learner.predict_proba(images, task=first.name)
    for task in list(tasks)[1:]:
        learner.learn(task)
    after = learner.predict_proba(images, task=first.name)
    print(f"first task, before and after the others: {'the same bits' if torch.equal(before, after) else 'changed'}")

    found = right = 0
    for task in tasks:
        images, digits = task.test.batch(torch.arange(IMAGES))
        prediction = learner.predict(images)  # no task is named: one gradient tells which it is
        for name, label, digit in zip(prediction.tasks, prediction.labels, digits.tolist(), strict=True):
            found += name == task.name
            right += name == task.name and label == digit
    total = TASKS * IMAGES
    print(f"{total} images of {TASKS} tasks, one at a time")
    print(f"task recognised: {100 * found / total:.1f}%")
    print(f"task and digit right: {100 * right / total:.1f}%")


if __name__ == "__main__":
    main()
