"""One thread for PyTorch where the work comes in small pieces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run the block's CPU operations on one thread, then restore the setting.

    Tracking and painting are many small operations: on two free cores two threads save a quarter of a tracker's step
    (14 instead of 19 ms), but their barriers take five times as long (100 ms) as soon as another program uses a core,
    and a painted frame thirty times.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
