"""A single PyTorch thread for sequences of small operations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run the block's CPU operations on one thread, then restore the setting.

    Tracking and synthetic rendering are sequences of small operations. On two idle cores a second thread saves a
    quarter of a tracker's step (14 instead of 19 ms); as soon as another program uses a core, the barriers between
    threads make the step five times longer (100 ms), and a synthetic frame thirty times.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
