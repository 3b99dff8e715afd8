"""The command that opens an avatar in the browser."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import tyro

from avatar.app.outcome import Outcome

if TYPE_CHECKING:
    from avatar.animation.driver_files import Driver
    from avatar.animation.options import DriverPart
    from avatar.flame.assets import HeadAsset


@dataclass
class View:
    """Look at an avatar in the browser: turn it, change its expression, drive it with a clip, record.

    Prints the address to open, and runs until it is interrupted (Ctrl-C). A run that is still training is followed.
    Pictures, videos and camera paths go into RUN/view.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    port: Annotated[int, tyro.conf.arg(metavar="P")] = 8080
    """Port of the page; 0 takes any that is free."""
    host: Annotated[str, tyro.conf.arg(metavar="H")] = "127.0.0.1"
    """Address to listen on. On any but this machine's own the printed URL holds a token, without which nobody is let
    in; it travels unencrypted, so in a network you do not trust rather use `ssh -L`."""

    def run(self) -> Outcome:
        from avatar.viewer.viewer import Viewer

        viewer = Viewer(self.run_folder, host=self.host, port=self.port, track=track_video)
        try:
            print(f"open {viewer.url}\nCtrl-C ends the viewer", flush=True)
            viewer.load()
            Event().wait()
        except KeyboardInterrupt:
            print(file=sys.stderr)  # the terminal has put ^C into the line
        finally:
            viewer.close()
        if not viewer.is_loaded:
            return Outcome(lines=["the viewer is closed"])
        kinds = {".json": "a camera path"}
        files = [(path, kinds.get(path.suffix, "tagged as synthetic")) for path in viewer.session.written]
        return Outcome(files=files, lines=["the viewer is closed"])


def track_video(video: Path, asset: HeadAsset, part: DriverPart) -> Driver:
    """`workflow.track_driver`, which is imported when the first video is to be tracked."""
    from avatar.app.workflow import track_driver

    return track_driver(video, asset, part)
