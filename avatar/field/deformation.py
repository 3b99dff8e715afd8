"""The per-frame deformation field: a translation for every point and latent code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avatar.config import DeformationConfig
from avatar.field.encodings import band_window, frequency_size
from avatar.field.networks import Mlp
from avatar.kernels.frequency.op import frequency_encode

OUTPUT_SCALE = 0.1
"""Translation in box units for a network output of 1: Adam's first steps then move points by millimetres."""


class TranslationField(nn.Module):
    """D(gamma_alpha(x), omega): Nerfies' translation field (Park et al. 2021, sections 3.2 and 3.4).

    Positions and translations are in units of the box's half size, so that the box is one period of the first band.
    The last layer is initialised near zero, so that the deformation starts as the identity.
    """

    def __init__(self, config: DeformationConfig, dtype: torch.dtype = torch.float32, *, backend: str = "auto") -> None:
        super().__init__()
        self.config, self.backend = config, backend
        inputs = frequency_size(3, config.bands) + config.code_size
        self.network = Mlp(
            inputs, config.width, config.layers, 3, skip=config.skip, dtype=dtype, final_scale=1e-4, backend=backend
        )

    def window(self, progress: float) -> float:
        """The window (alpha of Nerfies) at a share `progress` of the training: rises linearly from 0 to all bands."""
        if not self.config.coarse_to_fine:
            return float(self.config.bands)
        return self.config.bands * min(progress / max(self.config.coarse_to_fine_end, 1e-6), 1.0)

    def forward(self, points: Tensor, codes: Tensor, frame: Tensor, window: float) -> Tensor:
        """Translations `[N, 3]` of points `[N, 3]`, in box units, with the codes `[B, code_size]` of `frame` `[N]`.

        window: coarse-to-fine window, from the method `window`.
        """
        weights = band_window(self.config.bands, window, device=points.device)
        encoded = frequency_encode(points, self.config.bands, weights, backend=self.backend)
        return OUTPUT_SCALE * self.network([(encoded, None), (codes, frame)]).to(points.dtype)
