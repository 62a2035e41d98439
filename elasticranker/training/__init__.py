"""Training: sources and a teacher make a prepared folder, which a trainer makes an elastic checkpoint of.

`data` is what a step reads, from sources to batches; `teachers` are what scores it; `preparing` joins the two;
`trainer` is the run: losses, steps, the loop, its stages; `tuning` finds the ladder on score tables. `elastifying` goes
through all of it for a cross-encoder that exists.
"""
