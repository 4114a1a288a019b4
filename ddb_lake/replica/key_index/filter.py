"""A segment's filter: it tells of most hashes that are not in a data file that they are not, from 12 bits a row.

It is a Bloom filter whose bits of one hash are all in one word of 64 bits, so that a question costs one look. The
words are in the order of the hashes, so sorted hashes read it from its front to its end. Of 1,000 hashes that are not
in the file it lets about 10 through. What it says is relied on, so it is covered by checksums, one a page.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddb_lake.replica.checksum import crc32

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

BITS_A_ROW = 12
BITS_SET = 5
"""Of a hash's word: with 12 bits a row the number that lets the fewest through."""

PAGE_WORDS = 2048
"""Words that share a checksum: 16 KB."""

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Filter:
    """The filter of a file's hashes.

    Args:
        least: The least hash.
        most: The greatest.
        words: The bits.
        sums: CRC-32 of each page of them.
    """

    least: int
    most: int
    words: U64
    sums: tuple[int, ...]

    @staticmethod
    def of(hashes: I64) -> "Filter":
        """Return the filter of some hashes, which are in order and at least one."""
        least, most = int(hashes[0]), int(hashes[-1])
        words = np.zeros(words_for(len(hashes)), dtype="<u8")
        places = _places(hashes, least, most, len(words))
        begins = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1]]))
        words[places[begins]] = np.bitwise_or.reduceat(patterns(hashes), begins)
        pages = range(-(-len(words) // PAGE_WORDS))
        return Filter(least, most, words, tuple(_sum(words, page) for page in pages))

    def passing(self, hashes: I64, hash_patterns: U64) -> I64 | None:
        """Return the positions of those hashes that may be in the file; None if the filter is damaged.

        Args:
            hashes: In order.
            hash_patterns: Their `patterns`.
        """
        first = int(np.searchsorted(hashes, np.int64(self.least), "left"))
        last = int(np.searchsorted(hashes, np.int64(self.most), "right"))
        if first >= last:
            return np.zeros(0, dtype=np.int64)
        places = _places(hashes[first:last], self.least, self.most, len(self.words))
        wanted = hash_patterns[first:last]
        if not self._are_whole(places // PAGE_WORDS):
            return None
        return np.flatnonzero((self.words[places] & wanted) == wanted) + first

    def _are_whole(self, pages: I64) -> bool:
        """Tell whether pages are what was written, given their numbers in order, with repetitions."""
        touched = [int(pages[0]), *pages[1:][pages[1:] != pages[:-1]].tolist()]
        return all(_sum(self.words, page) == self.sums[page] for page in touched)


def words_for(count: int) -> int:
    """Return how many words the filter of so many rows has."""
    return -(-count * BITS_A_ROW // 64)


def patterns(hashes: I64) -> U64:
    """Return the bits of each hash in its word, the same in every filter."""
    mixed = hashes.view(np.uint64) * _MULTIPLIER
    found = np.zeros(len(hashes), dtype=np.uint64)
    for number in range(BITS_SET):
        found |= np.uint64(1) << ((mixed >> np.uint64(58 - 6 * number)) & np.uint64(63))
    return found


def _places(hashes: I64, least: int, most: int, words: int) -> I64:
    """Return each hash's word: hashes are spread evenly, so that where one is between the bounds tells it."""
    distances = (hashes.view(np.uint64) - np.uint64(least % 2**64)).astype(np.float64)
    return np.minimum((distances * (words / (most - least + 1))).astype(np.int64), words - 1)


def _sum(words: npt.NDArray[Any], page: int) -> int:
    return crc32(words[page * PAGE_WORDS : (page + 1) * PAGE_WORDS])
