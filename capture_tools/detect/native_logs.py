"""Silences the C++ libraries inside LiteRT, which write to file descriptor 2 directly."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device for the duration of the block.

    Exceptions still propagate. Used while the first network is made, when LiteRT announces its delegate.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
