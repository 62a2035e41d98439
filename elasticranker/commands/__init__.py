"""The commands of `elasticranker`, one module each.

A command's module has a docstring (its first line is the command's line in `elasticranker --help`, the rest its own
description), `EXAMPLES` (text), `add_arguments(parser)` and `run(args)`, which may return an exit status. `RESUME`, if
there, is what Ctrl-C tells the user (`resuming` words it). Its name goes into `elasticranker.cli.COMMANDS`. Heavy
imports (torch, pandas, pyterrier) belong inside `run`, so that `--help` answers at once.
"""
