"""The server of a bank, and the same server with something else behind it: the plain module, or PEFT with LoRA.

    python benchmarks/serve_servers.py masks|plain|peft BANK [--max-wait-ms 2]

It prints its port. `benchmarks/serve.py` starts it.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supermasks import BankFolder
from supermasks.nets import lenet_300_100
from supermasks.serving import ServerSettings, Service, run
from supermasks.serving.batcher import Batcher
from supermasks.serving.jobs import Answers, Job, Named, Outcome

TOKEN = "a token for the load test"
RANK = 8


def backbone() -> nn.Module:
    return lenet_300_100(outputs=10)


def answers(jobs: Sequence[Named], logits: Tensor) -> list[Outcome]:
    confidence, classes = logits.softmax(dim=1).max(dim=1)
    sizes = [len(job.inputs) for job in jobs]
    parts = zip(jobs, classes.split(sizes), confidence.split(sizes), strict=True)
    return [Answers(job.state, of, sure) for job, of, sure in parts]


class Plain:
    """One module for every row: what the server costs without masks."""

    def __init__(self) -> None:
        self.module = backbone().eval()

    @torch.no_grad()
    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        named = [job for job in jobs if isinstance(job, Named)]
        return answers(named, self.module(torch.cat([job.inputs for job in named])))


class Peft:
    """LoRA adapters of PEFT, one for each task, with its own path for mixed batches (`adapter_names`)."""

    def __init__(self, names: Sequence[str]) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, target_modules=["1", "3", "5"], init_lora_weights=False)
        self.numbers = {name: f"task{number}" for number, name in enumerate(names)}
        self.model = get_peft_model(backbone(), config, adapter_name="task0")
        for adapter in list(self.numbers.values())[1:]:
            self.model.add_adapter(adapter, config)
        self.model.eval()

    @torch.no_grad()
    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        named = [job for job in jobs if isinstance(job, Named)]
        adapters = [self.numbers[job.state.name] for job in named for _ in range(len(job.inputs))]
        return answers(named, self.model(torch.cat([job.inputs for job in named]), adapter_names=adapters))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["masks", "plain", "peft"])
    parser.add_argument("bank")
    parser.add_argument("--max-wait-ms", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = ServerSettings(max_wait_ms=options.max_wait_ms, token=TOKEN, drain=0.0)
    service = Service(BankFolder(options.bank), backbone(), None, settings)
    if options.what != "masks":
        compute = Plain() if options.what == "plain" else Peft(list(service.snapshot.names))
        service.batcher = Batcher(settings, compute, service.metrics.computed)
    run(service, "127.0.0.1", 0, lambda address: print(address.rpartition(":")[2], flush=True))


if __name__ == "__main__":
    sys.exit(main())
