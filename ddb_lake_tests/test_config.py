"""lake.yaml: what it says is what is meant, and each mistake is told with file, key, value and remedy."""

from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from ddb_lake.config import AwsMode, ConfigError, RecoveryPolicy, load_settings
from ddb_lake.exports import AdoptedExport, Destination, ImageView
from ddb_lake.windows import QUARTER_HOUR, Window

GOOD = """\
aws: real
lake: s3://lake-bucket/dynamodb
tables:
  - table: orders
    region: eu-central-1
    start: 2026-11-24T18:15:00Z
    bucket: export-bucket
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "lake.yaml"
        path.write_text(dedent(text))
        return path

    return write


def test_a_short_file_gets_the_defaults(write):
    settings = load_settings(write(GOOD))
    table = settings.tables[0]
    assert settings.aws.mode is AwsMode.REAL
    assert not settings.sensor.running
    assert table.name == "orders"
    assert table.start == datetime(2026, 11, 24, 18, 15, tzinfo=UTC)
    assert table.destination == Destination("export-bucket")
    assert table.view is ImageView.NEW_IMAGE
    assert table.recovery is RecoveryPolicy.CHECK


def test_every_key_is_understood(write):
    settings = load_settings(
        write(
            """\
            aws: {mode: embedded, endpoint: "http://127.0.0.1:4999"}
            lake: {uri: s3://lake-bucket/x, region: eu-west-1}
            sensor: {running: true, interval_seconds: 15}
            tables:
              - table: arn:aws:dynamodb:us-east-1:123456789012:table/my-table.v1
                region: us-east-1
                start: "2026-11-24T19:15:00+01:00"
                bucket: exports
                prefix: a/b
                bucket_owner: "210987654321"
                alias: mine
                view: NEW_AND_OLD_IMAGES
                strategy: copy_on_write
                recovery: enable
            """
        )
    )
    table = settings.tables[0]
    assert settings.aws.endpoint == "http://127.0.0.1:4999"
    assert (settings.lake.uri, settings.lake.region) == ("s3://lake-bucket/x", "eu-west-1")
    assert (settings.sensor.running, settings.sensor.interval_seconds) == (True, 15)
    assert table.name == "mine"
    assert table.start == datetime(2026, 11, 24, 18, 15, tzinfo=UTC)
    assert table.destination == Destination("exports", "a/b", "210987654321")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("us-east-1", "aws"), ("eusc-de-east-1", "aws-eusc"), ("us-gov-west-1", "aws-us-gov"), ("cn-north-1", "aws-cn")],
)
def test_the_regions_of_all_partitions_are_known(write, region, partition):
    text = GOOD.replace("eu-central-1", region)
    assert load_settings(write(text)).tables[0].region == region
    arn = f"arn:{partition}:dynamodb:{region}:123456789012:table/orders"
    assert load_settings(write(text.replace("table: orders", f"table: {arn}"))).tables[0].name == "orders"


def test_a_server_of_ones_own_may_call_its_region_what_it_likes(write, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")
    lake = "lake: {uri: s3://lake-bucket/x, region: home}"
    assert load_settings(write(GOOD.replace("lake: s3://lake-bucket/dynamodb", lake))).lake.region == "home"


def test_a_local_lake_is_found_from_the_files_folder(write):
    path = write(GOOD.replace("s3://lake-bucket/dynamodb", "data/lake"))
    assert load_settings(path).lake.uri == str(path.parent / "data" / "lake")


def test_names_are_made_fit_for_dagster(write):
    table = load_settings(write(GOOD.replace("table: orders", "table: my-table.v1"))).tables[0]
    assert (table.name, table.identifier) == ("my-table.v1", "my_table_v1")


FULL = "s3://backups/nightly/AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json"
CHANGES = "s3://backups/changes/AWSDynamoDB/01795523520000-3f2e5aa4/manifest-summary.json"


def adopting(start: str, *adopt: str) -> str:
    """A lake.yaml with adopted exports."""
    lines = "".join(f"\n      - {{{each}}}" for each in adopt)
    return GOOD.replace("2026-11-24T18:15:00Z", start) + f"    adopt:{lines}\n"


def test_adopted_exports_are_understood_and_one_gives_the_start(write):
    table = load_settings(
        write(
            adopting(
                "2026-11-24T18:07:31.123Z",
                f"manifest: {FULL}, time: 2026-11-24T18:07:31.123Z",
                f"manifest: {CHANGES}, from: 2026-11-24T18:07:31.123Z, to: 2026-11-24T18:22:31.123Z",
            )
        )
    ).tables[0]
    time = datetime(2026, 11, 24, 18, 7, 31, 123_000, tzinfo=UTC)
    assert table.start == time
    assert table.adopted == (
        AdoptedExport("backups", FULL.removeprefix("s3://backups/"), time),
        AdoptedExport("backups", CHANGES.removeprefix("s3://backups/"), Window(time, time + QUARTER_HOUR)),
    )


@pytest.mark.parametrize(
    ("start", "adopt", "told"),
    [
        ("2026-11-24T18:07:31Z", [f"manifest: {CHANGES}, from: 2026-11-24T18:07:31Z, to: 2026-11-24T19:00:00Z"], "tables.0.start: 2026-11-24T18:07:31+00:00: not on a quarter-hour; write 2026-11-24T18:00:00Z or 2026-11-24T18:15:00Z, or adopt a full export of exactly that time"),
        ("2026-11-24T18:15:00Z", [f"manifest: {FULL}, time: 2026-11-24T18:07:31Z"], "tables.0.start: 2026-11-24T18:15:00+00:00: not the time of the adopted full export; write 2026-11-24T18:07:31Z, or remove that export from adopt"),
        ("2026-11-24T18:07:31Z", [f"manifest: {FULL}, time: 2026-11-24T18:07:31Z", f"manifest: {CHANGES}, time: 2026-11-24T18:07:31Z"], "adopt names 2 full exports"),
        ("2026-11-24T18:07:31Z", [f"manifest: {FULL}, time: 2026-11-24T18:07:31Z", f"manifest: {FULL}, from: 2026-11-24T18:07:31Z, to: 2026-11-24T19:00:00Z"], "adopt names an export twice"),
        ("2026-11-24T18:15:00Z", [f"manifest: {CHANGES}, from: 2026-11-24T18:15:00Z, to: 2026-11-24T18:29:59Z"], "tables.0.adopt.0: a mapping: no export is from 2026-11-24T18:15:00Z to 2026-11-24T18:29:59Z"),
        ("2026-11-24T18:15:00Z", [f"manifest: {CHANGES}, from: 2026-11-24T18:15:00Z, to: 2026-11-24T18:00:00Z"], "no export is from"),
        ("2026-11-24T18:15:00Z", [f"manifest: {CHANGES}, from: 2026-11-24T18:15:00Z"], "write either the time of a full export, or from and to of an incremental one"),
        ("2026-11-24T18:15:00Z", [f"manifest: {CHANGES}"], "write either the time of a full export"),
        ("2026-11-24T18:15:00Z", [f"manifest: {FULL}, time: 2026-11-24T18:15:00.0001Z"], "tables.0.adopt.0.time: 2026-11-24T18:15:00.000100+00:00: more exact than a millisecond"),
        ("2026-11-24T18:15:00Z", ["manifest: 'arn:aws:dynamodb:us-east-1:123456789012:table/orders/export/01795522051123-c8551abe', time: 2026-11-24T18:15:00Z"], "not the manifest of an export; write it like s3://bucket/prefix/AWSDynamoDB/<export id>/manifest-summary.json"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a/../AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "HTTP clients resolve . and .."),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a*/AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "IAM policies and clients of S3 read * as something else"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/${aws:username}/AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "IAM policies and clients of S3 read ${ as something else"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a//b/AWSDynamoDB/01795522051123-c8551abe/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "not a prefix; write it without a slash at either end"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a/AWSDynamoDB/../manifest-summary.json', time: 2026-11-24T18:15:00Z"], "not the manifest of an export"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a/AWSDynamoDB/*/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "not the manifest of an export"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a/AWSDynamoDB/x/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "not the manifest of an export"),
        ("2026-11-24T18:15:00Z", ["manifest: 's3://backups/a/AWSDynamoDB/01795522051123-c8551abe*/manifest-summary.json', time: 2026-11-24T18:15:00Z"], "not the manifest of an export"),
        ("2026-11-24T18:15:00Z", ["arn: x"], "tables.0.adopt.0.arn: there is no such key"),
    ],
)  # fmt: skip
def test_a_mistake_in_adopted_exports_is_explained(write, start, adopt, told):
    with pytest.raises(ConfigError) as refusal:
        load_settings(write(adopting(start, *adopt)))
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # times
        ("18:15:00Z", "18:07:00Z", "tables.0.start: 2026-11-24T18:07:00+00:00: not on a quarter-hour; write 2026-11-24T18:00:00Z or 2026-11-24T18:15:00Z"),
        ("2026-11-24T18:15:00Z", "2026-11-24T18:15:00", "tables.0.start: 2026-11-24T18:15:00: not a time with a time zone"),
        ("2026-11-24T18:15:00Z", "2026-11-24", "tables.0.start: 2026-11-24: not a time with a time zone"),
        ("2026-11-24T18:15:00Z", "soon", "tables.0.start: 'soon': not a time with a time zone"),
        ("2026-11-24T18:15:00Z", "2026-13-24T18:15:00Z", "line 6: not YAML: 2026-13-24T18:15:00Z is no date or time: month must be in 1..12; correct it, or quote it"),
        ("2026-11-24T18:15:00Z", "0001-01-01T00:00:00+01:00", "not a time that DynamoDB could export"),
        # names and places
        ("table: orders", "table: a b", "tables.0.table: 'a b': neither a table's name"),
        ("table: orders", "table: arn:aws:s3:::orders", "tables.0.table: 'arn:aws:s3:::orders': neither a table's name"),
        ("table: orders", "table: arn:aws:dynamodb:us-east-1:123456789012:table/orders", "the ARN is of the region us-east-1, but region says eu-central-1"),
        ("bucket: export-bucket", "bucket: s3://export-bucket/x", "tables.0.bucket: 's3://export-bucket/x': not a bucket's name"),
        ("bucket: export-bucket", "bucket: export-bucket\n    prefix: /x/", "tables.0.prefix: '/x/': not a prefix; write it without a slash at either end"),
        ("bucket: export-bucket", "bucket: export-bucket\n    bucket_owner: 123", "tables.0.bucket_owner: 123: not an account id"),
        ("region: eu-central-1", "region: Frankfurt", "tables.0.region: 'Frankfurt': not a region of DynamoDB; write one such as eu-central-1"),
        ("bucket: export-bucket", "bucket: export-bucket\n    kms_key: my key", "tables.0.kms_key: 'my key': not a KMS key; write its id"),
        ("bucket: export-bucket", "bucket: export-bucket\n    kms_key: arn:aws-cn:kms:cn-north-1:123456789012:alias/x", "kms_key is of the partition aws-cn"),
        ("bucket: export-bucket", "bucket: export-bucket\n    kms_key: arn:aws:kms:eu-central-1:123456789012:1234", "not a KMS key"),
        ("region: eu-central-1", "region: us-esat-1", "tables.0.region: 'us-esat-1': not a region of DynamoDB; write us-west-1 or us-east-1"),
        ("region: eu-central-1", "region: eu-centrl-1", "write eu-central-1 or"),
        ("region: eu-central-1", "region: us-east-1-fips", "tables.0.region: 'us-east-1-fips': not a region of DynamoDB"),
        ("region: eu-central-1", "region: [eu-central-1]", "tables.0.region: a list: not a region of DynamoDB"),
        ("lake: s3://lake-bucket/dynamodb", "lake: {uri: s3://lake-bucket/x, region: eu-wset-1}", "lake.region: 'eu-wset-1': not a region of S3; write eu-west-1"),
        ("table: orders", "table: arn:aws-cn:dynamodb:eu-central-1:123456789012:table/orders", "ARNs of the region eu-central-1 begin with arn:aws:; correct one"),
        ("lake: s3://lake-bucket/dynamodb", "lake: gs://lake", "lake.uri: 'gs://lake': neither a local path nor an S3 URL"),
        ("table: orders", "table:", "tables.0.table: None: neither a table's name"),
        ("bucket: export-bucket", "bucket:", "tables.0.bucket: None: not a bucket's name"),
        ("lake: s3://lake-bucket/dynamodb", "lake:", "lake: None"),
        ("lake: s3://lake-bucket/dynamodb", "lake: {uri: }", "lake.uri: None: neither a local path nor an S3 URL"),
        ("lake: s3://lake-bucket/dynamodb", "lake: S3://Lake/x", "lake.uri: 'S3://Lake/x': neither a local path"),
        ("lake: s3://lake-bucket/dynamodb", "lake: s3:/lake-bucket/x", "lake.uri: 's3:/lake-bucket/x': neither a local path"),
        ("bucket: export-bucket", "bucket: export-bucket\n    alias: ..", "tables.0.alias: '..': it does not have the form"),
        # choices
        ("aws: real", "aws: localstack", "aws.mode: 'localstack': write 'embedded' or 'real'"),
        ("bucket: export-bucket", "bucket: export-bucket\n    view: NEW_IMAGES", "tables.0.view: 'NEW_IMAGES': write 'NEW_IMAGE' or 'NEW_AND_OLD_IMAGES'"),
        ("bucket: export-bucket", "bucket: export-bucket\n    partition_by: [{unit: day}]", "tables.0.partition_by.0: a mapping: write either buckets: 16, or attribute: created_at and unit: day"),
        ("bucket: export-bucket", "bucket: export-bucket\n    partition_by: [{buckets: 4}, {buckets: 8}]", "partition_by: two rules make one partition column; write at most one with buckets, and one for each of year, month and day"),
        ("bucket: export-bucket", "bucket: export-bucket\n    partition_by: [{buckets: x}]", "tables.0.partition_by.0.buckets: 'x': write a whole number"),
        ("bucket: export-bucket", "bucket: export-bucket\n    partition_by: [{buckets: 1}]", "tables.0.partition_by.0.buckets: 1: write 2 or more"),
        ("bucket: export-bucket", "bucket: export-bucket\n    strategy: magic", "tables.0.strategy: 'magic': write 'deletion_vectors' or 'copy_on_write'"),
        ("aws: real", "aws: {mode: real, endpoint: 'http://127.0.0.1:1'}", "endpoint belongs to mode: embedded"),
        ("aws: real", "aws: {mode: real, profile: nobody-has-this}", "the AWS configuration has no profile 'nobody-has-this'"),
        ("aws: real", "aws: {mode: embedded, profile: x}", "profile belongs to mode: real"),
        ("aws: real", "aws: {mode: embedded, endpoint: 'http://aws.example'}", "aws.endpoint: 'http://aws.example': it does not have the form"),
        # structure
        ("    bucket: export-bucket\n", "", "tables.0.bucket: it is missing; add it"),
        ("aws: real", "awz: real", "awz: there is no such key; correct its name or remove it"),
        ("aws: real", "aws: real\naws: real", "the key aws is given twice"),
        ("aws: real", "aws: [", "not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_key_value_and_remedy(write, old, new, told):
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert told in str(caught.value)
    assert all(str(path) in line for line in str(caught.value).splitlines()[:1])


def test_a_lake_without_tables_is_refused(write):
    with pytest.raises(ConfigError, match="tables is empty; name at least one table"):
        load_settings(write("aws: real\nlake: x\ntables: []\n"))


def test_all_mistakes_are_told_at_once(write):
    text = GOOD.replace("orders", "a").replace("18:15", "18:16").replace("export-bucket", "B")
    with pytest.raises(ConfigError) as caught:
        load_settings(write(text))
    assert len(str(caught.value).splitlines()) == 3


def test_two_tables_of_one_name_need_an_alias(write):
    second = GOOD[GOOD.index("  - table") :].replace("orders", "or.ders")
    with pytest.raises(ConfigError, match="would share the name or_ders; give one of them another alias"):
        load_settings(write(GOOD.replace("table: orders", "table: or-ders") + second))


@pytest.mark.parametrize(
    "secret", ["aws_secret_access_key: hunter2", "aws_session_token: hunter2", "password: hunter2"]
)
def test_a_secret_is_refused_and_never_shown(write, secret):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(GOOD + f"    {secret}\n"))
    assert "lake.yaml holds no credentials" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_lake_url_with_credentials_is_refused(write):
    with pytest.raises(ConfigError, match="neither a local path nor an S3 URL") as caught:
        load_settings(write(GOOD.replace("s3://lake-bucket", "s3://key:hunter2@lake-bucket")))
    assert "hunter2" not in str(caught.value)


def test_an_endpoint_with_credentials_is_refused_and_not_shown(write):
    aws = "aws: {mode: embedded, endpoint: 'http://key:hunter2@127.0.0.1:4566'}"
    with pytest.raises(ConfigError, match=r"aws\.endpoint") as caught:
        load_settings(write(GOOD.replace("aws: real", aws)))
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_the_ways_out(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file; run from the folder"):
        load_settings(tmp_path / "lake.yaml")


@pytest.mark.parametrize(
    "line", ["password: [hunter2", "aws: {key: hunter2}", "password: hunter2\npassword: hunter2"]
)
def test_what_can_not_be_read_is_not_shown(write, line):
    with pytest.raises(ConfigError) as caught:
        load_settings(write(GOOD.replace("aws: real", line)))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "just text\n"])
def test_a_file_without_keys_is_refused(write, text):
    with pytest.raises(ConfigError, match="must hold the keys"):
        load_settings(write(text))


def test_the_projects_own_lake_yaml_is_valid():
    root = Path(__file__).parents[1]
    assert load_settings(root / "lake.yaml").tables[0].name == "measurement"
