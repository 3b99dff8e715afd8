"""Warp, set up once and quietly, and the one way the project launches its kernels.

On a CPU a Warp launch runs on the calling thread alone, but releases the GIL: `launch_chunks` splits an index range
over a few Python threads. On CUDA it is one launch on torch's current stream.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

CHUNKS_PER_THREAD = 4
"""Uneven work (rays that miss, points far from the mesh) evens out over several chunks a thread."""

_FIRST_USE = threading.RLock()
"""Held while Warp is initialised or a module compiled: `functools.cache` would let two threads do both at once."""


def get_warp() -> ModuleType:
    """The `warp` module, initialised on the first call, without banner, compile notes or missing-driver warning."""
    with _FIRST_USE:
        return _initialise_warp()


@cache
def _initialise_warp() -> ModuleType:
    # Warp's native library prints the warning about a missing CUDA driver straight to the process's standard error:
    # that is set aside meanwhile, and anything else written there is passed on.
    import warp

    warp.config.log_level = warp.LOG_WARNING
    try:
        standard_error = os.dup(2)
    except OSError:  # no standard error at all: nothing to keep clean
        warp.init()
        return warp
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            warp.init()
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
        aside.seek(0)
        lines = aside.read().decode(errors="replace").splitlines(keepends=True)
    sys.stderr.write("".join(line for line in lines if "CUDA driver" not in line))
    return warp


@cache
def thread_pool() -> ThreadPoolExecutor:
    """The process's pool for CPU launches."""
    return ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1), thread_name_prefix="avatar-kernel")


def thread_count() -> int:
    """Threads a CPU launch is split over: torch's own setting, so that one knob rules both."""
    return max(1, torch.get_num_threads())


def run_parallel(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the jobs on the pool and this thread, return their results in order; the first exception is raised."""
    if len(jobs) <= 1 or thread_count() == 1:
        return [job() for job in jobs]
    futures = [thread_pool().submit(job) for job in jobs[1:]]
    try:
        first = jobs[0]()
    finally:
        for future in futures:
            future.exception()  # wait: a kernel must not outlive the tensors it writes to
    return [first, *(future.result() for future in futures)]


def launch_on_cpu(kernel: Any, count: int, arguments: Sequence[Any]) -> None:
    """One launch of `kernel` over `count` indices on the calling thread."""
    load_for_cpu(kernel)
    warp = get_warp()
    warp.launch(kernel, dim=count, inputs=list(arguments), device=warp.get_device("cpu"), record_tape=False)


def launch_on_cuda(kernel: Any, count: int, arguments: Sequence[Any], device: torch.device) -> None:
    """One launch of `kernel` over `count` threads on torch's current stream of a CUDA device."""
    warp = get_warp()
    stream = warp.stream_from_torch(torch.cuda.current_stream(device))
    warp.launch(kernel, dim=count, inputs=list(arguments), device=str(device), stream=stream, record_tape=False)


def launch_chunks(
    kernel: Any, count: int, arguments: Sequence[Any], device: torch.device, *, smallest: int = 512
) -> None:
    """Launch `kernel(first, *arguments)` over the indices 0 to count; the kernel adds `first` to its thread index.

    On a CPU the range is split over threads, which is only right for kernels whose threads write to places of their
    own. Chunks hold at least `smallest` indices.
    """
    if count == 0:
        return
    if device.type == "cuda":
        launch_on_cuda(kernel, count, [0, *arguments], device)
        return
    chunks = max(1, min(count // max(1, smallest), thread_count() * CHUNKS_PER_THREAD))
    if chunks > 1 and thread_count() == 1:
        chunks = 1
    load_for_cpu(kernel)
    bounds = [count * i // chunks for i in range(chunks + 1)]

    def job(first: int, last: int) -> Callable[[], None]:
        return lambda: launch_on_cpu(kernel, last - first, [first, *arguments])

    run_parallel([job(a, b) for a, b in pairwise(bounds) if b > a])


def load_for_cpu(kernel: Any) -> None:
    """Compile (or take from the user's cache) the kernel's module, once, before several threads want it."""
    with _FIRST_USE:
        _load_for_cpu(kernel)


@cache
def _load_for_cpu(kernel: Any) -> None:
    kernel.module.load(get_warp().get_device("cpu"))


def view(tensor: Tensor, dtype: Any = None) -> Any:
    """A tensor as a kernel argument, sharing its memory; it must be contiguous and outlive the launch."""
    return get_warp().from_torch(tensor, dtype=dtype, return_ctype=True, requires_grad=False)
