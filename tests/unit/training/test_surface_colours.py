"""Colours of the head's surface: those seen, those of the other side, and those of what is around."""

import torch

from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.media.images import to_linear, to_srgb
from avatar.training.prepare import load_training_data
from avatar.training.surface_colours import fill_over_mesh, mirrored, shading, surface_colours

SKIN, SCALP = torch.tensor([0.8, 0.6, 0.5]), torch.tensor([0.2, 0.1, 0.1])
"""Colours of the capture's head; its wall has stripes of 60 and 180 of 255."""


def test_a_head_of_two_colours_is_completed_in_them(nodding_capture, tiny_config):
    """Forehead to nape: what no frame shows is hair on the scalp, skin elsewhere, and never wall."""
    asset = load_head()
    training = load_training_data(read_capture(nodding_capture), asset, tiny_config, torch.device("cpu"))
    surface = surface_colours(training.identity, training.frames)
    never = surface.confidence == 0
    scalp, skin, ears = (torch.as_tensor(asset.region(name)) for name in ("scalp", "face", "ears"))
    neutral = training.identity.neutral()
    crown = scalp & (neutral[:, 1] > neutral[ears, 1].mean() + 0.01)
    bare = skin & ~torch.as_tensor(asset.region("lips"))
    assert 0.2 < float(never.float().mean()) < 0.8
    assert float(surface.confidence[bare & (neutral[:, 2] > neutral[bare, 2].median())].median()) > 0.95
    # of the scalp little but its edge is seen, which pixels mix with the forehead; the two colours are 0.5 apart
    for part, colour, most in ((crown & never, SCALP, 0.24), (bare & never, SKIN, 0.12), (ears & never, SKIN, 0.2)):
        assert part.sum() > 10
        assert float((surface.colours[part] - colour).abs().mean()) < most
    known = bare & (surface.confidence > 0.99)
    assert float((surface.colours[known] - SKIN).abs().mean()) < 0.04


def test_unseen_skin_takes_the_completed_texture_in_the_tone_of_what_was_seen(nodding_capture, tiny_config):
    """A texture that is half as bright everywhere and blue behind: unseen skin is blue, in the clip's brightness."""
    asset = load_head()
    capture = read_capture(nodding_capture)
    training = load_training_data(capture, asset, tiny_config, torch.device("cpu"))
    assert training.completed is None  # no texture space has completed this capture
    plain = surface_colours(training.identity, training.frames)
    linear = torch.as_tensor(to_linear(SKIN.numpy())) / 2
    never, own = plain.confidence == 0, torch.as_tensor(asset.region("face") & ~asset.region("scalp"))
    said = torch.where(never[:, None], torch.tensor([0.1, 0.1, 0.3]) * linear, linear)
    found = surface_colours(training.identity, training.frames, completed=said)
    unseen = own & never
    assert unseen.sum() > 10
    wanted = torch.as_tensor(to_srgb((2 * linear * torch.tensor([0.1, 0.1, 0.3])).numpy()))
    assert float((found.colours[unseen] - wanted).abs().mean()) < 0.06
    seen = plain.confidence > 0.999
    torch.testing.assert_close(found.colours[seen], plain.colours[seen])
    scalp = torch.as_tensor(asset.region("scalp"))
    torch.testing.assert_close(found.colours[scalp], plain.colours[scalp])


def test_the_other_side_has_the_same_place():
    """Values that depend on height and depth alone come back unchanged, those of one side change sides."""
    asset = load_head()
    vertices, faces = torch.as_tensor(asset.template), torch.as_tensor(asset.faces)
    left = (vertices[:, 0] > 0.02).float()
    values = torch.cat([vertices[:, 1:], left[:, None], torch.ones(len(vertices), 1)], 1)
    found, confidence = mirrored(vertices, faces, values)
    skin = torch.as_tensor(asset.region("face"))
    assert float(confidence[skin].mean()) > 0.99
    assert float((found[skin, :2] - vertices[skin, 1:]).abs().max()) < 0.004
    assert float(found[skin & (vertices[:, 0] < -0.03), 2].mean()) > 0.97
    assert float(found[skin & (vertices[:, 0] > 0.03), 2].mean()) < 0.03


def test_shading_finds_the_lit_side_and_stays_moderate():
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator), dim=-1)
    light = 1 + 0.25 * normals[:, 0]
    seen = (normals[:, 2] > 0.2).float()
    found = shading(0.5 * light[:, None] * torch.ones(3), normals, seen)
    front = seen > 0
    ratio = found[front] / light[front]
    assert float(ratio.std() / ratio.mean()) < 0.03
    assert float(found[normals[:, 0] > 0.8].mean()) > float(found[normals[:, 0] < -0.8].mean())
    assert float(found.max() / found.min()) < 1.81


def test_filling_holds_what_is_known_and_does_not_cross_the_hairline():
    """A strip of triangles: one end red, the other blue; the middle is scalp with one dark vertex."""
    count = 30
    index = torch.arange(count - 2)
    faces = torch.stack([index, index + 1, index + 2], 1).int()
    values, known = torch.zeros(count, 3), torch.zeros(count)
    values[0, 0], values[-1, 2], known[0], known[-1] = 1.0, 1.0, 1.0, 1.0
    scalp = (torch.arange(count) >= 10) & (torch.arange(count) < 20)
    values[15], known[15] = 0.1, 1.0
    filled = fill_over_mesh(values, known, faces, scalp)
    torch.testing.assert_close(filled[[0, 15, -1]], values[[0, 15, -1]])
    torch.testing.assert_close(filled[scalp], torch.full((10, 3), 0.1))
    torch.testing.assert_close(filled[:9, 0], torch.ones(9), atol=0.02, rtol=0)
    torch.testing.assert_close(filled[21:, 2], torch.ones(9), atol=0.02, rtol=0)
