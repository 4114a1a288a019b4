"""What every commit carries stays small for years, and keeps what the next windows need."""

import json
import logging
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lake.replica.contents import Contents
from ddb_lake.replica.coverage import USER_METADATA_BYTES, Account, Bootstrap, commit_note, decode
from ddb_lake.replica.delta_log import Note, Operation, write_commit
from ddb_lake.replica.forgetting import RECOVERABLE
from ddb_lake.replica.location import Location
from ddb_lake.replica.spans import Run, Spans
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.strategy import Strategy
from ddb_lake.windows import QUARTER_HOUR, Window, format_time, from_us, merge, quarter_hours, to_us
from ddb_lake_tests.replica.histories import TABLE_ID, T


@pytest.fixture(scope="module", autouse=True)
def strategy() -> Strategy:
    """No table is written here, so once suffices."""
    return Strategy.DELETION_VECTORS


LIMIT = 4096
"""Bytes of a commit besides its files."""

YEARS = 3
QUARTER = QUARTER_HOUR // timedelta(microseconds=1)
DAY = 96 * QUARTER
BEGIN = to_us(T)

Export = tuple[int, int, int]
"""Start, length, and in how many quarter-hours it has changes; times in µs."""


def quarter_hourly(rng: random.Random, until: int) -> Iterator[Export]:
    """Every quarter-hour, of which 40 % have no change, at random."""
    for start in range(BEGIN, until, QUARTER):
        yield start, QUARTER, 0 if rng.random() < 0.4 else 1


def catching_up(rng: random.Random, until: int) -> Iterator[Export]:
    """Exports of any length up to a day."""
    start = BEGIN
    while start < until:
        quarters = rng.randint(1, 96)
        yield start, quarters * QUARTER, 0 if rng.random() < 0.1 else rng.randint(0, quarters)
        start += quarters * QUARTER


