"""Where a sweep's Optuna studies are kept: a journal file in its folder, or a database that the configuration names.

Hides which of the two it is. A journal is the default because it is a plain file that several processes may read while
one writes, also on NFS, where SQLite's locks cannot be trusted.
"""

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from sqlalchemy.exc import SQLAlchemyError

from sweeps.config import ConfigError, SweepConfig
from sweeps.plan import SweepFolder
from sweeps.settings import with_environment

__all__ = ["existing_storage", "open_storage"]


def open_storage(config: SweepConfig, folder: SweepFolder) -> BaseStorage:
    """Open the storage of a sweep's studies, making it where there is none.

    Raises:
        ConfigError: the database cannot be opened, or the environment lacks a variable of its URL.
    """
    return _open(config, folder)


def existing_storage(config: SweepConfig, folder: SweepFolder) -> BaseStorage:
    """Open the storage of a sweep's studies to read them: what is missing is not made.

    Raises:
        ConfigError: as :func:`open_storage`, or there is no journal.
    """
    if config.storage is None and not folder.journal.is_file():
        raise ConfigError([f"{folder.root}: holds no studies yet ({folder.journal.name} is missing); try again later."])
    return _open(config, folder, skip_table_creation=True)


def _open(config: SweepConfig, folder: SweepFolder, *, skip_table_creation: bool = False) -> BaseStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if config.storage is None:
        return JournalStorage(JournalFileBackend(str(folder.journal)))
    url = with_environment("storage", config.storage)
    try:
        return RDBStorage(url, skip_table_creation=skip_table_creation)
    except (SQLAlchemyError, ImportError, RuntimeError) as error:  # the last: made by another version of Optuna
        raise ConfigError([f"storage: {config.storage} cannot be opened: {error}"]) from None
