"""The per-frame deformation field: a translation for every point and code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.config import DeformationConfig
from avatar.field.encodings import band_window, frequency_size
from avatar.field.networks import Mlp
from avatar.kernels.frequency.op import frequency_encode

OUTPUT_SCALE = 0.1
"""The network's output of 1 moves a point by a tenth of the box: Adam's first steps then move it by millimetres."""


class TranslationField(nn.Module):
    """D(gamma_alpha(x), omega): Nerfies' translation field (Park et al. 2021, sections 3.2 and 3.4).

    Positions and translations are in units of the box's half size, so that the first band covers the box once.
    The last layer starts near zero: at the start every point stays where it is.
    """

    def __init__(self, config: DeformationConfig, dtype: torch.dtype = torch.float32, *, backend: str = "auto") -> None:
        super().__init__()
        self.config, self.backend = config, backend
        inputs = frequency_size(3, config.bands) + config.code_size
        self.network = Mlp(
            inputs, config.width, config.layers, 3, skip=config.skip, dtype=dtype, final_scale=1e-4, backend=backend
        )

    def window(self, progress: float) -> float:
        """Bands that are open at a share `progress` of the training; rises linearly from 0."""
        if not self.config.coarse_to_fine:
            return float(self.config.bands)
        return self.config.bands * min(progress / max(self.config.coarse_to_fine_end, 1e-6), 1.0)

    def forward(self, points: Tensor, codes: Tensor, frame: Tensor, window: float) -> Tensor:
        """Translations `[N, 3]` of points `[N, 3]` in box units, under the codes `[B, code_size]` of frames `[N]`.

        window: open bands, as `window` gives them.
        """
        weights = band_window(self.config.bands, window, device=points.device)
        encoded = frequency_encode(points, self.config.bands, weights, backend=self.backend)
        return OUTPUT_SCALE * self.network([(encoded, None), (codes, frame)]).to(points.dtype)
