from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.runtime.ahead import read_ahead


@pytest.mark.parametrize("count", [1, 2, 5, 99])
def test_pictures_are_read_ahead_in_their_order(count: int, small_data: Path) -> None:
    files = sorted((small_data.parent / "images").iterdir())[:7]
    parts = list(read_ahead(files, count, read_image))
    assert [len(images) for _, images in parts] == [len(files[start : start + count]) for start in range(0, 7, count)]
    assert [file for part, _ in parts for file in part] == files
    for file, image in zip(files, (image for _, images in parts for image in images), strict=True):
        np.testing.assert_array_equal(image, read_image(file))
    assert list(read_ahead([], count, read_image)) == []


def test_what_cannot_be_read_stops_when_its_turn_comes(small_data: Path, tmp_path: Path) -> None:
    files = sorted((small_data.parent / "images").iterdir())[:2]
    coming = read_ahead([*files, tmp_path / "gone.jpg"], 1, read_image)
    assert [next(coming)[0] for _ in files] == [[file] for file in files]
    with pytest.raises(DekeyError, match=r"gone\.jpg does not exist"):
        next(coming)


def test_no_more_threads_than_asked_for_and_no_more_results_than_twice_what_is_taken() -> None:
    files = [Path(str(number)) for number in range(40)]
    lock = threading.Lock()
    working, most, begun = 0, 0, 0

    def work(file: Path) -> int:
        nonlocal working, most, begun
        with lock:
            working, begun = working + 1, begun + 1
            most = max(most, working)
        time.sleep(0.002)
        with lock:
            working -= 1
        return int(file.name)

    taken = []
    for part, numbers in read_ahead(files, 8, work, threads=6):
        taken += numbers
        assert [int(file.name) for file in part] == numbers
        assert begun <= len(taken) + 8
    assert taken == list(range(40))
    assert 2 <= most <= 6
