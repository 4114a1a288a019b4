"""The words of a PartiQL statement: names, literals, parameters and symbols, each with where it stands."""

import re
from dataclasses import dataclass
from typing import Literal

from ddb_lake.embedded_aws.errors import AwsError, validation

TokenKind = Literal["word", "quoted", "string", "number", "symbol", "end"]

_TOKEN = re.compile(
    r"""
    \s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z_$][A-Za-z0-9_$]*)
      | (?P<symbol><<|>>|<=|>=|<>|!=|[=<>()\[\]{},.:?*+-])
    )
    """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True)
class Token:
    """One word of a statement.

    Attributes:
        kind: `word` for names and keywords, `quoted` for names in double quotes, `end` after the last word.
        text: What it says: quotes are taken off, doubled quotes are single.
        position: Where it stands in the statement, counted from 1.
    """

    kind: TokenKind
    text: str
    position: int


def tokens(statement: str) -> list[Token]:
    """Split a statement into its words; the last one is of kind `end`.

    Raises:
        AwsError: A ValidationException where the statement has something that is no word.
    """
    found: list[Token] = []
    at = 0
    end = len(statement.rstrip())
    while at < end:
        match = _TOKEN.match(statement, at)
        if match is None:
            raise malformed(f"Unexpected character at column {at + 1}: {statement[at : at + 20]!r}")
        kind: TokenKind = match.lastgroup  # pyright: ignore[reportAssignmentType]
        text = match[kind]
        if kind in ("string", "quoted"):
            text = text[1:-1].replace(text[0] * 2, text[0])
        found.append(Token(kind, text, match.start(kind) + 1))
        at = match.end()
    return [*found, Token("end", "", end + 1)]


def malformed(detail: str) -> AwsError:
    """Return AWS's error for a statement that isn't PartiQL as DynamoDB knows it."""
    return validation(f"Statement wasn't well formed, can't be processed: {detail}")
