"""Histories of everything that may happen to a replica, against a dictionary: none may make a difference.

Windows in any order, repeated, overlapped; crashes at every step; lost answers; folds, vacuums, checkpoints,
forgotten commits, lost and damaged indexes, moves between the strategies, later bootstraps, partitions.
`make test-replica-1000` runs a thousand of them.
"""

import contextlib
import os
import shutil
import tempfile
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ddb_lake.replica import DatePart, HashBucket, PartitionColumn
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.strategy import Strategy
from ddb_lake.windows import Window, missing
from ddb_lake_tests.replica.faulty import Crash, Fault, faulty
from ddb_lake_tests.replica.histories import Change, Key, Lake, T, exported, forget_commits, minute, state, us, window
from ddb_lake_tests.replica.readers import by_delta_rs, by_kernel, by_polars, by_the_protocol, ordered
from ddb_lake_tests.replica.test_convergence import (
    FIRST,
    LAST,
    applicable,
    bootstrapped,
    histories,
    splits,
    windows,
)

HISTORIES = int(os.environ.get("DDB_LAKE_HISTORIES", "0"))
"""How many histories are tried; by default few, always the same."""

PARTS = min(20, HISTORIES // 10) or 1
"""Of the histories, for as many processes as there are."""

NAMES = ["_key_hash", "_write_time_us", "_tie_break", "id", "seq", "seq__decimal", "value"]

POLICIES = st.sampled_from([FoldPolicy(8, 2, 0.3, 2), FoldPolicy(1000, 2, 0.1, 1000)])
"""Two that fold whatever they may: into files of full size soon, and into one."""

faults = st.builds(
    Fault,
    st.integers(0, 6),
    st.sampled_from(["before", "after"]),
    st.sampled_from([Crash("the process dies"), OSError("No space left on device"), TimeoutError("no answer")]),
)


SEQUENCES = (1, 2, Decimal("1.5"))

KEYS = {
    "hashes collide": [Key(name, seq) for name in ("a", "b", "cc", "dd") for seq in SEQUENCES],
    "hashes are spread": [Key(name, seq) for name in ("~a", "~b", "~cc", "~dd", "~e", "~f") for seq in SEQUENCES],
}

PARTITIONINGS: list[tuple[PartitionColumn, ...]] = [
    (),
    (),
    (HashBucket(2),),
    (DatePart("value", "day"),),
    (DatePart("value", "day"), HashBucket(3)),
]


def dense_history(seed: int, keys: list[Key], deletes: float) -> list[Change]:
    """A history in which writes meet at the same microsecond, of values that begin with one of three days."""
    random = Random(seed)
    changes: list[Change] = []
    for number in range(90):
        deleted = random.random() < deletes
        at = us(random.randrange(FIRST, LAST))
        value, tie = (None, 0) if deleted else (f"2026-11-0{number % 3 + 1} {number}", random.randrange(99))
        changes.append(Change(random.choice(keys), at, value, tie))
    return changes


@st.composite
def narrow_windows(draw: st.DrawFn) -> Window:
    """Short ones, so that there is something left to apply."""
    start = draw(st.integers(0, LAST - 1))
    return window(start, min(LAST, start + draw(st.integers(1, 8))))


class ReplicaMachine(RuleBasedStateMachine):
    """One replica's life."""

    folder: str

    @initialize(
        seed=st.integers(0, 2**32),
        first=st.sampled_from([Strategy.DELETION_VECTORS, *Strategy]),
        keys=st.sampled_from(sorted(KEYS)),
        deletes=st.sampled_from([0.2, 0.5]),
        partitioning=st.sampled_from(PARTITIONINGS),
    )
    def bootstrap(
        self, seed: int, first: Strategy, keys: str, deletes: float, partitioning: tuple[PartitionColumn, ...]
    ) -> None:
        self.folder = tempfile.mkdtemp()
        self.history = dense_history(seed, KEYS[keys], deletes)
        self.tables, self.items = bootstrapped(self.folder, self.history, partitioning)
        self.since, self.reached, self.bootstraps = T, T, 1
        self.forgetful = self.log_forgot = False
        self.tables.replica.convert(first)

    def decode(self, span: Window) -> None:
        self.tables.decode(span, exported(self.history, span))

    def decode_holes(self, span: Window) -> None:
        end = minute(LAST) if self.log_forgot else max(span.end, self.since + timedelta(minutes=1))
        since = Window(max(span.start, self.since), end)
        for hole in missing(since, applicable(self.tables, self.since)):
            self.decode(hole)

    def check(self) -> None:
        """Compare, if what is covered has no hole, and nothing later was applied and forgotten."""
        covered = self.tables.replica.coverage()
        if len(covered) == 1 and covered[0].start == self.since and covered[0].end >= self.reached:
            assert self.tables.items() == state(self.items, self.history, covered[0].end)

    @invariant()
    def is_tidy(self) -> None:
        """What readers may not see, and the protocol forbids or costs for nothing."""
        snapshot = self.tables.replica.snapshot()
        assert snapshot is not None
        copied = self.tables.replica.strategy() is Strategy.COPY_ON_WRITE
        for file in snapshot.files.values():
            assert file.dead < (1 if copied else file.rows or 1)

    @rule(span=windows())
    def decode_a_window(self, span: Window) -> None:
        self.decode(span)

    @rule(span=narrow_windows())
    def apply_a_window(self, span: Window) -> None:
        self.decode_holes(span)
        done = self.tables.replica.apply(span)
        assert done.rows_after == len(self.rows())
        self.check()

    @rule(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), policy=st.none() | POLICIES)
    def apply_the_next_windows(self, sizes: list[int], policy: FoldPolicy | None) -> None:
        """Go on from what is covered, so that the state is known; perhaps with a fold after each window."""
        for minutes in sizes:
            self.apply_the_next_window(minutes)
            if policy is not None:
                self.unchanged(lambda: self.tables.replica.maintain(policy))

    def apply_the_next_window(self, minutes: int) -> None:
        covered = self.tables.replica.coverage()
        start = covered[0].end if covered and covered[0].start == self.since else self.since
        if start < minute(LAST):
            self.apply_a_window(Window(start, min(start + timedelta(minutes=minutes), minute(LAST))))

    @rule(span=narrow_windows(), fault=faults)
    def apply_a_window_with_a_fault(self, span: Window, fault: Fault) -> None:
        self.decode_holes(span)
        with contextlib.suppress(Crash, OSError):
            faulty(self.tables, fault)[0].apply(span)
        self.check()

    @rule(policy=POLICIES)
    def maintain(self, policy: FoldPolicy) -> None:
        self.unchanged(lambda: self.tables.replica.maintain(policy))

    @rule(policy=POLICIES, fault=faults)
    def maintain_with_a_fault(self, policy: FoldPolicy, fault: Fault) -> None:
        def broken() -> None:
            with contextlib.suppress(Crash, OSError):
                faulty(self.tables, fault)[0].maintain(policy)

        self.unchanged(broken)

    @rule(work=POLICIES | st.sampled_from(list(Strategy)), minutes=st.integers(1, 9))
    def apply_a_window_during_another_work(self, work: FoldPolicy | Strategy, minutes: int) -> None:
        """A fold or a conversion is written, the window is committed, then the other."""
        self.apply_the_next_window(3)
        replica, store = faulty(self.tables, None)
        commit, rivals = store.put_if_absent, [minutes]

        def late(path: str, data: bytes) -> bool:
            if rivals:
                self.apply_the_next_window(rivals.pop())
            return commit(path, data)

        store.put_if_absent = late  # type: ignore[method-assign]
        if isinstance(work, FoldPolicy):
            replica.maintain(work)
        else:
            replica.convert(work)
        self.check()

    @rule(minutes=st.integers(1, LAST - 1), fault=st.none() | faults)
    def bootstrap_anew(self, minutes: int, fault: Fault | None) -> None:
        """A later full export, whose commit replaces everything, or which breaks off and changes nothing."""
        time = minute(minutes)
        if time <= self.since:
            return
        self.bootstraps += 1
        replica, _ = faulty(self.tables, fault)
        items = state(self.items, self.history, time)
        before = self.tables.items()
        with contextlib.suppress(Crash, OSError):
            Lake(self.tables.log, replica).bootstrap(items, f"{self.bootstraps:02}-export", time)
        if self.tables.replica.bootstrap_time() == time:
            self.since = self.reached = time
            before = items
        assert self.tables.items() == before

    @rule()
    def forget_what_was_committed(self) -> None:
        """The cleanup of the log leaves the first stretch only of what is known to be covered."""
        before = ordered(self.rows())
        self.reached = max([self.reached, *(each.end for each in self.tables.replica.coverage())])
        self.forgetful = True
        forget_commits(self.tables.replica.location)
        assert ordered(self.rows()) == before
        self.check()

    @rule()
    def forget_what_was_decoded(self) -> None:
        """The same of the change log: what later windows hold may have to be decoded again from then on."""
        if self.tables.log.coverage():
            self.log_forgot = True
            self.unchanged(lambda: forget_commits(self.tables.log.location))

    @rule()
    def vacuum_all_that_is_not_needed(self) -> None:
        """As if all of it were old, and removed files needed by nobody."""
        then = time.time() - 90 * 86400
        for path in Path(self.tables.replica.location.uri).rglob("*"):
            if path.is_file() and "_delta_log" not in path.parts:
                os.utime(path, (then, then))
        self.unchanged(self.tables.replica.maintain)

    @rule()
    def write_a_checkpoint(self) -> None:
        self.unchanged(DeltaTable(self.tables.replica.location.uri).create_checkpoint)

    @rule(which=st.integers(0, 10_000), damage=st.sampled_from(["lose", "flip", "cut", "swap"]))
    def damage_the_index(self, which: int, damage: str) -> None:
        segments = sorted((Path(self.tables.replica.location.uri) / "_idx").glob("*"))
        if not segments:
            return
        segment = segments[which % len(segments)]
        data = bytearray(segment.read_bytes())
        if not data:  # cut already
            damage = "lose"
        match damage:
            case "lose":
                segment.unlink()
            case "flip":
                data[which * 7919 % len(data)] ^= 1 << which % 8
                segment.write_bytes(bytes(data))
            case "cut":
                segment.write_bytes(bytes(data[: which * 13 % len(data)]))
            case _:
                segment.write_bytes(segments[(which + 1) % len(segments)].read_bytes())

    @rule(there=st.sampled_from(list(Strategy)))
    def convert(self, there: Strategy) -> None:
        self.unchanged(lambda: self.tables.replica.convert(there))
        assert self.tables.replica.strategy() is there

    @rule(there=st.sampled_from(list(Strategy)), fault=faults)
    def convert_with_a_fault(self, there: Strategy, fault: Fault) -> None:
        def broken() -> None:
            with contextlib.suppress(Crash, OSError):
                faulty(self.tables, fault)[0].convert(there)

        self.unchanged(broken)

    @precondition(lambda self: hasattr(self, "tables"))
    @rule()
    def read_by_several(self) -> None:
        uri = self.tables.replica.location.uri
        rows = ordered(by_kernel(uri, NAMES) if self.forgetful else by_the_protocol(uri, NAMES))
        assert rows == ordered(by_polars(uri, NAMES)) == ordered(by_delta_rs(uri, NAMES))
        assert len(rows) == self.tables.replica.count()

    def unchanged(self, work: Any) -> None:
        """Do what must change no row and no coverage."""
        before, covered = ordered(self.rows()), self.tables.replica.coverage()
        work()
        assert ordered(self.rows()) == before
        assert self.tables.replica.coverage() == covered

    def rows(self) -> list[tuple[Any, ...]]:
        return by_polars(self.tables.replica.location.uri, NAMES)

    def teardown(self) -> None:
        if not hasattr(self, "tables"):
            return
        # Only what is missing: to apply a window again might heal what went wrong.
        for hole in missing(Window(self.since, minute(LAST)), self.tables.replica.coverage()):
            self.decode_holes(hole)
            self.tables.replica.apply(hole)
        assert self.tables.items() == state(self.items, self.history, minute(LAST))
        assert self.tables.replica.coverage() == (Window(self.since, minute(LAST)),)
        shutil.rmtree(self.folder)


