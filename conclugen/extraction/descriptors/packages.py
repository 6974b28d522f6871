"""Find the packages that descriptors use: whether they are installed, and in which version."""

import importlib.metadata
from importlib import import_module
from importlib.util import find_spec

__all__ = ["missing_packages", "package_version"]

_MODULES = {"opencv-python-headless": "cv2", "scikit-image": "skimage", "scikit-learn": "sklearn", "pillow": "PIL"}
"""Name on PyPI -> the module that it provides, where the two differ."""


def missing_packages(packages: tuple[str, ...]) -> list[str]:
    """Return the packages whose module cannot be imported; OpenCV may come from any of its packages."""
    return [name for name in packages if find_spec(_MODULES.get(name, name)) is None]


def package_version(package: str) -> str:
    """Return the version of an installed package, or of the module that another package provides in its place.

    Raises:
        ImportError: it is not installed.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(import_module(_MODULES.get(package, package)).__version__)
