"""The command that makes one head of several photographs: reconstruct."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.app.outcome import Outcome, shown
from capture_tools.multiview.settings import ReconstructSettings


@dataclass
class Reconstruct:
    """Make one head of two to eight photographs of one person, taken with any cameras.

    The photographs show the same expression from different sides, one of them from the front or nearly so. A folder
    holds reconstruction.npz (vertices, parameters), a glb, overlay.png and report.json.
    """

    photographs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO...")]
    """Two to eight photographs, JPEG or PNG."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the head."""
    settings: ReconstructSettings = dataclasses.field(default_factory=ReconstructSettings)

    def run(self) -> Outcome:
        from avatar.app.library import reconstruct
        from avatar.base.errors import InputError
        from avatar.base.files import read_json
        from capture_tools.multiview.folder import MESH, OVERLAY, RECONSTRUCTION, REPORT

        out = reconstruct(self.photographs, self.out, self.settings)
        report = read_json(out / REPORT, InputError)
        what = {
            RECONSTRUCTION: "vertices and parameters",
            MESH: "the head",
            OVERLAY: "photographs and head over each other",
            REPORT: "angles, distances and warnings",
        }
        lines = [
            f"{photo['name']}: {photo['yaw_degrees']:.0f} degrees aside, landmarks within "
            f"{photo['landmark_error_iod']:.1%} of the eye distance"
            for photo in report["photographs"]
        ]
        lines += [f"warning: {text}" for text in report["warnings"]]
        return Outcome([(out / name, text) for name, text in what.items()], f"look at {shown(out / OVERLAY)}", lines)