@pytest.fixture(autouse=True, scope="module")
def once(strategy: Strategy) -> None:
    """These tests choose the strategies themselves, so that one of the package's two rounds is enough."""
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("both strategies are in each history")


CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_makes_a_difference(part: int):
    run_state_machine_as_test(
        ReplicaMachine,
        settings=settings(
            max_examples=HISTORIES // PARTS or 6,
            stateful_step_count=14,
            deadline=None,
            derandomize=not HISTORIES,
            suppress_health_check=CALM,
        ),
    )


@settings(
    max_examples=max(8, HISTORIES // 10),
    deadline=None,
    derandomize=not HISTORIES,
    suppress_health_check=CALM,
)
@given(histories(), st.lists(windows(), max_size=5), splits(), st.data())
def test_both_strategies_make_the_same_rows_of_the_same_windows(
    history: list[Change], early: list[Window], split: list[Window], data: st.DataObject
):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        lakes = [bootstrapped(folder, history)[0] for folder in (one, other)]
        for tables, there in zip(lakes, Strategy, strict=True):
            tables.replica.convert(there)
        order = [*early, *data.draw(st.permutations(split))]
        for span in order:
            found: list[Any] = []
            for tables in lakes:
                tables.decode(span, exported(history, span))
                since = Window(max(span.start, T), max(span.end, minute(1)))
                for hole in missing(since, applicable(tables)):
                    tables.decode(hole, exported(history, hole))
                done = tables.replica.apply(span)
                counts = (done.inserted, done.updated, done.deleted, done.ignored, done.rows_after, done.path)
                found.append((ordered(by_polars(tables.replica.location.uri, NAMES)), counts))
            assert found[0] == found[1]
