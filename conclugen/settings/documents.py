"""Reads and writes settings as YAML, by the core schema of YAML 1.2.

PyYAML finds the structure, but its values follow YAML 1.1: ``1:30`` is 90, ``010`` is 8, ``no`` is false, and of two
equal keys the last one wins. Here a value is what it looks like, or it is refused with what to write instead:

* ``true`` and ``false`` are the only truth values, ``1e-3`` is a number, and a date is a word;
* what YAML 1.1 and 1.2 read differently (``1:30``, ``010``, ``1_000``, ``yes``) is refused outside quotes;
* a key is a word, is there once, and cannot be ``<<``.

ruamel.yaml reads YAML 1.2, too. It was rejected: it stops at the first equal key, still reads ``1_000`` as 1000, and
takes ``1:30`` for a word without a message.
"""

import math
import re
from typing import Any, Protocol

import yaml

__all__ = ["DocumentError", "UnreadableError", "dump", "parse", "plain_value", "read_settings"]

_PLAIN = "plain"
_TEXT = "tag:yaml.org,2002:str"
_NULLS = ("", "~", "null", "Null", "NULL")
_TRUTH = {"true": True, "false": False}
_FORMER_TRUTH = ("yes", "no", "on", "off")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FOREIGN_BLANK = re.compile(r"^[ \t]*([^\S \t\r\n])", re.MULTILINE)
_REMEDIES = {
    "'\\t'": "a tab cannot indent, use spaces",
    "mapping values are not allowed": "put a blank after each colon, also in the line above, and indent settings alike",
    "could not find expected ':'": "put a blank after each colon",
    "expected ',' or": "close each bracket and quote, and put words with brackets or braces in quotes",
    "cannot start any token": "put the word in quotes",
    "end of stream": "close the quote",
    "another document": "keep one, without a line ---",
}
"""Words of PyYAML -> remedy."""
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_GROUPED = re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")


class DocumentError(ValueError):
    """A text is not the YAML that this program reads; ``problems`` holds one message per problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnreadableError(DocumentError):
    """There is no such file, or it may not be read."""


class _File(Protocol):
    """A file on disk, or one inside a package."""

    def read_bytes(self) -> bytes: ...


def read_settings(file: _File) -> dict[str, Any]:
    """Read the settings of a YAML file in UTF-8.

    Raises:
        UnreadableError: the file cannot be read.
        DocumentError: the file holds no settings, or for a reason that :func:`parse` names.
    """
    try:
        content = file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UnreadableError([f"cannot be read: {getattr(error, 'strerror', None) or error}."]) from None
    try:
        document = parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            [f"line {line}: is no text in UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8."]
        ) from None
    if not isinstance(document, dict):
        held = "is empty" if document is None else f"holds a {'list' if isinstance(document, list) else 'single value'}"
        raise DocumentError([f"{held}; it must have settings, each a line `name: value`."])
    return document


def parse(text: str, *, lines: bool = True) -> Any:
    """Return the document that ``text`` holds: mappings with words as keys, lists, and plain values.

    Args:
        text: YAML.
        lines: name the lines in messages; without it, the text is a single value.

    Raises:
        DocumentError: with every problem, or the first one if the text is no YAML at all.
    """
    reader = _Reader(lines)
    try:
        node = _Loader(text).get_single_node()
        document = None if node is None else reader.value(node, "")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(f"{error.context or ''} {error.problem}".split())
        begun = error.context_mark if str(error.context).startswith("while") else None
        if lines and mark is not None and begun is not None and begun.line < mark.line:
            reason += f", after line {begun.line + 1}"  # where a quote or bracket was opened
        where = f"line {mark.line + 1}: " if lines and mark is not None else ""
        raise DocumentError([f"{where}cannot be read as YAML: {reason}{_remedy(text, str(error.problem))}."]) from None
    except yaml.YAMLError as error:  # a letter that no YAML may hold
        reason = " ".join(str(error).split())
        raise DocumentError([f"cannot be read as YAML: {reason}."]) from None
    except RecursionError:
        raise DocumentError(["cannot be read as YAML: lists or mappings are nested too deeply."]) from None
    if reader.problems:
        raise DocumentError(list(dict.fromkeys(reader.problems)))
    return document


def _remedy(text: str, problem: str) -> str:
    """Return how to mend a text that PyYAML refuses for ``problem``; empty if its words say it."""
    if blanks := _FOREIGN_BLANK.search(text):
        line = text.count("\n", 0, blanks.start()) + 1
        return f"; line {line} begins with the blank U+{ord(blanks[1]):04X}: use plain spaces"
    return next((f"; {remedy}" for words, remedy in _REMEDIES.items() if words in problem), "")


def plain_value(text: str) -> bool | int | float | str | None:
    """Return the value of a word without quotes.

    Raises:
        ValueError: YAML 1.1 and 1.2 read it differently, or no number is so large; the message says what to write.
    """
    if text in _NULLS:
        return None
    if (rule := _blank_rule(text)) is not None:
        raise ValueError(rule)
    if text in (text.lower(), text.capitalize(), text.upper()) and text.lower() in (*_TRUTH, *_SPECIAL):
        lower = text.lower()
        return _TRUTH[lower] if lower in _TRUTH else _SPECIAL[lower]
    if text.lower() in _FORMER_TRUTH:
        truth = "true" if text.lower() in ("yes", "on") else "false"
        raise ValueError(f"is {truth} or a word; write {truth}, or '{text}' in quotes.")
    if _GROUPED.fullmatch(text):
        raise ValueError(f"is a number or a word; write {text.replace('_', '')}, or '{text}' in quotes.")
    if _SEXAGESIMAL.fullmatch(text):
        raise ValueError(f"is a time, a number to base 60 or a word; write one number, or '{text}' in quotes.")
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        raise ValueError(f"is a number to base 8 or to base 10; write {int(text)}, or '{text}' in quotes.")
    if match := re.fullmatch(r"([-+]?)0([box])([0-9a-fA-F]+)", text):
        base = {"b": 2, "o": 8, "x": 16}[match[2]]
        try:
            number = int(match[1] + match[3], base)
        except ValueError:
            return text
        raise ValueError(f"is a number to base {base} or a word; write {number}, or '{text}' in quotes.")
    if _INTEGER.fullmatch(text):
        if len(text) > 400:
            raise ValueError("is a number of more than 400 digits; write a smaller one.")
        return int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
            raise ValueError(f"would be stored as {value}; write a number between 1e-300 and 1e300.")
        return value
    return text


def _blank_rule(word: str) -> str | None:
    """Return the rule that a word without quotes breaks if it begins or ends with a blank that is no space."""
    if word == word.strip():
        return None
    blank = word[0] if word[0].isspace() else word[-1]
    return f"begins or ends with the blank U+{ord(blank):04X}, which is no space; delete it."


def dump(document: Any) -> str:
    """Return ``document`` as YAML that :func:`parse` reads as the same document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """A dumper that puts words in quotes that :func:`plain_value` does not read as themselves."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = plain_value(text) == text
    except ValueError:
        plain = False
    return dumper.represent_scalar(_TEXT, text, style=None if plain else "'")


_Dumper.add_representer(str, _represent_text)


class _Loader(yaml.SafeLoader):
    """A loader that finds structure and leaves plain words to :func:`plain_value`."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # not in types-pyyaml


