"""HTTP messages as values, and answers in the shape of DynamoDB's JSON protocol."""

import uuid
import zlib
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import orjson

from ddb_lake.embedded_aws.errors import AwsError

DYNAMODB_TARGET = "DynamoDB_20120810"
JSON_1_0 = "application/x-amz-json-1.0"

_VALIDATION_NAMESPACE = "com.amazon.coral.validate#"
_DYNAMODB_NAMESPACE = "com.amazonaws.dynamodb.v20120810#"
# These come from AWS's front end, not from DynamoDB itself.
_FRONT_END_ERRORS = {"ValidationException", "ThrottlingException", "AccessDeniedException"}


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer: status, headers in order, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def json(self) -> Any:
        """Return the body, read as JSON."""
        return orjson.loads(self.body)


def dynamodb_answer(payload: Any, status: int = 200) -> Answer:
    """Return an answer of DynamoDB with the checksum that boto3 verifies."""
    body = orjson.dumps(payload)
    headers = (
        ("Content-Type", JSON_1_0),
        ("x-amzn-RequestId", str(uuid.uuid4())),
        ("x-amz-crc32", str(zlib.crc32(body))),
    )
    return Answer(status, headers, body)


def dynamodb_error(error: AwsError) -> Answer:
    """Return DynamoDB's answer for an error."""
    namespace = _VALIDATION_NAMESPACE if error.code in _FRONT_END_ERRORS else _DYNAMODB_NAMESPACE
    payload = {"__type": namespace + error.code, "message": error.message, **error.details}
    return dynamodb_answer(payload, error.status)


def query_error(error: AwsError) -> Answer:
    """Return the answer of STS or IAM for an error."""
    text = f"<Type>Sender</Type><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
    body = f"<ErrorResponse><Error>{text}</Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    return Answer(error.status, (("Content-Type", "text/xml"),), body.encode())


def s3_error(error: AwsError) -> Answer:
    """Return S3's answer for an error."""
    text = f"<Error><Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message></Error>"
    headers = (("Content-Type", "application/xml"),)
    return Answer(error.status, headers, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode())


def find_in_xml(body: bytes, tag: str) -> str:
    """Return the text of the first element with this name, in whatever namespace; empty if there is none."""
    if not body:
        return ""
    named = (each for each in ElementTree.fromstring(body).iter() if each.tag.rpartition("}")[2] == tag)
    first = next(named, None)
    return "" if first is None else first.text or ""


def epoch_seconds(us: int) -> orjson.Fragment:
    """Return a time in µs as JSON's number of seconds since the epoch, digit by digit."""
    seconds, fraction = divmod(us, 1_000_000)
    text = f"{seconds}.{fraction:06d}".rstrip("0").rstrip(".")
    return orjson.Fragment(text.encode())
