from __future__ import annotations

import pytest
import torch

from avatar.base.errors import ConfigError
from avatar.data.dataset import FrameSet
from avatar.data.sampler import ANYWHERE, EYES, MOUTH, PERSON, RaySampler, person_blocks

WIDTH, HEIGHT = 160, 120
MOUTH_BOX, EYE_BOXES = (70, 80, 95, 90), ((60, 40, 72, 47), (90, 41, 103, 49))


def make_frames(count: int = 20) -> FrameSet:
    """Frames whose pixel values tell frame, x and y, so that a wrong look-up shows."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    images = torch.stack([torch.stack([x, y, torch.full_like(x, i)], -1) for i in range(count)]).to(torch.uint8)
    masks = torch.zeros(count, HEIGHT, WIDTH, dtype=torch.uint8)
    masks[:, 30:, 50:110] = 200
    return FrameSet(
        images=images,
        masks=masks,
        cameras=[],
        params=None,
        mouth_boxes=torch.tensor([MOUTH_BOX]).repeat(count, 1),
        eye_boxes=torch.tensor([EYE_BOXES]).repeat(count, 1, 1),
        indices=list(range(count)),
        names=[],
        timestamps=[],
    )


def inside(pixels, box):
    x, y = (pixels - 0.5).T
    return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])


def test_values_belong_to_the_pixels():
    batch = RaySampler(make_frames(), rays=1000).batch()
    assert batch.pixels.shape == (1000, 2)
    assert torch.equal(batch.pixels % 1, torch.full((1000, 2), 0.5))
    read = (batch.colour * 255).round()
    assert torch.equal(read[:, :2], batch.pixels - 0.5)
    assert torch.equal(read[:, 2].long(), batch.frame_index)
    x, y = (batch.pixels - 0.5).T
    person = (y >= 30) & (x >= 50) & (x < 110)
    torch.testing.assert_close(batch.mask, person.float() * 200 / 255)


def test_frames_of_a_batch():
    batch = RaySampler(make_frames(), rays=2048, frames_per_batch=8).batch()
    assert len(set(batch.frames.tolist())) == 8
    assert torch.equal(batch.frames[batch.slot], batch.frame_index)
    assert torch.equal(batch.slot, batch.slot.sort().values)
    assert batch.slot.bincount().tolist() == [256] * 8


def test_shares_hold_within_each_frame():
    sampler = RaySampler(make_frames(), rays=2400, frames_per_batch=8, mouth_share=1 / 3, eye_share=0.1)
    batch = sampler.batch()
    for slot in range(8):
        counts = batch.region[batch.slot == slot].bincount(minlength=4).tolist()
        assert counts == [100, 30, 140, 30]


def test_each_region_is_where_it_says_and_covers_it_evenly():
    sampler = RaySampler(make_frames(), rays=4096, seed=3)
    batches = [sampler.batch() for _ in range(60)]
    pixels = torch.cat([b.pixels for b in batches])
    region = torch.cat([b.region for b in batches])

    mouth = pixels[region == MOUTH]
    assert inside(mouth, MOUTH_BOX).all()
    x, y = (mouth - 0.5).long().T
    counts = ((y - MOUTH_BOX[1]) * 25 + x - MOUTH_BOX[0]).bincount(minlength=250).double()
    expected = len(mouth) / 250
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 345  # 249 degrees of freedom: the 99.99 % point is 340

    eyes = pixels[region == EYES]
    right, left = inside(eyes, EYE_BOXES[0]), inside(eyes, EYE_BOXES[1])
    assert (right | left).all()
    assert abs(right.float().mean() - 0.5) < 0.02

    person = pixels[region == PERSON]
    assert inside(person, (50 - 6, 30 - 6, 110 + 6, HEIGHT)).all(), "at most two blocks of 2 or 3 pixels outside"
    x, y = (person - 0.5).long().T
    hits = (y * WIDTH + x).bincount(minlength=WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    assert (hits[30:, 50:110] > 0).all(), "every pixel of the person can be drawn"
    assert (hits[29, 50:110] > 0).all(), "the mask is dilated"
    per_row = hits[30:, 50:110].double().sum(1)
    assert per_row.std() / per_row.mean() < 0.06, "uniform on the person, also in the cut blocks at the border"

    anywhere = (pixels[region == ANYWHERE] - 0.5).long()
    assert anywhere.min(0).values.tolist() == [0, 0]
    assert anywhere.max(0).values.tolist() == [WIDTH - 1, HEIGHT - 1]


def test_every_frame_is_seen_equally_often():
    sampler = RaySampler(make_frames(20), rays=64, frames_per_batch=8)
    drawn = [sampler.batch().frames for _ in range(50)]  # 400 draws: 20 passes
    assert all(len(frames.unique()) == 8 for frames in drawn)
    assert torch.cat(drawn).bincount().tolist() == [20] * 20
    assert torch.cat(drawn)[:20].tolist() != list(range(20))


def test_same_seed_same_batches_other_seed_others():
    first, second, other = (RaySampler(make_frames(), rays=256, seed=seed) for seed in (1, 1, 2))
    for _ in range(5):
        a, b, c = first.batch(), second.batch(), other.batch()
        assert torch.equal(a.pixels, b.pixels)
        assert torch.equal(a.frame_index, b.frame_index)
        assert not torch.equal(a.pixels, c.pixels)


def test_resuming_goes_on_with_the_same_batches():
    sampler = RaySampler(make_frames(), rays=256, seed=1)
    for _ in range(4):
        sampler.batch()
    state = sampler.get_state()
    assert all(isinstance(value, torch.Tensor) for value in state.values()), "safetensors keeps tensors only"
    after = [sampler.batch() for _ in range(6)]
    resumed = RaySampler(make_frames(), rays=256, seed=99)
    resumed.set_state(state)
    for expected in after:
        found = resumed.batch()
        assert torch.equal(found.frames, expected.frames)
        assert torch.equal(found.pixels, expected.pixels)


def test_state_of_other_frames_is_refused():
    sampler = RaySampler(make_frames(10), rays=64)
    sampler.batch()
    with pytest.raises(ConfigError, match="does not fit"):
        RaySampler(make_frames(11), rays=64).set_state(sampler.get_state())


def test_without_landmarks_the_rays_go_to_the_person():
    frames = make_frames(4)
    frames.mouth_boxes[:] = 0
    frames.eye_boxes[:, 1] = 0
    batch = RaySampler(frames, rays=3000, frames_per_batch=4).batch()
    mouth = batch.pixels[batch.region == MOUTH]
    assert inside(mouth, (44, 24, 116, HEIGHT)).all()
    assert mouth[:, 1].std() > 20, "spread over the person"


def test_without_a_person_the_rays_go_everywhere():
    frames = make_frames(2)
    frames.masks[:] = 0
    batch = RaySampler(frames, rays=4000, frames_per_batch=2).batch()
    person = batch.pixels[batch.region == PERSON]
    assert person.min() < 5
    assert person[:, 0].max() > WIDTH - 5


def test_fewer_frames_than_asked():
    batch = RaySampler(make_frames(3), rays=100, frames_per_batch=8).batch()
    assert sorted(batch.frames.tolist()) == [0, 1, 2]
    assert len(batch.pixels) == 100


@pytest.mark.parametrize(
    "settings", [{"mouth_share": 0.9, "eye_share": 0.2}, {"eye_share": -0.1}, {"rays": 0}, {"frames_per_batch": 0}]
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(ConfigError):
        RaySampler(make_frames(3), **settings)


def test_blocks_at_full_size_stay_small():
    masks = torch.full((2, 512, 512), 255, dtype=torch.uint8)
    side, start, count, corners = person_blocks(masks)
    assert side == 8
    assert count.tolist() == [4096, 4096]
    assert start.tolist() == [0, 4096]
    assert corners.max() == 504
