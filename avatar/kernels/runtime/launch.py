"""Initialisation of Warp, and the launch of kernels on CPU threads or on CUDA.

On a CPU a Warp launch runs on the calling thread alone but releases the GIL, so `launch_chunks` splits an index range
between Python threads. On CUDA it is one launch on torch's current stream.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

CHUNKS_PER_THREAD = 4
"""Several chunks per thread balance uneven work (rays that miss, points far from the mesh)."""

_FIRST_USE = threading.RLock()
"""Held while Warp is initialised or a module compiled: `functools.cache` would let two threads do both at once."""


def get_warp() -> ModuleType:
    """The `warp` module, initialised on the first call, without banner, compile notes or missing-driver warning."""
    with _FIRST_USE:
        return _initialise_warp()


@cache
def _initialise_warp() -> ModuleType:
    # Warp's native library prints its warning about a missing CUDA driver directly to file descriptor 2. The descriptor
    # is redirected during initialisation, and everything else written to it is passed on.
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
def worker(place: int) -> ThreadPoolExecutor:
    """The helper thread `place` of the process for CPU launches: a pool of one thread.

    A place that is a processor of the process binds the thread to it. A launch lasts about a millisecond, and some
    operating system kernels, above all in virtual machines, would run a thread woken for that long on the processor of
    its waker, one after the other: measured 2.5 instead of 1.3 ms.
    """

    def bind() -> None:
        with suppress(OSError):
            os.sched_setaffinity(0, {place})  # of the calling thread alone

    name = f"avatar-kernel-{place}"
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=bind if place in processors() else None)


@cache
def processors() -> tuple[int, ...]:
    """The processors this process may run on, where threads can be bound to them (Linux); else none."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else ()


def helpers(count: int) -> list[ThreadPoolExecutor]:
    """`count` helper threads beside the calling one, bound to the other processors where all processors are used."""
    places = processors()
    if count + 1 != len(places):
        return [worker(-1 - i) for i in range(count)]
    here = _current_processor()
    return [worker(place) for place in places if place != here][:count]


@cache
def _sched_getcpu() -> Callable[[], int] | None:
    return getattr(ctypes.CDLL(None), "sched_getcpu", None)


def _current_processor() -> int:
    ask = _sched_getcpu()
    return -1 if ask is None else ask()


def thread_count() -> int:
    """Threads of a CPU launch: torch's own setting, so that one setting controls both."""
    return max(1, torch.get_num_threads())


def run_parallel(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run jobs on helper threads and the calling one; returns their results in order.

    Each thread takes the next job when it has finished one, which balances jobs of uneven length. An exception of a job
    is raised after all threads have ended.
    """
    threads = min(len(jobs), thread_count())
    if threads <= 1:
        return [job() for job in jobs]
    results: list[Any] = [None] * len(jobs)
    waiting = enumerate(jobs)  # shared between threads: `next` on it is atomic under the GIL

    def work() -> None:
        for place, job in waiting:
            results[place] = job()

    futures = [helper.submit(work) for helper in helpers(threads - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.exception()  # waits: a kernel must not outlive the tensors that it writes to
    for future in futures:
        future.result()
    return results


def share(count: int, parts: int) -> list[tuple[int, int]]:
    """The range 0 to `count` in `parts` equal pieces: first index and one past the last of each."""
    bounds = [count * i // parts for i in range(parts + 1)]
    return list(pairwise(bounds))


def worker_count(count: int, smallest: int, most: int | None = None) -> int:
    """Threads for `count` items, at least `smallest` for each, and at most `most` threads."""
    threads = thread_count() if most is None else min(thread_count(), most)
    return max(1, min(threads, count // smallest))


def launch_shares(launch: Callable[[int, int, int], None], count: int, workers: int) -> None:
    """Call `launch(worker, first, last)` for equal shares of `count` items, each on its own thread."""
    if count:
        pieces = enumerate(share(count, workers))
        run_parallel([partial(launch, worker, first, last) for worker, (first, last) in pieces])


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
    kernel: Any, count: int, arguments: Sequence[Any], device: torch.device, *, smallest: int = 512, even: bool = False
) -> None:
    """Launch `kernel(first, *arguments)` over the indices 0 to count - 1; the kernel adds `first` to its thread index.

    On a CPU the range is split between threads, which requires that no two indices write to the same element. Chunks
    have at least `smallest` indices. even: all indices take equally long, so one chunk per thread is best.
    """
    if count == 0:
        return
    if device.type == "cuda":
        launch_on_cuda(kernel, count, [0, *arguments], device)
        return
    per_thread = 1 if even else CHUNKS_PER_THREAD
    chunks = max(1, min(count // max(1, smallest), thread_count() * per_thread))
    if chunks > 1 and thread_count() == 1:
        chunks = 1
    load_for_cpu(kernel)

    def launch(_: int, first: int, last: int) -> None:
        launch_on_cpu(kernel, last - first, [first, *arguments])

    launch_shares(launch, count, chunks)


def load_for_cpu(kernel: Any) -> None:
    """Compile the kernel's module, or load it from the user's cache, once for all threads."""
    with _FIRST_USE:
        _load_for_cpu(kernel)


@cache
def _load_for_cpu(kernel: Any) -> None:
    kernel.module.load(get_warp().get_device("cpu"))


def view(tensor: Tensor, dtype: Any = None) -> Any:
    """A contiguous tensor as a kernel argument that shares its memory; the tensor must outlive the launch."""
    return get_warp().from_torch(tensor, dtype=dtype, return_ctype=True, requires_grad=False)
