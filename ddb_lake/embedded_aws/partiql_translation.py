"""PartiQL's writing statements as the item operations that they stand for.

DynamoDB's PartiQL writes one item a statement, so each is a PutItem, UpdateItem or DeleteItem with a condition.
Translated so, they take the one way by which all writes are checked and journaled.
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
    """Return the item operation that a statement stands for.

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


def _request(
    operation: ItemOperation, table: str, parameters: dict[str, Any], condition: str, expressions: "_Expressions"
) -> ItemRequest:
    placeholders = {
        "ExpressionAttributeNames": expressions.names,
        "ExpressionAttributeValues": expressions.values,
    }
    used = {name: values for name, values in placeholders.items() if values}
    return ItemRequest(operation, {"TableName": table, **parameters, "ConditionExpression": condition, **used})


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
