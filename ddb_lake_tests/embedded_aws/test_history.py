"""Backdated writes give a table a past, all lines or none."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from ddb_lake.embedded_aws import ControlError
from ddb_lake.embedded_aws.history_lines import HistoryLines
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


PATH = f"/_local/history/{REGION}/{TABLE}"
HEADERS = {"Transfer-Encoding": "chunked"}


def raw_lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def connection(cloud: Cloud) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(cloud.url.removeprefix("http://"))


def test_lines_may_be_cut_anywhere_into_pieces(cloud: Cloud) -> None:
    body = raw_lines(item("a", START), item("é", START, 2)) + b"\n \r\n" + raw_lines(gone("a", START + 1)).rstrip()
    pieces = [body[place : place + 1] for place in range(len(body))]
    client = connection(cloud)
    for sent, headers in ((iter(pieces), HEADERS), (body.replace(b'"a"', b'"b"').replace("é".encode(), b"c"), {})):
        client.request("POST", PATH, sent, headers, encode_chunked=bool(headers))
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"lines":3}')
    client.close()
    assert by_key(cloud.scan()).keys() == {"é", "c"}


def test_a_refusal_is_read_though_much_was_still_to_be_sent_and_the_connection_goes_on(cloud: Cloud) -> None:
    client = connection(cloud)
    for path in (PATH, f"/_local/history/{REGION}/nothing"):
        pieces = iter(
            [b"no json\n", *(raw_lines(item(f"k{n}", START), item("x" * 9_000, START)) for n in range(900))]
        )
        client.request("POST", path, pieces, HEADERS, encode_chunked=True)
        answer = client.getresponse()
        assert answer.status == 400
        assert b"line 1" in answer.read() or path != PATH
    client.request("GET", "/_local/health")
    assert client.getresponse().status == 200
    client.close()
    assert cloud.scan() == []


@pytest.mark.parametrize("ending", [b"", b"5\r\n{", b"zz\r\n"], ids=["in chunks", "within a chunk", "no chunk"])
def test_a_client_that_breaks_off_has_written_nothing(cloud: Cloud, ending: bytes) -> None:
    line = raw_lines(item("a", START))
    host = cloud.url.removeprefix("http://").split(":")
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with socket.create_connection((host[0], int(host[1]))) as client:
        client.sendall(head + b"%x\r\n%b\r\n" % (len(line), line) + ending)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert b"400" in answer.partition(b"\r\n")[0]
    assert b"IncompleteBody" in answer
    assert cloud.scan() == []


def test_rows_that_fail_while_they_are_sent_have_written_nothing(cloud: Cloud) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(5_000):
            yield item(f"k{number}", START)
        raise RuntimeError("no more rows")

    with pytest.raises(RuntimeError, match="no more rows"):
        cloud.control.history(REGION, TABLE, rows())
    assert cloud.scan() == []


def test_a_line_without_end_is_refused(cloud: Cloud) -> None:
    client = connection(cloud)
    pieces = iter([raw_lines(item("a", START)), *[b"x" * 1_000_000] * 20])
    client.request("POST", PATH, pieces, HEADERS, encode_chunked=True)
    answer = client.getresponse()
    assert answer.status == 400
    assert b"line 2 is longer than 16777216 bytes" in answer.read()
    client.close()
    assert cloud.scan() == []


def test_a_slow_history_holds_up_nobody(cloud: Cloud, table: str) -> None:
    """While lines are still to come, others write, export and move the table's creation."""
    cloud.control.backdate_table(REGION, TABLE, created_at=NOON - timedelta(hours=1), pitr_enabled_at=NOON)
    seen: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        yield item("early", START - 1)
        yield from (item("x" * 2_000, START + number) for number in range(1_000))
        cloud.put("live")
        cloud.control.settings(latest_restorable="ignored")
        seen.append(len(cloud.items(table, NOON + timedelta(hours=1))))
        cloud.control.backdate_table(REGION, TABLE, created_at=NOON)

    with pytest.raises(ControlError, match=r"line 1 of the history .* before the table's creation"):
        cloud.control.history(REGION, TABLE, rows())
    assert seen == [0]
    assert by_key(cloud.scan()).keys() == {"live"}


def test_a_history_that_finds_no_room_is_refused_and_the_journal_goes_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the temporary file is full: SQLite's own limit of pages makes it so."""
    opened = HistoryLines.__init__

    def small(lines: HistoryLines) -> None:
        opened(lines)
        lines._db.execute("PRAGMA max_page_count = 20")  # pyright: ignore[reportPrivateUsage]

    with monkeypatch.context() as patch:
        patch.setattr(HistoryLines, "__init__", small)
        with pytest.raises(ControlError, match=r"temporary file \(database or disk is full\).*nothing was written"):
            cloud.control.history(REGION, TABLE, [item(f"k{number}", START) for number in range(5_000)])
    assert cloud.scan() == []
    cloud.control.history(REGION, TABLE, [item("a", START)])
    assert by_key(cloud.scan()).keys() == {"a"}


def test_many_lines_of_one_key_and_of_keys_with_a_past_are_checked_across_pieces(cloud: Cloud, table: str) -> None:
    cloud.control.history(REGION, TABLE, [item(f"k{number}", START + number) for number in range(3_000)])
    rows = [item("hot", START + number, number) for number in range(5_000)]
    rows += [gone(f"k{number}", START + 10_000) for number in range(0, 4_000, 2)]
    assert cloud.control.history(REGION, TABLE, rows) == 7_000
    table_size = cloud.dynamodb.describe_table(TableName=TABLE)["Table"]
    assert table_size.get("ItemCount") == 1_501
    found = by_key(cloud.scan())
    assert len(found) == 1_501
    assert found["hot"]["value"] == {"N": "4999"}
    late = [item(f"k{number}", START + 20_000) for number in range(2_500)]
    with pytest.raises(ControlError, match=r"line 2 of .* was already written"):
        cloud.control.history(REGION, TABLE, [late[0], item("hot", START + 4_999), *late[1:], gone("k1", START)])
    assert by_key(cloud.scan()) == found


MEASURE = """
import resource, sys
from datetime import timedelta
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import NOON, REGION, TABLE, Cloud, us

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

with EmbeddedAws(clock="frozen", at=NOON) as aws:
    cloud = Cloud(aws.url)
    cloud.create_table()
    cloud.control.clock("frozen", NOON + timedelta(hours=2))
    text = {"S": "x" * 2_000}
    before = peak()
    rows = ({"ts": us(NOON) + n, "Item": {"id": {"S": f"k{n}"}, "a": text}} for n in range(int(sys.argv[1])))
    assert cloud.control.history(REGION, TABLE, rows) == int(sys.argv[1])
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count the resident size in other units")
def test_a_process_takes_at_most_200_mb_for_a_history_of_any_length() -> None:
    """Client and server are in one process; the lines are 40 MB and 160 MB, of which nothing is kept in memory."""

    def growth(lines: int) -> int:
        command = [sys.executable, "-c", MEASURE, str(lines)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert growth(20_000) < 200
    assert growth(80_000) < 200
