"""Runtimes for the exported graph: ONNX Runtime and OpenVINO, under one driver that is fair to both.

The driver tokenises all pairs at once by the checkpoint's own fast tokenizer, sorts them by length and pads every batch
to its longest pair. The runtimes are told the threads and nothing else: their defaults are what their users get.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.peers.bi_encoder import by_cosine
from experiments.peers.setup import Scorer, Setup, Unavailable, graph_folder, int8_graph

Feed = dict[str, np.ndarray]  # int64 [batch, tokens] by the graph's input names
Run = Callable[[Feed], np.ndarray]  # to logits [batch, 1], or vectors [batch, H]
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # OpenVINO's; an int8 graph's other operators
ONLY_PROCESSOR = "it is measured on the processor alone; add --device cpu to compare it"


class Graph:
    """Runs a graph over texts, or pairs of them, in batches of one padded length.

    Args:
        folder: of the exported graph, for its tokenizer.
        run: the runtime.
        inputs: names of the graph's inputs.
        max_length: most tokens of a text or pair.
    """

    def __init__(self, folder: Path, run: Run, inputs: Iterable[str], max_length: int) -> None:
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length, strategy="longest_first")
        self.tokenizer.no_padding()
        self.padding = config.get("pad_token_id") or 0
        self.prefixes = config["elasticranker"].get("prefixes", {})
        self.run, self.inputs = run, frozenset(inputs)

    def __call__(self, texts: Sequence[Any], batch: int) -> np.ndarray:
        """What the graph gives for texts (or pairs) `[n]`, `batch` of them at a time: `[n, K]`."""
        encoded = self.tokenizer.encode_batch(list(texts))
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index].ids))
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        made = np.concatenate([self.run(self._feed([encoded[row] for row in rows])) for rows in parts])
        given = np.empty_like(made)
        given[order] = made
        return given

    def scorer(self) -> Scorer:
        """Scores pairs by it: its logits, or the cosine of the vectors that it makes of single texts."""
        if self.prefixes:
            return by_cosine(lambda texts, kind, batch: self([self.prefixes[kind] + text for text in texts], batch))
        return lambda pairs, batch: self(pairs, batch)[:, 0].astype(np.float64)

    def _feed(self, encoded: list[Any]) -> Feed:
        tokens = len(encoded[0].ids)  # the longest comes first
        ids = np.full((len(encoded), tokens), self.padding, dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, pair in enumerate(encoded):
            length = len(pair.ids)
            ids[row, :length], types[row, :length], mask[row, :length] = pair.ids, pair.type_ids, 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: value for name, value in feed.items() if name in self.inputs}


def open_onnxruntime(setup: Setup, dtype: str) -> Scorer:
    """ONNX Runtime on the processor, on the float32 graph or the dynamically quantised one.

    Args:
        setup: the weights and threads.
        dtype: "float32" or "int8".

    Raises:
        ImportError: a package is missing.
        Unavailable: the bench runs elsewhere than on the processor.
    """
    if not setup.on_processor:
        raise Unavailable(ONLY_PROCESSOR)
    session = onnx_session(setup, dtype)
    inputs = [given.name for given in session.get_inputs()]
    return Graph(graph_folder(setup), lambda feed: session.run(None, feed)[0], inputs, setup.max_length).scorer()


def onnx_session(setup: Setup, dtype: str) -> Any:
    """An `onnxruntime.InferenceSession` of the exported graph with this setup's threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setup.threads
    graph = int8_graph(setup) if dtype == "int8" else graph_folder(setup) / "model.onnx"
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def open_openvino(setup: Setup, dtype: str) -> Scorer:
    """OpenVINO on the processor.

    Args:
        setup: the weights and threads.
        dtype: "float32", "bfloat16", or "int8", which is ONNX Runtime's quantised graph.

    Raises:
        ImportError: a package is missing.
        Unavailable: this processor doesn't run that precision, or the bench runs elsewhere.
    """
    import openvino

    if not setup.on_processor:
        raise Unavailable(ONLY_PROCESSOR)
    graph = int8_graph(setup) if dtype == "int8" else graph_folder(setup) / "model.onnx"
    core, precision = openvino.Core(), PRECISIONS[dtype]
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": setup.threads}
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    runs_as = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if runs_as != precision:
        raise Unavailable(f"OpenVINO runs {precision} as {runs_as} on this processor")
    request = compiled.create_infer_request()
    inputs = [given.any_name for given in compiled.inputs]
    # A request's output is its own memory, which the next call writes over.
    return Graph(graph_folder(setup), lambda feed: request.infer(feed)[0].copy(), inputs, setup.max_length).scorer()
