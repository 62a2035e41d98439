"""Files that are whole or absent: atomic writes, locks, and manifests that refuse to mix two jobs.

Nothing here knows about ranking. Everything long-running in the package writes through these few functions, so that a
process killed at any moment leaves either the old file or the new one, never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_write(path: str | Path, *, scratch: str | Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing that appears under its name only when it is complete and on the disk.

    Args:
        path: The name that the file gets at the end; an older file of that name is replaced.
        scratch: Folder for the temporary file, on the same file system. Defaults to the folder of `path`.

    Raises:
        OSError: The file cannot be written. A full disk is named as such; the temporary file is removed either way.

    Example:
        >>> with atomic_write("out.txt") as file:
        ...     file.write(b"whole or absent")
    """
    path = Path(path)
    temporary = Path(scratch or path.parent) / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        if error.errno in DISK_FULL:
            message = f"no space left on the disk while writing {path}; free some and run the same command again"
            raise OSError(error.errno, f"{message}: what was finished is kept") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: str | Path) -> None:
    """Remove what `atomic_write` left in a folder when its process was killed; for who alone writes there."""
    for abandoned in Path(folder).glob(".*.tmp"):
        abandoned.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable: without this a power cut may undo it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writable_folder(folder: str | Path) -> Path:
    """Make a folder and check that files can be written in it, before any long work starts.

    Raises:
        OSError: It cannot be made or written; the message names it.
    """
    folder = Path(folder)
    probe = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write in the folder {folder} ({error.strerror}); choose another --output"
        ) from error
    return folder


def refuse_existing(folder: str | Path) -> None:
    """Raise FileExistsError if there is something under that name already, unless it is an empty folder."""
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already, and is not overwritten: name another --output, or delete it")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to fill, which appears under its name only when the block is done; nothing is left if it fails.

    Args:
        path: The folder to make; there must be nothing but an empty folder.

    Raises:
        FileExistsError: There is something.
        OSError: It cannot be written.

    Example:
        >>> with new_folder("copy") as folder:
        ...     (folder / "one.txt").write_text("whole or absent")
    """
    path = Path(path).absolute()
    refuse_existing(path)
    writable_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as workshop:
        unfinished = Path(workshop) / path.name  # so that what reads its own name sees the one that it will have
        unfinished.mkdir()
        yield unfinished
        os.replace(unfinished, path)


@contextmanager
def renewed_folder(path: str | Path) -> Iterator[Path]:
    """Like `new_folder`, but it takes the place of what is there, which stays if the block fails.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path).absolute()
    writable_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as workshop:
        unfinished = Path(workshop) / path.name
        unfinished.mkdir()
        yield unfinished
        if path.exists():
            os.replace(path, Path(workshop) / "before")
        os.replace(unfinished, path)


@contextmanager
def locked(path: str | Path, *, shared: bool = False, busy: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the kernel releases it when the process ends, however it ends.

    Args:
        path: The lock file; it is made if need be and stays afterwards.
        shared: Whether other shared holders are welcome; an exclusive lock tolerates none.
        busy: The error message if another process holds the lock.

    Raises:
        BlockingIOError: Another process holds the lock. There is no waiting.
    """
    import fcntl  # POSIX only, so not at the top: reading and writing runs must work everywhere

    with open(path, "a") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(busy) from error
        yield


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        ValueError: It holds NaN or an infinity, which JSON doesn't know.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f"{text}\n".encode())


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically, and readable by whom the umask lets (unlike safetensors' own files)."""
    from safetensors.torch import save

    with atomic_write(path) as file:
        file.write(save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: The file is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it to start over") from error


def refuse_other_job(there: Mapping[str, Any], here: Mapping[str, Any], *, place: str | Path, remedy: str) -> None:
    """Raise unless two jobs are the same, saying in which of their settings they differ.

    Args:
        there: Settings of the job that `place` belongs to, by readable names.
        here: Settings of the job that wants to use it.
        place: The file or folder that both want.
        remedy: What the reader can do to start over.

    Raises:
        ValueError: The settings differ.

    Example:
        >>> refuse_other_job({"budget": "50%"}, {"budget": "25%"}, place="out.trec", remedy="choose another --output")
        Traceback (most recent call last):
        ValueError: out.trec belongs to another job (budget: '50%' there, '25%' here); ...
    """
    names = [*here, *(name for name in there if name not in here)]
    differing = [name for name in names if there.get(name) != here.get(name)]
    if differing:
        listed = "; ".join(f"{name}: {there.get(name)!r} there, {here.get(name)!r} here" for name in differing)
        raise ValueError(f"{place} belongs to another job ({listed}); use the same settings as before, or {remedy}")


def sha256(*chunks: bytes | str) -> str:
    """Hash of a sequence of strings, 64 hexadecimal digits; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for chunk in chunks:
        data = chunk.encode() if isinstance(chunk, str) else chunk
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hash of a file's content, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def is_path(text: str) -> bool:
    """Does a text name a file or folder of this machine, rather than something known elsewhere too?"""
    return text.startswith((".", "/", "~")) or os.path.exists(text)


def public_name(text: str) -> str:
    """A name without the folders of the machine that it comes from.

    Example:
        >>> public_name("/home/me/msmarco"), public_name("irds:msmarco-passage/dev/small")
        ('msmarco', 'irds:msmarco-passage/dev/small')
    """
    return Path(text).name if not text.startswith("irds:") and is_path(text) else text
