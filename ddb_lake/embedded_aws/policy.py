"""An identity-based IAM policy: reading it, and deciding whether it allows an action on a resource.

What this can't evaluate is refused when the policy is read: a policy is enforced as it is written, or not at all.
Rules: AWS, IAM user guide, "Policy evaluation logic" and "IAM JSON policy element reference".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ddb_lake.embedded_aws.errors import ControlError
from ddb_lake.embedded_aws.json_values import is_array, is_object

Context = Mapping[str, str]
"""The condition keys that a request carries."""

_VERSION = "2012-10-17"
_CONDITION_KEYS = {"s3:prefix", "s3:delimiter", "aws:requestedregion", "kms:resourcealiases"}
_MEMBERS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_ARN_PARTS = 6
_IF_EXISTS = "IfExists"
_FOR_ANY_VALUE = "ForAnyValue:"
"""Before the operator on a key with several values, such as a KMS key's aliases; here there is one at most."""


class Decision(Enum):
    """What a policy says to a request."""

    ALLOWED = "allowed"
    NOT_MENTIONED = "no statement allows it"
    DENIED = "a statement denies it"


@dataclass(frozen=True)
class _Condition:
    """One line of a condition block: the key's value must match one of some patterns (or none of them)."""

    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, context: Context) -> bool:
        operator = self.operator.removeprefix(_FOR_ANY_VALUE).removesuffix(_IF_EXISTS)
        value = context.get(self.key)
        negative = operator in _NEGATIVE
        if value is None:
            # A key that is absent matches nothing: a positive operator fails, a negative one holds.
            return negative or self.operator.endswith(_IF_EXISTS)
        return any(_OPERATORS[operator](pattern, value) for pattern in self.values) != negative


@dataclass(frozen=True)
class _Statement:
    """Which actions on which resources are allowed or denied, and when."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[_Condition, ...]

    def covers(self, action: str, resource: str, context: Context) -> bool:
        return (
            any(_like(pattern.lower(), action.lower()) for pattern in self.actions)
            and any(_resource_matches(pattern, resource) for pattern in self.resources)
            and all(condition.holds(context) for condition in self.conditions)
        )


@dataclass(frozen=True)
class Policy:
    """A policy that has been read; `document` is what it was read from."""

    document: Mapping[str, Any]
    _statements: tuple[_Statement, ...]

    @classmethod
    def read(cls, document: object) -> "Policy":
        """Read a policy document.

        Raises:
            ControlError: If it is malformed, or uses an element that can't be evaluated here.
        """
        if not is_object(document) or document.keys() - {"Version", "Id", "Statement"}:
            raise ControlError("a policy is a JSON object of Version, Id and Statement")
        if document.get("Version") != _VERSION:
            raise ControlError(f"the policy's Version must be {_VERSION}, not {document.get('Version')!r}")
        statements: object = document.get("Statement")
        found = statements if is_array(statements) else [statements]
        return cls(document, tuple(_read_statement(number, each) for number, each in enumerate(found, 1)))

    def decide(self, action: str, resource: str, context: Context) -> Decision:
        """Decide on an action such as `s3:GetObject`; a statement that denies outweighs all that allow."""
        covering = [each for each in self._statements if each.covers(action, resource, context)]
        if not covering:
            return Decision.NOT_MENTIONED
        return Decision.ALLOWED if all(each.allows for each in covering) else Decision.DENIED


def _like(pattern: str, text: str) -> bool:
    """Match with IAM's wildcards: `*` is any text, `?` any one character, and nothing else is special."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _resource_matches(pattern: str, resource: str) -> bool:
    """Match an ARN part by part: a wildcard does not reach over the colons of the first five parts."""
    if pattern == "*":
        return True
    patterns, parts = pattern.split(":", _ARN_PARTS - 1), resource.split(":", _ARN_PARTS - 1)
    return len(patterns) == len(parts) and all(map(_like, patterns, parts))


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda pattern, value: pattern == value,
    "StringNotEquals": lambda pattern, value: pattern == value,
    "StringEqualsIgnoreCase": lambda pattern, value: pattern.lower() == value.lower(),
    "StringLike": _like,
    "StringNotLike": _like,
}
_NEGATIVE = {"StringNotEquals", "StringNotLike"}


def _read_statement(number: int, statement: object) -> _Statement:
    where = f"statement {number} of the policy"
    if not is_object(statement):
        raise ControlError(f"{where} is no JSON object: {statement!r}")
    unknown = statement.keys() - _MEMBERS
    if unknown:
        raise ControlError(
            f"{where} has {', '.join(sorted(unknown))}, which the embedded AWS can't evaluate; "
            f"it evaluates {', '.join(sorted(_MEMBERS))}"
        )
    effect: object = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise ControlError(f"{where} has the Effect {effect!r}; it must be Allow or Deny")
    actions, resources = (_texts(f"{name} of {where}", statement.get(name)) for name in ("Action", "Resource"))
    for resource in resources:
        if resource != "*" and not resource.startswith("arn:"):
            raise ControlError(f"{where} has the Resource {resource!r}; it must be an ARN or *")
    conditions: object = statement.get("Condition", {})
    if not is_object(conditions):
        raise ControlError(f"the Condition of {where} is no JSON object: {conditions!r}")
    lines = [_read_condition(where, operator, each) for operator, each in conditions.items()]
    return _Statement(effect == "Allow", actions, resources, tuple(line for block in lines for line in block))


def _read_condition(where: str, operator: str, block: object) -> list[_Condition]:
    if operator.removeprefix(_FOR_ANY_VALUE).removesuffix(_IF_EXISTS) not in _OPERATORS:
        raise ControlError(
            f"{where} has the condition operator {operator}, which the embedded AWS can't evaluate; "
            f"it evaluates {', '.join(_OPERATORS)}, each also with {_IF_EXISTS}"
        )
    if not is_object(block):
        raise ControlError(f"{operator} of {where} is no JSON object: {block!r}")
    for key in block:
        if key.lower() not in _CONDITION_KEYS:
            raise ControlError(
                f"{where} has the condition key {key}, which the embedded AWS can't evaluate; "
                f"it evaluates {', '.join(sorted(_CONDITION_KEYS))}"
            )
    return [_Condition(operator, key.lower(), _texts(f"{key} of {where}", values)) for key, values in block.items()]


def _texts(name: str, value: object) -> tuple[str, ...]:
    given = value if is_array(value) else [value]
    texts = tuple(text for text in given if isinstance(text, str) and text)
    if not texts or len(texts) < len(given):
        raise ControlError(f"{name} must be a text or a list of texts, not {value!r}")
    for text in texts:
        if "${" in text:
            raise ControlError(f"{name} has the variable {text!r}, which the embedded AWS can't evaluate")
    return texts
