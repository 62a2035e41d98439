"""Builds a PISA index from `docno <tab> text` lines on standard input: `python pisa_build.py FOLDER`.

Runs as a script in a process of its own (`indexing.py` starts it), because PISA prints to standard output from C++,
and aborts its process where it has nothing to index.
"""

import sys
from collections.abc import Iterator


def documents() -> Iterator[dict[str, str]]:
    for line in sys.stdin.buffer:
        docno, _, text = line.decode("utf-8").rstrip("\n").partition("\t")
        yield {"docno": docno, "text": text}


def main(folder: str) -> None:
    from pyterrier_pisa import PisaIndex

    index = PisaIndex(folder, text_field="text").index(documents())
    index.bm25()  # writes what BM25 with PISA's own parameters needs, so that the finished index is never written to


if __name__ == "__main__":
    main(sys.argv[1])
