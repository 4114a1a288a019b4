"""SipHash-2-4 with 128 bits of output: a hash that nobody can aim at who doesn't know its key.

J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF" (2012); the wide output is that of the authors'
reference implementation (github.com/veorq/SipHash).
"""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, compiled, inlined
from ddb_lake.decoding.kernel.vectors import word

_8 = np.uint64(8)
_64 = np.uint64(64)


@inlined
def _rotate(value: Any, count: Any) -> Any:
    return (value << np.uint64(count)) | (value >> np.uint64(_64 - np.uint64(count)))


@inlined
def _round(a: Any, b: Any, c: Any, d: Any) -> Any:
    a += b
    b = _rotate(b, 13) ^ a
    a = _rotate(a, 32)
    c += d
    d = _rotate(d, 16) ^ c
    a += d
    d = _rotate(d, 21) ^ a
    c += b
    b = _rotate(b, 17) ^ c
    c = _rotate(c, 32)
    return a, b, c, d


@compiled
def siphash_texts(data: Array, bounds: Array, chosen: Array, key: Array, out: Array) -> None:
    """Hash some of many texts.

    Args:
        data: The bytes of all texts.
        bounds: Where each text begins, and at the end where the last one ends.
        chosen: The numbers of the texts to hash.
        key: 2 words of 64 bits without sign.
        out: A row of 2 such words for each chosen text.
    """
    for number in range(len(chosen)):
        at, end = np.int64(bounds[chosen[number]]), np.int64(bounds[chosen[number] + 1])
        last = np.uint64(end - at) << np.uint64(56)
        a = key[0] ^ np.uint64(0x736F6D6570736575)
        b = key[1] ^ np.uint64(0x646F72616E646F6D) ^ np.uint64(0xEE)
        c = key[0] ^ np.uint64(0x6C7967656E657261)
        d = key[1] ^ np.uint64(0x7465646279746573)
        while at <= end - 8:
            block = word(data, at)
            d ^= block
            a, b, c, d = _round(a, b, c, d)
            a, b, c, d = _round(a, b, c, d)
            a ^= block
            at += 8
        shift = np.uint64(0)
        while at < end:
            last |= np.uint64(data[at]) << shift
            shift += _8
            at += 1
        d ^= last
        a, b, c, d = _round(a, b, c, d)
        a, b, c, d = _round(a, b, c, d)
        a ^= last
        c ^= np.uint64(0xEE)
        for half in range(2):
            for _ in range(4):
                a, b, c, d = _round(a, b, c, d)
            out[number, half] = a ^ b ^ c ^ d
            b ^= np.uint64(0xDD)
