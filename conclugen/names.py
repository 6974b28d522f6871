"""Rules for the names of classes, speakers, samples and splits: what is one name, and what only looks like one.

Names come from spreadsheets and scripts, where one class becomes `anger`, `anger ` and `Anger`. White space around a
name, and the way in which its accents are composed, say nothing: :func:`tidy` removes both. Names that still differ,
though only in case, width, invisible characters or a number's zeros, look alike. Nobody can tell whether they are one
class. So they are refused, or merged if the user says so. Merging them without a word was rejected: `us` and `US` may
be two classes.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

__all__ = [
    "FEWEST_CLASSES",
    "MISSING",
    "class_problems",
    "classes_of",
    "look_alikes",
    "merges_shown",
    "name_problem",
    "single_key",
    "tidy",
]

FEWEST_CLASSES = 2
_LONGEST = 200
"""Most characters of a name; longer ones are texts that were given as labels by mistake."""
_EDGES = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters that nobody sees, which mean nothing at the edge of a name."""
MISSING = ("", "nan", "<na>", "nat", "null", "n/a", "#n/a")
"""What programs write for a missing value, in lower case; `none` may be a class, `None` is Python's."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)\Z", re.ASCII)


def tidy(name: str) -> str:
    """Return ``name`` in Unicode's composed form (NFC), without white space and invisible characters around it."""
    name, former = unicodedata.normalize("NFC", name), None
    while name != former:  # one kind may lie within the other
        former, name = name, name.strip().strip(_EDGES)
    return name


def name_problem(name: str) -> str | None:
    """Return what is wrong with a name by itself, or None."""
    if tidy(name).lower() in MISSING or tidy(name) == "None":
        return f"{name!r} stands for a missing value"
    if len(name) > _LONGEST:
        return f"{name[:20]!r}... has {len(name):,} characters, more than {_LONGEST}"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        return f"{name!r} holds a line break or another control character"
    if name != tidy(name):
        return f"{name!r} has white space around it, or letters that are not composed (Unicode's NFC)"
    return None


def single_key(name: str) -> str:
    """Return the same text for all names that look alike."""
    visible = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) not in ("Cf", "Cc"))
    text = unicodedata.normalize("NFKC", " ".join(visible.split()).casefold())
    return str(Fraction(text)) if _NUMBER.match(text) else text  # exact: a float holds 15 digits, identifiers have more


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that look alike, each sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(single_key(name), set()).add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def class_problems(classes: Sequence[str], what: str) -> list[str]:
    """Return what is wrong with a list of classes that users gave; ``what`` names the list in messages."""
    problems = [f"{what}: {problem}; give it a name." for name in classes if (problem := name_problem(name))]
    if repeated := sorted({name for name in classes if classes.count(name) > 1}):
        problems.append(f"{what}: {_shown(repeated)} is given more than once; name a class once.")
    if len(classes) < FEWEST_CLASSES:
        problems.append(
            f"{what}: {_shown(classes) or 'none'} is too few; there must be {FEWEST_CLASSES} classes or more."
        )
    problems += [f"{what}: {_shown(group)} look alike; rename all but one." for group in look_alikes(classes)]
    return problems


def classes_of(
    counts: Mapping[str, int], problems: list[str], *, classes: Sequence[str] | None = None, merge: bool = False
) -> dict[str, str]:
    """Return the class that each label means.

    A label means the class in ``classes`` that it looks like, or else the most frequent label that looks like it. A
    label that is none of ``classes`` means itself.

    Args:
        counts: tidy label -> number of its rows.
        problems: list to which a message is appended for each problem of the labels.
        classes: the classes, if they are given; None if they follow from the labels.
        merge: whether labels that look alike are merged; otherwise each group of them is a problem.
    """
    problems += [
        f"labels: {problem} (in {count:,}); leave these rows out, or name their class."
        for name, count in sorted(counts.items())
        if (problem := name_problem(name))
    ]
    class_of = {single_key(name): name for name in reversed(classes or ())}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        class_of.setdefault(single_key(name), name)
    meaning = {name: class_of[single_key(name)] for name in counts}
    if not merge:
        problems += [
            f"labels: {_shown(group, counts)} look alike; make them one class by --merge-labels, or rename them."
            for group in look_alikes([*counts, *(classes or ())])
            if any(meaning[name] != name for name in group if name in counts)
        ]
    if classes is None and counts and len(set(meaning.values())) < FEWEST_CLASSES:
        problems.append(
            f"labels: all rows are of one class, {_shown(set(meaning.values()))}; "
            f"give {FEWEST_CLASSES} classes or more, or no labels."
        )
    return meaning


def merges_shown(class_of: Mapping[str, str], counts: Mapping[str, int]) -> list[str]:
    """Return a sentence for each class that labels of other spellings were merged into."""
    others: dict[str, list[str]] = {}
    for name, chosen in class_of.items():
        if name != chosen:
            others.setdefault(chosen, []).append(name)
    return [f"{_shown(sorted(names), counts)} became {chosen!r}." for chosen, names in sorted(others.items())]


def _shown(names: Iterable[str], counts: Mapping[str, int] | None = None) -> str:
    """Return names for a message, each with its count; invisible characters are written as escapes."""
    return ", ".join(repr(name) + (f" ({counts.get(name, 0):,})" if counts is not None else "") for name in names)
