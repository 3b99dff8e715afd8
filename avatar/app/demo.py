"""`avatar demo`: the whole path on two invented people, ending with a page of results."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from avatar.animation.options import Rendering
from avatar.app.demo_page import write_page
from avatar.app.outcome import Outcome, shown
from avatar.app.summaries import metric_lines
from avatar.app.workflow import check_minutes, create, finished_stages, pick_config, timed, track_driver
from avatar.base.files import atomic_write, read_json, require_free_space
from avatar.base.folder_lock import claimed_folder
from avatar.base.limits import CAPTURE_SIZE, DEMO_DRIVER_FRAMES, DEMO_FRAMES, SEED
from avatar.base.progress import Progress, clock
from avatar.export.formats import Format
from capture_tools.detect.tflite_models import require_networks
from capture_tools.settings import CaptureSettings

EXPRESSION = "sweep:smile,open_mouth,surprise,blink"
AMPLITUDE = 12.0
"""Degrees: a clip of a head that turns little shows little of its sides."""
TURNTABLE = "turntable"
"""Folder of the pictures that the page lets people drag."""
TURNTABLE_FRAMES = 36
EXPORTED: dict[Format, str] = {
    "html": "the head with its expressions, on a page of its own",
    "glb": "the same for other programs",
}
"""Formats in which the head is exported, and what each is for."""
NEEDED_BYTES = 600 * 2**20


def demo(
    out: Path, *, size: int, frames: int, driver_frames: int, minutes: float, preset: str = "auto", seed: int = 0
) -> Outcome:
    """Make a clip and a driver, an avatar of the first, drive it with the second, render it, write `out`/index.html.

    size: side of every picture in pixels. minutes: the longest time to train. Finished stages are kept when the
    same demo is started again. Raises what the stages raise; OutputError where `out` holds something else or is being
    written by another command.
    """
    CAPTURE_SIZE.require("--size", size)
    DEMO_FRAMES.require("--frames", frames)
    DEMO_DRIVER_FRAMES.require("--driver-frames", driver_frames)
    SEED.require("--seed", seed)
    check_minutes(minutes)
    require_networks()
    out = Path(out)
    preset = pick_config(preset).preset
    identity = {"size": size, "frames": frames, "driver_frames": driver_frames, "preset": preset, "seed": seed}
    with claimed_folder(out, "demo", identity):
        return _demo(out, minutes=minutes, **identity)


def _demo(out: Path, *, size: int, frames: int, driver_frames: int, minutes: float, preset: str, seed: int) -> Outcome:
    """The stages, in a folder that was claimed for them."""
    from avatar.animation.driver_files import load_driver
    from avatar.animation.reanimate import reanimate, render_path
    from avatar.data.checkpoint import load_avatar
    from avatar.export.formats import export_run
    from capture_tools.report.face_curves import face_curves

    require_free_space(out, NEEDED_BYTES)
    run = out / "avatar"
    clip, driver = out / "clip.mp4", out / "driver.mp4"
    exports: dict[Format, Path] = {kind: out / f"head.{kind}" for kind in EXPORTED}
    commands = commands_of(out, size, frames, driver_frames, minutes, preset, seed)
    if not (clip.exists() and driver.exists()):
        announce("clip", commands["clip"])
        with timed(out, "synthetic clips"):
            synthesize(out / "synthetic" / "clip", clip, seed, size, frames)
            synthesize(out / "synthetic" / "driver", driver, seed + 1, size, driver_frames)
    announce("create", commands["create"])
    created = create(clip, run, config=pick_config(preset), minutes=minutes, settings=CaptureSettings(size=size))
    avatar = load_avatar(run)
    if not (out / "reanimated.mp4").exists():
        announce("reanimate", commands["reanimate"])
        with timed(out, "reanimate"):
            reanimate(avatar, load_driver(driver, avatar.asset, track=track_driver), out / "reanimated.mp4")
    if not (out / "orbit.mp4").exists():
        announce("render", commands["render"])
        with timed(out, "render"):
            orbit = Rendering(expression=EXPRESSION, frames=driver_frames, amplitude=AMPLITUDE)
            render_path(avatar, out / "orbit.mp4", orbit)
    if not (out / TURNTABLE).exists():
        announce("turntable", commands["turntable"])
        with timed(out, "turntable"):
            render_path(avatar, out / TURNTABLE, Rendering(frames=TURNTABLE_FRAMES, amplitude=AMPLITUDE))
    for kind, path in exports.items():
        if not path.exists():
            announce("export", commands[f"export {kind}"])
            export_run(run, path, kind, load_avatar=lambda _: avatar)
    driven = face_curves(out / "reanimated.mp4")
    stages = finished_stages(out)
    stages = {"synthetic clips": stages.get("synthetic clips", 0.0)} | finished_stages(run) | stages
    page = write_page(
        out,
        metrics=read_json(run / "eval" / "metrics.json"),
        report=read_json(run / "capture" / "report" / "report.json"),
        stages=stages,
        commands=list(commands.values()),
        lips=(face_curves(driver).at(driven.times), driven),
        turntable=sorted(f"{TURNTABLE}/{path.name}" for path in (out / TURNTABLE).glob("*.png")),
        settings={
            "size": size,
            "frames": frames,
            "driver_frames": driver_frames,
            "preset": preset,
            "seed": seed,
            "minutes": minutes,
        },
    )
    files = [
        (clip, "the synthetic clip"),
        (driver, "the driver, another invented person"),
        (run, "the run, with its capture in it"),
        (out / "reanimated.mp4", "the avatar doing what the driver does"),
        (out / "orbit.mp4", "new expressions from around"),
        (out / TURNTABLE, "pictures from around, for the page"),
        *((path, EXPORTED[kind]) for kind, path in exports.items()),
        (page, "everything on one page"),
    ]
    total = f"whole demo: {clock(sum(stages.values()))}"
    return Outcome(files, f"open {shown(page)} in a browser", [*metric_lines(created.metrics), total])


def commands_of(
    out: Path, size: int, frames: int, driver_frames: int, minutes: float, preset: str, seed: int
) -> dict[str, str]:
    """By stage, what does the same by hand."""
    run, place = shown(out / "avatar"), shown(out)
    around = f"avatar render {run} --path orbit --amplitude {AMPLITUDE:g}"
    return {
        "clip": f"python scripts/make_synthetic_clip.py --seed {seed} --size {size} --frames {frames} "
        f"--out {place}/synthetic/clip",
        "create": f"avatar create {place}/clip.mp4 --out {run} --preset {preset} --size {size} --minutes {minutes:g}",
        "reanimate": f"avatar reanimate {run} --driver {place}/driver.mp4 --out {place}/reanimated.mp4",
        "render": f"{around} --expression {EXPRESSION} --frames {driver_frames} --out {place}/orbit.mp4",
        "turntable": f"{around} --frames {TURNTABLE_FRAMES} --out {place}/{TURNTABLE}",
        **{f"export {kind}": f"avatar export {run} --format {kind} --out {place}/head.{kind}" for kind in EXPORTED},
    }


def synthesize(folder: Path, video: Path, seed: int, size: int, frames: int) -> None:
    """A synthetic clip with its truth in `folder`, and a copy of its video at `video`."""
    from avatar.synthetic.clip import make_synthetic_clip

    if not (folder / "clip.mp4").exists():
        with Progress(f"synthetic clip {seed}", frames) as bar:
            make_synthetic_clip(folder, seed=seed, size=size, frames=frames, progress=lambda done, _: bar.update(done))
    atomic_write(video, lambda part: shutil.copyfile(folder / "clip.mp4", part))


def announce(stage: str, command: str) -> None:
    """Say on standard error which stage begins and how to run it alone."""
    print(f"== {stage}: {command}", file=sys.stderr, flush=True)
