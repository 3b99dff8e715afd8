"""Networks, rays and meshes that `benchmark_kernels.py` times, on random inputs and on the shipped head."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from benchmark_hash import bank_contests, hash_contests
from benchmark_timing import Bench, Contest, Differentiable, Prepare, directions
from torch import Tensor

from avatar.base.optional import is_installed
from avatar.config import WarpConfig
from avatar.field.displacement import DisplacementGrids
from avatar.flame.library import load_head
from avatar.flame.model import HeadModel, HeadParameters
from avatar.flame.rasterize import rasterize
from avatar.geometry.cameras import Camera
from avatar.kernels.march.op import march
from avatar.kernels.march.types import MarchMotion, MarchSpace
from avatar.kernels.mesh.op import MeshQuery
from avatar.kernels.mlp import reference as mlp_reference
from avatar.kernels.mlp.op import fused_mlp, multiplies_bfloat16
from avatar.kernels.volume import op as volume
from avatar.kernels.volume import reference as volume_reference


def all_contests(bench: Bench, *, compiled: bool, names: tuple[str, ...] = ()) -> Iterator[Contest]:
    """Every task for a device, one after another: inputs are made when their turn comes. names: only tasks whose name
    begins with one of these."""
    groups: dict[str, Callable[[], Iterator[Contest]]] = {
        "hash_encode": lambda: hash_contests(bench, compiled),
        "bank": lambda: bank_contests(bench),
        "mlp": lambda: mlp_contests(bench),
        "ray_march": lambda: march_contests(bench),
        "volume_rendering": lambda: volume_contests(bench),
        "silhouette closest_points displacement": lambda: mesh_contests(bench),
    }
    for title, group in groups.items():
        if not names or any(part.startswith(name) or name.startswith(part) for name in names for part in title.split()):
            for contest in group():
                if not names or contest.kernel.startswith(names):
                    yield contest


# -- networks ----------------------------------------------------------------------------------------------------------


def mlp_contests(bench: Bench) -> Iterator[Contest]:
    """24 inputs, two hidden layers of 64, 16 outputs."""
    count, sizes = bench.size(65_536), [24, 64, 64, 16]
    x = (bench.rand(count, sizes[0]) - 0.5).requires_grad_()
    weights = [((bench.rand(b, a) - 0.5) * 2 / math.sqrt(a)).requires_grad_() for a, b in pairwise(sizes)]
    biases = [torch.zeros(b, device=bench.device, requires_grad=True) for b in sizes[1:]]

    def run(function: Callable[..., Tensor], dtype: torch.dtype) -> Differentiable:
        return lambda x, *p: function([(x, None)], p[: len(weights)], p[len(weights) :], dtype=dtype).float()

    functions = {
        "warp": run(fused_mlp, torch.float32),
        "warp bfloat16": run(fused_mlp, torch.bfloat16),
        "torch": run(mlp_reference.mlp, torch.float32),
        "torch bfloat16": run(mlp_reference.mlp, torch.bfloat16),
    }
    if bench.device.type == "cuda":
        bench.skip("mlp 24-64-64-16", "warp", "the fused kernel is for CPUs")
        del functions["warp"], functions["warp bfloat16"]
    elif not multiplies_bfloat16():
        bench.skip("mlp 24-64-64-16", "warp bfloat16", "the processor lacks AVX-512 BF16")
        del functions["warp bfloat16"]
    inputs = {name: [x, *weights, *biases] for name in functions}
    if bench.device.type == "cuda" and is_installed("tinycudann"):
        from avatar.field.tcnn import TcnnMlp

        network = TcnnMlp(sizes[0], 64, 2, sizes[-1]).to(bench.device)
        functions["tcnn"] = lambda x, *_: network([(x, None)])
        inputs["tcnn"] = [x, *network.parameters()]
    else:
        bench.skip("mlp 24-64-64-16", "tcnn", "CUDA only, and tinycudann must be installed")
    contest = Contest("mlp 24-64-64-16", "float32", "", count, bench.device)
    contest.dtypes.update({"warp bfloat16": "bfloat16", "torch bfloat16": "bfloat16", "tcnn": "float16"})
    yield from directions(contest, functions, inputs)


# -- rays --------------------------------------------------------------------------------------------------------------


def march_contests(bench: Bench) -> Iterator[Contest]:
    """A training batch's rays and a 256 x 256 picture's, around the shipped head with its displacement grids."""
    head = _Head.make(bench)
    low, cells = head.vertices.amin(0) - 0.06, (64, 64, 64)
    cell = (head.vertices.amax(0) + 0.06 - low) / 64
    axes = [(torch.arange(64, device=bench.device) + 0.5) * cell[i] + low[i] for i in range(3)]
    centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    distance = head.query.closest_points(centres, 0.05).distance.view(cells)
    still = torch.eye(4, device=bench.device)
    space = MarchSpace(low, cell, cells, (-0.1, -0.2), still)
    layout, frames = head.grids.layout, 8
    motion = MarchMotion(
        still[None, :3].expand(frames, 3, 4).contiguous(),
        torch.tensor([[0.0, 1.0, 0.0, 0.0]], device=bench.device).expand(frames, 4).contiguous(),
        head.grids.build(head.params.select([0])).expand(frames, -1, -1).contiguous(),
        *(getattr(layout, name) for name in ("origin", "cell", "counts", "offsets")),
    )
    for rays in (bench.size(2048), bench.size(65_536))[: 1 if bench.quick else 2]:
        spread = bench.rand(rays, 3) - 0.5
        origins = torch.tensor([0.0, 0.0, 1.0], device=bench.device).expand(rays, 3).contiguous()
        aims = torch.nn.functional.normalize(spread * 0.3 - origins, dim=-1)
        runs: dict[str, Prepare] = {}
        # the twin looks at every step of every ray: a whole picture would take it five seconds a round
        for backend in ("warp", "torch") if rays <= 2048 else ("warp",):

            def run(backend: str = backend, origins: Tensor = origins, aims: Tensor = aims) -> None:
                count = len(origins)
                march(
                    space,
                    motion,
                    origins,
                    aims,
                    torch.arange(count, device=bench.device) % frames,
                    origins.new_full((count,), 0.7),
                    origins.new_full((count,), 1.3),
                    step=0.005,
                    offset=origins.new_full((count,), 0.5),
                    dilated=distance < 0.04,
                    occupied=distance < 0.015,
                    max_samples=64,
                    backend=backend,
                )

            runs[backend] = lambda run=run: run
        yield Contest("ray_march", "float32", "forward", rays, bench.device, runs)
    bench.skip("ray_march", "nerfacc", "it cannot bend rays")


def volume_contests(bench: Bench) -> Iterator[Contest]:
    """Weights of packed samples and the colour, depth and opacity they sum to; 32 samples on each ray on average."""
    rays = bench.size(2048)
    counts = torch.randint(65, (rays,), generator=bench.generator())
    first = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).to(bench.device)
    optical_depth = (bench.rand(int(first[-1])) * 0.2).requires_grad_()
    values = bench.rand(int(first[-1]), 4).requires_grad_()

    def render(weigh: Callable[..., tuple[Tensor, Tensor]], total: Callable[..., Tensor]) -> Differentiable:
        def run(t: Tensor, v: Tensor) -> Tensor:
            weights, _ = weigh(t, first)
            return torch.cat([total(weights, first, v), total(weights, first).unsqueeze(1)], 1)

        return run

    functions = {
        "warp": render(volume.render_weights, volume.sum_along_rays),
        "torch": render(volume_reference.render_weights, volume_reference.sum_along_rays),
    }
    if bench.device.type == "cuda" and is_installed("nerfacc"):
        from avatar.kernels.volume import nerfacc as volume_nerfacc

        ray = torch.repeat_interleave(torch.arange(rays, device=bench.device), first.diff())
        functions["nerfacc"] = render(
            lambda t, _: volume_nerfacc.render_weights(t, ray, rays), volume_reference.sum_along_rays
        )
    else:
        bench.skip("volume_rendering", "nerfacc", "CUDA only, and nerfacc must be installed")
    contest = Contest("volume_rendering", "float32", "", len(optical_depth), bench.device)
    yield from directions(contest, functions, {name: [optical_depth, values] for name in functions})


# -- meshes ------------------------------------------------------------------------------------------------------------


@dataclass
class _Head:
    """The shipped head with a strong expression."""

    params: HeadParameters
    vertices: Tensor
    query: MeshQuery
    grids: DisplacementGrids

    @staticmethod
    def make(bench: Bench) -> _Head:
        asset = load_head("open-head")
        model = HeadModel(asset).to(bench.device)
        still = HeadParameters.neutral(asset, device=bench.device)
        jaw = torch.tensor([[0.25, 0.0, 0.0]], device=bench.device)
        params = dataclasses.replace(still, expr=bench.rand(*still.expr.shape) * 0.3, jaw=jaw)
        config = WarpConfig(resolution=12, fine_cell=0.008) if bench.quick else WarpConfig()
        vertices = model(params).vertices[0]
        query = MeshQuery(torch.as_tensor(asset.faces, device=bench.device), bench.device).update(vertices)
        return _Head(params, vertices, query, DisplacementGrids(model, asset, still, config))


def mesh_contests(bench: Bench) -> Iterator[Contest]:
    """Silhouette, closest points and displacement field of the shipped head. The twins try every triangle: no match."""
    head = _Head.make(bench)
    size = 64 if bench.quick else 512
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).double().numpy()
    pose[:3, 3] = (*head.vertices.mean(0)[:2].tolist(), 0.9)
    camera = Camera(size, size, size * 2.2, size * 2.2, size / 2, size / 2, pose)
    rasterisers: dict[str, Prepare] = {"warp": lambda: lambda: rasterize(head.query, head.vertices, camera)}
    if bench.device.type == "cuda" and is_installed("pytorch3d"):
        rasterisers["pytorch3d"] = lambda: lambda: rasterize(head.query, head.vertices, camera, backend="pytorch3d")
    else:
        bench.skip("silhouette", "pytorch3d", "timed on CUDA and where installed; on a CPU it takes 23 s a picture")
    yield Contest(f"silhouette {size}x{size}", "float32", "forward", size * size, bench.device, rasterisers)

    # on a CPU also CUDA's kernel, a walk through the tree for each point, which shows what packets gain
    queries = {"warp": head.query}
    if bench.device.type == "cpu":
        queries["warp-portable"] = MeshQuery(head.query.faces, portable=True).update(head.vertices)
    nodes = head.grids.active_nodes
    closest: dict[str, Prepare] = {
        name: (lambda query=query: lambda: query.closest_points(nodes, 0.055)) for name, query in queries.items()
    }
    yield Contest("closest_points", "float32", "forward", len(nodes), bench.device, closest)

    grids = head.grids

    def build(query: MeshQuery) -> Prepare:
        def run() -> None:
            grids.query = query
            grids.build(head.params)

        return lambda: run

    fields = {name: build(query) for name, query in queries.items()}
    yield Contest("displacement field of a frame", "float32", "forward", len(nodes), bench.device, fields)
