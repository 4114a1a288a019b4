"""Backdated writes give a table a past, all lines or none."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ddb_lake.embedded_aws import ControlError
from ddb_lake.embedded_aws.versions import Versions
from ddb_lake_tests.cloud import NOON, QUARTER, REGION, TABLE, Cloud, by_key, us

START = us(NOON)


def item(key: str, ts: int, value: int = 0) -> dict[str, Any]:
    return {"ts": ts, "Item": {"id": {"S": key}, "value": {"N": str(value)}}}


def gone(key: str, ts: int) -> dict[str, Any]:
    return {"ts": ts, "Key": {"id": {"S": key}}}


@pytest.fixture(autouse=True)
def _two_o_clock(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + timedelta(hours=2))


def test_a_scan_shows_the_end_of_the_history_and_exports_its_course(cloud: Cloud, table: str) -> None:
    rows = [
        item("a", START, 1),
        item("b", START + 1),
        item("a", START + 2, 2),
        gone("b", START + 3),
        gone("c", START),
    ]
    assert cloud.control.history(REGION, TABLE, rows) == 5
    assert cloud.scan() == [rows[2]["Item"]]
    (change,) = cloud.changes(table, NOON, NOON + QUARTER)
    assert change["NewImage"] == rows[2]["Item"]
    assert change["Metadata"]["WriteTimestampMicros"]["N"] == str(START + 2)


def test_the_past_goes_on_where_it_ended(cloud: Cloud) -> None:
    cloud.control.history(REGION, TABLE, [item("a", START, 1)])
    cloud.control.history(REGION, TABLE, [item("a", START + 1, 2), item("b", START)])
    assert by_key(cloud.scan())["a"]["value"] == {"N": "2"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (item("old", START), "already written"),
        (gone("old", START + 5), "already written"),
        (item("new", START), "already written"),
        (item("x", us(NOON + timedelta(hours=2)) + 1), "in the future"),
        (item("x", START - 1), "before the table's creation"),
        ({"ts": START, "Item": {"id": {"N": "1"}}}, "Type mismatch for key id"),
        ({"ts": START, "Item": {"value": {"N": "1"}}}, "Missing the key id"),
        ({"ts": START, "Item": {"id": {"S": "x"}, "v": {"N": "one"}}}, "cannot be converted"),
        ({"ts": START, "Item": {"id": {"S": "x"}, "v": {"SS": []}}}, "AttributeValue"),
        ({"ts": START, "Item": {"id": {"S": "x"}, "v": {"S": "x" * 410_000}}}, "bytes"),
        ({"ts": START, "Key": {"id": {"S": "x"}, "more": {"S": "y"}}}, "the table's"),
        ({"ts": 1.5, "Item": {"id": {"S": "x"}}}, "it must be"),
        ({"Item": {"id": {"S": "x"}}}, "it must be"),
        ({"ts": START, "Item": {"id": {"S": "x"}}, "Key": {}}, "it must be"),
        ({"ts": True, "Item": {"id": {"S": "x"}}}, "it must be"),
    ],
)
def test_one_bad_line_refuses_all_and_is_named(cloud: Cloud, table: str, bad: dict[str, Any], reason: str) -> None:
    cloud.control.history(REGION, TABLE, [item("old", START + 5)])
    with pytest.raises(
        ControlError, match=f"(?s)line 2 of the history of measurement .*{reason}.*nothing was written"
    ):
        cloud.control.history(REGION, TABLE, [item("new", START + 1), bad, item("newer", START + 2)])
    assert by_key(cloud.scan()).keys() == {"old"}
    assert len(cloud.changes(table, NOON, NOON + QUARTER)) == 1


def test_an_unknown_table_is_named(cloud: Cloud) -> None:
    with pytest.raises(ControlError, match="no table nothing in us-east-1; the tables are: us-east-1/measurement"):
        cloud.control.history(REGION, "nothing", [])


def test_a_write_after_the_history_is_later_than_it(cloud: Cloud, table: str) -> None:
    now = us(NOON + timedelta(hours=2))
    cloud.control.history(REGION, TABLE, [item("a", now, 1)])
    cloud.put("a", 2)
    cloud.control.advance(3600)
    (change,) = cloud.changes(table, NOON + timedelta(hours=2), NOON + timedelta(hours=3))
    assert change["Metadata"]["WriteTimestampMicros"]["N"] == str(now + 1)


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"created_at": NOON + timedelta(hours=3)}, "after now"),
        ({"created_at": NOON + timedelta(minutes=1)}, "its oldest write is of"),
        ({"pitr_enabled_at": NOON - timedelta(seconds=1)}, "can't be on since"),
    ],
)
def test_a_table_s_past_must_be_possible(cloud: Cloud, times: dict[str, Any], reason: str) -> None:
    cloud.control.history(REGION, TABLE, [item("a", START)])
    with pytest.raises(ControlError, match=reason):
        cloud.control.backdate_table(REGION, TABLE, **times)


def test_recovery_that_is_off_cannot_be_backdated(cloud: Cloud) -> None:
    cloud.switch_recovery(on=False)
    with pytest.raises(ControlError, match="switch it on before you backdate it"):
        cloud.control.backdate_table(REGION, TABLE, pitr_enabled_at=NOON)


def put_once(cloud: Cloud) -> Callable[[], None]:
    """Return what writes the key `a` the first time that it is called."""
    values = [2]

    def put() -> None:
        while values:
            cloud.put("a", values.pop())

    return put


def refuse_line_of_now(cloud: Cloud) -> None:
    """Write a history of this very microsecond, which a live write has forestalled."""
    with pytest.raises(ControlError, match=r"line 1 of the history of measurement .*already written"):
        cloud.control.history(REGION, TABLE, [item("a", us(NOON + timedelta(hours=2)), 1)])
    assert by_key(cloud.scan())["a"]["value"] == {"N": "2"}
    cloud.put("b")
    assert by_key(cloud.scan()).keys() == {"a", "b"}


def test_a_write_of_the_same_microsecond_before_the_first_row_refuses_the_history(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = put_once(cloud)
    monkeypatch.setattr("ddb_lake.embedded_aws.history.give_way", put)
    refuse_line_of_now(cloud)


def test_a_write_of_the_same_microsecond_after_the_check_refuses_the_history(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = put_once(cloud)
    newest_sizes = Versions.newest_sizes

    def check_and_put(*args: Any) -> Any:
        sizes = newest_sizes(*args)
        put()
        return sizes

    monkeypatch.setattr(Versions, "newest_sizes", check_and_put)
    refuse_line_of_now(cloud)


LONG = 40_000


@pytest.mark.parametrize("key", ["other", "k20000"])
def test_writers_go_on_beside_a_long_history_and_nothing_of_both_is_lost(cloud: Cloud, table: str, key: str) -> None:
    lines = [item(f"k{number}", START + number) for number in range(LONG)]
    refusals: list[str] = []
    served_meanwhile = 0

    def write() -> None:
        try:
            cloud.control.history(REGION, TABLE, lines)
        except ControlError as error:
            refusals.append(str(error))

    writer = threading.Thread(target=write)
    writer.start()
    value = 0
    while writer.is_alive():
        value += 1
        cloud.put(key, value)
        served_meanwhile += writer.is_alive()
    writer.join()
    assert served_meanwhile > 5
    cloud.control.advance(3600)
    found = by_key(cloud.items(table, NOON + timedelta(hours=2, minutes=30)))
    assert found[key]["value"] == {"N": str(value)}
    if key == "other":
        assert not refusals
        assert len(found) == LONG + 1
    else:
        # Its key was written before the history was seen: all of it is older, and none of it is there.
        assert "line 20001 of the history of measurement" in refusals[0]
        assert "already written" in refusals[0]
        assert len(found) == 1


def test_an_export_beside_a_long_history_sees_all_of_it_or_nothing(cloud: Cloud, table: str) -> None:
    cloud.control.settings(latest_restorable="ignored")
    lines = [item(f"k{number}", START + number) for number in range(LONG)]
    writer = threading.Thread(target=cloud.control.history, args=(REGION, TABLE, lines))
    writer.start()
    counts: set[int] = set()
    while writer.is_alive():
        counts.add(len(cloud.items(table, NOON + timedelta(hours=1))))
    writer.join()
    assert counts <= {0, LONG}
    assert len(cloud.items(table, NOON + timedelta(hours=1))) == LONG


def test_a_table_with_an_index_shows_the_end_of_its_history(cloud: Cloud) -> None:
    cloud.control.clock("frozen", NOON + timedelta(hours=2))
    cloud.dynamodb.create_table(
        TableName="indexed",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "value", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-value",
                "KeySchema": [{"AttributeName": "value", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    cloud.control.advance(10)
    now = us(NOON + timedelta(hours=2)) + 10
    cloud.control.history(REGION, "indexed", [item("a", now - 3), item("b", now - 2), gone("b", now - 1)])
    cloud.control.history(REGION, "indexed", [gone("a", now - 1), item("c", now), gone("d", now)])
    assert by_key(cloud.dynamodb.scan(TableName="indexed")["Items"]).keys() == {"c"}
