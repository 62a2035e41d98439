"""The command `elasticranker`: finds the command's module, runs it, and turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

from elasticranker.progress import shown

COMMANDS = (  # modules of elasticranker.commands, in the order of --help
    "demo",
    "rerank",
    "merge",
    "index",
    "retrieve",
    "experiment",
    "bench",
    "elastify",
    "prepare",
    "train",
    "tune",
    "calibrate",
    "card",
    "export",
    "serve",
    "info",
)
EXAMPLES = """examples:
  elasticranker demo
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output reranked.trec.gz
  elasticranker experiment ./my-collection --candidates bm25 --output results
  elasticranker <command> --help"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, every command's arguments included."""
    parser = argparse.ArgumentParser(
        prog="elasticranker",
        description="Cross-encoder reranking whose cost per query you choose.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="<command>")
    for name in COMMANDS:
        module = _module(name)
        summary, _, rest = (module.__doc__ or "").strip().partition("\n")
        command = commands.add_parser(
            name,
            help=summary.rstrip("."),
            description=f"{summary}\n{rest}".strip(),
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: Arguments after the program's name. Defaults to the process's own.

    Returns:
        Exit status: 0, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    module = _module(args.command)
    return guarded("elasticranker", lambda: module.run(args), resume=getattr(module, "RESUME", ""), debug=args.debug)


def guarded(program: str, work: Callable[[], int | None], *, resume: str = "", debug: bool = False) -> int:
    """Do a program's work, with errors and warnings on one line each.

    Args:
        program: what the lines start with.
        work: gives an exit status, or None for 0.
        resume: what to tell who interrupts it.
        debug: let errors through, with their tracebacks.

    Returns:
        Exit status: that of `work`, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    alone = os.environ.get("RANK", "0") == "0"  # of several processes that train together, one talks
    try:
        with warnings.catch_warnings(), shown(alone):
            warnings.showwarning = lambda message, *_, **__: print(f"{program}: warning: {message}", file=sys.stderr)
            return work() or 0
    except KeyboardInterrupt:
        print(f"\n{program}: interrupted{'; ' + resume if resume else ''}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away: `elasticranker info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, KeyError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"{program}: error: {message(error)}", file=sys.stderr)
        return 2


def message(error: Exception) -> str:
    """What an error says, on one line: without the quotes of KeyError and the number of OSError."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    else:
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"elasticranker.commands.{name}")
