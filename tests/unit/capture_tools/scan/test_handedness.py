"""What tells a mirrored scan, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scan_parts import ibug_of, known_head, scan_of, similarity

from avatar.base.errors import InputError
from capture_tools.scan.handedness import winding
from capture_tools.scan.landmarks import ScanLandmarks, check_face, template_landmarks
from capture_tools.scan.scan import Scan, apply

MIRRORED, TURNED = "texture lies mirrored", "face inwards"


@pytest.fixture(scope="module")
def front(head):
    """A scan with a texture that is drawn as a photograph from the front sees it, and the face's middle."""
    _, vertices = known_head(head)
    scan = scan_of(head, vertices)
    return replace(scan, uv=2 * scan.vertices[:, :2] + 0.5), vertices[head.region("face")].mean(0)


def changed(scan: Scan, *, mirrored: bool, inwards: bool) -> Scan:
    """A scan whose triangles were turned, or that was mirrored, which turns them too."""
    vertices = scan.vertices * [-1, 1, 1] if mirrored else scan.vertices
    assert scan.faces is not None
    return replace(scan, vertices=vertices, faces=scan.faces[:, ::-1] if inwards != mirrored else scan.faces)


@pytest.mark.parametrize(
    ("mirrored", "inwards", "expected"),
    [
        (False, False, []),
        (False, True, ["by its texture it is not mirrored"]),
        (True, True, [TURNED, "mirror-symmetric mix-up"]),
        (True, False, ["mirror-symmetric mix-up"]),
    ],
)
def test_a_texture_tells_mirrored_scans_from_turned_triangles(front, mirrored, inwards, expected):
    scan, centre = front
    sign, coherent, notes = winding(changed(scan, mirrored=mirrored, inwards=inwards), centre)
    assert (sign, coherent) == (-1 if inwards else 1, True)
    assert len(notes) == len(expected)
    assert all(part in note for part, note in zip(expected, notes, strict=True))


def test_turned_triangles_tell_where_the_texture_does_not(front):
    scan, centre = front
    halves = np.abs(scan.uv - 0.5)  # both sides of the face share one picture
    for uv in (None, halves):
        inwards = replace(changed(scan, mirrored=True, inwards=True), uv=uv)
        assert ["may be mirrored" in note for note in winding(inwards, centre)[2]] == [True]
        assert winding(replace(changed(scan, mirrored=True, inwards=False), uv=uv), centre)[2] == []


def test_a_texture_tells_where_triangles_wind_at_random(front):
    scan, centre = front
    some = np.random.default_rng(0).random(len(scan.faces)) < 0.5
    for mirrored in (False, True):
        one = changed(scan, mirrored=mirrored, inwards=False)
        one = replace(one, faces=np.where(some[:, None], one.faces[:, ::-1], one.faces))
        _, coherent, notes = winding(one, centre)
        assert not coherent
        assert [MIRRORED in note for note in notes] == ([False, True] if mirrored else [False])


def test_landmarks_of_a_mirrored_face_are_told(head):
    _, vertices = known_head(head)
    points = apply(similarity(1000.0), ibug_of(head, vertices) * [-1, 1, 1])
    mirrored = ScanLandmarks("ibug", points, np.tile(np.eye(3), (68, 1, 1)))
    with pytest.raises(InputError, match="left and right are exchanged"):
        check_face(mirrored, template_landmarks(head, "ibug"), "scan")
