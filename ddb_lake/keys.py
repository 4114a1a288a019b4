"""The primary key of a source table, as all parts of ddb_lake speak of it."""

from dataclasses import dataclass
from typing import Literal

KeyRole = Literal["HASH", "RANGE"]
"""Partition key and sort key, by the names that DynamoDB's API has for them."""


@dataclass(frozen=True)
class KeyAttribute:
    """One attribute of a table's primary key, with its DynamoDB type, as `DescribeTable` declares it."""

    name: str
    type: Literal["S", "N", "B"]
    role: KeyRole
