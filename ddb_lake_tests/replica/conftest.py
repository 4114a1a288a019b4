"""Every test of the replica holds for both strategies."""

from collections.abc import Iterator

import pytest

from ddb_lake.replica.strategy import Strategy
from ddb_lake_tests.replica.histories import Wanted


@pytest.fixture(scope="module", autouse=True, params=list(Strategy), ids=lambda each: each.value)
def strategy(request: pytest.FixtureRequest) -> Iterator[Strategy]:
    """The strategy of the replicas that `lake` makes in a module."""
    before = Wanted.strategy
    Wanted.strategy = request.param
    yield request.param
    Wanted.strategy = before
