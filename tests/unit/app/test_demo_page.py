import re

import numpy as np

from avatar.app.demo_page import lip_curves, metrics_table, svg_path, write_page
from capture_tools.report.face_curves import FaceCurves

METRICS = {
    "val": {"psnr": 31.25, "face_psnr": 27.04, "mouth_psnr": None, "ssim": 0.951, "lpips": None, "frames": 12},
    "test": {"psnr": 29.0, "face_psnr": 25.5, "mouth_psnr": 24.0, "ssim": 0.94, "lpips": None, "frames": 18},
}


TIMES = np.linspace(0, 2, 51)
STILL = np.zeros((51, 478, 2))
DRIVER = FaceCurves(TIMES, 0.1 + 0.1 * np.sin(6 * TIMES) ** 2, np.full(51, 0.3), STILL)
DRIVEN = FaceCurves(TIMES, 0.08 + 0.09 * np.sin(6 * TIMES) ** 2, np.full(51, 0.3), STILL)


def page(tmp_path, **changes):
    arguments = {
        "lips": (DRIVER, DRIVEN),
        "turntable": ["turntable/00000.png", "turntable/00001.png"],
        "metrics": METRICS,
        "report": {"landmark_error_iod": 0.0213},
        "stages": {"capture": 70.0, "train": 300.0},
        "commands": ["avatar create a.mp4 --out <runs & more>"],
        "settings": {"size": 224, "seed": 0},
    } | changes
    return write_page(tmp_path, **arguments).read_text()


def test_the_page_shows_numbers_times_and_commands(tmp_path):
    text = page(tmp_path)
    for shown in ("31.2 dB", "27.0 dB", "2.1 %", "6:10", "5:00", "size 224"):
        assert shown in text
    assert "&lt;runs &amp; more&gt;" in text
    assert "<runs" not in text


def test_missing_values_are_dashes_and_missing_metrics_are_left_out():
    table = metrics_table(METRICS)
    assert "LPIPS" not in table
    assert "<td>–</td>" in table
    assert table.count("<tr>") == 3


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    text = page(tmp_path)
    assert not re.search(r"(?:https?:)?//", text.replace("<!doctype html>", ""))
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert {"clip.mp4", "driver.mp4", "reanimated.mp4", "orbit.mp4", "head.html", "head.glb"} <= set(sources)
    assert not any(source.startswith(("/", ".")) for source in sources)


def test_a_failed_evaluation_still_gives_a_page(tmp_path):
    assert "–" in page(tmp_path, metrics={}, report={})


def test_lips_are_drawn_over_the_same_time_and_scale():
    drawn = lip_curves(DRIVER, DRIVEN)
    assert drawn.count("<path") == 2
    assert "correlation 1.00" in drawn
    assert svg_path(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.5])) == "M0.00 96.00L50.00 4.00L100.00 50.00"
    assert svg_path(TIMES[:3], np.array([0.0, np.nan, 1.0])).count("M") == 2
    nobody = FaceCurves(TIMES, np.full(51, np.nan), np.full(51, np.nan), STILL)
    assert lip_curves(nobody, nobody) == ""
    assert "correlation" not in lip_curves(DRIVER, nobody)
