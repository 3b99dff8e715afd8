"""The ablations' script: every variant is trained once and measured on the same frames, and the page holds it all."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_clip import bare, shrink

from avatar.app.demo_page import escape
from avatar.base.errors import ConfigError, OutputError, TrainingError
from avatar.base.files import read_json, write_json
from avatar.config import list_presets, load_preset
from avatar.media.images import read_png, write_png

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
VARIANTS = ["cpu", *(name.removeprefix("ablations/") for name in list_presets() if name.startswith("ablations/"))]


class BrightnessDetector:
    """Stands for the landmark detector, which finds no face in 40 pixels: brighter pictures have wider open lips."""

    def __init__(self, **_):
        pass

    def detect(self, image):
        points = np.zeros((478, 2), np.float32)
        points[33], points[263] = (10, 10), (30, 10)
        points[14] = (0, float(image.astype(float).mean()))
        return points, 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def prepared(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The script's modules with tiny settings; `trained` and `evaluated` list the variants on which work was done."""
    patch.syspath_prepend(str(SCRIPTS))
    import ablations_page
    import reproduce_ablations

    from avatar.training import evaluate, trainer

    made = SimpleNamespace(script=reproduce_ablations, page=ablations_page, trained=[], evaluated=[])
    train, measure = trainer.train, evaluate.evaluate

    def counted_train(capture, run, config, **options):
        made.trained.append(run.name)
        train(capture, run, config, progress=False, device="cpu", **options)

    def counted_evaluate(run, splits, **options):
        made.evaluated.append(run.name)
        return measure(run, splits, progress=False, device="cpu", **options)

    patch.setattr(reproduce_ablations, "load_preset", lambda name: shrink(load_preset(name)))
    patch.setattr(trainer, "train", counted_train)
    patch.setattr(evaluate, "evaluate", counted_evaluate)
    patch.setattr("capture_tools.detect.landmark_detector.LandmarkDetector", BrightnessDetector)
    return made


@pytest.fixture
def tiny(monkeypatch) -> SimpleNamespace:
    return prepared(monkeypatch)


def arguments(capture: Path, folder: Path, *more: str) -> list[str]:
    files = ["--json", str(folder / "abl.json"), "--html", str(folder / "abl.html")]
    return ["reproduce_ablations.py", "--capture", str(capture), "--minutes", "5", *files, *more]


def settings(made, capture: Path, folder: Path, **changes):
    given = {"capture": capture, "minutes": 5.0, "json": folder / "abl.json", "html": folder / "abl.html"}
    return made.script.Settings(**(given | changes))


def make_truth(capture: Path, folder: Path) -> Path:
    """Held-out sets of a clip whose truth is the capture itself, seen as it was: three frames of it.

    The other frames are at times that the clip does not have, where they are left out.
    """
    for name, kind in (("expressions", "expression"), ("view_15", "view")):
        shutil.copytree(capture, folder / name)
        for path in (folder / name).glob("transforms*.json"):
            content = read_json(path)
            for frame in content["frames"]:
                frame["timestamp"] += 100.0 * (frame["timestep_index"] >= 3)
            write_json(path, content)
        frames = read_json(capture / "transforms.json")["frames"]
        turns = [{"name": str(i), "cam_from_clip_cam": np.eye(4).tolist()} for i in range(len(frames))]
        write_json(folder / name / "held_out.json", {"kind": kind, "degrees": 0, "frames": turns})
    return folder


@pytest.fixture(scope="module")
def all_variants(tiny_capture, tmp_path_factory) -> SimpleNamespace:
    """One reproduction of everything, by the command line."""
    folder = tmp_path_factory.mktemp("ablations")
    truth = make_truth(tiny_capture, folder / "truth")
    with pytest.MonkeyPatch.context() as patch:
        made = prepared(patch)
        patch.setattr(sys, "argv", arguments(tiny_capture, folder, "--truth", str(truth)))
        assert made.script.main() == 0
    made.folder, made.truth, made.runs = folder, truth, folder / "abl.runs"
    made.result = read_json(folder / "abl.json")
    made.html = (folder / "abl.html").read_text()
    return made


