"""The key index tells where each key's rows are, and nothing that is not so, whatever became of its segments."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lake.replica import Location
from ddb_lake.replica.data_files import write_file, write_indexed_file
from ddb_lake.replica.delta_log import AddFile
from ddb_lake.replica.key_index import KeyIndex, KeyTexts, segment_path
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.strategy import Strategy

LEAST, MOST = -(2**63), 2**63 - 1


@pytest.fixture(autouse=True)
def once(strategy: Strategy) -> None:
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of deletion vectors alone")


@dataclass(frozen=True, order=True)
class Item:
    """A key and when it was written. Different keys may have the same hash."""

    hash: int
    id: str = ""
    time: int = 0
    tie: int = 0


def frame(items: Iterable[Item]) -> pl.DataFrame:
    rows = [(each.hash, each.time, each.tie, each.id) for each in items]
    schema = {"_key_hash": pl.Int64, "_write_time_us": pl.Int64, "_tie_break": pl.Int64, "id": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


class Table:
    """Data files with the items that are given, in their order or in the order of their hashes."""

    def __init__(self, folder: Path, *, told: bool = True) -> None:
        self.store = ObjectTableStore(Location(str(folder)))
        self.folder = folder
        self.files: list[AddFile] = []
        self.items: list[list[Item]] = []
        self._told = told

    def add(self, items: list[Item], *, indexed: bool) -> AddFile:
        rows = frame(items)
        if indexed:
            file = write_indexed_file(self.store, "", "part", rows, {}, ["id"]).add_file()
            items = sorted(items, key=lambda each: each.hash)
        else:
            file = write_file(self.store, "", "part", rows, {}).add_file()
        if not self._told:
            file = AddFile(file.path, file.size, 0, stats=f'{{"numRecords":{len(items)}}}')
        self.files.append(file)
        self.items.append(items)
        return file

    def segment(self, file: AddFile) -> Path:
        return self.folder / segment_path(file.object_path)

    def find(self, keys: Iterable[Item]) -> tuple[list[tuple[Item, int, int, Item]], int]:
        """Each searched key with the file, the row and what is there; and how many segments were made again."""
        keys = sorted({Item(each.hash, each.id) for each in keys})
        probes = frame(keys)
        index = KeyIndex(self.store, ["id"])
        found = index.find(self.files, probes["_key_hash"].to_numpy(), KeyTexts.of(probes, ["id"]))
        told = zip(
            found.probes.tolist(),
            found.files.tolist(),
            found.rows.rows.tolist(),
            found.rows.hashes.tolist(),
            found.rows.times.tolist(),
            found.rows.ties.tolist(),
            strict=True,
        )
        rows = [(keys[p], file, row, Item(h, keys[p].id, time, tie)) for p, file, row, h, time, tie in told]
        return sorted(rows), index.made_again

    def expected(self, keys: Iterable[Item]) -> list[tuple[Item, int, int, Item]]:
        wanted = {(each.hash, each.id) for each in keys}
        return sorted(
            (Item(item.hash, item.id), number, row, item)
            for number, items in enumerate(self.items)
            for row, item in enumerate(items)
            if (item.hash, item.id) in wanted
        )


def spread(count: int, seed: int = 0) -> list[Item]:
    """Items whose hashes are spread evenly, as real ones are."""
    random = np.random.default_rng(seed)
    columns = (
        random.integers(LEAST, MOST, count),
        random.integers(0, 9 * 10**8, count),
        random.integers(0, 9, count),
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Item(hash, f"{seed}/{number}", time, tie) for number, (hash, time, tie) in enumerate(rows)]


few = st.integers(-3, 3)
any_hash = st.integers(LEAST, MOST) | st.sampled_from([LEAST, -1, 0, 1, MOST])
near = st.integers(0, 40).map(lambda distance: 2**62 + distance)
hashes = st.sampled_from([few, any_hash, near]).flatmap(lambda chosen: st.lists(chosen, max_size=60))
times = st.integers(0, 3) | st.integers(LEAST, MOST)


@st.composite
def item_lists(draw: st.DrawFn) -> list[Item]:
    return [
        Item(each, draw(st.sampled_from("abc")), draw(times), draw(st.sampled_from([0, 1, LEAST, MOST])))
        for each in draw(hashes)
    ]


@settings(max_examples=150, deadline=None)
@given(
    lists=st.lists(st.tuples(item_lists(), st.booleans()), min_size=1, max_size=3),
    others=st.lists(st.builds(Item, few | any_hash | near, st.sampled_from("abcd")), max_size=30),
    told=st.booleans(),
    data=st.data(),
)
def test_exactly_the_rows_of_the_searched_keys_are_found(
    tmp_path_factory: pytest.TempPathFactory,
    lists: list[tuple[list[Item], bool]],
    others: list[Item],
    told: bool,
    data: st.DataObject,
):
    """Files sorted by hash or not, with bounds in the log or not, keys that share hashes and keys that are absent."""
    table = Table(tmp_path_factory.mktemp("table"), told=told)
    for items, indexed in lists:
        table.add(items, indexed=indexed)
    there = [item for items, _ in lists for item in items]
    some = data.draw(st.lists(st.sampled_from(there), max_size=40)) if there else []
    assert table.find([*some, *others])[0] == table.expected([*some, *others])
    assert table.find(there)[0] == table.expected(there)
    assert table.find(there)[1] == 0, "what was made again is there"


def test_among_many_rows_each_is_found_and_nothing_else(tmp_path: Path):
    """Enough rows that the filter has several pages and lets some through that are not there."""
    table = Table(tmp_path)
    items = spread(50_000)
    table.add(items[:40_000], indexed=True)
    table.add(items[40_000:], indexed=True)
    absent = [Item(each.hash, each.id) for each in spread(20_000, seed=1)]
    same_hash = [Item(each.hash, "another") for each in items[::7]]
    found, made_again = table.find([*items, *absent, *same_hash])
    assert found == table.expected(items)
    assert made_again == 0


def test_a_segment_of_another_file_is_noticed_by_whichever_key_is_searched(tmp_path: Path):
    table = Table(tmp_path)
    items = spread(40)
    mine, other = (table.add(part, indexed=True) for part in (items[::2], items[1::2]))
    foreign = table.segment(other).read_bytes()
    for item in items[::2]:
        table.segment(mine).write_bytes(foreign)
        assert table.find([item]) == (table.expected([item]), 1)


def test_a_key_beyond_the_bounds_of_a_file_is_not_there(tmp_path: Path):
    table = Table(tmp_path, told=False)
    table.add([Item(hash, f"{hash}") for hash in range(1000, 2000)], indexed=True)
    assert table.find([Item(hash, f"{hash}") for hash in (LEAST, 0, 999, 2000, MOST)]) == ([], 0)


def test_one_hash_of_very_many_keys(tmp_path: Path):
    table = Table(tmp_path)
    items = [Item(7, f"k{number}") for number in range(300)]
    table.add([Item(6, "x"), *items, Item(8, "x")], indexed=True)
    keys = [*items[::50], Item(7, "absent"), Item(6, "x"), Item(8, "y")]
    assert table.find(keys) == (table.expected(keys), 0)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def zeroed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]


def cut(data: bytes, at: int) -> bytes:
    return data[:at]


def moved(data: bytes, at: int) -> bytes:
    """A stretch of another place, as by a block that was written to the wrong one."""
    other = (at + len(data) // 2) % (len(data) - 64)
    return data[:at] + data[other : other + 64] + data[at + 64 :] if at < len(data) - 64 else data


@pytest.mark.parametrize(("damage", "every"), [(flipped, 11), (zeroed, 32), (cut, 37), (moved, 64)])
def test_damage_anywhere_is_noticed_or_changes_nothing(
    tmp_path: Path, damage: Callable[[bytes, int], bytes], every: int
):
    table = Table(tmp_path)
    items = spread(250)
    file = table.add(items[::2], indexed=True)
    whole = table.segment(file).read_bytes()
    expected = table.expected(items)
    noticed = 0
    for at in (*range(20), *range(20, len(whole), every)):
        table.segment(file).write_bytes(damage(whole, at))
        found, made_again = table.find(items)
        assert found == expected, at
        noticed += made_again
        assert not made_again or table.find(items) == (expected, 0), "what was made again is whole"
    assert noticed > 0.7 * len(whole) / every, "all but what fills up, or is equal"


def test_a_key_whose_absence_was_forged_is_found(tmp_path: Path):
    """What says that a key is not in a file is checked as well: each stretch of zeros hides some keys."""
    table = Table(tmp_path)
    items = spread(250)
    file = table.add(items, indexed=True)
    whole = table.segment(file).read_bytes()
    for at in range(0, len(whole), 64):
        for item in items[::50]:
            table.segment(file).write_bytes(zeroed(whole, at))
            assert table.find([item])[0] == table.expected([item])


@pytest.mark.parametrize("magic", [b"DDBLKIX1", b"DDBLKIX2", b"DDBLKIX9"])
def test_a_segment_of_another_format_is_made_again(tmp_path: Path, magic: bytes):
    table = Table(tmp_path)
    items = spread(10)
    segment = table.segment(table.add(items, indexed=True))
    whole = segment.read_bytes()
    segment.write_bytes(magic + whole[8:])
    assert table.find(items) == (table.expected(items), 1)
    assert segment.read_bytes()[:8] == whole[:8]
    assert table.find(items) == (table.expected(items), 0)


def test_a_segment_of_another_file_is_not_believed(tmp_path: Path):
    table = Table(tmp_path)
    items = spread(20)
    mine, other = (table.add(part, indexed=True) for part in (items[:10], items[10:]))
    table.segment(mine).write_bytes(table.segment(other).read_bytes())
    assert table.find(items) == (table.expected(items), 1)
