from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from dekey.errors import DekeyError
from dekey.label.batches import CIFAR10, RECORD_BYTES
from dekey.label.sources import divide, open_pictures
from tests.label.conftest import draw_ellipse, write_batches, write_folders


def test_batches_are_read_pixel_by_pixel(batches: Path) -> None:
    pictures = open_pictures(batches.parent)
    assert pictures.classes == ("lying", "standing")
    assert pictures.labels.tolist() == [0, 1] * 6
    assert pictures.tested is not None
    assert pictures.tested.tolist() == [False] * 8 + [True] * 4
    picture, _ = draw_ellipse((16.0 + 3 % 3, 15.0), (5.0, 10.0), size=32, seed=1003)
    np.testing.assert_array_equal(pictures.read(11), picture)


def test_without_names_the_classes_are_those_of_cifar10(batches: Path) -> None:
    (batches / "batches.meta.txt").unlink()
    assert open_pictures(batches).classes == CIFAR10


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("data_batch_1.bin", b"\0" * (RECORD_BYTES + 5), "expected whole records of 3073"),
        ("data_batch_1.bin", b"", "0 bytes"),
        ("data_batch_1.bin", b"\0" * (RECORD_BYTES + 1), "CIFAR-100"),
        ("data_batch_1.bin", b"\7" * RECORD_BYTES, "names class 7"),
        ("batches.meta.txt", b"one\none\n", "each once"),
        ("batches.meta.txt", b"\xff\xfe", "not UTF-8"),
        ("batches.meta.txt", b"a" * 70_000, "70000 bytes"),
    ],
)
def test_broken_batches_are_refused(batches: Path, name: str, content: bytes, said: str) -> None:
    (batches / name).write_bytes(content)
    with pytest.raises(DekeyError, match=said):
        open_pictures(batches)


def test_pickles_are_refused_and_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.mkdir, (tmp_path / "opened",))  # type: ignore[return-value]

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    for named in (tmp_path, folder):
        with pytest.raises(DekeyError, match="binary version"):
            open_pictures(named)
    assert not (tmp_path / "opened").exists()


def test_folders_are_classes_and_links_and_hidden_ones_are_not_followed(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "pictures")
    outside = tmp_path / "outside"
    outside.mkdir()
    cv2.imwrite(str(outside / "secret.png"), np.zeros((8, 8, 3), np.uint8))
    (folder / "linked").symlink_to(outside)
    (folder / "cat" / "link.png").symlink_to(outside / "secret.png")
    write_folders(folder, (".thumbnails",), 1)
    pictures = open_pictures(folder)
    assert pictures.classes == ("cat", "dog")
    assert list(pictures.names) == [f"{name}/{index}.png" for name in ("cat", "dog") for index in range(6)]
    assert pictures.tested is None
    assert pictures.read(0).shape == (96, 96, 3)


def test_a_part_for_testing_is_set_aside(tmp_path: Path) -> None:
    write_folders(tmp_path / "all" / "train")
    write_folders(tmp_path / "all" / "val", ("dog",), 2)
    pictures = open_pictures(tmp_path / "all")
    assert pictures.classes == ("cat", "dog")
    assert divide(pictures, 0.5, 0).tolist() == [False] * 12 + [True] * 2
    assert pictures.labels.tolist() == [0] * 6 + [1] * 8


def test_a_share_of_each_class_is_set_aside_by_the_seed(tmp_path: Path) -> None:
    pictures = open_pictures(write_folders(tmp_path / "pictures"))
    first, again, other = (divide(pictures, 1 / 3, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert [int(first[pictures.labels == label].sum()) for label in (0, 1)] == [2, 2]


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_what_holds_no_pictures_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    if what == "file":
        path.write_text("x")
    elif what == "empty":
        path.mkdir()
    with pytest.raises(DekeyError, match="expected"):
        open_pictures(path)


def test_a_picture_of_the_file_is_read_by_its_record(tmp_path: Path) -> None:
    write_batches(tmp_path / "c", {"data_batch_1.bin": 3, "data_batch_2.bin": 2})
    pictures = open_pictures(tmp_path / "c")
    assert list(pictures.names)[3] == "data_batch_2-00000"
    assert pictures.tested is None
    assert (pictures.read(3) != pictures.read(0)).any()


def test_all_parts_for_testing_are_set_aside(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_folders(tmp_path / part, count=1)
    pictures = open_pictures(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert [name.split("/")[0] for name in pictures.names] == ["train"] * 2 + ["test"] * 2 + ["val"] * 2
    assert divide(pictures, 0.5, 0).tolist() == [False] * 2 + [True] * 4


@pytest.mark.parametrize(("parts", "tested"), [(("train", "val"), 2), (("train",), None)])
def test_pictures_for_testing_without_classes_are_left_out(tmp_path: Path, parts: tuple[str, ...], tested: int | None) -> None:
    for part in parts:
        write_folders(tmp_path / part, count=1)
    (tmp_path / "test").mkdir()
    cv2.imwrite(str(tmp_path / "test" / "1.png"), np.zeros((8, 8, 3), np.uint8))
    pictures = open_pictures(tmp_path)
    assert pictures.classes == ("cat", "dog")
    assert (None if pictures.tested is None else pictures.tested.sum()) == tested


def test_a_part_for_training_alone_is_no_class(tmp_path: Path) -> None:
    write_folders(tmp_path / "rail", ("train", "tram"))
    assert open_pictures(tmp_path / "rail").classes == ("train", "tram")
    write_folders(tmp_path / "all" / "train")
    assert open_pictures(tmp_path / "all").classes == ("cat", "dog")


def test_a_class_for_testing_alone_is_refused(tmp_path: Path) -> None:
    write_folders(tmp_path / "train")
    write_folders(tmp_path / "val", ("dog", "fish"), 1)
    with pytest.raises(DekeyError, match=r"the class 'fish' has no picture to learn from in .*train, expected some"):
        open_pictures(tmp_path)
