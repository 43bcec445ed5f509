"""A picture to predict where the caller names none."""

from __future__ import annotations

from pathlib import Path

from dekey.data import embedded

SIZE = (480, 640)
"""(H, W) px: what cheap cameras give."""

QUALITY = 90


def write_picture(folder: Path) -> Path:
    """Scale one of the embedded photographs to `SIZE` and write it into a folder as a JPEG; give its path."""
    import cv2

    sample = next(one for one in embedded.load("test") if one.size[1] > one.size[0])
    picture = cv2.resize(sample.read_image(), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    path = folder / "picture.jpg"
    whole, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert whole
    path.write_bytes(data.tobytes())
    return path
