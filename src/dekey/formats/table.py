"""The table of formats. A new one is a module with ``recognises``, ``read`` and ``write``, and a line here.

Extras are imported inside the functions of a module (`dekey.formats.files.extra_module`), never at its top.
"""

from __future__ import annotations

from typing import Final

from dekey.formats import coco, csv_table, cvat, deeplabcut, dlib, label_studio, labelme, mpii, pts, sleap, tps, yolo
from dekey.formats.base import Format
from dekey.formats.losses import ALL

_YOLO: Final = ALL - {
    "crowd",
    "empty_objects",
    "objects_without_boxes",
    "areas",
    "class_keypoints",
    "sigmas",
    "image_ids",
    "annotation_ids",
    "category_ids",
    "image_sizes",
}

_DLIB: Final = frozenset(
    {
        "several_objects",
        "classes",
        "crowd",
        "unlabelled_points",
        "objects_without_keypoints",
        "images_without_objects",
        "boxes",
        "class_names",
        "keypoint_names",
        "image_sizes",
    }
)
_CSV: Final = (_DLIB - {"crowd"}) | {"empty_objects", "objects_without_boxes", "occluded", "exact_coordinates"}

FORMATS: Final[dict[str, Format]] = {
    "coco": Format("COCO keypoints JSON", coco.recognises, coco.read, coco.write, ALL, ".json"),
    "cvat": Format("CVAT for images 1.1", cvat.recognises, cvat.read, cvat.write, cvat.HOLDS, ".xml"),
    "deeplabcut": Format(
        "DeepLabCut table or project",
        deeplabcut.recognises,
        deeplabcut.read,
        deeplabcut.write,
        deeplabcut.HOLDS,
        "",
        note="images are copied into the project; its HDF5 tables need the extra `formats`",
    ),
    "label_studio": Format(
        "Label Studio JSON", label_studio.recognises, label_studio.read, label_studio.write, label_studio.HOLDS, ".json"
    ),
    "sleap": Format("SLEAP", sleap.recognises, sleap.read, sleap.write, sleap.HOLDS, ".slp", extra="formats"),
    "yolo": Format("Ultralytics YOLO-pose", yolo.recognises, yolo.read, yolo.write, _YOLO, ""),
    "csv": Format("CSV table", csv_table.recognises, csv_table.read, csv_table.write, _CSV, ".csv"),
    "dlib": Format("dlib imglab XML", dlib.recognises, dlib.read, dlib.write, _DLIB, ".xml"),
    "labelme": Format("labelme JSON", labelme.recognises, labelme.read, labelme.write, labelme.HOLDS, ""),
    "pts": Format("iBUG .pts or menpo .ljson", pts.recognises, pts.read, pts.write, pts.HOLDS, ""),
    "mpii": Format("MPII JSON", mpii.recognises, mpii.read, None, mpii.HOLDS, ".json", note=mpii.NOTE),
    "tps": Format("TPS", tps.recognises, tps.read, tps.write, tps.HOLDS, ".tps"),
}
"""Name, as `--format` takes it, and format."""
