"""Data files on the local disk: fetched while earlier ones are read, and gone once they are not needed any more."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.exports import DataFile, ExportKind, Manifest, Verification
from ddb_lake.exports.errors import DataFileDamaged
from ddb_lake.local_copies import DOWNLOADS, LocalCopies
from ddb_lake_tests.cloud import BUCKET, NOON

COUNT = 12


class Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Any:
        yield self.read()


class Objects:
    """A stand-in for S3 that notes what is fetched."""

    def __init__(self) -> None:
        self.contents = {f"data/{n:02}.json.gz": f"file {n}".encode() for n in range(COUNT)}
        self.damaged: set[str] = set()
        self.fetched: list[str] = []
        self.changed = threading.Condition()

    def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803
        with self.changed:
            self.fetched.append(Key)
            self.changed.notify_all()
        content = b"?" if Key in self.damaged else self.contents[Key]
        return {"Body": Body(content), "ContentLength": len(content)}

    def wait_for(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.fetched) >= count, timeout=30)


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def manifest(objects) -> Manifest:
    return Manifest(
        uri=f"s3://{BUCKET}/manifest-summary.json",
        export_arn="arn:aws:dynamodb:us-east-1:123456789012:table/orders/export/01700000000000-0badcafe",
        table_arn="arn:aws:dynamodb:us-east-1:123456789012:table/orders",
        table_id="id",
        kind=ExportKind.FULL,
        time=NOON,
        window=None,
        view=None,
        started_at=NOON,
        ended_at=NOON,
        item_count=COUNT,
        billed_bytes=0,
        files=tuple(
            DataFile(BUCKET, key, 1, base64.b64encode(hashlib.md5(content).digest()).decode())
            for key, content in objects.contents.items()
        ),
        verification=Verification.VERIFIED,
    )


def test_the_files_come_in_order_with_their_bytes(objects, manifest):
    with LocalCopies(objects, manifest) as copies:
        read = [(file.name, file.path.read_bytes(), file.item_count) for file in copies.read_once()]
    assert read == [(f"s3://{BUCKET}/{key}", content, 1) for key, content in objects.contents.items()]


def test_the_next_files_are_fetched_while_one_is_read_but_not_all(objects, manifest):
    with LocalCopies(objects, manifest) as copies:
        reader = copies.read_once()
        next(reader)
        objects.wait_for(1 + DOWNLOADS)  # without anybody asking for the second one
        next(reader)
        objects.wait_for(2 + DOWNLOADS)
        assert len(objects.fetched) == 2 + DOWNLOADS


def test_a_copy_that_was_read_is_gone_when_the_next_one_is_asked_for(objects, manifest):
    with LocalCopies(objects, manifest) as copies:
        before: list[Path] = []
        for file in copies.read_once():
            assert file.path.exists()
            assert not any(path.exists() for path in before)
            before.append(file.path)
        assert not before[-1].exists()
        assert len(before) == COUNT


def test_kept_copies_are_read_again_without_being_fetched_again(objects, manifest):
    with LocalCopies(objects, manifest) as copies:
        kept = [file.path for file in copies.read_and_keep()]
        assert all(path.exists() for path in kept)
        assert [file.path for file in copies.read_once()] == kept
    assert sorted(objects.fetched) == sorted(objects.contents)


def test_after_a_reader_stopped_early_only_what_is_gone_is_fetched_again(objects, manifest):
    with LocalCopies(objects, manifest) as copies:
        reader = copies.read_once()
        for _ in range(3):
            next(reader)
        assert len(list(copies.read_and_keep())) == COUNT
    assert len(objects.fetched) == COUNT + 2


def test_nothing_stays_on_the_disk_and_a_damaged_file_is_told(objects, manifest):
    objects.damaged.add("data/02.json.gz")
    read: list[Path] = []
    with pytest.raises(DataFileDamaged, match="data/02"), LocalCopies(objects, manifest) as copies:
        read.extend(file.path for file in copies.read_and_keep())
    assert len(read) == 2
    assert not read[0].parent.exists()


def test_copies_that_a_killed_process_has_left_go_and_those_of_a_living_one_stay(
    objects, manifest, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = (
        "import tempfile, time; from ddb_lake.local_copies import LocalCopies\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "copies = LocalCopies(None, None); print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (left,) = tmp_path.iterdir()
        then = time.time() - 3600
        os.utime(left, (then, then))
        with LocalCopies(objects, manifest):
            assert left.exists()
        process.kill()
    with LocalCopies(objects, manifest):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []
