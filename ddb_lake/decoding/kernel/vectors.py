# pyright: basic
# What numba and llvmlite hand out has no types.
"""Loads and compares of many bytes at once, for which numba has no notation: LLVM instructions."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 32
"""Bytes that a vector compare looks at: arrays must be readable that far behind every position."""

_BYTE, _WORD, _LANES = ir.IntType(8), ir.IntType(64), ir.IntType(LANES)
_VECTOR = ir.VectorType(_BYTE, LANES)
_POSITION = ir.IntType(32)


def _instruction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make compiled code out of what a function generates when it is given the arguments' types."""
    return intrinsic(function)


def _load(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any) -> Any:
    data = make_array(array_type)(context, builder, array).data
    pointer = builder.bitcast(builder.gep(data, [at]), kind.as_pointer())
    return builder.load(pointer, align=1, typ=kind)


def _mask(builder: Any, bits: Any) -> Any:
    return builder.zext(builder.bitcast(bits, _LANES), _WORD)


@_instruction
def stops(typing_context: Any, data: Any, at: Any) -> Any:
    """Return which of the next 32 bytes end a run of plain text in a JSON string, as bits, the first lowest.

    They are the quote, the backslash and the control characters.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _load(context, builder, signature.args[0], args[0], args[1], _VECTOR)

        def each(value: int) -> Any:
            return ir.Constant(_VECTOR, [value] * LANES)

        found = builder.or_(
            builder.icmp_unsigned("==", lanes, each(0x22)),
            builder.or_(
                builder.icmp_unsigned("==", lanes, each(0x5C)), builder.icmp_unsigned("<", lanes, each(0x20))
            ),
        )
        return impl_ret_untracked(context, builder, signature.return_type, _mask(builder, found))

    return types.int64(data, at), generate


@_instruction
def beyond_ascii(typing_context: Any, data: Any, at: Any) -> Any:
    """Return which of the next 32 bytes are not ASCII, as bits, the first lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _load(context, builder, signature.args[0], args[0], args[1], _VECTOR)
        found = builder.icmp_signed("<", lanes, ir.Constant(_VECTOR, [0] * LANES))
        return impl_ret_untracked(context, builder, signature.return_type, _mask(builder, found))

    return types.int64(data, at), generate


@_instruction
def equal(typing_context: Any, data: Any, at: Any, byte: Any) -> Any:
    """Return which of the next 32 bytes are a certain one, as bits, the first lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _load(context, builder, signature.args[0], args[0], args[1], _VECTOR)
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), args[2], ir.Constant(_POSITION, 0))
        wanted = builder.shuffle_vector(
            first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_POSITION, LANES), [0] * LANES)
        )
        found = builder.icmp_unsigned("==", lanes, wanted)
        return impl_ret_untracked(context, builder, signature.return_type, _mask(builder, found))

    return types.int64(data, at, types.uint8), generate


@_instruction
def different(typing_context: Any, data: Any, first: Any, second: Any) -> Any:
    """Return which of the 32 bytes at two places are not the same, as bits, the first lowest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one, other = (
            _load(context, builder, signature.args[0], args[0], place, _VECTOR) for place in (args[1], args[2])
        )
        found = builder.icmp_unsigned("!=", one, other)
        return impl_ret_untracked(context, builder, signature.return_type, _mask(builder, found))

    return types.int64(data, first, second), generate


@_instruction
def move(typing_context: Any, data: Any, at: Any, out: Any, to: Any) -> Any:
    """Copy 32 bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _load(context, builder, signature.args[0], args[0], args[1], _VECTOR)
        target = make_array(signature.args[2])(context, builder, args[2]).data
        builder.store(lanes, builder.bitcast(builder.gep(target, [args[3]]), _VECTOR.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(data, at, out, to), generate


@_instruction
def ones(typing_context: Any, word: Any) -> Any:
    """Return how many bits are 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return impl_ret_untracked(context, builder, signature.return_type, builder.ctpop(args[0]))

    return types.int64(types.int64), generate


@_instruction
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """Return how many of the lowest bits are 0; the word has at least one that is 1."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count = builder.cttz(args[0], cgutils.true_bit)
        return impl_ret_untracked(context, builder, signature.return_type, count)

    return types.int64(types.int64), generate


@_instruction
def word(typing_context: Any, data: Any, at: Any) -> Any:
    """Return the next 8 bytes as a little-endian number without sign."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loaded = _load(context, builder, signature.args[0], args[0], args[1], _WORD)
        return impl_ret_untracked(context, builder, signature.return_type, loaded)

    return types.uint64(data, at), generate


@_instruction
def half_word(typing_context: Any, data: Any, at: Any) -> Any:
    """Return the next 4 bytes as a little-endian number without sign."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        loaded = _load(context, builder, signature.args[0], args[0], args[1], ir.IntType(32))
        wide = builder.zext(loaded, _WORD)
        return impl_ret_untracked(context, builder, signature.return_type, wide)

    return types.uint64(data, at), generate
