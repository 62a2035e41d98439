"""The cache folder, and building things in it exactly once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_dir() -> Path:
    """The folder of what can be made again: indexes, document texts, `python-docs`. It may be deleted at any time.

    `$ELASTICRANKER_CACHE`, or `~/.cache/elasticranker`.
    """
    return Path(os.environ.get("ELASTICRANKER_CACHE") or Path.home() / ".cache" / "elasticranker").expanduser()


def build_once(path: Path, build: Callable[[Path], None]) -> Path:
    """Make the file or folder `path`, unless it is there; `path` never exists half-built.

    Two processes that want the same thing wait for each other, and one that is killed leaves nothing but a
    `.building-` folder beside `path`, which the next one removes.

    Args:
        path: what to make. Its name must change whenever its content would.
        build: writes everything to the path that it is given, which does not exist yet.

    Returns:
        `path`.

    Raises:
        OSError: the folder cannot be written; names it and `ELASTICRANKER_CACHE`.

    Example:
        >>> build_once(cache_dir() / "greeting.txt", lambda path: path.write_text("hello"))  # doctest: +SKIP
    """
    if path.exists():
        return path
    prefix = f"{path.name}.building-"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(
            f"cannot write in the cache folder {path.parent}: {error}; set ELASTICRANKER_CACHE to a writable folder"
        ) from error
    with FileLock(f"{path}.lock"):
        if not path.exists():
            for abandoned in path.parent.glob(f"{prefix}*"):
                shutil.rmtree(abandoned, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=prefix, dir=path.parent) as workshop:
                unfinished = Path(workshop) / path.name
                build(unfinished)
                os.replace(unfinished, path)
    return path
