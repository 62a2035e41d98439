"""Write one sub-network for other programs, as they load it.

Checkpoints in joint layout: without --onnx the first D layers at full width and that exit's head as a plain
cross-encoder, which AutoModelForSequenceClassification and sentence-transformers' CrossEncoder load (the exit's readout
must be `cls`); with --onnx any sub-network as model.onnx, for ONNX Runtime (needs the extra `onnx`).
Checkpoints in split layout: what makes vectors of single texts, for a search by vectors. Without --onnx as a
bi-encoder, which sentence-transformers' SentenceTransformer loads; with --onnx as model.onnx.
"""

from __future__ import annotations

import argparse

from elasticranker.progress import phase

EXAMPLES = """examples:
  elasticranker export ./my-checkpoint --depth 6 --output plain
  elasticranker export ./my-checkpoint --onnx --depth 3 --width 0.5 --output small
  elasticranker export ./my-split --depth 3 --output queries"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="default, folder or Hugging Face id")
    parser.add_argument("--depth", type=int, required=True, metavar="D", help="layers to keep, those of an exit")
    parser.add_argument("--onnx", action="store_true", help="write an ONNX graph")
    parser.add_argument(
        "--width", type=float, default=1.0, metavar="W", help="share of heads and neurons, with --onnx (default: 1)"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    if args.width != 1 and not args.onnx:
        raise ValueError(f"--width {args.width:g}: a plain Hugging Face checkpoint has full width; add --onnx")

    from elasticranker.model.checkpoint import load
    from elasticranker.model.export import export_hugging_face, export_onnx
    from elasticranker.model.export_dense import export_sentence_transformer, export_vectors_onnx
    from elasticranker.model.graph import GRAPH

    checkpoint = load(args.checkpoint)
    split = checkpoint.encoder.shape.split
    if args.onnx:
        with phase("exporting"):
            write = export_vectors_onnx if split else export_onnx
            folder = write(checkpoint, args.output, depth=args.depth, width=args.width)
        print(f"wrote {folder / GRAPH}, with the tokenizer's files and config.json beside it")
        return
    kind = "SentenceTransformer" if split else "CrossEncoder"
    folder = (export_sentence_transformer if split else export_hugging_face)(checkpoint, args.output, depth=args.depth)
    print(f"wrote {folder}: load it with sentence_transformers.{kind}({str(folder)!r})")
