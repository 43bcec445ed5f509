"""The table of formats. A new one is a module with ``recognises``, ``read``, ``write`` and ``HOLDS``, and a line here.

Extras are imported inside the functions of a module (`dekey.formats.files.extra_module`), never at its top.
"""

from __future__ import annotations

from typing import Final

from dekey.formats import coco, csv_table, cvat, deeplabcut, dlib, label_studio, labelme, mpii, pts, sleap, tps, yolo
from dekey.formats.base import Format

FORMATS: Final[dict[str, Format]] = {
    "coco": Format("COCO keypoints JSON", coco.recognises, coco.read, coco.write, coco.HOLDS, ".json"),
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
    "yolo": Format("Ultralytics YOLO-pose", yolo.recognises, yolo.read, yolo.write, yolo.HOLDS, ""),
    "csv": Format("CSV table", csv_table.recognises, csv_table.read, csv_table.write, csv_table.HOLDS, ".csv"),
    "dlib": Format("dlib imglab XML", dlib.recognises, dlib.read, dlib.write, dlib.HOLDS, ".xml"),
    "labelme": Format("labelme JSON", labelme.recognises, labelme.read, labelme.write, labelme.HOLDS, ""),
    "pts": Format("iBUG .pts or menpo .ljson", pts.recognises, pts.read, pts.write, pts.HOLDS, ""),
    "mpii": Format(
        "MPII JSON",
        mpii.recognises,
        mpii.read,
        mpii.write,
        mpii.HOLDS,
        ".json",
        note="16 keypoints are taken for MPII's joints of a person; centre and scale are written, not read",
        fixed=mpii.FIXED,
    ),
    "tps": Format("TPS", tps.recognises, tps.read, tps.write, tps.HOLDS, ".tps"),
}
"""Name, as `--format` takes it, and format."""
