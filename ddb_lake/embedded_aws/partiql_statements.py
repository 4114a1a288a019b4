"""PartiQL's statements, parsed: what they would read or write, where, and on which condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Path = tuple[str | int, ...]
"""An attribute and what is inside it: names of map members, indexes of list elements."""

Returning = Literal["NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"]


@dataclass(frozen=True)
class Constant:
    """A value, literal or from a parameter, as DynamoDB JSON."""

    value: Mapping[str, Any]


@dataclass(frozen=True)
class Attribute:
    """The value at a path."""

    path: Path


@dataclass(frozen=True)
class Call:
    """A function of operands: `size` or `list_append` as an operand, `begins_with` and others as a condition."""

    function: str
    arguments: tuple["Operand", ...]


@dataclass(frozen=True)
class Sum:
    """Two operands that are added or subtracted."""

    sign: Literal["+", "-"]
    left: "Operand"
    right: "Operand"


Operand = Constant | Attribute | Call | Sum


@dataclass(frozen=True)
class Comparison:
    """Two operands compared by `=`, `<>`, `<`, `<=`, `>` or `>=`."""

    sign: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class Between:
    """An operand that lies between two others, both included."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True)
class OneOf:
    """An operand that equals one of several."""

    operand: Operand
    options: tuple[Operand, ...]


@dataclass(frozen=True)
class Not:
    """A condition that must not hold."""

    condition: "Condition"


@dataclass(frozen=True)
class AllHold:
    """Conditions that must all hold."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class OneHolds:
    """Conditions of which one must hold."""

    conditions: tuple["Condition", ...]


Condition = Comparison | Between | OneOf | Call | Not | AllHold | OneHolds


@dataclass(frozen=True)
class Insert:
    """`INSERT INTO table VALUE {…}`: an item that must not be there yet."""

    table: str
    item: Mapping[str, Any]


@dataclass(frozen=True)
class Assignment:
    """`SET path = operand`."""

    path: Path
    operand: Operand


@dataclass(frozen=True)
class Removal:
    """`REMOVE path`."""

    path: Path


@dataclass(frozen=True)
class Update:
    """`UPDATE table SET … REMOVE … WHERE … RETURNING …`: one item that must be there."""

    table: str
    actions: tuple[Assignment | Removal, ...]
    where: Condition
    returning: Returning


@dataclass(frozen=True)
class Delete:
    """`DELETE FROM table WHERE … RETURNING ALL OLD *`: one item, which may be absent."""

    table: str
    where: Condition
    returning: Returning


@dataclass(frozen=True)
class Exists:
    """`EXISTS(SELECT * FROM table WHERE …)`: in a transaction, a condition on one item that isn't written."""

    table: str
    where: Condition


@dataclass(frozen=True)
class Select:
    """`SELECT … FROM table.index WHERE … ORDER BY …`.

    Attributes:
        paths: What is read of each item; None for all of it.
        table: The table.
        index: A secondary index of it, or None.
        where: Which items, or None for all.
        order: The attributes that they are ordered by, each with whether it descends.
    """

    paths: tuple[Path, ...] | None
    table: str
    index: str | None
    where: Condition | None
    order: tuple[tuple[str, bool], ...]


Statement = Insert | Update | Delete | Exists | Select
