"""Hard cases that random items and damaged lines have found, each in its smallest form."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ddb_lake.decoding import (
    OLD_IMAGE,
    DecodeError,
    ItemSchema,
    Rules,
    Selection,
    TypePolicy,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake_tests.decoding.export_files import PK, change_line, item_line, write_items, write_lines

KEY = {"pk": {"S": "1"}}


def test_an_attribute_may_be_named_like_the_column_of_old_images(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "changes.json.gz", [change_line(KEY, {**KEY, OLD_IMAGE: {"S": "x"}})])
    schema = learn_changes([file], ItemSchema.empty(PK))
    (frame,) = decode_changes(file, schema, True)
    assert encode_item(frame.row(0, named=True), schema)[OLD_IMAGE] == {"S": "x"}


def test_a_key_keeps_its_column_where_all_types_go_to_text(tmp_path: Path) -> None:
    file = write_items(tmp_path / "items.json.gz", [KEY])
    schema = learn_items([file], ItemSchema.empty(PK, Rules(types=TypePolicy.STRING)))
    (frame,) = decode_items(file, schema, 0)
    assert [column.name for column in schema.columns] == ["pk"]
    assert frame["pk"].to_list() == ["1"]


NESTED = '{"L":[' * 64 + '{"S":"x"}' + "]}" * 64

JUDGED_IN_TWO_WAYS: list[tuple[str, str, Callable[..., ItemSchema]]] = [
    # what is special, the line as AWS would write it, how it is learned
    (
        "a name twice in an old image that nobody asked for",
        change_line(KEY, None, old=KEY).replace('"OldImage":{', '"OldImage":{"a":{"S":"1"},"a":{"S":"2"},'),
        learn_changes,
    ),
    (
        "a name twice in a dropped attribute",
        item_line({**KEY, "dropped": {"M": {"x": {"S": "1"}}}}).replace('{"x":', '{"x":{"S":"2"},"x":'),
        learn_items,
    ),
    (
        "64 lists, the last with a value: the kernel goes one level deeper",
        item_line({**KEY, "a": {"L": []}}).replace('{"L":[]}', NESTED),
        learn_items,
    ),
]


@pytest.mark.parametrize(
    ("line", "learn"), [case[1:] for case in JUDGED_IN_TWO_WAYS], ids=[case[0] for case in JUDGED_IN_TWO_WAYS]
)
def test_a_line_is_judged_alike_with_and_without_a_space(
    tmp_path: Path, line: str, learn: Callable[..., ItemSchema]
) -> None:
    schema = ItemSchema.empty(PK, Rules(selection=Selection(drop=(("dropped",),))))
    accepted: list[bool] = []
    for number, notation in enumerate((line, f"{line} ")):
        file = write_lines(tmp_path / f"{number}.json.gz", [notation])
        try:
            learn([file], schema)
        except DecodeError:
            accepted.append(False)
        else:
            accepted.append(True)
    assert accepted[0] == accepted[1]
