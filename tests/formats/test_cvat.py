"""CVAT for images 1.1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

LABELS = """<labels>
<label><name>cow</name><type>skeleton</type><svg>&lt;line data-type="edge" data-node-from="2" data-node-to="1"&gt;&lt;/line&gt;
&lt;circle cx="1" cy="2" data-type="element node" data-node-id="1" data-label-name="head"&gt;&lt;/circle&gt;
&lt;circle data-node-id="2" data-label-name="tail"&gt;&lt;/circle&gt;</svg></label>
<label><name>head</name><type>points</type><parent>cow</parent></label>
<label><name>tail</name><type>points</type><parent>cow</parent></label>
<label><name>cow box</name><type>rectangle</type></label>
<label><name>never</name><type>any</type></label>
</labels>"""
SKELETON = """<skeleton label="cow" source="manual" group_id="3">
<points label="tail" outside="0" occluded="1" points="20.5,21.25"></points>
<points label="head" outside="0" occluded="0" points="2.50,3"></points>
</skeleton>"""
BOX = '<box label="cow box" group_id="3" occluded="0" xtl="1.00" ytl="2.00" xbr="64.00" ybr="48.00"></box>'


def page(shapes: str, labels: str = LABELS, image: str = 'id="7" name="a.png" width="64" height="48"') -> str:
    meta = f"<meta><task>{labels}</task></meta>" if labels else ""
    return f'<?xml version="1.0"?>\n<annotations><version>1.1</version>{meta}<image {image}>{shapes}</image></annotations>'


@pytest.fixture
def load(tmp_path: Path) -> object:
    def load(text: str, problems: str = "raise") -> Dataset:
        (tmp_path / "annotations.xml").write_text(text, encoding="utf-8")
        return read(tmp_path / "annotations.xml", format="cvat", problems=problems)  # type: ignore[arg-type]

    return load


def test_points_are_assigned_by_name_and_a_box_by_group(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    dataset = load(page(BOX + SKELETON))
    assert recognise(tmp_path) == recognise(tmp_path / "annotations.xml") == "cvat"
    assert dataset.schema.classes == ("cow",)
    assert dataset.schema.keypoints == ("head", "tail")
    assert dataset.schema.edges.tolist() == [[1, 0]]
    assert dataset.image_ids.tolist() == [7]
    assert dataset.sizes.tolist() == [[48, 64]]
    # The frame is dekey's own: nothing is added, and a box may reach to the last edge.
    assert dataset.instances.keypoints.tolist() == [[[2.5, 3.0], [20.5, 21.25]]]
    assert dataset.instances.boxes.tolist() == [[1, 2, 64, 48]]
    assert dataset.instances.visibility.tolist() == [[2, 1]]
    assert read(tmp_path).instances.keypoints.tolist() == dataset.instances.keypoints.tolist()


def test_an_outside_point_is_unlabelled_wherever_it_lies(load) -> None:  # type: ignore[no-untyped-def]
    dataset = load(page(SKELETON.replace('label="head" outside="0"', 'label="head" outside="1"')))
    assert dataset.instances.visibility.tolist() == [[0, 1]]
    assert np.isnan(dataset.instances.keypoints[0, 0]).all()
    assert np.isnan(dataset.instances.boxes).all()
    assert dataset.problems == ()


def attributed(shape: str, **attributes: object) -> str:
    texts = "".join(f'<attribute name="{name}">{value}</attribute>' for name, value in attributes.items())
    return shape.replace(' group_id="3"', "").replace("</skeleton>", texts + "</skeleton>").replace("</box>", texts + "</box>")


def test_a_box_belongs_to_what_has_the_same_id(load) -> None:  # type: ignore[no-untyped-def]
    far = BOX.replace('xtl="1.00"', 'xtl="30.00"')
    dataset = load(
        page(attributed(far, id=2) + attributed(SKELETON, id=1) + attributed(BOX, id=1) + attributed(SKELETON, id=2))
    )
    assert dataset.instances.boxes[:, 0].tolist() == [1, 30]
    # Where another attribute says otherwise, they are two objects; then the label of the box is a class.
    apart = load(page(attributed(BOX, id=1, kind="calf") + attributed(SKELETON, id=1, kind="bull")))
    assert apart.schema.classes == ("cow", "cow box")
    assert apart.schema.present.tolist() == [[True, True], [False, False]]
    assert apart.instances.labels.tolist() == [1, 0]
    # Two skeletons of the same id: to which the box belongs is undecided, so it stays alone.
    assert len(load(page(attributed(BOX, id=1) + attributed(SKELETON, id=1) * 2)).instances) == 3


def test_a_group_of_two_animals_is_ambiguous(load) -> None:  # type: ignore[no-untyped-def]
    text = page(BOX + SKELETON * 2)
    with pytest.raises(DekeyError, match="group 3 holds 2 skeletons or points and 1 boxes"):
        load(text)
    assert len(load(text, "drop").instances) == 0
    assert len(load(text, "keep").instances) == 3


def test_points_without_names_are_numbered(load) -> None:  # type: ignore[no-untyped-def]
    dataset = load(page('<points label="plate" occluded="1" points="1.5,2;3,4;5,6"></points>', labels=""))
    assert dataset.schema.classes == ("plate",)
    assert dataset.schema.keypoints == ("point_0", "point_1", "point_2")
    assert dataset.instances.keypoints.tolist() == [[[1.5, 2], [3, 4], [5, 6]]]
    assert dataset.instances.visibility.tolist() == [[1, 1, 1]]


def test_a_turned_box_becomes_the_upright_one_around_it(load) -> None:  # type: ignore[no-untyped-def]
    box = BOX.replace('xtl="1.00" ytl="2.00" xbr="64.00" ybr="48.00"', 'xtl="10" ytl="10" xbr="30" ybr="20" rotation="90.0"')
    np.testing.assert_allclose(load(page(box + SKELETON)).instances.boxes, [[15, 5, 25, 25]], atol=1e-9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (page(SKELETON).replace("annotations>", "annotation>"), "has the root 'annotation'"),
        (page(SKELETON)[:-30], "is not valid XML"),
        (page(SKELETON).replace("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'), "holds a document type"),
        ("<annotations><version>1.1</version><track/></annotations>", "holds tracks of a video"),
        ("<annotations><version>1.1</version></annotations>", "lists no images"),
        (page(BOX, labels=""), r"holds no keypoints \(labels: cow box\)"),
        (page(SKELETON.replace('label="head"', 'label="leg"')), "a point 'leg', which skeleton 'cow' does not have"),
        (page(SKELETON.replace('label="head"', 'label="tail"')), "it has two points 'tail'"),
        (page(SKELETON.replace("2.50,3", "2.50,3;4,5")), "point 'head' is at '2.50,3;4,5', expected x,y"),
        (page(SKELETON.replace("2.50,3", "2.50,north")), "expected x,y"),
        (page(SKELETON.replace("2.50,3", "2.50,nan")), "expected x,y"),
        (page(SKELETON.replace("2.50,3", "2.50,1e12")), "keypoint 'head' is x, y, v = 2.5, 1e"),
        (page(SKELETON + BOX.replace("1.00", "left")), "its corners are not four numbers"),
        (page(SKELETON.replace('label="cow"', "")), "it has no label"),
        (page(SKELETON, image='id="1" name="../a.png" width="6" height="4"'), "leaves the image folder"),
        (page(SKELETON, image='id="1" name="a.png"'), "a.png does not exist"),
    ],
)
def test_broken_files_are_told_in_a_sentence(load, text: str, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DekeyError, match=sentence):
        load(text)


def test_billion_laughs_are_not_laughed(load) -> None:  # type: ignore[no-untyped-def]
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 20))
    with pytest.raises(DekeyError, match="document type"):
        load(f'<!DOCTYPE x [<!ENTITY e0 "ha">{entities}]><annotations><image>&e19;</image></annotations>')


def test_images_of_subsets_lie_in_folders_of_them(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "images" / "Train").mkdir(parents=True)
    (tmp_path / "images" / "Train" / "a.png").write_bytes(b"here")
    dataset = load(page(SKELETON, image='id="1" name="a.png" subset="Train" width="64" height="48"'))
    assert dataset.pictures[0] == tmp_path / "images" / "Train" / "a.png"


def test_repeated_image_ids_are_counted_anew(load) -> None:  # type: ignore[no-untyped-def]
    text = page(SKELETON)
    image = text[text.index("<image ") : text.index("</annotations>")]
    dataset = load(text.replace(image, image + image.replace("a.png", "b.png")))
    assert dataset.image_ids.tolist() == [1, 2]


def test_names_with_signs_of_xml_survive_and_control_characters_are_refused(tmp_path: Path) -> None:
    schema = Schema.create(["a<\"&'>", "box only"], ["<p>", "q&"], [[0, 1]], present=[[True, True], [False, False]])
    instances = Instances.create([[[1.1, 2.2], [np.nan] * 2], [[np.nan] * 2] * 2], [[0, 0, 3, 4], [5, 6, 7, 8]], [0, 1])
    sample = Sample(tmp_path / "a&b.png", (9, 8), instances, 3, np.arange(2))
    write(Dataset.from_samples(schema, [sample]), tmp_path / "out.xml", format="cvat")
    again = read(tmp_path / "out.xml")
    assert again.schema == schema
    assert again.schema.edges.tolist() == [[0, 1]]
    np.testing.assert_array_equal(again.instances.keypoints, instances.keypoints)
    np.testing.assert_array_equal(again.instances.boxes, instances.boxes)
    assert again.instances.labels.tolist() == [0, 1]
    bad = Dataset.from_samples(Schema.create(["a\x01", "b"], ["<p>", "q&"]), [sample])
    with pytest.raises(DekeyError, match="control character"):
        write(bad, tmp_path / "bad.xml", format="cvat")
    bare = Sample(tmp_path / "a.png", (9, 8), Instances.create([[[np.nan] * 2] * 2], labels=[1]), 3, np.arange(1))
    with pytest.raises(DekeyError, match="which has no keypoints, has no box"):
        write(Dataset.from_samples(schema, [bare]), tmp_path / "bad.xml", format="cvat")
    assert not (tmp_path / "bad.xml").exists()


@pytest.mark.shared
def test_real_points(shared_data: Path) -> None:
    dataset = read(shared_data / "formats" / "cvat_xml_points")
    assert len(dataset) == len(dataset.instances) == 19
    assert dataset.schema.keypoints == tuple(f"point_{index}" for index in range(5))
    assert dataset.sizes[0].tolist() == [734, 741]
    # The last point is the middle of the red knob; in this picture it is red at that place.
    sample = next(sample for sample in dataset if sample.name == "Clipped_image_20231015_123729.png")
    x, y = sample.instances.keypoints[0, 4].astype(int)
    red, green, blue = sample.read_image()[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).mean(axis=0)
    assert red > green + blue


@pytest.mark.shared
def test_real_skeletons_are_what_their_author_made_of_them(shared_data: Path) -> None:
    """The author's own conversion: a row an object; class, box, then four points of pens and six of mice; occluded ones out."""
    folder = shared_data / "formats" / "cvat_xml_skeleton"
    dataset = read(folder)
    assert dataset.schema.classes == ("pen_skeleton", "mouse_skeleton")
    assert len(dataset.instances) == 4
    for sample in dataset:
        height, width = sample.size
        rows = np.loadtxt(folder / "out" / f"{Path(sample.name).stem}.txt", ndmin=2)
        for row in rows:
            label = int(row[0])
            boxes = sample.instances.boxes / [width, height, width, height]
            box = [row[1] - row[3] / 2, row[2] - row[4] / 2, row[1] + row[3] / 2, row[2] + row[4] / 2]
            index = int(np.abs(boxes - box).sum(axis=1).argmin())
            np.testing.assert_allclose(boxes[index], box, atol=1e-3)
            assert sample.instances.labels[index] == label
            own = row[5:].reshape(-1, 3)[4 * label : 4 * label + (6 if label else 4)]
            seen = sample.instances.visibility[index, : len(own)] == 2
            np.testing.assert_array_equal(own[:, 2] == 2, seen)
            expected = sample.instances.keypoints[index, : len(own)][seen] / [width, height]
            np.testing.assert_allclose(own[seen, :2], expected, atol=1e-3)
        assert len(rows) == len(sample.instances)


@pytest.mark.shared
def test_the_coco_export_of_cvat_is_read_as_coco(shared_data: Path) -> None:
    path = shared_data / "formats" / "yolo_pose_wagon" / "cvat_export" / "person_keypoints_default.json"
    assert recognise(path) == "coco"
    assert len(read(path, problems="drop").schema.keypoints) == 4


def test_a_size_that_no_image_has_is_not_believed(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    assert load(page(BOX + SKELETON, image='id="7" name="a.png" width="99999999999" height="48"')).sizes.tolist() == [[48, 64]]
