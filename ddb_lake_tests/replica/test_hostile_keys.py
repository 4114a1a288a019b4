"""Whoever can choose ids can give any number of them one `_key_hash`: they stay different items, and cost no more."""

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ddb_lake.decoding import ItemSchema, decode_changes, decode_items, learn_items
from ddb_lake.keys import KeyAttribute
from ddb_lake.replica import ChangeLog, Column, Location, Replica, Strategy
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.key_index import KeyTexts
from ddb_lake.replica.key_index.fingerprints import Fingerprints
from ddb_lake.windows import to_us
from ddb_lake_tests.colliding_keys import colliding_ids
from ddb_lake_tests.decoding.export_files import change_line, write_items, write_lines
from ddb_lake_tests.replica.histories import TABLE_ID, Change, Key, T, lake, put, us, window

EAGER = FoldPolicy(target_rows=1000, fan=2, dead_share=0.1)


@dataclass
class Table:
    """A source table with the key attribute `id`, and its lake, which gets the files of exports."""

    folder: Path
    strategy: Strategy

    def __post_init__(self) -> None:
        self.log = ChangeLog(Location(str(self.folder / "changes")), TABLE_ID)
        self.replica = Replica(Location(str(self.folder / "replica")), TABLE_ID, self.log, self.strategy)
        self.schema = ItemSchema.empty((KeyAttribute("id", "S", "HASH"),))

    def bootstrap(self, items: Mapping[str, str]) -> None:
        file = write_items(self.folder / "items.json.gz", [image(*each) for each in items.items()])
        self.schema = learn_items([file], self.schema)
        columns = [Column(each.name, each.dtype, each.metadata) for each in self.schema.columns]
        self.log.add_columns(columns)
        self.replica.stage_bootstrap("01-export", T, columns, [("0", decode_items(file, self.schema, us(0) - 1))])
        self.replica.commit_bootstrap("01-export")

    def apply(self, number: int, changes: Mapping[str, str | None]) -> None:
        """Decode and apply the window of a number; None is a delete."""
        span = window(15 * number, 15 * number + 15)
        at = to_us(span.start) + 1
        lines = [
            change_line({"id": {"S": each}}, None if value is None else image(each, value), at)
            for each, value in changes.items()
        ]
        file = write_lines(self.folder / f"changes-{number}.json.gz", lines)
        self.log.replace(span, decode_changes(file, self.schema))
        self.replica.apply(span)

    def items(self) -> dict[str, str]:
        rows = self.replica.scan().select("_key_hash", "id", "value").collect().rows()
        assert len({hashed for hashed, _, _ in rows}) == 1, "all keys have one hash"
        assert len({each for _, each, _ in rows}) == len(rows), "no key has two rows"
        return {each: value for _, each, value in rows}


def image(each: str, value: str) -> dict[str, dict[str, str]]:
    return {"id": {"S": each}, "value": {"S": value}}


def other(strategy: Strategy) -> Strategy:
    return next(each for each in Strategy if each is not strategy)


def test_none_of_the_items_whose_keys_have_one_hash_replaces_another(tmp_path: Path, strategy: Strategy):
    """Through the initial load, windows, compaction, and conversion to the other strategy and back."""
    ids = colliding_ids(60)
    table = Table(tmp_path, strategy)
    items = dict.fromkeys(ids[:40], "0")
    table.bootstrap(items)
    assert table.items() == items

    def apply(number: int, changes: Mapping[str, str | None]) -> None:
        table.apply(number, changes)
        for each, value in changes.items():
            items.pop(each, None)
            if value is not None:
                items[each] = value
        assert table.items() == items

    apply(0, {ids[0]: "1", ids[1]: None, ids[40]: "1", ids[41]: "1"})
    apply(1, {ids[0]: "2", ids[2]: "2", ids[40]: None, ids[42]: "2"})
    table.replica.maintain(EAGER)
    assert table.items() == items
    apply(2, {**dict.fromkeys(ids[3:6], "3"), ids[42]: "3", ids[43]: "3", ids[44]: None})
    table.replica.convert(other(strategy))
    assert table.items() == items
    apply(3, {ids[3]: "4", ids[6]: None, ids[43]: None, ids[45]: "4"})
    table.replica.convert(strategy)
    assert table.items() == items
    apply(4, {**dict.fromkeys(ids[::7], "5"), ids[45]: None})


