"""How fast the embedded AWS is, beside a plain moto server in the same run: `make bench-embedded-aws`.

Both run in processes of their own, with a journal on disk for ours; ratios are of rounds that take turns. Memory is
the highest resident size of our process while an export runs (VmHWM, reset just before; Linux alone tells it).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError

from ddb_lake.embedded_aws import Control

REGION, TABLE, BUCKET = "us-east-1", "measurement", "exports"
ROUNDS = 5
CALLS = 200
"""Puts, and updates, of a round; batches are a fifth of it."""

BATCH = 25
STEP = 50_000
"""Rows of history in one request."""

WRITERS, ADDS = 8, 100
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """One measure: what was found, beside moto's where there is one, and the goal."""

    measure: str
    found: float
    unit: str
    moto: float | None
    goal: str
    reached: bool


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            yield server
        finally:
            server.kill()


def clients(url: str) -> tuple[Any, Any]:
    """Clients for DynamoDB and S3 that never repeat a request."""
    session = boto3.Session(region_name=REGION, aws_access_key_id="key", aws_secret_access_key="secret")
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=WRITERS, read_timeout=300)
    options: Any = {"endpoint_url": url, "config": config}
    return session.client("dynamodb", **options), session.client("s3", **options)


def create(dynamodb: Any, name: str = TABLE) -> str:
    """Create a table with recovery, where there is such a thing; return its ARN."""
    table = dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    return table["TableDescription"]["TableArn"]


def item(number: int) -> dict[str, Any]:
    """An item of about a hundred bytes."""
    return {"id": {"S": f"sensor-{number:09d}"}, "value": {"N": str(number)}, "text": {"S": "a measurement " * 4}}


def put(dynamodb: Any, number: int) -> int:
    """Put an item; return how many were written, as the next two do."""
    dynamodb.put_item(TableName=TABLE, Item=item(number))
    return 1


def update(dynamodb: Any, number: int) -> int:
    """Update an item that is there."""
    dynamodb.update_item(
        TableName=TABLE,
        Key={"id": item(number % CALLS)["id"]},
        UpdateExpression="SET #v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"N": str(number)}},
    )
    return 1


def batch(dynamodb: Any, number: int) -> int:
    """Put as many items as a batch takes."""
    puts = [{"PutRequest": {"Item": item(number * BATCH + each)}} for each in range(BATCH)]
    dynamodb.batch_write_item(RequestItems={TABLE: puts})
    return BATCH


def rate(call: Callable[[Any, int], int], dynamodb: Any, numbers: range) -> float:
    """Return how many items a second a call writes."""
    began = time.perf_counter()
    written = sum(call(dynamodb, number) for number in numbers)
    return written / (time.perf_counter() - began)


