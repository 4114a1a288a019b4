"""Starts the embedded AWS alone: `python -m ddb_lake.embedded_aws --port 4566 --journal FILE`."""

import argparse
import gc
import json
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.embedded_aws.access import ADMIN_KEY, AccessRules
from ddb_lake.embedded_aws.clock import MODES
from ddb_lake.errors import DdbLakeError
from ddb_lake.windows import parse_time


def main() -> int:
    """Serve until SIGINT or SIGTERM; return the exit status."""
    options = _parser().parse_args()
    stop = threading.Event()

    def request_stop(_signal: int, _frame: object) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, request_stop)
    # Items and lines of a history live long and hold no cycles: to look through them often is in vain.
    gc.set_threshold(100_000, 20, 100)
    try:
        with EmbeddedAws(
            options.journal,
            port=options.port,
            delay=options.delay,
            clock=options.clock,
            at=options.at,
            files=options.files,
            host=options.host,
            reach="any" if options.allow_any_host else "loopback",
            access=_access(options.policy, options.admin_key),
        ) as aws:
            sys.stdout.write(f"The embedded AWS is ready: AWS_ENDPOINT_URL={aws.url}\n")
            sys.stdout.flush()
            stop.wait()
    except (DdbLakeError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ddb_lake.embedded_aws", description=__doc__)
    parser.add_argument("--port", type=int, default=4566, help="0 picks a free port (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument(
        "--allow-any-host", action="store_true", help="listen on any --host, for all who reach it to read and change"
    )
    parser.add_argument("--policy", type=Path, help="IAM policy (JSON) that binds all access keys but the admins'")
    parser.add_argument(
        "--admin-key", action="append", help=f"access key id that the policy doesn't bind (default: {ADMIN_KEY})"
    )
    parser.add_argument("--journal", type=Path, help="file that brings everything back after a restart")
    parser.add_argument("--delay", type=float, default=0, help="seconds an export takes (default: %(default)s)")
    parser.add_argument("--files", type=int, default=4, help="data files of an export (default: %(default)s)")
    parser.add_argument("--clock", choices=MODES, default="real", help="how time passes (default: %(default)s)")
    parser.add_argument("--at", type=_time, help="where the clock begins, ISO 8601 with a Z; not for real")
    return parser


def _access(policy: Path | None, admin_keys: list[str] | None) -> AccessRules | None:
    if policy is None:
        return None
    document = json.loads(policy.read_text(encoding="utf-8"))
    return AccessRules.read({"policy": document, "admin_keys": admin_keys or [ADMIN_KEY]})


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
