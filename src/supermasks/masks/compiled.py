"""Products with packed masks in machine code, compiled on first use by numba (extra `fast`).

A vector of 16 weights takes 16 bits of a mask as its lane mask. So a masked product reads each weight and each bit
once, and never writes a masked weight. Where the processor has no lane masks, LLVM makes other instructions for the
same operations.

Addresses of arrays are passed as integers. `supermasks.masks.row_products` makes them, and checks shapes and types.
"""

# numba and llvmlite have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import int64, njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
ROWS, OUTPUTS = 4, 2
"""Four inputs and two outputs at a time: their eight sums stay in registers."""

BLOCK = 16
"""Outputs at a time: their weights stay in the cache while all rows pass."""

LINE = 64
"""Bytes that a processor reads at once."""

_FLOAT, _ADDRESS, _WORD, _BYTE = ir.FloatType(), ir.IntType(64), ir.IntType(32), ir.IntType(8)
_FLOATS, _BITS = ir.VectorType(_FLOAT, LANES), ir.VectorType(ir.IntType(1), LANES)
_POINTER = ir.PointerType()
_ZEROS = ir.Constant(_FLOATS, [0.0] * LANES)


class _Code:
    """Writes the instructions of one function."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def sum(self, *numbers: Any) -> Any:
        total = numbers[0]
        for number in numbers[1:]:
            total = self.builder.add(total, number)
        return total

    def pointer(self, address: Any, size: int, place: Any) -> Any:
        """Return a pointer to entry `place` of an array of entries of `size` bytes."""
        return self.builder.inttoptr(self.sum(address, self.builder.mul(place, _ADDRESS(size))), _POINTER)

    def floats(self, address: Any, place: Any) -> Any:
        """Load 16 floats."""
        load = self.builder.load(self.pointer(address, 4, place), typ=_FLOATS)
        load.align = 4
        return load

    def some_floats(self, address: Any, place: Any, lanes: Any) -> Any:
        """Load the floats of some lanes, and 0 for the others, whose memory is not touched."""
        kind = ir.FunctionType(_FLOATS, [_POINTER, _WORD, _BITS, _FLOATS])
        load = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return self.builder.call(load, [self.pointer(address, 4, place), _WORD(4), lanes, _ZEROS])

    def bits(self, address: Any, first: Any, aligned: bool) -> Any:
        """Load 16 bits of a packed mask. No byte is read that holds none of them, unless the mask goes on."""
        builder, byte = self.builder, self.builder.lshr(first, _ADDRESS(3))
        word = builder.load(self.pointer(address, 1, byte), typ=ir.IntType(16))
        word.align = 1
        if not aligned:
            third = builder.load(self.pointer(address, 1, self.sum(byte, _ADDRESS(2))), typ=_BYTE)
            high = builder.shl(builder.zext(third, _WORD), _WORD(16))
            word = self._shifted(builder.or_(high, builder.zext(word, _WORD)), first)
        return builder.bitcast(word, _BITS)

    def last_bits(self, address: Any, first: Any, count: Any) -> Any:
        """Load fewer than 16 bits of a packed mask, followed by zeros. No byte after the last of them is read."""
        builder, byte = self.builder, self.builder.lshr(first, _ADDRESS(3))
        last = builder.lshr(self.sum(first, count, _ADDRESS(-1)), _ADDRESS(3))
        word = _WORD(0)
        for number in range(3):
            place = self.sum(byte, _ADDRESS(number))
            place = builder.select(builder.icmp_unsigned("<", place, last), place, last)
            value = builder.zext(builder.load(self.pointer(address, 1, place), typ=_BYTE), _WORD)
            word = builder.or_(word, builder.shl(value, _WORD(8 * number)))
        kept = builder.and_(self._shifted(word, first), self._ones(count))
        return builder.bitcast(kept, _BITS)

    def first_lanes(self, count: Any) -> Any:
        return self.builder.bitcast(self._ones(count), _BITS)

    def multiplied(self, a: Any, b: Any, total: Any) -> Any:
        """Return `a b + total`, by one instruction where there is one."""
        kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
        multiply = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        return self.builder.call(multiply, [a, b, total])

    def lanes_sum(self, vector: Any) -> Any:
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS])
        reduce = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return self.builder.call(reduce, [_FLOAT(0.0), vector], fastmath=("reassoc",))

    def _ones(self, count: Any) -> Any:
        """Return 16 bits of which the lowest `count` are 1."""
        one = self.builder.shl(_WORD(1), self.builder.trunc(count, _WORD))
        return self.builder.trunc(self.builder.sub(one, _WORD(1)), ir.IntType(16))

    def _shifted(self, word: Any, first: Any) -> Any:
        shift = self.builder.trunc(self.builder.and_(first, _ADDRESS(7)), _WORD)
        return self.builder.trunc(self.builder.lshr(word, shift), ir.IntType(16))


def _write_tile(builder: Any, arguments: Sequence[Any], rows: int, outputs: int, aligned: bool) -> None:
    """Write the instructions for the masked products of some inputs with some outputs."""
    code = _Code(builder)
    weight, inputs, masks, results, output, size, width = arguments
    each = [(r, o) for r in range(rows) for o in range(outputs)]
    starts = [builder.mul(code.sum(output, _ADDRESS(o)), size) for o in range(outputs)]
    bits = [builder.load(code.pointer(masks, 8, _ADDRESS(r)), typ=_ADDRESS) for r in range(rows)]
    of_row = [builder.mul(_ADDRESS(r), size) for r in range(rows)]
    sums = {which: cgutils.alloca_once_value(builder, _ZEROS) for which in each}

    def add(r: int, o: int, kept: Any, value: Any) -> None:
        builder.store(code.multiplied(kept, value, builder.load(sums[r, o], typ=_FLOATS)), sums[r, o])

    stop = builder.sub(size, _ADDRESS(LANES - 1))
    with cgutils.for_range_slice(builder, _ADDRESS(0), stop, _ADDRESS(LANES)) as (i, _):
        values = [code.floats(inputs, code.sum(of_row[r], i)) for r in range(rows)]
        for o, start in enumerate(starts):
            place = code.sum(start, i)
            weights = code.floats(weight, place)
            for r in range(rows):
                add(r, o, builder.select(code.bits(bits[r], place, aligned), weights, _ZEROS), values[r])
    rest = builder.and_(size, _ADDRESS(LANES - 1))
    with builder.if_then(builder.icmp_unsigned("!=", rest, _ADDRESS(0))):
        i = builder.sub(size, rest)
        lanes = code.first_lanes(rest)
        for r in range(rows):
            value = code.some_floats(inputs, code.sum(of_row[r], i), lanes)
            for o, start in enumerate(starts):
                place = code.sum(start, i)
                add(r, o, code.some_floats(weight, place, code.last_bits(bits[r], place, rest)), value)
    for r, o in each:
        total = code.lanes_sum(builder.load(sums[r, o], typ=_FLOATS))
        place = code.sum(builder.mul(_ADDRESS(r), width), output, _ADDRESS(o))
        builder.store(total, code.pointer(results, 4, place)).align = 4


def _tile(rows: int, outputs: int, aligned: bool) -> Callable[..., None]:
    @intrinsic
    def tile(typing, weight, inputs, masks, results, output, size, width):
        del typing, weight, inputs, masks, results, output, size, width

        def make(context, builder, signature, arguments):
            del context, signature
            _write_tile(builder, arguments, rows, outputs, aligned)

        return types.void(*[uint64] * 4, *[int64] * 3), make

    return tile


def _strip(rows: int, aligned: bool) -> Callable[..., None]:
    """Return a function for the masked products of `rows` inputs with the outputs from `begin` to `end`."""
    pair, single = _tile(rows, OUTPUTS, aligned), _tile(rows, 1, aligned)

    @njit(nogil=True)
    def strip(weight, inputs, masks, results, begin, end, size, width):
        output = begin
        while output + OUTPUTS <= end:
            pair(weight, inputs, masks, results, output, size, width)
            output += OUTPUTS
        if output < end:
            single(weight, inputs, masks, results, output, size, width)

    return strip


_four, _four_aligned, _one, _one_aligned = (_strip(rows, aligned) for rows in (ROWS, 1) for aligned in (False, True))


@intrinsic
def _prefetch(typing, address):
    """Ask for 64 bytes that are needed soon."""
    del typing, address

    def make(context, builder, signature, arguments):
        del context, signature
        kind = ir.FunctionType(ir.VoidType(), [_POINTER, _WORD, _WORD, _WORD])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [builder.inttoptr(arguments[0], _POINTER), _WORD(0), _WORD(3), _WORD(1)])

    return types.void(uint64), make


@intrinsic
def _address_at(typing, addresses, place):
    """Return an entry of an array of addresses."""
    del typing, addresses, place

    def make(context, builder, signature, arguments):
        del context, signature
        return builder.load(_Code(builder).pointer(arguments[0], 8, arguments[1]), typ=_ADDRESS)

    return uint64(uint64, int64), make


@njit(nogil=True)
def products(weight, inputs, masks, results, rows, outputs, size):
    """Write `(W * M_r) x_r` for each row `r`.

    Args:
        weight: the address of `outputs x size`, float32.
        inputs: the address of `rows x size`, float32.
        masks: the address of `rows` addresses: those of the packed bits of the mask of each row.
        results: the address of `rows x outputs`, float32.
        rows: their number.
        outputs: of the layer.
        size: the number of inputs of the layer.
    """
    aligned = size % 8 == 0
    for begin in range(0, outputs, BLOCK):
        end = min(begin + BLOCK, outputs)
        row = 0
        while row < rows:
            four = row + ROWS <= rows
            for later in range(row + ROWS, min(row + 2 * ROWS, rows)):
                for byte in range(begin * size // 8, end * size // 8, LINE):
                    _prefetch(_address_at(masks, later) + uint64(byte))  # pyright: ignore[reportCallIssue]
            x, m, y = inputs + uint64(4 * row * size), masks + uint64(8 * row), results + uint64(4 * row * outputs)
            if four and aligned:
                _four_aligned(weight, x, m, y, begin, end, size, outputs)
            elif four:
                _four(weight, x, m, y, begin, end, size, outputs)
            elif aligned:
                _one_aligned(weight, x, m, y, begin, end, size, outputs)
            else:
                _one(weight, x, m, y, begin, end, size, outputs)
            row += ROWS if four else 1


@intrinsic
def _keep(typing, weight, bits, result, place):
    """Write 16 masked weights."""
    del typing, weight, bits, result, place

    def make(context, builder, signature, arguments):
        del context, signature
        weight, bits, result, place = arguments
        code = _Code(builder)
        lanes = code.bits(bits, place, aligned=True)
        ones = builder.select(lanes, ir.Constant(_FLOATS, [1.0] * LANES), _ZEROS)
        # A product, as in torch: a negative weight becomes -0.
        builder.store(builder.fmul(code.floats(weight, place), ones), code.pointer(result, 4, place)).align = 4

    return types.void(uint64, uint64, uint64, int64), make


@njit(nogil=True)
def masked(weight, bits, result, size):
    """Write `W * M` for as many weights as fill whole vectors; the caller does the rest.

    Args:
        weight: the address of `size` weights, float32.
        bits: the address of the packed mask.
        result: the address of as many floats.
        size: the number of weights.
    """
    for place in range(0, size - LANES + 1, LANES):
        _keep(weight, bits, result, place)  # pyright: ignore[reportCallIssue]
