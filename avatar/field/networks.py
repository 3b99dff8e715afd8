"""Small multilayer perceptrons that may compute in bfloat16 while their parameters stay float32."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from avatar.kernels import reference
from avatar.kernels.fused_mlp import Part, fused_mlp

NARROW = 96
"""Up to this width the fused float32 kernel of a CPU beats layers in bfloat16 (docs/benchmarks)."""


def choose_precision(name: str, device: torch.device, width: int) -> torch.dtype:
    """The arithmetic a setting of `auto`, `float32` or `bfloat16` means for layers of `width` units on `device`.

    bfloat16 pays where the hardware multiplies it natively: AVX-512 BF16 or AMX on a CPU (for wide layers: narrow ones
    are faster in the fused kernel, which has no need to write them to memory), Ampere or later on CUDA.
    """
    if name == "bfloat16":
        return torch.bfloat16
    if name == "auto":
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported() and _cpu_multiplies_bfloat16()
        if device.type == "cpu" and width > NARROW and native:
            return torch.bfloat16
    return torch.float32


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has dot products of bfloat16; emulation is slower than float32."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(check() for check in checks if check is not None)


class Mlp(nn.Module):
    """Linear layers with ReLU between them; the input is concatenated again before layer `skip`.

    `forward` takes the parts of its input (see `fused_mlp.Part`) and returns `[N, outputs]` in `dtype`. The backend
    "torch" goes layer by layer in plain PyTorch, any other takes `fused_mlp`.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        hidden: int,
        outputs: int,
        *,
        skip: int = 0,
        dtype: torch.dtype = torch.float32,
        final_scale: float | None = None,
        bias: bool = True,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.skip, self.dtype, self.backend = skip, dtype, backend
        sizes = [inputs] + [width] * hidden + [outputs]
        layers = []
        for index, (before, after) in enumerate(pairwise(sizes)):
            layer = nn.Linear(before + (inputs if skip and index == skip else 0), after, bias=bias)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if bias:
                nn.init.zeros_(layer.bias)
            layers.append(layer)
        if final_scale is not None:
            nn.init.uniform_(layers[-1].weight, -final_scale, final_scale)
        self.layers = nn.ModuleList(layers)

    def forward(self, parts: Sequence[Part]) -> Tensor:
        weights = [layer.weight for layer in self.layers]
        biases = None if self.layers[0].bias is None else [layer.bias for layer in self.layers]
        evaluate = reference.mlp if self.backend == "torch" else fused_mlp
        return evaluate(parts, weights, biases, skip=self.skip, dtype=self.dtype)
