"""The S3 service: moto's, one request after the other, with everything that changes it kept in the store."""

import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree

from ddb_lake.embedded_aws.errors import AwsError, BackendError, Diverged
from ddb_lake.embedded_aws.moto_backend import MotoBackend, wsgi_environ
from ddb_lake.embedded_aws.object_store import ObjectStore, Piece, Setting, Storage, StoredRequest
from ddb_lake.embedded_aws.permissions import keys_to_delete
from ddb_lake.embedded_aws.s3_request import UNKNOWN, S3Request, address_by_path, read_s3_request
from ddb_lake.embedded_aws.wire import Answer, find_in_xml

_NOT_KEPT = {
    "PostObject",
    "PutBucketVersioning",
    "PutObjectLegalHold",
    "PutObjectLockConfiguration",
    "PutObjectRetention",
    UNKNOWN,
}
"""What the store could not bring back by AWS's API: version ids and locks; and what nobody knows."""

_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE"}
"""Storage classes whose objects have to be restored before they can be read."""

_LOCK_HEADER = "x-amz-bucket-object-lock-enabled"
_WITH_BODY = {"PutObject", "UploadPart"}
_SUCCESS = (200, 204)

_NOT_SENT_AGAIN = re.compile(
    "HTTP_(HOST|AUTHORIZATION|DATE|EXPECT|CONNECTION|USER_AGENT|CONTENT_LENGTH|TRANSFER_ENCODING|X_AMZ_DATE"
    "|X_AMZ_SECURITY_TOKEN|ACCEPT.*|AMZ_SDK_.*|IF_.*|X_AMZ_COPY_SOURCE.*)"
)
"""Headers that belong to one sending of a request: conditions have held, and signatures are made anew."""

_SIGNATURE = re.compile("X-Amz-(Algorithm|Credential|Date|Expires|Security-Token|Signature|SignedHeaders)")
_NAMES = "moto.preserved_header_names"
"""Where moto's HTTP handler keeps the spelling of headers with an underscore."""

_OF_OBJECT = re.compile(
    "content-(type|encoding|disposition|language)|cache-control|expires|x-amz-meta-.*|x-amz-checksum-(crc|sha).*"
)
_SHOW_CHECKSUM = {"X-Amz-Checksum-Mode": "ENABLED"}


