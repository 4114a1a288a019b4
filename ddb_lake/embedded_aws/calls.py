"""A call: what a request asks of which service, by whose key; the view of it that faults and permissions share."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.json_values import JsonObject, is_object
from ddb_lake.embedded_aws.s3_request import S3Request, read_s3_request

_SCOPE = r"(?P<key>[^/\s,]+)/[^/\s,]+/(?P<region>[^/\s,]+)/(?P<service>[^/\s,]+)/aws4_request"
_HEADER_SCOPE = re.compile(rf"AWS4-[A-Z0-9-]+\s+Credential={_SCOPE}[,\s]")
_QUERY_SCOPE = re.compile(_SCOPE)
_NO_KEY = ""


@dataclass(frozen=True)
class Call:
    """One request, understood but not yet served.

    Attributes:
        service: What it was signed for, such as `dynamodb`.
        region: The same.
        access_key: The id of the key that signed it; empty for an anonymous request.
        operation: Such as `PutItem`; empty where it names none.
        json: A DynamoDB request's JSON; empty for other services, or where it is no JSON object.
        s3: The request as S3 understands it; None for other services.
    """

    service: str
    region: str
    access_key: str
    operation: str
    json: JsonObject
    s3: S3Request | None

    @property
    def resource(self) -> str:
        """What it is about: `bucket/key`, or a table's name or ARN; empty where it names nothing, or many."""
        if self.s3 is not None:
            return f"{self.s3.bucket}/{self.s3.key}" if self.s3.key else self.s3.bucket
        named = (self.json.get(name) for name in ("TableName", "TableArn", "ExportArn", "ResourceArn"))
        return next((name for name in named if isinstance(name, str)), "")


def read_call(environ: Mapping[str, Any], body: bytes) -> Call:
    """Read a call from its WSGI environment and body.

    Raises:
        AwsError: If it is not signed and not of S3, which alone may be asked anonymously, or is signed in a form
            of its own.
    """
    signed = _signature(environ)
    if signed is None:
        if "HTTP_X_AMZ_TARGET" in environ:
            raise AwsError("MissingAuthenticationTokenException", "Request is missing Authentication Token")
        service, region, key = "s3", "us-east-1", _NO_KEY
    else:
        service, region, key = signed["service"].lower(), signed["region"], signed["key"]
    if service == "dynamodb":
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        return Call(service, region, key, operation, _json(body), None)
    if service == "s3":
        request = read_s3_request(environ)
        return Call(service, region, key, request.operation, {}, request)
    (action, *_) = parse_qs(body.decode("latin-1")).get("Action", [""])
    return Call(service, region, key, action, {}, None)


def _signature(environ: Mapping[str, Any]) -> re.Match[str] | None:
    """Return what a request was signed for; None if it is anonymous.

    Raises:
        AwsError: If the signature is not in the one form that everybody reads alike.
    """
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    query = parse_qs(environ.get("QUERY_STRING", ""))
    signed = _HEADER_SCOPE.match(authorization)
    if signed is None and "X-Amz-Credential" in query:
        signed = _QUERY_SCOPE.fullmatch(query["X-Amz-Credential"][0])
    if authorization.count("aws4_request") > (1 if signed is not None else 0):
        raise AwsError("IncompleteSignatureException", f"The header Authorization is malformed: {authorization!r}")
    return signed


def _json(body: bytes) -> JsonObject:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}  # DynamoDB itself says what is wrong with it
    return value if is_object(value) else {}
