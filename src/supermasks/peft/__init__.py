"""Masks as adapters of PEFT: `get_peft_model(model, SupermaskConfig(drop=0.01))`. The extra is called `peft`.

Importing this package adds the method `SUPERMASK` to PEFT. Import it before you load an adapter of this kind.
"""

from supermasks.errors import MissingExtraError

try:
    import peft as _peft
except ImportError as error:
    raise MissingExtraError("masks as adapters take peft; install it with: pip install 'supermasks[peft]'") from error

from supermasks.peft.config import SupermaskConfig
from supermasks.peft.conversion import adapter_from_task, task_from_adapter
from supermasks.peft.layer import SupermaskLayer, SupermaskLinear
from supermasks.peft.model import SupermaskModel
from supermasks.peft.registration import register

del _peft
register(SupermaskConfig, SupermaskModel)

__all__ = [
    "SupermaskConfig",
    "SupermaskLayer",
    "SupermaskLinear",
    "SupermaskModel",
    "adapter_from_task",
    "task_from_adapter",
]
