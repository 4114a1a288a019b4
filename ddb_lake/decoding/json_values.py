"""What a JSON parser returned, narrowed to the kind that a record needs in a place."""

from typing import Any, cast


def as_object(value: Any) -> dict[str, Any] | None:
    """Return a JSON object, or None if it is something else."""
    return cast("dict[str, Any]", value) if type(value) is dict else None


def as_array(value: Any) -> list[Any] | None:
    """Return a JSON array, or None if it is something else."""
    return cast("list[Any]", value) if type(value) is list else None


def shown(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
