"""Train an elastic checkpoint: one run that teaches every sub-network.

Any encoder or cross-encoder (BERT, ELECTRA, RoBERTa/XLM-R, DistilBERT, MPNet, ALBERT, ModernBERT) becomes
OUTPUT/checkpoint, which --model of other commands and ElasticRanker take. A run can be killed at any moment and goes on
with --resume, exactly as if nothing had happened; SIGTERM and Ctrl-C end it after the step at hand. OUTPUT/log.jsonl
tells how it went.

The stage `align` comes before, if at all: it teaches sub-networks a larger encoder's relations between tokens, from
plain text, and writes OUTPUT/encoder, a --backbone for the stage `rank`.

The stage `dense` trains a bi-encoder, or a checkpoint in split layout, on queries and documents one by one: every
sub-network learns the teacher's vectors of data that were prepared with --vectors, for ElasticDenser.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.commands.arguments import positive
from elasticranker.commands.training_arguments import add_training_settings, training_settings
from elasticranker.progress import phase

if TYPE_CHECKING:
    from elasticranker.training.trainer.loop import Loop

RESUME = "run the same command with --resume to go on"
EXAMPLES = """examples:
  elasticranker prepare ./my-data --teacher intfloat/e5-small-v2 --output prepared
  elasticranker train --backbone intfloat/e5-small-v2 --data prepared --output run --steps 2000

on a GPU that is lent for ten minutes at a time; the same command again and again:
  elasticranker train --backbone intfloat/e5-small-v2 --data prepared --output run --steps 4000 \\
      --groups-per-step 32 --group-size 16 --max-minutes 9 --resume

on four GPUs, or in two processes on CPUs:
  accelerate launch --num_processes 4 -m elasticranker train --backbone ... --data prepared --output run
  torchrun --nproc_per_node 2 -m elasticranker train --backbone ... --data prepared --output run

data and teacher in one go (scored once, into run/prepared), with other losses and more weight on shallow exits:
  elasticranker train --backbone default --data my-prepared --output tuned --steps 300 --learning-rate 3e-5
  elasticranker train --backbone google/electra-small-discriminator --output run --losses kl=1 margin_mse=0.05 \\
      --data ./my-data --teacher cross-encoder/ms-marco-MiniLM-L-6-v2 --exit-weights 1=2 2=2

with query and document side by side, from a bi-encoder that is its own teacher:
  elasticranker prepare ./my-data --teacher intfloat/e5-small-v2 --vectors --output prepared
  elasticranker train --backbone intfloat/e5-small-v2 --data prepared --output run --layout split \\
      --prefixes "query: " "passage: "

queries alone, so that sub-networks of every size search one index:
  elasticranker train --stage dense --backbone run/checkpoint --data prepared --output dense --group-size 16
  elasticranker train --stage dense --backbone intfloat/e5-small-v2 --data prepared --output dense --widths 1 \
      --query-layers chosen --dims 192 96

alignment first:
  elasticranker train --stage align --backbone small-encoder --teacher large-encoder --data texts.txt --output aligned
  elasticranker train --backbone aligned/encoder --data prepared --output run"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--backbone",
        required=True,
        metavar="ID|PATH",
        help="encoder or cross-encoder to start from, whose own head is left aside; or an elastic checkpoint "
        "('default' for the one that ships), to go on from",
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR|irds:ID",
        help="prepared folder; or, with --teacher, what `elasticranker prepare` takes; aligning: a text file, one text "
        "a line, or a prepared folder, whose documents are taken",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--teacher",
        metavar="ID|PATH",
        help="model or file of scores, where --data isn't prepared yet; aligning: the larger encoder",
    )
    parser.add_argument(
        "--lower",
        metavar="ID|PATH",
        help="with --layout split: an elastic checkpoint in joint layout, trained from the same backbone, whose lower "
        "layers are a head start",
    )
    parser.add_argument(
        "--tokens",
        metavar="ID|PATH",
        help="with --stage dense: an elastic checkpoint of the same backbone whose token embeddings are taken and left "
        "as they are",
    )
    parser.add_argument("--stage", choices=("rank", "align", "dense"), default="rank", help="(default: %(default)s)")
    group = parser.add_argument_group("running")
    group.add_argument("--resume", action="store_true", help="go on with the run in OUTPUT, if there is one")
    group.add_argument("--max-minutes", type=float, metavar="M", help="stop after so long, to be resumed")
    group.add_argument(
        "--validate-every",
        type=positive,
        default=250,
        metavar="N",
        help="steps between validations on held-out data (default: %(default)s)",
    )
    group.add_argument(
        "--save-every", type=float, default=300.0, metavar="S", help="seconds between saved states (default: 300)"
    )
    group.add_argument(
        "--keep",
        choices=("best", "last"),
        default="best",
        help="which averaged weights: best on held-out queries, or last; without held-out ones it is last (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of activations (default: %(default)s)"
    )
    group.add_argument(
        "--batch-pairs", type=positive, metavar="N", help="pairs (texts) that run together (default: 64; more on a GPU)"
    )
    add_training_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from elasticranker.training.memory import keep_freed_memory

    keep_freed_memory()
    trainer = make_trainer(args)
    trainer.train()
    done, steps = trainer.progress.step, trainer.settings.steps
    if trainer.accelerator.is_main_process:
        if trainer.stopped is None:
            print(f"wrote {trainer.product}")
        if done < steps:
            print(f"stopped after step {done} of {steps}: the same command with --resume goes on")
    if trainer.accelerator.num_processes > 1:
        import torch

        torch.distributed.destroy_process_group()
    return 0 if trainer.stopped is None else 128 + trainer.stopped