class _Reader:
    """Turns nodes into values, and collects every problem on the way."""

    def __init__(self, lines: bool) -> None:
        self.problems: list[str] = []
        self._lines = lines
        self._values: dict[int, Any] = {}  # aliases share nodes
        self._open: set[int] = set()

    def value(self, node: yaml.Node, field: str) -> Any:
        """Return the value of ``node``, which lies at ``field``."""
        if id(node) in self._open:
            self._refuse(node, field, "contains itself; write it out.")
            return None
        if id(node) not in self._values:
            self._open.add(id(node))
            self._values[id(node)] = self._new_value(node, field)
            self._open.remove(id(node))
        return self._values[id(node)]

    def _new_value(self, node: yaml.Node, field: str) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in (_PLAIN, _TEXT):
            return self._scalar(node, field)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, _below(field, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, field)
        self._refuse(node, field, f"has the tag {node.tag}; leave it out.")
        return None

    def _scalar(self, node: yaml.ScalarNode, field: str) -> Any:
        if node.tag == _TEXT:
            return node.value
        try:
            return plain_value(node.value)
        except ValueError as error:
            value = node.value if len(node.value) <= 40 else f"{node.value[:40]}..."
            self._refuse(node, _below(field, value, separator=": ") if field else value, str(error))
            return None

    def _mapping(self, node: yaml.MappingNode, field: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if (key := self._key(key_node, field)) is None:
                continue
            line = key_node.start_mark.line + 1
            name, _, rest = key.partition(":")
            if name and rest and key_node.tag == _PLAIN and value_node.start_mark.index == key_node.end_mark.index:
                self._refuse(key_node, _below(field, key), f"lacks a blank after the colon; write {name}: {rest}.")
                continue
            if key in first_lines:
                also = f" (lines {first_lines[key]} and {line})" if self._lines else ""
                self._refuse(key_node, _below(field, key), f"is given twice{also}; keep one, or join the two.")
                continue
            first_lines[key] = line
            values[key] = self.value(value_node, _below(field, key))
        return values

    def _key(self, node: yaml.Node, field: str) -> str | None:
        """Return a key as written; every setting's name is a word, also ``NO`` and ``2024``."""
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_PLAIN, _TEXT):
            self._refuse(node, field, "has a key that is no word; give each setting a name.")
        elif node.tag == _PLAIN and node.value in _NULLS:
            self._refuse(node, field, "has a setting without a name; write the name before the colon.")
        elif node.tag == _PLAIN and node.value == "<<":
            self._refuse(node, field, "merges mappings by <<, which YAML 1.2 does not know; write the settings out.")
        elif node.tag == _PLAIN and (rule := _blank_rule(node.value)) is not None:
            self._refuse(node, _below(field, node.value.strip()), rule)
        else:
            return str(node.value)
        return None

    def _refuse(self, node: yaml.Node, field: str, rule: str) -> None:
        where = f"line {node.start_mark.line + 1}: " if self._lines else ""
        self.problems.append(f"{where}{field}: {rule}" if field else f"{where}{rule}")


def _below(field: str, name: object, separator: str = ".") -> str:
    return f"{field}{separator}{name}" if field else str(name)
