"""The command that takes an avatar to other programs: export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from avatar.app.outcome import Outcome, shown

NEXT = {
    "glb": "open {} in Blender, three.js or any other program that reads glTF",
    "html": "open {} in a browser; it needs no network, and can be sent as it is",
    "vrm": "open {} in a program for VRM avatars",
    "arkit-csv": "give {} to a program that takes Live Link Face's recordings, or: avatar reanimate RUN --driver {}",
    "npz": "avatar reanimate RUN --driver {} --out OUT.mp4",
    "capture": "avatar train {} --out ANOTHER_RUN",
    "ply": "look at {} in MeshLab or Blender",
}
MADE = {
    "glb": "the head with skin, expressions and the clip, tagged as synthetic",
    "html": "one page: the head in three.js with sliders and the clip, tagged as synthetic",
    "vrm": "the head as a VRM 1.0 avatar, tagged as synthetic",
    "arkit-csv": "the performance, a row a frame",
    "npz": "the performance's parameters",
    "capture": "frames, masks, cameras and head parameters",
    "ply": "the coloured surface, tagged as synthetic",
}


@dataclass
class Export:
    """Take an avatar, its performance or its capture to other programs.

    glb: the head with skin, joints, named morph targets, texture and the clip. html: one page that shows it in any
    browser, without a network: turn the head, play the clip, move its expressions. vrm: the head as a VRM 1.0 avatar.
    arkit-csv: the clip as Live Link Face records it. npz: its parameters, for --driver. capture: the folder of frames,
    cameras and parameters. ply: the coloured surface of the field.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run", metavar="RUN")]
    """Run folder, made by `avatar create` or `avatar train`."""
    format: Literal["glb", "html", "vrm", "arkit-csv", "npz", "capture", "ply"]
    """What to write."""
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """File to write, with the format's ending (.glb, .html, .vrm, .csv, .npz, .ply), or the folder for a capture."""
    driver: Annotated[Path | None, tyro.conf.arg(metavar="VIDEO|CAPTURE|RUN|PARAMS.npz|FACE.csv")] = None
    """Another performance than the run's own clip, for glb, html, arkit-csv and npz."""
    points: bool = False
    """Of ply: the surface's points alone, without faces."""
    author: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Of vrm: who made the avatar."""
    licence: Annotated[str | None, tyro.conf.arg(metavar="URL")] = None
    """Of vrm: web address of the terms of use. The avatar's own settings stay the most careful ones: for its author
    alone, personal, not to be passed on."""
    overwrite: bool = False
    """Replace the output file if it exists. Folders are never replaced."""

    def run(self) -> Outcome:
        from avatar.app.library import export_avatar
        from avatar.media.manifest import sidecar

        written, notes = export_avatar(
            self.run_folder,
            self.out,
            self.format,
            driver=self.driver,
            points=self.points,
            author=self.author,
            licence=self.licence,
            overwrite=self.overwrite,
        )
        next_step = NEXT[self.format].replace("{}", shown(written))
        files = [(written, MADE[self.format])]
        if sidecar(written).is_file():
            files.append((sidecar(written), "its C2PA manifest"))
        return Outcome(files, next_step, [f"warning: {note}" for note in notes])
