r"""Random items by the million: shapes that hypothesis draws, filled again and again, and written in odd notations.

A shape is an item; each one made of it has other values, here and there another type, a map more, or a value that is
nested as deeply as DynamoDB allows. Most lines are written as AWS writes them, the others in any way that JSON
allows: spaces, \u escapes, other orders.
"""

from base64 import b64encode
from decimal import Decimal
from json import dumps
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.strategies import (
    CASE_PAIRS,
    COMPANION_LIKE,
    DECIMAL_LIMITS,
    INT64_LIMITS,
    ITEMS,
    LIMITS,
    NOTATIONS,
    RECORD_WORDS,
    SYNTAX,
)

Item = dict[str, Any]

DEEPEST = 31
"""Levels below an attribute's own value: with it there are DynamoDB's 32."""

TAGS = ("S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS")
TOKENS = [
    *("{", "}", "[", "]", '"', "\\", '\\"', "\\\\", ",", ":", "\\u0041", "\\n", "\0", "\x1f", "\x7f", "\n", "\r"),
    *('{"S":"', '"}}', '{"Item":{', '"NewImage":', '{"N":"1"}', "null", "true", "🦄", "é", "e\u0301", "\ufeff"),
    *(
        "\u2028",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "\U00010000",
        "\U0010ffff",
        " ",
        "\t",
        "/",
        "'",
        "0",
        "a" * 31,
        "é" * 16,
    ),
]
NAMES = [*RECORD_WORDS, *COMPANION_LIKE, *CASE_PAIRS, *SYNTAX, "é" * 150, "{" * 30, '"', "\\", "\0", "\\u0041"]
EDGES = [*NOTATIONS, *LIMITS, *INT64_LIMITS, *DECIMAL_LIMITS, "-1E-130", "9" * 38 + "0" * 88, "-0E5", "+1", "1.0E+3"]

KEYS: list[tuple[KeyAttribute, ...]] = [
    (KeyAttribute("pk", "S", "HASH"),),
    (KeyAttribute("pk", "N", "HASH"),),
    (KeyAttribute("pk", "B", "HASH"),),
    (KeyAttribute("pk", "S", "HASH"), KeyAttribute("A", "N", "RANGE")),
    (KeyAttribute("S", "B", "HASH"), KeyAttribute("Item", "S", "RANGE")),
    (KeyAttribute('"{\\', "S", "HASH"), KeyAttribute("é", "B", "RANGE")),
]


def shapes(count: int, number: int) -> list[Item]:
    """Return the items that hypothesis draws for a seed."""
    drawn: list[Item] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(item=ITEMS)
    def draw(item: Item) -> None:
        drawn.append(item)

    draw()
    return drawn


