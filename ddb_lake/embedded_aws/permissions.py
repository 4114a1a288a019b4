"""The permissions that a call needs: actions, resources and condition keys, as AWS defines them.

Sources: AWS, Service Authorization Reference (Amazon DynamoDB, Amazon S3), and S3's user guide, "Required
permissions for Amazon S3 API operations".
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree

from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.json_values import JsonObject, array_in, is_object, object_in
from ddb_lake.embedded_aws.kms import KmsKey
from ddb_lake.embedded_aws.policy import Context
from ddb_lake.embedded_aws.s3_request import S3Request
from ddb_lake.embedded_aws.tables import table_arn
from ddb_lake.regions import partition_of


@dataclass(frozen=True)
class Permission:
    """One action on one resource."""

    action: str
    resource: str
    context: Context = field(default_factory=dict[str, str])


_ON_TABLE = {
    "CreateTable",
    "DeleteItem",
    "DeleteTable",
    "DescribeContinuousBackups",
    "DescribeTable",
    "DescribeTimeToLive",
    "ExportTableToPointInTime",
    "GetItem",
    "PutItem",
    "UpdateContinuousBackups",
    "UpdateItem",
    "UpdateTable",
    "UpdateTimeToLive",
}
_ON_INDEX = {"Query", "Scan"}
_ON_ARN = {"ListTagsOfResource", "TagResource", "UntagResource"}
_ON_ALL = {"DescribeEndpoints", "DescribeLimits", "ListExports", "ListTables"}
"""Actions without resource-level permissions: only a statement on the resource `*` can allow them."""

_OF_EXPORTS = {"DescribeExport", "ExportTableToPointInTime"}
_ARN_PARTS = 6

_IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}

_ON_BUCKET = {
    "CreateBucket": "CreateBucket",
    "DeleteBucket": "DeleteBucket",
    "GetBucketLocation": "GetBucketLocation",
    "HeadBucket": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectVersions": "ListBucketVersions",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
}
_ON_OBJECT = {
    "AbortMultipartUpload": "AbortMultipartUpload",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "DeleteObject": "DeleteObject",
    "DeleteObjectTagging": "DeleteObjectTagging",
    "GetObject": "GetObject",
    "GetObjectTagging": "GetObjectTagging",
    "HeadObject": "GetObject",
    "ListParts": "ListMultipartUploadParts",
    "PutObject": "PutObject",
    "PutObjectTagging": "PutObjectTagging",
    "UploadPart": "PutObject",
    "UploadPartCopy": "PutObject",
}
_STORING = {"CopyObject", "CreateMultipartUpload", "PutObject"}
_ACL_HEADERS = ("x-amz-acl", "x-amz-grant-")


def permissions_of(call: Call, account: str, body: bytes) -> list[Permission] | None:
    """Return what a call must be allowed; None if that is not known, so that nobody can be allowed it.

    Args:
        call: The call.
        account: The id of the AWS account.
        body: The request's body, which names the objects of a DeleteObjects.
    """
    if call.service == "dynamodb":
        found = list(_of_dynamodb(call, account))
    elif call.s3 is not None:
        found = list(_of_s3(call.s3, call.region, body))
    elif (call.service, call.operation) == ("sts", "GetCallerIdentity"):
        return []  # AWS: API reference, "No permissions are required to perform this operation"
    else:
        found = []
    return [_with_region(each, call.region) for each in found] or None


def is_foreign(permission: Permission, account: str) -> bool:
    """Tell whether a permission is on a table of another account, which has no resource policy that would give it.

    Exports are left to `ExportJobs`: AWS has a text of its own for them.
    """
    service, _, action = permission.action.partition(":")
    parts = permission.resource.split(":")
    if service != "dynamodb" or action in _OF_EXPORTS or len(parts) < _ARN_PARTS:
        return False
    return parts[4] != account


def kms_permissions(key: KmsKey, actions: Iterable[str], region: str) -> list[Permission]:
    """Return what S3 asks of KMS on behalf of whoever stores or reads an object that a key encrypts.

    Source: AWS, S3 user guide, UsingKMSEncryption, "Permissions".
    """
    if not key.needs_permission:
        return []
    aliases = {} if key.alias is None else {"kms:resourcealiases": key.alias}
    return [_with_region(Permission(f"kms:{action}", key.arn, aliases), region) for action in actions]


def export_permissions(bucket: str, prefix: str | None, region: str) -> list[Permission]:
    """Return what the caller of ExportTableToPointInTime must be allowed on S3, which is checked later.

    Source: AWS, DynamoDB developer guide, S3DataExport_Requesting, "Setting up the required permissions".
    """
    folder = f"{(prefix or '').rstrip('/')}/" if prefix else ""
    resource = f"{_bucket_arn(bucket, region)}/{folder}AWSDynamoDB/object"
    actions = ("PutObject", "PutObjectAcl", "AbortMultipartUpload")
    return [_with_region(Permission(f"s3:{action}", resource), region) for action in actions]


def missing_key_permission(request: S3Request, region: str) -> Permission:
    """Return what decides whether S3 admits that an object isn't there.

    Source: AWS, S3 API reference, GetObject: without s3:ListBucket the answer is 403 instead of 404. The request
    carries no s3:prefix, so that an Allow under a condition on it does not count.
    """
    return Permission("s3:ListBucket", _bucket_arn(request.bucket, region))


def _of_dynamodb(call: Call, account: str) -> Iterator[Permission]:
    request, operation = call.json, call.operation

    def table(name: object) -> str:
        text = name if isinstance(name, str) else ""
        return text if text.startswith("arn:") else table_arn(call.region, account, text)

    if operation in _ON_TABLE:
        named = request.get("TableName") or request.get("TableArn")
        yield Permission(f"dynamodb:{operation}", table(named))
    elif operation in _ON_INDEX:
        index = request.get("IndexName")
        suffix = f"/index/{index}" if index else ""
        yield Permission(f"dynamodb:{operation}", table(request.get("TableName")) + suffix)
    elif operation in _ON_ARN:
        yield Permission(f"dynamodb:{operation}", table(request.get("ResourceArn")))
    elif operation == "DescribeExport":
        yield Permission(f"dynamodb:{operation}", str(request.get("ExportArn")))
    elif operation in _ON_ALL:
        yield Permission(f"dynamodb:{operation}", "*")
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        for name in object_in(request, "RequestItems"):
            yield Permission(f"dynamodb:{operation}", table(name))
    elif operation in ("TransactWriteItems", "TransactGetItems"):
        yield from _of_transaction(request, table)


def _of_transaction(request: JsonObject, table: Callable[[object], str]) -> Iterator[Permission]:
    for each in array_in(request, "TransactItems"):
        for kind, action in each.items() if is_object(each) else ():
            if kind in _IN_TRANSACTION and is_object(action):
                yield Permission(f"dynamodb:{_IN_TRANSACTION[kind]}", table(action.get("TableName")))


def _of_s3(request: S3Request, region: str, body: bytes) -> Iterator[Permission]:
    operation = request.operation
    if operation == "ListBuckets":
        yield Permission("s3:ListAllMyBuckets", "*")
    elif operation in _ON_BUCKET:
        named = {f"s3:{name}": request.query[name] for name in ("prefix", "delimiter") if name in request.query}
        yield Permission(f"s3:{_ON_BUCKET[operation]}", _bucket_arn(request.bucket, region), named)
    elif operation == "DeleteObjects":
        for key in keys_to_delete(body):
            yield Permission("s3:DeleteObject", _object_arn(request.bucket, key, region))
    elif operation in _ON_OBJECT:
        resource = _object_arn(request.bucket, request.key, region)
        yield Permission(f"s3:{_ON_OBJECT[operation]}", resource)
        source = request.copy_source()
        if source is not None:
            yield Permission("s3:GetObject", _object_arn(*source, region))
        if operation in _STORING:
            if any(name.startswith(_ACL_HEADERS) for name in request.headers):
                yield Permission("s3:PutObjectAcl", resource)
            if "x-amz-tagging" in request.headers:
                yield Permission("s3:PutObjectTagging", resource)


def keys_to_delete(body: bytes) -> list[str]:
    """Return the keys that the body of a DeleteObjects names; none if it is not XML, which S3 then refuses."""
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return []
    return [each.text or "" for each in root.iter() if each.tag.rpartition("}")[2] == "Key"]


def _with_region(permission: Permission, region: str) -> Permission:
    return Permission(permission.action, permission.resource, {**permission.context, "aws:requestedregion": region})


def _bucket_arn(bucket: str, region: str) -> str:
    return f"arn:{partition_of(region)}:s3:::{bucket}"


def _object_arn(bucket: str, key: str, region: str) -> str:
    return f"{_bucket_arn(bucket, region)}/{key}"
