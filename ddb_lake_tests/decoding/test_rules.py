"""What lake.yaml wants of attributes is done where it loses nothing, and everything else stays as it is."""

import hmac
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lake.decoding import (
    AttributeRule,
    DecodedFrames,
    ItemSchema,
    MalformedRecord,
    Rules,
    SecondType,
    Selection,
    TypePolicy,
    canonical_image,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
    parse_hint,
    parse_path,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import PK, change_line, write_items, write_lines
from ddb_lake_tests.decoding.strategies import ITEMS, NAMES
from ddb_lake_tests.decoding.test_round_trip import PROFILE
from ddb_lake_tests.decoding.values import meaning_of_item

SECRET = b"a secret of the test"


def hinted(hint: str) -> Rules:
    return Rules(attributes={"a": AttributeRule(hint=parse_hint(hint))})


def decode(path: Path, values: list[Any], rules: Rules) -> tuple[pl.DataFrame, ItemSchema, DecodedFrames]:
    """Decode items whose attribute `a` has these values, and check that they come back."""
    items = [{"pk": {"S": str(place)}, "a": value} for place, value in enumerate(values)]
    file = write_items(path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(PK, rules))
    frames = decode_items(file, schema, 0)
    frame = pl.concat(frames)
    back = [encode_item(row, schema) for row in frame.iter_rows(named=True)]
    assert [meaning_of_item(item) for item in back] == list(map(meaning_of_item, items))
    return frame, schema, frames


def test_a_decimal_takes_what_fits_and_the_rest_has_its_own_columns(tmp_path: Path) -> None:
    values = [{"N": "1.25"}, {"N": "99.99"}, {"N": "100"}, {"N": "1.255"}, {"S": "x"}, {"NULL": True}, {"N": "-7"}]
    frame, _, frames = decode(tmp_path, values, hinted("decimal(4, 2)"))
    assert frame.schema["a"] == pl.Decimal(4, 2)
    assert frame["a"].to_list() == [Decimal("1.25"), Decimal("99.99"), None, None, None, None, Decimal("-7.00")]
    assert frame["a__int64"].to_list() == [None, None, 100, None, None, None, None]
    assert frame["a__decimal"].to_list()[3] == Decimal("1.255")
    assert frame["a__string"].to_list()[4] == "x"
    assert frames.tally.contradictions == {"a": 3}


def test_int64_is_the_home_of_whole_numbers_even_if_others_come_first(tmp_path: Path) -> None:
    frame, _, frames = decode(tmp_path, [{"N": "1.5"}, {"N": "2"}, {"N": "1E100"}], hinted("int64"))
    assert frame.schema["a"] == pl.Int64()
    assert frame["a"].to_list() == [None, 2, None]
    assert frames.tally.contradictions == {"a": 2}


def test_string_keeps_numbers_as_their_text(tmp_path: Path) -> None:
    frame, _, frames = decode(tmp_path, [{"N": "1.50"}, {"N": "2"}], hinted("string"))
    assert frame["a"].to_list() == ["1.5", "2"]
    assert frames.tally.contradictions == {}


TIMES = [
    # text, the time, whether the time alone gives the text back
    ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC), True),
    ("2026-11-24T10:00:00.250Z", datetime(2026, 11, 24, 10, 0, 0, 250_000, tzinfo=UTC), True),
    ("2026-11-24T10:00:00.000001Z", datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=UTC), True),
    ("1969-12-31T23:59:59.999Z", datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC), True),
    ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC), True),
    ("2026-11-24T10:00:00.000Z", datetime(2026, 11, 24, 10, tzinfo=UTC), False),
    ("2026-11-24T12:00:00+02:00", datetime(2026, 11, 24, 10, tzinfo=UTC), False),
    ("0000-01-01T00:00:00Z", None, False),
    ("9999-12-31T23:59:59-01:00", None, False),
    ("2026-11-24", None, False),
    ("2026-11-24T10:00:00", None, False),
    ("2026-02-30T10:00:00Z", None, False),
    ("2026-11-24T10:00:00.0000001Z", None, False),
    ("yesterday", None, False),
    ("", None, False),
]


