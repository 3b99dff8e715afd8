"""`avatar doctor`: what this machine offers, and whether everything needed works."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from avatar import __version__
from avatar.app.outcome import Outcome
from avatar.base.errors import AvatarError, MissingDependencyError
from avatar.base.optional import install_line, is_installed

PACKAGE = "flame-avatar"
OPTIONAL = ("lpips", "dlib", "pyvirtualcam", "c2pa")  # those with a part in the backends are listed with them
SMALLEST_FREE_GIB = 2.0
SMALLEST_MEMORY_GIB = 6.0


def examine() -> Outcome:
    """Print what was found line by line; returns when the machine can run everything.

    Raises MissingDependencyError naming what does not work.
    """
    print(f"avatar {__version__}, Python {platform.python_version()} at {sys.executable}")
    print(f"platform: {platform.platform()}, {core_count()} cores, {memory_gib():.1f} GiB of memory")
    faults = [] if (3, 10) <= sys.version_info[:2] <= (3, 13) else ["Python must be 3.10 to 3.13"]
    for name in needed():
        version = version_of(name)
        print(f"  {name:<22} {version or 'missing'}")
        faults += [] if version else [f"{name} is missing"]
    for name in OPTIONAL:
        found = (
            (version_of(name) or "found") if is_installed(name) else f"not installed; optional: {install_line(name)}"
        )
        print(f"  {name:<22} {found}")
    signing, refusal = signing_state()
    print(f"  {'C2PA manifests':<22} {signing}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    print(f"free disk here: {free:.1f} GiB")
    warnings = [f"little free disk: {free:.1f} GiB, a run takes about 1"] if free < SMALLEST_FREE_GIB else []
    warnings += [refusal] if refusal else []
    if memory_gib() < SMALLEST_MEMORY_GIB:
        warnings.append(
            f"little memory: {memory_gib():.1f} GiB, creating an avatar takes up to {SMALLEST_MEMORY_GIB:.0f}"
        )
    if not faults:
        print_backends()
        for label, check in CHECKS.items():
            began = time.monotonic()
            try:
                result = check()
            except Exception as error:  # the point of a doctor: any failure is a finding
                faults.append(f"{label}: {error}")
                print(f"  {label:<22} FAILED: {type(error).__name__}: {error}")
            else:
                print(f"  {label:<22} {result} ({time.monotonic() - began:.1f} s)")
    for warning in warnings:
        print(f"warning: {warning}")
    if faults:
        raise MissingDependencyError(
            "this machine cannot run avatar yet",
            found="; ".join(faults),
            fix="remove .venv and run scripts/test.sh, or: pip install -r requirements.lock && "
            "python -m capture_tools.fetch_models",
        )
    return Outcome(
        lines=["everything needed works"],
        next_step="avatar demo --out runs/demo   or   avatar create VIDEO --out runs/me",
    )


def signing_state() -> tuple[str, str | None]:
    """Whether what is rendered is signed, and what stands in the way where it was asked for."""
    from avatar.media.manifest import CERTIFICATE, KEY, require_signing, signing_is_asked_for

    if not signing_is_asked_for():
        return f"none: {CERTIFICATE} and {KEY} name no certificate (docs/design.md, section 15)", None
    try:
        require_signing()
    except AvatarError as error:
        return "cannot be signed, see the warning below", str(error)
    return f"signed with {os.environ[CERTIFICATE]}", None


def print_backends() -> None:
    """What does the heavy work on the device that training would use, and why; for the others, what they lack."""
    import torch

    from avatar.kernels.runtime.backends import survey

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"backends that auto takes on {device} (section `backends` of the settings):")
    for line in survey(device):
        print(line)


def check_torch() -> str:
    import torch

    if torch.cuda.is_available():
        return f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name(0)}: preset fast"
    return f"no CUDA GPU, {torch.get_num_threads()} threads: preset cpu"


def check_kernels() -> str:
    """The Warp kernels against their PyTorch twins on the device that training would use."""
    import torch

    from avatar.kernels.hash_grid.op import hash_encode
    from avatar.kernels.hash_grid.types import HashGridSpec

    device = "cuda" if torch.cuda.is_available() else "cpu"
    spec = HashGridSpec(levels=4, log2_entries=10)
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(1, spec.table_size, spec.features, generator=generator).to(device)
    points = torch.rand(500, 3, generator=generator).to(device)
    kernel, twin = (hash_encode(points, table, spec, backend=backend) for backend in ("warp", "torch"))
    difference = float((kernel - twin).abs().max())
    if not difference < 1e-4:
        raise AvatarError("the Warp kernel and its PyTorch twin differ", found=difference)
    return f"Warp on {device}, agrees with PyTorch to {difference:.0e}"


def check_head() -> str:
    """The open head's silhouette, through the head model and the mesh rays."""
    import torch

    from avatar.flame.library import load_head
    from avatar.flame.model import HeadModel, HeadParameters
    from avatar.flame.rasterize import rasterize
    from avatar.geometry.cameras import Camera, look_at

    asset = load_head()
    with torch.no_grad():
        vertices = HeadModel(asset)(HeadParameters.neutral(asset)).vertices[0]
        camera = Camera(64, 64, 160.0, 160.0, 32.0, 32.0, look_at((0.0, 0.0, 1.0), (0.0, 0.0, 0.0)))
        mask = rasterize(torch.as_tensor(asset.faces), vertices, camera).mask
    share = float(mask.float().mean())
    if not 0.05 < share < 0.95:
        raise AvatarError(
            "the open head's silhouette is wrong", expected="5 % to 95 % of the picture", found=f"{share:.0%}"
        )
    return f"{asset.name}, {asset.vertex_count} vertices, {asset.expression_count} expressions"


def check_landmarks() -> str:
    import numpy as np

    from capture_tools.detect.landmark_detector import LandmarkDetector

    pixels, faces = LandmarkDetector(static=True).detect(np.full((96, 96, 3), 128, np.uint8))
    if pixels is not None or faces:
        raise AvatarError("the landmark detector found a face in a grey picture")
    return "detector loads and runs"


def check_video() -> str:
    import tempfile

    import numpy as np

    from avatar.media.video import probe_video, write_video

    with tempfile.TemporaryDirectory() as folder:
        frames = [np.full((32, 32, 3), 90, np.uint8)] * 3
        path = write_video(Path(folder) / "a.mp4", frames, 25.0, synthetic=True, source=None)
        info = probe_video(path)
    return f"H.264 written and read, {info.width}x{info.height}"


CHECKS: dict[str, Callable[[], str]] = {
    "torch": check_torch,
    "kernels": check_kernels,
    "head model": check_head,
    "landmarks": check_landmarks,
    "video": check_video,
}


def needed() -> list[str]:
    """Names of all packages that this one declares to need, extras left out.

    Raises MissingDependencyError where the program runs from a folder without having been installed.
    """
    try:
        declared = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as cause:
        raise MissingDependencyError(f"{PACKAGE} is not installed", fix="pip install -e .") from cause
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in declared if "extra ==" not in line]


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gib() -> float:
    """Physical memory in GiB, 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0
