"""The conformance suite passes on the embedded AWS, and fails where the rules are broken."""

import subprocess
import sys

from moto.server import ThreadedMotoServer

COMMAND = [sys.executable, "-m", "ddb_lake_tests.conformance"]


def run(*options: str) -> tuple[int, list[str]]:
    """Run the suite, and return its exit status and its lines."""
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_the_embedded_aws_fails_no_check_and_none_is_skipped() -> None:
    status, lines = run()
    assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
    assert lines[-1] == f"{len(lines) - 1} passed, 0 failed, 0 skipped"
    assert len(lines) > 50
    assert status == 0


def test_plain_moto_fails() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        status, lines = run("--endpoint", f"http://{host}:{port}", "--only", "ClientRequestToken")
    finally:
        server.stop()
    assert status == 1
    assert lines[0].startswith("FAILED a transaction with the same ClientRequestToken is done once")
    assert "n after two requests is {'N': '2'}, expected {'N': '1'}" in lines[0]
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_what_no_check_is_named_after_is_refused() -> None:
    done = subprocess.run([*COMMAND, "--only", "no rule says this"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "no check has 'no rule says this' in its rule\n")