def test_a_timestamp_keeps_its_text_where_it_would_not_give_it_back(tmp_path: Path) -> None:
    frame, _, frames = decode(tmp_path, [{"S": text} for text, _, _ in TIMES], hinted("timestamp"))
    assert frame.schema["a"] == pl.Datetime("us", "UTC")
    assert frame["a"].to_list() == [time for _, time, _ in TIMES]
    assert frame["a__string"].to_list() == [None if alone else text for text, _, alone in TIMES]
    assert frames.tally.contradictions == {"a": 8}


EPOCHS = [
    ("timestamp_s", "1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ("timestamp_s", "1700000000.000001", datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC)),
    ("timestamp_s", "-1", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ("timestamp_s", "1700000000.0000001", None),
    ("timestamp_s", "99999999999999", None),
    ("timestamp_ms", "1700000000001", datetime(2023, 11, 14, 22, 13, 20, 1_000, tzinfo=UTC)),
    ("timestamp_ms", "0.001", datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    ("timestamp_ms", "1E30", None),
]


@pytest.mark.parametrize(("hint", "number", "time"), EPOCHS)
def test_seconds_and_milliseconds_become_timestamps_where_they_fit(
    tmp_path: Path, hint: str, number: str, time: datetime | None
) -> None:
    frame, _, _ = decode(tmp_path, [{"N": number}, {"N": "0"}], hinted(hint))
    assert frame["a"].to_list() == [time, datetime(1970, 1, 1, tzinfo=UTC)]


def test_json_is_plain_where_json_has_the_types(tmp_path: Path) -> None:
    values = [
        {"M": {"b": {"N": "1.0"}, "a": {"L": [{"S": "x"}, {"NULL": True}, {"BOOL": False}]}}},
        {"L": [{"N": "12345678901234567890.5"}]},
        {"M": {"tags": {"SS": ["x"]}}},
        {"S": "{}"},
    ]
    frame, _, frames = decode(tmp_path, values, hinted("json"))
    assert frame["a"].to_list() == ['{"a":["x",null,false],"b":1}', "[12345678901234567890.5]", None, None]
    assert frame["a__map"].to_list()[2] == '{"tags":{"SS":["x"]}}'
    assert frames.tally.contradictions == {"a": 2}


def test_a_hint_that_comes_later_gets_a_column_beside_the_old_one(tmp_path: Path) -> None:
    file = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}, "a": {"N": "1.5"}}])
    before = learn_items([file], ItemSchema.empty(PK))
    fields = [(column.name, column.metadata) for column in before.columns]
    after = learn_items([file], ItemSchema.from_fields(PK, fields, hinted("decimal(4, 2)")))
    assert [column.name for column in after.columns] == ["pk", "a", "a__decimal_4_2"]
    read_back = ItemSchema.from_fields(PK, [(column.name, column.metadata) for column in after.columns])
    assert read_back.columns == after.columns
    (frame,) = decode_items(file, after, 0)
    assert frame.row(0)[-2:] == (None, Decimal("1.50"))


def test_string_puts_all_types_into_one_column(tmp_path: Path) -> None:
    values = [
        {"S": "text"},
        {"S": '{"N":"1"}'},
        {"N": "1.0"},
        {"BOOL": False},
        {"NULL": True},
        {"B": "YQ=="},
        {"L": [{"S": "x"}]},
        {"SS": ["b", "a"]},
        {"BS": ["YQ=="]},
        {"M": {}},
    ]
    rules = Rules(attributes={"a": AttributeRule(TypePolicy.STRING)})
    frame, schema, _ = decode(tmp_path, values, rules)
    assert [column.name for column in schema.columns] == ["pk", "a"]
    assert frame["a"].to_list() == [
        "text",
        '{"S":"{\\"N\\":\\"1\\"}"}',
        '{"N":"1"}',
        '{"BOOL":false}',
        '{"NULL":true}',
        '{"B":"YQ=="}',
        '{"L":[{"S":"x"}]}',
        '{"SS":["a","b"]}',
        '{"BS":["YQ=="]}',
        '{"M":{}}',
    ]


