"""The errors of the embedded AWS: those it answers in AWS's shape, and those of its own control interface."""

from collections.abc import Mapping
from typing import Any

from ddb_lake.errors import DdbLakeError


class EmbeddedAwsError(DdbLakeError):
    """The root of every error of the embedded AWS."""


class AwsError(EmbeddedAwsError):
    """A refusal that the client sees as AWS would have worded it.

    Args:
        code: The error code, such as `ValidationException`.
        message: The text that boto3 shows after the code.
        status: The HTTP status.
        details: Further members of the answer, such as the `Item` that failed a condition.
    """

    def __init__(self, code: str, message: str, status: int = 400, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.details = details or {}


class ControlError(EmbeddedAwsError):
    """A request to the control interface that was refused; nothing of it was applied."""


class JournalError(EmbeddedAwsError):
    """The journal can't be opened, doesn't fit this embedded AWS, or can't take a history."""


class BackendError(EmbeddedAwsError):
    """moto refused or broke something that it was not expected to refuse."""


def validation(message: str) -> AwsError:
    """Return AWS's `ValidationException` with this text."""
    return AwsError("ValidationException", message)


class Diverged(EmbeddedAwsError):
    """moto has done what could not be recorded: to go on would show clients what a restart takes away."""
