"""Which data files are to be folded into fewer: decided from their sizes and dead rows alone.

A row is written when its window is applied, again for each size class that it rises through, and once more for every
time that a file of full size has gathered too many dead rows. What that costs a changed byte is explained in
docs/replica.md.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ddb_lake.replica.delta_log import AddFile

PartitionValues = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class FoldPolicy:
    """When files are folded.

    Args:
        target_rows: Rows of a file of full size.
        fan: How many small files of one size class are folded at once.
        dead_share: From which share of dead rows on a file is rewritten.
        class_ratio: How many times as large as the smallest the largest file of a size class may be.
        target_bytes: Compressed bytes of a file of full size: it is full by its rows or by these.
    """

    target_rows: int = 1_000_000
    fan: int = 32
    dead_share: float = 0.4
    class_ratio: int = 32
    target_bytes: int = 128 * 1024 * 1024

    def weight(self, live_rows: int, live_bytes: float) -> int:
        """Return how large a file is, in rows: those of large items count as more."""
        return max(live_rows, int(live_bytes * self.target_rows / self.target_bytes))

    @property
    def full_weight(self) -> int:
        """From what weight on a file is left alone, but for its dead rows."""
        return max(1, self.target_rows // 4)

    def size_class(self, weight: int) -> int:
        """Return the class of a small file: each begins `class_ratio` times as large as the one before."""
        return int(math.log(max(1, weight), self.class_ratio))


@dataclass(frozen=True)
class Fold:
    """Files that are to become fewer.

    Args:
        paths: Of the files, as in the log.
        reason: Why, for people.
    """

    paths: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class _File:
    path: str
    weight: int
    dead_share: float


def plan_folds(files: Iterable[AddFile], policy: FoldPolicy) -> tuple[Fold, ...]:
    """Return the folds that are due, none of which share a file. Files of unknown size are left alone."""
    by_partition: dict[PartitionValues, list[_File]] = {}
    for each in files:
        if each.rows:
            dead_share = each.dead / each.rows
            weight = policy.weight(each.rows - each.dead, each.size * (1 - dead_share))
            file = _File(each.path, weight, dead_share)
            by_partition.setdefault(tuple(sorted(each.partition.items())), []).append(file)
    return tuple(fold for group in by_partition.values() for fold in _folds_of(group, policy))


def _folds_of(files: list[_File], policy: FoldPolicy) -> Iterator[Fold]:
    classes: dict[int, list[_File]] = {}
    dead: list[_File] = []
    for file in sorted(files, key=lambda each: (each.weight, each.path)):
        if file.weight < policy.full_weight:
            classes.setdefault(policy.size_class(file.weight), []).append(file)
        elif file.dead_share >= policy.dead_share:
            dead.append(file)
    for number, members in classes.items():
        # Small files wait for their class to fill, unless most of them is dead.
        if len(members) >= policy.fan:
            yield from _groups(members, policy, f"{len(members)} files of size class {number}")
        else:
            dead += [each for each in members if each.dead_share >= (1 + policy.dead_share) / 2]
    if dead:
        yield from _groups(dead, policy, f"{policy.dead_share:.0%} of the rows dead")


def _groups(files: list[_File], policy: FoldPolicy, reason: str) -> Iterator[Fold]:
    """Cut files into folds that each fit into memory: little more than a file of full size."""
    groups: list[list[_File]] = [[]]
    for file in files:
        if groups[-1] and sum(each.weight for each in groups[-1]) + file.weight > 1.5 * policy.target_rows:
            groups.append([])
        groups[-1].append(file)
    for group in groups:
        if len(group) > 1 or group[0].dead_share > 0:  # else the same file would come out
            yield Fold(tuple(each.path for each in group), reason)
