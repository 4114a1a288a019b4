"""An export's life: what is echoed, tokens, failures that come later, files, lists, re-created tables."""

import gzip
import re
from datetime import timedelta
from typing import Any

from ddb_lake_tests.conformance.check_writes import scenario
from ddb_lake_tests.conformance.checks import Checks, Violation, expect, refused
from ddb_lake_tests.conformance.export_reader import read_export
from ddb_lake_tests.conformance.target import MINUTE, Target

CHECKS = Checks()

_ALWAYS = {
    "ClientToken", "ExportArn", "ExportFormat", "ExportStatus", "ExportTime", "S3Bucket", "S3SseAlgorithm",
    "StartTime", "TableArn", "TableId",
}  # fmt: skip
_ID = re.compile(r"\d{14}-[0-9a-f]{8}")
_DATA_FILE = re.compile(r"[a-z2-7]{26}\.json\.gz")
_FULL_SUMMARY = [
    "version", "exportArn", "startTime", "endTime", "tableArn", "tableId", "exportTime", "s3Bucket", "s3Prefix",
    "s3SseAlgorithm", "s3SseKmsKeyId", "manifestFilesS3Key", "billedSizeBytes", "itemCount", "outputFormat",
]  # fmt: skip
_WINDOW_SUMMARY = [
    "version", "exportArn", "startTime", "endTime", "tableArn", "tableId", "exportFromTime", "exportToTime",
    "s3Bucket", "s3Prefix", "s3SseAlgorithm", "s3SseKmsKeyId", "manifestFilesS3Key", "billedSizeBytes", "itemCount",
    "outputFormat", "outputView", "exportType",
]  # fmt: skip


def _silent(target: Target) -> Any:
    """Return an export of which nothing was said but table and bucket."""
    return target.made("silent", target.start)


@CHECKS.add("an export that begins is IN_PROGRESS and echoes defaults, but no ExportType, and no outcome")
def _begin(target: Target) -> str:
    export = _silent(target)
    expect("the members", set(export), _ALWAYS)
    expect("ExportStatus", export["ExportStatus"], "IN_PROGRESS")
    expect("ExportFormat", export["ExportFormat"], "DYNAMODB_JSON")
    expect("S3SseAlgorithm", export["S3SseAlgorithm"], "AES256")
    expect("ExportTime", export["ExportTime"], export["StartTime"])
    return ", ".join(sorted(export))


@CHECKS.add("the export's id is StartTime in milliseconds, and 8 hexadecimal digits")
def _id(target: Target) -> str:
    export = _silent(target)
    table, _, name = export["ExportArn"].rpartition("/export/")
    expect("the table in ExportArn", table, target.table())
    if not _ID.fullmatch(name):
        raise Violation(f"the export's id is {name}")
    expect("its time", int(name[:14]), round(export["StartTime"].timestamp() * 1000))
    return name


@CHECKS.add("ListExports tells an export at once, with its type")
def _listed(target: Target) -> str:
    export = _silent(target)
    found = {
        each["ExportArn"]: each for each in target.dynamodb.list_exports(TableArn=target.table())["ExportSummaries"]
    }
    summary = found.get(export["ExportArn"], {})
    expect("the members", set(summary), {"ExportArn", "ExportStatus", "ExportType"})
    expect("ExportType", summary["ExportType"], "FULL_EXPORT")
    return f"{len(found)} exports"


@CHECKS.add("what was sent is echoed: ExportType, S3Prefix, S3BucketOwner")
def _echo(target: Target) -> str:
    sent = {"ExportType": "FULL_EXPORT", "S3Prefix": "echo/", "S3BucketOwner": target.account}
    export = target.describe(target.start(**sent))
    for name, value in sent.items():
        expect(name, export.get(name), value)
    return ", ".join(sent)


@CHECKS.add("the same ClientToken gives the same export, and with other parameters or another table a conflict")
def _token(target: Target) -> str:
    token = f"{target.name}-token"
    first = target.start(ClientToken=token)
    expect("ExportArn of the replay", target.start(ClientToken=token)["ExportArn"], first["ExportArn"])
    conflict = ("ExportConflictException", "Duplicate request detected with conflicting parameters")
    with refused(*conflict):
        target.start(ClientToken=token, S3Prefix="other")
    other = target.made("other table", lambda: target.create_table(f"{target.name}-other"))
    with refused(*conflict):
        target.start(ClientToken=token, TableArn=other)
    second = target.start(ClientToken=f"{token}-2")
    if second["ExportArn"] == first["ExportArn"]:
        raise Violation("another token gave the same export")
    return "replayed; two conflicts"


@CHECKS.add("without a ClientToken each request begins another export")
def _no_token(target: Target) -> str:
    name = {"TableArn": target.table(), "S3Bucket": target.bucket}
    found = [target.dynamodb.export_table_to_point_in_time(**name)["ExportDescription"] for _ in range(2)]
    expect("the number of exports", len({each["ExportArn"] for each in found}), 2)
    return "two exports"


