"""Head avatars from a phone video: a deformable radiance field conditioned on FLAME expressions."""

__version__ = "0.1.0"
