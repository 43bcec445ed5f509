"""A sheet of labelled pictures, to see at a glance whether the labels fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dekey.data import Instances, Schema, geometry
from dekey.draw import draw_instances

_GAP = 4


def tile(picture: NDArray[np.uint8], instances: Instances, schema: Schema, side: int = 160) -> NDArray[np.uint8]:
    """Fit a picture with its boxes, keypoints and classes into a square.

    Args:
        picture: (H, W, 3) uint8.
        instances: its objects.
        schema: of the labels.
        side: px of the square.

    Returns:
        (side, side, 3) uint8.
    """
    affine = geometry.letterbox((picture.shape[0], picture.shape[1]), (side, side))
    return draw_instances(geometry.warp(picture, affine, (side, side), fill=235), instances.mapped(affine), schema)


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], columns: int = 10) -> NDArray[np.uint8]:
    """Lay tiles beside each other, in rows.

    Args:
        tiles: one or more (side, side, 3) uint8.
        columns: tiles a row.

    Returns:
        (rows · (side + 4) − 4, columns · (side + 4) − 4, 3) uint8.
    """
    side = len(tiles[0])
    step = side + _GAP
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * step - _GAP, columns * step - _GAP, 3), 255, dtype=np.uint8)
    for position, one in enumerate(tiles):
        top, left = position // columns * step, position % columns * step
        sheet[top : top + side, left : left + side] = one
    return sheet
