"""How the kernel's functions are compiled: without Python's lock, once for each machine."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import numba as nb
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Int = int | np.int64 | np.signedinteger[Any]
"""A number of 64 bits: what is an int to Python is one to the compiled code."""

Function = TypeVar("Function", bound=Callable[..., Any])


_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
"""Nothing is allocated in compiled code, so that numba need not count references: that takes twice the time."""


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; the machine code is kept for the next time."""
    return _compile(function, None, "never")


def inlined(function: Function) -> Function:
    """Compile a small function into those that call it."""
    return _compile(function, None, "always")


def recursive(signature: str) -> Callable[[Function], Function]:
    """Compile a function that calls itself, which needs its types told."""
    return lambda function: _compile(function, signature, "never")


def _compile(function: Function, signature: str | None, inline: Literal["never", "always"]) -> Function:
    try:
        return cast("Function", nb.njit(signature, cache=True, inline=inline, **_OPTIONS)(function))
    except RuntimeError:
        # Neither folder can be written to: compile anew in each process.
        return cast("Function", nb.njit(signature, inline=inline, **_OPTIONS)(function))
