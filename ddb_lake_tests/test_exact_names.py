"""Columns are found by their exact names, whatever a library reads in them, in every module of the package."""

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import ddb_lake
from ddb_lake.replica.exact_names import arrange, column, columns, pick, read_parquet

PATTERNS = ["*", "^price$", "^.*$", "^(", "^($", "^$"]
"""Names that polars takes for patterns, valid or not, and one that only looks like one."""

FRAME = pl.DataFrame(
    {"price": [0, 0, 0], **{name: [place, 7, place] for place, name in enumerate(PATTERNS, start=1)}}
)


@pytest.mark.parametrize(("place", "name"), list(enumerate(PATTERNS, start=1)), ids=PATTERNS)
def test_a_name_that_is_a_pattern_is_one_column(place: int, name: str):
    only = {name: [place, 7, place]}
    assert FRAME.select(column(name)).to_dict(as_series=False) == only
    assert FRAME.select(column(name) + 1).to_dict(as_series=False) == {name: [place + 1, 8, place + 1]}
    assert pick(FRAME, [name]).to_dict(as_series=False) == only
    assert arrange(FRAME, {name: pl.Int64()}).to_dict(as_series=False) == only
    assert FRAME.unique(subset=columns([name]), keep="last", maintain_order=True).rows() == FRAME.rows()[1:]
    assert FRAME.join(pick(FRAME[1:2], [name]), on=columns([name]), how="semi").rows() == FRAME.rows()[1:2]
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    assert read_parquet(buffer.getvalue(), [name]).to_dict(as_series=False) == only
    assert read_parquet(buffer.getvalue()).equals(FRAME)


def test_columns_come_in_the_order_that_they_are_named_in():
    assert (
        FRAME.select(columns(["^price$", "*"])).columns == pick(FRAME, ["^price$", "*"]).columns == ["^price$", "*"]
    )
    both = pick(FRAME, ["*", "price"]).join(pick(FRAME[1:2], ["price", "*"]), on=columns(["*", "price"]), how="semi")
    assert both.rows() == [(7, 0)]


def test_columns_that_a_frame_lacks_are_null():
    types = {"^p": pl.String(), "price": pl.Int64(), "when": pl.Datetime("us", "UTC"), "*": pl.Int64()}
    made = arrange(FRAME, types)
    assert made.schema == types
    assert made.rows() == [(None, 0, None, 1), (None, 0, None, 7), (None, 0, None, 1)]
    assert arrange(FRAME.clear(), types).schema == types


def test_a_file_is_read_without_the_columns_that_it_lacks_and_with_its_rows_places():
    buffer = io.BytesIO()
    FRAME.write_parquet(buffer)
    assert read_parquet(buffer.getvalue(), ["absent", "*"], "place").to_dict(as_series=False) == {
        "place": [0, 1, 2],
        "*": [1, 7, 1],
    }


NAMES_OF_COLUMNS = {
    "col": ("pl.",),
    "coalesce": ("pl.",),
    "struct": ("pl.",),
    "read_parquet": ("pl.",),
    "select": (),
    "drop": (),
    "drop_nulls": (),
    "unique": (),
    "group_by": (),
    "partition_by": (),
    "explode": (),
    "over": (),
}
"""What of polars takes names of columns; where a method of something else is called alike, only what begins so."""

OF_FRAMES_ALONE = ("join", "sort")
"""What texts and lists have too: of these only what is named by keyword, or by a list, is looked at."""


def hidden_patterns(tree: ast.Module) -> Iterator[ast.Call]:
    """The calls that hand polars a name which is neither written there nor a constant of the package."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute):
            continue
        name, owner = call.func.attr, ast.unparse(call.func.value)
        named = [
            keyword.value for keyword in call.keywords if keyword.arg in ("on", "left_on", "right_on", "by", "subset")
        ]
        named += [keyword.value for keyword in call.keywords if keyword.arg == "columns" and owner == "pl"]
        if owner != "np" and name in NAMES_OF_COLUMNS and (not NAMES_OF_COLUMNS[name] or owner == "pl"):
            named += call.args
        elif name not in OF_FRAMES_ALONE:
            continue
        if not all(map(is_no_attributes_name, named)):
            yield call


def is_no_attributes_name(argument: ast.expr) -> bool:
    match argument:
        case ast.Constant(value=str(text)):
            return text != "*" and not text.startswith("^")
        case ast.Constant() | ast.Compare() | ast.BinOp() | ast.UnaryOp():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return all(map(is_no_attributes_name, parts))
        case ast.GeneratorExp(elt=part) | ast.ListComp(elt=part):
            return is_no_attributes_name(part)
        case ast.Call(func=ast.Name(id="column" | "columns")):
            return True
        case ast.Call(func=ast.Attribute(value=owner, attr=name)):
            # An expression, whose own parts are looked at as calls; what is left of it is no text.
            return ast.unparse(owner) == "pl" or not (
                isinstance(owner, ast.Constant) or name in ("format", "replace")
            )
        case _:
            return False


def test_no_module_hands_polars_a_name_that_may_be_an_attributes():
    package = Path(ddb_lake.__file__).parent
    found = [
        f"{path.relative_to(package)}:{call.lineno}: {ast.unparse(call)[:80]}"
        for path in package.rglob("*.py")
        if path.name != "exact_names.py"
        for call in hidden_patterns(ast.parse(path.read_text()))
    ]
    assert found == [], "select by ddb_lake.replica.exact_names instead"


@pytest.mark.parametrize(
    "text",
    [
        "pl.col(name)",
        "pl.col(names)",
        "pl.col([KEY, name])",
        "pl.col(each.name) + 1",
        "pl.col(f'{name}')",
        "frame.select(*names)",
        "frame.select(KEY, *keys)",
        "frame.select(name for name in names)",
        "frame.drop(names)",
        "frame.unique(subset=list(keys))",
        "frame.unique(keep='last', subset=keys)",
        "frame.join(other, on=list(keys), how='semi')",
        "frame.join(other, left_on=[name], right_on=columns(keys))",
        "frame.sort(by=name)",
        "frame.group_by(names)",
        "pl.read_parquet(data, columns=names)",
        "pl.coalesce(first, second)",
        "frame.select('*')",
    ],
)
def test_the_check_notices_a_name_that_may_be_an_attributes(text: str):
    assert list(hidden_patterns(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "pl.col('id')",
        "pl.col(WRITE_TIME) + 1",
        "frame.select(pl.col(KEY_HASH), pl.lit(None, dtype).alias(name))",
        "frame.join(other, on=columns(keys), how='anti', nulls_equal=True)",
        "', '.join(names)",
        "names.sort()",
        "changes.sort(ORDER)",
        "frame.drop(DELETED)",
    ],
)
def test_the_check_passes_constants_and_exact_names(text: str):
    assert not list(hidden_patterns(ast.parse(text)))
