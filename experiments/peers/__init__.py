"""Side by side with the peers: other runtimes on the same weights, other methods on the same checkpoint, other sizes.

`bench.run_bench` is the whole; `runtimes`, `methods` and `sizes` are its parts. What runs is in `systems` (one name,
one system) and, a library a file, in `cross_encoder` (sentence-transformers), `graphs` (ONNX Runtime, OpenVINO) and
`flash` (FlashRank).
"""
