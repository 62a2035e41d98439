"""Measure everything that README, documentation and the model card quote, one study after the other.

Each study is a command of its own, which is printed before it runs, goes on where it was killed, and leaves a folder
in --output; what is quoted of it (a report, figures) is copied to --reports. A study that is done with the same
checkpoint (or without one, as on GLUE, where it trains its own models for some hours) isn't run again. Studies whose
data aren't there are named and passed over.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elasticranker.files import read_json, writable_folder, write_json
from elasticranker.model.checkpoint import fingerprint

EXAMPLES = """examples:
  python -m experiments.measure ../data --output build/results                  # all of it, some hours on two cores
  python -m experiments.measure ../data --only trade-off-python-docs methods-trec-dl-2019
  python -m experiments.measure ../data --list                                  # the commands alone"""
DONE = "measured.json"
RESULTS = "RESULTS"  # in a command: the folder of all results
REPORTS = Path(__file__).parent / "results"
RUN = Callable[[list[str]], int]


@dataclass(frozen=True)
class Study:
    """One command, or several with one folder of results, and what is quoted of them.

    Attributes:
        name: of its folder and its report.
        commands: arguments of Python, without the output folder.
        needs: files and folders that must be there.
        figures: file in the results to the ending of its name among the reports.
        model: the checkpoint that is measured; None where it is none that ships.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[Path, ...] = ()
    figures: tuple[tuple[str, str], ...] = ()
    model: str | None = "default"


def studies(data: Path) -> list[Study]:
    """All studies, on the collections in a folder: `trec-dl-2019` with `bm25.top100.trec`, `msmarco-reduced`, ..."""
    corpus, dev, judged = data / "msmarco-reduced/corpus.tsv.gz", data / "msmarco-reduced", data / "trec-dl-2019"
    dl = (str(judged), "--corpus", str(corpus), "--candidates", str(judged / "bm25.top100.trec"))
    elastic = ("-m", "elasticranker", "experiment")
    tradeoff = (("tradeoff.png", ""),)
    threads = ("--threads", "2")
    there = (judged, corpus)
    online = ("-m", "experiments.online")
    glue, multi30k, joint = data / "glue", data / "multi30k", ("-m", "experiments.joint")
    statics = [(depth, data / f"dense-static-{depth}" / "checkpoint") for depth in (2, 6)]
    alone = [f"{depth}={folder}" for depth, folder in statics if folder.is_dir()]  # trained as TRAINING.md says
    dense = ("-m", "experiments.dense")
    theirs = data / "my-cross-encoder", data / "my-elastic"  # made as TRAINING.md says
    elastify = ("--original", str(theirs[0]), "--elastic", str(theirs[1]))
    shown = ("--dims", "192", "96", *(("--static", *alone) if alone else ()))
    minilm, depths = "all-MiniLM-L6-v2", ("2", "3", "4", "6")
    others = ("--other", f"{minilm}=sentence-transformers/{minilm}", "--depths", *depths)
    return [
        Study("trade-off-trec-dl-2019", ((*elastic, *dl, *threads),), there, tradeoff),
        Study("trade-off-python-docs", ((*elastic, "python-docs", *threads),), (), tradeoff),
        Study("trade-off-msmarco-dev-reduced", ((*elastic, str(dev), "--queries", "150", *threads),), (dev,), tradeoff),
        Study(
            "methods-trec-dl-2019",
            (("-m", "experiments.peers", *dl, "--parts", "methods", *threads),),
            there,
            (("methods.png", ""),),
        ),
        Study(
            "runtimes-trec-dl-2019",
            (("-m", "experiments.peers", *dl, "--parts", "runtimes", "--queries", "10", *threads),),
            there,
        ),
        Study(
            "sizes",
            (("-m", "experiments.peers", *dl, "--parts", "sizes", "--queries", "10", "--max-length", "512", *threads),),
            there,
            (("sizes.png", ""),),
        ),
        Study(
            "routing-trec-dl-2019",
            (("-m", "experiments.routing", *dl, "--swift", "5%", *threads),),
            there,
            (("routing.png", ""),),
        ),
        Study(
            "routing-bm25-trec-dl-2019",
            (("-m", "experiments.routing", *dl, "--swift", "identity", *threads),),
            there,
            (("routing.png", ""),),
        ),
        Study(
            "routing-msmarco-dev-reduced",
            (("-m", "experiments.routing", str(dev), "--queries", "150", "--swift", "5%", *threads),),
            (dev,),
            (("routing.png", ""),),
        ),
        Study(
            "long-documents-msmarco-dev-reduced",
            (("-m", "experiments.long_documents", str(dev), "--queries", "60", *threads),),
            (dev,),
            tradeoff,
        ),
        *(
            Study(
                f"elastify-{name}",
                (("-m", "experiments.elastify", "report", *named, *elastify),),
                (*needs, *theirs),
                tradeoff,
                model=None,
            )
            for name, named, needs in (
                ("trec-dl-2019", dl, there),
                ("msmarco-dev-reduced", (str(dev), "--queries", "100"), (dev,)),
            )
        ),
        Study(
            "online-trec-dl-2019",
            ((*online, "simulate", *dl), (*online, "load", *dl)),
            there,
            (("online-poisson.png", "-poisson"), ("online-bursty.png", "-bursty"), ("online-day.png", "-day")),
        ),
        *(
            Study(f"dense-{name}", ((*dense, *named, *shown, *threads),), needs, (("dense.png", ""),), "default-dense")
            for name, named, needs in (
                ("nq", (str(data / "nq"),), (data / "nq",)),
                ("triviaqa", (str(data / "triviaqa"),), (data / "triviaqa",)),
                ("msmarco-dev-reduced", (str(dev),), (dev,)),
                ("trec-dl-2019", (str(judged), "--corpus", str(corpus)), there),
                ("python-docs", ("python-docs",), ()),
            )
        ),
        Study(
            "trade-off-dense-trec-dl-2019",  # behind the whole denser's first hundred
            (
                (
                    *(*elastic, str(judged), "--corpus", str(corpus), "--first-stage", "dense"),
                    *("--candidates", f"{RESULTS}/dense-trec-dl-2019/runs/elastic-12.trec.gz", *threads),
                ),
            ),
            there,
            tradeoff,
        ),
        Study(
            "glue",
            (
                ("-m", "experiments.glue", "train", str(glue), "--backbone", "intfloat/e5-small-v2", *threads),
                ("-m", "experiments.glue", "report", str(glue), *threads),
            ),
            (glue,),
            (("glue.png", ""),),
            model=None,
        ),
        Study(
            "joint-glue",
            ((*joint, "glue", str(glue), "--trained", f"{RESULTS}/glue", *others, *threads),),
            (glue,),
            tuple((f"joint-{name}.png", f"-{name}") for name in (*(f"exit-{depth}" for depth in depths), minilm)),
            model=None,
        ),
        Study(
            "joint-translate",
            ((*joint, "translate", str(multi30k), *threads),),
            (multi30k,),
            (("joint.png", ""),),
            model=None,
        ),
    ]


def measure(chosen: Sequence[Study], output: Path, reports: Path, *, run: RUN | None = None) -> list[str]:
    """Run studies that aren't done yet, and copy what is quoted of them.

    Args:
        chosen: what to run, in this order.
        output: folder of the results, one a study.
        reports: folder that their reports are copied to.
        run: runs a command and returns its exit status; by default a process of this Python.

    Returns:
        Names of those that failed or whose data aren't there.
    """
    run = run or _run
    missed = []
    for study in chosen:
        folder = output / study.name
        known = read_json(folder / DONE) if (folder / DONE).exists() else None
        done = {
            "checkpoint": fingerprint(study.model) if study.model else None,
            "commands": [list(command) for command in study.commands],
        }
        if known != done:
            if lacking := [str(path) for path in study.needs if not path.exists()]:
                print(f"{study.name}: passed over, {', '.join(lacking)} not there", file=sys.stderr)
                missed.append(study.name)
                continue
            if known is not None and study.model:  # of another checkpoint: nothing there can be gone on with
                shutil.rmtree(folder)
            if not all(_runs(study, command, folder, run) for command in study.commands):
                missed.append(study.name)
                continue
            write_json(folder / DONE, done)
        _copy(study, folder, writable_folder(reports))
    return missed


def _runs(study: Study, command: Sequence[str], folder: Path, run: RUN) -> bool:
    placed = _placed(command, folder)
    print(f"{study.name}: python {shlex.join(placed)}", file=sys.stderr)
    return run(placed) == 0


def _placed(command: Sequence[str], folder: Path) -> list[str]:
    """A command with its output folder, and with the folder of all results where it names that."""
    return [*(part.replace(RESULTS, str(folder.parent)) for part in command), "--output", str(folder)]


def _copy(study: Study, folder: Path, reports: Path) -> None:
    """Copy figures and the report, whose links follow them."""
    report = (folder / "report.md").read_text(encoding="utf-8")
    for name, ending in study.figures:
        if (folder / name).exists():
            target = f"{study.name}{ending}.png"
            shutil.copyfile(folder / name, reports / target)
            report = report.replace(f"]({name})", f"]({target})")
    (reports / f"{study.name}.md").write_text(report, encoding="utf-8")


def _run(command: list[str]) -> int:
    return subprocess.run([sys.executable, *command], check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m experiments.measure", description=__doc__, epilog=EXAMPLES, formatter_class=layout
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the collections")
    parser.add_argument(
        "--output", type=Path, default=Path("build/results"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--reports", type=Path, default=REPORTS, metavar="DIR", help="(default: experiments/results)")
    parser.add_argument("--only", nargs="+", metavar="STUDY", help="some of them (default: all)")
    parser.add_argument("--list", action="store_true", help="print the commands and stop")
    args = parser.parse_args(argv)
    every = studies(args.data)
    if unknown := set(args.only or ()) - {study.name for study in every}:
        parser.error(f"--only {' '.join(sorted(unknown))}: choose from {', '.join(study.name for study in every)}")
    chosen = [study for study in every if not args.only or study.name in args.only]
    if args.list:
        for study in chosen:
            for command in study.commands:
                print(f"{study.name}: python {shlex.join(_placed(command, args.output / study.name))}")
        return 0
    missed = measure(chosen, args.output, args.reports)
    if missed:
        print(f"not measured: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
