"""Label files: each format recognises, reads and writes its own."""

from dekey.formats.access import format_for, read, recognise, write
from dekey.formats.base import Format
from dekey.formats.coco_results import read_results, write_results
from dekey.formats.losses import FEATURES, losses
from dekey.formats.table import FORMATS

__all__ = [
    "FEATURES",
    "FORMATS",
    "Format",
    "format_for",
    "losses",
    "read",
    "read_results",
    "recognise",
    "write",
    "write_results",
]
