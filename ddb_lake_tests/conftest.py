"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

REAL_EXPORTS = Path(__file__).parents[2] / "shared" / "real_exports"


@pytest.fixture(scope="session")
def real_exports() -> Path:
    """The folder of exports that AWS itself wrote; each subfolder is a bucket's root."""
    if not REAL_EXPORTS.is_dir():
        message = f"the exports that AWS wrote are not at {REAL_EXPORTS}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return REAL_EXPORTS