def test_fail_refuses_a_second_type_with_its_line(tmp_path: Path) -> None:
    rules = Rules(TypePolicy.FAIL)
    values = [{"S": "x"}, {"NULL": True}, {"S": "y"}, {"N": "1"}]
    items = [{"pk": {"S": str(place)}, "a": value} for place, value in enumerate(values)]
    file = write_items(tmp_path / "items.json.gz", items)
    with pytest.raises(SecondType, match="'a' is of type N here and of type S elsewhere") as error:
        learn_items([file], ItemSchema.empty(PK, rules))
    assert (error.value.name, error.value.line) == (file.name, 4)

    good = write_items(tmp_path / "good.json.gz", items[:3])
    schema = learn_items([good], ItemSchema.empty(PK, rules))
    assert [column.name for column in schema.columns] == ["pk", "a", "a__null"]
    with pytest.raises(SecondType) as error:
        list(decode_items(file, schema, 0))
    assert error.value.line == 4


RULES = st.builds(
    Rules,
    st.sampled_from([TypePolicy.COMPANION, TypePolicy.STRING]),
    st.dictionaries(
        NAMES.filter(lambda name: name != "pk"),
        st.builds(
            AttributeRule,
            st.sampled_from([TypePolicy.COMPANION, TypePolicy.STRING]),
            st.sampled_from(
                ["", "int64", "string", "timestamp", "timestamp_s", "timestamp_ms", "json", "decimal_9_3"]
            ),
        ),
        max_size=4,
    ),
)


@PROFILE
@given(items=st.lists(ITEMS, max_size=5), rules=RULES)
def test_whatever_is_wanted_the_items_come_back_equal(
    tmp_path: Path, items: list[dict[str, Any]], rules: Rules
) -> None:
    rules = Rules(rules.types, {**rules.attributes, "pk": AttributeRule()})
    file = write_items(tmp_path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(PK, rules))
    back = [
        encode_item(row, schema) for frame in decode_items(file, schema, 0) for row in frame.iter_rows(named=True)
    ]
    assert [meaning_of_item(item) for item in back] == list(map(meaning_of_item, items))


def digest(text: str) -> dict[str, str]:
    return {"S": hmac.new(SECRET, text.encode(), sha256).hexdigest()}


PERSON = {
    "pk": {"S": "1"},
    "email": {"S": "a@b.c"},
    "address": {"M": {"street": {"S": "x"}, "city": {"S": "y"}}},
    "orders": {"L": [{"M": {"card": {"N": "1.0"}, "sum": {"N": "2"}}}, {"S": "none"}]},
}

SELECTIONS = [
    # what is selected, what of the person is left
    (Selection(drop=(("email",), ("address",))), {"pk": PERSON["pk"], "orders": PERSON["orders"]}),
    (Selection(keep=(("email",),)), {"pk": PERSON["pk"], "email": PERSON["email"]}),
    (
        Selection(drop=(("address", "street"), ("orders", "card"), ("email", "x"))),
        {
            **PERSON,
            "address": {"M": {"city": {"S": "y"}}},
            "orders": {"L": [{"M": {"sum": {"N": "2"}}}, {"S": "none"}]},
        },
    ),
    (
        Selection(keep=(("address", "city"), ("orders", "sum"))),
        {
            "pk": PERSON["pk"],
            "address": {"M": {"city": {"S": "y"}}},
            "orders": {"L": [{"M": {"sum": {"N": "2"}}}]},
        },
    ),
    (
        Selection(hash=(("email",), ("orders", "card")), secret=SECRET),
        {
            **PERSON,
            "email": digest('{"S":"a@b.c"}'),
            "orders": {"L": [{"M": {"card": digest('{"N":"1"}'), "sum": {"N": "2"}}}, digest('{"S":"none"}')]},
        },
    ),
]


