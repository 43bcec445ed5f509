"""SLEAP's files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.frames import Frame, save_frames
from dekey.data.picture_problems import picture_problems
from dekey.errors import DekeyError
from dekey.formats import read, recognise, write
from dekey.formats.files import extra_module
from dekey.formats.sleap_writing import sleap_io_module

h5py = pytest.importorskip("h5py")
pytest.importorskip("sleap_io", reason="the extra `formats` is not installed")


def pictures(count: int, size: tuple[int, int] = (32, 48)) -> list[np.ndarray[Any, Any]]:
    """Make pictures whose colours tell them apart: red grows with the number, blue is 200, green 0."""
    made = []
    for number in range(count):
        picture = np.zeros((*size, 3), dtype=np.uint8)
        picture[..., 0], picture[..., 2] = 20 + 40 * number, 200
        made.append(picture)
    return made


def labelled(folder: Path) -> Any:
    """Make labels of a video of four frames: two animals in frame 1, a prediction in 2, nothing in 3, which is negative."""
    sio = sleap_io_module()
    for number, picture in enumerate(pictures(4)):
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    skeleton = sio.Skeleton(["nose", "ear_l", "ear_r"], [("nose", "ear_l")], [("ear_l", "ear_r")], name="mouse")
    video = sio.Video.from_filename([str(folder / f"{number}.png") for number in range(4)])
    one = sio.Instance.from_numpy(np.array([[1.5, 2], [3, 4], [5, 6]]), skeleton=skeleton)
    one.points["visible"][1] = False
    two = sio.Instance.from_numpy(np.array([[7, 8], [np.nan, np.nan], [9, 10]]), skeleton=skeleton)
    found = sio.PredictedInstance.from_numpy(np.array([[1.0, 1], [2, 2], [3, 3]]), skeleton=skeleton)
    frames = [
        sio.LabeledFrame(video=video, frame_idx=1, instances=[one, two, found]),
        sio.LabeledFrame(video=video, frame_idx=2, instances=[found]),
        sio.LabeledFrame(video=video, frame_idx=3, is_negative=True),
    ]
    return sio.Labels(labeled_frames=frames, videos=[video], skeletons=[skeleton])


def check(dataset: Dataset) -> None:
    """Check what `labelled` made: half a pixel is added, what SLEAP does not see or predicted itself does not count."""
    assert dataset.schema.classes == ("mouse",)
    assert dataset.schema.keypoints == ("nose", "ear_l", "ear_r")
    assert dataset.schema.edges.tolist() == [[0, 1]]
    assert dataset.schema.mirror is not None
    assert dataset.schema.mirror.tolist() == [0, 2, 1]
    assert dataset.starts.tolist() == [0, 2, 2]
    assert dataset.sizes.tolist() == [[32, 48]] * 2
    assert dataset.instances.visibility.tolist() == [[2, 0, 2], [2, 0, 2]]
    nan = [np.nan] * 2
    np.testing.assert_array_equal(dataset.instances.keypoints, [[[2, 2.5], nan, [5.5, 6.5]], [[7.5, 8.5], nan, [9.5, 10.5]]])
    assert [each.kind for each in dataset.problems] == ["unlabelled-image"]


def save(labels: Any, path: Path, embed: Any = False) -> Path:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sleap_io_module().save_slp(labels, str(path), embed=embed, verbose=False)
    return path


def test_a_sequence_of_images(tmp_path: Path) -> None:
    path = save(labelled(tmp_path), tmp_path / "labels.slp")
    assert recognise(path) == "sleap"
    dataset = read(path)
    check(dataset)
    assert dataset.pictures[0] == tmp_path / "1.png"
    # Of the absolute paths in the file only the names count.
    (tmp_path / "moved").mkdir()
    moved = path.rename(tmp_path / "moved" / "labels.slp")
    with pytest.raises(DekeyError, match=r"1\.png does not exist"):
        read(moved)[0].read_image()
    assert read(moved, images=tmp_path).pictures[0] == tmp_path / "1.png"


@pytest.mark.parametrize("order", ["RGB", "BGR", None])
def test_a_package_holds_its_frames(tmp_path: Path, order: str | None) -> None:
    """Red stays red whichever order of colours the package was written in; without a word, old files are BGR."""
    path = save(labelled(tmp_path), tmp_path / "labels.pkg.slp", embed=True)
    with h5py.File(path, "a") as file:
        data = file["video0/video"]
        written = data.attrs["channel_order"]
        if order is None:
            del data.attrs["channel_order"]
        else:
            data.attrs["channel_order"] = order
        file["metadata"].attrs["format_id"] = file["metadata"].attrs["format_id"] if order else 1.3
    dataset = read(path)
    check(dataset)
    picture = dataset.pictures[0]
    assert isinstance(picture, Frame)
    expected = pictures(2)[1] if (order or "BGR") == written else pictures(2)[1][..., ::-1]
    np.testing.assert_array_equal(dataset[0].read_image(), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(picture)).read(), expected)
    assert dataset.picture_name(0) == dataset[0].name == "labels.pkg_000001.png"
    assert str(dataset.pictures[0]) != str(dataset.pictures[1])
    assert picture_problems(dataset, decode=True) == []
    assert dataset.subset([1]).pictures[0] == dataset.pictures[1]


def test_frames_are_written_out_for_formats_that_name_files(tmp_path: Path) -> None:
    dataset = read(save(labelled(tmp_path), tmp_path / "labels.pkg.slp", embed=True))
    with pytest.raises(DekeyError, match=r"has no file, .* with dekey\.data\.frames\.save_frames"):
        write(dataset, tmp_path / "out.json")
    (tmp_path / "frames").mkdir()
    saved = save_frames(dataset, tmp_path / "frames")
    write(saved, tmp_path / "frames" / "out.json")
    again = read(tmp_path / "frames" / "out.json")
    np.testing.assert_array_equal(again.instances.keypoints, dataset.instances.keypoints)
    np.testing.assert_array_equal(again[0].read_image(), dataset[0].read_image())
    with pytest.raises(DekeyError, match="exists; name another folder"):
        save_frames(dataset, tmp_path / "frames")


def test_a_video_beside_the_file(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "run.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for picture in pictures(4):
        writer.write(picture[..., ::-1])
    writer.release()
    sio, labels = sleap_io_module(), labelled(tmp_path)
    video = sio.Video(filename="/elsewhere/run.avi", open_backend=False, backend_metadata={"filename": "/elsewhere/run.avi"})
    for frame in labels.labeled_frames:
        frame.video = video
    labels.videos = [video]
    path = save(labels, tmp_path / "labels.slp")
    dataset = read(path)
    check(dataset)
    for index, number in enumerate((1, 3)):
        np.testing.assert_allclose(dataset[index].read_image().mean(axis=(0, 1)), [20 + 40 * number, 0, 200], atol=6)
    (tmp_path / "run.avi").rename(tmp_path / "gone.avi")
    with pytest.raises(DekeyError, match=r"the video run\.avi does not lie in"):
        read(path)
    (tmp_path / "run.avi").write_bytes(b"no video")
    with pytest.raises(DekeyError, match=r"run\.avi cannot be opened"):
        read(path)


def test_files_of_format_1_0_counted_from_the_corner(tmp_path: Path) -> None:
    path = save(labelled(tmp_path), tmp_path / "labels.slp")
    now = read(path).instances.keypoints
    with h5py.File(path, "a") as file:
        file["metadata"].attrs["format_id"] = 1.0
        instances = file["instances"][()]
        names = [name for name in instances.dtype.names if name != "tracking_score"]
        del file["instances"]
        file["instances"] = instances[names]
    np.testing.assert_allclose(read(path).instances.keypoints, now - 0.5)


def test_writing_and_reading_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    schema = Schema.create(
        ["crab", "fish"], ["claw_l", "claw_r", "fin"], [[0, 1]], present=[[True, True, False], [False, False, True]]
    )
    samples = []
    for number, size in enumerate([(20, 30), (20, 30), (9, 8), (20, 30)]):
        keypoints = rng.uniform(0, 20, (number, 3, 2))
        labels = np.arange(number) % 2
        keypoints[~schema.present[labels]] = np.nan
        keypoints[:1, 0] = np.nan
        samples.append(Sample(tmp_path / f"{number}.png", size, Instances.create(keypoints, labels=labels), number + 1, labels))
    first = Dataset.from_samples(schema, samples)
    write(first, tmp_path / "out.slp", format="sleap")
    again = read(tmp_path / "out.slp")
    assert again.schema == schema
    assert again.schema.present.tolist() == schema.present.tolist()
    for name in ("starts", "sizes", "image_ids"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name), err_msg=name)
    for name in ("keypoints", "labels", "visibility"):
        np.testing.assert_allclose(getattr(again.instances, name), getattr(first.instances, name), atol=1e-9, err_msg=name)
    assert list(again.pictures) == list(first.pictures)


def test_broken_files_are_told_in_a_sentence(tmp_path: Path) -> None:
    path = save(labelled(tmp_path), tmp_path / "labels.slp")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DekeyError, match="cannot be read by sleap-io"):
        read(path, format="sleap")
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["points"]
        file["points"] = h5py.ExternalLink("/etc/other.h5", "points")
    with pytest.raises(DekeyError, match="keeps 'points' in another file"):
        read(path, format="sleap")
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file["metadata"].attrs["json"] = b"{"
    with pytest.raises(DekeyError, match="cannot be read by sleap-io"):
        read(path, format="sleap")
    labels = labelled(tmp_path)
    labels.labeled_frames = labels.labeled_frames[1:2]
    with pytest.raises(DekeyError, match=r"holds no labelled instance \(1 frames\)"):
        read(save(labels, path))


def test_records_laid_out_otherwise_than_in_memory_are_not_read(tmp_path: Path) -> None:
    """Converting them, the HDF5 library wrote beyond its buffers."""
    path = save(labelled(tmp_path), tmp_path / "labels.slp")
    with h5py.File(path, "a") as file:
        old = file["points"].id.get_type()
        odd = h5py.h5t.create(h5py.h5t.COMPOUND, old.get_size())
        for index in range(old.get_nmembers()):
            member = old.get_member_type(index)
            if member.get_class() == h5py.h5t.FLOAT:
                member = h5py.h5t.IEEE_F64LE.copy()
                member.set_fields(63, 53, 10, 0, 52)  # one bit of the exponent less, as a flipped byte makes it
            odd.insert(old.get_member_name(index), old.get_member_offset(index), member)
        rows = file["points"].shape
        del file["points"]
        h5py.h5d.create(file.id, b"points", odd, h5py.h5s.create_simple(rows))
    with pytest.raises(DekeyError, match="holds 'points' in a form that SLEAP does not write"):
        read(path)


def test_more_classes_than_the_file_has_room_for_are_a_sentence(tmp_path: Path) -> None:
    names = [f"a_rather_long_name_of_a_keypoint_{index}" for index in range(20)]
    edges = [[index, index + 1] for index in range(19)]
    schema = Schema.create([f"class {index}" for index in range(60)], names, edges)
    sample = Sample(tmp_path / "a.png", (9, 8), Instances.create(np.ones((1, 20, 2))), 1, np.arange(1))
    with pytest.raises(DekeyError, match="60 classes of 20 keypoints do not fit into a SLEAP file"):
        write(Dataset.from_samples(schema, [sample]), tmp_path / "out.slp", format="sleap")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_names_it() -> None:
    with pytest.raises(DekeyError, match=r'pip install "dekey\[formats\]"'):
        extra_module("no_such_module_of_an_extra")


@pytest.mark.shared
def test_a_real_package(shared_data: Path) -> None:
    path = shared_data / "formats" / "sleap_pkg" / "minimal_instance.pkg.slp"
    assert recognise(path) == "sleap"
    dataset = read(path)
    assert dataset.schema.keypoints == ("A", "B")
    assert dataset.sizes.tolist() == [[384, 384]]
    # In the file's table of points: 92.65220773, 202.72597774 and 152.34188116, 158.42364351.
    np.testing.assert_allclose(dataset.instances.keypoints[0], [[93.15220773, 203.22597774], [152.84188116, 158.92364351]])
    # Two bright flies on black: both ends of both lie on something, the background does not.
    image = dataset[0].read_image()
    for x, y in dataset.instances.keypoints.reshape(-1, 2).astype(int):
        assert image[y - 6 : y + 7, x - 6 : x + 7].max() > 40
    assert image[10:100, 10:100].max() < 40


@pytest.mark.shared
def test_real_labels_of_a_video(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "formats" / "sleap_slp"
    with pytest.raises(DekeyError, match=r"small_robot\.mp4 does not lie in"):
        read(folder / "small_robot_minimal.slp")
    # The three frames that there are stand in for the video; the file labels its frames 0 and 79.
    (tmp_path / "small_robot.mp4").write_bytes((folder / "small_robot_3_frame.mp4").read_bytes())
    dataset = read(folder / "small_robot_minimal.slp", images=tmp_path, problems="drop")
    assert len(dataset) == 1
    np.testing.assert_allclose(dataset.instances.keypoints[0], [[316.98974668, 48.19157075], [314.6013269, 135.8723617]])
    assert dataset[0].read_image().shape[:2] == tuple(dataset.sizes[0])
    assert dataset.problems[0].message.startswith("frame 79 is none of the 3 frames")


def test_frames_of_videos_with_one_title_have_names_of_their_own(tmp_path: Path) -> None:
    labels = labelled(tmp_path)
    other = sleap_io_module().Video.from_filename([str(tmp_path / f"{number}.png") for number in (0, 2)])
    frame = labels.labeled_frames[0]
    labels.labeled_frames.append(sleap_io_module().LabeledFrame(video=other, frame_idx=1, instances=frame.instances[:1]))
    labels.videos.append(other)
    dataset = read(save(labels, tmp_path / "labels.pkg.slp", embed=True))
    names = [dataset.picture_name(index) for index in range(len(dataset))]
    assert names == ["labels.pkg_video1_000001.png", "labels.pkg_video1_000003.png", "labels.pkg_video2_000001.png"]
    np.testing.assert_array_equal(dataset[0].read_image(), pictures(2)[1])
    np.testing.assert_array_equal(dataset[2].read_image(), pictures(3)[2])


@pytest.mark.parametrize("how", ["external", "virtual", "link", "deep link"])
def test_values_kept_in_another_file_are_not_followed(tmp_path: Path, how: str) -> None:
    path = save(labelled(tmp_path), tmp_path / "labels.slp")
    with h5py.File(path, "a") as file:
        values = file["frames"][()]
        name = {"link": "videos_json", "deep link": "video0"}.get(how, "frames")
        if name in file:
            del file[name]
        if how == "external":
            (tmp_path / "raw").write_bytes(values.tobytes())
            file.create_dataset("frames", values.shape, values.dtype, external=[(str(tmp_path / "raw"), 0, values.nbytes)])
        elif how == "virtual":
            with h5py.File(tmp_path / "other.h5", "w") as other:
                other["frames"] = values
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "frames", values.shape, values.dtype)
            file.create_virtual_dataset("frames", layout)
        elif how == "link":
            file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), name)
        else:
            file.create_group(name)["video"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "video")
    with pytest.raises(DekeyError, match=r"in another file, which dekey does not follow"):
        read(path, format="sleap")
