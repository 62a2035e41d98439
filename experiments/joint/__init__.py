"""Joint inference of a Swift and a Super model beyond ranking: `python -m experiments.joint`."""
