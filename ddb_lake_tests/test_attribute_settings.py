"""What lake.yaml says of attributes: what is meant is what the decoder gets, and each mistake is told."""

from pathlib import Path

import pytest

from ddb_lake.attribute_settings import rules_of
from ddb_lake.config import ConfigError, TableSettings, load_settings
from ddb_lake.decoding import AttributeRule, Selection, TypePolicy
from ddb_lake.keys import KeyAttribute

KEY = (KeyAttribute("id", "S", "HASH"), KeyAttribute("at", "N", "RANGE"))

START = """\
aws: real
lake: s3://lake-bucket/dynamodb
tables:
  - table: orders
    region: eu-central-1
    start: 2026-11-24T18:15:00Z
    bucket: export-bucket
"""


@pytest.fixture
def read(tmp_path):
    def read(*lines: str) -> TableSettings:
        path: Path = tmp_path / "lake.yaml"
        path.write_text(START + "".join(f"    {line}\n" for line in lines))
        return load_settings(path).tables[0]

    return read


def test_nothing_said_means_companions_and_every_attribute(read):
    table = read()
    rules = rules_of("orders", table, KEY, {})
    assert rules.of("any") == AttributeRule(TypePolicy.COMPANION, "")
    assert rules.selection == Selection()
    assert not table.old_images


def test_every_key_reaches_the_decoder(read):
    table = read(
        "view: NEW_AND_OLD_IMAGES",
        "types: fail",
        "attributes:",
        "  price: {type: 'decimal(12, 2)'}",
        "  note: {types: string}",
        "  sold at: {type: timestamp_ms, types: companion}",
        "drop: [ssn, address.street, 'a\\.b']",
        "hash:",
        "  - email",
        "  - contacts.phone",
        "hash_key_variable: OUR_KEY",
        "old_images: true",
    )
    rules = rules_of("orders", table, KEY, {"OUR_KEY": "k"})
    assert rules.of("price") == AttributeRule(TypePolicy.FAIL, "decimal_12_2")
    assert rules.of("note") == AttributeRule(TypePolicy.STRING)
    assert rules.of("sold at") == AttributeRule(TypePolicy.COMPANION, "timestamp_ms")
    assert rules.of("other") == AttributeRule(TypePolicy.FAIL)
    assert rules.selection == Selection(
        drop=(("ssn",), ("address", "street"), ("a.b",)), hash=(("email",), ("contacts", "phone")), secret=b"k"
    )
    assert table.old_images


def test_the_tables_policy_is_not_the_keys(read):
    rules = rules_of("orders", read("types: string"), KEY, {})
    assert rules.of("id") == rules.of("at") == AttributeRule(TypePolicy.COMPANION)
    assert rules.of("other") == AttributeRule(TypePolicy.STRING)


def test_a_type_of_its_own_counts_more_than_the_tables_text(read):
    rules = rules_of("orders", read("types: string", "attributes: {n: {type: int64}}"), KEY, {})
    assert rules.of("n") == AttributeRule(TypePolicy.COMPANION, "int64")


