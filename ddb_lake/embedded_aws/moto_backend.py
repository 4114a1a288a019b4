"""moto, reached only by AWS's wire protocol: WSGI calls in this process, without a socket between."""

import decimal
import io
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import quote

import orjson
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app  # pyright: ignore[reportMissingTypeStubs]

from ddb_lake.embedded_aws.errors import BackendError
from ddb_lake.embedded_aws.json_values import array_in, is_object, object_in
from ddb_lake.embedded_aws.wire import DYNAMODB_TARGET, JSON_1_0, Answer, dynamodb_answer

LARGEST_BATCH = 25
"""Writes in one BatchWriteItem (AWS: ServiceQuotas, limits-api)."""

# DynamoDB reckons with 38 digits; Python's default of 28 would round the sums that moto makes.
_ARITHMETIC = decimal.Context(prec=38)

# moto leaves out an object under an empty name when it answers, so that its members stand in its place. It never
# sees such a name: in moto's memory this one, which nobody else can know, stands for it.
_NO_NAME = secrets.token_hex(8)
_EMPTY_MEMBER = re.compile(rb'(?<=[{,])"":')
"""Where an object in compact JSON has an empty name; within a string, its quotes would be escaped."""


class MotoBackend:
    """moto's DynamoDB, S3, STS and IAM, all in memory.

    moto keeps its state in module globals: a process holds one of these at a time, and starts with `reset`.
    """

    def __init__(self) -> None:
        self._others_lock = threading.Lock()
        self._application = DomainDispatcherApplication(create_backend_app)
        self.prepare: Callable[[str, str, Any], None] = _need_nothing
        """Called with region, operation and request before a DynamoDB request is sent."""

    def reset(self) -> None:
        """Forget everything that this process has stored in moto."""
        answer = self.send(_environ("POST", "/moto-api/reset", "", {}, b""))
        if answer.status != 200:
            raise BackendError(f"moto refused to reset: {answer.status} {answer.body[:500]!r}")

    def account_id(self) -> str:
        """Return the account that moto plays (the environment's MOTO_ACCOUNT_ID chooses it)."""
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        text = self.send(wsgi_environ("sts", "us-east-1", "POST", "/", "", headers, body)).body.decode()
        return text.partition("<Account>")[2].partition("</Account>")[0]

    def pass_on(self, environ: dict[str, Any]) -> Answer:
        """Send a client's request for STS or IAM as it came, one after the other."""
        with self._others_lock:
            return self.send(environ)

    def send(self, environ: dict[str, Any]) -> Answer:
        """Send a request in the form of a WSGI environment, and wait for its whole answer."""
        status_line = ""
        headers: list[tuple[str, str]] = []

        def start_response(status: str, answer_headers: list[tuple[str, str]], _: object = None) -> None:
            nonlocal status_line
            status_line = status
            headers.extend(answer_headers)

        with decimal.localcontext(_ARITHMETIC):
            chunks: Any = self._application(environ, start_response)
            try:
                body = b"".join(chunks)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
        return Answer(int(status_line.split()[0]), tuple(headers), body)

    def dynamodb(self, region: str, operation: str, request: Any) -> Answer:
        """Send one DynamoDB request (JSON values) in moto's own account."""
        self.prepare(region, operation, request)
        return self._send_dynamodb(region, operation, request)

    def _send_dynamodb(self, region: str, operation: str, request: Any) -> Answer:
        headers = {"Content-Type": JSON_1_0, "X-Amz-Target": f"{DYNAMODB_TARGET}.{operation}"}
        body = orjson.dumps(_without_empty_names(request))
        if b'"":' in body:
            body = _EMPTY_MEMBER.sub(b'"%b":' % _NO_NAME.encode(), body)
        answer = self.send(wsgi_environ("dynamodb", region, "POST", "/", "", headers, body))
        if _NO_NAME.encode() not in answer.body:
            return answer
        return dynamodb_answer(orjson.loads(answer.body.replace(_NO_NAME.encode(), b"")), answer.status)

    def expect(self, region: str, operation: str, request: Any) -> Any:
        """Send a DynamoDB request that must succeed, and return its payload.

        Raises:
            BackendError: If moto refuses it.
        """
        answer = self.dynamodb(region, operation, request)
        if answer.status != 200:
            raise BackendError(f"moto refused {operation} in {region}: {answer.body[:500]!r}")
        return answer.json()

    def load_items(self, region: str, table: str, writes: Iterable[dict[str, Any]]) -> None:
        """Write items as `write_items`, while a request is being prepared.

        Raises:
            BackendError: If moto refuses a batch.
        """
        pending = iter(writes)
        while batch := list(islice(pending, LARGEST_BATCH)):
            answer = self._send_dynamodb(region, "BatchWriteItem", {"RequestItems": {table: batch}})
            if answer.status != 200:
                raise BackendError(f"moto refused items of {table} in {region}: {answer.body[:500]!r}")

    def write_items(self, region: str, table: str, writes: Iterable[dict[str, Any]]) -> None:
        """Write many items: `writes` are the PutRequest and DeleteRequest members of BatchWriteItem.

        Raises:
            BackendError: If moto refuses a batch.
        """
        pending = list(writes)
        for start in range(0, len(pending), LARGEST_BATCH):
            self.expect(region, "BatchWriteItem", {"RequestItems": {table: pending[start : start + LARGEST_BATCH]}})


def _without_empty_names(request: Any) -> Any:
    """Return a request whose ExpressionAttributeNames hold no empty name."""
    if not is_object(request):
        return request
    actions = [action for each in array_in(request, "TransactItems") if is_object(each) for action in each.values()]
    for each in (request, *actions, *object_in(request, "RequestItems").values()):
        names: object = each.get("ExpressionAttributeNames") if is_object(each) else None
        if is_object(names) and "" in names.values():
            each["ExpressionAttributeNames"] = {key: _NO_NAME if name == "" else name for key, name in names.items()}
    return request


def _need_nothing(region: str, operation: str, request: Any) -> None:
    """Prepare nothing."""


def wsgi_environ(
    service: str,
    region: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str] | None,
    body: bytes,
) -> dict[str, Any]:
    """Return a request of our own to a service of moto as a WSGI environment (PEP 3333).

    Args:
        service: Such as `s3`.
        region: The region.
        method: The HTTP method.
        path: The path, unquoted.
        query: The query string, quoted.
        headers: Headers beside those of the signature.
        body: The body.
    """
    return _environ(method, path, query, {**_signed(service, region), **(headers or {})}, body)


def _signed(service: str, region: str) -> dict[str, str]:
    # moto reads service, region and account off the credential's scope and verifies nothing.
    scope = f"embedded/20200101/{region}/{service}/aws4_request"
    return {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "X-Amz-Date": "20200101T000000Z",
    }


def _environ(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        # WSGI wants the path's bytes, spelt in Latin-1 (PEP 3333).
        "PATH_INFO": path.encode().decode("latin-1"),
        "RAW_URI": quote(path) + (f"?{query}" if query else ""),
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        variable = name.upper().replace("-", "_")
        environ[variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"] = value
    return environ
