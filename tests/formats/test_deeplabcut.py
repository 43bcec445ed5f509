"""DeepLabCut's tables and projects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.errors import DekeyError
from dekey.formats import read, recognise, write

SINGLE = """scorer,Ann,Ann,Ann,Ann
bodyparts,nose,nose,tail,tail
coords,x,y,x,y
labeled-data/run/a.png,0,1.25,10,20
labeled-data/run/b.png,3,4,,
labeled-data/run/c.png,,,,
"""
SEVERAL = """scorer,,,Ann,Ann,Ann,Ann,Ann,Ann
individuals,,,m1,m1,m2,m2,single,single
bodyparts,,,nose,nose,nose,nose,lamp,lamp
coords,,,x,y,x,y,x,y
labeled-data,run,a.png,1,2,3,4,5,6
labeled-data,run,b.png,,,7,8,,
"""


def project(folder: Path, table: str, name: str = "CollectedData_Ann.csv") -> Path:
    """Put a table and three images of 30x40 where DeepLabCut has them; gives the table."""
    run = folder / "labeled-data" / "run"
    run.mkdir(parents=True, exist_ok=True)
    for letter in "abc":
        cv2.imwrite(str(run / f"{letter}.png"), np.zeros((30, 40, 3), dtype=np.uint8))
    (run / name).write_text(table, encoding="utf-8")
    return run / name


def config(folder: Path, **values: object) -> Path:
    settings = {"scorer": "Ann", "video_sets": {}, "bodyparts": ["tail", "nose"], "skeleton": [["nose", "tail"]], **values}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return folder


def test_a_table_of_one_animal(tmp_path: Path) -> None:
    table = project(tmp_path, SINGLE)
    assert recognise(table) == "deeplabcut"
    dataset = read(table)
    assert dataset.schema.classes == ("object",)
    assert dataset.schema.keypoints == ("nose", "tail")
    assert dataset.sizes.tolist() == [[30, 40]] * 3
    assert dataset.starts.tolist() == [0, 1, 2, 2]
    assert dataset.image_ids.tolist() == [1, 2, 3]
    # Pixel indices become the centres of their pixels; an empty cell is not labelled.
    np.testing.assert_array_equal(dataset.instances.keypoints, [[[0.5, 1.75], [10.5, 20.5]], [[3.5, 4.5], [np.nan] * 2]])
    assert dataset.instances.visibility.tolist() == [[2, 2], [2, 0]]
    assert np.isnan(dataset.instances.boxes).all()
    assert [picture.name for picture in dataset.pictures if isinstance(picture, Path)] == ["a.png", "b.png", "c.png"]


def test_individuals_are_objects_and_single_points_a_class_of_their_own(tmp_path: Path) -> None:
    dataset = read(project(tmp_path, SEVERAL))
    assert dataset.schema.classes == ("object", "single")
    assert dataset.schema.keypoints == ("nose", "lamp")
    assert dataset.schema.present.tolist() == [[True, False], [False, True]]
    assert dataset.starts.tolist() == [0, 3, 4]
    assert dataset.instances.labels.tolist() == [0, 0, 1, 0]
    assert dataset.instances.keypoints[[0, 1, 2, 3], [0, 0, 1, 0]].tolist() == [[1.5, 2.5], [3.5, 4.5], [5.5, 6.5], [7.5, 8.5]]


def test_one_and_three_columns_of_names_say_the_same(tmp_path: Path) -> None:
    wide = SINGLE.replace("scorer,", "scorer,,,").replace("bodyparts,", "bodyparts,,,").replace("coords,", "coords,,,")
    old, new = read(project(tmp_path / "old", SINGLE)), read(project(tmp_path / "new", wide.replace("/", ",")))
    np.testing.assert_array_equal(old.instances.keypoints, new.instances.keypoints)
    windows = read(project(tmp_path / "windows", SINGLE.replace("/", "\\")))
    assert [new.picture_name(i) for i in range(3)] == [windows.picture_name(i) for i in range(3)]


def test_a_project_gives_order_skeleton_and_every_folder(tmp_path: Path) -> None:
    project(tmp_path, SINGLE)
    project(tmp_path, SINGLE.replace("Ann", "Bob"), "CollectedData_Bob.csv")
    other = tmp_path / "labeled-data" / "another"
    other.mkdir()
    cv2.imwrite(str(other / "z.png"), np.zeros((8, 9, 3), dtype=np.uint8))
    (other / "CollectedData_Ann.csv").write_text(
        "scorer,Ann,Ann\nbodyparts,ear,ear\ncoords,x,y\nlabeled-data/another/z.png,1,2\n", encoding="utf-8"
    )
    folder = config(tmp_path)
    assert recognise(folder) == recognise(folder / "config.yaml") == "deeplabcut"
    dataset = read(folder)
    assert dataset.schema.keypoints == ("tail", "nose", "ear")
    assert dataset.schema.edges.tolist() == [[1, 0]]
    assert dataset.picture_name(0) == "labeled-data/another/z.png"
    assert dataset.sizes.tolist() == [[8, 9], *[[30, 40]] * 3]
    np.testing.assert_array_equal(
        dataset.instances.keypoints[:2, 1:], [[[np.nan] * 2, [1.5, 2.5]], [[0.5, 1.75], [np.nan] * 2]]
    )
    # The config also serves a table that is read alone.
    assert read(tmp_path / "labeled-data" / "run" / "CollectedData_Ann.csv").schema.keypoints == ("tail", "nose")


def test_images_may_lie_beside_the_table_or_elsewhere(tmp_path: Path) -> None:
    table = project(tmp_path, SINGLE)
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "labels.csv").write_text(SINGLE, encoding="utf-8")
    with pytest.raises(DekeyError, match="none of the 3 images can be used"):
        read(lonely / "labels.csv")
    assert len(read(lonely / "labels.csv", images=tmp_path)) == 3
    assert len(read(lonely / "labels.csv", images=table.parent)) == 3
    for letter in "abc":
        cv2.imwrite(str(lonely / f"{letter}.png"), np.zeros((5, 6, 3), dtype=np.uint8))
    assert read(lonely / "labels.csv").sizes.tolist() == [[5, 6]] * 3


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (SINGLE.replace("coords,x,y,x,y", "coords,x,y,x,likelihood"), "holds predictions"),
        (SINGLE.replace("coords,x,y,x,y", "coords,x,y,x,z"), "expected a body part with x and y"),
        (SINGLE.replace("coords,x,y,x,y", "coords,x,x,x,y"), "two columns x of 'nose'"),
        (SINGLE.replace("scorer,Ann,Ann", "scorer,Bob,Ann"), "several scorers"),
        (SINGLE.replace("bodyparts,nose,", "bodyparts,"), "rows do not agree"),
        (SINGLE.split("labeled")[0], "holds no labelled frame"),
        (SINGLE.replace("10,20", "10,here"), "line 4 of CollectedData_Ann.csv: could not convert"),
        (SINGLE.replace("10,20", "10"), "line 4 of CollectedData_Ann.csv has 3 values, expected 4"),
        (SINGLE.replace("10,20", "10,"), "CollectedData_Ann.csv: keypoint 'tail' is x, y, v = 10, nan, 2"),
        (SINGLE.replace("10,20", "inf,20"), "keypoint 'tail' is x, y, v = inf, 20, 2"),
        (SINGLE.replace("labeled-data/run/a.png", "../q.png"), "leaves the image folder"),
        (SINGLE.replace("labeled-data/run/a.png", "/etc/q.png"), "is an absolute path"),
        (SINGLE.replace("nose", "n" * 200_000), "is no sound csv"),
    ],
)
def test_broken_tables_are_told_in_a_sentence(tmp_path: Path, changed: str, sentence: str) -> None:
    with pytest.raises(DekeyError, match=sentence):
        read(project(tmp_path, changed), format="deeplabcut")


def test_half_a_point_costs_its_object_or_itself(tmp_path: Path) -> None:
    table = project(tmp_path, SINGLE.replace("10,20", "10,"))
    assert read(table, problems="drop").starts.tolist() == [0, 0, 1, 1]
    kept = read(table, problems="keep")
    assert kept.instances.visibility.tolist() == [[2, 0], [2, 0]]
    assert [each.kind for each in kept.problems] == ["labelled-without-coordinates"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("scorer: A\nvideo_sets: {}\nbodyparts: [a\n", "is not valid YAML"),
        ("- scorer: A\n- video_sets\n- bodyparts\n", "holds list"),
        ("scorer: A\nvideo_sets: {}\nbodyparts: [a]\n", "has no labeled-data"),
        ("scorer: !!python/object/apply:os.system [ls]\nvideo_sets: {}\nbodyparts: [a]\n", "is not valid YAML"),
    ],
)
def test_broken_projects_are_told_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DekeyError, match=sentence):
        read(tmp_path, format="deeplabcut")


def test_foreign_files_are_not_recognised(tmp_path: Path) -> None:
    for name, content in {
        "a": b"",
        "b": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "c.csv": b"scorer,a\nx,y\n",
        "config.yaml": b"a: 1",
    }.items():
        (tmp_path / name).write_bytes(content or b"\0")
        with pytest.raises(DekeyError, match=r"no known (format|labelling tool)"):
            recognise(tmp_path / name)
    with pytest.raises(DekeyError, match=r"no known (format|labelling tool)"):
        recognise(tmp_path)


def make(folder: Path, several: bool) -> Dataset:
    """Make a data set of images in two folders, one of them without an object, with an unlabelled point."""
    schema = Schema.create(["object"], ["nose", "left_ear", "right_ear"], [[0, 1], [0, 2]])
    rng = np.random.default_rng(0)
    samples = []
    for index, name in enumerate(["a/x.png", "a/y.png", "b/x.jpg"]):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (20 + index, 30, 3), dtype=np.uint8))
        keypoints = rng.uniform(0, 20, (0 if index == 1 else 1 + several * (index + 1), 3, 2))
        keypoints[:1, 1] = np.nan
        ids = np.arange(len(keypoints))
        samples.append(Sample(folder / name, (20 + index, 30), Instances.create(keypoints), index + 1, ids))
    return Dataset.from_samples(schema, samples)


@pytest.mark.parametrize("several", [False, True])
def test_writing_and_reading_changes_nothing(tmp_path: Path, several: bool) -> None:
    first = make(tmp_path / "images", several)
    write(first, tmp_path / "out", format="deeplabcut")
    again = read(tmp_path / "out")
    np.testing.assert_allclose(again.instances.keypoints, first.instances.keypoints, atol=1e-9)
    for name in ("visibility", "labels"):
        np.testing.assert_array_equal(getattr(again.instances, name), getattr(first.instances, name))
    for name in ("starts", "sizes", "image_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert again.schema == first.schema
    for one, other in zip(first.pictures, again.pictures, strict=True):
        assert isinstance(one, Path)
        assert isinstance(other, Path)
        assert one.read_bytes() == other.read_bytes()
    settings = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert settings["multianimalproject"] is several
    assert list(settings["video_sets"]) == ["videos/a.mp4", "videos/b.mp4"]


def test_the_hdf5_table_says_what_the_csv_says(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    write(make(tmp_path / "images", several=True), tmp_path / "out", format="deeplabcut")
    for folder in ("a", "b"):
        table = tmp_path / "out" / "labeled-data" / folder / "CollectedData_dekey.h5"
        assert recognise(table) == "deeplabcut"
        one, other = read(table), read(table.with_suffix(".csv"))
        np.testing.assert_array_equal(one.instances.keypoints, other.instances.keypoints)
        assert [one.picture_name(i) for i in range(len(one))] == [other.picture_name(i) for i in range(len(other))]
    table.with_suffix(".csv").unlink()
    assert len(read(tmp_path / "out")) == 3


def test_a_table_whose_names_are_pickled_is_not_opened(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    table = project(tmp_path, "", "CollectedData_Ann.h5")
    with h5py.File(table, "w") as file:
        file.create_group("df_with_missing").create_group("table")
    with pytest.raises(DekeyError, match="pickled objects, which dekey never opens"):
        read(table)
    with h5py.File(table, "w") as file:
        file.create_group("other")
    with pytest.raises(DekeyError, match="no table 'df_with_missing'"):
        read(table, format="deeplabcut")
    table.write_bytes(table.read_bytes()[:600])
    with pytest.raises(DekeyError, match="is no HDF5 table"):
        read(table, format="deeplabcut")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    dataset = make(tmp_path / "images", several=False)
    (tmp_path / "out").mkdir()
    write(dataset, tmp_path / "out", format="deeplabcut")
    with pytest.raises(DekeyError, match="not empty, expected the name of a new folder"):
        write(dataset, tmp_path / "out", format="deeplabcut")
    with pytest.raises(DekeyError, match=r"a/x\.png is listed twice"):
        write(dataset.subset([0, 0]), tmp_path / "second", format="deeplabcut")
    (tmp_path / "images" / "b" / "x.jpg").unlink()
    with pytest.raises(DekeyError, match="cannot be copied"):
        write(dataset, tmp_path / "second", format="deeplabcut")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["images", "out"]


@pytest.mark.shared
def test_real_projects(shared_data: Path) -> None:
    mouse = read(shared_data / "formats" / "deeplabcut_single", problems="drop")
    assert mouse.schema.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert len(mouse) == 3
    # The first row of the csv: 21.521,265.428,33.819,265.941,19.984,250.056,87.11,152.698; the mouse's nose is at the wall.
    expected = [[22.021, 265.928], [34.319, 266.441], [20.484, 250.556], [87.61, 153.198]]
    np.testing.assert_allclose(mouse.instances.keypoints[0], expected, atol=1e-9)
    # The mouse is dark: midway from its ears to its tail's base is its back.
    image = mouse[0].read_image()
    x, y = np.mean([expected[1], expected[2], expected[3], expected[3]], axis=0).astype(int)
    assert image[y, x].max() < 40
    assert image[60:120, 300:500].mean() > 180
    assert {each.kind for each in mouse.problems} == {"missing-image"}  # 113 frames were not copied
    reaching = read(shared_data / "formats" / "deeplabcut_missing", problems="drop")
    assert reaching.schema.edges.tolist() == [[0, 1], [3, 4]]
    assert reaching.instances.visibility.tolist() == [[2, 2, 0, 2, 2]]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["CollectedData_LM.csv", "maudlc_testdata.csv", "maudlc_testdata_v2.csv"])
def test_real_tables_of_several_animals(shared_data: Path, name: str) -> None:
    dataset = read(shared_data / "formats" / "deeplabcut_variants" / "labeled-data" / "video" / name)
    assert dataset.schema.classes == ("object", "single")
    assert dataset.schema.keypoints == ("A", "B", "C", "D", "E")
    assert dataset.starts.tolist() == [0, 2, 5, 5, 7]
    assert dataset.instances.labels.tolist() == [0, 0, 0, 0, 1, 0, 1]
    assert dataset.instances.visibility[2].tolist() == [2, 0, 2, 0, 0]
    assert dataset.instances.keypoints[4, 3:].tolist() == [[22.5, 23.5], [24.5, 25.5]]


@pytest.mark.shared
def test_real_hdf5_with_pickled_names(shared_data: Path) -> None:
    pytest.importorskip("h5py")
    table = shared_data / "formats" / "deeplabcut_single" / "labeled-data" / "m4s1" / "CollectedData_Pranav.h5"
    assert recognise(table) == "deeplabcut"
    with pytest.raises(DekeyError, match="name the csv beside it"):
        read(table)


@pytest.mark.parametrize("how", ["scalar", "group", "short", "external", "virtual", "link", "linked table", "soft link"])
def test_a_hostile_hdf5_table_is_a_sentence(tmp_path: Path, how: str) -> None:
    h5py = pytest.importorskip("h5py")
    write(make(tmp_path / "images", several=True), tmp_path / "out", format="deeplabcut")
    path = tmp_path / "out" / "labeled-data" / "a" / "CollectedData_dekey.h5"
    with h5py.File(path, "a") as file:
        group = file["df_with_missing"]
        values, codes = group["block0_values"][()], group["axis1_label2"][()]
        del group["axis1_label2" if how == "short" else "block0_values"]
        if how == "scalar":
            group["block0_values"] = 1.5
        elif how == "group":
            group.create_group("block0_values")
        elif how == "short":
            group["axis1_label2"] = codes[:-1]
        elif how == "external":
            (tmp_path / "raw").write_bytes(values.tobytes())
            there = [(str(tmp_path / "raw"), 0, values.nbytes)]
            group.create_dataset("block0_values", values.shape, values.dtype, external=there)
        elif how == "virtual":
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["values"] = values
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "values", values.shape, values.dtype)
            group.create_virtual_dataset("block0_values", layout)
        elif how in ("link", "soft link"):
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["values"] = values
            (file if how == "soft link" else group)["block0_values"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "values")
            if how == "soft link":
                group["block0_values"] = h5py.SoftLink("/block0_values")
        else:
            group["block0_values"] = values
            with h5py.File(tmp_path / "other.h5", "w") as other:
                file.copy(group, other, "df_with_missing")
            del file["df_with_missing"]
            file["df_with_missing"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "df_with_missing")
    with pytest.raises(
        DekeyError, match=r"no HDF5 table as pandas|do not fit its index|in another file, which dekey does not follow"
    ):
        read(path, format="deeplabcut")
