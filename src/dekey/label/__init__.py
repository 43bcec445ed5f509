"""Labels for pictures that have none: classification pictures become labelled objects, and scenes composed of them."""

from dekey.label.foreground import Foreground, find_foreground
from dekey.label.points import KEYPOINTS, describe, shape_schema
from dekey.label.sources import SOURCES, open_pictures
from dekey.label.write import Options, label_folder

__all__ = [
    "KEYPOINTS",
    "SOURCES",
    "Foreground",
    "Options",
    "describe",
    "find_foreground",
    "label_folder",
    "open_pictures",
    "shape_schema",
]
