"""The documentation's pictures, one function a figure: `python -m experiments.figures`."""
