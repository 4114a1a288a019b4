"""ClientRequestToken: a transaction that is sent again within ten minutes is answered again, and not done again.

Rule: AWS developer guide, "Amazon DynamoDB Transactions: How it works", idempotency.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.journal import Journal, TransactionToken

_LIFE_US = 10 * 60 * 1_000_000
_LONGEST = 36


class TransactionTokens:
    """Remembers the transactions that were done, in the journal: a restart between two attempts changes nothing."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def new(self, region: str, request: Mapping[str, Any], now_us: int) -> TransactionToken | None:
        """Return what to journal together with the transaction's writes; None if no token was sent.

        Args:
            region: The region; a token means nothing in another.
            request: The whole request.
            now_us: The time of the request, in µs since the epoch.

        Raises:
            AwsError: A ValidationException if the token is none.
        """
        token: object = request.get("ClientRequestToken")
        if token is None:
            return None
        if not isinstance(token, str) or not 1 <= len(token) <= _LONGEST:
            bound = "greater than or equal to 1" if not token else f"less than or equal to {_LONGEST}"
            raise validation(
                f"1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy "
                f"constraint: Member must have length {bound}"
            )
        rest = {name: value for name, value in request.items() if name != "ClientRequestToken"}
        fingerprint = hashlib.blake2b(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
        return TransactionToken(region, token, fingerprint, now_us)

    def is_done(self, token: TransactionToken) -> bool:
        """Tell whether the transaction with this token was done less than ten minutes ago.

        Raises:
            AwsError: An IdempotentParameterMismatchException if that was another transaction.
        """
        earlier = self._journal.transaction_token(token.region, token.token)
        if earlier is None or earlier.us <= token.us - _LIFE_US:
            return False
        if earlier.fingerprint != token.fingerprint:
            raise AwsError(
                "IdempotentParameterMismatchException",
                "DynamoDB rejected the request because you retried a request with a different payload but with an "
                "idempotent token that was already used.",
            )
        return True

    def outdated_us(self, now_us: int) -> int:
        """Return the time before which tokens mean nothing any more."""
        return now_us - _LIFE_US