@pytest.mark.slow
def test_the_figures_of_every_variant_are_there(all_variants, tiny_capture):
    result = all_variants.result
    assert set(result) == {
        "command", "commit", "date", "machine", "versions", "capture", "minutes", "variants"
    }  # fmt: skip
    assert result["command"].startswith("python scripts/reproduce_ablations.py --capture ")
    assert result["commit"] is None or re.fullmatch(r"[0-9a-f]{7}\+?", result["commit"])
    assert result["capture"] == str(tiny_capture)
    assert result["minutes"] == 5.0
    assert {"cpu", "cpus", "system"} <= set(result["machine"])
    assert set(result["versions"]) == {"python", "torch", "warp"}
    assert list(result["variants"]) == VARIANTS
    for name, row in result["variants"].items():
        assert row["steps"] == 8
        assert 0 < row["seconds"] < 300
        assert set(row["metrics"]) == {"val", "test", "expressions", "view_15"}
        assert row["metrics"] == read_json(all_variants.runs / name / "eval/metrics.json")
        assert set(row["gate"]) == {"outside_mean", "outside_worst", "inside_mean"}
    gated = result["variants"]["no_gate"]
    assert gated["comment"] == "The expression reaches every ray."
    assert gated["overrides"] == {"base": "cpu", "field": {"gate": False}}
    assert "field: {gate: false}" not in (all_variants.runs / "cpu/config.yaml").read_text()
    assert "gate: false" in (all_variants.runs / "no_gate/config.yaml").read_text()


@pytest.mark.slow
def test_all_variants_are_measured_on_the_same_frames(all_variants):
    for split, count in (("val", 2), ("test", 2), ("expressions", 3), ("view_15", 3)):
        seen = {
            name: [frame["name"] for frame in read_json(all_variants.runs / name / "eval" / split / "frames.json")]
            for name in VARIANTS
        }
        assert len(seen["cpu"]) == count
        assert all(names == seen["cpu"] for names in seen.values())
    logs = [(all_variants.runs / name / "log.jsonl").read_text().splitlines()[-1] for name in VARIANTS]
    assert len({json.loads(line)["loss"] for line in logs}) == len(VARIANTS), "each row is of a run of its own"


@pytest.mark.slow
def test_the_page_has_a_row_and_pictures_of_each_variant_and_loads_nothing(all_variants):
    html = all_variants.html
    sources = re.findall(r'src="([^"]*)"', html)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    without = re.sub(r'src="[^"]*"', "", html)
    assert not re.search(r"https?:|//|src=|url\(|<link|<script", without)
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    assert [re.findall(r"<td>(.*?)</td>", row)[0] for row in rows[1:]] == VARIANTS
    titles = re.findall(r"<th>(.*?)</th>", rows[0])
    assert {"view_15 face", "expressions mouth"} <= set(titles)
    sections = html.split("<h2>")[1:-1]
    assert [section.split(":")[0].split()[0] for section in sections] == ["val", "val", "test", "gate"]
    for section in sections[:3]:
        assert re.findall(r"<figcaption><b>(.*?)</b>", section) == ["real frame", *VARIANTS]
        assert section.count("<img ") == 2 * (1 + len(VARIANTS)), "whole, and the mouth"
    assert sections[3].count("<img ") == len(VARIANTS)
    assert len(set(sources)) > len(VARIANTS), "they are not one picture"
    for row in all_variants.result["variants"].values():
        assert escape(row["comment"]) in html
    sheet = read_png(all_variants.folder / "abl.png")
    assert sheet.shape[1] >= 150 * (1 + len(VARIANTS))


@pytest.mark.slow
def test_a_second_call_does_nothing_again_and_other_settings_are_refused(all_variants, tiny, tiny_capture, monkeypatch):
    assert all_variants.trained == all_variants.evaluated == VARIANTS
    same = settings(tiny, tiny_capture, all_variants.folder, truth=all_variants.truth)
    again = tiny.script.reproduce(same)
    assert tiny.trained == tiny.evaluated == []
    assert again["variants"] == all_variants.result["variants"]

    with pytest.raises(OutputError, match=r"minutes 6\.0\n.*minutes 5\.0"):
        tiny.script.reproduce(settings(tiny, tiny_capture, all_variants.folder, minutes=6.0))

    def other(name):
        config = shrink(load_preset(name))
        config.training.rays = 64
        return config

    monkeypatch.setattr(tiny.script, "load_preset", other)
    with pytest.raises(OutputError, match=r"config\.training\.rays 64\n.*config\.training\.rays 128"):
        tiny.script.reproduce(same)
    assert tiny.trained == []


