"""The data of `make bench-decode`: four kinds of tables, always the same ones, and what a reader is to know of them.

A shape is what readers with explicit columns are told: for a value a mapping from type tag to what the tag holds:
below M the shapes by name, below L the one of the elements, None below the others.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

Json = dict[str, Any]

MOST_NAMES = 40
"""A map with more of them is one whose names are data."""

FILES = 4
FROM = datetime(2026, 11, 24, 12, tzinfo=UTC)
WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "haven",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "maple",
    "north",
    "ochre",
    "plaza",
    "quay",
]


@dataclass(frozen=True)
class Case:
    """Files to be decoded.

    Attributes:
        name: What the table calls it.
        changes: Whether they are of an incremental export.
        key: Name, type and role of the key's attributes.
        files: Path and number of lines of each.
        warm: A short file to warm up with.
        shape: What is below `Item`, or below `NewImage`.
        items: How many lines there are.
        bytes: How many bytes of JSON.
    """

    name: str
    changes: bool
    key: list[tuple[str, str, str]]
    files: list[tuple[str, int]]
    warm: tuple[str, int]
    shape: Json
    items: int
    bytes: int


def _text(random: Random, words: int) -> str:
    return " ".join(random.choices(WORDS, k=words))


def _time(random: Random) -> str:
    return (FROM - timedelta(microseconds=random.randrange(10**14))).isoformat(timespec="microseconds")


def _uuid(random: Random) -> str:
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _number(value: float) -> Json:
    return {"N": f"{value:.2f}".rstrip("0").rstrip(".")}


def narrow(random: Random, number: int) -> Json:
    """Three scalars."""
    return {
        "id": {"S": _uuid(random)},
        "time": {"S": _time(random)},
        "value": {"N": str(random.randint(1, 100))},
    }


def wide(random: Random, number: int) -> Json:
    """An order: nested, with escapes, a map whose names are data, and second types."""
    lines = [
        {"M": {"sku": {"S": f"sku-{random.randrange(900):03}"}, "quantity": {"N": str(random.randint(1, 9))}}}
        for _ in range(random.randint(1, 3))
    ]
    stock = {f"sku-{random.randrange(200):03}": {"N": str(random.randint(0, 99))} for _ in range(3)}
    zip_code = str(random.randint(10_000, 99_999))
    item = {
        "order": {"S": f"order-{number:09}"},
        "customer": {"S": f"customer-{random.randrange(10**6)}"},
        "status": {"S": random.choice(("new", "paid", "sent", "back"))},
        "created": {"S": _time(random)},
        "total": _number(random.randint(1, 10**6) / 100),
        "discount": _number(random.randint(0, 1000) / 100),
        "currency": {"S": random.choice(("EUR", "USD", "CHF"))},
        "paid": {"BOOL": random.random() < 0.8},
        "gift": {"BOOL": False},
        "coupon": {"NULL": True} if random.random() < 0.7 else {"S": _text(random, 1)},
        "note": {"S": f'{_text(random, 3)} "{_text(random, 1)}"\n\\ {_text(random, 1)} é'},
        "tags": {"SS": sorted(random.sample(WORDS, 3))},
        "sizes": {"NS": sorted(str(size) for size in random.sample(range(99), 2))},
        "address": {
            "M": {
                "city": {"S": _text(random, 1)},
                "street": {"S": _text(random, 2)},
                "zip": {"S": zip_code} if random.random() < 0.02 else {"N": zip_code},
                "geo": {"M": {"lat": _number(random.random() * 90), "lon": _number(random.random() * 180)}},
            }
        },
        "lines": {"L": lines},
        "stock": {"M": stock},
        "digest": {"B": "AAECAwQFBgcICQoLDA0ODw=="},
        "version": {"N": str(random.randint(1, 30))},
        "weight": _number(random.randint(1, 9999) / 100),
        "channel": {"S": random.choice(("web", "shop"))},
        "score": {"S": "high"} if random.random() < 0.02 else {"N": str(random.randint(0, 100))},
        "updated": {"N": str(1_700_000_000_000 + random.randrange(10**10))},
    }
    if random.random() < 0.25:
        names = list(item)
        turn = random.randrange(len(names))
        item = {name: item[name] for name in names[turn:] + names[:turn]}
    return item


def mix(random: Random, number: int) -> Json:
    """One of six entities of a single-table design; some attributes are of one type here and of another there."""
    kind = random.choice(("customer", "order", "line", "product", "event", "session"))
    item: Json = {
        "PK": {"S": f"{kind.upper()}#{number:08}"},
        "SK": {"S": f"{kind.upper()}#{_time(random)}"},
        "type": {"S": kind},
    }
    match kind:
        case "customer":
            item |= {
                "name": {"S": _text(random, 2)},
                "mail": {"S": f"{number}@example.com"},
                "active": {"BOOL": True},
            }
            item |= {
                "data": {"M": {"level": {"S": _text(random, 1)}, "since": {"N": str(random.randint(2000, 2026))}}}
            }
        case "order":
            item |= {"amount": _number(random.randint(1, 10**6) / 100), "GSI1PK": {"S": f"CUSTOMER#{number % 999}"}}
            lines = [{"M": {"sku": {"S": _text(random, 1)}, "n": {"N": str(each)}}} for each in range(2)]
            item |= {"lines": {"L": lines}, "state": {"S": random.choice(("open", "done"))}}
        case "line":
            item |= {"amount": {"S": f"{random.randint(1, 99)} EUR"}, "lines": {"N": str(random.randint(1, 9))}}
            item |= {"sku": {"S": f"sku-{random.randrange(900)}"}}
        case "product":
            item |= {
                "price": _number(random.randint(1, 10**5) / 100),
                "tags": {"SS": sorted(random.sample(WORDS, 2))},
            }
            item |= {"data": {"S": _text(random, 6)}, "stock": {"N": str(random.randint(0, 500))}}
        case "event":
            item |= {"payload": {"M": {"action": {"S": _text(random, 1)}, "at": {"S": _time(random)}}}}
            item |= {"source": {"S": _text(random, 1)}, "count": {"N": str(random.randint(0, 10**12))}}
        case _:
            item |= {"payload": {"S": _text(random, 5)}, "ttl": {"N": str(1_800_000_000 + number)}}
            item |= {"token": {"B": "/+8AAQIDBAUGBwgJCgsMDQ=="}, "last": {"NULL": True}}
    return item


def account(random: Random, number: int) -> Json:
    """A customer's account; in an incremental export names are in alphabetical order."""
    item = {
        "id": {"S": f"account-{number:08}"},
        "owner": {"S": _text(random, 2)},
        "balance": _number(random.randint(-(10**6), 10**7) / 100),
        "currency": {"S": "EUR"},
        "limits": {"M": {"day": {"N": str(random.randint(1, 9) * 100)}, "month": {"N": "5000"}}},
        "locked": {"BOOL": random.random() < 0.1},
        "opened": {"S": _time(random)},
        "roles": {"SS": sorted(random.sample(WORDS, 2))},
        "seen": {"N": str(1_700_000_000_000 + random.randrange(10**10))},
        "note": {"S": _text(random, random.randint(0, 6))},
    }
    return dict(sorted(item.items()))


