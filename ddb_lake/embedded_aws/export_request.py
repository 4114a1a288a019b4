"""The parameters of ExportTableToPointInTime, checked as far as they can be without knowing the table.

Codes and texts are those that were observed on AWS.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import orjson

from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.windows import from_us

ExportType = Literal["FULL_EXPORT", "INCREMENTAL_EXPORT"]
ViewType = Literal["NEW_AND_OLD_IMAGES", "NEW_IMAGE"]

_MILLISECOND_US = 1_000


@dataclass(frozen=True)
class ExportRequest:
    """A well-formed request for an export.

    Attributes:
        table_arn: The table, not yet looked up.
        s3_bucket: The bucket, which may not exist.
        s3_prefix: As sent, or None.
        s3_bucket_owner: As sent, or None.
        sse_algorithm: `AES256` or `KMS`.
        kms_key_id: As sent, or None.
        export_type: The kind of export.
        export_type_sent: `ExportType` as sent, or None: only what was sent is described later.
        export_us: ExportTime of a full export in µs since the epoch, or None for now.
        from_us: ExportFromTime of an incremental export in µs since the epoch.
        to_us: ExportToTime of an incremental export in µs since the epoch, or None for now.
        view: What an incremental export shows of each change.
        token: The ClientToken, or None.
        fingerprint: Equal for requests that ask for the same with whatever token.
    """

    table_arn: str
    s3_bucket: str
    s3_prefix: str | None
    s3_bucket_owner: str | None
    sse_algorithm: str
    kms_key_id: str | None
    export_type: ExportType
    export_type_sent: str | None
    export_us: int | None
    from_us: int | None
    to_us: int | None
    view: ViewType
    token: str | None
    fingerprint: str


@dataclass(frozen=True)
class _Rule:
    """One constraint of AWS's service model on a string."""

    says: str
    holds: Callable[[str], bool]


def _one_of(*values: str) -> _Rule:
    return _Rule(f"Member must satisfy enum value set: [{', '.join(values)}]", lambda value: value in values)


def _matches(pattern: str) -> _Rule:
    compiled = re.compile(pattern, re.ASCII)
    return _Rule(
        f"Member must satisfy regular expression pattern: {pattern}",
        lambda value: compiled.fullmatch(value) is not None,
    )


def _at_most(length: int) -> _Rule:
    return _Rule(f"Member must have length less than or equal to {length}", lambda value: len(value) <= length)


def _at_least(length: int) -> _Rule:
    return _Rule(f"Member must have length greater than or equal to {length}", lambda value: len(value) >= length)


_RULES: Mapping[str, tuple[_Rule, ...]] = {
    "tableArn": (_at_least(1), _at_most(1024)),
    "s3Bucket": (_at_most(255), _matches(r"^[a-z0-9A-Z]+[\.\-\w]*[a-z0-9A-Z]+$")),
    "s3Prefix": (_at_most(1024),),
    "s3BucketOwner": (_matches(r"[0-9]{12}"),),
    "s3SseAlgorithm": (_one_of("AES256", "KMS"),),
    "s3SseKmsKeyId": (_at_least(1), _at_most(2048)),
    "clientToken": (_matches(r"^[^\$]+$"),),
    "exportFormat": (_one_of("ION", "DYNAMODB_JSON"),),
    "exportType": (_one_of("FULL_EXPORT", "INCREMENTAL_EXPORT"),),
    "incrementalExportSpecification.exportViewType": (_one_of("NEW_IMAGE", "NEW_AND_OLD_IMAGES"),),
}
_KMS_KEY = re.compile(r"[a-zA-Z0-9:/_-]+", re.ASCII)
_REQUIRED = ("tableArn", "s3Bucket")


