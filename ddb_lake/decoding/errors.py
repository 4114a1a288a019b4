"""Why an export file could not be decoded, and on which line."""

from typing import Self

from ddb_lake.errors import DdbLakeError


class DecodeError(DdbLakeError):
    """Something in an export file, or in the schema it is decoded with, that can't be decoded exactly.

    Attributes:
        problem: What is wrong and what to do next.
        name: The object (such as `s3://bucket/key`) or the column at fault, "" where it is not known yet.
        line: The 1-based line of the object, None where no line is at fault.
    """

    def __init__(self, problem: str, name: str = "", line: int | None = None) -> None:
        self.problem = problem
        self.name = name
        self.line = line
        where = ", line ".join(str(part) for part in (name, line) if part)
        super().__init__(f"{where}: {problem}" if where else problem)

    def located(self, name: str, line: int) -> Self:
        """Return the same error, saying where it is."""
        return type(self)(self.problem, name, line)


class CorruptFile(DecodeError):
    """The file is not a whole gzip stream: fetch it again."""


class WrongExportKind(DecodeError):
    """The file belongs to a full export where an incremental one was expected, or the reverse."""


class MalformedRecord(DecodeError):
    """A line is not what DynamoDB writes: no JSON, not a record, or a value that its type doesn't allow."""


class KeyMismatch(DecodeError):
    """A record lacks the table's primary key, or has it with another type: it is another table's record."""


class ItemCountMismatch(DecodeError):
    """The file has more or fewer lines than its manifest says."""


class SchemaTooNarrow(DecodeError):
    """The file holds an attribute or a type that the schema has no column for: learn it first."""


class TooManyColumns(DecodeError):
    """The export needs more columns than a table may have."""


class SecondType(DecodeError):
    """An attribute has a second type where lake.yaml says `types: fail`."""


class NotConserved(DecodeError):
    """Something in the lines is not in the frame made of them; nothing of it is used."""


class SchemaMetadataError(DecodeError):
    """The metadata of a table's fields is not a mapping that ddb_lake wrote."""