def test_as_many_keys_of_one_hash_as_somebody_likes_are_no_more_work_than_others(tmp_path: Path, strategy: Strategy):
    """Compared each with each they would take 400 million comparisons a window, and gigabytes."""
    ids = colliding_ids(20_000)
    table = Table(tmp_path, strategy)
    table.bootstrap(dict.fromkeys(ids, "0"))
    changes: dict[str, str | None] = {**dict.fromkeys(ids[100:], "1"), **dict.fromkeys(ids[:50], None)}
    table.apply(0, changes)
    table.replica.maintain(EAGER)
    table.apply(1, changes)
    assert table.items() == {**dict.fromkeys(ids[50:100], "0"), **dict.fromkeys(ids[100:], "1")}


def test_keys_whose_fingerprints_are_alike_in_64_bits_are_still_apart(
    tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
):
    """Half of a fingerprint as by a birthday search, which the other half decides."""
    whole = KeyTexts.fingerprints

    def halved(self: KeyTexts, secret: bytes, positions: np.ndarray | None = None) -> Fingerprints:
        found = whole(self, secret, positions)
        found[:, 0] = 7
        return found

    monkeypatch.setattr(KeyTexts, "fingerprints", halved)
    ids = colliding_ids(30)
    table = Table(tmp_path, strategy)
    table.bootstrap(dict.fromkeys(ids[:20], "0"))
    table.apply(0, {**dict.fromkeys(ids[15:25], "1"), ids[0]: None})
    assert table.items() == {**dict.fromkeys(ids[1:15], "0"), **dict.fromkeys(ids[15:25], "1")}


def test_two_images_of_one_moment_and_one_tie_break_give_the_same_row_in_whatever_order_they_come(tmp_path: Path):
    """Of two exports that are applied together; which of the images it is, their exports decide."""
    narrow, wide = window(0, 15), window(0, 30)
    rows: list[dict[Key, str]] = []
    for number, order in enumerate(((narrow, wide), (wide, narrow))):
        tables = lake(tmp_path / str(number))
        tables.bootstrap({})
        for span in order:
            tables.decode(span, [Change(Key("a"), us(1), f"{span}", tie=5)])
        tables.replica.apply(wide)
        rows.append(tables.items())
    assert rows[0] == rows[1]
    assert rows[0] == {Key("a"): f"{wide}"}


def test_a_table_whose_index_is_of_the_format_before_goes_on(tmp_path: Path, strategy: Strategy):
    """Written by ddb_lake before fingerprints had 128 bits: an initial load, a window applied and one decoded."""
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of deletion vectors alone")
    with tarfile.open(Path(__file__).parent / "table_of_index_2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    segments = list((tmp_path / "replica/_idx").iterdir())
    assert {each.read_bytes()[:8] for each in segments} == {b"DDBLKIX2"}
    tables = lake(tmp_path)
    items = {Key(f"{kind}{n}", n): "0" for kind in "k~" for n in range(8)}
    items |= {Key("k1", 1): "1", Key("~1", 1): "1", Key("new", 1): "1"}
    del items[Key("k2", 2)]
    assert tables.items() == items
    done = tables.replica.apply(window(15, 30))
    assert done.effort.segments_made_again == len(segments)
    items |= {Key("k1", 1): "2", Key("new", 1): "2", Key("k3", 3): "2"}
    del items[Key("~2", 2)]
    assert tables.items() == items
    assert {each.read_bytes()[:8] for each in segments} == {b"DDBLKIX3"}
    tables.decode(window(30, 45), [put("k0", 31, "3")])
    assert tables.replica.apply(window(30, 45)).effort.segments_made_again == 0
    tables.replica.maintain(EAGER)
    assert tables.items() == {**items, Key("k0"): "3"}
