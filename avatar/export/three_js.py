"""three.js with its GLTFLoader and TrackballControls, out of the page that trimesh carries for notebooks.

trimesh comes with the viewer's page server and is pinned in `requirements.lock`; the script keeps its licence header,
and pages made with it carry the whole licence (`page/three-license.txt`).
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

from avatar.base.errors import MissingDependencyError

TEMPLATE, MEMBER = "resources/templates/viewer.zip", "viewer.html.template"
START, END = "<script>", "THREE.GLTFLoader=GLTFLoader;})();"
"""What the page's one script begins with, and the last words before trimesh's own viewer."""
NEEDED = ("SPDX-License-Identifier: MIT", "AnimationMixer", "morphTargetsTexture", "THREE.TrackballControls=")


def three_js() -> str:
    """The script, to be put into a page; it defines `THREE`.

    Raises MissingDependencyError where trimesh is not installed or carries it in another form.
    """
    found = importlib.util.find_spec("trimesh")  # not imported: only its file is wanted
    if found is None or found.origin is None:
        raise _missing("it is not installed")
    archive = Path(found.origin).parent / TEMPLATE
    try:
        with zipfile.ZipFile(archive) as file:
            page = file.read(MEMBER).decode("utf-8")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _missing(error) from error
    _, begins, rest = page.partition(START)
    script, ends, _ = rest.partition(END)
    script += ends
    lacking = [word for word in NEEDED if word not in script]
    if not begins or not ends or lacking or "</script" in script:
        raise _missing(f"another page than expected in {archive}")
    return script


def _missing(found: object) -> MissingDependencyError:
    return MissingDependencyError(
        "the page needs three.js, which is taken from the package trimesh",
        expected=f"trimesh with {TEMPLATE}",
        found=found,
        fix="pip install trimesh==5.2.0",
    )
