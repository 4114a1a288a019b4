"""`make dev`: the embedded AWS with a demonstration table, and the Dagster UI that keeps it in step with a lake.

Everything it makes is in `.dev/` and `.dagster/` of the current folder, so that a second start goes on where the
first stopped. Nothing here is needed to run on the real AWS.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import boto3

from ddb_lake.config import PATH_VARIABLE, Settings, load_settings
from ddb_lake.embedded_aws import Control
from ddb_lake.errors import DdbLakeError
from ddb_lake.measurements import BUCKET, REGION, TABLE, Measurements, Writer, create
from ddb_lake.resources import EMBEDDED_KEY, DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import floor_quarter_hour, format_time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

HOME = Path(".dev")
PAST = timedelta(hours=3)
"""How much history there is before the first start: twelve windows."""
EXPORT_SECONDS = 5
"""How long the embedded AWS's exports take; the real one's take about five minutes."""

_STARTUP_SECONDS = 180
_STOP_SECONDS = 30


class StartFailed(DdbLakeError):
    """Something that `make dev` needs did not start."""


def main() -> None:
    """Run until Ctrl-C."""
    services: list[Service] = []
    writer: Writer | None = None
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell without job control starts its background jobs with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        settings = _settings()
        ui_port = _port_from("DAGSTER_PORT", 3000)
        _require_free(ui_port, "name another one: DAGSTER_PORT=3001 make dev")
        _require_free(_port_of(settings.aws.endpoint), f"name another one in {HOME}/lake.yaml")
        services.append(_aws(settings.aws.endpoint))
        services[-1].wait_until_ready()
        writer = _start_writer(settings)
        services.append(_dagster(ui_port))
        services[-1].wait_until_ready()
        _greet(settings, ui_port)
        _watch(settings, services, writer)
    except KeyboardInterrupt:
        _say("\nStopping …")
    except (DdbLakeError, ValueError) as error:
        _say(str(error))
        raise SystemExit(1) from error
    finally:
        if writer is not None:
            writer.stop()
        for service in reversed(services):
            service.stop()
    _say("Stopped. `make dev` goes on from here; `rm -r .dev .dagster` begins anew.")


class Service:
    """A process that serves HTTP and writes what it has to say to a file of its own.

    Args:
        name: What people call it.
        url: What answers once it is ready.
        log: The file for its output.
        arguments: The Python module to run, and its arguments.
        environment: Variables for it alone.
    """

    def __init__(
        self, name: str, url: str, log: Path, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._url = url
        self._log = log
        with log.open("ab") as output:
            # A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env={name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
                | (environment or {}),  # without DAGSTER_HOME it is the dagster.yaml of this folder that counts
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the URL answers.

        Raises:
            StartFailed: If the process ends before, or takes too long.
        """
        deadline = time.monotonic() + _STARTUP_SECONDS
        while time.monotonic() < deadline:
            self.require_running()
            try:
                with urllib.request.urlopen(self._url, timeout=5):
                    return
            except OSError:
                time.sleep(0.25)
        raise StartFailed(f"{self.name} does not answer at {self._url} within {_STARTUP_SECONDS} s; see {self._log}")

    def require_running(self) -> None:
        """Raise if the process has ended.

        Raises:
            StartFailed: With its last lines.
        """
        if self._process.poll() is not None:
            last = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise StartFailed(f"{self.name} has ended by itself; the last lines of {self._log}:\n{last}")

    def stop(self) -> None:
        """Ask the process to end, and end it, and whatever it has started, where it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        # Run workers outlive Dagster; without the embedded AWS they could only fail. The next start finds such
        # runs without a process and executes them again.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _settings() -> Settings:
    """Write the demonstration's lake.yaml at the first start, and read it."""
    path = HOME / "lake.yaml"
    if not path.exists():
        HOME.mkdir(exist_ok=True)
        port = _port_from("AWS_PORT", 4566)
        start = floor_quarter_hour(datetime.now(UTC)) - PAST
        partial = path.with_suffix(".new")
        partial.write_text(_LAKE_YAML.format(port=port, start=format_time(start)))
        partial.rename(path)
    return load_settings(path)


_LAKE_YAML = f"""\
# Written by `make dev` at its first start; lake.yaml in the project's root explains the keys.
aws:
  mode: embedded
  endpoint: http://127.0.0.1:{{port}}
lake: lake
sensor:
  running: true
  interval_seconds: 10
tables:
  - table: {TABLE}
    region: {REGION}
    start: {{start}}
    bucket: {BUCKET}
    prefix: exports
    recovery: enable
"""


