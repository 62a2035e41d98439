"""The work folder beside an output: finished parts that survive a crash, and the output made of them."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from elasticranker.files import (
    atomic_write,
    locked,
    read_json,
    refuse_other_job,
    sha256_file,
    writable_folder,
    write_json,
)
from elasticranker.textfiles import compressed, compression


class WorkFolder:
    """Numbered parts of one output, kept in `OUT.parts/` until all are there.

    A part is a gzip file that was written whole, so its checksum says whether it is sound. `manifest.json` names the
    job that the parts belong to. When the output has been assembled, the folder is removed and `OUT.json` keeps the
    manifest, so that the same job knows that it is finished and another one is refused.

    Args:
        output: The file that will be assembled, compressed if its name ends in .gz, .bz2 or .xz.

    Raises:
        ValueError: The name of the output is one of another compressed form.

    Example:
        >>> folder = WorkFolder("out.trec.gz")
        >>> with folder.locked():
        ...     folder.claim({"budget": "25%"}, parts=2)
        ...     for part in folder.pending():
        ...         folder.write(part, ["q1 Q0 d1 1 0.5 tag\\n"])
        ...     folder.assemble()
    """

    def __init__(self, output: str | Path) -> None:
        compression(output)  # refuses what it doesn't know
        self.output = Path(output)
        self.path = self.output.with_name(f"{self.output.name}.parts")
        self.record = self.output.with_name(f"{self.output.name}.json")
        self.manifest = self.path / "manifest.json"

    def __repr__(self) -> str:
        return f"WorkFolder({str(self.output)!r})"

    @contextmanager
    def locked(self, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
        """Keep other processes out: all of them, or, for a shard of several, those on the same shard or on the whole.

        Raises:
            BlockingIOError: Another process is at work on it.
            OSError: The folder cannot be made or written.
        """
        number, shards = shard
        if self.output.is_dir():
            raise IsADirectoryError(f"{self.output} is a folder; --output names the run file to write")
        writable_folder(self.output.parent)
        writable_folder(self.path)
        busy = f"another process is writing {self.output}; wait for it, or choose another --output"
        with locked(self.path / "lock", shared=shards > 1, busy=busy):
            if shards > 1:
                with locked(self.path / f"shard-{number}-of-{shards}.lock", busy=f"shard {number}/{shards}: {busy}"):
                    yield
                return
            try:
                yield
            except BaseException:  # a job that was refused, or failed before its first part, leaves nothing behind
                if self.path.exists() and not any(self.path.glob("*.trec.gz")):
                    self.remove()
                raise

    def finished(self, identity: Mapping[str, Any]) -> bool:
        """Whether the output is there and came from this very job.

        Raises:
            ValueError: The output is there but belongs to another job, or was changed since.
            FileExistsError: The output is there and nothing says where it came from.
        """
        if not self.output.exists():
            return False
        if not self.record.exists():
            if self.manifest.exists():  # killed between the last two steps of assemble()
                return False
            raise FileExistsError(
                f"{self.output} exists and was not written by this command; move it away or choose another --output"
            )
        record = read_json(self.record)
        remedy = f"delete {self.output}, or choose another --output"
        refuse_other_job(record["job"], identity, place=self.output, remedy=remedy)
        if record["sha256"] != sha256_file(self.output):
            raise ValueError(f"{self.output} was changed since it was finished; {remedy}")
        return True

    def claim(self, identity: Mapping[str, Any], *, parts: int) -> None:
        """Note in the manifest whose parts these are, or check that they are this job's.

        Raises:
            ValueError: The folder holds another job's parts; the message says what differs.
        """
        if self.manifest.exists():
            remedy = f"delete {self.path}, or choose another --output"
            refuse_other_job(read_json(self.manifest)["job"], identity, place=self.path, remedy=remedy)
        else:
            write_json(self.manifest, {"job": dict(identity), "parts": parts})

    def pending(self, shard: tuple[int, int] = (1, 1)) -> list[int]:
        """Numbers of the parts that are still to be made, of all or of one shard (shard i of N has every Nth)."""
        number, shards = shard
        return [part for part in range(number - 1, self._parts(), shards) if not self._sound(part)]

    def write(self, part: int, lines: Iterable[str]) -> None:
        """Write one part; it counts as finished only when all of it is on the disk."""
        with atomic_write(self._file(part)) as file, compressed(file, self._file(part)) as packed:
            packed.writelines(line.encode() for line in lines)

    def assemble(self) -> None:
        """Join the parts into the output, leave the record beside it and remove the folder.

        Raises:
            FileNotFoundError: Parts are missing; the message says how many.
            OSError: The output cannot be written; the parts stay.
        """
        missing = self.pending()
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {self._parts()} parts of {self.output} are not there yet (the first: number "
                f"{missing[0]}); run the shards that are missing, with the arguments they had, and merge again"
            )
        # The scratch file lies in the work folder, so that one left by a kill goes away with it.
        with atomic_write(self.output, scratch=self.path) as file, compressed(file, self.output) as out:
            for part in range(self._parts()):
                with gzip.open(self._file(part)) as lines:
                    shutil.copyfileobj(lines, out)
        write_json(self.record, {**read_json(self.manifest), "sha256": sha256_file(self.output)})
        self.remove()

    def remove(self) -> None:
        """Remove the work folder."""
        for file in self.path.iterdir():
            file.unlink(missing_ok=True)
        with suppress(OSError):  # a process that waits for the lock may just have made the lock file anew
            self.path.rmdir()

    def _parts(self) -> int:
        if not self.manifest.exists():
            raise FileNotFoundError(f"there is no job to go on with: {self.manifest} does not exist")
        return int(read_json(self.manifest)["parts"])

    def _file(self, part: int) -> Path:
        return self.path / f"{part:08d}.trec.gz"

    def _sound(self, part: int) -> bool:
        """Whether a part is there and whole: reading to the end checks gzip's length and CRC.

        Only a file of no bytes at all gets past gzip: it takes that for an archive of no members.
        """
        try:
            with gzip.open(self._file(part)) as file:
                while file.read(1 << 20):
                    pass
            return self._file(part).stat().st_size > 0
        except (FileNotFoundError, EOFError, zlib.error, gzip.BadGzipFile):
            return False
