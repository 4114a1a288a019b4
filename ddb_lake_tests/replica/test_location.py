"""Where tables may lie, and what is said of other places."""

from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from ddb_lake.replica import Location
from ddb_lake.replica.errors import UnsupportedLocation


@pytest.mark.parametrize("uri", ["{folder}/a table", "file://{folder}/a%20table", "{folder}/a table/"])
def test_a_local_folder_is_the_same_however_it_is_written(tmp_path: Path, uri: str):
    location = Location(uri.format(folder=tmp_path))
    assert location.uri == str(tmp_path / "a table")
    obstore.put(location.store(), "x/y", b"z")
    assert (tmp_path / "a table" / "x" / "y").read_bytes() == b"z"


def test_a_relative_path_is_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert Location("lake/orders").uri == str(tmp_path / "lake" / "orders")


def test_a_bucket_is_reached_with_delta_rs_own_options():
    location = Location(
        "s3://bucket/lake/orders/",
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ALLOW_HTTP": "true",
            "timeout": "20s",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
        },
    )
    store = location.store()
    assert isinstance(store, S3Store)
    assert location.uri == "s3://bucket/lake/orders"
    assert store.prefix == "lake/orders"
    assert store.config.get("endpoint") == "http://127.0.0.1:9"
    assert store.client_options == {"allow_http": "true", "timeout": "20s", "connect_timeout": "5s"}


@pytest.mark.parametrize("uri", ["gs://bucket/x", "https://host/x", "s3://bucket", "s3://bucket/", "s3:///x"])
def test_other_places_are_refused(uri: str):
    with pytest.raises(UnsupportedLocation):
        Location(uri)
