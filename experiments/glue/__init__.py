"""Elastic encoders on GLUE beside models of one depth: `python -m experiments.glue`."""
