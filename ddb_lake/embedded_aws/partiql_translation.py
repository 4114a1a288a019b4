"""PartiQL's statements as the operations that they stand for.

DynamoDB's PartiQL writes one item a statement, so each is a PutItem, UpdateItem or DeleteItem with a condition.
Translated so, they take the one way by which all writes are checked and journaled. A SELECT is a Query where it names
the partition key, else a Scan.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ddb_lake.embedded_aws.errors import validation
from ddb_lake.embedded_aws.keys import KeySchema
from ddb_lake.embedded_aws.partiql_parser import no_key
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
    Select,
    Statement,
    Sum,
    Update,
)

ItemOperation = Literal["PutItem", "UpdateItem", "DeleteItem", "ConditionCheck"]


@dataclass(frozen=True)
class ItemRequest:
    """An item operation and its parameters; ConditionCheck is there in transactions only."""

    operation: ItemOperation
    parameters: dict[str, Any]


def translate(statement: Statement, key: KeySchema) -> ItemRequest:
    """Return the item operation that a statement that writes stands for.

    Args:
        statement: The statement.
        key: The primary key of its table.

    Raises:
        AwsError: A ValidationException if the statement doesn't name one item, or misuses a function.
    """
    expressions = _Expressions()
    here = expressions.path((key.partition.name,))
    match statement:
        case Insert(table, item):
            written = {"Item": dict(item)}
            return _request("PutItem", table, written, f"attribute_not_exists({here})", expressions)
        case Update(table, actions, where, returning):
            found, rest = _split(where, key)
            changes = {"Key": found, "ReturnValues": returning, "UpdateExpression": expressions.update(actions)}
            # Unlike UpdateItem, UPDATE makes no item where there is none.
            condition = " AND ".join((f"attribute_exists({here})", *expressions.groups(rest)))
            return _request("UpdateItem", table, changes, condition, expressions)
        case Delete(table, where, returning):
            found, rest = _split(where, key)
            named = {"Key": found, "ReturnValues": returning}
            if not rest:
                return ItemRequest("DeleteItem", {"TableName": table, **named})
            # What isn't there fulfils every condition: nothing is deleted, and nothing is complained about.
            condition = f"attribute_not_exists({here}) OR {' AND '.join(expressions.groups(rest))}"
            return _request("DeleteItem", table, named, condition, expressions)
        case Exists(table, where):
            found, rest = _split(where, key)
            condition = " AND ".join((f"attribute_exists({here})", *expressions.groups(rest)))
            return _request("ConditionCheck", table, {"Key": found}, condition, expressions)
        case Select():
            raise validation("Statements that read and statements that write can't be mixed in one request")


@dataclass(frozen=True)
class ReadRequest:
    """A Query or Scan and its parameters, but for `TableName`."""

    operation: Literal["Query", "Scan"]
    parameters: dict[str, Any]


def translate_select(statement: Select, key: KeySchema) -> ReadRequest:
    """Return the operation that a SELECT stands for; the projection is left to `project`.

    Args:
        statement: The statement.
        key: The primary key of its table or index.

    Raises:
        AwsError: A ValidationException if it orders items by what they are not stored by.
    """
    expressions = _Expressions()
    where = statement.where
    conditions = list(where.conditions) if isinstance(where, AllHold) else [where] if where is not None else []
    partition = next((each for each in conditions if _is_of_key(each, key.partition.name, ("=",))), None)
    descends = _descends(statement, key, partition is not None)
    rest = [each for each in conditions if each is not partition]
    sort = None
    if key.sort is not None:
        sort = next((each for each in rest if _is_of_key(each, key.sort.name, _SORT_SIGNS)), None)
    filters = [each for each in rest if each is not sort]
    parameters: dict[str, Any] = {} if statement.index is None else {"IndexName": statement.index}
    # A Query's filter must not name the key: what can't be said of it otherwise is filtered by a Scan.
    if partition is not None and (statement.order or not any(_names(each) & {*key.names} for each in filters)):
        groups = [expressions.condition(each) for each in (partition, sort) if each is not None]
        parameters |= {"KeyConditionExpression": " AND ".join(groups), "ScanIndexForward": not descends}
        operation: Literal["Query", "Scan"] = "Query"
    else:
        filters = conditions
        operation = "Scan"
    if filters:
        parameters["FilterExpression"] = " AND ".join(expressions.groups(filters))
    return ReadRequest(operation, {**parameters, **expressions.placeholders()})


def key_of(statement: Select, key: KeySchema) -> dict[str, Any]:
    """Return the primary key of the one item that a SELECT in a batch or a transaction reads.

    Raises:
        AwsError: A ValidationException if it names none, or asks for more.
    """
    if statement.where is None or statement.index is not None:
        raise no_key()
    found, rest = _split(statement.where, key)
    if rest or statement.order:
        raise validation(
            "Select statements within BatchExecuteStatement must specify the primary key in the where clause."
        )
    return found


def project(statement: Select, item: dict[str, Any]) -> dict[str, Any]:
    """Return what a SELECT reads of an item; what isn't there is left out."""
    if statement.paths is None:
        return item
    found: dict[str, Any] = {}
    for path in statement.paths:
        value: Any = {"M": item}
        for part in path:
            members = value.get("L" if isinstance(part, int) else "M", {})
            held = (isinstance(part, int) and part < len(members)) or (isinstance(part, str) and part in members)
            value = members[part] if held else {}
        if value:
            found[_shown_name(path)] = value
    return found


def _shown_name(path: Path) -> str:
    name = max(place for place, part in enumerate(path) if isinstance(part, str))
    return str(path[name]) + "".join(f"[{index}]" for index in path[name + 1 :])


_SORT_SIGNS = ("=", "<", "<=", ">", ">=", "BETWEEN", "begins_with")


