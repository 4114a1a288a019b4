"""What a table's part of lake.yaml says of its attributes: read, checked, and turned into the decoder's rules.

What depends on the source table's key, or on the environment, is checked once the table is described.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from ddb_lake.decoding import AttributeRule, Rules, Selection, TypePolicy, parse_hint, parse_path
from ddb_lake.errors import ConfigError
from ddb_lake.keys import KeyAttribute

HASH_KEY_VARIABLE = "DDB_LAKE_HASH_KEY"
"""The environment variable with the hash's key, unless lake.yaml names another one."""

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_HALF_DECIMAL = re.compile(r"\s*\d+\s*\)")

Path = tuple[str, ...]


class StrictModel(BaseModel):
    """A part of lake.yaml: nothing that it does not know, and nothing that changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def attribute_name(value: object) -> str:
    """Return an attribute's name as lake.yaml has it.

    Raises:
        ValueError: If YAML takes it for something else than a text.
    """
    if isinstance(value, str):
        return value
    told = value.isoformat() if isinstance(value, date) else repr(value)
    raise ValueError(f"YAML takes this name for the {_KINDS.get(type(value), 'value')} {told}; write it in quotes")


_KINDS: Mapping[type, str] = {bool: "truth value", int: "number", float: "number", date: "date"}


def _path(value: object) -> Path:
    return parse_path(attribute_name(value))


def _hint(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("write a type, such as timestamp")
    return parse_hint(value.strip())


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(
            "not an environment variable's name (A-Z 0-9 _); write the name of the variable that holds the key, "
            f"like {HASH_KEY_VARIABLE}, and never the key itself"
        )
    return value


def _named(value: object) -> object:
    for name in cast("dict[object, Any]", value) if isinstance(value, dict) else ():
        attribute_name(name)
    return value


class AttributeSettings(StrictModel):
    """The rule of one attribute: what becomes of a second type, and the column type that its values should have."""

    types: TypePolicy | None = None
    type: Annotated[str, BeforeValidator(_hint)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _join(cls, value: object) -> object:
        """Take `{type: decimal(12, 2)}` as it is meant: within braces, YAML ends the text at the comma."""
        if not isinstance(value, dict):
            return value
        members = {**cast("dict[Any, Any]", value)}
        kind = members.get("type")
        if isinstance(kind, str) and "(" in kind and ")" not in kind:
            rest = [name for name in members if isinstance(name, str) and _HALF_DECIMAL.fullmatch(name)]
            if len(rest) == 1 and members[rest[0]] is None:
                del members[rest[0]]
                members["type"] = f"{kind}, {rest[0].strip()}"
        return members

    @model_validator(mode="after")
    def _check(self) -> "AttributeSettings":
        if self.type and self.types is TypePolicy.STRING:
            raise ValueError(
                "types: string puts all values into one column of text, where type has no effect; remove one"
            )
        if self.type == "json" and self.types is TypePolicy.FAIL:
            raise ValueError(
                "types: fail can't tell a list from a map where type: json puts both into one column; remove one"
            )
        return self


class AttributesSettings(StrictModel):
    """What a table's part of lake.yaml says of its attributes.

    `types` is what becomes of second types, `attributes` are the rules of single attributes. `drop`, `keep` and
    `hash` are paths: an attribute's name, and names of members of maps with dots between them.
    """

    types: TypePolicy = TypePolicy.COMPANION
    attributes: Annotated[dict[str, AttributeSettings], BeforeValidator(_named)] = {}
    drop: tuple[Annotated[Path, BeforeValidator(_path)], ...] = ()
    keep: tuple[Annotated[Path, BeforeValidator(_path)], ...] = ()
    hash: tuple[Annotated[Path, BeforeValidator(_path)], ...] = ()
    hash_key_variable: Annotated[str, BeforeValidator(_variable)] = HASH_KEY_VARIABLE
    old_images: bool = False

    @model_validator(mode="after")
    def _check_selection(self) -> "AttributesSettings":
        if self.drop and self.keep:
            raise ValueError("drop and keep exclude each other; say what to leave out, or what alone to keep")
        for hashed in self.hash:
            for dropped in self.drop:
                if _is_within(hashed, dropped) or _is_within(dropped, hashed):
                    raise ValueError(
                        f"hash: {told(hashed)!r} and drop: {told(dropped)!r} meet, and what is dropped is in no "
                        "hash; remove one of them"
                    )
            inside = [kept for kept in self.keep if _is_within(kept, hashed)]
            if inside and hashed not in inside and not _is_kept(hashed, self.keep):
                raise ValueError(
                    f"hash: {told(hashed)!r} covers the whole value, but keep: {told(inside[0])!r} keeps a part; "
                    f"keep {told(hashed)!r}, or hash {told(inside[0])!r}"
                )
        for name, rule in self.attributes.items():
            if (name,) in self.drop:
                raise ValueError(f"attributes: {name!r} has a rule but is dropped; remove one of them")
            if self.keep and all(path[0] != name for path in self.keep):
                raise ValueError(
                    f"attributes: {name!r} has a rule but is not kept; add it to keep, or remove the rule"
                )
            if (name,) in self.hash and rule.type:
                raise ValueError(
                    f"attributes: {name!r} has the type {rule.type} but is hashed, which makes it text; remove one"
                )
        return self

    def why_no_text(self, attribute: str) -> str:
        """Return what keeps an attribute's texts from reaching its column as they are, or ""."""
        if (attribute,) in self.drop:
            return "is dropped"
        if self.keep and (attribute,) not in self.keep:
            return "is not kept"
        if (attribute,) in self.hash:
            return "is hashed"
        rule = self.attributes.get(attribute)
        return f"has the type {rule.type}" if rule and rule.type not in (None, "string") else ""


