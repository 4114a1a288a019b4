"""Whatever DynamoDB can export comes back out of the frames as the same value."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.decoding import ItemSchema, decode_changes, encode_item, learn_changes, learn_items
from ddb_lake_tests.decoding.export_files import PK, change_line, items_of, rows_of_changes, write_items, write_lines
from ddb_lake_tests.decoding.strategies import ITEMS
from ddb_lake_tests.decoding.values import meaning_of_item

# The folder is shared by the examples of one test: each writes its files anew.
PROFILE = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

BATCHES = st.lists(st.lists(ITEMS, max_size=5), min_size=1, max_size=4)


def read_back(schema: ItemSchema) -> ItemSchema:
    """Return the schema as the Delta table's fields would give it."""
    return ItemSchema.from_fields(schema.key, [(column.name, column.metadata) for column in schema.columns])


@PROFILE
@given(batches=BATCHES)
def test_items_come_back_equal_while_the_schema_grows_from_batch_to_batch(
    tmp_path: Path, batches: list[list[dict[str, Any]]]
) -> None:
    schema = ItemSchema.empty(PK)
    files = [write_items(tmp_path / f"{number}.json.gz", batch) for number, batch in enumerate(batches)]
    for file, batch in zip(files, batches, strict=True):
        wider = learn_items([file], schema)
        assert wider.columns[: len(schema.columns)] == schema.columns
        schema = read_back(wider)
        assert schema == wider
        assert [meaning_of_item(item) for item in items_of(file, schema)] == list(map(meaning_of_item, batch))
    for file, batch in zip(files, batches, strict=True):
        assert [meaning_of_item(item) for item in items_of(file, schema)] == list(map(meaning_of_item, batch))


@PROFILE
@given(batches=BATCHES, data=st.data())
def test_the_schema_does_not_depend_on_the_order_of_files(
    tmp_path: Path, batches: list[list[dict[str, Any]]], data: st.DataObject
) -> None:
    files = [write_items(tmp_path / f"{number}.json.gz", batch) for number, batch in enumerate(batches)]
    shuffled = data.draw(st.permutations(files))
    schema = learn_items(files, ItemSchema.empty(PK))
    assert learn_items(shuffled, ItemSchema.empty(PK)) == schema
    assert learn_items(shuffled, schema) == schema


@PROFILE
@given(batches=BATCHES)
def test_column_names_are_legal_and_unique_without_regard_to_case(
    tmp_path: Path, batches: list[list[dict[str, Any]]]
) -> None:
    schema = ItemSchema.empty(PK)
    for batch in batches:
        schema = learn_items([write_items(tmp_path / "batch.json.gz", batch)], schema)
    names = [column.name for column in schema.columns]
    reserved = ["_key_hash", "_write_time_us", "_tie_break", "_deleted", "_window"]
    assert len({name.casefold() for name in names} | {*reserved}) == len(names) + len(reserved)
    assert len({name.lower() for name in names}) == len({name.upper() for name in names}) == len(names)
    assert all(names)
    assert not {*"".join(names)} & {*" ,;{}()\n\t="}


@PROFILE
@given(images=st.lists(st.tuples(ITEMS, st.booleans()), max_size=6))
def test_new_images_of_changes_come_back_equal_and_deletes_as_their_key(
    tmp_path: Path, images: list[tuple[dict[str, Any], bool]]
) -> None:
    lines = [
        change_line({"pk": item["pk"]}, None if gone else item, us=place, old={"pk": item["pk"], "x": {"N": "1"}})
        for place, (item, gone) in enumerate(images)
    ]
    file = write_lines(tmp_path / "changes.json.gz", lines)
    schema = learn_changes([file], ItemSchema.empty(PK))
    rows = rows_of_changes(file, schema)
    assert [row["_deleted"] for row in rows] == [gone for _, gone in images]
    assert [row["_write_time_us"] for row in rows] == list(range(len(images)))
    assert [meaning_of_item(encode_item(row, schema)) for row in rows] == [
        meaning_of_item({"pk": item["pk"]} if gone else item) for item, gone in images
    ]


@PROFILE
@given(images=st.lists(st.tuples(ITEMS, st.booleans()), min_size=1, max_size=6), old_images=st.booleans())
def test_the_decoder_counts_the_values_that_it_places_in_each_column(
    tmp_path: Path, images: list[tuple[dict[str, Any], bool]], old_images: bool
) -> None:
    lines = [change_line({"pk": item["pk"]}, None if gone else item, old=item) for item, gone in images]
    file = write_lines(tmp_path / "changes.json.gz", lines)
    decoded = decode_changes(file, learn_changes([file], ItemSchema.empty(PK)), old_images)
    line = 1
    for rows in decoded.rows():
        assert (rows.source, rows.first_line) == (file.name, line)
        line += rows.frame.height
        held = {
            name: sum(len(value) if isinstance(value, list) else 1 for value in values if value is not None)
            for name, values in rows.frame.to_dict(as_series=False).items()
        }
        assert {name: rows.values.get(name, 0) for name in held} == held
    assert line == len(lines) + 1
