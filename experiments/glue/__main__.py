"""Elastic encoders on GLUE (ElasticLM), beside models of one depth that were fine-tuned alone.

`train` fine-tunes, on each task, one elastic encoder (every depth, widths 1 and 0.5) and models of some depths alone
with the same steps; `report` measures all of them and writes table, figure and report; `estimate` says how long `train`
would take here. Killed at any moment, each goes on where it was with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import again

if TYPE_CHECKING:
    from experiments.glue.training import Recipe

PROGRAM = "python -m experiments.glue"
RESUME = again("trained models, steps up to two minutes ago and measured sentences are kept")
COMMON = ("CoLA", "MRPC", "RTE", "STS-B", "SST-2")
EXAMPLES = """examples:
  python -m experiments.glue estimate ./glue --backbone intfloat/e5-small-v2
  python -m experiments.glue train ./glue --backbone intfloat/e5-small-v2 --output out && \\
      python -m experiments.glue report ./glue --output out
  python -m experiments.glue train ./glue --backbone intfloat/e5-small-v2 --tasks MNLI QNLI QQP --output out
  python -m experiments.glue train ./glue --backbone intfloat/e5-small-v2 --tasks RTE --steps 30 --output quick"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, 2 for an error that the user can mend, 130 after Ctrl-C or SIGTERM.
    """
    from elasticranker.cli import guarded

    args = _parser().parse_args(argv)
    return guarded(PROGRAM, lambda: args.run(args), resume=RESUME)


def _train(args: argparse.Namespace) -> None:
    from experiments.glue.study import run_training
    from experiments.glue.tasks import named

    _set_threads(args)
    run_training(args.data, named(args.tasks), output=args.output, recipe=_recipe(args), depths=args.alone, say=_say)
    wanted = f"--tasks {' '.join(args.tasks)} --alone {' '.join(map(str, args.alone))}"
    print(f"trained: {args.output}; next: {PROGRAM} report {args.data} {wanted} --output {args.output}")


def _estimate(args: argparse.Namespace) -> None:
    from experiments.glue.study import run_estimate
    from experiments.glue.tasks import named

    _set_threads(args)
    run_estimate(args.data, named(args.tasks), recipe=_recipe(args), depths=args.alone, say=_say)


def _report(args: argparse.Namespace) -> None:
    from pathlib import Path

    from elasticranker.evaluation.report import aligned
    from elasticranker.files import read_json
    from experiments.glue import report
    from experiments.glue.study import run_report
    from experiments.glue.tasks import named

    _set_threads(args)
    results = run_report(
        args.data,
        named(args.tasks),
        output=args.output,
        depths=args.alone,
        timed=args.timed,
        note=args.note,
        say=_say,
    )
    print(aligned(report.table_cells(results)), "", *report.findings(results), "", sep="\n")
    print(*report.footnotes(read_json(Path(args.output) / "manifest.json")), sep="\n")
    print(f"\nfigure: {args.output}/glue.png\nreport: {args.output}/report.md, {args.output}/results.csv")


def _recipe(args: argparse.Namespace) -> Recipe:
    from experiments.glue.training import Recipe

    names = ("backbone", "sentences", "epochs", "steps", "batch_size", "learning_rate", "max_length", "dtype", "seed")
    return Recipe(**{name: getattr(args, name) for name in names})


def _set_threads(args: argparse.Namespace) -> None:
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)


def _say(line: str) -> None:
    import time

    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(required=True, metavar="{train,report,estimate}")
    train, report, estimate = (
        commands.add_parser(name, help=summary, description=summary, epilog=EXAMPLES, formatter_class=layout)
        for name, summary in (
            ("train", "fine-tune what isn't trained yet, task by task"),
            ("report", "measure what was trained; write table, figure and report"),
            ("estimate", "time a few steps of every training: how long would `train` take here?"),
        )
    )
    for command in (train, report, estimate):
        command.add_argument("data", metavar="DATA", help="folder with TASK/{train,dev}.tsv[.gz]")
        command.add_argument(
            "--tasks", nargs="+", default=list(COMMON), metavar="TASK", help=f"default: {' '.join(COMMON)}"
        )
        command.add_argument(
            "--alone", nargs="+", type=positive, default=[3, 6], metavar="N", help="depths trained alone (default: 3 6)"
        )
        command.add_argument("--threads", type=positive, metavar="N", help="of torch (default: its own choice)")
    for command in (train, estimate):
        add_recipe(command)
    for command in (train, report):
        command.add_argument("--output", required=True, metavar="DIR", help="folder for models and results")
    report.add_argument(
        "--timed", type=positive, default=100, metavar="N", help="examples of each task to time (default: %(default)s)"
    )
    report.add_argument("--note", default="", metavar="TEXT", help="a sentence for the report")
    train.set_defaults(run=_train)
    report.set_defaults(run=_report)
    estimate.set_defaults(run=_estimate)
    return parser


def add_recipe(command: argparse.ArgumentParser) -> None:
    """Declare the arguments that say how models are trained."""
    command.add_argument("--backbone", required=True, metavar="ID|PATH", help="encoder to start from")
    command.add_argument(
        "--sentences",
        type=positive,
        default=20_000,
        metavar="N",
        help="training examples a task (default: %(default)s)",
    )
    command.add_argument("--epochs", type=positive, metavar="N", help="of every task (default: 2 to 5, by size)")
    command.add_argument("--steps", type=positive, metavar="N", help="instead of epochs")
    command.add_argument("--batch-size", type=positive, default=32, metavar="N", help="examples a step (default: 32)")
    command.add_argument("--learning-rate", type=float, default=1e-4, metavar="RATE", help="default: %(default)s")
    command.add_argument("--max-length", type=positive, default=160, metavar="N", help="tokens (default: %(default)s)")
    command.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"], help="of training")
    command.add_argument("--seed", type=int, default=0, help="of every draw (default: %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