def _fails(target: Target, code: str, text: str, **parameters: Any) -> str:
    export = target.start(**parameters)
    expect("ExportStatus at first", export["ExportStatus"], "IN_PROGRESS")
    expect("FailureCode at first", export.get("FailureCode"), None)
    ended = target.ended(export)
    expect("ExportStatus", ended["ExportStatus"], "FAILED")
    expect("FailureCode", ended.get("FailureCode"), code)
    if text not in ended.get("FailureMessage", ""):
        raise Violation(f"FailureMessage is {ended.get('FailureMessage')!r}, expected {text!r}")
    if "EndTime" not in ended or "ExportManifest" in ended:
        raise Violation(f"a FAILED export has an EndTime and no ExportManifest, not {sorted(ended)}")
    return f"FAILED, {code}: {ended['FailureMessage'][:60]}"


@CHECKS.add("fails later: a bucket that isn't there; its ClientToken gives the FAILED export again")
def _no_bucket(target: Target) -> str:
    name = {"S3Bucket": f"{target.bucket}-not", "ClientToken": f"{target.name}-failed"}
    seen = _fails(target, "S3NoSuchBucket", "The specified bucket does not exist", **name)
    expect("ExportStatus of the replay", target.start(**name)["ExportStatus"], "FAILED")
    with refused("ExportConflictException"):
        target.start(ClientToken=name["ClientToken"])
    return seen


@CHECKS.add("fails later: a bucket of another owner")
def _wrong_owner(target: Target) -> str:
    return _fails(target, "S3AccessDenied", "Access Denied", S3BucketOwner="111111111111")


@CHECKS.add("fails later: a bucket whose policy denies")
def _denied(target: Target) -> str:
    with target.denying_policy():
        return _fails(target, "S3AccessDenied", "")


@CHECKS.add("fails later: a KMS key that isn't there")
def _no_key(target: Target) -> str:
    key = f"arn:aws:kms:{target.region}:{target.account}:key/deadbeef-dead-beef-dead-beefdeadbeef"
    return _fails(target, "KmsNotFoundException", "does not exist", S3SseAlgorithm="KMS", S3SseKmsKeyId=key)


@CHECKS.add("a COMPLETED export tells EndTime, ExportManifest, ItemCount and BilledSizeBytes besides")
def _outcome(target: Target) -> str:
    export = _silent(target)
    ended = target.ended(export)
    expect("ExportStatus", ended["ExportStatus"], "COMPLETED")
    expect("new members", set(ended) - set(export), {"EndTime", "ExportManifest", "ItemCount", "BilledSizeBytes"})
    expect("lost members", set(export) - set(ended), set())
    folder = f"AWSDynamoDB/{export['ExportArn'].rpartition('/')[2]}"
    expect("ExportManifest", ended["ExportManifest"], f"{folder}/manifest-summary.json")
    expect("a later description", target.describe(export), ended)
    return ended["ExportManifest"]


@CHECKS.add("files of a full export: its own data folder, manifests, checksums and _started")
def _full_files(target: Target) -> str:
    export = target.start(S3Prefix="full/")
    content = read_export(target, export)
    folder = f"full/AWSDynamoDB/{export['ExportArn'].rpartition('/')[2]}/"
    names = {key.removeprefix(folder) for key in target.object_keys(folder)}
    data = {name for name in names if name.startswith("data/")}
    manifests = {f"manifest-{kind}.{end}" for kind in ("files", "summary") for end in ("json", "md5")}
    expect("the other objects", names - data, manifests | {"_started"})
    expect("the data files", data, {each["dataFileS3Key"].removeprefix(folder) for each in content.files})
    if not all(_DATA_FILE.fullmatch(name.removeprefix("data/")) for name in data):
        raise Violation(f"data files are named {sorted(data)}")
    expect("the size of _started", len(target.read(f"{folder}_started")), 0)
    expect("the summary's fields", list(content.summary), _FULL_SUMMARY)
    expect("its version", content.summary["version"], "2020-06-30")
    expect("the fields of a file", list(content.files[0]), ["itemCount", "md5Checksum", "etag", "dataFileS3Key"])
    return f"{len(data)} data files in {folder}data/"


@CHECKS.add("files of incremental exports: in the data folder that they share")
def _window_files(target: Target) -> str:
    content = scenario(target).both
    for file in content.files:
        folder, _, name = file["dataFileS3Key"].rpartition("/")
        expect("the folder", folder, "AWSDynamoDB/data")
        if not _DATA_FILE.fullmatch(name):
            raise Violation(f"a data file is named {name}")
    expect("the summary's fields", list(content.summary), _WINDOW_SUMMARY)
    expect("its version", content.summary["version"], "2023-08-01")
    expect("BilledSizeBytes", content.description["BilledSizeBytes"], 10_000_000)
    return f"{len(content.files)} data files, billed as 10 MB"


@CHECKS.add("data files are gzip of one member without name and time, their lines end with a newline")
def _gzip(target: Target) -> str:
    played = scenario(target)
    bodies = played.full_end.bodies + played.both.bodies
    for body in bodies:
        expect("the gzip header", body[:10].hex(), "1f8b08000000000000ff")
        text = gzip.decompress(body)
        if text and not text.endswith(b"\n"):
            raise Violation(f"a data file ends with {text[-20:]!r}")
    return f"{len(bodies)} files, {sum(not gzip.decompress(body) for body in bodies)} of them empty"