def _aws(endpoint: str) -> Service:
    return Service(
        "the embedded AWS",
        f"{endpoint}/_local/health",
        HOME / "aws.log",
        [
            "ddb_lake.embedded_aws",
            *("--port", str(_port_of(endpoint))),
            *("--journal", str(HOME / "aws.sqlite")),
            *("--delay", str(EXPORT_SECONDS)),
            *("--clock", "real"),
        ],
    )


def _dagster(port: int) -> Service:
    return Service(
        "Dagster",
        f"http://127.0.0.1:{port}/server_info",
        HOME / "dagster.log",
        ["dagster", "dev", "--workspace", "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)],
        {PATH_VARIABLE: str(HOME / "lake.yaml")},
    )


def _start_writer(settings: Settings) -> Writer:
    """Create the demonstration's table with its past, unless a start before has, and begin to write to it."""
    endpoint = settings.aws.endpoint
    session = boto3.Session(EMBEDDED_KEY, EMBEDDED_KEY, region_name=REGION)
    dynamodb = session.client("dynamodb", endpoint_url=endpoint)
    seeded = HOME / "seeded"
    if not seeded.exists():
        _drop(dynamodb)
        start = settings.tables[0].start - timedelta(hours=1)
        _say(f"Creating the table {TABLE} with writes since {format_time(start)} …")
        give_past(endpoint, session, start, datetime.now(UTC), Measurements(seed=1))
        seeded.touch()
    writer = Writer(dynamodb, Measurements(seed=random.randrange(1 << 32)))
    writer.start()
    return writer


def _drop(dynamodb: DynamoDBClient) -> None:
    """Remove the table that a first start has left without its whole past."""
    if TABLE in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=TABLE)


def give_past(
    endpoint: str, session: boto3.Session, start: datetime, end: datetime, measurements: Measurements
) -> None:
    """Create the demonstration's table as if at `start`, with point-in-time recovery on and writes until `end`."""
    dynamodb = session.client("dynamodb", endpoint_url=endpoint)
    create(dynamodb, session.client("s3", endpoint_url=endpoint))
    dynamodb.update_continuous_backups(
        TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    control = Control(endpoint)
    control.backdate_table(REGION, TABLE, created_at=start, pitr_enabled_at=start)
    control.history(REGION, TABLE, measurements.history(start, end))


def _port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def _port_from(variable: str, default: int) -> int:
    """Return the port that an environment variable names.

    Raises:
        StartFailed: If it names none.
    """
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StartFailed(f"{variable} is {text!r}; write a port's number, such as {default}")
    return int(text)


def _require_free(port: int, remedy: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartFailed(
                f"port {port} of 127.0.0.1 is in use; end what uses it (an earlier `make dev`?), or {remedy}"
            ) from error


def _greet(settings: Settings, port: int) -> None:
    replica = f"{os.path.relpath(settings.lake.uri)}/{TABLE}/replica"
    frame = f"pl.scan_delta('{replica}').select('id', 'time', 'value').sort('time').tail().collect()"
    query = f'.venv/bin/python -c "import polars as pl; print({frame})"'
    _say(
        f"""
  The Dagster UI    http://127.0.0.1:{port}   (asset graph: http://127.0.0.1:{port}/asset-groups)
  The lake          {os.path.relpath(settings.lake.uri)}   (the table's current state: {replica})
  The embedded AWS  {settings.aws.endpoint}   (any AWS client: AWS_ENDPOINT_URL, region {REGION}, any keys)

  The bootstrap and the closed windows materialise by themselves within two minutes, new ones as they close.
  To query the lake:

    {query}

  What the services say: .dev/aws.log, .dev/dagster.log. Ctrl-C stops everything.
"""
    )


def _watch(settings: Settings, services: list[Service], writer: Writer) -> None:
    """Tell each advance of the replica, until interrupted."""
    table = settings.tables[0]
    pipeline = open_pipeline(table, DynamoDBExports.of(settings.aws), Lake.of(settings.lake, settings.aws))
    told: int | None = None
    while True:
        version = pipeline.replica.version()
        if version is not None and version != told:
            told = version
            until = max((window.end for window in pipeline.replica.coverage()), default=table.start)
            _say(
                f"  {datetime.now(UTC):%H:%M:%S} UTC  {table.name}: {pipeline.replica.count():,} items, "
                f"covered until {format_time(until)} (Delta version {version})"
            )
        for service in services:
            service.require_running()
        if not writer.is_alive():
            raise StartFailed("the demonstration's writer has ended by itself; its error is above")
        time.sleep(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