@pytest.mark.parametrize(
    "line",
    [
        "attributes: {price: {type: decimal(12, 2)}}",
        "attributes: {price: {type: decimal(12,2)}}",
        "attributes: {price: {type: decimal( 12 , 2 ), types: companion}}",
        "attributes: {price: {type: 'decimal(12, 2)'}}",
    ],
)
def test_a_decimal_is_understood_although_yaml_ends_it_at_the_comma(read, line):
    assert rules_of("orders", read(line), KEY, {}).of("price").hint == "decimal_12_2"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        # types and hints
        (["types: text"], "tables.0.types: 'text': write 'companion', 'string' or 'fail'"),
        (["attributes: {a: {type: int}}"], "tables.0.attributes.a.type: 'int': write one of int64, string, timestamp, timestamp_s, timestamp_ms, json or decimal(precision, scale)"),
        (["attributes: {a: {type: decimal(12 2)}}"], "tables.0.attributes.a.type: 'decimal(12 2)': write one of"),
        (["attributes: {a: {type: 'decimal(39, 2)'}}"], "tables.0.attributes.a.type: 'decimal(39, 2)': write one of"),
        (["attributes: {a: {type: decimal(2, 3)}}"], "'decimal(2, 3)': write one of"),
        (["attributes: {a: {kind: int64}}"], "tables.0.attributes.a.kind: there is no such key"),
        (["attributes: {a: int64}"], "tables.0.attributes.a: 'int64': write its keys, indented, below it"),
        (["attributes: [a]"], "tables.0.attributes: a list: write its keys, indented, below it"),
        (["attributes: {a: {types: string, type: int64}}"], "types: string puts all values into one column of text"),
        (["attributes: {access_token: {type: int}}"], "attributes.access_token.type: 'int': write one of"),
        # messages with braces of their own
        (["attributes: {'{x}': {type: int64}}", "drop: ['{x}']"], "attributes: '{x}' has a rule but is dropped"),
        (["attributes: {'{': {type: int64}}", "keep: ['{x}']"], "attributes: '{' has a rule but is not kept"),
        (["drop: [{a: b}]"], "tables.0.drop.0: a mapping:"),
        # partition columns of what is no text in the lake
        (["partition_by: [{attribute: at, unit: day}]", "attributes: {at: {type: timestamp}}"], "the attribute 'at' has the type timestamp; remove that"),
        (["partition_by: [{attribute: at, unit: day}]", "drop: [at]"], "the attribute 'at' is dropped; remove that"),
        (["partition_by: [{attribute: at, unit: day}]", "keep: [b]"], "the attribute 'at' is not kept; remove that"),
        (["partition_by: [{attribute: at, unit: day}]", "hash: [at]"], "the attribute 'at' is hashed; remove that"),
        # what YAML takes for something else
        (["attributes: {yes: {type: int64}}"], "YAML takes this name for the truth value True; write it in quotes"),
        (["attributes: {1: {type: int64}}"], "YAML takes this name for the number 1; write it in quotes"),
        (["drop: [2026-11-24]"], "tables.0.drop.0: 2026-11-24: YAML takes this name for the date 2026-11-24;"),
        (["drop: [a, 12:30]"], "tables.0.drop.1: 750: YAML takes this name for the number 750; write it in quotes"),
        (["drop: [null]"], "tables.0.drop.0: None: YAML takes this name for the value None; write it in quotes"),
        (["drop: ssn"], "tables.0.drop: 'ssn': write a list"),
        (["keep: {ssn}"], "tables.0.keep: a mapping: write a list"),
        (['drop: ["a\\.b"]'], "not YAML: found unknown escape character '.'; write it in single quotes"),
        # paths
        (["drop: [a..b]"], "tables.0.drop.0: 'a..b': a path is names with dots between them, such as address.street"),
        (["hash: ['']"], "tables.0.hash.0: '': a path is names"),
        (["drop: ['a\\b']"], "tables.0.drop.0: 'a\\\\b': a backslash in a path stands before a dot or a backslash"),
        # what contradicts itself
        (["drop: [a]", "keep: [b]"], "drop and keep exclude each other"),
        (["drop: [a]", "hash: [a]"], "hash: 'a' and drop: 'a' meet"),
        (["drop: [a]", "hash: [a.b]"], "hash: 'a.b' and drop: 'a' meet"),
        (["drop: [a.b]", "hash: [a]"], "hash: 'a' and drop: 'a.b' meet"),
        (["keep: [a.b]", "hash: [a]"], "hash: 'a' covers the whole value, but keep: 'a.b' keeps a part"),
        (["drop: [a]", "attributes: {a: {type: int64}}"], "attributes: 'a' has a rule but is dropped"),
        (["hash: [a]", "attributes: {a: {type: int64}}"], "attributes: 'a' has the type int64 but is hashed"),
        (["old_images: true"], "old_images: true needs exports that show them, but view is NEW_IMAGE; write view: NEW_AND_OLD_IMAGES"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_key_value_and_remedy(read, lines, told):
    with pytest.raises(ConfigError) as caught:
        read(*lines)
    assert told in str(caught.value)
    assert "lake.yaml: " in str(caught.value)
    assert "no credentials" not in str(caught.value)


def test_a_key_in_the_variables_place_is_refused_and_not_shown(read):
    with pytest.raises(ConfigError, match="never the key itself") as caught:
        read("hash: [a]", "hash_key_variable: hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["drop: [id]"], "drop: 'id' is an attribute of the primary key"),
        (["drop: [at.x]"], "drop: 'at.x' is an attribute of the primary key"),
        (["attributes: {id: {types: string}}"], "attributes: 'id' is an attribute of the primary key"),
        (["attributes: {at: {type: timestamp_s}}"], "attributes: 'at' is an attribute of the primary key"),
        (["keep: [a]", "hash: [b]"], "hash: 'b' is not kept"),
        (["hash: [a]"], "the environment variable DDB_LAKE_HASH_KEY is not set; set it to a long random text"),
        (["hash: [a]", "hash_key_variable: EMPTY"], "the environment variable EMPTY is empty"),
        (["hash: [a]", "hash_key_variable: BLANK"], "the environment variable BLANK is empty"),
    ],
)
def test_what_only_the_key_and_the_environment_show_is_told_too(read, lines, told):
    with pytest.raises(ConfigError) as caught:
        rules_of("orders", read(*lines), KEY, {"EMPTY": "", "BLANK": " \n"})
    assert str(caught.value).startswith("lake.yaml: tables: orders: ")
    assert told in str(caught.value)


def test_the_key_is_kept_and_may_be_hashed(read):
    rules = rules_of("orders", read("keep: [a]", "hash: [id]"), KEY, {"DDB_LAKE_HASH_KEY": "k"})
    image = {"id": {"S": "x"}, "at": {"N": "1"}, "a": {"S": "y"}, "b": {"S": "z"}}
    selected = rules.selection.apply(image, frozenset({"id", "at"}))
    assert selected.keys() == {"id", "at", "a"}
    assert selected["id"] != image["id"]


def test_the_hashs_key_is_in_no_text_of_the_rules(read):
    rules = rules_of("orders", read("hash: [a]"), KEY, {"DDB_LAKE_HASH_KEY": "hunter2"})
    assert "hunter2" not in repr(rules)


def test_nothing_within_a_key_attribute_can_be_hashed(read):
    with pytest.raises(ConfigError, match=r"'id\.x' is within the key attribute 'id'"):
        rules_of("orders", read("hash: [id.x]"), KEY, {"DDB_LAKE_HASH_KEY": "secret"})


def test_fail_and_json_exclude_each_other(read):
    with pytest.raises(ConfigError, match="types: fail can't tell a list from a map"):
        read("attributes:", "  data: {types: fail, type: json}")
