"""Ids that all have one `_key_hash`, as anybody can make them who may choose ids: the seed of XXH64 is no secret.

github.com/Cyan4973/xxHash, "XXH64 algorithm description": each lane of 8 bytes goes into an accumulator of its own,
one stripe of 32 bytes after the other. Whatever stands in a lane of one stripe, the same lane of the next can be
chosen so that the accumulator is what it would have been: what remains is to try until those bytes are printable.
"""

import itertools

import numpy as np
import numpy.typing as npt

P1, P2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
INVERSE_P2 = pow(P2, -1, 2**64)
STARTS = ((P1 + P2) % 2**64, P2, 0, -P1 % 2**64)
PRINTABLE = np.array([32 < byte < 127 and byte not in b'"\\' for byte in range(256)])

U64 = npt.NDArray[np.uint64]


def colliding_ids(count: int, name: str = "id", seed: int = 0) -> list[str]:
    """Return different ids of one hash, as the only key attribute of a table, of type S and called `name`.

    There are ways to fill each lane, and any of one lane goes with any of the others.
    """
    before = f'{{"{name}":{{"S":"'.encode()
    random = np.random.default_rng(seed)
    first = before + b"x" * (-len(before) % 32)
    ways = next(number for number in itertools.count(1) if number**4 >= count)
    lanes = [_ways(first, lane, ways, random) for lane in range(4)]
    texts = [
        first + b"".join(way[0] for way in each) + b"".join(way[1] for way in each)
        for each in itertools.islice(itertools.product(*lanes), count)
    ]
    return [text[len(before) :].decode() for text in texts]


def _ways(first: bytes, lane: int, count: int, random: np.random.Generator) -> list[tuple[bytes, bytes]]:
    """Return pairs of a lane's bytes in two stripes that leave its accumulator the same, behind a first stripe."""
    start = _accumulate(np.array([STARTS[lane]], np.uint64), np.frombuffer(first, "<u8")[lane : lane + 1])
    wanted = _accumulate(start, np.frombuffer(b"the same", "<u8")) + np.frombuffer(b" for all", "<u8") * np.uint64(P2)
    found: dict[bytes, bytes] = {}
    while len(found) < count:
        tried = random.integers(97, 123, (50_000, 8)).astype(np.uint8).view("<u8")[:, 0]
        answers = ((wanted - _accumulate(start, tried)) * np.uint64(INVERSE_P2)).view(np.uint8).reshape(-1, 8)
        for place in np.flatnonzero(PRINTABLE[answers].all(axis=1)).tolist():
            found.setdefault(tried[place : place + 1].tobytes(), answers[place].tobytes())
    return list(found.items())[:count]


def _accumulate(accumulator: U64, lanes: U64) -> U64:
    total = accumulator + lanes * np.uint64(P2)
    return ((total << np.uint64(31)) | (total >> np.uint64(33))) * np.uint64(P1)
