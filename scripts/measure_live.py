"""How well `avatar live` keeps up with a file: pictures followed a second, and the age of what is shown, over time.

    python scripts/make_synthetic_clip.py --seed 1 --size 256 --frames 150 --out runs/driver
    OMP_NUM_THREADS=1 python scripts/measure_live.py runs/me runs/driver/clip.mp4 --seconds 20

The file is repeated to the length asked for. Nothing is recorded and no page is open. The age of what is shown is
looked at 50 times a second; a queue that grew would show as an age that rises from one fifth of the time to the next.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands do, before NumPy is imported
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from avatar.animation.options import Retarget
from avatar.app.live_process import TrackerProcess
from avatar.data.checkpoint import load_avatar
from avatar.media.video import probe_video, read_video, write_video
from avatar.viewer.delays import figure_lines
from avatar.viewer.live import LiveStage
from avatar.viewer.quality import Quality
from avatar.viewer.session import Session

PARTS = 5
LOOKS = 0.02
"""Seconds between two looks at the age."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", type=int, help="height of the avatar's pictures; by default as five a second allow")
    arguments = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        clip = repeated(arguments.video, arguments.seconds, Path(folder) / "long.mp4")
        measure(arguments.run, clip, arguments.size)


def repeated(video: Path, seconds: float, out: Path) -> Path:
    """The clip to and fro, as long as asked for."""
    fps = probe_video(video).fps
    images = [image for _, image in read_video(video)]
    there_and_back = [*images, *images[-2:0:-1]]
    count = round(seconds * fps)
    return write_video(out, (there_and_back[i % len(there_and_back)] for i in range(count)), fps, synthetic=True)


def measure(run: Path, clip: Path, size: int | None) -> None:
    avatar = load_avatar(run)
    session = Session(run, avatar, None if size is None else Quality(size, steady=True))
    session.start()
    tracker = TrackerProcess(str(clip), 0)
    tracker.open()
    began = time.monotonic()
    tracker.prepare(avatar, Retarget())
    print(f"known after {time.monotonic() - began:.1f} s of work")
    stage = LiveStage(session, tracker)
    newest: list[float] = []
    ages: list[tuple[float, float]] = []
    stage.showed = lambda frame, image: newest.append(frame.captured)
    watching = threading.Thread(target=lambda: watch(stage.ended, newest, ages))
    processor, tracking = time.process_time(), processor_seconds(tracker.pid)
    began = time.monotonic()
    spent = tracking
    watching.start()
    stage.start()
    while not stage.ended.wait(0.1):
        spent = processor_seconds(tracker.pid) or spent  # once it has ended it tells nothing any more
    seconds, processor = time.monotonic() - began, time.process_time() - processor
    watching.join()
    stage.close()
    session.close()
    if stage.failure is not None:
        raise stage.failure
    print("\n".join(figure_lines(stage.delays.whole(), stage.behind)))
    followed = max(1, stage.delays.whole().tracked)
    print(f"tracking took {1000 * (spent - tracking) / followed:.0f} ms of processor time a picture, decoding included")
    height = session.worker.quality.moving
    print(f"drawing took {processor / seconds:.2f} processors; pictures {height} pixels high in the end")
    times, age = np.array(ages).T
    for part in range(PARTS):
        inside = (times >= part * seconds / PARTS) & (times < (part + 1) * seconds / PARTS)
        if inside.any():
            print(f"fifth {part + 1}: age {age[inside].mean():.3f} s mean, {age[inside].max():.3f} s at most")
    print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


def processor_seconds(process: int) -> float:
    """Processor time that a process has used; 0 where it is gone, or the system is not Linux."""
    try:
        numbers = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def watch(ended: threading.Event, newest: list[float], ages: list[tuple[float, float]]) -> None:
    """Note the age of what is shown, with the seconds since the beginning, until it has ended."""
    began = time.monotonic()
    while not ended.wait(LOOKS):
        if newest:
            now = time.monotonic()
            ages.append((now - began, now - newest[-1]))


if __name__ == "__main__":
    main()
