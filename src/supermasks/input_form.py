"""How raw inputs became the tensors that the network sees."""

from enum import Enum


class InputForm(Enum):
    """What a task was learned from, so that later inputs are treated in the same way; the value is what a bank stores.

    Attributes:
        AS_IS: floating-point numbers, taken as they are, as float32.
        PIXELS: uint8 divided by 255, and images of PIL; `height x width` became `1 x height x width`.
        TOKEN_IDS: integers, taken as they are, as int64.
    """

    AS_IS = "as is"
    PIXELS = "pixels"
    TOKEN_IDS = "token ids"

    @property
    def words(self) -> str:
        """What such inputs are, for messages."""
        return {
            InputForm.AS_IS: "floating-point numbers, taken as they are",
            InputForm.PIXELS: "pixels of type uint8, divided by 255",
            InputForm.TOKEN_IDS: "token ids",
        }[self]
