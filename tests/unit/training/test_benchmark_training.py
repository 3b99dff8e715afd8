"""The benchmark of training: a quick run on a tiny capture says all it must, and takes a step apart honestly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import benchmark_training

    return benchmark_training


@pytest.mark.slow
def test_a_quick_run_writes_every_figure(tiny_capture, tmp_path):
    target = tmp_path / "training.json"
    command = [sys.executable, str(SCRIPTS / "benchmark_training.py"), "--quick", "--device", "cpu"]
    command += ["--capture", str(tiny_capture), "--image-size", "32", "--frames", "2", "--json", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result = json.loads(target.read_text())
    assert {"date", "commit", "machine", "threads", "torch", "warp", "quick"} <= set(result)
    assert result["curve"][-1]["step"] == result["steps"] > 0
    assert result["curve"][-1]["seconds"] >= 3.0
    assert list(result["seconds_to_mouth_psnr"]) == ["28.0", "30.0", "32.0"]
    step = result["step"]
    assert set(step["shares"]) == {"encode", "mlp", "warp", "marching", "optimiser", "rest"}
    assert sum(step["shares"].values()) == pytest.approx(1.0)
    assert step["times_encode_and_mlp"] == pytest.approx(step["ms_median"] / (step["ms"]["encode"] + step["ms"]["mlp"]))
    assert 0 < step["ms"]["encode"] < step["ms_median"]
    assert 0 < step["ms"]["mlp"] < step["ms_median"]
    assert {row["backend"] for row in result["backends"]} == {"warp", "torch"}
    assert result["peak_memory_mib"]["host"] > 100
    assert f"wrote {target}" in done.stdout


def test_times_to_a_quality_are_the_first_ones(script):
    curve = [{"seconds": s, "mouth_psnr": v} for s, v in ((1, 20.0), (2, 29.0), (3, 27.0), (4, 31.0))]
    assert script.first_time(curve, "mouth_psnr", 28.0) == 2
    assert script.first_time(curve, "mouth_psnr", 30.0) == 4
    assert script.first_time(curve, "mouth_psnr", 40.0) is None


def test_how_much_sooner_is_taken_from_the_figure_that_came_last(script):
    curve = [
        {"seconds": 2.0, "psnr": 20.0, "face_psnr": 18.0, "mouth_psnr": 15.0},
        {"seconds": 5.0, "psnr": 25.0, "face_psnr": 24.0, "mouth_psnr": 23.0},
    ]
    end = {"seconds": 600.0, "psnr": 19.0, "face_psnr": 17.0, "mouth_psnr": 22.0}
    found = script.against("paper", 10.0, curve, end, 99)
    assert found["reached_after"] == {"psnr": 2.0, "face_psnr": 2.0, "mouth_psnr": 5.0}
    assert found["sooner"] == 120.0
    assert script.against("paper", 10.0, curve, {**end, "psnr": 26.0}, 99)["sooner"] is None


def test_a_missing_capture_is_said_in_one_line(tmp_path):
    command = [sys.executable, str(SCRIPTS / "benchmark_training.py"), "--capture", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr
