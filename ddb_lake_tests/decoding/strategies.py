"""Hostile items for hypothesis: every type, names that look like syntax, numbers at every limit."""

from base64 import b64encode
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

TEXT = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.sampled_from(["", "{", '"', "\\", "\0", "\n", "🦄", '{"N":"1"}', "null", "1", "é", "e\u0301"]),
)

RECORD_WORDS = ["S", "N", "M", "Item", "Keys", "NewImage", "OldImage", "Metadata"]
RESERVED_WORDS = ["_deleted", "_window", "_export", "_KEY_HASH", "_change_type", "__delta_rs_path"]
COMPANION_LIKE = ["a__string", "a__null", "a__INT64", "A__decimal", "pk__string", "__string", "a__"]
CASE_PAIRS = ["a", "A", "PK", "ß", "ss", "ſ", "s"]
SYNTAX = ["a.b", "a b", 'a"b', "`a`", "a\nb", "a\0b", "🦄", "x" * 300, "%41", "a%2Eb"]

NAMES = st.one_of(
    st.sampled_from([*RECORD_WORDS, *RESERVED_WORDS, *COMPANION_LIKE, *CASE_PAIRS, *SYNTAX]), TEXT.filter(bool)
)


def _number(sign: str, digits: str, exponent: int) -> str:
    """Return a number of DynamoDB's range whose first digit stands for 10 ** exponent."""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


_SCIENTIFIC = st.builds(
    _number,
    st.sampled_from(["", "-", "+"]),
    st.from_regex(r"\A[1-9][0-9]{0,37}\Z"),
    st.one_of(st.integers(-130, 125), st.integers(-20, 20)),
)

NOTATIONS = ["0", "-0", "0.00", "00012", ".5", "5."]
LIMITS = ["1E-130", "9.9E+125", "-9.9999999999999999999999999999999999999E+125"]
INT64_LIMITS = [str(limit) for limit in (2**63 - 1, 2**63, -(2**63), -(2**63) - 1)]
DECIMAL_LIMITS = ["99999999999999999999.999999999999999999", "100000000000000000000", "0.0000000000000000001"]

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9).map(str),
    _SCIENTIFIC,
    _SCIENTIFIC.map(lambda text: format(Decimal(text), "f")),
    st.sampled_from([*NOTATIONS, *LIMITS, *INT64_LIMITS, *DECIMAL_LIMITS]),
)

# DynamoDB's naming rules are about attributes; a map's member is not known to need a name.
MEMBER_NAMES = st.one_of(NAMES, st.just(""))

BASE64 = st.binary(max_size=9).map(lambda data: b64encode(data).decode())


def _value(tag: str, payload: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return payload.map(lambda held: {tag: held})


SCALARS = st.one_of(
    _value("S", TEXT),
    _value("N", NUMBERS),
    _value("B", BASE64),
    _value("BOOL", st.booleans()),
    _value("NULL", st.just(True)),
    _value("SS", st.lists(TEXT, min_size=1, max_size=4, unique=True)),
    _value("NS", st.lists(NUMBERS, min_size=1, max_size=4, unique_by=Decimal)),
    _value("BS", st.lists(BASE64, min_size=1, max_size=4, unique=True)),
)

VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        _value("L", st.lists(inner, max_size=3)), _value("M", st.dictionaries(MEMBER_NAMES, inner, max_size=3))
    ),
    max_leaves=6,
)

ITEMS = st.builds(
    lambda attributes, pk: {**attributes, "pk": {"S": pk}},
    st.dictionaries(NAMES.filter(lambda name: name != "pk"), VALUES, max_size=6),
    TEXT,
)