def make_trainer(args: argparse.Namespace) -> Loop:
    """The run that the arguments describe; data that aren't prepared are prepared first."""
    options: dict[str, Any] = {
        name: getattr(args, name) for name in ("resume", "max_minutes", "validate_every", "save_every", "keep", "dtype")
    }
    if args.tokens is not None and args.stage != "dense":
        raise ValueError(f"--tokens {args.tokens}: only --stage dense takes token embeddings of another checkpoint")
    if args.stage == "align":
        with phase("loading libraries"):
            from elasticranker.training.trainer.align_stage import AlignmentTrainer

        if args.teacher is None:
            raise ValueError("--stage align needs the encoder to learn from: name it by --teacher")
        with phase("loading backbone, teacher and texts"):
            return AlignmentTrainer(
                args.backbone,
                args.teacher,
                args.data,
                args.output,
                training_settings(args),
                batch_texts=args.batch_pairs,
                **options,
            )
    from elasticranker.training.data.groups import read_info

    if args.stage == "dense":
        with phase("loading libraries"):
            from elasticranker.training.trainer.dense_stage import DenseTrainer

        if args.teacher is not None:
            raise ValueError(
                f"--teacher {args.teacher}: --stage dense takes prepared data; run `elasticranker prepare`"
            )
        if args.lower is not None:
            raise ValueError(f"--lower {args.lower}: only --stage rank takes layers of another checkpoint")
        with phase("loading backbone and data"):
            heat = getattr(args, "temperature", read_info(args.data).get("temperature", 0.02))
            settings = training_settings(args, temperature=heat, bonus=heat, layout="split")
            return DenseTrainer(
                args.backbone,
                args.data,
                args.output,
                settings,
                tokens=args.tokens,
                batch_texts=args.batch_pairs,
                **options,
            )
    with phase("loading libraries"):
        from elasticranker.training.trainer.rank_stage import ElasticTrainer

    data = prepared(args.data, args.teacher, Path(args.output))
    temperature = getattr(args, "temperature", read_info(data).get("temperature", 0.02))
    settings = training_settings(args, temperature=temperature, bonus=temperature)
    with phase("loading backbone and data"):
        return ElasticTrainer(
            args.backbone, data, args.output, settings, lower=args.lower, batch_pairs=args.batch_pairs, **options
        )


def prepared(data: str, teacher: str | None, output: Path) -> Path:
    """The prepared folder: `data` itself, or `output`/prepared, made once by the teacher."""
    from elasticranker.training.data.groups import is_prepared
    from elasticranker.training.preparing import prepare_folder
    from elasticranker.training.teachers.teacher import open_teacher

    if is_prepared(data):
        if teacher is not None:
            raise ValueError(f"--teacher {teacher}: {data} is prepared, its scores are there; leave --teacher out")
        return Path(data)
    if teacher is None:
        raise ValueError(f"--data {data} is not a prepared folder: name a --teacher, or run `elasticranker prepare`")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not is_prepared(output / "prepared"):
        raise ValueError("several processes can't prepare data together: run `elasticranker prepare` first")
    return prepare_folder(data, open_teacher(teacher), output / "prepared")
