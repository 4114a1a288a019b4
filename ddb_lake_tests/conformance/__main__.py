"""Runs the checks and prints a line for each: `python -m ddb_lake_tests.conformance --endpoint URL`."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from botocore.exceptions import BotoCoreError, ClientError

from ddb_lake_tests.conformance import check_exports, check_limits, check_requests, check_writes
from ddb_lake_tests.conformance.checks import Check, Skipped
from ddb_lake_tests.conformance.target import Options, Target

Outcome = Literal["ok", "FAILED", "skipped"]


_ALL = [*check_requests.CHECKS, *check_writes.CHECKS, *check_exports.CHECKS, *check_limits.CHECKS]


def main() -> int:
    """Run all checks; return 0 only if none has failed."""
    options = _parser().parse_args()
    chosen = [check for check in _ALL if options.only in check.rule]
    if not chosen:
        sys.stderr.write(f"no check has {options.only!r} in its rule\n")
        return 2
    with _endpoint(options) as endpoint:
        target = Target(Options(endpoint, options.region, options.patient))
        counts: Counter[Outcome] = Counter()
        try:
            target.create_bucket()
            for check in chosen:
                counts[_run(check, target)] += 1
        except (ClientError, BotoCoreError) as error:
            _say(f"FAILED the bucket {target.bucket}: {error}")
            return 1
        finally:
            for left in target.clean_up():
                _say(f"left behind: {left}")
    _say(f"{counts['ok']} passed, {counts['FAILED']} failed, {counts['skipped']} skipped")
    return 1 if counts["FAILED"] else 0


def _run(check: Check, target: Target) -> Outcome:
    outcome: Outcome
    try:
        outcome, seen = "ok", check.run(target)
    except Skipped as reason:
        outcome, seen = "skipped", str(reason)
    except Exception as error:  # noqa: BLE001  whatever an endpoint answers, the other checks go on
        outcome, seen = "FAILED", f"{type(error).__name__}: {error}"
    _say(f"{outcome} {check.rule}: {' '.join(seen.split())[:400]}")
    return outcome


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextmanager
def _endpoint(options: argparse.Namespace) -> Iterator[str | None]:
    """Yield the URL under test; without one, that of an embedded AWS which runs meanwhile."""
    if options.endpoint:
        yield None if options.endpoint == "aws" else options.endpoint
        return
    # Only here: against another endpoint the suite needs boto3 alone.
    from ddb_lake.embedded_aws import EmbeddedAws

    with EmbeddedAws(clock="offset") as aws:
        yield aws.url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ddb_lake_tests.conformance", description=__doc__)
    parser.add_argument(
        "--endpoint",
        help="the URL under test, or 'aws' for AWS itself with the environment's credentials "
        "(default: an embedded AWS of its own)",
    )
    parser.add_argument("--region", default="us-east-1", help="the region (default: %(default)s)")
    parser.add_argument("--patient", action="store_true", help="wait in real time where no clock can be moved")
    parser.add_argument("--only", default="", help="run the checks with this text in their rule")
    return parser


if __name__ == "__main__":
    sys.exit(main())