def rules_of(
    name: str, wanted: AttributesSettings, key: Sequence[KeyAttribute], environment: Mapping[str, str]
) -> Rules:
    """Return the decoder's rules for a table whose key is known.

    Args:
        name: The table's name in lake.yaml, for messages.
        wanted: What lake.yaml says.
        key: The primary key: its attributes' types are DynamoDB's, and they are always kept.
        environment: Where the hash's key is.

    Raises:
        ConfigError: If lake.yaml wants what the key does not allow, or the hash's key is not there.
    """
    names = frozenset(attribute.name for attribute in key)
    where = f"lake.yaml: tables: {name}"
    for attribute in wanted.attributes:
        if attribute in names:
            raise ConfigError(
                f"{where}: attributes: {attribute!r} is an attribute of the primary key, which has one type and "
                "always the column for it; remove its rule"
            )
    for path in wanted.drop:
        if path[0] in names:
            raise ConfigError(
                f"{where}: drop: {told(path)!r} is an attribute of the primary key, which tells the items apart; "
                "remove it from drop, or hash it"
            )
    for path in wanted.hash:
        attribute, *within = path
        if within and attribute in names:
            raise ConfigError(
                f"{where}: hash: {told(path)!r} is within the key attribute {attribute!r}, which has no members; "
                "hash the attribute, or remove the path"
            )
        if wanted.keep and attribute not in names and not _is_kept(path, wanted.keep):
            raise ConfigError(f"{where}: hash: {told(path)!r} is not kept; add it to keep, or remove it from hash")
    secret = environment.get(wanted.hash_key_variable, "") if wanted.hash else ""
    if wanted.hash and not secret.strip():
        raise ConfigError(
            f"{where}: hash: needs a key, but the environment variable {wanted.hash_key_variable} "
            f"{'is empty' if wanted.hash_key_variable in environment else 'is not set'}; set it to a long random "
            "text wherever Dagster's runs and sensors are, always to the same, or name another by hash_key_variable"
        )
    return Rules(
        types=wanted.types,
        attributes={
            **{attribute: _rule(rule, wanted.types) for attribute, rule in wanted.attributes.items()},
            # The table's policy is not the key's: its columns are what rows are told apart by.
            **{attribute: AttributeRule() for attribute in names},
        },
        selection=Selection(wanted.drop, wanted.keep, wanted.hash, secret.encode()),
    )


def told(path: Path) -> str:
    """Return a path as lake.yaml has it."""
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in path)


def _rule(wanted: AttributeSettings, default: TypePolicy) -> AttributeRule:
    """Return an attribute's rule; one with a type of its own is not put into text by what the table says."""
    if wanted.type and not wanted.types and default is TypePolicy.STRING:
        return AttributeRule(TypePolicy.COMPANION, wanted.type)
    return AttributeRule(wanted.types or default, wanted.type or "")


def _is_within(path: Path, outer: Path) -> bool:
    return path[: len(outer)] == outer


def _is_kept(path: Path, keep: Sequence[Path]) -> bool:
    return any(_is_within(path, kept) for kept in keep)