def overlapping(rng: random.Random, until: int) -> Iterator[Export]:
    """Every five minutes an export of the last fifteen, in no pattern."""
    for start in range(BEGIN, until, QUARTER // 3):
        yield start, QUARTER, 0 if rng.random() < 0.4 else rng.randint(1, 2 if start % QUARTER else 1)


def with_outages(rng: random.Random, until: int) -> Iterator[Export]:
    """Quarter-hours, and every few days an outage, after which one export catches up, or a hole stays."""
    start = BEGIN
    while start < until:
        for _ in range(rng.randint(50, 700)):
            yield start, QUARTER, 0 if rng.random() < 0.4 else 1
            start += QUARTER
        start += rng.choice([0, 0, 0, 1, 2, 50]) * QUARTER
        quarters = rng.randint(1, 96)
        yield start, quarters * QUARTER, rng.randint(0, quarters)
        start += quarters * QUARTER


def to_the_second(rng: random.Random, until: int) -> Iterator[Export]:
    """Exports that somebody makes by hand, which begin and end at any second and overlap."""
    start = BEGIN
    while start < until:
        length = rng.randint(900, 86_400) * 1_000_000
        touched = (start + length - 1) // QUARTER - start // QUARTER + 1
        yield start, length, rng.randint(0, touched)
        start += length - rng.choice([0, 1, 0, 600]) * 1_000_000


HISTORIES = [quarter_hourly, catching_up, overlapping, with_outages, to_the_second]


def spans_of(exports: list[Export], before: Spans) -> Spans:
    """What `Spans.adding` makes of some exports more, in a fraction of the time."""
    runs = [(to_us(run.start), run.length // timedelta(microseconds=1), run.count) for run in before.runs]
    ends = {(start + length * count, length): place for place, (start, length, count) in enumerate(runs)}
    for start, length, _ in exports:
        place = ends.pop((start, length), len(runs))
        if place == len(runs):
            runs.append((start, length, 0))
        first, _, count = runs[place]
        runs[place] = (first, length, count + 1)
        ends[start + length, length] = place
    return Spans(
        tuple(sorted(Run(from_us(start), timedelta(microseconds=length), count) for start, length, count in runs))
    )


def contents_of(exports: list[Export], before: Contents) -> Contents:
    """What `Contents.having` makes of some exports more, in a fraction of the time."""
    named = np.array([each for each in exports if each[2] != 1], np.int64).reshape(-1, 3).T
    joined = np.concatenate([np.stack([before.starts, before.lengths, before.counts]), named], axis=1)
    starts, lengths, counts = joined[:, np.lexsort((joined[1], joined[0]))]
    return Contents(starts, lengths, counts)


def window_of(export: Export) -> Window:
    return Window(from_us(export[0]), from_us(export[0] + export[1]))


def read_back(note: Note) -> Account:
    return decode(json.loads(note.user_metadata)["ddb_lake"])


def committed_bytes(folder: Path, note: Note) -> int:
    """How large a commit without files is in the log."""
    store = ObjectTableStore(Location(str(folder)))
    operation = Operation("MERGE", {"strategy": "deletion_vectors"}, dict.fromkeys(["numOutputRows"], 10**9))
    return write_commit(store, len(store.names("_delta_log")), [], note, operation)


DID = {"did": "apply", "exports": [["2026-11-24T18:00:00Z", "2026-11-24T18:15:00Z", 1]] * 96, "changes": 123_456}


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.__name__)
@pytest.mark.parametrize("of", ["replica", "change log"])
def test_a_commit_has_at_most_4_kilobytes_after_three_years_and_says_all_that_matters(
    tmp_path: Path, history: Callable[[random.Random, int], Iterator[Export]], of: str
):
    account = Account(TABLE_ID, bootstrap=Bootstrap("01716790307109-3f2e5aa4", T) if of == "replica" else None)
    exports = sorted(history(random.Random(4), BEGIN + YEARS * 365 * DAY))
    done, look = 0, 0
    while done < len(exports):
        # Few exports at once at the end, and many before: what is carried depends on what was forgotten when.
        until = exports[done][0] + (DAY // 4 if done > 0.999 * len(exports) else 30 * DAY)
        new = [each for each in exports[done : done + 9000] if each[0] < until]
        done, look = done + len(new), look + 1
        contents = account.contents if of == "replica" else contents_of(new, account.contents)
        account = Account(TABLE_ID, spans_of(new, account.spans), account.bootstrap, account.unknown, contents)
        covered = account.coverage
        note = commit_note(account, DID)
        assert committed_bytes(tmp_path, note) <= LIMIT
        account = read_back(note)
        assert account.coverage == covered, "never a hole more or less"
        if look % 12 == 0 or done == len(exports):
            end = to_us(covered[-1].end)
            for export in (each for each in exports[:done][-12_000:] if each[0] + each[1] > end - 35 * DAY):
                assert window_of(export) in account.spans
                assert of == "replica" or account.contents.of(window_of(export)) == export[2]


spans_drawn = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 100), st.sampled_from([1, 60, 900])).map(
        lambda each: Window(
            T + timedelta(seconds=each[0] * each[2]), T + timedelta(seconds=(each[0] + each[1]) * each[2])
        )
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(spans=spans_drawn, unknown=spans_drawn, data=st.data())
def test_what_a_commit_carries_is_read_back_as_it_was(
    spans: list[Window], unknown: list[Window], data: st.DataObject
):
    contents = Contents()
    counts: dict[Window, int] = {}
    for each in spans:
        counts[each] = data.draw(st.integers(0, len(quarter_hours(each))))
        contents = contents.having(each, counts[each])
    assert contents == Contents.of_counts(counts)
    bootstrap = data.draw(st.sampled_from([None, Bootstrap(None, T), Bootstrap("01", T)]))
    account = Account(TABLE_ID, Spans().adding(spans), bootstrap, merge(unknown), contents)
    read = read_back(commit_note(account, {"did": "test"}))
    assert read == account
    assert all(read.contents.of(each) == count for each, count in counts.items())


def test_what_a_commit_did_is_cut_off_where_it_would_be_long(tmp_path: Path):
    names = [f'a "quoted" näme of an attribute {number}' for number in range(3000)]
    note = commit_note(Account(TABLE_ID), {"did": "add columns", "columns": names})
    assert committed_bytes(tmp_path / "made", note) <= LIMIT
    did = json.loads(note.user_metadata)["ddb_lake"]["commit"]
    assert did["columns"] == names[: len(did["columns"])]
    assert len(did["columns"]) > 1
    assert did["columns_in_all"] == 3000


def test_the_oldest_of_more_holes_than_a_commit_can_name_become_one(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    rng = random.Random(1)
    stretches: list[Window] = []
    start = T
    for _ in range(2000):
        stretches.append(Window(start, start + rng.randint(1, 90) * QUARTER_HOUR))
        start = stretches[-1].end + rng.randint(1, 90) * QUARTER_HOUR
    account = Account(TABLE_ID, Spans(), Bootstrap("01716790307109-3f2e5aa4", T), tuple(stretches))
    with caplog.at_level(logging.WARNING):
        note = commit_note(account, DID)
    assert committed_bytes(tmp_path, note) <= LIMIT
    left = read_back(note).coverage
    assert left == (stretches[0], *stretches[len(stretches) - len(left) + 1 :])
    assert len(left) > 300
    assert "more holes than a commit can name (1999)" in caplog.text
    assert f"between {format_time(stretches[0].end)} and {format_time(left[1].start)}" in caplog.text


def test_the_exports_of_the_last_35_days_stay_known_however_many_holes_are_older(tmp_path: Path):
    rng = random.Random(1)
    exports: list[Window] = []
    end = T
    for _ in range(1400):  # to the millisecond, as exports end that began at no quarter-hour
        start = end + timedelta(milliseconds=rng.randint(1, 40_000_000))
        exports.append(Window(start, start + timedelta(milliseconds=rng.randint(900_000, 3_600_000))))
        end = exports[-1].end
    note = commit_note(Account(TABLE_ID).covering(exports), DID)
    assert len(note.user_metadata.encode()) <= USER_METADATA_BYTES
    assert committed_bytes(tmp_path, note) <= LIMIT
    left = read_back(note)
    recent = tuple(each for each in exports if each.end > end - RECOVERABLE)
    assert left.spans.all() == recent
    assert left.coverage[0] == exports[0]
    assert set(left.coverage) <= set(exports)
    assert len(left.coverage) > len(recent) + 50
