from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

XML = """<?xml version='1.0' encoding='ISO-8859-1'?>
<?xml-stylesheet type='text/xsl' href='image_metadata_stylesheet.xsl'?>
<dataset>
<name>Sch\xe4del</name>
<images>
  <image file='a.png' width='60' height='40'>
    <box top='10' left='20' width='30' height='15'>
      <label>sk\xfcll</label>
      <part name='nose' x='25' y='12'/>
      <part name='eye' x='-1' y='0'/>
    </box>
    <box top='1' left='2' width='3' height='4' ignore='1'/>
  </image>
  <image file='b.png'>
  </image>
</images>
</dataset>"""


def save(folder: Path, text: str = XML) -> Path:
    Image.new("RGB", (50, 30)).save(folder / "b.png")
    (folder / "a.xml").write_bytes(text.encode("latin-1"))
    return folder / "a.xml"


def test_every_field_is_read(tmp_path: Path) -> None:
    dataset = read(save(tmp_path))
    assert recognise(tmp_path / "a.xml") == "dlib"
    assert dataset.schema.classes == ("sk\xfcll", "object")
    assert dataset.schema.keypoints == ("eye", "nose")
    assert dataset.sizes.tolist() == [[40, 60], [30, 50]]
    assert dataset.starts.tolist() == [0, 2, 2]
    np.testing.assert_array_equal(dataset.instances.boxes, [[20, 10, 50, 25], [2, 1, 5, 5]])
    np.testing.assert_array_equal(dataset.instances.keypoints[0], [[-0.5, 0.5], [25.5, 12.5]])
    assert dataset.instances.visibility.tolist() == [[2, 2], [0, 0]]
    assert dataset.instances.crowd.tolist() == [False, True]


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    first = read(save(tmp_path))
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    write(first, tmp_path / "b.xml", format="dlib")
    second = read(tmp_path / "b.xml")
    assert second.schema == first.schema
    for name in ("boxes", "labels", "keypoints", "visibility", "crowd"):
        np.testing.assert_array_equal(getattr(second.instances, name), getattr(first.instances, name), err_msg=name)
    for name in ("sizes", "starts", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name), err_msg=name)


def test_mistakes_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    boxes = [
        "<box top='1' left='2' width='3' height='4'><part name='eye' x='5'/></box>",
        "<box top='1' left='2' width='3' height='4'><part name='eye' x='5' y='6'/><part name='eye' x='5' y='6'/></box>",
        "<box top='1' left='2' width='3' height='4'><part x='5' y='6'/></box>",
        "<box top='1' left='2' width='3'><part name='eye' x='5' y='6'/></box>",
        "<box top='1' left='2' width='3' height='4'><part name='eye' x='5.25' y='6'/></box>",
    ]
    text = f"<dataset><images><image file='b.png'>{''.join(boxes)}</image><image/><image file='../b.png'/></images></dataset>"
    file = save(tmp_path, text)
    dataset = read(file, problems="drop")
    assert [each.kind for each in dataset.problems] == ["unsafe-path"] * 2 + ["unreadable-record"] * 3 + ["unreadable-box"]
    assert dataset.annotation_ids.tolist() == [5]
    np.testing.assert_array_equal(dataset.instances.keypoints[0, 0], [5.75, 6.5])
    assert read(file, problems="keep").annotation_ids.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<dataset><images><image file='a.png'>", "not valid XML"),
        ("<dataset><images/></dataset>", "expected an imglab file"),
        ("<html><image file='a.png'/></html>", "its root is <html>"),
        ("<dataset><images><image file='b.png'/></images></dataset>", "no keypoints; label some"),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]><dataset><images><image file='&a;'/></images></dataset>", "document type"),
        ("<?xml version='1.0' encoding='none'?><dataset/>", "not valid XML"),
    ],
)
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DekeyError, match=says) as caught:
        read(save(tmp_path, text), format="dlib")
    assert "\n" not in str(caught.value)


@pytest.mark.shared
def test_faces_of_dlib(shared_data: Path) -> None:
    """Checked by hand in the picture: the box holds the face, 30 is the tip of the nose, 8 the chin."""
    dataset = read(shared_data / "formats" / "dlib_imglab_xml" / "training_with_face_landmarks.xml")
    assert len(dataset) == 4
    assert len(dataset.instances) == 18
    assert dataset.schema.keypoints == tuple(f"{index:02d}" for index in range(68))
    assert (dataset.instances.visibility == 2).all()
    np.testing.assert_array_equal(dataset.instances.boxes[0], [194, 90, 231, 127])
    boxes, chin = dataset.instances.boxes, dataset.instances.keypoints[:, 8]
    assert (np.abs(chin[:, 0] - (boxes[:, 0] + boxes[:, 2]) / 2) < (boxes[:, 2] - boxes[:, 0]) / 2).all()


@pytest.mark.parametrize("name", ["dlib", "cvat"])
def test_a_control_character_is_refused(tmp_path: Path, name: str) -> None:
    dataset = read(save(tmp_path))
    dataset.instances.crowd[:] = False
    schema = replace(dataset.schema, keypoints=("eye", "no\x01se"))
    with pytest.raises(DekeyError, match="holds a control character, which XML cannot hold"):
        write(replace(dataset, schema=schema), tmp_path / "b.xml", format=name)
    assert not (tmp_path / "b.xml").exists()