@pytest.mark.slow
def test_an_interrupted_reproduction_goes_on(tiny, tiny_capture, tmp_path, monkeypatch):
    """The second variant's measuring fails, then the truth is asked for: what is trained is not trained again."""
    monkeypatch.setattr(tiny.script, "load_preset", lambda name: bare(shrink(load_preset(name))))
    two = settings(tiny, tiny_capture, tmp_path, variants=("cpu", "no_gate"))
    from avatar.training import evaluate

    measure = evaluate.evaluate

    def fails(run, splits, **options):
        if run.name == "no_gate":
            raise TrainingError("stopped here")
        return measure(run, splits, **options)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", fails)
        with pytest.raises(TrainingError, match="stopped here"):
            tiny.script.reproduce(two)
    assert not two.json.exists()
    result = tiny.script.reproduce(two)
    assert tiny.trained == ["cpu", "no_gate"]
    assert tiny.evaluated == ["cpu", "no_gate"]
    assert list(result["variants"]) == ["cpu", "no_gate"]
    assert "view_15" not in two.html.read_text()

    path = tmp_path / "abl.runs/no_gate/variant.json"
    write_json(path, read_json(path) | {"trained": None, "measured": None})  # as if stopped between two checkpoints
    with_truth = settings(
        tiny, tiny_capture, tmp_path, variants=("cpu", "no_gate"), truth=make_truth(tiny_capture, tmp_path / "truth")
    )
    result = tiny.script.reproduce(with_truth)
    assert tiny.trained == ["cpu", "no_gate", "no_gate"]
    assert result["variants"]["no_gate"]["steps"] == 8
    assert "view_15" in result["variants"]["cpu"]["metrics"]

    fewer = replace(with_truth, frames=1)
    metrics = tiny.script.reproduce(fewer)["variants"]["cpu"]["metrics"]
    assert {split: found["frames"] for split, found in metrics.items()} == dict.fromkeys(metrics, 1)
    assert tiny.trained == ["cpu", "no_gate", "no_gate"], "measured again, not trained"


def test_the_gate_is_measured_outside_the_silhouette(tiny, tmp_path):
    """An avatar that changes by 3 of 255 far from its head, and by 30 on it."""
    import measure_gate
    import torch

    from avatar.flame.library import load_head
    from avatar.flame.model import HeadParameters

    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[24:40, 24:40] = True

    def render(params, camera):
        opened = float(params.jaw.abs().max() > 0)
        image = torch.full((64, 64, 3), 0.2)
        image[:8] += opened * 3 / 255
        image[mask] += opened * 30 / 255
        return SimpleNamespace(image=image, mask=mask)

    asset = load_head()
    avatar = SimpleNamespace(parameters=HeadParameters.neutral(asset, 3), asset=asset, camera=None, render_frame=render)
    figures = measure_gate.gate_figures(avatar, frames=3)
    outside = figures["outside"]
    assert not outside[24:40, 16:48].any()
    assert outside[:15].all()
    assert figures["inside_mean"] == pytest.approx(30, abs=1e-3)
    assert figures["outside_worst"] == pytest.approx(3 * 8 * 64 / outside.sum(), rel=1e-3)
    assert figures["outside_mean"] == pytest.approx(figures["outside_worst"], rel=1e-3)
    assert figures["change"][4, 4] == pytest.approx(3, abs=1e-3)
    assert figures["change"][20, 20] == 0
    measured = tiny.script.gate_of(avatar, tmp_path / "gate.png")
    assert measured["inside_mean"] == pytest.approx(30, abs=1e-3)
    shown = read_png(tmp_path / "gate.png")
    assert shown.shape == (64, 64, 3)
    assert shown[30, 30, 0] > shown[2, 30, 0] > shown[60, 30, 0] == 0


def test_a_figure_that_does_not_exist_is_null_not_nan(tiny, tmp_path, monkeypatch):
    import measure_gate

    figures = {"outside_mean": float("nan"), "inside_mean": 1.0}
    pictures = {"change": np.zeros((8, 8), np.float32), "outside": np.zeros((8, 8), bool)}
    monkeypatch.setattr(measure_gate, "gate_figures", lambda avatar: figures | pictures)
    assert tiny.script.gate_of(None, tmp_path / "gate.png") == {"outside_mean": None, "inside_mean": 1.0}


def row(mouth, **more):
    return {"steps": 8, "metrics": {"val": {"mouth_psnr": mouth}}, "gate": {"outside_mean": 0.5}} | more


