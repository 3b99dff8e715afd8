"""What a step of the training moves: the blended grids decay, nothing else does."""

import torch

from avatar.data.capture import read_capture
from avatar.flame.library import load_head
from avatar.training.optimizer import make_optimizer
from avatar.training.prepare import load_training_data, make_avatar


def test_blended_grids_alone_decay(tiny_capture, bare_config):
    """What gets no gradient stays, but for the blended grids: those lose rate times decay of themselves."""
    training = load_training_data(read_capture(tiny_capture), load_head(), bare_config, torch.device("cpu"))
    avatar = make_avatar(bare_config, training)
    bare_config.training.bank_decay = 0.5
    before = {name: value.detach().clone() for name, value in avatar.scene.named_parameters()}
    for value in avatar.scene.parameters():
        value.grad = torch.zeros_like(value)
    make_optimizer(avatar.scene, bare_config.training).step()
    kept = 1 - 0.5 * bare_config.training.table_rate
    for name, value in avatar.scene.named_parameters():
        share = kept if name == "radiance.blended.tables" else 1.0
        torch.testing.assert_close(value.detach(), share * before[name], msg=name)
