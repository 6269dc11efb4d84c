"""The model card of a bank: a README.md that says what the bank holds and how to load it."""

import html
import re
from pathlib import Path

from supermasks.bank import BankFolder, MaskBank
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.brief import visible
from supermasks.files import storage, write_file
from supermasks.network import Network
from supermasks.parts_table import aligned, shape_in_words
from supermasks.sharing.hub import CARD, is_repository
from supermasks.state import TaskState

BEGIN = "<!-- written by supermasks; what you write between this line and the last one is lost -->"
END = "<!-- end of what supermasks writes -->"
ROWS = 1000
"""The most tasks that a card lists."""


def write_card(folder: Path, network: Network, bank: MaskBank, name: str) -> None:
    """Write the model card of a bank into its folder.

    In an existing card, only the part between two marks is replaced. A card without the marks was written by hand and
    stays unchanged.

    Args:
        folder: of the bank.
        network: of the bank.
        bank: the same as in the folder.
        name: to load the bank by.

    Raises:
        BankFormatError: the folder holds no bank, or one of its files is missing.
        StorageError: the card cannot be read or written.
    """
    file = folder / CARD
    section = f"{BEGIN}\n\n{_section(folder, network, bank, name)}\n\n{END}".encode()
    with storage(f"{file} cannot be read"):
        existing = file.read_bytes() if file.exists() else None
    if existing is None:
        card = f"{_front_matter(network)}\n# {_plain(name)}\n\n".encode() + section + b"\n"
    else:
        before, begin, rest = existing.partition(BEGIN.encode())
        _, end, after = rest.partition(END.encode())
        if not (begin and end):
            return
        card = before + section + after
    write_file(file, card)


def _front_matter(network: Network) -> str:
    lines = ["library_name: supermasks", "tags:", "- supermasks", "- continual-learning", "- pytorch"]
    if isinstance(network.base, PretrainedBase) and is_repository(network.base.source):
        lines.append(f"base_model: {network.base.source}")
    return "\n".join(["---", *lines, "---"])


def _section(folder: Path, network: Network, bank: MaskBank, name: str) -> str:
    return "\n".join(
        [
            f"One network with fixed weights, and a binary mask for each of {len(bank):,} tasks, "
            "learned with `supermasks`.",
            "",
            "## How to load it",
            "",
            *_loading(network, bank, name),
            "",
            "## What it is built on",
            "",
            *_foundations(folder, network),
            "",
            "## Tasks",
            "",
            *_tasks(folder, bank),
        ]
    )


def _loading(network: Network, bank: MaskBank, name: str) -> list[str]:
    # Names that could end the string, the block or this section are left out.
    tasks = [task for task in bank.names if re.fullmatch(r"[\w .:/-]+", task)]
    first = tasks[0] if tasks else "..."
    loaded = name if re.fullmatch(r"[\w ./-]+", name) else "..."
    lines = [
        "```python",
        "import supermasks as sm",
        "",
        f"backbone = ...  # a {network.architecture} with the parameters listed below",
        f'learner = sm.Learner.from_pretrained("{loaded}", backbone)',
    ]
    if len(bank):
        lines.append(f'learner.predict(inputs, task="{first}").labels  # the task is known')
        lines.append(f'module = learner.export("{first}")  # one task as a plain module of torch')
    return [*lines, "```", "", "The code of the backbone is not part of the bank."]


def _foundations(folder: Path, network: Network) -> list[str]:
    sizes = BankFolder(folder).sizes()
    memory, moments = (
        sum(size for file, size in sizes.items() if file.startswith(kind)) for kind in ("memory-", "moments-")
    )
    masked = sum(weight.numel() for weight in network.weights.values())
    origin = "pass an equal one as `base`, since its class is not part of the library"
    if isinstance(network.base, RandomBase):
        origin = "the initial values of the backbone do not matter"
    elif isinstance(network.base, PretrainedBase):
        origin = "load these weights into the backbone first"
    head = f", and each task has its own `{network.head}`" if network.head is not None else ""
    also = f"; {memory:,} of them only to learn more tasks" if memory else ""
    also += f"; {moments:,} of them so that a router recognises tasks" if moments else ""
    return [
        f"- Backbone: `{network.architecture}`; masks select among {masked:,} weights{head}",
        f"- Base: {_plain(repr(network.base))}; {origin}",
        f"- Fingerprint of the base: `{network.fingerprint}`",
        f"- Statistics of batch normalisation: `{network.norm}`",
        f"- Bytes: {sum(sizes.values()):,} in all{also}",
        "",
        "<details><summary>Parameters</summary>",
        "",
        "```",
        *_parameters(network),
        "```",
        "",
        "</details>",
    ]


def _parameters(network: Network) -> list[str]:
    parts = [part for part in network.parts if part.role != "buffer"]
    return aligned([(part.name, shape_in_words(part), part.role) for part in parts])


def _tasks(folder: Path, bank: MaskBank) -> list[str]:
    if not len(bank):
        return ["No task was learned yet."]
    sizes, owned = BankFolder(folder).task_sizes(), bool(bank.owners)
    columns = ["Task", "Classes", "Weights kept", *(["Weights trained"] if owned else []), "Bytes"]
    lines = ["| " + " | ".join(columns) + " |", "| --- | --- |" + " ---: |" * (len(columns) - 2)]
    for name in bank.names[:ROWS]:
        state = bank[name]
        kept = f"{state.mask.count():,} ({state.mask.density():.2%})"
        trained = [f"{state.owned.mask.count():,}" if state.owned is not None else "0"] if owned else []
        lines.append("| " + " | ".join([_plain(name), _classes(state), kept, *trained, f"{sizes[name]:,}"]) + " |")
    if len(bank) > ROWS:
        lines += ["", f"and {len(bank) - ROWS:,} more."]
    return lines


def _classes(state: TaskState) -> str:
    names = [label if isinstance(label, str) and label.strip() else repr(label) for label in state.classes[:8]]
    shown = ", ".join(_plain(name if len(name) <= 40 else name[:39] + "…") for name in names)
    return f"{len(state.classes):,}: {shown}{', …' if len(state.classes) > 8 else ''}"


def _plain(text: str) -> str:
    """Return a text on one line, escaped for Markdown."""
    return re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", html.escape(visible(" ".join(text.split())), quote=False))
