"""Memory that training frees is kept by the process instead of going back to the system after every step.

The C library gives each large block back at once, and the system clears every page before it hands it out again: the larger
the patch, the more of a step goes into that.
"""

from __future__ import annotations

import ctypes

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2
"""Parameters of glibc's mallopt(3)."""
KEPT_BYTES, GROWTH_BYTES = 2**31 - 1, 2**28


def keep_freed_memory() -> bool:
    """From now on large blocks come from the heap, which does not shrink. False where the C library has no such setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, GROWTH_BYTES))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