def _is_of_key(condition: Condition, name: str, signs: tuple[str, ...]) -> bool:
    """Tell whether a condition can stand in a Query's condition on the key: an attribute, a sign and constants."""
    match condition:
        case Comparison(sign, Attribute((str(attribute),)), Constant()):
            return attribute == name and sign in signs
        case Between(Attribute((str(attribute),)), Constant(), Constant()):
            return attribute == name and "BETWEEN" in signs
        case Call("begins_with", (Attribute((str(attribute),)), Constant())):
            return attribute == name and "begins_with" in signs
        case _:
            return False


def _descends(statement: Select, key: KeySchema, is_query: bool) -> bool:
    if not statement.order:
        return False
    if not is_query:
        raise validation("Must have WHERE clause in the statement when using ORDER BY clause.")
    for name, _ in statement.order:
        if name not in key.names:
            raise validation(f"Variable reference {name} in ORDER BY clause must be part of the primary key")
    return statement.order[-1][1]


def _names(condition: Condition | Operand) -> set[str]:
    """Return the attributes that a condition is about."""
    match condition:
        case Attribute(path):
            return {str(path[0])}
        case Constant():
            return set()
        case Comparison(_, left, right) | Sum(_, left, right):
            return _names(left) | _names(right)
        case Between(operand, low, high):
            return _names(operand) | _names(low) | _names(high)
        case OneOf(operand, options):
            return _names(operand).union(*map(_names, options))
        case Call(_, arguments):
            return set[str]().union(*map(_names, arguments))
        case Not(inner):
            return _names(inner)
        case AllHold(conditions) | OneHolds(conditions):
            return set[str]().union(*map(_names, conditions))


def _request(
    operation: ItemOperation, table: str, parameters: dict[str, Any], condition: str, expressions: "_Expressions"
) -> ItemRequest:
    named = {"TableName": table, **parameters, "ConditionExpression": condition}
    return ItemRequest(operation, {**named, **expressions.placeholders()})


def _split(where: Condition, key: KeySchema) -> tuple[dict[str, Any], list[Condition]]:
    """Take the primary key out of a condition; what is left of it must hold for that item."""
    found: dict[str, Any] = {}
    rest: list[Condition] = []
    for each in where.conditions if isinstance(where, AllHold) else (where,):
        match each:
            case Comparison("=", Attribute((str(name),)), Constant(value)) | Comparison(
                "=", Constant(value), Attribute((str(name),))
            ) if name in key.names and name not in found:
                found[name] = value
            case _:
                rest.append(each)
    if found.keys() != set(key.names):
        raise no_key()
    return found, rest


class _Expressions:
    """Writes DynamoDB's expressions, with a placeholder for each name and each value."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def placeholders(self) -> dict[str, Any]:
        """Return the request members that say what the placeholders stand for."""
        every = {"ExpressionAttributeNames": self.names, "ExpressionAttributeValues": self.values}
        return {name: values for name, values in every.items() if values}

    def groups(self, conditions: Iterable[Condition]) -> list[str]:
        return [self.group(each) for each in conditions]

    def group(self, condition: Condition) -> str:
        """Write a condition with parentheses where it needs some: redundant ones are refused."""
        text = self.condition(condition)
        return f"({text})" if isinstance(condition, AllHold | OneHolds) else text

    def condition(self, condition: Condition) -> str:
        match condition:
            case Comparison(sign, left, right):
                return f"{self.operand(left)} {sign} {self.operand(right)}"
            case Between(operand, low, high):
                return f"{self.operand(operand)} BETWEEN {self.operand(low)} AND {self.operand(high)}"
            case OneOf(operand, options):
                return f"{self.operand(operand)} IN ({', '.join(map(self.operand, options))})"
            case Call():
                return self.operand(condition)
            case Not(inner):
                return f"NOT {self.group(inner)}"
            case AllHold(conditions):
                return " AND ".join(self.groups(conditions))
            case OneHolds(conditions):
                return " OR ".join(self.groups(conditions))

    def operand(self, operand: Operand) -> str:
        match operand:
            case Constant(value):
                name = f":v{len(self.values)}"
                self.values[name] = value
                return name
            case Attribute(path):
                return self.path(path)
            case Call("set_add" | "set_delete" as function):
                raise validation(f"{function} stands alone behind SET path =, and names the same path")
            case Call(function, arguments):
                return f"{function}({', '.join(map(self.operand, arguments))})"
            case Sum(sign, left, right):
                return f"{self.operand(left)} {sign} {self.operand(right)}"

    def update(self, actions: tuple[Assignment | Removal, ...]) -> str:
        clauses: dict[str, list[str]] = {}
        for action in actions:
            match action:
                case Removal(path):
                    clauses.setdefault("REMOVE", []).append(self.path(path))
                case Assignment(path, Call("set_add" | "set_delete" as function, (Attribute(same), set_))) if (
                    same == path
                ):
                    clause = "ADD" if function == "set_add" else "DELETE"
                    clauses.setdefault(clause, []).append(f"{self.path(path)} {self.operand(set_)}")
                case Assignment(path, operand):
                    clauses.setdefault("SET", []).append(f"{self.path(path)} = {self.operand(operand)}")
        return " ".join(f"{clause} {', '.join(parts)}" for clause, parts in clauses.items())

    def path(self, path: Path) -> str:
        text = ""
        for part in path:
            text += f"[{part}]" if isinstance(part, int) else f".{self._name(part)}"
        return text.removeprefix(".")

    def _name(self, name: str) -> str:
        known = next((placeholder for placeholder, each in self.names.items() if each == name), None)
        if known is not None:
            return known
        placeholder = f"#n{len(self.names)}"
        self.names[placeholder] = name
        return placeholder