def change(random: Random, number: int) -> Json:
    """An insert, an update or a delete, with both images."""
    old, new = account(random, number), account(random, number)
    micros = int(FROM.timestamp() * 1_000_000) + random.randrange(900_000_000)
    record: Json = {"Metadata": {"WriteTimestampMicros": {"N": str(micros)}}, "Keys": {"id": new["id"]}}
    chance = random.random()
    if chance > 0.25:
        record["OldImage"] = old
    if chance < 0.85:
        record["NewImage"] = new
    return record


CASES: dict[str, tuple[Callable[[Random, int], Json], int, bool, list[tuple[str, str, str]]]] = {
    # what makes a line, how many at scale 1, whether they are changes, the key
    "narrow": (narrow, 240_000, False, [("id", "S", "HASH")]),
    "wide": (wide, 40_000, False, [("order", "S", "HASH")]),
    "mix": (mix, 120_000, False, [("PK", "S", "HASH"), ("SK", "S", "RANGE")]),
    "incremental": (change, 40_000, True, [("id", "S", "HASH")]),
}


def make(name: str, folder: Path, scale: float) -> Case:
    """Write a case's files and return it."""
    maker, items, changes, key = CASES[name]
    random = Random(name)
    shape: Json = {}
    size = 0

    def lines(first: int, last: int) -> Iterator[bytes]:
        for number in range(first, last):
            made = maker(random, number)
            image = made.get("NewImage", {}) if changes else made
            for attribute, value in image.items():
                _learn(shape.setdefault(attribute, {}), value)
            yield orjson.dumps(made if changes else {"Item": made})

    each = max(100, int(items * scale) // FILES)
    files: list[tuple[str, int]] = []
    for number in range(FILES):
        data = b"".join(line + b"\n" for line in lines(number * each, (number + 1) * each))
        size += len(data)
        path = folder / f"{name}-{number}.json.gz"
        path.write_bytes(gzip.compress(data, compresslevel=6, mtime=0))
        files.append((str(path), each))
        if not number:
            head = b"".join(line + b"\n" for line in data.split(b"\n")[:100])
            warm = folder / f"{name}-warm.json.gz"
            warm.write_bytes(gzip.compress(head, mtime=0))
    return Case(name, changes, key, files, (str(warm), 100), shape, FILES * each, size)


def _learn(shape: Json, value: Json) -> None:
    """Enter a value into a shape."""
    ((tag, payload),) = value.items()
    match tag:
        case "L":
            below = shape.setdefault("L", {})
            for element in payload:
                _learn(below, element)
        case "M":
            below = shape.setdefault("M", {})
            for name, member in payload.items():
                _learn(below.setdefault(name, {}), member)
        case _:
            shape[tag] = None


def is_open(members: Json) -> bool:
    """Tell whether a map's names are data."""
    return len(members) > MOST_NAMES


def save(case: Case, path: Path) -> None:
    """Write what a contender's process has to know."""
    path.write_text(json.dumps(asdict(case)))
