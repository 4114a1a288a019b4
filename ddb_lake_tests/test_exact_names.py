"""Columns are found by their exact names, whatever a library reads in them, in every module of the package."""

import ast
import io
from collections.abc import Iterator
from dataclasses import dataclass
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


OF_FRAMES = {
    "select",
    "select_seq",
    "with_columns",
    "with_columns_seq",
    "drop",
    "drop_nulls",
    "drop_nans",
    "unique",
    "group_by",
    "agg",
    "partition_by",
    "explode",
    "over",
    "sort",
    "sort_by",
    "top_k",
    "bottom_k",
    "join",
    "join_asof",
    "unpivot",
    "pivot",
    "rolling",
    "group_by_dynamic",
    "filter",
    "then",
    "otherwise",
}
"""Methods of frames and expressions that take names of columns."""

NO_NAMES = ("lit", "len", "from_", "read_", "scan_")
"""How functions of polars begin whose positional arguments are no names of columns; those of all others may be."""

KEYWORDS = {
    "on",
    "left_on",
    "right_on",
    "by",
    "by_left",
    "by_right",
    "subset",
    "index",
    "values",
    "exprs",
    "columns",
    "partition_by",
    "order_by",
    "group_by",
}
"""Keywords under which these take names of columns."""

OF_POLARS_ALONE = {"alias", "get_column", "is_between", "is_duplicated", "is_in", "is_not_null", "is_null"}
"""Methods that nothing has but polars: what they return is no text."""

ANNOTATIONS = ("pl.Expr", "pl.Series", "cs.Selector", "list[pl.Expr]", "list[pl.Series]")

MODULES = {path: ast.parse(path.read_text()) for path in Path(ddb_lake.__file__).parent.rglob("*.py")}

HELPERS = frozenset(
    node.name
    for module in MODULES.values()
    for node in module.body
    if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) in ANNOTATIONS
)
"""The package's own functions that return expressions or series."""


