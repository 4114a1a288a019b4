"""Where a lake may lie: all readers open its tables there, or lake.yaml is refused before anything is written."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from ddb_lake.config import ConfigError, load_settings
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.replica.location import why_unreadable
from ddb_lake_tests.cloud import Cloud
from ddb_lake_tests.replica.readers import by_datafusion, by_delta_rs, by_duckdb, by_polars

PRINTABLE = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "/"]
ACCEPTED = "".join(char for char in PRINTABLE if why_unreadable(f"/lake/a{char}b") is None and char != "=")
ROWS = pl.DataFrame({"id": [1, 2, 3], "part": ["u", "v", "u"]})

TABLE = """\
tables:
  - table: orders
    region: eu-central-1
    start: 2026-11-24T18:15:00Z
    bucket: export-bucket
"""


@pytest.fixture
def load(tmp_path):
    def load(lake: str, folder: Path = tmp_path, table: str = TABLE):
        folder.mkdir(exist_ok=True)
        path = folder / "lake.yaml"
        path.write_text(f"aws: real\nlake: {lake}\n{table}", encoding="utf-8")
        return load_settings(path)

    return load


def test_the_accepted_characters_are_those_that_were_tried():
    assert ACCEPTED == ("!$&'()*+,-.0123456789:;@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")


@pytest.mark.parametrize("partitioned", [False, True])
def test_polars_delta_rs_and_duckdb_open_a_table_in_a_folder_of_all_accepted_characters(tmp_path, partitioned):
    plain = tmp_path / "plain"
    write_deltalake(plain, ROWS.to_arrow(), partition_by=["part"] if partitioned else None)
    for part in (ACCEPTED, "~", "~x", ".x", "-x", "x.", "..x", "...", "s3:"):
        folder = tmp_path / "lake" / part / "orders"
        folder.parent.mkdir(parents=True)
        shutil.move(plain, folder)
        for read in (by_polars, by_delta_rs, by_datafusion):
            assert sorted(read(str(folder), ["id", "part"])) == sorted(ROWS.rows())
        DeltaTable(folder).delete("id = 9")
        assert sorted(by_duckdb(str(folder).replace("'", "''"), ["id", "part"])) == sorted(ROWS.rows())
        shutil.move(folder, plain)


def test_on_s3_they_open_it_too():
    with EmbeddedAws() as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket="lake")
        options = {
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        uri = f"s3://lake/{ACCEPTED}/orders"
        write_deltalake(uri, ROWS.to_arrow(), partition_by=["part"], storage_options=options)
        found = pl.scan_delta(uri, storage_options=options).select("id", "part").collect()
        assert sorted(found.rows()) == sorted(ROWS.rows())


@pytest.mark.parametrize("char", [*(c for c in PRINTABLE if c not in ACCEPTED and c != "="), "é", "日", "\t", "\x7f"])
@pytest.mark.parametrize("root", ["", "s3://lake-bucket/"])
def test_other_characters_are_refused_when_lake_yaml_is_read(load, root, char):
    lake = f"{root}a{char}b".replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\x7f", "\\x7f")
    with pytest.raises(ConfigError, match=r"lake\.uri: .*readers such as polars, delta-rs and DuckDB don't open"):
        load(f'"{lake}"')


@pytest.mark.parametrize("lake", ["./a%20b", "a#b", "a?b", "a b/lake", "s3://lake-bucket/a%2Fb"])
def test_what_readers_take_for_something_else_is_refused(load, lake):
    with pytest.raises(ConfigError, match="use another folder, of a-z A-Z 0-9"):
        load(f'"{lake}"')


def test_the_folder_of_lake_yaml_counts_too(load, tmp_path):
    with pytest.raises(ConfigError, match=r"lake\.uri: 'lake' is '.*a folder/lake': readers .* with a space"):
        load("lake", tmp_path / "a folder")


def test_symbolic_links_do_not_hide_a_folder(load, tmp_path):
    (tmp_path / "a folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a folder")
    with pytest.raises(ConfigError, match="a folder/lake"):
        load("link/lake")


PARTITIONED = TABLE + "    partition_by: [{buckets: 16}]\n"


@pytest.mark.parametrize("table", [TABLE, PARTITIONED], ids=["plain", "partitioned"])
def test_a_folder_like_key_value_is_refused_since_the_change_log_is_partitioned(load, tmp_path, table):
    with pytest.raises(ConfigError, match="does not open the change log"):
        load("team=x/lake", tmp_path, table)
    with pytest.raises(ConfigError, match="does not open the change log"):
        load("lake", tmp_path / "team=x", table)


@pytest.mark.parametrize("table", [TABLE, PARTITIONED], ids=["plain", "partitioned"])
@pytest.mark.parametrize("there", ["replica", "change_log/b6a1c7f0-0000-4000-8000-000000000001"])
def test_a_lake_that_lies_in_a_folder_like_key_value_goes_on_with_a_warning(load, tmp_path, there, table, caplog):
    write_deltalake(tmp_path / "team=x/lake/orders" / there, ROWS.to_arrow(), partition_by=["part"])
    assert load("team=x/lake", tmp_path, table).lake.uri == str(tmp_path / "team=x/lake")
    assert "does not open the change log" in caplog.text


def test_a_folder_like_key_value_on_s3_may_hold_a_lake_and_is_warned_of(load, caplog):
    assert load("s3://lake-bucket/team=x").lake.uri == "s3://lake-bucket/team=x"
    assert "does not open the change log" in caplog.text


@pytest.mark.parametrize(
    ("lake", "told"),
    [
        ("s3://lake-bucket/a/../b", "can't have an empty part, or one that is . or .."),
        ("s3://lake-bucket/./b", "can't have an empty part"),
        ("s3://lake-bucket/a//b", "can't have an empty part"),
        ("s3://lake-bucket/" + "a" * 600, "512 characters at most"),
        ("a" * 300, "255 characters at most"),
        ("~nobody-of-this-name/lake", "can't be resolved"),
    ],
)
def test_other_places_are_refused(load, lake, told):
    with pytest.raises(ConfigError) as caught:
        load(lake)
    assert told in str(caught.value)


def test_a_local_path_may_go_up_and_begin_at_home(load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("../lake").lake.uri == str(tmp_path.parent / "lake")
    assert load("~/lake").lake.uri == str(tmp_path / "lake")


@pytest.mark.parametrize(
    ("prefix", "told"),
    [
        ("a/../b", "HTTP clients resolve . and .."),
        ("..", "HTTP clients resolve . and .."),
        ("./a", "HTTP clients resolve . and .."),
        ("a//b", "not a prefix; write it without a slash"),
        ("/a", "not a prefix; write it without a slash"),
        ("a/", "not a prefix; write it without a slash"),
        ('"a\\tb"', "it has control characters"),
        ('"a\\x7fb"', "it has control characters"),
        ('"a\\\\b"', "read \\ as something else"),
        ('"a*"', "read * as something else"),
        ('"a?b"', "read ? as something else"),
        ('"${aws:username}"', "read ${ as something else"),
        ("a" * 600, "longer than 512 bytes"),
    ],
)
def test_a_prefix_means_what_it_says_or_is_refused(load, tmp_path, prefix, told):
    with pytest.raises(ConfigError) as caught:
        load("lake", tmp_path, TABLE + f"    prefix: {prefix}\n")
    assert told in str(caught.value)


@pytest.mark.parametrize("prefix", ["a", "a/b", "year=2026/x", "a b", "ä", "a.b/..c"])
def test_other_prefixes_are_taken(load, tmp_path, prefix):
    assert load("lake", tmp_path, TABLE + f"    prefix: {prefix}\n").tables[0].prefix == prefix
