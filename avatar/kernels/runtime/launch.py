"""Warp, set up once and quietly, and the one way the project launches its kernels.

On a CPU a Warp launch runs on the calling thread alone, but releases the GIL: `launch_chunks` splits an index range
over a few Python threads. On CUDA it is one launch on torch's current stream.
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
def worker(place: int) -> ThreadPoolExecutor:
    """The process's `place`-th helper thread for CPU launches: a pool of one.

    Where the process may use as many processors as there are, each helper is bound to one of them. A launch lasts about
    a millisecond, and some kernels (virtual machines that pack their processors, above all) would run a thread woken
    for that long on its waker's processor, one after the other: measured 2.5 instead of 1.3 ms.
    """

    def bind() -> None:
        with suppress(OSError):
            os.sched_setaffinity(0, {place})  # of the calling thread alone

    name = f"avatar-kernel-{place}"
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=bind if place in processors() else None)


@cache
def processors() -> tuple[int, ...]:
    """The processors this process may run on, where the system can tell and bind threads (Linux); else none."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_setaffinity") else ()


def helpers(count: int) -> list[ThreadPoolExecutor]:
    """`count` helper threads beside the calling one, bound to the other processors where all are in use."""
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
    """Threads a CPU launch is split over: torch's own setting, so that one knob rules both."""
    return max(1, torch.get_num_threads())


def run_parallel(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run the jobs on helper threads and this one, return their results in order; an exception is raised at the end.

    Each thread takes the next job as soon as it has done one, so jobs of uneven length even out.
    """
    threads = min(len(jobs), thread_count())
    if threads <= 1:
        return [job() for job in jobs]
    results: list[Any] = [None] * len(jobs)
    waiting = enumerate(jobs)  # shared: taking from it is one step under the interpreter's lock

    def work() -> None:
        for place, job in waiting:
            results[place] = job()

    futures = [helper.submit(work) for helper in helpers(threads - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.exception()  # wait: a kernel must not outlive the tensors it writes to
    for future in futures:
        future.result()
    return results


def share(count: int, parts: int) -> list[tuple[int, int]]:
    """The indices 0 to `count` in `parts` equal pieces: first and one past the last of each."""
    bounds = [count * i // parts for i in range(parts + 1)]
    return list(pairwise(bounds))


def worker_count(count: int, smallest: int, most: int | None = None) -> int:
    """Threads for work on `count` things of which `smallest` are worth one; at most `most`."""
    threads = thread_count() if most is None else min(thread_count(), most)
    return max(1, min(threads, count // smallest))


def launch_shares(launch: Callable[[int, int, int], None], count: int, workers: int) -> None:
    """Call `launch(worker, first, last)` for equal shares of `count` things, each worker on a thread of its own."""
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
    """Launch `kernel(first, *arguments)` over the indices 0 to count; the kernel adds `first` to its thread index.

    On a CPU the range is split over threads, which is only right for kernels whose threads write to places of their
    own. Chunks hold at least `smallest` indices. even: all indices take equally long, so one chunk a thread is best.
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
    """Compile (or take from the user's cache) the kernel's module, once, before several threads want it."""
    with _FIRST_USE:
        _load_for_cpu(kernel)


@cache
def _load_for_cpu(kernel: Any) -> None:
    kernel.module.load(get_warp().get_device("cpu"))


def view(tensor: Tensor, dtype: Any = None) -> Any:
    """A tensor as a kernel argument, sharing its memory; it must be contiguous and outlive the launch."""
    return get_warp().from_torch(tensor, dtype=dtype, return_ctype=True, requires_grad=False)
