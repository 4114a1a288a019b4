"""What a table's part of lake.yaml says of its attributes: their types, and which of them reach the lake."""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson

from ddb_lake.decoding.attributes import Arm, decimal_arm, decimal_of
from ddb_lake.decoding.canonical import DEEPEST, canonical_text, canonical_value
from ddb_lake.decoding.json_values import as_array, as_object

_DECIMAL_HINT = re.compile(r"decimal\(\s*([0-9]{1,2})\s*,\s*([0-9]{1,2})\s*\)")


class TypePolicy(StrEnum):
    """What becomes of an attribute's second type."""

    COMPANION = "companion"
    """It gets a column of its own."""
    STRING = "string"
    """All the attribute's values are in one column of text."""
    FAIL = "fail"
    """It is an error; an explicit NULL is not a second type."""


class Hint(StrEnum):
    """The column type that an attribute's values should have; besides, there is `decimal(precision, scale)`."""

    INT64 = "int64"
    STRING = "string"
    TIMESTAMP = "timestamp"
    """S in ISO 8601."""
    TIMESTAMP_S = "timestamp_s"
    """N of seconds since the epoch."""
    TIMESTAMP_MS = "timestamp_ms"
    """N of milliseconds since the epoch."""
    JSON = "json"
    """L or M as plain JSON, without type tags."""


@dataclass(frozen=True)
class AttributeRule:
    """What is wanted of one attribute.

    Attributes:
        types: What becomes of a second type.
        hint: The arm that its values should go to where they fit, "" for none.
    """

    types: TypePolicy = TypePolicy.COMPANION
    hint: str = ""

    @property
    def number_home(self) -> Arm | None:
        """The arm that takes numbers which fit it, where this rule decides that."""
        match self.hint:
            case "":
                return None
            case Hint.STRING:
                return Arm.NUMBER
            case _:
                return Arm.INT64

    @property
    def wanted_arms(self) -> frozenset[str]:
        """The arms that the hint asks for, none without a hint."""
        match self.hint:
            case "":
                return frozenset()
            case Hint.STRING:
                return frozenset({Arm.STRING, Arm.NUMBER})
            case _:
                return frozenset({self.hint})


@dataclass(frozen=True)
class Selection:
    """Which attributes reach the lake; nothing of the others is written, not even a hash.

    A path names an attribute, and further names go down its maps; lists are passed through to their elements. Of a
    value that a longer path can't go down, nothing is kept by `keep`, and all is hashed by `hash`.

    Attributes:
        drop: What is left out.
        keep: Unless empty, what alone is kept; the key always is.
        hash: What is replaced by its keyed hash: an S with the hex digits of HMAC-SHA-256 over the canonical
            DynamoDB JSON of the value.
        secret: The hash's key.
    """

    drop: tuple[tuple[str, ...], ...] = ()
    keep: tuple[tuple[str, ...], ...] = ()
    hash: tuple[tuple[str, ...], ...] = ()
    secret: bytes = field(default=b"", repr=False)

    def is_plain(self) -> bool:
        """Tell whether whole attributes are kept or dropped, and nothing is changed."""
        return not self.hash and all(len(path) == 1 for path in (*self.drop, *self.keep))

    def drops(self, attribute: str) -> bool:
        """Tell whether the whole attribute is left out."""
        return (attribute,) in self.drop or bool(self.keep and not any(path[0] == attribute for path in self.keep))

    def hashes(self, attribute: str) -> bool:
        """Tell whether the whole attribute is replaced by its hash."""
        return (attribute,) in self.hash

    def apply(self, image: Mapping[str, Any], key: frozenset[str]) -> dict[str, Any]:
        """Return what of a canonical image reaches the lake; the key's attributes are never dropped."""
        keep = (*self.keep, *((name,) for name in key)) if self.keep else ()
        drop = tuple(path for path in self.drop if path[0] not in key)
        return _select(image, drop, keep, self.hash, self.secret)


