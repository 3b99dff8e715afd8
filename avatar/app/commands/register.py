"""The command that brings scans to the head model's topology: register."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from avatar.app.outcome import Outcome, shown
from capture_tools.scan.settings import RegisterSettings


@dataclass
class Register:
    """Bring scans of heads to the head model's topology: mesh or point cloud in, registered head out.

    The face is found on the scan, the head model fitted to it, and then its vertices one by one. A folder holds
    registration.npz (vertices, parameters), report.json (distances, warnings), heatmap.png, overlay.png and a glb.
    """

    scans: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SCAN...")]
    """Scans of one head each, in any unit and orientation: .obj, .ply, .stl, .glb."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the registration; of several scans each gets a folder of its name in it."""
    settings: RegisterSettings = dataclasses.field(default_factory=RegisterSettings)

    def run(self) -> Outcome:
        from avatar.base.errors import InputError
        from capture_tools.scan.folder import register_files
        from capture_tools.scan.output import HEAT_MAP, MESH, OVERLAY, REGISTRATION, REPORT, figures

        if not self.scans:
            raise InputError(
                "there is nothing to register",
                expected="one SCAN or more",
                found="none",
                fix="avatar register SCAN --out DIR",
            )
        what = {
            REGISTRATION: "vertices and parameters",
            REPORT: "distances and warnings",
            HEAT_MAP: "distances, stage by stage",
            OVERLAY: "scan and head over each other",
            MESH: "the registered head",
        }
        folders = register_files(self.scans, self.out, self.settings)
        lines, files = [], []
        for folder in folders:
            report = figures(folder)
            crop = report["scan_to_mesh_mm"][report["stages"][-1]]["face_crop"]
            if crop is not None:
                lines.append(
                    f"{shown(folder)}: face {crop['median']:.2f} mm in the median, 95 % within {crop['p95']:.2f}"
                )
            lines += [f"warning: {text}" for text in report["warnings"]]
            files += [(folder / name, text) for name, text in what.items()]
        return Outcome(files, f"look at {shown(folders[0] / HEAT_MAP)}", lines)
