"""What Ctrl-C tells who interrupts a command that goes on where it was."""


def again(kept: str) -> str:
    """The sentence, for a command's `RESUME`.

    Args:
        kept: what isn't done twice, with its verb.

    Example:
        >>> again("finished queries are kept")
        'run the same command again to go on: finished queries are kept'
    """
    return f"run the same command again to go on: {kept}"


MEASURED = again("what was measured is kept")
