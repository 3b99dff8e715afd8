from __future__ import annotations

import math

import numpy as np
import pytest

from avatar.training import metrics


def seeded_images() -> tuple[np.ndarray, np.ndarray]:
    """The pair of 48 x 64 images that the scikit-image figures below belong to."""
    rng = np.random.default_rng(2004)
    y, x = np.mgrid[0:48, 0:64]
    waves = [127 + 100 * np.sin(x / 7), 127 + 100 * np.cos(y / 5 + x / 11), 127 + 100 * np.sin((x + y) / 9)]
    base = np.stack(waves, -1)
    first = np.clip(np.rint(base + rng.normal(0, 8, base.shape)), 0, 255).astype(np.uint8)
    second = np.clip(np.rint(base * 0.9 + 5 + rng.normal(0, 12, base.shape)), 0, 255).astype(np.uint8)
    assert (int(first.sum()), int(second.sum())) == (1234498, 1156173), "numpy draws other numbers now"
    return first, second


def test_psnr_and_ssim_equal_scikit_image():
    """scikit-image 0.26.0: structural_similarity(a, b, channel_axis=2, gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=255) and peak_signal_noise_ratio(a, b, data_range=255)."""
    first, second = seeded_images()
    assert metrics.ssim(first, second) == pytest.approx(0.6621410284625479, abs=1e-9)
    assert metrics.psnr(first, second) == pytest.approx(22.891410672199886, abs=1e-9)


def test_ssim_by_brute_force():
    """Wang et al. 2004, window by window."""
    first, second = (image[:20, :17] for image in seeded_images())
    offsets = np.arange(11) - 5
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    values = []
    for channel in range(3):
        for top in range(10):
            for left in range(7):
                a = first[top : top + 11, left : left + 11, channel].astype(float)
                b = second[top : top + 11, left : left + 11, channel].astype(float)
                mean_a, mean_b = (kernel * a).sum(), (kernel * b).sum()
                var_a, var_b = (kernel * (a - mean_a) ** 2).sum(), (kernel * (b - mean_b) ** 2).sum()
                covariance = (kernel * (a - mean_a) * (b - mean_b)).sum()
                c1, c2 = 6.5025, 58.5225
                values.append(
                    (2 * mean_a * mean_b + c1)
                    * (2 * covariance + c2)
                    / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
                )
    assert metrics.ssim(first, second) == pytest.approx(np.mean(values), abs=1e-10)


def test_known_values():
    black = np.zeros((16, 16, 3), np.uint8)
    assert metrics.psnr(black, black) == 100.0
    assert metrics.psnr(black, black + 1) == pytest.approx(48.1308036)
    assert metrics.psnr(black, black + 255) == 0.0
    assert metrics.ssim(black, black) == 1.0
    assert metrics.ssim(black, black + 255) == pytest.approx(6.5025 / (255**2 + 6.5025))


def test_psnr_does_not_wrap_around():
    low, high = np.full((4, 4, 3), 10, np.uint8), np.full((4, 4, 3), 20, np.uint8)
    assert metrics.psnr(low, high) == metrics.psnr(high, low) == pytest.approx(20 * math.log10(25.5))


def test_masked_psnr_by_brute_force():
    first, second = seeded_images()
    mask = np.random.default_rng(0).random(first.shape[:2]) < 0.2
    total = number = 0
    for y, x in zip(*np.nonzero(mask), strict=True):
        for channel in range(3):
            total += (int(first[y, x, channel]) - int(second[y, x, channel])) ** 2
            number += 1
    expected = 10 * math.log10(255**2 / (total / number))
    assert metrics.psnr(first, second, mask) == pytest.approx(expected, abs=1e-9)
    assert abs(metrics.psnr(first, second, ~mask) - expected) > 0.01, "the mask matters"
    assert metrics.psnr(first, second, np.zeros_like(mask)) is None


def test_masked_psnr_sees_only_the_mask():
    first, second = (image.copy() for image in seeded_images())
    mask = np.zeros(first.shape[:2], bool)
    mask[10:20, 30:50] = True
    second[mask] = first[mask]
    assert metrics.psnr(first, second, mask) == 100.0
    assert metrics.psnr(first, second, ~mask) < 23


def test_box_psnr_takes_x_before_y():
    first, second = (image.copy() for image in seeded_images())
    second[10:20, 30:50] = first[10:20, 30:50]
    assert metrics.box_psnr(first, second, (30, 10, 50, 20)) == 100.0
    assert metrics.box_psnr(first, second, (10, 30, 20, 48)) < 30
    assert metrics.box_psnr(first, second, (30, 10, 51, 20)) < 100.0
    assert metrics.box_psnr(first, second, (0, 0, 0, 0)) is None


def test_only_8_bit_images_of_one_size():
    image = np.zeros((16, 16, 3), np.uint8)
    for other in (image.astype(np.float32), image[:15], image[..., 0], image[..., :2]):
        for metric in (metrics.psnr, metrics.ssim):
            with pytest.raises(ValueError, match="metrics take"):
                metric(image, other)
    with pytest.raises(ValueError, match="mask must be bool"):
        metrics.psnr(image, image, np.ones((16, 16), np.uint8))
    with pytest.raises(ValueError, match="at least 11"):
        metrics.ssim(image[:8], image[:8])


def test_expression_error_is_over_the_real_inter_ocular_distance():
    real = np.random.default_rng(1).uniform(0, 100, (478, 2))
    real[33], real[263] = (10.0, 50.0), (40.0, 90.0)  # 50 apart
    rendered = real.copy()
    rendered[:239] += (3.0, 4.0)
    assert metrics.expression_error(rendered, real) == pytest.approx(239 * 5 / 478 / 50)
    assert metrics.expression_error(2 * rendered, 2 * real) == pytest.approx(239 * 5 / 478 / 50)
    assert metrics.expression_error(real, real) == 0


def test_pearson():
    series = np.array([1.0, 2.0, 4.0, 7.0, 1.0])
    other = np.array([2.0, 1.0, 5.0, 6.0, 0.0])
    assert metrics.pearson(series, other) == pytest.approx(np.corrcoef(series, other)[0, 1])
    assert metrics.pearson(series, -3 * series + 1) == pytest.approx(-1)
    assert metrics.pearson(series, np.ones(5)) is None
    assert metrics.pearson(series[:2], other[:2]) is None


def test_mean_leaves_out_what_does_not_exist():
    assert metrics.mean([1.0, None, 3.0]) == 2.0
    assert metrics.mean([None]) is None


def test_lpips_says_why_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(metrics, "is_installed", lambda name: False)
    assert metrics.load_lpips() == (None, "the package lpips is not installed (pip install lpips)")
    monkeypatch.setattr(metrics, "is_installed", lambda name: True)
    monkeypatch.setattr(metrics.torch.hub, "get_dir", lambda: str(tmp_path))
    distance, reason = metrics.load_lpips()
    assert distance is None
    assert "weights are not in" in reason
