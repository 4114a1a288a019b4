"""JSON values as parsed: what an object and an array are, told to the type checker as well."""

from typing import Any, TypeGuard

JsonObject = dict[str, Any]
JsonArray = list[Any]


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Tell whether a parsed JSON value is an object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[JsonArray]:
    """Tell whether a parsed JSON value is an array."""
    return isinstance(value, list)


def object_in(parent: JsonObject, name: str) -> JsonObject:
    """Return the object that is a member of another, or an empty one where there is none."""
    value: object = parent.get(name)
    return value if is_object(value) else {}


def array_in(parent: JsonObject, name: str) -> JsonArray:
    """Return the array that is a member of an object, or an empty one where there is none."""
    value: object = parent.get(name)
    return value if is_array(value) else []
