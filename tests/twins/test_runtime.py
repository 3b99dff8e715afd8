"""Warp starts silently and once, work is split and joined, and the CUDA kernels build where there is no GPU."""

import os
import re
import subprocess
import sys
import threading

import pytest
import torch

from avatar.kernels.runtime import launch as warp_runtime


def test_warp_starts_without_a_word():
    """A fresh process: nothing of Warp's on standard output or error, what others write kept."""
    code = (
        "import os\n"
        "from avatar.kernels.mesh.op import MeshQuery\n"
        "import torch\n"
        "query = MeshQuery(torch.tensor([[0, 1, 2]])).update(torch.eye(3))\n"
        "assert query.closest_points(torch.zeros(1, 3)).face.tolist() == [0]\n"
        "os.write(2, b'mine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "mine")


def test_jobs_run_and_keep_their_order():
    assert warp_runtime.run_parallel([]) == []
    assert warp_runtime.run_parallel([lambda i=i: i * i for i in range(9)]) == [i * i for i in range(9)]


def test_jobs_run_beside_each_other():
    threads = torch.get_num_threads()
    barrier = threading.Barrier(2, timeout=20)
    try:
        torch.set_num_threads(2)
        warp_runtime.run_parallel([barrier.wait, barrier.wait])  # breaks where one waits for the other to end
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(len(warp_runtime.processors()) < 2, reason="needs Linux and two processors")
def test_helpers_have_processors_of_their_own_and_the_caller_stays_free():
    places = set(warp_runtime.processors())
    threads = torch.get_num_threads()
    barrier = threading.Barrier(len(places), timeout=20)

    def job() -> tuple[bool, frozenset[int]]:
        barrier.wait()  # so that every thread takes one
        return threading.current_thread() is caller, frozenset(os.sched_getaffinity(0))

    caller = threading.current_thread()
    try:
        torch.set_num_threads(len(places))
        found = warp_runtime.run_parallel([job] * len(places))
    finally:
        torch.set_num_threads(threads)
    bound = [allowed for mine, allowed in found if not mine]
    assert [allowed for mine, allowed in found if mine] == [places]
    assert len(bound) == len(set(bound)) == len(places) - 1
    assert all(len(allowed) == 1 for allowed in bound)


def test_a_failing_job_is_raised_after_all_are_done():
    done = []

    def fail() -> None:
        raise RuntimeError("job 1")

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # on one thread the jobs run in turn, and the one that fails is the last
        with pytest.raises(RuntimeError, match="job 1"):
            warp_runtime.run_parallel([lambda: done.append(0), fail, lambda: done.append(2)])
    finally:
        torch.set_num_threads(threads)
    assert sorted(done) == [0, 2]


@pytest.mark.slow
def test_kernels_build_for_cuda(tmp_path):
    """Warp brings NVRTC along: the code for a GPU compiles without one."""
    from avatar.kernels.hash_grid.portable import make_kernels
    from avatar.kernels.mesh import portable as mesh_kernels

    warp = warp_runtime.get_warp()
    kernels = [mesh_kernels.cast_rays_kernel]
    for dtype in (warp.float32, warp.float16):
        kernels += vars(make_kernels(2, dtype)).values()
    for number, kernel in enumerate(kernels):
        folder = tmp_path / str(number)
        folder.mkdir()
        warp.compile_aot_module(kernel.module, arch=90, module_dir=str(folder), use_ptx=True)
        code = next(folder.glob("*.ptx")).read_text()
        assert kernel.key in code
        if "gradient" in kernel.key:
            # one load, one addition a corner, and one addition of the slope
            assert len(re.findall(r"ld\.global\.nc\.v2\.u(16|32)", code)) >= 8
            assert len(re.findall(r"red\.global\.add\.v2\.f32", code)) == 8
            assert len(re.findall(r"red\.global\.add\.v4\.f32", code)) == 1
            assert "atom." not in code
