"""Where ddb_lake's decoder spends its CPU time: `benchmarks/decoding.py --profile`.

The stages' functions are timed from outside, by the CPU time of the thread that calls them.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from decoding_contenders import frames, learned
from decoding_data import Case

from ddb_lake.decoding import frames as building
from ddb_lake.decoding import shredder, stream

STAGES: list[tuple[str, Any, str]] = [
    # what the table calls it, where the function is, its name
    ("gunzip into blocks", stream, "read_blocks"),
    ("shred", shredder.lines, "shred"),
    ("group", shredder.columns, "group"),
    ("columns", building, "type_values"),
    ("proof", building, "prove_conservation"),
]


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """Return a function, or one that returns a generator, that notes how long its thread has worked for it."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        made = function(*arguments, **named)
        spent.append(time.thread_time() - began)
        return _timed_steps(made, spent) if hasattr(made, "__next__") else made

    return call


def _timed_steps(steps: Any, spent: list[float]) -> Any:
    while True:
        began = time.thread_time()
        try:
            step = next(steps)
        except StopIteration:
            return
        finally:
            spent.append(time.thread_time() - began)
        yield step


def profile(case: Case) -> dict[str, float]:
    """Return the share of each stage in the CPU time of decoding a case's files, in percent."""
    told = asdict(case)
    schema = learned(told, case.files, 1)
    stages: dict[str, list[float]] = {}
    kept: list[tuple[Any, str, Any]] = []
    for stage, where, name in STAGES:
        function = getattr(where, name)
        kept.append((where, name, function))
        setattr(where, name, timed(function, stages.setdefault(stage, [])))
    try:
        began = time.process_time()
        for _, each in frames(told, case.files, schema, 1):
            for _ in each:
                pass
        whole = time.process_time() - began
    finally:
        for where, name, function in kept:
            setattr(where, name, function)
    shares = {stage: 100 * sum(spent) / whole for stage, spent in stages.items()}
    return {**shares, "all else": 100 - sum(shares.values())}
