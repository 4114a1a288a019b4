"""`make dev`: the embedded AWS with a demonstration table, and the Dagster UI that keeps it in step with a lake.

Everything it makes is in `.dev/` and `.dagster/` of the current folder, so that a second start goes on where the
first stopped. Nothing here is needed to run on the real AWS.
"""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

import boto3

from ddb_lake.config import PATH_VARIABLE, Settings, load_settings
from ddb_lake.embedded_aws import Control
from ddb_lake.errors import DdbLakeError
from ddb_lake.measurements import BUCKET, REGION, TABLE, Measurements, Writer, create
from ddb_lake.resources import EMBEDDED_KEY
from ddb_lake.windows import floor_quarter_hour, format_time

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
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    processes: list[subprocess.Popen[bytes]] = []
    writer: Writer | None = None
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell without job control starts its background jobs with SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        settings = _settings()
        ui_port = int(os.environ.get("DAGSTER_PORT", "3000"))
        endpoint_port = int(settings.aws.endpoint.rpartition(":")[2])
        for port, variable in ((ui_port, "DAGSTER_PORT=3001 make dev"), (endpoint_port, "AWS_PORT=4567 make dev")):
            _require_free(port, variable)
        processes.append(_start_aws(settings.aws.endpoint))
        writer = _start_writer(settings)
        processes.append(_start_dagster(ui_port))
        _wait_for(f"http://127.0.0.1:{ui_port}/server_info", processes, "the Dagster UI")
        _greet(settings, ui_port)
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        raise StartFailed("the embedded AWS or Dagster has ended by itself; see its last lines above")
    except KeyboardInterrupt:
        _say("\nStopping …")
    except (DdbLakeError, ValueError) as error:
        _say(str(error))
        raise SystemExit(1) from error
    finally:
        if writer is not None:
            writer.stop()
        for process in reversed(processes):
            _stop(process)
    _say("Stopped. `make dev` goes on from here; `rm -r .dev .dagster` begins anew.")


def _settings() -> Settings:
    """Write the demonstration's lake.yaml at the first start, and read it."""
    path = HOME / "lake.yaml"
    if not path.exists():
        HOME.mkdir(exist_ok=True)
        port = int(os.environ.get("AWS_PORT", "4566"))
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


def _start_aws(endpoint: str) -> subprocess.Popen[bytes]:
    process = _spawn(
        "ddb_lake.embedded_aws",
        *("--port", endpoint.rpartition(":")[2]),
        *("--journal", str(HOME / "aws.sqlite")),
        *("--delay", str(EXPORT_SECONDS)),
        *("--clock", "real"),
    )
    try:
        _wait_for(f"{endpoint}/_local/health", [process], "the embedded AWS")
    except BaseException:
        _stop(process)
        raise
    return process


def _start_writer(settings: Settings) -> Writer:
    """Create the demonstration's table with its past, unless a start before has, and begin to write to it."""
    endpoint = settings.aws.endpoint
    session = boto3.Session(EMBEDDED_KEY, EMBEDDED_KEY, region_name=REGION)
    dynamodb = session.client("dynamodb", endpoint_url=endpoint)
    if TABLE not in dynamodb.list_tables()["TableNames"]:
        start = settings.tables[0].start - timedelta(hours=1)
        _say(f"Creating the table {TABLE} with writes since {format_time(start)} …")
        give_past(Control(endpoint), session, start, datetime.now(UTC), Measurements(seed=1))
    writer = Writer(dynamodb, Measurements(seed=random.randrange(1 << 32)))
    writer.start()
    return writer


def give_past(
    control: Control, session: boto3.Session, start: datetime, end: datetime, measurements: Measurements
) -> None:
    """Create the demonstration's table, backdated, with point-in-time recovery on and a write about every second."""
    create(session.client("dynamodb", endpoint_url=control.url), session.client("s3", endpoint_url=control.url))
    control.backdate(REGION, TABLE, start)
    control.history(REGION, TABLE, measurements.history(start, end))


def _start_dagster(port: int) -> subprocess.Popen[bytes]:
    return _spawn(
        "dagster",
        *("dev", "--workspace", "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)),
        environment={PATH_VARIABLE: str(HOME / "lake.yaml")},
    )


def _spawn(module: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )


def _wait_for(url: str, processes: list[subprocess.Popen[bytes]], what: str) -> None:
    """Wait until a URL answers, or raise when a process that should serve it has ended."""
    deadline = time.monotonic() + _STARTUP_SECONDS
    while time.monotonic() < deadline:
        if any(process.poll() is not None for process in processes):
            raise StartFailed(f"{what} did not start; see its last lines above")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise StartFailed(f"{what} does not answer at {url} within {_STARTUP_SECONDS} s")


def _require_free(port: int, remedy: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartFailed(f"port {port} of 127.0.0.1 is in use; stop what uses it, or: {remedy}") from error


def _greet(settings: Settings, port: int) -> None:
    replica = f"{os.path.relpath(settings.lake.uri)}/{TABLE}/replica"
    _say(
        f"""
  The Dagster UI    http://127.0.0.1:{port}   (asset graph: http://127.0.0.1:{port}/asset-groups)
  The lake          {os.path.relpath(settings.lake.uri)}   (the table's current state: {replica})
  The embedded AWS  {settings.aws.endpoint}   (any AWS client: AWS_ENDPOINT_URL, region {REGION}, any keys)

  The bootstrap and the closed windows materialise by themselves within two minutes, new ones as they close.
  To query the lake:

    .venv/bin/python -c "import polars as pl; print(pl.scan_delta('{replica}').sort('time').tail().collect())"

  Ctrl-C stops everything.
"""
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and end it where it does not."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
