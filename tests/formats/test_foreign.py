"""Files that no format knows are called what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dekey.errors import DekeyError
from dekey.formats import read

JSON: list[tuple[Any, str]] = [
    ([{"image_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]}], "COCO results"),
    ([{"img_name": "a.png", "img_width": 9, "joints": [[1, 2, 1]]}], "list of images with 'joints'"),
    ([{"path": "a.png", "keypoints": {"0": [1, 2]}}], "numbered 'keypoints'"),
    ([{"filename": "a.png", "annotations": [{"class": "Face"}], "class": "image"}], "AlphaTracker"),
    ({"definitions": {"marker_types": {}}, "files": []}, "is an .anno file"),
    ({"version": 2, "landmarks": {"points": []}}, "with the ending .ljson"),
    ({"class": {"0": {"name": "pen", "keypoints_amount": 4}}}, "no labels; name the label file"),
    ({"version": "2.0.0", "skeletons": [], "nodes": [], "videos": [], "labels": []}, "open it in SLEAP and save it as .slp"),
    ({"type": "FeatureCollection", "features": []}, "GeoJSON"),
    ([{"a": 1, "b": 2}], "a list of 1 objects with 'a', 'b', and no known format"),
    ({"x" * 50: 1}, "an object with 'xxx"),
    ([], "no images and no objects"),
]
BYTES: list[tuple[bytes, str]] = [
    (b"name,parent,swap\nhead,,\n", "skeleton of DeepPoseKit"),
    (b"MATLAB 7.3 MAT-file, Platform: PCWIN64" + bytes(600), "MATLAB"),
    (b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
    (b"\x89HDF\r\n\x1a\n" + bytes(600) + b"track_occupancy\0", "SLEAP's analysis file"),
    (b"track,frame_idx,instance.score,A.x,A.y,A.score\n,0,nan,205.9,187.8,\n", "SLEAP's analysis table"),
    (b"0 0.5 0.5 0.1 0.2 0.45 0.5 2 1.2 0.5 0\n1 0.5 0.5 0.1 0.2 0.45 0.5 2 0.1 0.5 1\n", "name the data.yaml"),
    (b"0 0.5 0.5 0.1 0.2 0.45 0.5 2", "name the data.yaml"),
    (b"0 0.5 0.5 0.1 0.2 0.45 0.5 2\n" * 9000, "name the data.yaml"),
    (b"0 0.5 0.5 0.1 0.2 0.45 0.5 2\ndog", "no known format"),
    (b"0 0.5 0.5 0.1 0.2 dog\n", "no known format"),
    (b"Task: a\nscorer: me\nproject_path: /x\nbodyparts:\n- nose\n", "call it config.yaml"),
    (b"\x80\x04\x95" + bytes(50), "pickle"),
    (b"\x89PNG\r\n\x1a\n" + bytes(50), "is an image"),
    (b"PK\x03\x04" + bytes(50), "ZIP"),
    (b'[{"a": 1,,}]', "not valid JSON"),
    (b"[" * 100_000, "nests too deep"),
    (b"4,0.237,0.333,0.328,0.229,0.643,0.643,0.721,0.720,,\n", "corners of a number plate"),
    (b"just words", "no known format"),
]


@pytest.mark.parametrize(("content", "said"), [*((json.dumps(value).encode(), said) for value, said in JSON), *BYTES])
def test_a_foreign_file_is_called_what_it_is(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DekeyError, match="; ") as caught:
        read(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
