"""The comparison of exports can fail: a real one, damaged in one way, is told from itself by that damage."""

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ddb_lake_tests.embedded_aws.export_shape import ExportInBucket, differences, real_export
from ddb_lake_tests.real import UNICORN_INCREMENTAL

Damage = Callable[[str, bytes], tuple[str, bytes]]


def rename(old: str, new: str) -> Damage:
    return lambda key, body: (key.replace(old, new), body)


def edit(name: str, old: bytes, new: bytes) -> Damage:
    return lambda key, body: (key, re.sub(old, new, body) if key.endswith(name) else body)


def repack(old: bytes, new: bytes) -> Damage:
    def damage(key: str, body: bytes) -> tuple[str, bytes]:
        if not key.endswith(".gz"):
            return key, body
        return key, gzip.compress(gzip.decompress(body).replace(old, new), mtime=0)

    return damage


@pytest.fixture(scope="module")
def real(real_exports: Path) -> ExportInBucket:
    return real_export(real_exports / "unicorn_activities", UNICORN_INCREMENTAL)


def test_a_real_export_does_not_differ_from_itself(real: ExportInBucket) -> None:
    assert differences(real, real, real.lines()) == []


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (rename("_started", "started"), "objects like .*/_started: 1 missing"),
        (rename("files.md5", "files.checksum"), "objects like .*/manifest-files.checksum: 1 too many"),
        (rename(".json.gz", ".gz"), "json.gz: 4 missing"),
        (edit("_started", b"^$", b"x"), "_started is not as the real one"),
        (edit("summary.json", b'"s3Prefix":null,', b""), "manifest-summary.json has the members"),
        (edit("summary.json", b"2023-08-01", b"2020-06-30"), "version is '2020-06-30'"),
        (edit("summary.json", rb"\.000Z", b"Z"), "startTime is"),
        (edit("summary.json", b'"itemCount":15', b'"itemCount":"15"'), "itemCount is '15'"),
        (edit("summary.json", b'"itemCount":15', b'"itemCount":14'), "itemCount is not the number of lines, 15"),
        (edit("summary.json", b"-6ddcf8cf", b"-6DDCF8CF"), "exportArn is"),
        (edit("summary.json", b"$", b"\n"), "manifest-summary.json is formatted as"),
        (edit("summary.json", b",", b", "), "manifest-summary.json is formatted as"),
        (edit("files.json", b"\n$", b""), "manifest-files.json is formatted as"),
        (edit("files.json", b'-1"', b'"'), "etag is"),
        (edit("files.json", b'"itemCount":7', b'"itemCount":6'), "itemCount is not {'itemCount': 6"),
        (edit("files.md5", b"$", b"\n"), "manifest-files.md5 has 25 bytes, the real one 24"),
        (edit("summary.md5", b"^..", b"xx"), "summary.md5 is .*, which is not the MD5"),
        (edit(".gz", rb"(?s)^(.{9}).", rb"\1" + b"\3"), "begins with 1f8b0800000000000003"),
        (edit(".gz", b"$", b"\0"), "is not one gzip member"),
        (repack(b'"name":{"S":', b'"name":{"N":'), "no real line says what"),
        (repack(b":{", b": {"), "a line is written as"),
        (repack(b'"Keys":{"name":', b'"Key":{"name":'), "no line says what the real"),
    ],
)
def test_damage_is_found(real: ExportInBucket, damage: Damage, finding: str) -> None:
    damaged = replace(real, objects=dict(damage(key, body) for key, body in real.objects.items()))
    found = differences(damaged, real, real.lines())
    assert any(re.search(finding, each) for each in found), found
