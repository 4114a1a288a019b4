"""`python -m ddb_lake.embedded_aws` serves until it is told to stop."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ddb_lake.embedded_aws import Control

COMMAND = [sys.executable, "-m", "ddb_lake.embedded_aws", "--port", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--journal", str(tmp_path / "aws.sqlite"), "--delay", "300", "--clock", "offset"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().rpartition("=")[2]
            control = Control(url)
            assert control.health()["mode"] == "offset"
            assert control.settings()["delay_seconds"] == 300
        finally:
            process.send_signal(number)
            output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aws.sqlite", "aws.sqlite.objects"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--host", "0.0.0.0"], "loopback alone"),
        (["--clock", "real", "--at", "2026-11-24T12:00:00Z"], "a real clock can't be set"),
        (["--files", "0"], "the setting files can't be 0"),
        (["--journal", "/dev/null/journal"], "can't be used as the journal"),
    ],
)
def test_a_bad_option_is_explained(options: list[str], reason: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
