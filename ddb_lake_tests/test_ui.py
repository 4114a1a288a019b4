"""`make dev` and Dagster's own daemon and API, as a person at the UI uses them. Takes minutes: `make test-ui`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from ddb_lake.config import PATH_VARIABLE, load_settings
from ddb_lake.dev import Service, give_past
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.measurements import BUCKET, REGION, TABLE, Measurements
from ddb_lake.parity import compare
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import Window, floor_quarter_hour, format_time, quarter_hours

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 300


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with what Dagster reads from the project's root."""
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


class Dev:
    """`make dev` in a folder, followed line by line."""

    def __init__(self, folder: Path, ui_port: int, aws_port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ddb_lake.dev"],
            cwd=folder,
            env={**os.environ, "DAGSTER_PORT": str(ui_port), "AWS_PORT": str(aws_port)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        self._watchdog.start()

    def until(self, *parts: str) -> str:
        """Read on until a line holds all the parts, and return it."""
        assert self.process.stdout
        for line in self.process.stdout:
            if all(part in line for part in parts):
                return line
        raise AssertionError(f"it ended before it said {parts}")

    def interrupt(self) -> str:
        """Press Ctrl-C; return what it says at last."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout
        last = self.process.stdout.read()
        assert self.process.wait() == 0
        self._watchdog.cancel()
        return last


def test_dev_follows_the_table_by_itself_and_a_second_start_goes_on(project):
    ports = free_port(), free_port()
    dev = Dev(project, *ports)
    dev.until("The Dagster UI")
    settings = load_settings(project / ".dev" / "lake.yaml")
    closed = settings.tables[0].start + timedelta(hours=3)
    line = dev.until("covered until", format_time(closed))
    assert "Stopped." in dev.interrupt()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0

    again = Dev(project, *ports)
    assert line.partition("UTC")[2] == again.until("covered until").partition("UTC")[2]
    again.interrupt()


def test_the_demo_ends_with_equal_tables(project):
    command = [sys.executable, "-m", "ddb_lake.demo"]
    demo = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert "Equal, item by item." in demo.stdout, demo.stderr[-2000:]
    assert demo.returncode == 0


class Api:
    """Dagster's GraphQL API, which the UI speaks."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def __call__(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def backfill(self, assets: list[str], partitions: list[str]) -> int:
        """Launch a backfill as the UI's dialog does, wait for its end, and return how many runs it took."""
        launched = self(
            """mutation ($params: LaunchBackfillParams!) {
                launchPartitionBackfill(backfillParams: $params) {
                    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={
                "assetSelection": [{"path": [TABLE, asset]} for asset in assets],
                "partitionNames": partitions,
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        query = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
            ... on PartitionBackfill { status runs { id status } } } }"""
        pause, told = threading.Event(), None
        for _ in range(PATIENCE_SECONDS):
            told = self(query, id=launched["backfillId"])["partitionBackfillOrError"]
            if told["status"].startswith("COMPLETED") or told["status"] == "FAILED":
                assert told["status"] == "COMPLETED_SUCCESS", told
                return len(told["runs"])
            pause.wait(1)
        raise AssertionError(f"the backfill does not end: {told}")


@contextmanager
def dagster(project: Path, config: Path) -> Iterator[Api]:
    port = free_port()
    service = Service(
        "Dagster",
        f"http://127.0.0.1:{port}/server_info",
        project / "dagster.log",
        ["dagster", "dev", "-w", "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)],
        {PATH_VARIABLE: str(config)},
    )
    try:
        service.wait_until_ready()
        yield Api(port)
    finally:
        service.stop()


def test_a_backfill_of_a_day_costs_one_export_and_a_single_window_can_be_materialised(project, monkeypatch):
    monkeypatch.chdir(project)
    end = floor_quarter_hour(datetime.now(UTC))
    day = Window(end - timedelta(days=1), end)
    session = boto3.Session("key", "secret", region_name=REGION)
    with EmbeddedAws(delay=5) as aws:
        give_past(aws.url, session, day.start - timedelta(hours=1), end, Measurements(seed=2))
        config = project / "lake.yaml"
        config.write_text(
            f"aws: {{mode: embedded, endpoint: '{aws.url}'}}\nlake: lake\n"
            f"tables: [{{table: {TABLE}, region: {REGION}, start: {format_time(day.start)}, bucket: {BUCKET}}}]\n"
        )
        settings = load_settings(config)
        pipeline = open_pipeline(
            settings.tables[0], DynamoDBExports.of(settings.aws), Lake.of(settings.lake, settings.aws)
        )

        def started() -> int:
            return len(list(pipeline.exports.list_exports(pipeline.table)))

        windows = [window.key for window in quarter_hours(day)]
        chain = ["raw_export", "decoded_items", "delta_table"]
        with dagster(project, config) as api:
            assert api.backfill(["initial_export", "initial_items", "initial_table"], ["initial"]) == 1
            assert started() == 1
            assert api.backfill(chain, windows) == 1
            assert started() == 2
            assert pipeline.replica.coverage() == (day,)
            assert api.backfill(chain, windows[:1]) == 1  # served by the same export
            assert started() == 2
        pages = session.client("dynamodb", endpoint_url=aws.url).get_paginator("scan")
        items = (item for page in pages.paginate(TableName=TABLE) for item in page["Items"])
        assert compare(pipeline, items).equal
