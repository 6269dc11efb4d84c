"""Makes a method known to PEFT.

PEFT has `register_peft_method`, which accepts only names in its enum `PeftType`. So the name is added to the enum
first, the way `enum` itself stores members.
"""

from typing import Any

from peft import PeftType
from peft.utils import register_peft_method

NAME = "SUPERMASK"


def register(config: type[Any], model: type[Any]) -> None:
    """Register a method with PEFT.

    Args:
        config: the class of its settings.
        model: the class of its tuner.
    """
    peft_type()
    register_peft_method(name=NAME.lower(), config_cls=config, model_cls=model)


def peft_type() -> Any:
    """Return the member of `PeftType` for this method; it is added at the first call."""
    kind: Any = PeftType
    if NAME not in kind.__members__:
        member = str.__new__(kind, NAME)
        member._name_ = member._value_ = NAME
        member._sort_order_ = len(kind.__members__)
        member.__objclass__ = kind
        setattr(kind, NAME, member)  # before it is a member: a member cannot be set
        kind._member_names_.append(NAME)
        kind._member_map_[NAME] = member
        kind._value2member_map_[NAME] = member
    return kind[NAME]
