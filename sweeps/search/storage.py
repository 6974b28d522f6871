"""The storage of a sweep's Optuna studies: a journal file in its folder, or a database that the configuration names.

This module hides which of the two it is. A journal is the default. It is a plain file that several processes may read
while one writes, also on NFS, where SQLite's locks cannot be trusted.

Each line of the journal carries its checksum. Optuna's own file format was rejected: it applies whatever a damaged line
still parses to, and ignores a damaged last line. Optuna's lock was rejected too: a killed process leaves it behind, and
the next process waits for it. A journal has one writer, the sweep, which holds a lock of its own.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from sweeps.config import ConfigError, SweepConfig
from sweeps.config.fields import with_environment
from sweeps.folder.layout import SweepFolder
from sweeps.search.journal import CheckedJournal, JournalError
from sweeps.search.study_view import IDENTITY_MARK

__all__ = ["existing_storage", "open_storage"]

_STUDY_NAME = re.compile(rf"(?P<sweep>.*)/(?P<arm>.*){IDENTITY_MARK}(?P<identity>[0-9a-f]{{32}})", re.DOTALL)
_SHORT_IDENTITY = 6  # digits that tell sweeps of one name apart, for people


def open_storage(config: SweepConfig, folder: SweepFolder) -> BaseStorage:
    """Open the storage of a sweep's studies; create it where there is none.

    Raises:
        ConfigError: the database cannot be opened, or the environment lacks a variable of its URL.
        JournalError: the journal is damaged; see :func:`sweeps.search.journal.mend_journal`.
    """
    return _journal(folder) if config.storage is None else _database(config.storage, create=True)


def existing_storage(config: SweepConfig, folder: SweepFolder) -> BaseStorage:
    """Open the storage of a sweep's studies for reading, under names for people; create nothing.

    Raises:
        ConfigError: the database cannot be opened, the journal is damaged, or there is no storage.
    """
    if config.storage is not None:
        return _database(config.storage, create=False, kind=_ReadableDatabase)
    if not folder.journal.is_file():
        raise ConfigError([f"{folder.root}: holds no studies ({folder.journal.name} is missing)."])
    try:
        return _journal(folder, kind=_ReadableJournal)
    except JournalError as error:
        raise ConfigError([str(error)]) from None


class _ReadableNames(BaseStorage):
    """Lists studies under names for people: `handwritten Con` for `handwritten/Con@` and 32 digits."""

    def get_all_studies(self) -> list[Any]:
        studies = super().get_all_studies()  # type: ignore[safe-super]  # the class beside this one has it
        parts = [_STUDY_NAME.fullmatch(study.study_name) for study in studies]
        uses = Counter(part["sweep"] + part["arm"] for part in parts if part is not None)
        for study, part in zip(studies, parts, strict=True):
            if part is not None:
                name = f"{part['sweep']} {part['arm']}"
                # A database may hold several sweeps of one name.
                alone = uses[part["sweep"] + part["arm"]] == 1
                study.study_name = name if alone else f"{name} ({part['identity'][:_SHORT_IDENTITY]})"
        return studies


class _ReadableJournal(_ReadableNames, JournalStorage):
    pass


class _ReadableDatabase(_ReadableNames, RDBStorage):
    pass


def _journal(folder: SweepFolder, kind: type[JournalStorage] = JournalStorage) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return kind(CheckedJournal(folder.journal))


def _database(setting: str, *, create: bool, kind: type[RDBStorage] = RDBStorage) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = make_url(with_environment("storage", setting))
    if not create and url.drivername.startswith("sqlite") and not Path(url.database or "").is_file():
        raise ConfigError([f"storage: {setting} does not exist."])  # connecting would create an empty file
    try:
        return kind(url.render_as_string(hide_password=False), skip_table_creation=not create)
    except StorageInternalError:
        raise ConfigError([f"storage: {setting} holds no studies."]) from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:  # RuntimeError: another version of Optuna made it
        raise ConfigError([f"storage: {setting} cannot be opened: {error}"]) from None
