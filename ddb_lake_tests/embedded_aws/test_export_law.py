"""The law of exports: full(T0) + incremental[T0, T1) = full(T1), and full(now) = Scan."""

from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from ddb_lake_tests.cloud import NOON, REGION, Cloud, us

KEYS = [("a", 1), ("a", -2), ("b", 1), ("c", 0)]
MINUTE = timedelta(minutes=1)
END = 90

minutes = st.integers(0, END)
writes = st.lists(st.tuples(minutes, st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 9))), max_size=25)
windows = st.tuples(st.integers(0, END - 15), st.integers(15, END)).map(lambda pair: (pair[0], min(sum(pair), END)))


def keyed(item: Any) -> tuple[str, str]:
    return item["id"]["S"], item["at"]["N"]


def apply(items: dict[Any, Any], changes: list[Any]) -> dict[Any, Any]:
    """Apply an incremental export's records to the items of a full export."""
    result = dict(items)
    for change in changes:
        key = keyed(change["Keys"])
        assert change.get("OldImage") == items.get(key)
        if "NewImage" in change:
            result[key] = change["NewImage"]
        else:
            del result[key]
    return result


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(writes=writes, window=windows, files=st.integers(1, 3))
def test_a_full_export_and_the_window_after_it_make_the_next_full_export(
    cloud: Cloud, writes: list[Any], window: tuple[int, int], files: int
) -> None:
    # The minutes are those after noon; a second full export at their end stands for the Scan.
    control = cloud.control
    tables = cloud.dynamodb.list_tables()["TableNames"]
    name = f"table-{len(tables)}"
    arn = cloud.create_table(name, sort="N")
    control.backdate_table(REGION, name, created_at=NOON, pitr_enabled_at=NOON)
    control.clock("frozen", max(control.now(), NOON + (END + 15) * MINUTE))
    control.settings(files=files)
    rows = []
    for number, (minute, (partition, sort), value) in enumerate(sorted(writes, key=lambda write: write[0])):
        key = {"id": {"S": partition}, "at": {"N": str(sort)}}
        ts = us(NOON + minute * MINUTE) + number
        rows.append({"ts": ts, "Key": key} if value is None else {"ts": ts, "Item": {**key, "v": {"N": str(value)}}})
    control.history(REGION, name, rows)

    start, end = (NOON + minute * MINUTE for minute in window)
    before = {keyed(item): item for item in cloud.items(arn, start)}
    after = {keyed(item): item for item in cloud.items(arn, end)}
    assert apply(before, cloud.changes(arn, start, end)) == after
    latest = NOON + (END + 1) * MINUTE
    everything = {keyed(item): item for item in cloud.items(arn, latest)}
    assert everything == {keyed(item): item for item in cloud.scan(name)}
    assert apply(after, cloud.changes(arn, end, max(latest, end + 15 * MINUTE))) == everything
