"""The tutorial: notebooks, executed. `python -m experiments.notebooks` runs them again."""
