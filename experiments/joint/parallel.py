"""Sentence pairs of two languages, from files with one sentence a line."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

from elasticranker.files import sha256_file

TRAIN, VALIDATION, TEST = "train", "val", "test_2016_flickr"


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, in the same order."""

    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.sources)


@dataclass(frozen=True)
class Corpus:
    """A folder of `train`, `val` and `test_2016_flickr`, each as `<name>.<language>[.gz]`.

    Attributes:
        folder: where the files are.
        source: the language to translate from, such as "en".
        target: the language to translate to.
    """

    folder: Path
    source: str
    target: str

    def read(self, split: str) -> Pairs:
        """The pairs of a split; blank sentences are kept out with their translations.

        Raises:
            ValueError: a file isn't there, the two aren't equally long, or nothing is left.
        """
        sources, targets = (_lines(self.path(split, language)) for language in (self.source, self.target))
        if len(sources) != len(targets):
            raise ValueError(
                f"{self.path(split, self.source)} has {len(sources)} lines, {self.path(split, self.target)} "
                f"{len(targets)}: give files whose lines are translations of each other"
            )
        pairs = [(source, target) for source, target in zip(sources, targets, strict=True) if source and target]
        if not pairs:
            raise ValueError(f"{self.path(split, self.source)} holds no sentences")
        return Pairs([source for source, _ in pairs], [target for _, target in pairs])

    def path(self, split: str, language: str) -> Path:
        """The file of a split in a language.

        Raises:
            ValueError: there is none.
        """
        for name in (f"{split}.{language}.gz", f"{split}.{language}"):
            if (self.folder / name).is_file():
                return self.folder / name
        raise ValueError(f"{self.folder} has no {split}.{language}.gz and no {split}.{language}: name another folder")

    def fingerprints(self) -> dict[str, str]:
        """A hash of every file, by name."""
        paths = [self.path(split, one) for split in (TRAIN, VALIDATION, TEST) for one in (self.source, self.target)]
        return {path.name: sha256_file(path)[:16] for path in paths}


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        return [line.strip() for line in file]
