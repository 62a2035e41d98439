"""Text files, plain or compressed: read line by line, and written by what their name says."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple


class _Form(NamedTuple):
    """A form of compression: its name, how its content begins, and what opens a binary file in a mode ("rb", "wb")."""

    name: str
    mark: bytes
    open: Callable[[IO[bytes], Any], Any]


FORMS = {
    ".gz": _Form("gzip", b"\x1f\x8b", lambda file, mode: gzip.GzipFile("", mode, 6, file, 0)),  # no name, no time
    ".bz2": _Form("bzip2", b"BZh", bz2.BZ2File),
    ".xz": _Form("xz", b"\xfd7zXZ\x00", lzma.LZMAFile),
}
ENDINGS = tuple(FORMS)
FOREIGN = (  # other compressed forms, which would otherwise be taken for text
    *(".7z", ".br", ".lz", ".lz4", ".lzma", ".lzo", ".rar", ".sz", ".tar", ".tbz", ".tbz2", ".tgz", ".txz", ".z"),
    *(".zip", ".zst", ".zstd"),
)


def compression(path: str | Path) -> str:
    """The one of `ENDINGS` that a file's name has; "" for plain text.

    Raises:
        ValueError: The name is one of another compressed form.

    Example:
        >>> compression("bm25.trec.gz"), compression("bm25.trec")
        ('.gz', '')
    """
    ending = Path(path).suffix.lower()
    if ending in FOREIGN:
        raise ValueError(
            f"{path}: {ending} is not a form that is read or written here; use plain text, or {', '.join(ENDINGS)}"
        )
    return ending if ending in ENDINGS else ""


def plain_name(name: str) -> str:
    """The name of a file without the ending of its compression."""
    return next((name[: -len(ending)] for ending in ENDINGS if name.lower().endswith(ending)), name)


def find(path: Path) -> Path | None:
    """The file of that name, or else a compressed one whose name goes on with one of `ENDINGS`; None if there is none.

    Example:
        >>> find(Path("collection/corpus.tsv"))  # doctest: +SKIP
        PosixPath('collection/corpus.tsv.gz')
    """
    named = (path.with_name(path.name + ending) for ending in ("", *ENDINGS))
    return next((candidate for candidate in named if candidate.is_file()), None)


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and the lines of a UTF-8 file, blank ones left out.

    A file is decompressed by its name or, where that says nothing, by its content. Only a line feed ends a line: texts
    hold carriage returns and Unicode's other line ends. A byte order mark is left out, at the head of any line: files
    that were joined have some in the middle.

    Raises:
        ValueError: Not UTF-8, damaged, or of an unknown compressed form; with file and line number.
        OSError: The file cannot be read.
    """
    ending = compression(path)
    with open(path, "rb") as raw:
        ending = ending or _by_content(raw)
        number = 0
        try:
            for number, line in enumerate(FORMS[ending].open(raw, "rb") if ending else raw, 1):
                text = line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
                if text.strip():
                    yield number, text
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason})") from error
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's trouble, not the data's
                raise
            raise ValueError(
                f"{path}, after line {number}: damaged {FORMS[ending].name} data ({error}); the file is "
                "incomplete, or not what its name says"
            ) from error


@contextmanager
def compressed(file: IO[bytes], name: str | Path) -> Iterator[IO[bytes]]:
    """Wrap a binary file so that what is written is compressed as `name` says; equal input gives equal bytes.

    Raises:
        ValueError: `name` is one of another compressed form.

    Example:
        >>> with atomic_write("out.trec.gz") as file, compressed(file, "out.trec.gz") as lines:  # doctest: +SKIP
        ...     lines.write(b"1 Q0 d1 1 0.5 tag\\n")
    """
    ending = compression(name)
    if not ending:
        yield file
        return
    with FORMS[ending].open(file, "wb") as made:
        yield made


def _by_content(raw: IO[bytes]) -> str:
    """The ending that the first bytes belong to; texts may begin with bzip2's letters, but not go on as it does."""
    head = raw.read(10)
    raw.seek(0)
    packed = next((ending for ending, form in FORMS.items() if head.startswith(form.mark)), "")
    return "" if packed == ".bz2" and head[4:] not in (b"1AY&SY", b"\x17rE8P\x90") else packed
