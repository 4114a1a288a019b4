"""Attributes may be called anything that DynamoDB allows, the key's too: the whole way, in both strategies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.config import TableSettings, load_settings
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import ExportClient
from ddb_lake.parity import compare
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import Column, Location, Strategy
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.windows import QUARTER_HOUR, Window, floor_quarter_hour
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import advance_to, lake_at, metadata_of, quarter
from ddb_lake_tests.replica.readers import by_datafusion, by_delta_rs, by_duckdb, by_polars, read_by_all
from ddb_lake_tests.table_histories import bootstrap, bring_in

FOLD_ALL = FoldPolicy(target_rows=1000, fan=2, dead_share=0.1)

POLARS = ["^price$", "price", "*", "^.*$", "^(", "^($", "^$", "^a\n$", "**"]
SQL = [
    *("a.b", "a[0]", "$1", "?", ":x", "@a", "--", "/* */", ";", '"', "`", "'", "\\", "(a)"),
    *("s", "t", "s.a", "t.*", "select"),
]
DELTA = [",", "{a}", "a=b", "a b", "\n", "\t", "%", "%20", "_change_type", "__delta_rs_path"]
PATHS = ["a/b", "../x", "..", "#", "_part_day=2026-01-01", "~"]
YAML = ["null", "yes", "1", "1.5", "<<", "&a", "!x", "|", ">", "- a", "a: b", "2026-11-24", "[a]", ": "]
TEXT = [
    *("\0", "\x1b", "\x7f", "\x85", "\r", "\u2028", "\ufeff", "\u202e", "\u200d", "\uffff", "\U0010ffff", "🦄"),
    *("é", "e\u0301", "ß", "SS", "ſ", "A", "a", "İ", "i̇", "K", "\u212a"),
]
OURS = [
    *("_key_hash", "_deleted", "_DELETED", "id__string", "key", "row of the file", "folded file", "key fingerprint"),
    *("_deleted_us", "time of the delete", "first", "value", "told", "len", "literal", "index", "__index_level_0__"),
]
"""Words and characters that something on the way may take for more than a name."""

names_of_any_text = st.one_of(
    st.text(st.sampled_from("^$*.[]()+?|\\`'\"%&=,;:{}#/~@!<>-_ \n\0\x85aA1é🦄"), min_size=1, max_size=5),
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=5),
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=1)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


both = pytest.mark.parametrize("strategy", list(Strategy), ids=lambda each: each.value)


class Source:
    """A table whose items get more attributes in a window, and other types in the next."""

    def __init__(self, cloud: Cloud, folder: Path, key: str, sort: str | None, names: list[str]) -> None:
        self._cloud = cloud
        self._folder = folder
        self._key = key
        self._sort = sort
        self.names = [name for name in names if name not in (key, sort)]
        self.start = floor_quarter_hour(cloud.control.now()) + 2 * QUARTER_HOUR
        self._create()
        half = self.names[::2]
        for id_ in "abcd":
            self._put(id_, {name: {"S": f"before {place}"} for place, name in enumerate(half)})
        self.scans: list[list[Any]] = []
        with self._window(0):
            self._put("a", {name: {"S": f"after {place}"} for place, name in enumerate(self.names)})
            self._put("e", {name: {"S": f"new {place}"} for place, name in enumerate(self.names)})
            cloud.dynamodb.delete_item(TableName=folder.name, Key=self._key_of("b"))
        with self._window(1):
            self._put("a", {name: {"N": f"{place}"} for place, name in enumerate(self.names)})
            self._put("c", {})

    def window(self, n: int, count: int = 1) -> Window:
        return Window(self.start + n * QUARTER_HOUR, self.start + (n + count) * QUARTER_HOUR)

    def opened(self, **wanted: Any) -> Pipeline:
        settings = TableSettings.model_validate(
            {"table": self._folder.name, "region": "us-east-1", "start": self.start, "bucket": BUCKET, **wanted}
        )
        client = ExportClient(self._cloud.dynamodb, self._cloud.s3, settings.destination)
        return Pipeline(settings, client, lambda kind: Location(str(self._folder / "lake" / kind)))

    def drop(self) -> None:
        self._cloud.dynamodb.delete_table(TableName=self._folder.name)

    def _window(self, n: int) -> Any:
        return _Window(self, self._cloud, n)

    def _create(self) -> None:
        self._cloud.control.clock("frozen", at=self.start - QUARTER_HOUR)
        keys: list[Any] = [{"AttributeName": self._key, "KeyType": "HASH"}]
        types: list[Any] = [{"AttributeName": self._key, "AttributeType": "S"}]
        if self._sort:
            keys.append({"AttributeName": self._sort, "KeyType": "RANGE"})
            types.append({"AttributeName": self._sort, "AttributeType": "N"})
        self._cloud.dynamodb.create_table(
            TableName=self._folder.name, KeySchema=keys, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST"
        )
        self._cloud.switch_recovery(self._folder.name, on=True)

    def _key_of(self, id_: str) -> dict[str, Any]:
        return {self._key: {"S": id_}, **({self._sort: {"N": "1"}} if self._sort else {})}

    def _put(self, id_: str, attributes: dict[str, Any]) -> None:
        self._cloud.dynamodb.put_item(TableName=self._folder.name, Item={**attributes, **self._key_of(id_)})

    def scan(self) -> list[Any]:
        return self._cloud.scan(self._folder.name)


class _Window:
    """The time of a window: at its end the table is scanned."""

    def __init__(self, source: Source, cloud: Cloud, n: int) -> None:
        self._source, self._cloud, self._n = source, cloud, n

    def __enter__(self) -> None:
        self._cloud.control.clock("frozen", at=self._source.window(self._n).start)

    def __exit__(self, *_: object) -> None:
        self._cloud.control.clock("frozen", at=self._source.window(self._n).end)
        self._source.scans.append(self._source.scan())


def follow(source: Source, pipeline: Pipeline) -> None:
    """Go the whole way, and be equal to the source at each of its stops."""

    def holds(scan: list[Any]) -> None:
        parity = compare(pipeline, iter(scan))
        assert parity.equal, parity

    bootstrap(pipeline)
    for n, scan in enumerate(source.scans):
        bring_in(pipeline, source.window(n))
        holds(scan)
    bring_in(pipeline, source.window(0, 2))  # whose changes are compared with those of the exports within
    holds(source.scans[-1])
    pipeline.replica.maintain(FOLD_ALL)
    holds(source.scans[-1])
    before = pipeline.replica.strategy()
    for strategy in (next(each for each in Strategy if each is not before), before):
        pipeline.replica.convert(strategy)
        holds(source.scans[-1])


def test_runs_record_columns_of_any_name(cloud: Cloud, tmp_path: Path):
    names = [*POLARS, *SQL, *DELTA, *PATHS, *YAML, *TEXT, *OURS]
    advance_to(cloud, -1)
    cloud.create_table()
    item = {name: {"S": f"{place}"} for place, name in enumerate(names)}
    cloud.dynamodb.put_item(TableName=TABLE, Item={**item, "id": {"S": "a"}})
    advance_to(cloud, 0)
    cloud.dynamodb.put_item(TableName=TABLE, Item={**item, "id": {"S": "b"}, "late *": {"N": "1"}})
    advance_to(cloud, 1)
    with lake_at(cloud, tmp_path) as lake:
        lake.bootstrap()
        done = lake.materialise(quarter(0))
        assert lake.parity().equal
        shown = metadata_of(done, "delta_table")["dagster/column_schema"].columns
        assert {f"{each.description}".split(", since")[0] for each in shown} == {
            f"attribute {name!r}" for name in ("id", "late *", *names)
        }
    cloud.dynamodb.delete_table(TableName=TABLE)


def test_of_each_languages_special_names_nothing_is_lost_on_the_whole_way(cloud: Cloud, tmp_path_factory: Any):
    names = [*POLARS, *SQL, *DELTA, *PATHS, *YAML, *TEXT, *OURS]
    assert len(set(names)) == len(names)
    for strategy in Strategy:
        source = Source(cloud, tmp_path_factory.mktemp("special"), "id", None, names)
        rule = {"attribute": "^price$", "unit": "year"}
        pipeline = source.opened(strategy=strategy, partition_by=[rule, {"buckets": 2}])
        follow(source, pipeline)
        attributes = {column.metadata["ddb_lake.attribute"] for column in pipeline.replica.columns()}
        assert attributes == {"id", *names}
        rows = read_by_all(pipeline.replica.location.uri, [column.name for column in pipeline.replica.columns()])
        assert len(rows) == 4
        source.drop()


@both
@pytest.mark.parametrize(
    ("key", "sort"),
    [
        ("^price$", "*"),
        ("a.b[0]", "`'\"\\"),
        ("_deleted_us", "time of the delete"),
        ("_key_hash", "\0\n\u2028"),
        ("é" * 127, "^" + "x" * 253 + "$"),
    ],
    ids=["patterns", "quotes", "what is in memory", "controls", "long"],
)
def test_keys_of_any_name_tell_the_rows_apart(
    cloud: Cloud, tmp_path_factory: Any, strategy: Strategy, key: str, sort: str
):
    source = Source(cloud, tmp_path_factory.mktemp("key"), key, sort, ["x"])
    pipeline = source.opened(strategy=strategy)
    follow(source, pipeline)
    assert len(read_by_all(pipeline.replica.location.uri, [each.name for each in pipeline.replica.columns()])) == 4
    source.drop()


@both
def test_names_of_64_kilobytes_are_read_by_all(cloud: Cloud, tmp_path_factory: Any, strategy: Strategy):
    names = ["x" * 65_535, "^" + "é" * 32_766 + "$", " " * 65_535]
    source = Source(cloud, tmp_path_factory.mktemp("long"), "id", None, names)
    pipeline = source.opened(strategy=strategy)
    follow(source, pipeline)
    assert len(read_by_all(pipeline.replica.location.uri, [each.name for each in pipeline.replica.columns()])) == 4
    source.drop()


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(key=names_of_any_text, names=st.lists(names_of_any_text, min_size=8, max_size=30, unique=True), data=st.data())
def test_items_of_any_names_arrive(cloud: Cloud, tmp_path_factory: Any, key: str, names: list[str], data: Any):
    sort = data.draw(st.one_of(st.none(), names_of_any_text.filter(lambda name: name != key)))
    source = Source(cloud, tmp_path_factory.mktemp("any"), key, sort, names)
    follow(source, source.opened(strategy=data.draw(st.sampled_from(list(Strategy)))))
    source.drop()


@both
def test_a_lake_whose_columns_are_called_like_patterns_goes_on(
    cloud: Cloud, tmp_path_factory: Any, strategy: Strategy
):
    """Earlier versions did not escape these names, and failed only once the column was in the change log."""
    source = Source(cloud, tmp_path_factory.mktemp("old"), "id", None, ["^price$", "x", "*", "price"])
    pipeline = source.opened(strategy=strategy)

    def column(name: str, **key: str) -> Column:
        return Column(
            name,
            pl.String(),
            {"ddb_lake.attribute": name, "ddb_lake.arm": "string", "ddb_lake.since": "2026-11-24T12:00:00Z", **key},
        )

    pipeline.change_log.add_columns([column("id", **{"ddb_lake.key": "HASH"}), column("^price$"), column("*")])
    follow(source, pipeline)
    names = [each.name for each in pipeline.replica.columns()]
    assert {"^price$", "^price$__int64", "*", "*__int64"} <= set(names)
    uri = pipeline.replica.location.uri
    rows = by_polars(uri, names)
    for reader in (by_delta_rs, by_datafusion, by_duckdb):
        assert sorted(reader(uri, names), key=repr) == sorted(rows, key=repr)
    source.drop()


def test_lake_yaml_takes_names_of_any_text(tmp_path: Path):
    names = [*POLARS, *SQL, *DELTA, *PATHS, *YAML, *TEXT, *OURS]
    paths = [name.replace("\\", "\\\\").replace(".", "\\.") for name in names]
    table = {"table": "table", "region": "us-east-1", "start": "2026-11-24T12:00Z", "bucket": "lake"}
    wanted = [
        {"drop": paths},
        {"keep": paths},
        {"hash": paths},
        {"attributes": {name: {"types": "string"} for name in names}},
        *({"partition_by": [{"attribute": name, "unit": "day"}]} for name in names),
    ]
    for part in wanted:
        file = tmp_path / "lake.yaml"
        file.write_text(yaml.safe_dump({"lake": "lake", "tables": [{**table, **part}]}, sort_keys=False))
        (read,) = load_settings(file).tables
        for setting in ("drop", "keep", "hash"):
            assert getattr(read, setting) == (tuple((name,) for name in names) if setting in part else ())
        assert list(read.attributes) == (names if "attributes" in part else [])
        if "partition_by" in part:
            assert read.partition_by[0].attribute == part["partition_by"][0]["attribute"]


@both
def test_selections_find_attributes_of_any_name(
    cloud: Cloud, tmp_path_factory: Any, monkeypatch: Any, strategy: Strategy
):
    monkeypatch.setenv("DDB_LAKE_HASH_KEY", "a secret")
    names = [*POLARS, *SQL, *TEXT]
    paths = [name.replace("\\", "\\\\").replace(".", "\\.") for name in names]
    source = Source(cloud, tmp_path_factory.mktemp("rules"), "id", None, names)
    rules = {name: {"types": "string"} for name in names[2::3]}
    pipeline = source.opened(strategy=strategy, drop=paths[::3], hash=paths[1::3], attributes=rules)
    follow(source, pipeline)
    columns = {
        each.metadata["ddb_lake.attribute"]: each.metadata["ddb_lake.arm"] for each in pipeline.replica.columns()
    }
    assert columns == {"id": "string", **dict.fromkeys(names[1::3], "string"), **dict.fromkeys(names[2::3], "text")}
    assert DeltaTable(pipeline.replica.location.uri).version() > 0
    source.drop()