@CHECKS.add("an incremental export echoes its window and view, and has no ExportTime")
def _window_echo(target: Target) -> str:
    played = scenario(target)
    description = played.both.description
    specification = description["IncrementalExportSpecification"]
    expected = {
        "ExportFromTime": played.start,
        "ExportToTime": played.end,
        "ExportViewType": "NEW_AND_OLD_IMAGES",
    }
    expect("IncrementalExportSpecification", specification, expected)
    expect("ExportTime", description.get("ExportTime"), None)
    expect("ExportType", description.get("ExportType"), "INCREMENTAL_EXPORT")
    expect("microseconds of StartTime", description["StartTime"].microsecond, 0)
    return str(specification["ExportViewType"])


@CHECKS.add("a window without an end goes up to now, and milliseconds are kept")
def _open_window(target: Target) -> str:
    played = scenario(target)
    arn = played.both.description["TableArn"]
    start = played.start + timedelta(milliseconds=109)
    export = target.start_window(start, None, TableArn=arn)
    specification = export["IncrementalExportSpecification"]
    expect("ExportFromTime", specification["ExportFromTime"], start)
    if not timedelta(0) <= target.now() - specification["ExportToTime"] < MINUTE:
        raise Violation(f"ExportToTime is {specification['ExportToTime']}, and now is {target.now()}")
    summary = read_export(target, export).summary
    if not summary["exportFromTime"].endswith(".109Z"):
        raise Violation(f"exportFromTime is {summary['exportFromTime']}")
    return f"{summary['exportFromTime']} to {summary['exportToTime']}"


@CHECKS.add("ListExports pages through all exports of the table, and no page is larger than asked for")
def _pages(target: Target) -> str:
    found: list[str] = []
    parameters: dict[str, Any] = {"TableArn": target.table(), "MaxResults": 2}
    pages = 0
    while True:
        answer = target.dynamodb.list_exports(**parameters)
        if len(answer["ExportSummaries"]) > 2:
            raise Violation(f"a page has {len(answer['ExportSummaries'])} exports")
        found += [each["ExportArn"] for each in answer["ExportSummaries"]]
        pages += 1
        if "NextToken" not in answer:
            break
        parameters["NextToken"] = answer["NextToken"]
    every = [each["ExportArn"] for each in target.dynamodb.list_exports(TableArn=target.table())["ExportSummaries"]]
    expect("the exports", sorted(found)[-len(every) :], sorted(every))
    expect("exports that come twice", len(found) - len(set(found)), 0)
    if pages < 2:
        raise Violation("all exports came in one page of two")
    return f"{len(found)} exports in {pages} pages"


@CHECKS.add("LatestRestorableDateTime is five minutes behind, and a later ExportTime is refused")
def _latest(target: Target) -> str:
    scenario(target)  # so that the table is old enough
    described = target.dynamodb.describe_continuous_backups(TableName=target.name)["ContinuousBackupsDescription"]
    recovery = described["PointInTimeRecoveryDescription"]
    behind = target.now() - recovery["LatestRestorableDateTime"]
    if not timedelta(minutes=4) <= behind <= timedelta(minutes=6):
        raise Violation(f"LatestRestorableDateTime is {behind} behind")
    with refused("InvalidExportTimeException", "Point in Time Recovery is not available for specified export time"):
        target.start(ExportTime=target.now() - timedelta(seconds=1))
    return f"{behind} behind"


@CHECKS.add("a re-created table has another TableId and no past; the old one's exports are described but not listed")
def _recreated(target: Target) -> str:
    name = f"{target.name}-again"
    arn = target.create_table(name)
    token = {"TableArn": arn, "ClientToken": f"{name}-token"}
    target.dynamodb.put_item(TableName=name, Item={"id": {"S": "old"}})
    target.pass_time(2)
    past = target.now() - timedelta(seconds=1)
    export = target.start(**token)
    target.delete_table(name)
    with refused("TableNotFoundException", "Table not found"):
        target.start(**token)
    expect("ListExports", target.dynamodb.list_exports(TableArn=arn)["ExportSummaries"], [])
    expect("TableId of the old export", target.describe(export)["TableId"], export["TableId"])
    target.pass_time(2)
    expect("TableArn", target.create_table(name), arn)
    table_id = target.dynamodb.describe_table(TableName=name)["Table"]["TableId"]
    if table_id == export["TableId"]:
        raise Violation(f"both tables have the TableId {table_id}")
    expect("ListExports", target.dynamodb.list_exports(TableArn=arn)["ExportSummaries"], [])
    with refused("InvalidExportTimeException"):
        target.start(TableArn=arn, ExportTime=past)
    with refused("InvalidExportTimeException", "cannot be less than the table creation time"):
        target.start_window(past, None, TableArn=arn)
    ended = target.ended(export)
    expect("ExportStatus of the old export", ended["ExportStatus"], "COMPLETED")
    return f"{export['TableId']} and {table_id}"
