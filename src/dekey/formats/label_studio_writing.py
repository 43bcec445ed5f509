"""Writing tasks for Label Studio, see `dekey.formats.label_studio`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dekey.data.dataset import Dataset, Sample
from dekey.data.instances import OCCLUDED
from dekey.data.schema import Schema
from dekey.files import replaced
from dekey.formats.pictures import written_names


def write_file(dataset: Dataset, path: Path) -> None:
    """Write the file, see `dekey.formats.label_studio.write`."""
    names = written_names(dataset, path.parent)
    with replaced(path) as stream:
        stream.write("[\n")
        for index, (name, sample) in enumerate(zip(names, dataset, strict=True)):
            task = {
                "id": sample.image_id,
                "data": {
                    "image": f"/data/local-files/?d={quote(name)}",
                    "width": sample.size[1],
                    "height": sample.size[0],
                },
                "annotations": [{"result": _result(dataset.schema, sample), "was_cancelled": False, "ground_truth": False}],
                "predictions": [],
            }
            stream.write((",\n" if index else "") + json.dumps(task, ensure_ascii=False, allow_nan=False))
        stream.write("\n]\n")


def _result(schema: Schema, sample: Sample) -> list[dict[str, Any]]:
    """Give a rectangle for each object, its keypoints, and the relations from them to it; a choice where one is occluded."""
    height, width = sample.size
    objects = sample.instances
    result: list[dict[str, Any]] = []
    share = np.array([width, height]) / 100

    def region(key: str, control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        frame = {"original_width": width, "original_height": height, "image_rotation": 0}
        return frame | {"value": value, "id": key, "from_name": control, "to_name": "image", "type": kind}

    for index in range(len(objects)):
        own = f"object{index + 1}"
        (x1, y1), (x2, y2) = (objects.boxes[index].reshape(2, 2) / share).tolist()
        value = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
        name = schema.classes[objects.labels[index]]
        result.append(region(own, "objects", "rectanglelabels", value | {"rectanglelabels": [name]}))
        for column in np.flatnonzero(objects.labelled[index]).tolist():
            x, y = (objects.keypoints[index, column] / share).tolist()
            key, point = f"{own}_{column}", schema.keypoints[column]
            value = {"x": x, "y": y, "width": 0.5}
            result.append(region(key, "keypoints", "keypointlabels", value | {"keypointlabels": [point]}))
            if objects.visibility[index, column] == OCCLUDED:
                result.append(region(key, "visibility", "choices", value | {"choices": ["occluded"]}))
            result.append({"from_id": key, "to_id": own, "type": "relation", "direction": "right"})
    return result
