"""Memory that is freed and asked for again step after step stays with the process."""

from __future__ import annotations

import ctypes

# malloc.h of glibc
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed blocks back to the system; for a program that trains, not for a library.

    Large tensors come and go in every step. Returned to the system, each of their pages is a fault when it comes back:
    seen to cost up to two thirds of the time on a virtual machine's processor. Does nothing elsewhere than on glibc.

    Returns:
        Whether it took effect.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
