"""The parts of an MLP's input and the sizes of its layers."""

from __future__ import annotations

from torch import Tensor

MAX_LAYERS = 16
"""Most layers of the fused kernels."""
Part = tuple[Tensor, Tensor | None]
"""Values `[N, C]` and None, or rows `[B, C]` and the row `[N]` int64 of each sample."""


class PerceptronShape:
    """The sizes of an MLP: `layers` are the fan-in and fan-out of each layer."""

    def __init__(self, layers: list[tuple[int, int]], skip: int, bias: bool, half: bool) -> None:
        self.layers, self.skip, self.bias, self.half = layers, skip, bias, half
        self.outputs = layers[-1][1]
