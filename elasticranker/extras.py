"""What to say when a feature needs packages that a plain installation leaves out."""

from __future__ import annotations


def missing(what: str, extra: str, error: ImportError | str) -> ImportError:
    """The error to raise when packages of an extra aren't there.

    Args:
        what: the feature, as users know it.
        extra: its name in pyproject.toml.
        error: what Python said, or the package's name.

    Example:
        >>> missing("serving", "serve", "fastapi")
        ImportError('serving needs fastapi, of the extra serve: pip install -e ".[serve]" in the clone')
    """
    package = error if isinstance(error, str) else error.name or str(error)
    return ImportError(f'{what} needs {package}, of the extra {extra}: pip install -e ".[{extra}]" in the clone')
