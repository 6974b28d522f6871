"""What is wrong with settings, in plain words: the field, its value, what is allowed, and how to mend it.

pydantic finds the problems. Its own words name types of Python ("a valid tuple") and neither the value nor the remedy.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

__all__ = ["alternatives", "nearest", "problems_of", "rule_of", "shown", "suggestion"]

_LONGEST = 80
_BRANCH = re.compile(r"literal\[.*\]|(constrained-)?(int|str|float)|function-.*|lax-or-strict.*|\[key\]")
_OPTIONAL = "; give a value, or leave the line out."
_SECTION = "must have settings of its own, each a line `name: value`"
_RULES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": _SECTION,
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "frozen_set_type": "must be a list",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 18 digits",
    "int_type": "must be a whole number",
    "json_invalid": "must be JSON: {error}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "mapping_type": _SECTION,
    "model_attributes_type": _SECTION,
    "model_type": _SECTION,
    "path_type": "must be a path",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_long": "must have at most {max_length} letters",
    "string_too_short": "must not be empty",
    "string_type": "must be a word",
    "string_unicode": "must be a word",
    "too_short": "needs at least {min_length} of them",
    "tuple_type": "must be a list",
}
"""pydantic's kind of error -> the rule that was broken."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that ``name`` is most likely a misspelling of; None if none is near."""
    names = {candidate.lower(): candidate for candidate in allowed}
    matches = difflib.get_close_matches(name.lower(), names, n=1)
    return names[matches[0]] if matches else None


def suggestion(name: object, allowed: Iterable[str]) -> str:
    """Return a question that names the nearest allowed name, such as `` Did you mean tpe?``; empty without one."""
    near = nearest(name, allowed) if isinstance(name, str) else None
    return "" if near is None else f" Did you mean {near}?"


def alternatives(names: Iterable[object]) -> str:
    """Return names as a list with ``or`` before the last one."""
    *others, last = map(str, names)
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: object) -> str:
    """Return a value as YAML has it, on one line and not too long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one message per wrong field, each ``field: value: rule and remedy``.

    An exception that a validator raised may have several ``problems``: each of them becomes a message of its own.

    Args:
        error: what pydantic found.
        model: the model that was validated, whose fields are the allowed names.
    """
    messages: list[str] = []
    rules: dict[tuple[str, str], list[str]] = {}
    for details in error.errors():
        if details["type"] == "too_short" and _complete(details):
            continue  # its entries are wrong, and each has a message of its own
        # The location also names the branch of a union, such as literal['auto'] or constrained-int.
        field = ".".join(part for part in map(str, details["loc"]) if not _BRANCH.fullmatch(part))
        for value, rule in _problems(details, model):
            if value and rule.startswith("must be ") and (field, value) in rules:  # another branch of a union
                messages.remove(_message(field, value, rules[field, value]))
            elif value:
                rules[field, value] = []
            parts = rules.get((field, value), []) if value else []
            parts.append(rule)
            messages.append(_message(field, value, parts))
    return messages


def _complete(details: Any) -> bool:
    """Return whether a value has enough entries, of which some are wrong."""
    given = details["input"]
    return isinstance(given, dict | list) and len(given) >= details["ctx"]["min_length"]


def _message(field: str, value: str, rules: list[str]) -> str:
    """Return the message of one value; the rules of a union's branches become one."""
    rule = rules[0]
    if len(rules) > 1:
        rule = f"must be {alternatives(dict.fromkeys(rule.removeprefix('must be ').rstrip('.') for rule in rules))}."
    return ": ".join(filter(None, (field, value, rule)))


def _problems(details: Any, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the value and the rule of each problem in one of pydantic's errors; the value is empty if not shown."""
    cause = (details.get("ctx") or {}).get("error")
    if cause is not None and type(cause) is not ValueError:
        for problem in getattr(cause, "problems", [str(cause)]):
            yield "", problem
    elif details["type"] == "missing":
        yield "", _missing(details["loc"], model)
    elif details["type"] == "extra_forbidden":
        yield "", _unknown(details["loc"], model)
    else:
        for rule in rule_of(details).splitlines():
            yield shown(details["input"]), _fitting(rule, details["loc"], model)


def _fitting(rule: str, location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return a rule that fits its place: a required setting stays, and a section says which settings it has."""
    name = str(location[-1]) if location else ""  # a whole file that is no section has no place
    section = _section(location[:-1], model)
    if (field := section.model_fields.get(name)) is None:
        return rule
    if field.is_required():
        rule = rule.replace(_OPTIONAL, "; give a value.")
    inner = next(_models(field.annotation), None)
    if inner is not None and rule.startswith(f"{_SECTION}.") and get_origin(field.annotation) is not dict:
        rule = f"{_SECTION}; allowed are {', '.join(inner.model_fields)}."
    return rule


def rule_of(details: Any) -> str:
    """Return the rule that one of pydantic's errors names, with a remedy where the value shows what was meant."""
    kind, value, context = details["type"], details["input"], details.get("ctx") or {}
    if kind == "value_error":
        return str(details["msg"].removeprefix("Value error, "))
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]  # a number has no quotes
        return f"must be {alternatives(allowed)}.{suggestion(value, allowed)}"
    if kind not in _RULES:
        return f"{details['msg'][:1].lower()}{details['msg'][1:]}."
    rule = _RULES[kind].format(**{name: _whole(limit) for name, limit in context.items()})
    if value is None:
        return f"{rule}{_OPTIONAL}"
    if kind.startswith("string") and isinstance(value, bool | int | float):
        return f"{rule}; write '{shown(value)}' in quotes."
    written = _number(value) if kind.startswith(("int", "float")) else None
    if written is None or (kind.startswith("int") and not isinstance(written, int)):
        return f"{rule}."
    return f"{rule}; write {written}."


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number(value: object) -> int | float | None:
    """Return the number that a value most likely means: '5', 5.0, '0,5' or '10%'; None if there is none."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    match = re.fullmatch(r"\s*([-+]?\d+)(?:[.,](\d+))?\s*(%?)\s*", value) if isinstance(value, str) else None
    if match is None or len(match[0]) > 18:
        return None
    number = float(f"{match[1]}.{match[2] or 0}") / (100 if match[3] else 1)
    return int(number) if number.is_integer() else number


def _missing(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    field = _section(location[:-1], model).model_fields.get(str(location[-1]))
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"is required{meaning}; add it."


def _unknown(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return the rule for a name that the section lacks: the nearest name there, or the place that has the name."""
    *parents, name = map(str, location)
    section = _section(tuple(parents), model)
    here = list(section.model_fields)
    if (near := nearest(name, here)) is not None:
        return f"is no setting here. Did you mean {near}?"
    elsewhere = [setting for setting in _settings(model) if setting.rpartition(".")[2] == name]
    if elsewhere:
        return f"is no setting here. Did you mean {alternatives(elsewhere)}?"
    return f"is no setting here; allowed are {', '.join(here)}."


def _section(location: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel]:
    """Return the model of the section at ``location``."""
    for part in location:
        if (field := model.model_fields.get(str(part))) is not None:
            model = next(_models(field.annotation), model)
    return model


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of each setting below ``model``."""
    for name, field in model.model_fields.items():
        sections = list(_models(field.annotation))
        yield f"{prefix}{name}"
        for section in sections:
            yield from _settings(section, f"{prefix}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
