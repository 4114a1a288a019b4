"""Reading S3 requests: which operation a method, a path and a query mean, on which bucket and key.

Faults, permissions and the durable store all need the same answer, so there is one place that gives it.
Rule: AWS, S3 API reference: the operations differ by subresources in the query and a few headers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

UNKNOWN = "Unknown"
"""The operation of a request that is none of those known here."""

_VERBS = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}
_BUCKET_SUBRESOURCES = {
    "accelerate": "BucketAccelerateConfiguration",
    "acl": "BucketAcl",
    "analytics": "BucketAnalyticsConfiguration",
    "cors": "BucketCors",
    "encryption": "BucketEncryption",
    "intelligent-tiering": "BucketIntelligentTieringConfiguration",
    "inventory": "BucketInventoryConfiguration",
    "lifecycle": "BucketLifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "metrics": "BucketMetricsConfiguration",
    "notification": "BucketNotificationConfiguration",
    "object-lock": "ObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "PublicAccessBlock",
    "replication": "BucketReplication",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_OBJECT_SUBRESOURCES = {
    "acl": "ObjectAcl",
    "attributes": "ObjectAttributes",
    "legal-hold": "ObjectLegalHold",
    "retention": "ObjectRetention",
    "tagging": "ObjectTagging",
    "torrent": "ObjectTorrent",
}
_HOST_SUFFIX = ".localhost"


@dataclass(frozen=True)
class S3Request:
    """What a request asks of S3.

    Attributes:
        operation: As AWS's API reference names it, such as `PutObject`.
        method: The HTTP method.
        bucket: The bucket, or empty.
        key: The object's key, unquoted, or empty.
        query: The query's parameters, unquoted; those without a value are empty.
        headers: The headers, names in lower case.
    """

    operation: str
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def subresource(self) -> str:
        """The name of the setting that the request is about, such as `tagging`; empty for the object itself."""
        known = _OBJECT_SUBRESOURCES if self.key else _BUCKET_SUBRESOURCES
        return next((name for name in known if name in self.query), "")

    def copy_source(self) -> tuple[str, str] | None:
        """Return bucket and key of the object that the request copies, if it copies one."""
        source = self.headers.get("x-amz-copy-source")
        if source is None:
            return None
        bucket, _, key = unquote(source.partition("?")[0]).removeprefix("/").partition("/")
        return bucket, key


def read_s3_request(environ: Mapping[str, Any]) -> S3Request:
    """Read a request from its WSGI environment; a bucket may stand in the path or before `.localhost`."""
    method: str = environ["REQUEST_METHOD"]
    path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
    host = environ.get("HTTP_HOST", "").partition(":")[0]
    hosted = host.removesuffix(_HOST_SUFFIX) if host.endswith(_HOST_SUFFIX) else ""
    bucket, _, key = path.removeprefix("/").partition("/")
    if hosted:
        bucket, key = hosted, path.removeprefix("/")
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name == "CONTENT_TYPE"
    }
    operation = _operation(method, bucket, key, query, headers)
    return S3Request(operation, method, bucket, key, query, headers)


def address_by_path(environ: dict[str, Any], request: S3Request) -> None:
    """Rewrite a request to path-style, so that moto can't understand another bucket or key than we did."""
    if not environ.get("HTTP_HOST", "").partition(":")[0].endswith(_HOST_SUFFIX):
        return
    path = f"/{request.bucket}/{request.key}" if request.key else f"/{request.bucket}"
    query = environ.get("QUERY_STRING", "")
    environ["HTTP_HOST"] = "127.0.0.1"
    environ["PATH_INFO"] = path.encode().decode("latin-1")
    environ["RAW_URI"] = environ["REQUEST_URI"] = quote(path) + (f"?{query}" if query else "")


def _operation(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    if not bucket:
        return "ListBuckets" if method == "GET" else UNKNOWN
    return _object_operation(method, query, headers) if key else _bucket_operation(method, query)


def _bucket_operation(method: str, query: Mapping[str, str]) -> str:
    subresource = next((name for name in _BUCKET_SUBRESOURCES if name in query), None)
    if subresource is not None:
        return _VERBS[method] + _BUCKET_SUBRESOURCES[subresource] if method in _VERBS else UNKNOWN
    match method:
        case "GET" if "uploads" in query:
            return "ListMultipartUploads"
        case "GET" if "versions" in query:
            return "ListObjectVersions"
        case "GET":
            return "ListObjectsV2" if query.get("list-type") == "2" else "ListObjects"
        case "POST":
            return "DeleteObjects" if "delete" in query else "PostObject"
        case _:
            return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(method, UNKNOWN)


def _object_operation(method: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    subresource = next((name for name in _OBJECT_SUBRESOURCES if name in query), None)
    if subresource is not None:
        return _VERBS[method] + _OBJECT_SUBRESOURCES[subresource] if method in _VERBS else UNKNOWN
    copies = "x-amz-copy-source" in headers
    match method:
        case "GET":
            return "ListParts" if "uploadId" in query else "GetObject"
        case "HEAD":
            return "HeadObject"
        case "PUT" if "uploadId" in query:
            return "UploadPartCopy" if copies else "UploadPart"
        case "PUT":
            return "CopyObject" if copies else "PutObject"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "POST" if "uploads" in query:
            return "CreateMultipartUpload"
        case "POST" if "uploadId" in query:
            return "CompleteMultipartUpload"
        case "POST" if "restore" in query:
            return "RestoreObject"
        case "POST" if "select" in query:
            return "SelectObjectContent"
        case _:
            return UNKNOWN
