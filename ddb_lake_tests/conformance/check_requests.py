"""What is refused at once, in which order, with which code and text, by each operation of the export API."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ddb_lake_tests.conformance.checks import Checks, expect, refused
from ddb_lake_tests.conformance.target import Target, window

CHECKS = Checks()

_TIME = "InvalidExportTimeException"
_VALIDATION = "ValidationException"


def _soon(target: Target) -> Any:
    return target.now() + timedelta(hours=1)


def _created(target: Target) -> Any:
    return target.dynamodb.describe_table(TableName=target.name)["Table"]["CreationDateTime"]


_REFUSED: list[tuple[str, Callable[[Target], dict[str, Any]], str, str]] = [
    # the model's constraints
    ("an unknown ExportFormat", lambda _: {"ExportFormat": "CSV"}, _VALIDATION,
     "1 validation error detected: Value 'CSV' at 'exportFormat' failed to satisfy constraint: "
     "Member must satisfy enum value set: [ION, DYNAMODB_JSON]"),
    ("an unknown ExportType", lambda _: {"ExportType": "SOME"}, _VALIDATION, "Value 'SOME' at 'exportType'"),
    ("an unknown S3SseAlgorithm", lambda _: {"S3SseAlgorithm": "aws:kms"}, _VALIDATION,
     "Value 'aws:kms' at 's3SseAlgorithm' failed to satisfy constraint"),
    ("a bucket named by its ARN", lambda _: {"S3Bucket": "arn:aws:s3:::b"}, _VALIDATION,
     "Value 'arn:aws:s3:::b' at 's3Bucket' failed to satisfy constraint"),
    ("a malformed S3BucketOwner", lambda _: {"S3BucketOwner": "not-an-account"}, _VALIDATION,
     "Value 'not-an-account' at 's3BucketOwner' failed to satisfy constraint"),
    ("the view NEW_IMAGES, which only the manual knows", lambda t: window(t.now(), None, "NEW_IMAGES"), _VALIDATION,
     "Value 'NEW_IMAGES' at 'incrementalExportSpecification.exportViewType' failed to satisfy constraint"),
    # couplings
    ("a window without ExportType",
     lambda t: {"IncrementalExportSpecification": {"ExportFromTime": t.now()}}, _VALIDATION,
     "Export Type expected to be Incremental Export when incremental export specification is provided"),
    ("a window with FULL_EXPORT", lambda t: window(t.now(), None) | {"ExportType": "FULL_EXPORT"}, _VALIDATION,
     "When Export Type is Full Export , Incremental Export Specification should not be provided"),
    ("INCREMENTAL_EXPORT without a window", lambda _: {"ExportType": "INCREMENTAL_EXPORT"}, _VALIDATION,
     "Incremental Export Specification expected when export type is set as Incremental Export"),
    ("a window without ExportFromTime", lambda _: window(None, None), _VALIDATION,
     "ExportFromTime must be provided in IncrementalExportSpecification"),
    ("a KMS key without KMS", lambda _: {"S3SseKmsKeyId": "alias/aws/s3"}, _VALIDATION,
     "KMS Key Id is not supported for this encryption type"),
    ("a malformed KMS key", lambda _: {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": "not a key"}, _VALIDATION,
     "Value 'not a key' at 's3SseKmsKeyId' failed to satisfy constraint"),
    ("an empty FilterSpecification", lambda _: {"FilterSpecification": {}}, _VALIDATION,
     "Invalid FilterSpecification: The specification can not be empty"),
    # the table
    ("a table's bare name", lambda t: {"TableArn": t.name}, _VALIDATION, "tableArn is not a valid ARN"),
    ("an index", lambda t: {"TableArn": f"{t.table()}/index/i"}, _VALIDATION, "Table ARN is invalid."),
    ("a table that isn't there", lambda t: {"TableArn": f"{t.table()}-not"}, "TableNotFoundException",
     "Table not found: "),
    ("another account's table", lambda t: {"TableArn": t.table().replace(t.account, "111111111111")},
     "AccessDeniedException", "Access is denied"),
    # times of a full export
    ("an ExportTime in the future", lambda t: {"ExportTime": _soon(t)}, _TIME, "Export Time is invalid"),
    ("an ExportTime before recovery", lambda t: {"ExportTime": _created(t) - timedelta(hours=1)}, _TIME,
     "Export Time is invalid"),
    # windows, in the order of AWS's checks
    ("a window before the table's creation, too short and in the future",
     lambda t: window(_created(t) - timedelta(minutes=5), _soon(t)), _TIME,
     "Incremental export period from time cannot be less than the table creation time : "),
    ("a window that ends in the future", lambda t: window(t.now(), _soon(t)), _TIME,
     "Incremental export period to time cannot be greater than the current time : "),
    ("a window that ends where it begins", lambda t: (lambda now: window(now, now))(t.now()), _TIME,
     "Incremental export period from time should not be greater or equal to incremental export period to time"),
    ("a window of less than 15 minutes", lambda t: window(t.now() - timedelta(seconds=2), t.now()), _TIME,
     "Difference between export period from time and export period to time is less than 15 minutes"),
]  # fmt: skip


def _add(rule: str, parameters: Callable[[Target], dict[str, Any]], code: str, text: str) -> None:
    @CHECKS.add(f"refused: {rule}")
    def run(target: Target) -> str:
        target.table()
        target.made("age", lambda: target.pass_time(2) or True)
        with refused(code, text):
            target.start(**parameters(target))
        return f"{code}: {text}"


for _case in _REFUSED:
    _add(*_case)


@CHECKS.add("refused: a refused request leaves no export and reserves no token")
def _no_trace(target: Target) -> str:
    before = target.dynamodb.list_exports(TableArn=target.table())["ExportSummaries"]
    with refused(_TIME, "less than 15 minutes"):
        target.start_window(target.now() - timedelta(seconds=1), target.now(), ClientToken=f"{target.name}-refused")
    after = target.dynamodb.list_exports(TableArn=target.table())["ExportSummaries"]
    expect("the number of exports", len(after), len(before))
    export = target.start(ClientToken=f"{target.name}-refused")
    return f"the token of a refused request began {export['ExportArn'].rpartition('/')[2]}"


@CHECKS.add("refused: without recovery no export, whatever the bucket; the table's creation is looked at first")
def _without_recovery(target: Target) -> str:
    name = f"{target.name}-off"
    arn = target.create_table(name)
    target.switch_recovery(name, enabled=False)
    with refused("PointInTimeRecoveryUnavailableException", f"not enabled for table '{name}'"):
        target.start(TableArn=arn, S3Bucket=f"{target.bucket}-not")
    long_ago = target.now() - timedelta(hours=1)
    with refused(_TIME, "cannot be less than the table creation time"):
        target.start_window(long_ago, long_ago + timedelta(minutes=20), TableArn=arn)
    first = target.switch_recovery(name, enabled=True)
    target.pass_time(1)
    target.switch_recovery(name, enabled=False)
    second = target.switch_recovery(name, enabled=True)
    expect("RecoveryPeriodInDays", second["RecoveryPeriodInDays"], 35)
    if not second["EarliestRestorableDateTime"] > first["EarliestRestorableDateTime"]:
        raise AssertionError("EarliestRestorableDateTime didn't move when recovery was off and on again")
    return "PointInTimeRecoveryUnavailableException; off and on again resets EarliestRestorableDateTime"


@CHECKS.add("refused: DescribeExport of what is no export")
def _describe(target: Target) -> str:
    export = f"{target.table()}/export/01716790307109-5f9d6aaa"
    other = target.region.replace(target.region[:2], "eu" if target.region[:2] != "eu" else "us", 1)
    cases = [
        (target.table(), _VALIDATION, "Invalid Export ARN"),
        ("x" * 40, _VALIDATION, "Invalid Export ARN"),
        ("short", _VALIDATION, "length greater than or equal to 37"),
        (export, "ExportNotFoundException", f"Export not found: {export}"),
        (export.replace(target.region, other), "ExportNotFoundException", "Export not found: Invalid export arn"),
        (export.replace(target.account, "111111111111"), "AccessDeniedException", "Access is denied"),
    ]
    for arn, code, text in cases:
        with refused(code, text):
            target.dynamodb.describe_export(ExportArn=arn)
    return ", ".join(sorted({code for _, code, _ in cases}))


@CHECKS.add("refused: ListExports with 0 or 26 a page, or a NextToken that is none")
def _list(target: Target) -> str:
    for size in (0, 26):
        with refused(_VALIDATION, f"Value '{size}' at 'maxResults' failed to satisfy constraint"):
            target.dynamodb.list_exports(MaxResults=size)
    with refused(_VALIDATION, "Provided nextToken is invalid: nonsense"):
        target.dynamodb.list_exports(NextToken="nonsense")
    return "1 to 25 a page"
