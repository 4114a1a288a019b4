"""A real client of DynamoDB's exports, unmodified and in an environment of its own, against the embedded AWS.

`make test-author-client` runs this; `make test` does not, since it needs `.venv-author`.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.embedded_aws.clock import ClockMode
from ddb_lake.exports import Manifest, download, read_manifest
from ddb_lake.keys import KeyAttribute

CLIENT = Path(__file__).parent / "client"
PYTHON = Path(__file__).parents[2] / ".venv-author" / "bin" / "python"

BEGINS = datetime.fromisoformat("2024-09-15T02:58:00Z")
BOUNDARY = datetime.fromisoformat("2024-09-15T03:05:00Z")
END = datetime.fromisoformat("2024-09-15T03:20:00Z")
"""22:58, 23:05 and 23:20 of the client's local time, which is New York's in summer."""

LATENESS: dict[ClockMode, timedelta] = {"offset": timedelta(seconds=1), "request": timedelta(0)}
"""How late the client saves what it means to save at a boundary: on a clock that stands, it hits it exactly."""

_LOCAL = "EST5EDT,M3.2.0,M11.1.0"
_EXPORT_TAKES_S = 300
_ALIAS = "poc"
_BUCKET = "poc-us-east-1-data"
_CREDENTIALS = f"""
[{_ALIAS}]
aws_access_key_id = key
aws_secret_access_key = secret
region = us-east-1
"""


class Seen:
    """What the client has seen, and clients of ours to look at the same."""

    def __init__(self, clock: ClockMode, told: dict[str, Any], s3: Any, folder: Path) -> None:
        self.clock: ClockMode = clock
        self.told = told
        self.full: list[dict[str, Any]] = told["full"]["rows"]
        self.incremental: list[dict[str, Any]] = told["incremental"]["rows"]
        self._s3 = s3
        self._folder = folder

    def manifest(self, kind: str) -> Manifest:
        return read_manifest(self._s3, _BUCKET, self.told[kind]["manifest"])

    def files(self, manifest: Manifest) -> list[ExportFile]:
        return [
            ExportFile(file.uri, download(self._s3, file, manifest, self._folder), file.item_count)
            for file in manifest.files
        ]


@pytest.fixture(scope="module", params=["offset", "request"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """The client, run from the empty table to the overlap."""
    if not PYTHON.exists():
        pytest.fail(f"the client's environment is not at {PYTHON}; run make test-author-client")
    clock: ClockMode = request.param
    folder = tmp_path_factory.mktemp("client")
    (folder / "credentials").write_text(_CREDENTIALS)
    with EmbeddedAws(clock=clock, at=BEGINS, delay=_EXPORT_TAKES_S) as aws:
        session = boto3.Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1")
        ended = subprocess.run(
            [PYTHON, "run.py", clock, _BUCKET, _ALIAS],
            cwd=CLIENT,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "TZ": _LOCAL,
                "AWS_ENDPOINT_URL": aws.url,
                "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
                "AWS_PROFILE": _ALIAS,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        yield Seen(clock, json.loads(ended.stdout), session.client("s3", endpoint_url=aws.url), folder)


def times(rows: list[dict[str, Any]]) -> list[datetime]:
    return [time_of(row) for row in rows]


def time_of(row: dict[str, Any]) -> datetime:
    return datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%f%z")


def test_the_last_item_of_the_full_export_precedes_the_first_of_the_incremental(seen: Seen) -> None:
    assert times(seen.full)[-1] < BOUNDARY <= times(seen.incremental)[0]
    assert times(seen.incremental)[-1] < END
    # Close enough to the boundaries for an export that cuts a second too early or too late to be caught.
    assert (BOUNDARY - times(seen.full)[-1]).total_seconds() < 2
    assert (END - times(seen.incremental)[-1]).total_seconds() < 2


def test_nothing_overlaps_and_nothing_is_missing(seen: Seen) -> None:
    saved = sorted(seen.told["saved"], key=time_of)
    assert seen.full == [row for row in saved if time_of(row) < BOUNDARY]
    assert seen.incremental == [row for row in saved if BOUNDARY <= time_of(row) < END]
    assert min(len(seen.full), len(seen.incremental)) >= 20
    assert [row for row in saved if time_of(row) >= END]


def test_a_boundary_belongs_to_what_begins_there(seen: Seen) -> None:
    saved = times(seen.told["saved"])
    at_boundary = min(time for time in saved if time >= BOUNDARY)
    at_end = min(time for time in saved if time >= END)
    assert at_boundary - BOUNDARY <= LATENESS[seen.clock]
    assert at_end - END <= LATENESS[seen.clock]
    assert times(seen.incremental)[0] == at_boundary
    assert at_end not in times(seen.incremental)


def test_an_export_takes_its_time_and_tells_of_it(seen: Seen) -> None:
    assert seen.told["began"] == ["IN_PROGRESS", "IN_PROGRESS"]
    for kind in ("full", "incremental"):
        told = seen.told[kind]
        assert told["duration_s"] == told["summary_duration_s"]
        assert _EXPORT_TAKES_S <= told["duration_s"] < _EXPORT_TAKES_S + 1  # an incremental StartTime has no fraction
    assert datetime.fromisoformat(seen.told["ended_at"]) > END


def test_list_exports_gives_both_exports_one_a_page(seen: Seen) -> None:
    assert seen.told["listed"] == sorted((seen.told[kind]["arn"] for kind in ("full", "incremental")), reverse=True)


@pytest.mark.parametrize(
    ("kind", "window", "version", "view"),
    [
        ("full", [BOUNDARY], "2020-06-30", None),
        ("incremental", [BOUNDARY, END], "2023-08-01", "NEW_AND_OLD_IMAGES"),
    ],
)
def test_a_peer_reads_our_manifests(
    seen: Seen, kind: str, window: list[datetime], version: str, view: str | None
) -> None:
    told = seen.told[kind]
    summary = told["summary"]
    assert list(map(datetime.fromisoformat, told["summary_times"])) == window
    assert (summary["version"], summary.get("outputView")) == (version, view)
    assert summary["exportArn"] == told["arn"]
    assert summary["s3Bucket"] == _BUCKET
    assert summary["s3Prefix"] == "projects/incremental-export/"
    assert summary["manifestFilesS3Key"] == told["manifest"].replace("summary", "files")
    assert summary["itemCount"] == told["item_count"] == len(told["rows"])
    assert sum(file["item_count"] for file in told["files"]) == summary["itemCount"]
    assert len(told["files"]) == 4
    for file in told["files"]:
        assert file["md5"] == file["md5_of_body"]
        assert file["etag"] == file["etag_in_s3"].strip('"')


def test_a_full_export_can_be_described_from_its_folder_alone(seen: Seen) -> None:
    assert seen.told["full_in_s3"] == seen.told["full_described"]


def test_a_peer_reads_the_items_of_the_full_export(seen: Seen) -> None:
    items = [{name: next(iter(value.values())) for name, value in item.items()} for item in seen.told["full_items"]]
    rows = [{**item, "value": int(item["value"])} for item in items]
    assert sorted(rows, key=time_of) == seen.full


def test_ddb_lake_reads_the_same_rows_as_the_client(seen: Seen) -> None:
    key = ItemSchema.empty((KeyAttribute("id", "S", "HASH"),))
    full, incremental = seen.manifest("full"), seen.manifest("incremental")
    assert full.time == BOUNDARY
    assert incremental.window is not None
    assert (incremental.window.start, incremental.window.end) == (BOUNDARY, END)
    files = seen.files(full)
    schema = learn_items(files, key)
    frames = [frame for file in files for frame in decode_items(file, schema, 0)]
    assert rows_of(frames, schema) == seen.full
    files = seen.files(incremental)
    schema = learn_changes(files, key)
    frames = [frame for file in files for frame in decode_changes(file, schema)]
    assert not any(frame["_deleted"].any() for frame in frames)
    assert rows_of(frames, schema) == seen.incremental


def rows_of(frames: list[Any], schema: ItemSchema) -> list[dict[str, Any]]:
    items = [encode_item(row, schema) for frame in frames for row in frame.iter_rows(named=True)]
    rows = [{"id": item["id"]["S"], "time": item["time"]["S"], "value": int(item["value"]["N"])} for item in items]
    return sorted(rows, key=time_of)
