"""How large the viewer's pictures are: small while something moves, as large as the capture when it rests."""

from __future__ import annotations

MOVING = 128
"""Height of the first pictures while something moves, pixels."""
STEPS = (64, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024)
"""Heights that pictures of something moving may have."""
SLOWEST = 0.2
"""Seconds that a picture may take while something moves: five a second."""
ROOM = 0.7
"""A larger size has to be expected to take no more than this share of `SLOWEST`."""
IN_A_ROW = 2
"""Pictures that agree before the size is changed: one slow picture may be another program's doing."""


class Quality:
    """Heights of pictures, adapted to how long they take on this machine."""

    def __init__(self, at_rest: int, *, steady: bool = False) -> None:
        """at_rest: height in pixels of pictures at rest, that of the capture; moving pictures never exceed it.

        steady: all pictures are that high, however long they take.
        """
        self.at_rest = at_rest
        self.steps = [step for step in STEPS if step < at_rest and not steady] + [at_rest]
        self._step = min(range(len(self.steps)), key=lambda step: abs(self.steps[step] - MOVING))
        self._slow = self._fast = 0

    @property
    def moving(self) -> int:
        """Height in pixels of the next picture of something that moves."""
        return self.steps[self._step]

    def took(self, height: int, seconds: float) -> None:
        """Learn from a picture of something moving that was `height` pixels high and took `seconds`."""
        if height != self.moving:
            return
        larger = self.steps[min(self._step + 1, len(self.steps) - 1)]
        expected = seconds * (larger / height) ** 2
        self._slow = self._slow + 1 if seconds > SLOWEST else 0
        self._fast = self._fast + 1 if larger > height and expected < ROOM * SLOWEST else 0
        if self._slow >= IN_A_ROW and self._step > 0:
            self._step, self._slow, self._fast = self._step - 1, 0, 0
        elif self._fast >= IN_A_ROW:
            self._step, self._slow, self._fast = self._step + 1, 0, 0