class Bulk:
    """Makes items and lines, always the same ones for one seed."""

    def __init__(self, number: int, key: tuple[KeyAttribute, ...]) -> None:
        self._random = Random(number)
        self._key = key

    def item(self, shape: Item) -> Item:
        """Return an item like a shape, with the key."""
        random = self._random
        made = {name: self._like(value) for name, value in shape.items() if random.random() < 0.95}
        made.pop("pk", None)
        if random.random() < 0.02:
            made["deep"] = self._deep(random.randint(1, DEEPEST))
        if random.random() < 0.05:
            made[random.choice(NAMES)] = self._scalar(random.choice(TAGS))
        for attribute in self._key:
            made[attribute.name] = self._scalar(attribute.type)
        if random.random() < 0.5:
            made = self._shuffled(made)
        return made

    def key_of(self, item: Item) -> Item:
        """Return the key's attributes of an item."""
        return {attribute.name: item[attribute.name] for attribute in self._key}

    def item_line(self, item: Item, odd: bool) -> str:
        """Write an item as a line of a full export."""
        return self._line({"Item": item}, odd)

    def change_line(self, item: Item, gone: bool, old: Item | None, odd: bool) -> str:
        """Write a change as a line of an incremental export."""
        when = str(self._random.randrange(10 ** self._random.randint(1, 18)))
        record: dict[str, Any] = {
            "Metadata": {"WriteTimestampMicros": {"N": when} if not odd or self._random.random() < 0.5 else when},
            "Keys": self.key_of(item),
        }
        record |= {"OldImage": old} if old is not None else {}
        record |= {} if gone else {"NewImage": item}
        return self._line(record, odd)

    def _line(self, record: Any, odd: bool) -> str:
        if not odd:
            return dumps(record, ensure_ascii=False, separators=(",", ":"))
        return f"{self._space()}{self._odd(record)}{self._space()}"

    def _like(self, value: dict[str, Any]) -> dict[str, Any]:
        ((tag, payload),) = value.items()
        chance = self._random.random()
        if chance < 0.03:
            return self._scalar(self._random.choice(TAGS))
        match tag:
            case "L":
                elements = [self._like(element) for element in payload]
                return {"L": [*elements, *elements[:1]] if chance < 0.2 else elements}
            case "M":
                members = {name: self._like(member) for name, member in payload.items()}
                if chance < 0.1:
                    members[self._random.choice(NAMES)] = self._scalar(self._random.choice(TAGS))
                if chance < 0.06:
                    members[self._text() or "x"] = self._scalar(self._random.choice(TAGS))
                return {"M": members if chance < 0.6 else self._shuffled(members)}
            case _:
                return self._scalar(tag)

    def _deep(self, levels: int) -> dict[str, Any]:
        value = self._scalar(self._random.choice(TAGS))
        for _ in range(levels):
            if self._random.random() < 0.5:
                value = {"L": [value, self._scalar("N")]}
            else:
                value = {"M": {"b": value, self._random.choice(NAMES): self._scalar("S")}}
        return value

    def _scalar(self, tag: str) -> dict[str, Any]:
        match tag:
            case "S":
                return {"S": self._text()}
            case "N":
                return {"N": self._number()}
            case "B":
                return {"B": self._base64()}
            case "BOOL":
                return {"BOOL": self._random.random() < 0.5}
            case "NULL":
                return {"NULL": True}
            case "SS":
                return {"SS": [*{self._text(): None for _ in range(self._size())}]}
            case "NS":
                numbers = [self._number() for _ in range(self._size())]
                return {"NS": [*{Decimal(number): number for number in numbers}.values()]}
            case _:
                data = {self._random.randbytes(self._random.randint(0, 9)) for _ in range(self._size())}
                return {"BS": [b64encode(each).decode() for each in data]}

    def _size(self) -> int:
        return self._random.choice((1, 1, 2, 3, 5, 17))

    def _text(self) -> str:
        random = self._random
        chance = random.random()
        if chance < 0.4:
            return "".join(random.choices("abcdefghijklmnopqrstuvwxyz 0123456789-ABCDEFG_", k=random.randint(0, 24)))
        if chance < 0.6:
            points = (
                random.choice((0x30, 0x80, 0x800, 0xD000, 0x10000, 0x10FFFF)) for _ in range(random.randint(0, 9))
            )
            return "".join(chr(max(0, point - random.randint(0, 50))) for point in points)
        if chance < 0.99:
            return "".join(random.choices(TOKENS, k=random.randint(0, 5)))
        return "".join(random.choices(TOKENS, k=random.randint(50, 500)))

    def _number(self) -> str:
        random = self._random
        chance = random.random()
        if chance < 0.25:
            return str(random.randint(-1_000, 1_000))
        if chance < 0.4:
            return str(random.randint(-(2**63), 2**63 - 1))
        if chance < 0.6:
            return f"{random.randint(-(10**9), 10**9)}.{random.randint(0, 10**6)}"
        if chance < 0.7:
            return random.choice(EDGES)
        digits = random.randint(1, 38)
        number = Decimal((random.random() < 0.5, (random.randint(1, 9), *self._digits(digits - 1)), 1 - digits))
        first = random.randint(-130, 125) if chance < 0.85 else random.randint(-20, 22)
        number = number.scaleb(first)
        return format(number, "f") if chance > 0.75 else f"{number:E}"

    def _digits(self, count: int) -> list[int]:
        return [int(letter) for letter in f"{self._random.randrange(10**count):0{count}}"] if count else []

    def _base64(self) -> str:
        return b64encode(self._random.randbytes(self._random.choice((0, 1, 2, 3, 4, 30, 31, 32, 33)))).decode()

    def _shuffled(self, members: Item) -> Item:
        names = list(members)
        self._random.shuffle(names)
        return {name: members[name] for name in names}

    def _odd(self, value: Any) -> str:
        match value:
            case dict():
                members = (
                    f"{self._quoted(name)}{self._space()}:{self._space()}{self._odd(member)}"
                    for name, member in self._shuffled(value).items()
                )
                return f"{{{self._space()}{f'{self._space()},{self._space()}'.join(members)}{self._space()}}}"
            case list():
                elements = f"{self._space()},".join(map(self._odd, value))
                return f"[{self._space()}{elements}]"
            case bool():
                return "true" if value else "false"
            case _:
                return self._quoted(value)

    def _space(self) -> str:
        return "" if self._random.random() < 0.8 else self._random.choice((" ", "\t", "  ", "\r", " \r "))

    def _quoted(self, text: str) -> str:
        chance = self._random.random()
        if chance < 0.6 or len(text) > 1_000:
            return dumps(text, ensure_ascii=chance < 0.3)
        return f'"{"".join(map(self._letter, text))}"'

    def _letter(self, letter: str) -> str:
        if self._random.random() < 0.7:
            return "\\/" if letter == "/" else dumps(letter, ensure_ascii=False)[1:-1]
        units = letter.encode("utf-16-be")
        escapes = "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
        return escapes if self._random.random() < 0.5 else escapes.upper().replace("\\U", "\\u")
