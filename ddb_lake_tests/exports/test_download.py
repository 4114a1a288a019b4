"""Data files arrive whole and verified, or not at all; what is damaged is told, and read again first."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore.config import Config

from ddb_lake.exports import DataFile, ExportKind, Manifest, Verification, download
from ddb_lake.exports.errors import DataFileDamaged, DataFileMissing
from ddb_lake_tests.cloud import BUCKET

CONTENT = bytes(range(256)) * 20_000
KEY = "exports/data/abc.json.gz"


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


FILE = DataFile(BUCKET, KEY, item_count=1, md5=md5(CONTENT))
MANIFEST = Manifest(
    uri=f"s3://{BUCKET}/exports/manifest-summary.json",
    export_arn="arn:aws:dynamodb:us-east-1:123456789012:table/orders/export/01700000000000-0badcafe",
    table_arn="arn:aws:dynamodb:us-east-1:123456789012:table/orders",
    table_id="id",
    kind=ExportKind.FULL,
    time=datetime(2026, 11, 24, tzinfo=UTC),
    window=None,
    view=None,
    started_at=datetime(2026, 11, 24, tzinfo=UTC),
    ended_at=datetime(2026, 11, 24, tzinfo=UTC),
    item_count=1,
    billed_bytes=0,
    files=(FILE,),
    verification=Verification.VERIFIED,
)


def test_a_file_is_copied_as_it_is(cloud, tmp_path):
    cloud.s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    path = download(cloud.s3, FILE, MANIFEST, tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes() == CONTENT


def test_files_of_one_name_in_two_folders_are_two_copies(cloud, tmp_path):
    other = replace(FILE, key=KEY.replace("abc", "other/abc"), md5=md5(b"other"))
    cloud.s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    cloud.s3.put_object(Bucket=BUCKET, Key=other.key, Body=b"other")
    copies = [download(cloud.s3, each, MANIFEST, tmp_path) for each in (FILE, other)]
    assert [each.read_bytes() for each in copies] == [CONTENT, b"other"]


def test_a_missing_file_is_told_with_the_manifest_that_names_it(cloud, tmp_path):
    with pytest.raises(DataFileMissing) as caught:
        download(cloud.s3, FILE, MANIFEST, tmp_path)
    assert FILE.uri in str(caught.value)
    assert MANIFEST.uri in str(caught.value)


def test_a_file_with_another_checksum_is_refused_and_accepted_once_it_is_mended(cloud, tmp_path):
    cloud.s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT[:-1] + b"?")
    with pytest.raises(DataFileDamaged, match=r"its MD5 is .* read 3 times"):
        download(cloud.s3, FILE, MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())
    cloud.s3.put_object(Bucket=BUCKET, Key=KEY, Body=CONTENT)
    assert download(cloud.s3, FILE, MANIFEST, tmp_path).read_bytes() == CONTENT


@contextmanager
def s3_that_answers(*bodies: bytes) -> Iterator[Any]:
    """A client of a server that promises all of the content and sends one of the bodies, request by request."""
    remaining = list(bodies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = remaining.pop(0)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(s3={"addressing_style": "path"}),
        )
        server.shutdown()


@pytest.mark.parametrize("first", [CONTENT[:1000], b"", b"?" + CONTENT[1:]], ids=["cut", "empty", "flipped"])
def test_a_body_that_ends_early_or_arrives_corrupted_is_read_again(tmp_path, first):
    with s3_that_answers(first, CONTENT) as s3:
        assert download(s3, FILE, MANIFEST, tmp_path).read_bytes() == CONTENT


def test_a_body_that_always_ends_early_is_an_error(tmp_path):
    with s3_that_answers(*[CONTENT[:1000]] * 3) as s3, pytest.raises(DataFileDamaged, match="could not be read"):
        download(s3, FILE, MANIFEST, tmp_path)
    assert not list(tmp_path.iterdir())