Paths = tuple[tuple[str, ...], ...]


def _select(members: Mapping[str, Any], drop: Paths, keep: Paths, hashed: Paths, secret: bytes) -> dict[str, Any]:
    selected: dict[str, Any] = {}
    for name, value in members.items():
        below = tuple(_below(paths, name) for paths in (drop, keep, hashed))
        if () in below[0] or (keep and not below[1]):
            continue
        if () in below[2]:
            selected[name] = _hash(value, secret)
            continue
        kept = _select_in(value, below[0], () if () in below[1] else below[1], below[2], secret)
        if kept is not None:
            selected[name] = kept
    return selected


def _hash(value: Any, secret: bytes) -> dict[str, str]:
    text = canonical_text(canonical_value(value, DEEPEST))
    return {"S": hmac.new(secret, text.encode(), sha256).hexdigest()}


def _select_in(value: Any, drop: Paths, keep: Paths, hashed: Paths, secret: bytes) -> Any:
    """Return what of a value is left, None if nothing is."""
    if not (drop or keep or hashed):
        return value
    ((tag, payload),) = value.items()
    if tag == "M" and (members := as_object(payload)) is not None:
        return {"M": _select(members, drop, keep, hashed, secret)}
    if tag == "L" and (elements := as_array(payload)) is not None:
        selected = (_select_in(element, drop, keep, hashed, secret) for element in elements)
        return {"L": [element for element in selected if element is not None]}
    if keep:
        return None
    return _hash(value, secret) if hashed else value


def _below(paths: Paths, name: str) -> Paths:
    return tuple(path[1:] for path in paths if path[0] == name)


@dataclass(frozen=True)
class Rules:
    """All that is wanted of a table's attributes.

    Attributes:
        types: What becomes of second types where no rule of the attribute's own says it.
        attributes: The rules of single attributes.
        selection: Which attributes reach the lake.
    """

    types: TypePolicy = TypePolicy.COMPANION
    attributes: Mapping[str, AttributeRule] = field(default_factory=dict[str, AttributeRule])
    selection: Selection = Selection()

    def of(self, attribute: str) -> AttributeRule:
        """Return the rule for an attribute."""
        return self.attributes.get(attribute) or AttributeRule(self.types)

    @property
    def fingerprint(self) -> str:
        """What tells these rules from others; it says nothing of the hash's key to who does not have it."""
        selection = self.selection
        told = {
            "types": self.types,
            "attributes": {name: [rule.types, rule.hint] for name, rule in self.attributes.items()},
            "drop": selection.drop,
            "keep": selection.keep,
            "hash": selection.hash,
        }
        text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        return hmac.new(selection.secret, b"ddb_lake: fingerprint of the rules " + text, sha256).hexdigest()[:32]


NO_RULES = Rules()


def parse_hint(text: str) -> str:
    """Return the arm that a hint names.

    Raises:
        ValueError: If it is no hint.
    """
    if text in set(Hint):
        return text
    found = _DECIMAL_HINT.fullmatch(text)
    if found and decimal_of(arm := decimal_arm(int(found[1]), int(found[2]))):
        return arm
    raise ValueError(f"write one of {', '.join(Hint)} or decimal(precision, scale) with scale <= precision <= 38")


def parse_path(text: str) -> tuple[str, ...]:
    r"""Return the names of a dotted path; `\.` is a dot in a name and `\\` a backslash.

    Raises:
        ValueError: If a name is empty or a backslash stands before something else.
    """
    names = [""]
    letters = iter(text)
    for letter in letters:
        if letter == ".":
            names.append("")
        elif letter == "\\":
            escaped = next(letters, "")
            if escaped not in (".", "\\"):
                raise ValueError(r"a backslash in a path stands before a dot or a backslash")
            names[-1] += escaped
        else:
            names[-1] += letter
    if not all(names):
        raise ValueError("a path is names with dots between them, such as address.street")
    return tuple(names)
