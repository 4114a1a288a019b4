"""The compiled SipHash is the one that its authors describe."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lake.decoding.kernel.keyed_hash import siphash_texts

KEY = bytes(range(16))


def hashed(texts: list[bytes], key: bytes = KEY) -> list[bytes]:
    out = np.zeros((len(texts), 2), np.uint64)
    data = np.frombuffer(b"".join(texts) + b"\0", np.uint8)
    bounds = np.cumsum([0, *map(len, texts)])
    siphash_texts(data, bounds, np.arange(len(texts)), np.frombuffer(key, "<u8"), out)
    return [row.tobytes() for row in out]


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45")],
)
def test_the_published_vectors(length: int, expected: str):
    """Of the reference implementation, `vectors.h`: the bytes 0, 1, 2 … by the key 0, 1 … 15."""
    assert hashed([bytes(range(length))]) == [bytes.fromhex(expected)]


@given(st.lists(st.binary(max_size=40), max_size=5), st.binary(min_size=16, max_size=16))
def test_every_text_is_hashed_as_the_description_says(texts: list[bytes], key: bytes):
    assert hashed(texts, key) == [described(each, key) for each in texts]


def described(text: bytes, key: bytes) -> bytes:
    """SipHash-2-4-128 in numbers of any size."""
    low, high = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    state = [
        low ^ int.from_bytes(b"somepseu", "big"),
        high ^ int.from_bytes(b"dorandom", "big") ^ 0xEE,
        low ^ int.from_bytes(b"lygenera", "big"),
        high ^ int.from_bytes(b"tedbytes", "big"),
    ]
    padded = text + bytes(-(len(text) + 1) % 8) + bytes([len(text) % 256])
    for at in range(0, len(padded), 8):
        block = int.from_bytes(padded[at : at + 8], "little")
        state[3] ^= block
        _rounds(state, 2)
        state[0] ^= block
    state[2] ^= 0xEE
    _rounds(state, 4)
    first = state[0] ^ state[1] ^ state[2] ^ state[3]
    state[1] ^= 0xDD
    _rounds(state, 4)
    second = state[0] ^ state[1] ^ state[2] ^ state[3]
    return first.to_bytes(8, "little") + second.to_bytes(8, "little")


def _rounds(state: list[int], count: int) -> None:
    for _ in range(count):
        for one, other, turn, swap in ((0, 1, 13, True), (2, 3, 16, False), (0, 3, 21, False), (2, 1, 17, True)):
            state[one] = (state[one] + state[other]) % 2**64
            state[other] = _turned(state[other], turn) ^ state[one]
            if swap:
                state[one] = _turned(state[one], 32)


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) % 2**64
