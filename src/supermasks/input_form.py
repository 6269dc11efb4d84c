"""How raw inputs become the tensors of the network."""

from enum import Enum


class InputForm(Enum):
    """The form of the raw inputs of a task, so that later inputs are treated the same; a bank stores the value.

    Attributes:
        AS_IS: floating-point numbers, unchanged, as float32.
        PIXELS: uint8 or PIL images, divided by 255; `height x width` becomes `1 x height x width`.
        TOKEN_IDS: integers, unchanged, as int64.

    Example:
        >>> InputForm("pixels").words
        'pixels of type uint8, divided by 255'
    """

    AS_IS = "as is"
    PIXELS = "pixels"
    TOKEN_IDS = "token ids"

    @property
    def words(self) -> str:
        """A description, for messages."""
        return {
            InputForm.AS_IS: "floating-point numbers, taken as they are",
            InputForm.PIXELS: "pixels of type uint8, divided by 255",
            InputForm.TOKEN_IDS: "token ids",
        }[self]