class S3:
    """Serves S3 requests.

    Args:
        moto: Does the work.
        store: Keeps what must come back after a restart, or None where nothing shall.
    """

    def __init__(self, moto: MotoBackend, store: ObjectStore | None) -> None:
        self._moto = moto
        self._store = store
        # One request after the other: moto looks at a put's condition first and stores the object later, and
        # the store must see what changes an object in the same order as moto.
        self._lock = threading.RLock()
        self._new_ids: dict[str, str] = {}

    def serve(self, environ: dict[str, Any], region: str, body: bytes) -> Answer:
        """Serve a client's request.

        Args:
            environ: The WSGI environment.
            region: What the request was signed for.
            body: Its body.

        Raises:
            AwsError: If the embedded AWS refuses it.
        """
        request = read_s3_request(environ)
        changes = request.method not in ("GET", "HEAD", "OPTIONS")
        if (changes and request.operation in _NOT_KEPT) or request.headers.get(_LOCK_HEADER, "").lower() == "true":
            raise AwsError(
                "NotImplemented",
                f"The embedded AWS doesn't serve {request.operation}: it could not bring it back after a restart",
                501,
            )
        if request.operation == "CopyObject" and request.headers.get("x-amz-storage-class") in _ARCHIVES:
            raise AwsError("NotImplemented", "The embedded AWS can't read a copy back from an archive", 501)
        address_by_path(environ, request)
        if self._store is None or not changes:
            with self._lock:
                return self._rename(request, self._moto.send(self._address_upload(environ, request)))
        return self._change(self._store, environ, request, region, body)

    def request(
        self,
        region: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request of our own: `path` is `/bucket` or `/bucket/key`, unquoted."""
        return self.serve(
            wsgi_environ("s3", region, method, path, urlencode(query or {}), headers, body), region, body
        )

    def send_again(self, stored: StoredRequest, path: str, body: bytes, query: str | None = None) -> Answer:
        """Send a stored request to moto without keeping it once more.

        Raises:
            BackendError: If moto refuses what it once took.
        """
        text = stored.query if query is None else query
        environ = wsgi_environ("s3", stored.region, stored.method, path, text, None, body)
        environ.update(stored.variables)
        environ[_NAMES] = dict(stored.names)
        answer = self._moto.send(environ)
        if answer.status not in _SUCCESS:
            raise BackendError(f"moto refused {stored.method} {path} of before the restart: {answer.body[:500]!r}")
        return answer

    def rename_upload(self, old: str, new: str) -> None:
        """Let clients go on with an upload by the id that they know, though moto now has another for it."""
        self._new_ids[old] = new

    def _change(
        self, store: ObjectStore, environ: dict[str, Any], request: S3Request, region: str, body: bytes
    ) -> Answer:
        # A large body goes to disk before the lock is taken.
        content = store.write_content(body) if request.operation in _WITH_BODY else None
        kept = False
        try:
            with self._lock:
                answer = self._rename(request, self._moto.send(self._address_upload(environ, request)))
                if answer.status in _SUCCESS:
                    try:
                        self._keep(store, request, _stored(environ, request, region), answer, body, content)
                    except Exception as error:
                        raise Diverged(f"{request.operation} of {request.bucket}/{request.key}: {error}") from error
                    kept = True
        finally:
            if content is not None and not kept:
                store.drop_content(content)
        return answer

    def _keep(
        self,
        store: ObjectStore,
        request: S3Request,
        stored: StoredRequest,
        answer: Answer,
        body: bytes,
        content: str | None,
    ) -> None:
        """Record what moto has done; the client is answered afterwards."""
        bucket, key = request.bucket, request.key
        upload = Storage(request.query.get("uploadId", ""), bucket, key, None, stored)
        number = int(request.query.get("partNumber", "0") or 0)
        match request.operation:
            case "PutObject" | "UploadPart" if content is not None:
                piece = Piece(number, content, stored)
                if request.operation == "PutObject":
                    store.put_object(bucket, key, _header(answer, "etag"), piece)
                else:
                    store.put_part(upload.id, piece)
            case "CopyObject":
                self._keep_copy(store, request, stored)
            case "UploadPartCopy":
                copied = self._copied_range(request, stored.region)
                empty = StoredRequest("PUT", stored.region)
                store.put_part(upload.id, Piece(number, store.write_content(copied), empty))
            case "CreateMultipartUpload":
                created = Storage(find_in_xml(answer.body, "UploadId"), bucket, key, None, stored)
                store.begin_upload(created)
            case "CompleteMultipartUpload":
                store.complete_upload(upload, find_in_xml(answer.body, "ETag"), _part_numbers(body))
            case "AbortMultipartUpload":
                store.abort_upload(upload.id)
            case "DeleteObject":
                store.delete_objects(bucket, [key])
            case "DeleteObjects":
                store.delete_objects(bucket, set(keys_to_delete(body)) - _failed_keys(answer.body))
            case "DeleteBucket":
                store.delete_bucket(bucket)
            case "CreateBucket":
                store.put_setting(Setting(bucket, "", "", stored, body))
            case _ if request.subresource and request.query.get("id"):
                # A bucket has many of these, each by its id.
                name = f"{request.subresource}?id={request.query['id']}"
                if request.method == "DELETE":
                    store.delete_setting(bucket, key, name)
                else:
                    store.put_setting(Setting(bucket, key, name, stored, body))
            case _ if request.subresource:
                store.put_setting(Setting(bucket, key, request.subresource, stored, body))
            case _:
                pass  # RestoreObject and the like change nothing that lasts

    def _keep_copy(self, store: ObjectStore, request: S3Request, stored: StoredRequest) -> None:
        """Record a copy as moto has made it: what it was copied from may be gone at the restart."""
        path = f"/{request.bucket}/{request.key}"
        answer = self._moto.send(wsgi_environ("s3", stored.region, "GET", path, "", _SHOW_CHECKSUM, b""))
        if answer.status != 200:
            raise BackendError(f"moto doesn't show the copy that it has made: {answer.status} {path}")
        variables: dict[str, str] = {}
        names: dict[str, str] = {}
        for name, value in answer.headers:
            if _OF_OBJECT.fullmatch(name.lower()):
                variable = name.upper().replace("-", "_")
                variable = variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"
                variables[variable] = value
                if "_" in name:
                    names[variable] = name
        for name in ("HTTP_X_AMZ_STORAGE_CLASS", "HTTP_X_AMZ_ACL", "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION"):
            if name in stored.variables:
                variables[name] = stored.variables[name]
        algorithm = next((name.rpartition("_")[2] for name in variables if "_CHECKSUM_" in name), None)
        if algorithm is not None:
            variables["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = algorithm
        piece = Piece(
            0,
            store.write_content(answer.body),
            StoredRequest("PUT", stored.region, variables=variables, names=names),
        )
        store.put_object(request.bucket, request.key, _header(answer, "etag"), piece)
        tags = self._moto.send(wsgi_environ("s3", stored.region, "GET", path, "tagging", None, b""))
        if tags.status == 200 and find_in_xml(tags.body, "Key"):
            tagging = StoredRequest("PUT", stored.region, "tagging")
            store.put_setting(Setting(request.bucket, request.key, "tagging", tagging, tags.body))

    def _copied_range(self, request: S3Request, region: str) -> bytes:
        source = request.copy_source()
        assert source is not None
        span = request.headers.get("x-amz-copy-source-range")
        headers = None if span is None else {"Range": span}
        answer = self._moto.send(wsgi_environ("s3", region, "GET", "/".join(("", *source)), "", headers, b""))
        if answer.status not in (200, 206):
            raise BackendError(f"moto doesn't show what it has copied: {answer.status} {source}")
        return answer.body

    def _address_upload(self, environ: dict[str, Any], request: S3Request) -> dict[str, Any]:
        """Name an upload of before a restart by the id that moto has for it now."""
        old = request.query.get("uploadId", "")
        new = self._new_ids.get(old)
        if new is not None:
            for variable in ("QUERY_STRING", "RAW_URI", "REQUEST_URI"):
                if variable in environ:
                    environ[variable] = environ[variable].replace(old, new)
        return environ

    def _rename(self, request: S3Request, answer: Answer) -> Answer:
        """Name uploads of before a restart in an answer by the ids that clients know."""
        if not self._new_ids or request.operation not in ("ListParts", "ListMultipartUploads"):
            return answer
        body = answer.body
        for old, new in self._new_ids.items():
            body = body.replace(new.encode(), old.encode())
        headers = tuple(header for header in answer.headers if header[0].lower() != "content-length")
        return Answer(answer.status, headers, body)


def _stored(environ: Mapping[str, Any], request: S3Request, region: str) -> StoredRequest:
    variables = {
        name: value
        for name, value in environ.items()
        if (name.startswith("HTTP_") or name == "CONTENT_TYPE") and not _NOT_SENT_AGAIN.fullmatch(name)
    }
    names = {variable: name for variable, name in environ.get(_NAMES, {}).items() if variable in variables}
    pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    query = urlencode([pair for pair in pairs if not _SIGNATURE.fullmatch(pair[0])])
    return StoredRequest(request.method, region, query, variables, names)


def _header(answer: Answer, name: str) -> str:
    return next(value for each, value in answer.headers if each.lower() == name)


def _part_numbers(body: bytes) -> list[int]:
    numbers = (each for each in ElementTree.fromstring(body).iter() if each.tag.rpartition("}")[2] == "PartNumber")
    return [int(each.text or "") for each in numbers]


def _failed_keys(body: bytes) -> set[str]:
    """Return the keys that a DeleteObjects could not delete."""
    if not body:
        return set()
    errors = (each for each in ElementTree.fromstring(body) if each.tag.rpartition("}")[2] == "Error")
    return {key.text or "" for error in errors for key in error if key.tag.rpartition("}")[2] == "Key"}
