from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.frames import Frame
from dekey.data.images import read_image
from dekey.data.picture_hash import LEAST_LIKENESS, MOST_BITS, _candidates, fingerprints, groups_of, likeness, near_pairs
from dekey.data.small_copies import read_small
from dekey.errors import DekeyError

SCHEMA = Schema.create(["a"], ["p"])


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC))


class OfVideo(Frame):
    """A frame that was decoded before; without an image it is broken."""

    def __init__(self, name: str, image: np.ndarray | None) -> None:
        self.name, self.image = name, image

    def read(self) -> np.ndarray:
        if self.image is None:
            raise DekeyError(f"{self.name} cannot be decoded; replace the video")
        return self.image


def dataset(images: Sequence[np.ndarray | Path | Frame]) -> Dataset:
    sizes = [each.shape[:2] if isinstance(each, np.ndarray) else (240, 320) for each in images]
    return Dataset.from_samples(
        SCHEMA,
        [
            Sample(each, size, Instances.empty(1), n, np.zeros(0, np.int64))
            for n, (each, size) in enumerate(zip(images, sizes, strict=True))
        ],
    )


def test_scaled_compressed_and_brighter_copies_are_found_and_other_pictures_are_not(tmp_path: Path) -> None:
    images: list[np.ndarray | Path] = [scene(seed) for seed in range(40)]
    first = images[0]
    assert isinstance(first, np.ndarray)
    cv2.imwrite(str(tmp_path / "copy.jpg"), first[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])
    half = np.asarray(cv2.resize(first, (160, 120), interpolation=cv2.INTER_AREA))
    bright = np.clip(first.astype(int) + 15, 0, 255).astype(np.uint8)
    calls: list[tuple[int, int]] = []
    prints = fingerprints(dataset([*images, tmp_path / "copy.jpg", half, bright]), lambda *call: calls.append(call))
    pairs = near_pairs(prints)
    assert groups_of(pairs, 43).tolist() == [*range(40), 0, 0, 0]
    assert calls[-1] == (43, 43)


@pytest.mark.parametrize("size", [(525, 647), (540, 960), (203, 185), (512, 512)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_picture_has_the_same_cells_in_every_kind_of_file(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    """Blocks of a JPEG that the picture does not fill are filled with anything; that must not get into its edge."""
    coarse = np.random.default_rng(2).integers(0, 255, (14, 17, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    filled = np.full((-(-size[0] // 16) * 16, -(-size[1] // 16) * 16, 3), (0, 255, 0), dtype=np.uint8)
    filled[: size[0], : size[1]] = picture
    whole = cv2.imencode(".jpg", filled, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    # The same blocks, of a picture that ends within the last of them.
    start = whole.index(b"\xff\xc0") + 5
    data = whole[:start] + struct.pack(">HH", *size) + whole[start + 4 :]
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    upright = read_image(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(cv2.imencode(".png", upright[:, :, ::-1])[1].tobytes())
    small, same = read_small(tmp_path / "a.jpg"), read_small(tmp_path / "b.png")
    assert small.grey.size < 0.3 * same.grey.size
    assert small.ratio == pytest.approx(same.ratio)
    assert np.abs(small.cells(32) - same.cells(32)).max() < 6
    prints = fingerprints(dataset([tmp_path / "a.jpg", tmp_path / "b.png"]))
    assert near_pairs(prints).tolist() == [[0, 1]]


def test_what_moves_before_a_camera_that_stands_still_is_another_picture() -> None:
    images: list[np.ndarray | Path] = []
    for place in (40, 44, 200):
        image = scene(1).copy()
        cv2.circle(image, (place, 120), 18, (255, 255, 255), -1)
        images.append(image)
    assert near_pairs(fingerprints(dataset(images))).tolist() == [[0, 1]]


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("first", [True, False])
def test_what_appears_or_goes_makes_another_picture(grey: int, first: bool) -> None:
    empty = (scene(1) * 0.8 + 25).astype(np.uint8)
    full = cv2.circle(empty.copy(), (100, 120), 7, (grey, grey, grey), -1)
    prints = fingerprints(dataset([full, empty] if first else [empty, full]))
    assert likeness(prints, np.array([[0, 1]])) >= LEAST_LIKENESS
    assert len(near_pairs(prints)) == 0


def test_pairs_between_two_sets_are_those_of_both_together() -> None:
    own, other = dataset([scene(1), scene(2), scene(2)]), dataset([scene(3), scene(2)])
    assert near_pairs(fingerprints(own), fingerprints(other)).tolist() == [[1, 1], [2, 1]]


def test_frames_of_a_video_are_compared_with_pictures_and_a_broken_one_with_none() -> None:
    frames = [OfVideo("v_0.png", scene(1)), OfVideo("v_1.png", scene(2)), OfVideo("v_2.png", None), OfVideo("v_3.png", None)]
    prints = fingerprints(dataset([scene(2), *frames, scene(1)]))
    assert prints.readable.tolist() == [True, True, True, False, False, True]
    assert near_pairs(prints).tolist() == [[0, 2], [1, 5]]


def test_every_two_frames_of_a_video_at_rest_are_a_pair_and_it_is_said_how_far_that_is() -> None:
    rng = np.random.default_rng(0)
    still = scene(1).astype(int)
    noisy = [np.clip(still + rng.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(190)]
    prints, calls = fingerprints(dataset([*noisy, scene(2)])), []
    pairs = near_pairs(prints, progress=lambda *call: calls.append(call))
    assert np.array_equal(pairs, np.stack(np.triu_indices(190, 1), axis=1))
    assert calls == sorted(calls)
    assert calls[-1][1] == 100
    alike = likeness(prints, pairs)
    assert alike.min() >= LEAST_LIKENESS
    for place in (0, 16_383, 16_384, len(pairs) - 1):  # also beside the border of a block
        first, second = pairs[place]
        expected = np.corrcoef(prints.copies[first].ravel(), prints.copies[second].ravel())[0, 1]
        assert alike[place] == pytest.approx(expected, abs=1e-4)


def test_unreadable_pictures_are_like_none(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    prints = fingerprints(dataset([tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "gone.jpg"]))
    assert not prints.readable.any()
    assert len(near_pairs(prints)) == 0


@pytest.mark.parametrize("bits", [0, 1, 7, MOST_BITS])
def test_every_pair_up_to_the_stated_number_of_bits_is_a_candidate(bits: int) -> None:
    rng = np.random.default_rng(bits)
    first = rng.integers(0, 2, (200, 128), dtype=np.uint8)
    second = first.copy()
    for row in second:
        row[rng.choice(128, bits, replace=False)] ^= 1
    hashes = np.packbits(np.concatenate([first, second]), axis=1).view(np.uint16)
    found = {(min(pair), max(pair)) for pairs in _candidates(hashes, np.arange(400)) for pair in pairs.tolist()}
    assert {(index, index + 200) for index in range(200)} <= found
