"""Joint inference of a Swift and a Super model beyond ranking (E-LANG).

`translate` trains two small T5s from scratch on sentence pairs and routes between them: BLEU and chrF against FLOPs and
milliseconds, by the energies of what Swift writes, with thresholds from validation. `glue` routes between a shallow
exit of an elastic classifier (of `python -m experiments.glue train`), or another small model, and the whole classifier.
Killed at any moment, both go on where they were with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import again

PROGRAM = "python -m experiments.joint"
RESUME = again("checkpoints and measured sentences are kept")
EXAMPLES = """examples:
  python -m experiments.joint translate ./multi30k --output out
  python -m experiments.joint translate ./multi30k --source de --target en --epochs 5 --output out
  python -m experiments.joint translate ./multi30k --epochs 1 --sentences 50 --output quick
  python -m experiments.joint glue ./glue --trained glue-out --output out
  python -m experiments.joint glue ./glue --trained glue-out --depths 2 3 4 --output out \\
      --other all-MiniLM-L6-v2=sentence-transformers/all-MiniLM-L6-v2"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    from elasticranker.cli import guarded

    args = _parser().parse_args(argv)
    return guarded(PROGRAM, lambda: args.run(args), resume=RESUME)


def _translate(args: argparse.Namespace) -> None:
    from dataclasses import replace

    import torch

    from elasticranker.evaluation.report import aligned
    from elasticranker.files import read_json
    from experiments.joint import report
    from experiments.joint.parallel import Corpus
    from experiments.joint.translate import Study, run_translate, with_settings

    if args.threads:
        torch.set_num_threads(args.threads)
    study = replace(Study(), vocabulary=args.vocabulary, sentences=args.sentences)
    study = with_settings(
        study, dtype=args.dtype, device=args.device, epochs=args.epochs, batch_size=args.batch_size, seed=args.seed
    )
    corpus = Corpus(Path(args.data), args.source, args.target)
    results = run_translate(corpus, output=args.output, study=study, tolerance=args.tolerance, note=args.note)
    print(aligned(report.table_cells(results)), "", *report.findings(results), "", sep="\n")
    print(*report.footnotes(read_json(Path(args.output) / "manifest.json")), sep="\n")
    print(f"\nfigure: {args.output}/joint.png\nreport: {args.output}/report.md, {args.output}/results.csv")


def _glue(args: argparse.Namespace) -> None:
    import time

    import torch

    from elasticranker.evaluation.report import aligned
    from elasticranker.files import read_json
    from experiments.glue.tasks import named
    from experiments.joint import glue_report
    from experiments.joint.glue import run_glue

    if args.threads:
        torch.set_num_threads(args.threads)
    name, equals, backbone = (args.other or "").partition("=")
    if args.other and not (name and equals and backbone):
        raise ValueError(
            f"--other {args.other}: give NAME=ID|PATH, such as minilm=sentence-transformers/all-MiniLM-L6-v2"
        )
    measured = run_glue(
        args.data,
        named(args.tasks),
        trained=args.trained,
        output=args.output,
        depths=args.depths,
        other=(name, backbone) if args.other else None,
        tolerance=args.tolerance / 100,
        note=args.note,
        say=lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True),
    )
    results = glue_report.merged(measured)
    print(aligned(glue_report.table_cells(results)), "", *glue_report.findings(results, args.tolerance / 100), sep="\n")
    print("", *glue_report.footnotes(read_json(Path(args.output) / "manifest.json")), sep="\n")
    print(f"\nfigures: {args.output}/joint-*.png\nreport: {args.output}/report.md, {args.output}/results.csv")


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(required=True, metavar="{translate,glue}")
    summary = "train two small T5s on sentence pairs and route between them"
    translate = commands.add_parser(
        "translate", help=summary, description=summary, epilog=EXAMPLES, formatter_class=layout
    )
    translate.add_argument("data", metavar="DATA", help="folder with {train,val,test_2016_flickr}.LANGUAGE[.gz]")
    translate.add_argument("--source", default="en", metavar="LANGUAGE", help="default: %(default)s")
    translate.add_argument("--target", default="de", metavar="LANGUAGE", help="default: %(default)s")
    translate.add_argument("--epochs", type=positive, metavar="N", help="of both models (default: Swift 8, Super 6)")
    translate.add_argument("--batch-size", type=positive, metavar="N", help="pairs a step (default: 32)")
    translate.add_argument(
        "--vocabulary", type=positive, default=8000, metavar="N", help="tokens (default: %(default)s)"
    )
    translate.add_argument(
        "--sentences", type=positive, metavar="N", help="of validation and test, from the first (default: all)"
    )
    translate.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        metavar="POINTS",
        help="of mean sentence chrF below Super's, for the cheapest threshold (default: %(default)s)",
    )
    translate.add_argument("--seed", type=int, help="of weights and order (default: 0)")
    translate.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"], help="of training")
    translate.add_argument("--device", help="torch device, such as cpu or cuda (default: the best there is)")
    translate.add_argument("--threads", type=positive, metavar="N", help="of torch (default: its own choice)")
    translate.add_argument("--note", default="", metavar="TEXT", help="a sentence for the report")
    translate.add_argument("--output", required=True, metavar="DIR", help="folder for models and results")
    translate.set_defaults(run=_translate)
    summary = "route between a small model and a whole elastic classifier, on GLUE"
    glue = commands.add_parser("glue", help=summary, description=summary, epilog=EXAMPLES, formatter_class=layout)
    glue.add_argument("data", metavar="DATA", help="folder with TASK/{train,dev}.tsv[.gz]")
    glue.add_argument("--trained", required=True, metavar="DIR", help="output of `python -m experiments.glue train`")
    glue.add_argument(
        "--tasks",
        nargs="+",
        default=["CoLA", "MRPC", "RTE", "SST-2"],
        metavar="TASK",
        help="without regressions, which have no energy (default: CoLA MRPC RTE SST-2)",
    )
    glue.add_argument(
        "--depths", nargs="+", type=positive, default=[3], metavar="N", help="exits that are Swift (default: 3)"
    )
    glue.add_argument(
        "--other",
        metavar="NAME=ID|PATH",
        help="an encoder that is Swift too, fine-tuned as the elastic model was, and what to call it",
    )
    glue.add_argument(
        "--tolerance",
        type=float,
        default=0.2,
        metavar="POINTS",
        help="of accuracy below Super's, for the cheapest threshold (default: %(default)s)",
    )
    glue.add_argument("--threads", type=positive, metavar="N", help="of torch (default: its own choice)")
    glue.add_argument("--note", default="", metavar="TEXT", help="a sentence for the report")
    glue.add_argument("--output", required=True, metavar="DIR", help="folder for models and results")
    glue.set_defaults(run=_glue)
    return parser


if __name__ == "__main__":
    sys.exit(main())
