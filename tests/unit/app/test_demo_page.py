import re

from avatar.app.demo_page import metrics_table, write_page

METRICS = {
    "val": {"psnr": 31.25, "face_psnr": 27.04, "mouth_psnr": None, "ssim": 0.951, "lpips": None, "frames": 12},
    "test": {"psnr": 29.0, "face_psnr": 25.5, "mouth_psnr": 24.0, "ssim": 0.94, "lpips": None, "frames": 18},
}


def page(tmp_path, **changes):
    arguments = {
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
    assert {"clip.mp4", "driver.mp4", "reanimated.mp4", "orbit.mp4"} <= set(sources)
    assert not any(source.startswith(("/", ".")) for source in sources)


def test_a_failed_evaluation_still_gives_a_page(tmp_path):
    assert "–" in page(tmp_path, metrics={}, report={})
