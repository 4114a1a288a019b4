"""What can go wrong with an export, each as an exception that says what to do next."""

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from ddb_lake.errors import DdbLakeError


class ExportError(DdbLakeError):
    """A problem with an export; the subclasses tell which."""


class SourceTableNotFound(ExportError):
    """There is no such DynamoDB table in the account and region that the credentials reach."""


class RecoveryDisabled(ExportError):
    """Point-in-time recovery is off, so DynamoDB can export nothing."""


class ExportTimeRefused(ExportError):
    """DynamoDB can't export that time: it lies outside of what point-in-time recovery keeps."""


class WindowNotClosed(ExportTimeRefused):
    """The export's end is still in the future by DynamoDB's clock; the same call succeeds a little later."""


class ExportConflict(ExportError):
    """A request with the same client token but other parameters was made within the last eight hours.

    Its export has not FAILED, or nobody knows whether it has.
    """


class TooManyExports(ExportError):
    """The account's quota of concurrent exports is used up; the same call succeeds once others have ended."""


class Throttled(ExportError):
    """AWS asks to call less often, and the client's own retries did not suffice."""


class RequestRefused(ExportError):
    """AWS found the request itself malformed."""


class AccessDenied(ExportError):
    """The credentials in use may not make this call."""


class ForeignTable(AccessDenied):
    """The table belongs to another AWS account than the credentials: DynamoDB exports it to its own account only."""


class ServiceUnavailable(ExportError):
    """AWS answered with a fault of its own, or did not answer; the same call may succeed later."""


class ExportNotFound(ExportError):
    """DynamoDB does not know the export: it forgets them after 90 days."""


class ExportFailed(ExportError):
    """The export was accepted and then ended as FAILED."""


class ManifestMissing(ExportError):
    """The export's manifest is not in the bucket."""


class ManifestDamaged(ExportError):
    """The manifest is there but can't be what DynamoDB wrote: its checksum, form or totals are wrong."""


class WrongExport(ExportError):
    """The manifest describes another export than the one expected: another table, kind, or time."""


class NotAdoptable(ExportError):
    """An export that somebody else has made can't be used for this table."""


class DataFileMissing(ExportError):
    """The manifest names a data file that is not in the bucket."""


class DataFileDamaged(ExportError):
    """A data file's bytes differ from the checksum that the manifest gives, however often it is read."""


_ERRORS: dict[str, tuple[type[ExportError], str]] = {
    "TableNotFoundException": (
        SourceTableNotFound,
        "check the table's name or ARN, its region, and the account of the credentials",
    ),
    "ResourceNotFoundException": (
        SourceTableNotFound,
        "check the table's name or ARN, its region, and the account of the credentials",
    ),
    "PointInTimeRecoveryUnavailableException": (
        RecoveryDisabled,
        "turn point-in-time recovery on; what was written before that can only come from a new bootstrap",
    ),
    "InvalidExportTimeException": (
        ExportTimeRefused,
        "compare the time with EarliestRestorableDateTime and LatestRestorableDateTime of "
        "DescribeContinuousBackups; a window that began before point-in-time recovery did needs a new bootstrap",
    ),
    "ExportConflictException": (
        ExportConflict,
        "the table's bucket, prefix, view, kms_key or owner was changed after an export of this window had begun, "
        "and a second one would be paid for too: restore the setting, or wait until that export has completed and "
        "adopt it (`python -m ddb_lake.adopt`), or wait until eight hours after its end for a new one; after one "
        "that has FAILED the next begins at once, where the credentials may dynamodb:ListExports",
    ),
    "LimitExceededException": (
        TooManyExports,
        "wait until other exports have ended, or raise quota L-D98E8184 (full) or L-2A593B99 (incremental)",
    ),
    "ThrottlingException": (Throttled, "try again later; run fewer exports at once"),
    "RequestLimitExceeded": (Throttled, "try again later; run fewer exports at once"),
    "SlowDown": (Throttled, "try again later; run fewer exports at once"),
    "ValidationException": (RequestRefused, "correct the setting that the message names"),
    "AccessDeniedException": (AccessDenied, "grant the action that the message names to these credentials"),
    "AccessDenied": (AccessDenied, "grant the action that the message names to these credentials"),
    "403": (AccessDenied, "grant s3:GetObject and s3:ListBucket on the export bucket to these credentials"),
    "UnrecognizedClientException": (AccessDenied, "check the credentials and the region"),
    "ExpiredTokenException": (AccessDenied, "renew the credentials"),
    "ExpiredToken": (AccessDenied, "renew the credentials"),
    "InvalidAccessKeyId": (AccessDenied, "check the credentials"),
    "SignatureDoesNotMatch": (AccessDenied, "check the credentials"),
    "RequestTimeTooSkewed": (AccessDenied, "set this machine's clock right"),
    "PermanentRedirect": (RequestRefused, "the bucket is in another region: correct the table's region or bucket"),
    "NoSuchBucket": (RequestRefused, "create the bucket, or correct the table's bucket in lake.yaml"),
    "ExportNotFoundException": (
        ExportNotFound,
        "check the ARN; exports older than 90 days are known by their manifests only",
    ),
    "InternalServerError": (ServiceUnavailable, "try again later"),
    "InternalError": (ServiceUnavailable, "try again later"),
    "ServiceUnavailable": (ServiceUnavailable, "try again later"),
    "ContinuousBackupsUnavailableException": (
        ServiceUnavailable,
        "the table is too new; try again in some seconds",
    ),
}

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
)

FAILURE_REMEDIES = {
    "S3NoSuchBucket": "create the bucket, or correct the table's bucket in lake.yaml, and materialise again",
    "S3AccessDenied": "allow the exporting principal s3:PutObject, s3:PutObjectAcl and s3:AbortMultipartUpload "
    "on the bucket, and kms:GenerateDataKey and kms:Decrypt on its key; check the bucket's owner in lake.yaml, and "
    "kms_key where the bucket's policy demands one; materialise again",
    "KmsNotFoundException": "correct kms_key in lake.yaml: it must name a key of the bucket's region, and by its "
    "ARN where the key is another account's; materialise again",
}
"""What to do about each `FailureCode` that DynamoDB was seen to give."""


TRANSIENT = (TooManyExports, Throttled, ServiceUnavailable)
"""What passes by itself: the same call may succeed a little later."""


def translate(error: ClientError | BotoCoreError, doing: str) -> ExportError:
    """Turn an error of boto3 into a typed one that says what to do.

    Args:
        error: What boto3 raised.
        doing: What was being done, with the table and window, such as `starting the export of …`.
    """
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            f"{doing}: {error}. What to do: give credentials by the standard AWS variables or a profile."
        )
    if not isinstance(error, ClientError):
        return ServiceUnavailable(f"{doing}: {error}. Check the network, the endpoint and the credentials.")
    code = error.response.get("Error", {}).get("Code", "")
    message = error.response.get("Error", {}).get("Message", "") or str(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    kind, remedy = _ERRORS.get(code, (ExportError, "see the message of AWS"))
    if kind is ExportError and status >= 500:
        kind, remedy = ServiceUnavailable, "try again later"
    if kind is ExportTimeRefused and "greater than the current time" in message:
        kind, remedy = WindowNotClosed, "try again in a minute: DynamoDB's clock may be behind yours"
    if kind is AccessDenied and (message.rstrip(".") == "Access is denied" or "resource-based policy" in message):
        # What AWS says of another account's table, see ForeignTable.
        remedy = "use credentials of the account that owns the table; DynamoDB exports it to no other one"
    return kind(f"{doing}: {code or 'error'}: {message.rstrip('.')}. What to do: {remedy}.")
