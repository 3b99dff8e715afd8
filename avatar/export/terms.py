"""Who made an exported avatar and how it may be used, as far as the person who exports it says."""

from __future__ import annotations

import re
from typing import NamedTuple

from avatar.base.errors import ConfigError


class Terms(NamedTuple):
    """Either may be left out."""

    author: str | None = None
    """Who made the avatar."""
    licence: str | None = None
    """Web address of the terms of use."""

    def check(self) -> None:
        """Raise ConfigError for an empty author or a licence that is no web address."""
        if self.author is not None and not self.author.strip():
            raise ConfigError("--author is empty", expected="a name, or no --author", found=repr(self.author))
        if self.licence is not None and not re.fullmatch(r"https?://[^\s/]+\S*", self.licence):
            raise ConfigError("--licence is no web address", expected="https://...", found=self.licence)
