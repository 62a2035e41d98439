"""The training run: what a step teaches, the loop that may be killed anytime, and the stages that use it."""
