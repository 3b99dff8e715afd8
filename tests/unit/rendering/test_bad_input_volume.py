"""What packed volume rendering refuses before it computes anything."""

import pytest
import torch

from avatar.base.errors import ConfigError, InputError
from avatar.rendering.sampling import Samples
from avatar.rendering.volume import accumulate, render_weights

NAN, INF = float("nan"), float("inf")
RAY = torch.tensor([0, 0, 2, 2, 3])


def packed(**change):
    parts = {"ray": RAY, "depth": torch.linspace(0.1, 0.5, 5), "deltas": torch.full((5,), 0.01), "rays": 4}
    return Samples(**{**parts, **change})


DENSITY = torch.linspace(0.5, 1.0, 5)
BAD_DENSITIES = {
    "NaN": (DENSITY.where(DENSITY < 0.9, NAN), "densities must be finite"),
    "infinite": (DENSITY.where(DENSITY < 0.9, INF), "densities must be finite"),
    "negative": (DENSITY - 0.6, "densities must be finite and not negative"),
    "half": (DENSITY.half(), "densities cannot be used"),
    "int": (DENSITY.long(), "densities cannot be used"),
    "too few": (DENSITY[:-1], "densities cannot be used"),
    "a column": (DENSITY.unsqueeze(1), "densities cannot be used"),
    "elsewhere": (DENSITY.to("meta"), "another device"),
}
BAD_SAMPLES = {
    "NaN deltas": ({"deltas": torch.full((5,), NAN)}, "deltas must be finite"),
    "negative deltas": ({"deltas": torch.full((5,), -0.1)}, "deltas must be finite and not negative"),
    "deltas of other length": ({"deltas": torch.ones(4)}, "deltas cannot be used"),
    "depth of other length": ({"depth": torch.ones(6)}, "depths cannot be used"),
    "rays out of order": ({"ray": RAY.flip(0)}, "ray after ray"),
    "rays out of range": ({"ray": RAY + 1}, "ray after ray"),
    "negative rays": ({"ray": RAY - 1}, "ray after ray"),
    "rays of other type": ({"ray": RAY.int()}, "ray indices cannot be used"),
}


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("case", BAD_DENSITIES)
def test_bad_densities_are_refused(case, backend):
    density, message = BAD_DENSITIES[case]
    with pytest.raises(InputError, match=message):
        render_weights(density, packed(), backend=backend)


@pytest.mark.parametrize("backend", ["warp", "torch"])
@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_bad_samples_are_refused(case, backend):
    change, message = BAD_SAMPLES[case]
    with pytest.raises(InputError, match=message):
        render_weights(DENSITY, packed(**change), backend=backend)


@pytest.mark.parametrize(
    ("weights", "values", "message"),
    [
        (DENSITY[:-1], None, "weights cannot be used"),
        (DENSITY.long(), None, "weights cannot be used"),
        (DENSITY, torch.ones(4, 3), "values cannot be used"),
        (DENSITY, torch.ones(5), "values cannot be used"),
        (DENSITY, torch.ones(5, 3, dtype=torch.float64), "values cannot be used"),
    ],
)
def test_sums_of_what_does_not_fit_are_refused(weights, values, message):
    with pytest.raises(InputError, match=message):
        accumulate(weights, packed(), values)


@pytest.mark.parametrize("backend", ["warp", "torch"])
def test_no_samples_weigh_nothing(backend):
    none = Samples(RAY[:0], DENSITY[:0], DENSITY[:0], 4)
    weights, transmittance = render_weights(DENSITY[:0], none, backend=backend)
    assert weights.shape == transmittance.shape == (0,)
    assert accumulate(weights, none, torch.ones(0, 3)).tolist() == [[0.0] * 3] * 4


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match="unknown backend"):
        render_weights(DENSITY, packed(), backend="magic")