def compare(ours: Any, moto: Any) -> Iterator[Row]:
    """Writes a second, ours and moto's in turns."""
    for name, call, calls in (("puts", put, CALLS), ("updates", update, CALLS), ("batch writes", batch, CALLS // 5)):
        rates: list[tuple[float, float]] = []
        for round_number in range(ROUNDS):
            numbers = range(round_number * calls, (round_number + 1) * calls)
            rates.append((rate(call, ours, numbers), rate(call, moto, numbers)))
        ratio = median(ours_rate / moto_rate for ours_rate, moto_rate in rates)
        yield Row(
            f"{name}", median(each for each, _ in rates), "items/s", median(each for _, each in rates), "", True
        )
        yield Row(f"{name}, ours / moto's", ratio, "", None, "≥ 0.8", ratio >= 0.8)


def concurrent(ours: Any) -> Row:
    """Additions by many writers at once to one number: none may be lost."""
    create(ours, "counter")

    def add(_: int) -> None:
        for _ in range(ADDS):
            ours.update_item(
                TableName="counter",
                Key={"id": {"S": "one"}},
                UpdateExpression="ADD #v :one",
                ExpressionAttributeNames={"#v": "value"},
                ExpressionAttributeValues={":one": {"N": "1"}},
            )

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(add, range(WRITERS)))
    found = int(ours.get_item(TableName="counter", Key={"id": {"S": "one"}})["Item"]["value"]["N"])
    lost = WRITERS * ADDS - found
    return Row(f"additions lost by {WRITERS} writers", lost, "", None, "0", lost == 0)


def give_history(control: Control, rows: int) -> Row:
    """Backdated rows a second: one item each, all of them alive."""
    start = int((NOON + timedelta(minutes=1)).timestamp()) * 1_000_000
    seconds = 0.0
    for first in range(0, rows, STEP):
        lines = [{"ts": start + number, "Item": item(number)} for number in range(first, min(first + STEP, rows))]
        began = time.perf_counter()
        control.history(REGION, "large", lines)
        seconds += time.perf_counter() - began
    return Row("history", rows / seconds, "rows/s", None, "≥ 50,000", rows / seconds >= 50_000)


def long_works(ours: Any, url: str) -> Iterator[Row]:
    """What others wait while one gives a table a past, and while it is scanned for the first time then."""
    control = Control(url)
    start = int((NOON + timedelta(minutes=1)).timestamp()) * 1_000_000
    lines = [{"ts": start + number, "Item": item(number)} for number in range(STEP)]
    with Stalls(url) as stalls:
        control.history(REGION, "past", lines)
    stall = stalls.longest * 1_000
    yield Row(f"longest of {stalls.puts} puts beside a history", stall, "ms", None, "< 200", stall < 200)
    with Stalls(url) as stalls:
        ours.query(
            TableName="past",
            KeyConditionExpression="id = :id",
            ExpressionAttributeValues={":id": item(7)["id"]},
        )
    # Without a goal: moto looks through the whole table, and has no lock of its own that would let others in.
    yield Row(f"longest of {stalls.puts} puts beside the first query", stalls.longest * 1_000, "ms", None, "", True)


def export(ours: Any, arn: str, **more: Any) -> tuple[Any, float]:
    """Run an export to its end; return its description and the seconds."""
    began = time.perf_counter()
    started = ours.export_table_to_point_in_time(TableArn=arn, S3Bucket=BUCKET, **more)["ExportDescription"]
    while True:
        found = ours.describe_export(ExportArn=started["ExportArn"])["ExportDescription"]
        if found["ExportStatus"] != "IN_PROGRESS":
            break
    if found["ExportStatus"] != "COMPLETED":
        raise SystemExit(f"the export has failed: {found['FailureCode']} {found['FailureMessage']}")
    return found, time.perf_counter() - began


class Stalls:
    """A writer that puts items one after the other and notes the longest time that a put has taken."""

    def __init__(self, url: str) -> None:
        self._dynamodb = clients(url)[0]
        self._stop = threading.Event()
        self.longest = 0.0
        self.puts = 0

    def __enter__(self) -> "Stalls":
        self._thread = threading.Thread(target=self._write)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        put(self._dynamodb, 0)  # connects
        while not self._stop.is_set():
            began = time.perf_counter()
            put(self._dynamodb, self.puts)
            self.longest = max(self.longest, time.perf_counter() - began)
            self.puts += 1


def resident(pid: int, field: str) -> float | None:
    """Return a size of a process from /proc, in MB."""
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        return None
    line = next(line for line in path.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1_000


def large_exports(ours: Any, url: str, pid: int, arn: str, rows: int) -> Iterator[Row]:
    """A full and an incremental export of all rows, with a writer beside the full one."""
    yield Row("resident before the export", resident(pid, "VmRSS") or 0, "MB", None, "", True)
    if Path(f"/proc/{pid}/clear_refs").exists():
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    found, alone = export(ours, arn)
    assert found["ItemCount"] == rows
    yield Row("full export", rows / alone, "items/s", None, "≥ 100,000", rows / alone >= 100_000)
    with Stalls(url) as stalls:
        export(ours, arn, S3Prefix="beside-a-writer")
    peak = resident(pid, "VmHWM")
    if peak is not None:
        yield Row(f"full export of {rows:,}: most resident", peak, "MB", None, "< 600", peak < 600)
    stall = stalls.longest * 1_000
    yield Row(f"longest of {stalls.puts} puts beside it", stall, "ms", None, "< 200", stall < 200)
    window = {"ExportFromTime": NOON + timedelta(minutes=1), "ExportToTime": NOON + timedelta(hours=1)}
    found, seconds = export(
        ours, arn, ExportType="INCREMENTAL_EXPORT", IncrementalExportSpecification=window, S3Prefix="incremental"
    )
    assert found["ItemCount"] == rows
    yield Row("incremental export", rows / seconds, "items/s", None, "≥ 50,000", rows / seconds >= 50_000)


def wait_for(dynamodb: Any) -> None:
    """Wait until a server answers."""
    for _ in range(300):
        try:
            dynamodb.list_tables()
        except EndpointConnectionError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a server doesn't answer within 30 s")


def measure(rows: int) -> Iterator[Row]:
    """Start both servers and measure."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "aws.sqlite")
        command = [str(python), "-m", "ddb_lake.embedded_aws", "--port", "0", "--journal", journal]
        command += ["--clock", "offset", "--at", "2026-11-24T12:00:00Z"]
        with process(command) as server, process([str(python.parent / "moto_server"), "-p", str(port)]):
            assert server.stdout is not None
            url = server.stdout.readline().strip().rpartition("=")[2]
            ours, s3 = clients(url)
            moto = clients(f"http://127.0.0.1:{port}")[0]
            wait_for(moto)
            s3.create_bucket(Bucket=BUCKET)
            arn = create(ours, "large")
            create(ours, "past")
            for dynamodb in (ours, moto):
                create(dynamodb)
                put(dynamodb, 0)
            yield from compare(ours, moto)
            yield concurrent(ours)
            control = Control(url)
            control.advance(7_200)
            yield give_history(control, rows)
            yield from large_exports(ours, url, server.pid, arn, rows)
            yield from long_works(ours, url)


def main() -> int:
    """Measure, print a table, and tell by the exit status whether every goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--items", type=int, default=1_000_000, help="items of the large table (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'measure':<50} {'found':>12} {'unit':<8} {'moto':>10}  {'goal':<10}")
    rows: list[Row] = []
    for row in measure(options.items):
        moto = "" if row.moto is None else f"{row.moto:,.0f}"
        found = f"{row.found:,.2f}" if not row.unit and row.found % 1 else f"{row.found:,.0f}"
        verdict = "" if not row.goal else "reached" if row.reached else "MISSED"
        print(f"{row.measure:<50} {found:>12} {row.unit:<8} {moto:>10}  {row.goal:<10} {verdict}", flush=True)
        rows.append(row)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
