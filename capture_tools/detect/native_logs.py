"""Keeping the C++ libraries inside LiteRT quiet: they write to file descriptor 2 behind Python's back."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Send what the process writes to descriptor 2 to nowhere for the time of the block.

    Python's exceptions still rise; only text printed meanwhile is lost. Used while the first network is
    made, when LiteRT announces its delegate.
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
