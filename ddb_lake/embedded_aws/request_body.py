"""A request's body as it arrives: read in pieces, so that a long one is never in memory whole."""

import contextlib
from collections.abc import Iterator, MutableMapping
from typing import Any

from ddb_lake.embedded_aws.errors import AwsError, ControlError

BROKEN_OFF = "ddb_lake.body_broken_off"
"""Set in the WSGI environment where a body ended early: nothing can follow it on its connection."""

_AT_ONCE = 256 * 1024
_LONGEST_LINE = 16 * 1024 * 1024
"""Bytes; an item has 400 KB at most, and JSON may write each of its bytes as an escape of six."""


class RequestBody:
    """The body of a request in a WSGI environment, whose length may be announced or come in chunks.

    Args:
        environ: The environment; what it has of the body is no longer to be used.
    """

    def __init__(self, environ: MutableMapping[str, Any]) -> None:
        self._environ = environ
        self._source = environ["wsgi.input"]
        self._announced: int | None = None
        if environ.pop("wsgi.input_terminated", False):
            environ.pop("HTTP_TRANSFER_ENCODING", None)
        else:
            self._announced = int(environ.get("CONTENT_LENGTH") or 0)
        self._came = 0

    def pieces(self) -> Iterator[bytes]:
        """Yield what has not been read so far.

        Raises:
            AwsError: If the client breaks off.
        """
        while piece := self._read():
            yield piece

    def read(self) -> bytes:
        """Return what has not been read so far, in one piece.

        Raises:
            AwsError: As `pieces`.
        """
        return b"".join(self.pieces())

    def pass_over(self) -> None:
        """Read what has not been read so far, and forget it: a client reads no answer before it has sent all."""
        if BROKEN_OFF in self._environ:
            return
        with contextlib.suppress(AwsError):
            for _ in self.pieces():
                pass

    def lines(self) -> Iterator[bytes]:
        r"""Yield the lines without their `\n`; what follows the last one is a line, too.

        Raises:
            AwsError: As `pieces`.
            ControlError: If a line is longer than any item.
        """
        number = 1
        rest: list[bytes] = []
        waiting = 0
        for piece in self.pieces():
            head, *more = piece.split(b"\n")
            rest.append(head)
            waiting += len(head)
            if more:
                yield b"".join(rest)
                yield from more[:-1]
                number += len(more)
                rest, waiting = [more[-1]], len(more[-1])
            if waiting > _LONGEST_LINE:
                raise ControlError(
                    f"line {number} is longer than {_LONGEST_LINE} bytes, and no item is; nothing was written"
                )
        yield b"".join(rest)

    def _read(self) -> bytes:
        most = _AT_ONCE if self._announced is None else min(_AT_ONCE, self._announced - self._came)
        try:
            piece: bytes = self._source.read(most) if most else b""
        except (OSError, ValueError) as error:  # what werkzeug raises where chunks end early, or are none
            raise self._broken_off(str(error)) from error
        self._came += len(piece)
        if not piece and self._announced is not None and self._came < self._announced:
            raise self._broken_off(f"{self._announced} bytes were announced")
        return piece

    def _broken_off(self, reason: str) -> AwsError:
        self._environ[BROKEN_OFF] = True
        return AwsError("IncompleteBody", f"The body broke off after {self._came} bytes: {reason}", 400)
