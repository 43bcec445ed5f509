"""Names for what a format leaves without one."""

from __future__ import annotations

from typing import Final

UNNAMED_CLASS: Final = "object"
"""The class of files that name none."""


def unnamed_keypoints(count: int) -> tuple[str, ...]:
    """Name keypoints that have no names.

    >>> unnamed_keypoints(2)
    ('point_0', 'point_1')
    """
    return tuple(f"point_{index}" for index in range(count))