def hidden_patterns(tree: ast.Module) -> Iterator[ast.Call]:
    """The calls that hand polars a name which is neither written there nor a constant of the package."""
    scopes: list[ast.Module | ast.FunctionDef] = [tree]
    scopes += [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    scope_of = {id(node): scope for scope in scopes for node in ast.walk(scope)}  # the innermost comes last
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not all(map(Names(scope_of[id(call)], modules).is_no_attributes, names_in(call, modules))):
            yield call


def names_in(call: ast.Call, modules: set[str]) -> list[ast.expr]:
    """The arguments of a call that polars takes for names of columns."""
    if not isinstance(call.func, ast.Attribute):
        return []
    name, owner = call.func.attr, ast.unparse(call.func.value)
    if name == "cast":  # of a frame, by columns
        return [key for each in call.args if isinstance(each, ast.Dict) for key in each.keys if key] + [
            each.key for each in call.args if isinstance(each, ast.DictComp)
        ]
    of_polars = owner == "pl" and name[0].islower()
    if not (of_polars or name in OF_FRAMES) or (owner in modules and not of_polars) or owner in ("np", "os.path"):
        return []
    named = [keyword.value for keyword in call.keywords if keyword.arg in KEYWORDS]
    if of_polars and (name == "concat" or name.startswith(NO_NAMES)):
        return named
    # The first argument of a join is the other frame, or what a text joins; that of a format is its text.
    return named + call.args[name in ("join", "join_asof", "format") :]


@dataclass(frozen=True)
class Names:
    """Tells of arguments whether they may be the name of an attribute, given what is assigned around them."""

    scope: ast.Module | ast.FunctionDef
    modules: set[str]

    def is_no_attributes(self, argument: ast.expr) -> bool:
        match argument:
            case ast.Constant(value=str(text)):
                return text != "*" and not text.startswith("^")
            case ast.Constant() | ast.Compare() | ast.UnaryOp():
                return True
            case ast.Attribute(attr=name) if name.isupper():
                return True
            case ast.Name(id=name):
                return name.isupper() or self._is_assigned_well(name)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return all(map(self.is_no_attributes, parts))
            case ast.Starred(value=part) | ast.GeneratorExp(elt=part) | ast.ListComp(elt=part):
                return self.is_no_attributes(part)
            case ast.IfExp(body=first, orelse=second):
                return self.is_no_attributes(first) and self.is_no_attributes(second)
            case ast.BinOp(left=first, right=second):
                return self._is_polars(first) or self._is_polars(second)
            case _:
                return self._is_polars(argument)

    def _is_polars(self, value: ast.expr) -> bool:
        """Whether it is surely an expression, series or selector, whose own parts are looked at as calls."""
        match value:
            case ast.Call(func=ast.Name(id=name)):
                return name in HELPERS
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pl" | "cs"))):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if owner in self.modules:
                return name in HELPERS
            case ast.Call(func=ast.Attribute(value=owner, attr=name)):
                return name in OF_POLARS_ALONE or self._is_polars(owner)
            case ast.Attribute(value=owner):
                return self._is_polars(owner)
            case ast.BinOp(left=first, right=second):
                return self._is_polars(first) or self._is_polars(second)
            case ast.IfExp(body=first, orelse=second):
                return self._is_polars(first) and self._is_polars(second)
            case ast.UnaryOp(op=ast.Invert(), operand=part):
                return self._is_polars(part)
            case ast.Name(id=name):
                return self._is_assigned_well(name, polars=True)
            case _:
                return False

    def _is_assigned_well(self, name: str, *, polars: bool = False) -> bool:
        """Whether a variable is bound in its function alone, and only to what would be taken in its place."""
        fits = self._is_polars if polars else self.is_no_attributes
        inside = list(ast.walk(self.scope))
        typed = [
            node for node in inside if isinstance(node, ast.arg) and node.arg == name and node.annotation is not None
        ]
        assigned = [
            node.value
            for node in inside
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
        ]
        bound = [node for node in inside if isinstance(node, ast.Name) and node.id == name]
        bound = [node for node in bound if isinstance(node.ctx, ast.Store)]
        arguments = [node for node in inside if isinstance(node, ast.arg) and node.arg == name]
        return (
            bool(bound or arguments)
            and len(bound) == len(assigned)
            and len(arguments) == len(typed)
            and all(ast.unparse(node.annotation) in ANNOTATIONS for node in typed if node.annotation)
            and not any(name in names_used(value) for value in assigned)
            and all(map(fits, assigned))
        )


def names_used(value: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}


def test_no_module_hands_polars_a_name_that_may_be_an_attributes():
    found = [
        f"{path}:{call.lineno}: {ast.unparse(call)[:80]}"
        for path, module in MODULES.items()
        if path.name != "exact_names.py"
        for call in hidden_patterns(module)
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
        "pl.format('{}', name)",
        "frame.cast({KEY: dtype, name: dtype})",
        "frame.cast({name: dtype for name in names})",
        "frame.sort(keys)",
        "frame.sort(*keys)",
        "frame.sort(name, descending=True)",
        "frame.join(other, keys)",
        "frame.top_k(3, by=keys)",
        "frame.unpivot(names)",
        "frame.with_columns(name)",
        "frame.filter(name)",
        "frame.filter(pl.all_horizontal(names))",
        "pl.concat_str(names)",
        "pl.sum(name)",
        "pl.max_horizontal(names)",
        "pl.when(name).then(pl.lit(1))",
        "pl.when(True).then(name)",
        "pl.col('prefix of ' + name)",
        "frame.select(name.strip())",
        "frame.select(row.name.lower())",
        "frame.select(table.key.name())",
        "frame.select(names())",
        "frame.select([*KEYS, name])",
        "frame.select(KEY if some else name)",
        "def f(names: list[str]): frame.select(names)",
        "def f(name: pl.Expr):\n for name in names: frame.select(name)",
        "def f():\n name = KEY\n name = other\n frame.select(name)",
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
        "os.path.join(folder, name)",
        "thread.join(10)",
        "frame.sort([*ORDER, KEY] if some else ORDER)",
        "frame.with_columns(value.alias(name) for name, value in made)",
        "frame.select(frame.get_column(name))",
        "def f(text: pl.Expr): frame.select(text.str.len_bytes(), pl.concat_str(text))",
        "def f():\n text = pl.lit(name)\n order = [KEY]\n frame.select(text.cast(dtype)).sort(order)",
    ],
)
def test_the_check_passes_constants_and_exact_names(text: str):
    assert not list(hidden_patterns(ast.parse(text)))