def parse_export_request(request: Mapping[str, Any]) -> ExportRequest:
    """Check a request's parameters and couplings.

    Args:
        request: The request's JSON; numbers with a fraction are Decimals.

    Raises:
        AwsError: A ValidationException for parameters that AWS refuses, and for `ION` and FilterSpecification,
            which the embedded AWS doesn't have.
    """
    specification: object = request.get("IncrementalExportSpecification")
    if specification is not None and not is_object(specification):
        raise AwsError("SerializationException", "IncrementalExportSpecification must be an object")
    times = specification or {}
    _check_constraints(request, times)
    _check_couplings(request, specification)
    if request.get("ExportFormat") == "ION":
        raise _missing("the export format ION", "use DYNAMODB_JSON")
    if "FilterSpecification" in request:
        raise _missing("FilterSpecification", "export the whole table")
    unnamed = {name: value for name, value in request.items() if name != "ClientToken"}
    return ExportRequest(
        table_arn=request["TableArn"],
        s3_bucket=request["S3Bucket"],
        s3_prefix=request.get("S3Prefix"),
        s3_bucket_owner=request.get("S3BucketOwner"),
        sse_algorithm=request.get("S3SseAlgorithm", "AES256"),
        kms_key_id=request.get("S3SseKmsKeyId"),
        export_type=request.get("ExportType", "FULL_EXPORT"),
        export_type_sent=request.get("ExportType"),
        export_us=_time("ExportTime", request.get("ExportTime")),
        from_us=_time("ExportFromTime", times.get("ExportFromTime")),
        to_us=_time("ExportToTime", times.get("ExportToTime")),
        view=times.get("ExportViewType", "NEW_AND_OLD_IMAGES"),
        token=request.get("ClientToken"),
        fingerprint=orjson.dumps(unnamed, default=_plain, option=orjson.OPT_SORT_KEYS).decode(),
    )


def _check_constraints(request: Mapping[str, Any], specification: Mapping[str, Any]) -> None:
    values = {name: request.get(name[0].upper() + name[1:]) for name in _RULES if "." not in name}
    values["incrementalExportSpecification.exportViewType"] = specification.get("ExportViewType")
    broken: list[str] = []
    for name, value in values.items():
        if value is None:
            if name in _REQUIRED:
                broken.append(f"Value null at '{name}' failed to satisfy constraint: Member must not be null")
            continue
        if not isinstance(value, str):
            raise AwsError("SerializationException", f"{name} must be a string, not {value!r}")
        broken += [
            f"Value '{value}' at '{name}' failed to satisfy constraint: {rule.says}"
            for rule in _RULES[name]
            if not rule.holds(value)
        ]
    if broken:
        plural = "" if len(broken) == 1 else "s"
        raise validation(f"{len(broken)} validation error{plural} detected: {'; '.join(broken)}")


def _check_couplings(request: Mapping[str, Any], specification: Mapping[str, Any] | None) -> None:
    match request.get("ExportType"), specification:
        case None, dict():
            raise validation(
                "Invalid Request: Export Type expected to be Incremental Export when incremental export "
                "specification is provided"
            )
        case "FULL_EXPORT", dict():
            raise validation(
                "Invalid Request: When Export Type is Full Export , Incremental Export Specification should not "
                "be provided"
            )
        case "INCREMENTAL_EXPORT", None:
            raise validation(
                "Invalid Request: Incremental Export Specification expected when export type is set as "
                "Incremental Export"
            )
        case "INCREMENTAL_EXPORT", {**given} if "ExportFromTime" not in given:
            raise validation("Invalid Request: ExportFromTime must be provided in IncrementalExportSpecification")
        case _:
            pass
    key = request.get("S3SseKmsKeyId")
    if key is not None and request.get("S3SseAlgorithm") != "KMS":
        raise validation("Invalid Request: KMS Key Id is not supported for this encryption type")
    if key is not None and not _KMS_KEY.fullmatch(key):
        raise validation(
            f"Invalid Request: 1 validation error detected: Value '{key}' at 's3SseKmsKeyId' failed to satisfy "
            f"constraint: Member must satisfy regular expression pattern: {_KMS_KEY.pattern}"
        )
    if request.get("FilterSpecification") == {}:
        raise validation("Invalid Request: Invalid FilterSpecification: The specification can not be empty")


def _time(name: str, seconds: object) -> int | None:
    """Return a time in µs since the epoch, cut to the milliseconds that AWS keeps."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal):
        raise AwsError("SerializationException", f"{name} must be seconds since the epoch, not {seconds!r}")
    us = int(seconds * 1_000) * _MILLISECOND_US
    try:
        from_us(us)
    except OverflowError:
        raise AwsError("SerializationException", f"{name} is no time: {seconds}") from None
    return us


def _missing(what: str, instead: str) -> AwsError:
    return validation(f"Invalid Request: The embedded AWS doesn't have {what}; {instead}")


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    raise TypeError(value)
