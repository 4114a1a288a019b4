# pyright: basic
# numba has no types.
"""How the kernel's functions are compiled: without Python's lock, once for each machine and version of the kernel."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numba as nb
import numpy as np
import numpy.typing as npt
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.typeinfer import register_dispatcher

Array = npt.NDArray[Any]

Int = int | np.int64 | np.signedinteger[Any]
"""A number of 64 bits: what is an int to Python is one to the compiled code."""

Function = TypeVar("Function", bound=Callable[..., Any])


_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}
"""Nothing is allocated in compiled code, so that numba need not count references: that takes twice the time."""

_STAMP = blake2b(
    b"".join(each.read_bytes() for each in sorted(Path(__file__).parent.glob("*.py"))), digest_size=16
).hexdigest()
"""What kept machine code must have been made of.

Machine code holds that of the functions that it calls. Numba keeps it until the file of its own function changes, so
after an update that changes another file alone it would run the former version of what is there.
"""


class _KernelCache(FunctionCache):
    """Kept machine code, which is used only for the very source that it was made of."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, _STAMP)


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
    dispatcher: Any = nb.njit(inline=inline, **_OPTIONS)(function)
    with suppress(RuntimeError):  # Neither folder can be written to: compile anew in each process.
        dispatcher._cache = _KernelCache(function)
    if signature is not None:
        with register_dispatcher(dispatcher):
            dispatcher.compile(signature)
        dispatcher.disable_compile()
    return cast("Function", dispatcher)
