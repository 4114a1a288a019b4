"""The list of checks, and what a check may say: ok with what was seen, a violation, or that it can't be done here."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddb_lake_tests.conformance.target import Target


class Violation(Exception):
    """The endpoint does otherwise than the rule says."""


class Skipped(Exception):
    """The check can't be done on this endpoint, or not with these options."""


@dataclass(frozen=True)
class Check:
    """One rule, and how it is seen from outside; `run` returns what was seen."""

    rule: str
    run: Callable[["Target"], str]


class Checks(list[Check]):
    """A module's checks, in the order in which they are written down and done."""

    def add(self, rule: str) -> Callable[[Callable[["Target"], str]], Callable[["Target"], str]]:
        """Add the function to the list, as the check of a rule."""

        def append(run: Callable[["Target"], str]) -> Callable[["Target"], str]:
            self.append(Check(rule, run))
            return run

        return append


def expect(what: str, seen: object, expected: object) -> None:
    """Raise a Violation unless what was seen is what is expected."""
    if seen != expected:
        raise Violation(f"{what} is {seen!r}, expected {expected!r}")


def refused(code: str, text: str = "") -> AbstractContextManager[None]:
    """Expect the call within to be refused with this code, and this text in its message."""
    return _refused(code, text)


@contextmanager
def _refused(code: str, text: str) -> "Iterator[None]":
    try:
        yield
    except ClientError as error:
        seen = error_of(error)
        if seen["Code"] != code or text not in seen["Message"]:
            raise Violation(f"refused with {seen['Code']}: {seen['Message']!r}, expected {code}: {text!r}") from None
    else:
        raise Violation(f"was accepted, expected {code}: {text!r}")


def error_of(error: ClientError) -> Mapping[str, Any]:
    """Return code and message of an error."""
    found = error.response.get("Error", {})
    return {"Code": found.get("Code", ""), "Message": found.get("Message", "")}
