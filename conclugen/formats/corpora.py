"""``label.npz`` of MERTools and MERBench: pickled dictionaries of corpora, each clip -> its labels.

``train_corpus``, ``val_corpus``, ``test1_corpus`` and so on hold ``{clip: {"emo": "happy", "val": 0.3}}``. The features
lie beside them, an .npy file for each clip (see :mod:`conclugen.formats.clips`). In some files a corpus is a list of
such dictionaries, one for each session; its number is the column ``session``.

Source: zeroQiaoba/MERTools, ``MERBench/toolkit/dataloader``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from conclugen.formats.content import Source
from conclugen.formats.options import Options
from conclugen.formats.roles import clip_ids, role_of
from conclugen.formats.table import Table, value_column

__all__ = ["CORPORA"]


class _Corpora:
    """Dictionaries of labels by clip, by corpus."""

    name = "merbench"
    meaning = "dictionaries of labels by clip, such as train_corpus, beside features of MERTools"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        corpora = _corpora(source.tree)
        keys = dict.fromkeys(key for _, _, labels in corpora for each in labels.values() for key in each)
        return (
            f"{', '.join(dict.fromkeys(name for name, _, _ in corpora))}, with {', '.join(keys)} by clip"
            if keys
            else None
        )

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return a table of labels for each corpus."""
        tables = []
        for name, session, labels in _corpora(source.tree):
            keys = dict.fromkeys(key for each in labels.values() for key in each)
            columns = {
                key: value_column(key, [_value(each.get(key)) for each in labels.values()], role=role_of(key))
                for key in keys
            }
            columns["split"] = value_column("split", [name] * len(labels), role="split")
            if session is not None:
                columns["session"] = value_column("session", [session] * len(labels))
            tables.append(
                Table(
                    name=source.name,
                    ids=clip_ids([str(clip) for clip in labels]),
                    columns=columns,
                    blocks=lambda _: iter(()),
                )
            )
        return tables


CORPORA = _Corpora()


def _corpora(tree: Any) -> list[tuple[str, int | None, Mapping[Any, Mapping[str, Any]]]]:
    """Return name, number of the session, and labels by clip, of each corpus; none if it is something else."""
    if not isinstance(tree, Mapping):
        return []
    corpora = []
    for name, content in tree.items():
        for session, labels in _sessions(content):
            if not isinstance(labels, Mapping) or not labels:
                return []
            if not all(isinstance(each, Mapping) and all(map(_is_value, each.values())) for each in labels.values()):
                return []
            corpora.append((str(name), session, labels))
    return corpora


def _sessions(content: Any) -> Iterator[tuple[int | None, Any]]:
    if isinstance(content, list | np.ndarray):
        yield from enumerate(content)
    else:
        yield None, content


def _is_value(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | np.generic)


def _value(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
