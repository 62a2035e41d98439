"""Training: sources and a teacher make a prepared folder, which a trainer makes an elastic checkpoint of.

Read `sources`, `teachers` and `preparing` for the data; `batches`, `losses` and `step` for what a step teaches; `loop`
and `trainer` for the run; `alignment` and `aligner` for the stage before it; `tables` and `tuning` for the ladder.
"""