@pytest.mark.parametrize(("selection", "left"), SELECTIONS)
def test_only_what_is_selected_reaches_the_frame(tmp_path: Path, selection: Selection, left: dict[str, Any]) -> None:
    rules = Rules(selection=selection)
    items = write_items(tmp_path / "items.json.gz", [PERSON])
    schema = learn_items([items], ItemSchema.empty(PK, rules))
    (frame,) = decode_items(items, schema, 0)
    assert encode_item(frame.row(0, named=True), schema) == canonical_image(left)
    assert {column.attribute for column in schema.columns} == set(left)

    # The tie-break is that of what is left: nothing can be guessed from it.
    changes = [change_line({"pk": {"S": "1"}}, image, old=PERSON) for image in (PERSON, left)]
    file = write_lines(tmp_path / "changes.json.gz", changes)
    whole = learn_changes([file], ItemSchema.empty(PK, rules))
    (frame,) = decode_changes(write_lines(tmp_path / "one.json.gz", changes[:1]), whole, old_images=True)
    plain = learn_changes([file], ItemSchema.empty(PK))
    (expected,) = decode_changes(write_lines(tmp_path / "left.json.gz", changes[1:]), plain)
    assert frame["_tie_break"].to_list() == expected["_tie_break"].to_list()
    assert encode_item(frame.row(0, named=True), whole) == canonical_image(left)
    assert orjson.loads(frame["_old_image"][0]) == canonical_image(left)


def test_equal_values_have_equal_hashes_however_they_are_written(tmp_path: Path) -> None:
    rules = Rules(selection=Selection(hash=(("a",),), secret=SECRET))
    values = [{"L": [{"SS": ["b", "a"]}, {"N": "1.0"}]}, {"L": [{"SS": ["a", "b"]}, {"N": "1"}]}]
    items = [{"pk": {"S": str(place)}, "a": value} for place, value in enumerate(values)]
    file = write_items(tmp_path / "items.json.gz", items)
    (frame,) = decode_items(file, learn_items([file], ItemSchema.empty(PK, rules)), 0)
    assert frame["a"].to_list() == [digest('{"L":[{"SS":["a","b"]},{"N":"1"}]}')["S"]] * 2


def test_errors_show_nothing_of_a_table_that_hides_something(tmp_path: Path) -> None:
    rules = Rules(selection=Selection(hash=(("ssn",),), secret=SECRET))
    file = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}, "ssn": {"N": "078-05-1120"}}])
    with pytest.raises(MalformedRecord, match="not shown") as error:
        learn_items([file], ItemSchema.empty(PK, rules))
    assert "078" not in str(error.value)
    assert error.value.line == 1


def test_a_key_can_be_hashed_and_then_is_a_string(tmp_path: Path) -> None:
    key = (KeyAttribute("id", "N", "HASH"),)
    rules = Rules(selection=Selection(hash=(("id",),), secret=SECRET))
    image = {"id": {"N": "7"}, "x": {"S": "y"}}
    lines = [change_line({"id": {"N": "7"}}, image, us=1), change_line({"id": {"N": "7.0"}}, None, us=2)]
    file = write_lines(tmp_path / "changes.json.gz", lines)
    schema = learn_changes([file], ItemSchema.empty(key, rules))
    (frame,) = decode_changes(file, schema)
    assert frame["id"].to_list() == [digest('{"N":"7"}')["S"]] * 2
    assert frame["_key_hash"].n_unique() == 1
    plain = learn_changes([file], ItemSchema.empty(key))
    (shown,) = decode_changes(file, plain)
    assert shown["_key_hash"][0] != frame["_key_hash"][0]


@pytest.mark.parametrize(
    ("text", "path"),
    [("a", ("a",)), ("a.b", ("a", "b")), (r"a\.b.c", ("a.b", "c")), (r"a\\.b", ("a\\", "b"))],
)
def test_paths_are_names_with_dots_between(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a\\", r"a\b"])
def test_paths_without_meaning_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


@pytest.mark.parametrize(
    "text", ["", "float", "decimal", "decimal(0, 0)", "decimal(39, 1)", "decimal(3, 4)", "INT64"]
)
def test_unknown_hints_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write one of int64"):
        parse_hint(text)
