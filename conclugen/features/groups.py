"""Groups of samples that go together: those of one speaker, dialogue or video.

Samples of one group are not independent of each other. So scores vary with the groups of the test split (docs/
statistics.md), and a group that lies in training and test alike is leakage. A set may have several kinds of groups.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from conclugen.features.arrays import remedy_of, texts
from conclugen.features.manifest import MODALITY_NAME, SPEAKER, Manifest, SplitName
from conclugen.features.npz import Array
from conclugen.names import look_alikes, name_problem, tidy

__all__ = ["group_columns", "group_counts", "name_problems"]


def name_problems(names: Collection[str]) -> list[str]:
    """Return a message for each name that groups of a set cannot have."""
    problems = [
        f"groups {name!r}: rename them; names start with a letter, hold only letters, digits and underscores "
        "(A-Z, a-z, 0-9, _), and are not sample_id, augmentation or label."
        for name in names
        if name != SPEAKER and not re.fullmatch(MODALITY_NAME, name)
    ]
    return problems + [f"groups {', '.join(alike)}: look alike; rename all but one." for alike in look_alikes(names)]


def group_columns(groups: Mapping[str, Array], n: int, problems: list[str]) -> dict[str, list[str]]:
    """Return name -> the groups of n samples, as a feature set stores them; messages are appended to ``problems``.

    Args:
        groups: name, such as speaker or video -> (n,) integers or strings.
        n: number of samples.
        problems: list for a message about each name and each array that a set cannot have.
    """
    problems += name_problems(groups)
    columns = {}
    for name, given in groups.items():
        what, option = ("speakers", "--speakers") if name == SPEAKER else (f"groups {name!r}", f"--groups {name}")
        array = texts(what, given, problems)
        if array.shape != (n,) or array.dtype.kind not in "iuU":
            remedy = remedy_of("speakers" if name == SPEAKER else name, array, n)
            problems.append(f"{what}: expected {n} integers or strings, got {array.dtype} {array.shape}{remedy}.")
            continue
        columns[name] = [tidy(str(value)) for value in array]
        problems += [
            f"{what}: {problem} (in {count:,}); name every {name}, or leave {option} out."
            for value, count in sorted(Counter(columns[name]).items())
            if (problem := name_problem(value))
        ]
    return columns


def group_counts(folder: Path) -> dict[str, dict[SplitName, int]]:
    """Return name -> split or fold -> number of its groups; under ``all``, the number of groups of the whole set.

    Raises:
        FeatureSetError: the set cannot be read.
    """
    if not Manifest.read(folder).groupings:
        return {}
    from conclugen.features.shards import FeatureSet  # loads torch, which sets without groups do not need

    features = FeatureSet(folder)
    members: dict[str, dict[SplitName, set[str]]] = {}
    for shard in features.manifest.shards:
        for name, groups in features.shard(shard).groups.items():
            for split in ("all", shard.split):
                members.setdefault(name, {}).setdefault(split, set()).update(groups)
    return {name: {split: len(groups) for split, groups in by_split.items()} for name, by_split in members.items()}
