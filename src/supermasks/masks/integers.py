"""Signed integers as few bytes: small ones take one."""

from supermasks.errors import MaskError


def signed(number: int) -> bytes:
    """Return a signed integer as seven bits a byte, low bits first; the eighth bit says that more bytes follow."""
    number, code = 2 * number if number >= 0 else -2 * number - 1, bytearray()
    while number > 127:
        code.append(number & 127 | 128)
        number >>= 7
    return bytes([*code, number])


def read_signed(content: bytes, count: int) -> tuple[list[int], bytes]:
    """Return the integers that some bytes begin with, and the other bytes.

    Raises:
        MaskError: the bytes end before, or a number has more than 64 bits.
    """
    numbers, place = list[int](), 0
    for _ in range(count):
        number, shift = 0, 0
        while True:
            if place >= len(content) or shift > 63:
                raise MaskError("the coded mask is cut off, or belongs to other parameters")
            byte = content[place]
            number, shift, place = number | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                break
        numbers.append(number // 2 if number % 2 == 0 else -(number + 1) // 2)
    return numbers, content[place:]
