"""Limits in time and number. These checks come last: they move the clock far ahead, and hurry."""

from datetime import timedelta

from botocore.exceptions import ClientError

from ddb_lake_tests.conformance.checks import Checks, Skipped, Violation, error_of, expect, refused
from ddb_lake_tests.conformance.target import Target, whole_second

CHECKS = Checks()


@CHECKS.add("exports can take as long as on AWS")
def _durations(target: Target) -> str:
    target.local()
    if not target.can_move_clock:
        raise Skipped("minutes must pass, on a clock that can be moved")
    with target.settings(delay_seconds="aws"):
        export = target.start(S3Prefix="slow")
    target.pass_time(120)
    expect("ExportStatus after two minutes", target.describe(export)["ExportStatus"], "IN_PROGRESS")
    ended = target.ended(export)
    return f"{(ended['EndTime'] - ended['StartTime']).total_seconds():.0f} s"


@CHECKS.add("300 exports may run at once")
def _quota(target: Target) -> str:
    target.local()
    if not target.can_move_clock:
        raise Skipped("an hour must pass until they have ended, on a clock that can be moved")
    # SDKs try again where this limit is exceeded; here one refusal is enough.
    name = {"TableArn": target.table(), "S3Bucket": f"{target.bucket}-not"}
    begun = 0
    with target.settings(delay_seconds=3_600):
        for _ in range(301):
            try:
                target.hasty.export_table_to_point_in_time(**name)
                begun += 1
            except ClientError as error:
                expect("the error", error_of(error)["Code"], "LimitExceededException")
                break
        else:
            raise Violation("301 exports run at once")
    target.pass_time(3_600)
    target.start()
    return f"{begun} were begun, and one more once they had ended"


@CHECKS.add("a ClientToken means nothing after eight hours")
def _token_ends(target: Target) -> str:
    token = f"{target.name}-hours"
    first = target.start(ClientToken=token)
    target.pass_time(8 * 3_600 - 60)
    expect("ExportArn before", target.start(ClientToken=token)["ExportArn"], first["ExportArn"])
    target.pass_time(61)
    if target.start(ClientToken=token)["ExportArn"] == first["ExportArn"]:
        raise Violation("the same export was given again")
    return "another export after eight hours"


@CHECKS.add("a window has at most 24 hours")
def _long_window(target: Target) -> str:
    target.table()
    start = whole_second(target.now())
    target.pass_time(25 * 3_600)
    with refused("InvalidExportTimeException", "24 hours"):
        target.start_window(start, start + timedelta(hours=24, seconds=1))
    export = target.start_window(start, start + timedelta(hours=24))
    expect("BilledSizeBytes", target.ended(export)["BilledSizeBytes"], 10_000_000)
    return "24 hours are accepted, a second more isn't"


@CHECKS.add("an export that is older than 90 days is forgotten")
def _forgotten(target: Target) -> str:
    export = target.start(S3Prefix="old")
    target.pass_time(90 * 86_400 + 1)
    with refused("ExportNotFoundException"):
        target.describe(export)
    return "ExportNotFoundException"


@CHECKS.add("rapid calls are throttled: ExportTableToPointInTime and DescribeExport")
def _throttled(target: Target) -> str:
    if target.control is None:
        return _hurry(target)
    with target.settings(throttling="aws"):
        return _hurry(target)


def _hurry(target: Target) -> str:
    name = {"TableArn": f"{target.table()}-not", "S3Bucket": target.bucket}
    export = f"{target.table()}/export/01716790307109-5f9d6aaa"
    calls = {
        "ExportTableToPointInTime": lambda: target.hasty.export_table_to_point_in_time(**name),
        "DescribeExport": lambda: target.hasty.describe_export(ExportArn=export),
    }
    served: dict[str, int] = {}
    for operation, call in calls.items():
        for count in range(60):
            try:
                call()
            except ClientError as error:
                seen = error_of(error)
                if seen["Code"] == "ThrottlingException":
                    expect("the message", seen["Message"], "Rate exceeded")
                    served[operation] = count
                    break
        else:
            raise Violation(f"60 rapid calls of {operation} were served")
    return ", ".join(f"{operation} after {count}" for operation, count in served.items())
