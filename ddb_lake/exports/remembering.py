"""A client that need not ask twice what it was answered before: for whoever is interrupted, and begins again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from ddb_lake.exports.client import Export, ExportClient, Recovery
from ddb_lake.exports.requests import ExportRequest, SourceTable
from ddb_lake.windows import Window, touch

_T = TypeVar("_T")

_FRESH_SECONDS = 1800
"""How old the first of the answers may be; then all of them are asked for anew."""


@dataclass
class Answers:
    """What AWS has said about one table's exports; not for several threads."""

    _by_question: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _listings: list[tuple[SourceTable, Window, tuple[Window, ...]]] = field(default_factory=list[Any])
    _since: float = 0

    def clear(self) -> None:
        """Forget them."""
        self._by_question.clear()
        self._listings.clear()

    def forget_old(self) -> None:
        """Forget them all where they have become too old."""
        now = monotonic()
        if now - self._since > _FRESH_SECONDS:
            self.clear()
        if not self._by_question:
            self._since = now

    def once(self, question: Any, ask: Callable[[], _T]) -> _T:
        """Return the answer to a question, which is asked where there is none yet."""
        if question not in self._by_question:
            self._by_question[question] = ask()
        return self._by_question[question]

    def forget(self, question: Any) -> None:
        """Forget the answer to one question."""
        self._by_question.pop(question, None)

    def windows(self, table: SourceTable, span: Window, ask: Callable[[], tuple[Window, ...]]) -> tuple[Window, ...]:
        """Return the windows of a table that touch a span; a listing of a wider one serves too."""
        for of, listed, windows in self._listings:
            if of == table and listed.start <= span.start and span.end <= listed.end:
                return tuple(window for window in windows if touch(window, span))
        windows = ask()
        self._listings.append((table, span, windows))
        return windows


class RememberingClient(ExportClient):
    """An `ExportClient` that takes answers from `Answers`, and puts there what it has to ask for.

    Args:
        arguments: As for `ExportClient`.
        answers: What was answered before.
    """

    def __init__(self, *arguments: Any, answers: Answers) -> None:
        super().__init__(*arguments)
        self._answers = answers
        answers.forget_old()

    def describe_table(self, name_or_arn: str) -> SourceTable:
        """Return the table's identity and key, as `ExportClient` does."""
        return self._answers.once(("table", name_or_arn), partial(super().describe_table, name_or_arn))

    def recovery(self, table: SourceTable) -> Recovery:
        """Tell how point-in-time recovery stands, as `ExportClient` does."""
        return self._answers.once(("recovery", table), partial(super().recovery, table))

    def enable_recovery(self, table: SourceTable) -> None:
        """Turn point-in-time recovery on, as `ExportClient` does."""
        super().enable_recovery(table)
        self._answers.forget(("recovery", table))

    def start(self, request: ExportRequest, attempt: int = 1) -> Export:
        """Start an export, as `ExportClient` does."""
        export = super().start(request, attempt)
        self._answers.forget(("exports", request))
        return export

    def find(self, request: ExportRequest) -> tuple[Export, ...]:
        """Return the exports that exist for a request, as `ExportClient` does."""
        return self._answers.once(("exports", request), partial(super().find, request))

    def find_windows(self, table: SourceTable, span: Window) -> tuple[Window, ...]:
        """Return the windows of the exports that touch a span, as `ExportClient` does."""
        return self._answers.windows(table, span, partial(super().find_windows, table, span))
