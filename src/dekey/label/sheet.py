"""A sheet of labelled pictures, to see at a glance whether the labels fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, Schema, geometry
from dekey.draw import draw_instances

_GAP = 4


def contact_sheet(
    pictures: Sequence[tuple[NDArray[np.uint8], Instances]], schema: Schema, columns: int = 10, side: int = 160
) -> NDArray[np.uint8]:
    """Lay pictures with their boxes, keypoints and classes beside each other, in rows.

    Args:
        pictures: S pictures (H, W, 3) uint8 and their objects.
        schema: of the labels.
        columns: pictures a row.
        side: px of the square that each picture is fitted into.

    Returns:
        (rows · (side + 4) − 4, columns · (side + 4) − 4, 3) uint8.
    """
    step = side + _GAP
    rows = -(-len(pictures) // columns)
    sheet = np.full((max(rows, 1) * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for position, (picture, instances) in enumerate(pictures):
        affine = geometry.letterbox((picture.shape[0], picture.shape[1]), (side, side))
        tile = draw_instances(geometry.warp(picture, affine, (side, side), fill=235), instances.mapped(affine), schema)
        top, left = position // columns * step, position % columns * step
        sheet[top : top + side, left : left + side] = tile
    return sheet
