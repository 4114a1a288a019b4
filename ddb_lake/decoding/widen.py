"""How a schema grows: columns are added at the end, and none that is there ever changes."""

from collections.abc import Mapping

from ddb_lake.decoding import names
from ddb_lake.decoding.attributes import ARM_OF_TYPE, NUMBER_ARMS, Arm, arm_order
from ddb_lake.decoding.schema import Column, ItemSchema
from ddb_lake.keys import KeyAttribute, KeyRole


def widen(schema: ItemSchema, seen: Mapping[str, set[str]]) -> ItemSchema:
    """Add the columns that an export's values need, and the key's own.

    Args:
        schema: What is known so far.
        seen: For every attribute the arms of its values; for its numbers the narrowest arm of each.

    Returns:
        The columns there were, then the new ones: those of the key, then by attribute name and arm. It is
        the same whatever order the values came in.
    """
    needed = {attribute: _with_home(schema, attribute, arms) for attribute, arms in seen.items()}
    for key in schema.stored_key:
        needed.setdefault(key.name, set()).add(_declared(schema, key, needed.get(key.name, set())))

    stems = {column.attribute: names.stem_of(column.name, column.arm) for column in schema.columns}
    taken = {names.fold(stem) for stem in stems.values()}
    used = {column.name for column in schema.columns}
    columns = list(schema.columns)
    roles: dict[str, KeyRole] = {key.name: key.role for key in schema.key}
    for attribute in (*roles, *sorted(needed.keys() - roles.keys())):
        if attribute not in stems:
            stems[attribute] = names.stem(attribute, taken)
            taken.add(names.fold(stems[attribute]))
        stem = stems[attribute]
        wanted = schema.rule_of(attribute).wanted_arms
        for arm in sorted(needed[attribute], key=lambda arm: (arm not in wanted, arm_order(arm))):
            if (attribute, arm) not in schema.by_arm:
                name = names.companion(stem, arm) if arm == Arm.NULL or stem in used else stem
                used.add(name)
                columns.append(Column(name, attribute, arm, roles.get(attribute)))
    return ItemSchema(schema.key, tuple(columns), schema.rules)


def _with_home(schema: ItemSchema, attribute: str, arms: set[str]) -> set[str]:
    """Replace the narrowest arms of numbers by those that they go to: the home, or what is wider than it."""
    numbers = [arm for arm in NUMBER_ARMS if arm in arms]
    if not numbers:
        return arms
    home = schema.number_home(attribute) or numbers[-1]
    wider = NUMBER_ARMS[NUMBER_ARMS.index(home) :]
    return (arms - set(NUMBER_ARMS)) | {arm if arm in wider else home for arm in numbers}


def _declared(schema: ItemSchema, key: KeyAttribute, arms: set[str]) -> Arm:
    """Return the arm that a key attribute has a column for even if no item is there."""
    if key.type != "N":
        return ARM_OF_TYPE[key.type]
    home = schema.number_home(key.name)
    return home or next((arm for arm in NUMBER_ARMS if arm in arms), Arm.INT64)
