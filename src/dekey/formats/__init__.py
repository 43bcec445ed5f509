"""Annotation files: each format recognises, reads and writes its own."""

from dekey.formats.base import FORMATS, Format, read, recognise, write
from dekey.formats.coco_results import read_results, write_results

__all__ = ["FORMATS", "Format", "read", "read_results", "recognise", "write", "write_results"]
