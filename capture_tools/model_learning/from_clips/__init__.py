"""A head model learned from clips: identity and albedo directions, without any scan (FML)."""
