"""How many rows of a set lack which modalities, as its manifest counts them.

A shard's ``lacking`` is: modalities joined by ``+``, such as ``audio+text`` -> number of the rows that lack just these.
The masks of single rows are in :mod:`conclugen.features.masks`. This module loads no NumPy, as manifests are read by
every command.
"""

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["lacking_problems", "rows_by_modalities"]


def rows_by_modalities(modalities: Sequence[str], rows: int, lacking: Mapping[str, int]) -> dict[str, int]:
    """Return the modalities that rows have, joined by ``+`` -> number of such rows; complete rows come first.

    Args:
        modalities: all modalities of the set, in their order.
        rows: number of rows in all; the counts add up to it.
        lacking: see above.
    """
    complete = "+".join(modalities)
    counts = {complete: rows - sum(lacking.values())}
    for absent, number in sorted(lacking.items(), key=lambda item: (-item[1], item[0])):
        counts["+".join(name for name in modalities if name not in absent.split("+"))] = number
    return {names: number for names, number in counts.items() if number}


def lacking_problems(modalities: Sequence[str], rows: int, lacking: Mapping[str, int]) -> Iterator[str]:
    """Yield what is impossible in the counts of a shard with so many rows."""
    for key in lacking:
        absent = key.split("+")
        if absent != [name for name in modalities if name in absent] or len(absent) == len(modalities):
            yield f"rows cannot lack {key}; modalities are {', '.join(modalities)}"
    if sum(lacking.values()) > rows:
        yield "more rows have gaps than there are"
