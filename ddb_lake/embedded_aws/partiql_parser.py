"""Parsing PartiQL's statements in the grammar that DynamoDB documents ("PartiQL reference").

What isn't in it is refused, never guessed at.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ddb_lake.embedded_aws.errors import validation
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.embedded_aws.numbers import normalise
from ddb_lake.embedded_aws.partiql_statements import (
    AllHold,
    Assignment,
    Attribute,
    Between,
    Call,
    Comparison,
    Condition,
    Constant,
    Delete,
    Exists,
    Insert,
    Not,
    OneHolds,
    OneOf,
    Operand,
    Path,
    Removal,
    Returning,
    Select,
    Statement,
    Sum,
    Update,
)
from ddb_lake.embedded_aws.partiql_tokens import Token, malformed, tokens

_COMPARISONS = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_CONDITION_FUNCTIONS = {"begins_with", "contains", "attribute_type"}
_OPERAND_FUNCTIONS = {"size", "list_append", "set_add", "set_delete"}
_RETURNING: dict[tuple[str, str], Returning] = {
    ("ALL", "OLD"): "ALL_OLD",
    ("ALL", "NEW"): "ALL_NEW",
    ("MODIFIED", "OLD"): "UPDATED_OLD",
    ("MODIFIED", "NEW"): "UPDATED_NEW",
}
_DEEPEST = 100
_LONGEST = 8_192
"""Characters of a statement (AWS: API reference, ExecuteStatement)."""

_Parsed = TypeVar("_Parsed")
_SETS = {"S": "SS", "N": "NS", "B": "BS"}


def first_word(statement: str) -> str:
    """Return the first word of a statement in capitals, such as `SELECT`."""
    if len(statement) > _LONGEST:
        raise validation(
            f"1 validation error detected: Value at 'statement' failed to satisfy constraint: "
            f"Member must have length less than or equal to {_LONGEST}"
        )
    return tokens(statement)[0].text.upper()


def parse(statement: str, parameters: Sequence[Any]) -> Statement:
    """Parse a statement.

    Args:
        statement: Its text.
        parameters: The values of its `?`, in order, as DynamoDB JSON with normalised numbers.

    Raises:
        AwsError: A ValidationException if it isn't well formed, or has more or fewer parameters.
    """
    return _Parser(statement, parameters).statement()


class _Parser:
    def __init__(self, statement: str, parameters: Sequence[Any]) -> None:
        self._tokens = tokens(statement)
        self._at = 0
        self._parameters = list(parameters)
        self._used = 0
        self._depth = 0

    def statement(self) -> Statement:
        match self._word():
            case "INSERT":
                parsed = self._insert()
            case "UPDATE":
                parsed = self._update()
            case "DELETE":
                parsed = self._delete()
            case "EXISTS":
                parsed = self._exists()
            case "SELECT":
                parsed = self._select()
            case _:
                self._at = 0
                raise self._unexpected("a statement")
        if self._peek().kind != "end":
            raise self._unexpected("the end")
        if self._used != len(self._parameters):
            raise validation("Number of parameters in request and statement don't match.")
        return parsed

    def _insert(self) -> Insert:
        self._expect("INTO")
        table = self._table()
        self._expect("VALUE")
        value = self._value()
        item: object = value.get("M")
        if not is_object(item):
            raise malformed("INSERT takes one item, as a map")
        return Insert(table, item)

    def _update(self) -> Update:
        table = self._table()
        actions: list[Assignment | Removal] = []
        while True:
            if self._take("SET"):
                actions += self._separated(self._assignment)
            elif self._take("REMOVE"):
                actions += self._separated(lambda: Removal(self._path()))
            else:
                break
        if not actions:
            raise self._unexpected("SET or REMOVE")
        return Update(table, tuple(actions), self._where(), self._returning())

    def _delete(self) -> Delete:
        self._expect("FROM")
        table, where, returning = self._table(), self._where(), self._returning()
        if returning not in ("NONE", "ALL_OLD"):
            raise validation("Only RETURNING ALL OLD * is allowed in DELETE statements")
        return Delete(table, where, returning)

    def _exists(self) -> Exists:
        for each in ("(", "SELECT", "*", "FROM"):
            self._expect(each)
        table, where = self._table(), self._where()
        self._expect(")")
        return Exists(table, where)

    def _select(self) -> Select:
        paths = None if self._take("*") else tuple(self._separated(self._path))
        self._expect("FROM")
        table = self._name()
        index = self._name() if self._take(".") else None
        where = self._alternatives() if self._take("WHERE") else None
        order: list[tuple[str, bool]] = []
        if self._take("ORDER"):
            self._expect("BY")
            order = self._separated(self._order)
        return Select(paths, table, index, where, tuple(order))

    def _order(self) -> tuple[str, bool]:
        name = self._name()
        descends = self._take("DESC")
        if not descends:
            self._take("ASC")
        return name, descends

    def _assignment(self) -> Assignment:
        path = self._path()
        self._expect("=")
        left = self._operand()
        for sign in ("+", "-"):
            if self._take(sign):
                return Assignment(path, Sum(sign, left, self._operand()))
        return Assignment(path, left)

    def _where(self) -> Condition:
        if not self._take("WHERE"):
            raise no_key()
        return self._alternatives()

    def _returning(self) -> Returning:
        if not self._take("RETURNING"):
            return "NONE"
        returning = _RETURNING.get((self._word(), self._word()))
        if returning is None:
            raise self._unexpected("ALL or MODIFIED, OLD or NEW")
        self._expect("*")
        return returning

    # Conditions

    def _alternatives(self) -> Condition:
        found = [self._conjunction()]
        while self._take("OR"):
            found.append(self._conjunction())
        return found[0] if len(found) == 1 else OneHolds(tuple(found))

    def _conjunction(self) -> Condition:
        found = [self._negation()]
        while self._take("AND"):
            found.append(self._negation())
        return found[0] if len(found) == 1 else AllHold(tuple(found))

    def _negation(self) -> Condition:
        if self._take("NOT"):
            return _negated(self._deeper(self._negation))
        if self._take("("):
            inner = self._deeper(self._alternatives)
            self._expect(")")
            return inner
        return self._predicate()

    def _predicate(self) -> Condition:
        function = self._function(_CONDITION_FUNCTIONS)
        if function is not None:
            return function
        operand = self._operand()
        if self._take("IS"):
            return self._kind_test(operand)
        negated = self._take("NOT")
        if self._take("BETWEEN"):
            low = self._operand()
            self._expect("AND")
            condition: Condition = Between(operand, low, self._operand())
        elif self._take("IN"):
            close = {"[": "]", "(": ")"}.get(self._next().text)
            if close is None:
                self._at -= 1
                raise self._unexpected("[ or (")
            condition = OneOf(operand, tuple(self._separated(self._operand)))
            self._expect(close)
        elif not negated and self._peek().kind == "symbol" and self._peek().text in _COMPARISONS:
            sign = _COMPARISONS[self._next().text]
            condition = Comparison(sign, operand, self._operand())
        else:
            raise self._unexpected("a comparison")
        return _negated(condition) if negated else condition

    def _kind_test(self, operand: Operand) -> Condition:
        negated = self._take("NOT")
        if self._take("MISSING"):
            return Call("attribute_exists" if negated else "attribute_not_exists", (operand,))
        self._expect("NULL")
        is_null = Call("attribute_type", (operand, Constant({"S": "NULL"})))
        return _negated(is_null) if negated else is_null

    # Operands

    def _operand(self) -> Operand:
        function = self._function(_OPERAND_FUNCTIONS)
        if function is not None:
            return function
        token = self._peek()
        if token.kind == "quoted" or (token.kind == "word" and token.text.upper() not in ("TRUE", "FALSE", "NULL")):
            return Attribute(self._path())
        return Constant(self._value())

    def _function(self, names: set[str]) -> Call | None:
        token, following = self._peek(), self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        name = token.text.lower()
        if token.kind != "word" or name not in names or following.text != "(":
            return None
        self._at += 2
        arguments = tuple(self._deeper(lambda: self._separated(self._operand)))
        self._expect(")")
        return Call(name, arguments)

    def _path(self) -> Path:
        path: list[str | int] = [self._name()]
        while True:
            if self._take("."):
                path.append(self._name())
            elif self._take("["):
                index = self._next()
                if index.kind == "string":
                    path.append(index.text)
                elif index.kind == "number" and index.text.isdecimal():
                    path.append(int(index.text))
                else:
                    self._at -= 1
                    raise self._unexpected("an index")
                self._expect("]")
            else:
                return tuple(path)

    def _value(self) -> dict[str, Any]:
        token = self._next()
        match token.kind, token.text:
            case "string", text:
                return {"S": text}
            case "number", text:
                return {"N": normalise(text)}
            case "symbol", "-" | "+" as sign if self._peek().kind == "number":
                return {"N": normalise(sign + self._next().text)}
            case "symbol", "?":
                return self._parameter()
            case "symbol", "[":
                return {"L": self._elements("]", self._value)}
            case "symbol", "{":
                return {"M": _distinct(self._elements("}", self._member))}
            case "symbol", "<<":
                return self._set(self._elements(">>", self._value))
            case "word", word if word.upper() in ("TRUE", "FALSE"):
                return {"BOOL": word.upper() == "TRUE"}
            case "word", word if word.upper() == "NULL":
                return {"NULL": True}
            case _:
                self._at -= 1
                raise self._unexpected("a value")

    def _parameter(self) -> dict[str, Any]:
        if self._used == len(self._parameters):
            raise validation("Number of parameters in request and statement don't match.")
        value: object = self._parameters[self._used]
        self._used += 1
        if not is_object(value):
            raise validation(f"A parameter must be an attribute value, not {value!r}")
        return value

    def _member(self) -> tuple[str, dict[str, Any]]:
        name = self._next()
        if name.kind not in ("string", "quoted"):
            self._at -= 1
            raise self._unexpected("an attribute's name in quotes")
        self._expect(":")
        return name.text, self._value()

    def _set(self, elements: list[dict[str, Any]]) -> dict[str, Any]:
        kinds = {next(iter(element)) for element in elements}
        if len(kinds) != 1 or not kinds <= _SETS.keys():
            raise malformed("A set has one or more strings, or numbers, or binary values")
        (kind,) = kinds
        members = [element[kind] for element in elements]
        if len(set(members)) < len(members):
            raise validation("One or more parameter values were invalid: Input collection contains duplicates.")
        return {_SETS[kind]: members}

    def _deeper(self, parse_one: Callable[[], _Parsed]) -> _Parsed:
        """Parse what lies within something else."""
        if self._depth == _DEEPEST:
            raise malformed(f"more than {_DEEPEST} conditions, functions or values lie in one another")
        self._depth += 1
        parsed = parse_one()
        self._depth -= 1
        return parsed

    # Words

    def _table(self) -> str:
        name = self._name()
        if self._take("."):
            raise validation("This operation is not supported on an index")
        return name

    def _name(self) -> str:
        token = self._next()
        if token.kind not in ("word", "quoted"):
            self._at -= 1
            raise self._unexpected("a name")
        return token.text

    def _elements(self, close: str, parse_one: Callable[[], Any]) -> list[Any]:
        if self._take(close):
            return []
        found = self._deeper(lambda: self._separated(parse_one))
        self._expect(close)
        return found

    def _separated(self, parse_one: Callable[[], Any]) -> list[Any]:
        found = [parse_one()]
        while self._take(","):
            found.append(parse_one())
        return found

    def _word(self) -> str:
        return self._next().text.upper()

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(text)

    def _take(self, text: str) -> bool:
        token = self._peek()
        taken = token.kind in ("word", "symbol") and token.text.upper() == text
        self._at += taken
        return taken

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _unexpected(self, wanted: str) -> Exception:
        token = self._peek()
        found = "the end" if token.kind == "end" else repr(token.text)
        return malformed(f"expected {wanted} at column {token.position}, found {found}")


def _negated(condition: Condition) -> Condition:
    """Return the opposite of a condition; DynamoDB's expressions know no NOT NOT."""
    return condition.condition if isinstance(condition, Not) else Not(condition)


def _distinct(members: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise malformed("a map names an attribute twice")
    return found


def no_key() -> Exception:
    """Return AWS's error for a statement that doesn't name one item by its whole primary key."""
    return validation("Where clause does not contain a mandatory equality on all key attributes")
