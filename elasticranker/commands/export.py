"""Write one sub-network for other programs: a Hugging Face cross-encoder or an ONNX graph.

Without --onnx: the first D layers at full width and that exit's head as a plain checkpoint, which
AutoModelForSequenceClassification and sentence-transformers' CrossEncoder load; the exit's readout must be `cls`.
With --onnx: any sub-network as model.onnx, for ONNX Runtime (needs the extra `onnx`).
"""

from __future__ import annotations

import argparse

from elasticranker.progress import phase

EXAMPLES = """examples:
  elasticranker export ./my-checkpoint --depth 6 --output plain
  elasticranker export default --onnx --depth 3 --width 0.5 --output small"""


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
    from elasticranker.model.export import GRAPH, export_hugging_face, export_onnx

    checkpoint = load(args.checkpoint)
    if args.onnx:
        with phase("exporting"):
            folder = export_onnx(checkpoint, args.output, depth=args.depth, width=args.width)
        print(f"wrote {folder / GRAPH}, with the tokenizer's files and config.json beside it")
    else:
        folder = export_hugging_face(checkpoint, args.output, depth=args.depth)
        print(f"wrote {folder}: load it with sentence_transformers.CrossEncoder({str(folder)!r})")