def test_the_table_says_how_far_from_the_full_system(tiny):
    table = tiny.page.table({"no_gate": row(30.0), "cpu": row(32.5), "mlp": row(None), "x": row(32.499)})
    assert table[0] == ["variant", "steps", "val mouth", "gate outside"]
    assert table[1:] == [
        ["no_gate", "8", "30.00 (-2.50)", "0.500"],
        ["cpu", "8", "32.50", "0.500"],
        ["mlp", "8", "–", "0.500"],
        ["x", "8", "32.50 (+0.00)", "0.500"],
    ]
    without_full = tiny.page.table({"no_gate": row(30.0), "mlp": row(31.0)})
    assert without_full[2][2] == "31.00 (+1.00)", "the first one is the base then"
    lines = tiny.page.text_table({"cpu": row(32.5), "no_gate": row(30.0)}).splitlines()
    assert len({len(line) for line in lines}) == 1


def test_the_frames_that_are_shown(tiny, tmp_path):
    def entry(name, mouth, lips):
        return {"name": name, "mouth_psnr": mouth, "lips_real": lips, "mouth_box": [2, 3, 12, 9]}

    val = [entry("9", 30.0, 0.2), entry("19", 28.0, 0.5), entry("29", 27.0, 0.01), entry("39", 20.0, None)]
    test = [entry("90", 31.0, None), entry("91", 24.0, 0.1), entry("92", None, 0.1)]
    rng = np.random.default_rng(0)
    for name in ("cpu", "mlp"):
        for split, rows in (("val", val), ("test", test)):
            write_json(tmp_path / name / "eval" / split / "frames.json", rows)
            for frame in rows:
                for kind in ("gt", "pred"):
                    image = rng.integers(0, 255, (16, 20, 3), dtype=np.uint8)
                    write_png(tmp_path / name / "eval" / split / kind / f"{frame['name']}.png", image)
        write_png(tmp_path / name / "gate.png", np.zeros((16, 20, 3), np.uint8))
    folders = {"mlp": tmp_path / "mlp", "cpu": tmp_path / "cpu"}
    strips = tiny.page.strips(folders, "gate.png")
    assert [strip.title.split(":")[0] for strip in strips] == ["val 19", "val 29", "test 91", "gate"]
    pictures = strips[0].pictures
    assert list(pictures) == ["real frame", "mlp", "cpu"]
    np.testing.assert_array_equal(pictures["real frame"][0], read_png(tmp_path / "cpu/eval/val/gt/19.png"))
    for name in folders:
        np.testing.assert_array_equal(pictures[name][0], read_png(tmp_path / name / "eval/val/pred/19.png"))
    mouth = pictures["cpu"][1]
    assert mouth.shape == (4 * 6, 4 * 10, 3)
    small = pictures["cpu"][0][3:9, 2:12].astype(float).mean((0, 1))
    np.testing.assert_allclose(mouth.astype(float).mean((0, 1)), small, atol=6)
    sheet = tiny.page.sheet(strips)
    assert sheet.shape == (4 * 2 * 22 + 4 * (16 + 6) + 3 * (24 + 6), 3 * (150 + 6), 3)
    np.testing.assert_array_equal(sheet[44:60, 156 : 156 + 20], pictures["mlp"][0])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--variants", "cpu", "no_nose"], "unknown variant"),
        (["--minutes", "0"], "--minutes"),
        (["--frames", "-1"], "--frames"),
        (["--capture", "nowhere"], "nowhere"),
        (["--truth", "nowhere"], "no held-out truth"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_training(tiny, tiny_capture, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.setattr(sys, "argv", arguments(tiny_capture, tmp_path, *more))
    assert tiny.script.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert tiny.trained == []
    assert list(tmp_path.iterdir()) == []


def test_unknown_variants_are_told_the_known_ones(tiny):
    with pytest.raises(ConfigError, match=r"no_gate.*\n.*found: no_nose"):
        tiny.script.pick_variants(("no_nose", "cpu"))
    assert list(tiny.script.pick_variants(())) == VARIANTS
    assert tiny.script.pick_variants(("no_gate", "cpu")) == {"no_gate": "ablations/no_gate", "cpu": "cpu"}


def test_a_folder_of_others_is_left_alone(tiny, tiny_capture, tmp_path):
    (tmp_path / "abl.runs/cpu").mkdir(parents=True)
    (tmp_path / "abl.runs/cpu/letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="holds something else"):
        tiny.script.reproduce(settings(tiny, tiny_capture, tmp_path, variants=("cpu",)))
    assert [path.name for path in (tmp_path / "abl.runs/cpu").iterdir()] == ["letter.txt"]
