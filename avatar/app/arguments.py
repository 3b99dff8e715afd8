"""What the command line takes beyond tyro: the positional argument after an option of several values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

OF_SEVERAL = ("--driver", "--neutral", "--splits")
"""Options that take as many values as follow."""


def last_value_first(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Other readings of arguments: `reanimate --driver D RUN --out O` as `reanimate RUN --driver D --out O`.

    What follows an option of several values is one of them for tyro, unless the line ends there. Each reading takes
    the last value of one such option for the command's positional argument.
    """
    for place, option in enumerate(arguments):
        if option not in OF_SEVERAL:
            continue
        end = place + 1
        while end < len(arguments) and not arguments[end].startswith("--"):
            end += 1
        if end - place > 2:  # one value stays with the option
            moved = arguments[end - 1]
            yield [*arguments[:1], moved, *arguments[1 : end - 1], *arguments[end:]]
