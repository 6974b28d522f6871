"""Where the cluster is that an address of ``auto`` means."""

from ray._private.services import canonicalize_bootstrap_address_or_die

__all__ = ["running_here"]


def running_here() -> str:
    """Return HOST:PORT of the cluster that runs on this machine, the one last started here if there are several.

    The cluster may have ended: Ray keeps its address in a file.

    Raises:
        ConnectionError: none was started here.
    """
    return str(canonicalize_bootstrap_address_or_die("auto"))
