"""The laws of label formats on real files of other people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Dataset
from dekey.data.dataset import PictureFiles
from dekey.errors import DekeyError
from dekey.formats import FEATURES, FORMATS, read, write
from dekey.formats.fitting import fitted
from dekey.formats.losses import lost_features

pytestmark = pytest.mark.shared
Differences = Callable[[Dataset, Dataset], set[str]]
WRITABLE = [name for name, known in FORMATS.items() if known.write is not None]
# One file of each kind whose images are there: crowds, several objects, several categories, gaps, floats, no names.
FILES = [
    "coco_keypoints/test_coco.json",
    "ap10k/test_ap10k.json",
    "crowdpose/test_crowdpose.json",
    "wflw/test_wflw.json",
    "macaque/test_macaque.json",
    "dlib_imglab_xml/training_with_face_landmarks.xml",
    "csv_face68/test_frames_keypoints_head.csv",
    "mpii_json/test_mpii.json",
]


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("file", FILES)
def test_real_labels_lose_exactly_what_was_announced(
    file: str, name: str, shared_data: Path, differences: Differences, tmp_path: Path
) -> None:
    known = FORMATS[name]
    whole = read(shared_data / "formats" / file, problems="drop")
    there = [index for index, picture in enumerate(whole.pictures) if isinstance(picture, Path) and picture.is_file()]
    assert there
    try:
        dataset = fitted(whole.subset(there), known, drop=True)
    except DekeyError:
        # Refused before anything is written: every image holds what the format cannot hold truly, or several classes.
        assert any(FEATURES[feature].grave for feature in lost_features(whole.subset(there), known))
        return
    assert isinstance(dataset.pictures, PictureFiles)
    path = tmp_path / f"labels{known.suffix}"
    if name == "sleap" and len(dataset.schema.classes) > 40:
        # The 54 classes of AP-10K take more room than a SLEAP file has for skeletons.
        with pytest.raises(DekeyError, match="do not fit into a SLEAP file"):
            write(dataset, path, format=name)
        return
    write(dataset, path, format=name)
    back = read(path, format=name, images=dataset.pictures.folder)
    announced, found = set(lost_features(dataset, known)), differences(dataset, back)
    assert found <= announced, f"lost without a word: {found - announced}"
    np.testing.assert_array_equal(back.instances.visibility.sum() > 0, dataset.instances.visibility.sum() > 0)
