from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dekey.data import geometry
from dekey.data.instances import OCCLUDED, UNLABELLED, VISIBLE
from dekey.errors import DekeyError
from dekey.label.backgrounds import without_object
from dekey.label.compose import OPAQUE, Composer, Layout, opacity_in_scene
from dekey.label.foreground import MOST_SIDE, find_foreground
from dekey.label.points import describe, shape_schema
from dekey.label.segmentation import Labelled
from dekey.label.sheet import contact_sheet
from tests.label.conftest import draw_ellipse

SCHEMA = shape_schema(["a", "b"])
LAYOUT = Layout((160, 200), (3, 5), (40.0, 90.0), overlap=0.6, seed=4)


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    return [draw_ellipse((48.0, 46.0), (28, 15), 18.0 * seed, seed=seed)[0] for seed in range(4)]


@pytest.fixture(scope="module")
def labelled(pictures: list[NDArray[np.uint8]]) -> list[Labelled]:
    answers = []
    for index, picture in enumerate(pictures):
        found = find_foreground(picture)
        assert found is not None
        one = describe(found.mask, geometry.invert(found.picture_to_work), index % 2)
        opacity = np.round(found.share * 255).astype(np.uint8)
        answers.append(Labelled(index, (96, 96), one, opacity, found.picture_to_work, found.quality))
    return answers


def test_a_scene_is_a_function_of_seed_stream_and_number(labelled: list[Labelled], pictures: list[NDArray[np.uint8]]) -> None:
    composer = Composer(LAYOUT, SCHEMA, labelled, pictures.__getitem__)
    first, again, other = composer.scene(3), composer.scene(3), composer.scene(4)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1].keypoints, again[1].keypoints)
    assert (first[0] != other[0]).any()
    stream = Composer(LAYOUT, SCHEMA, labelled, pictures.__getitem__, stream=1).scene(3)
    assert (first[0] != stream[0]).any()


def test_occluded_is_exactly_what_a_later_object_shows_over(
    labelled: list[Labelled], pictures: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    composer = Composer(LAYOUT, SCHEMA, labelled, pictures.__getitem__)
    states = []
    for number in range(12):
        solid: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []

        def spy(donor: Labelled, affine: geometry.Affine, size: tuple[int, int], solid: list = solid) -> NDArray[np.float32]:
            opacity = opacity_in_scene(donor, affine, size)
            solid.append((geometry.apply_to_boxes(affine, donor.instances.boxes)[0], opacity >= OPAQUE))
            return opacity

        monkeypatch.setattr("dekey.label.compose.opacity_in_scene", spy)
        _, instances, _ = composer.scene(number)
        # Of the places that were tried, those that were taken are where the boxes lie.
        taken = [next(mask for box, mask in solid if np.allclose(box, own)) for own in instances.boxes]
        for index in range(len(instances)):
            hidden = np.zeros(LAYOUT.size, dtype=np.bool_)
            for later in taken[index + 1 :]:
                hidden |= later
            for point, state in zip(instances.keypoints[index], instances.visibility[index], strict=True):
                if not np.isfinite(point).all():
                    assert state == UNLABELLED
                    continue
                x, y = np.minimum(point.astype(int), [LAYOUT.size[1] - 1, LAYOUT.size[0] - 1])
                assert state == (OCCLUDED if hidden[y, x] else VISIBLE)
                states.append(int(state))
    assert {OCCLUDED, VISIBLE} <= set(states)


def test_objects_lie_whole_in_the_scene_at_the_sizes_asked_for(
    labelled: list[Labelled], pictures: list[NDArray[np.uint8]]
) -> None:
    composer = Composer(LAYOUT, SCHEMA, labelled, pictures.__getitem__)
    seen = set()
    for number in range(10):
        picture, instances, sources = composer.scene(number)
        assert picture.shape == (160, 200, 3)
        assert 1 <= len(instances) <= 5
        assert len(sources) == len(instances)
        seen |= set(instances.labels.tolist())
        boxes = instances.boxes
        assert (boxes >= -1e-6).all()
        assert (boxes <= [200 + 1e-6, 160 + 1e-6] * 2).all()
        longer = geometry.box_sizes(boxes).max(axis=1)
        assert ((longer > 39.9) & (longer < 90.1)).all()
    assert seen == {0, 1}


def test_the_pasted_object_lies_in_its_box(labelled: list[Labelled], pictures: list[NDArray[np.uint8]]) -> None:
    black = np.zeros((50, 50, 3), np.uint8)
    composer = Composer(
        Layout((160, 200), (1, 1), (60.0, 90.0)), SCHEMA, labelled, pictures.__getitem__, (lambda number: black, 1)
    )
    for number in range(6):
        picture, instances, _ = composer.scene(number)
        rows, columns = np.nonzero(picture.max(axis=2) > 60)
        hull = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(instances.boxes[0], hull, atol=2)


def test_only_the_pictures_given_are_read(labelled: list[Labelled], pictures: list[NDArray[np.uint8]]) -> None:
    read: set[int] = set()

    def spy(index: int) -> NDArray[np.uint8]:
        read.add(index)
        return pictures[index]

    composer = Composer(LAYOUT, SCHEMA, [labelled[1], labelled[3]], spy)
    for number in range(6):
        assert set(composer.scene(number)[2]) <= {1, 3}
    assert read == {1, 3}


def test_the_object_is_painted_over(labelled: list[Labelled], pictures: list[NDArray[np.uint8]]) -> None:
    ground = without_object(pictures[0], labelled[0].opacity)
    assert pictures[0][..., 0].max() > 180
    assert ground[..., 0].max() < 130


def test_a_large_picture_is_painted_over_at_the_working_size(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, mask = draw_ellipse((200.0, 150.0), (90, 50), 30.0, size=400)
    found = find_foreground(picture)
    assert found is not None
    painted: list[int] = []
    inpaint = cv2.inpaint

    def spy(work: NDArray[np.uint8], *rest: Any) -> Any:
        painted.append(max(work.shape))
        return inpaint(work, *rest)

    monkeypatch.setattr(cv2, "inpaint", spy)
    ground = without_object(picture, np.round(found.share * 255).astype(np.uint8))
    assert painted == [MOST_SIDE]
    assert ground.shape == picture.shape
    assert picture[mask][:, 0].min() > 150
    assert ground[mask][:, 0].max() < 130
    far = cv2.dilate(mask.astype(np.uint8), np.ones((61, 61), np.uint8)) == 0
    np.testing.assert_array_equal(ground[far], picture[far])


@pytest.mark.parametrize(("count", "shape"), [(1, (164 - 4, 10 * 164 - 4, 3)), (11, (2 * 164 - 4, 10 * 164 - 4, 3))])
def test_a_sheet_shows_the_tiles_in_rows(count: int, shape: tuple[int, int, int]) -> None:
    tiles = [np.full((160, 160, 3), index, dtype=np.uint8) for index in range(count)]
    sheet = contact_sheet(tiles)
    assert sheet.shape == shape
    last = divmod(count - 1, 10)
    top, left = 164 * last[0], 164 * last[1]
    np.testing.assert_array_equal(sheet[top : top + 160, left : left + 160], tiles[-1])


@pytest.mark.parametrize(
    "values",
    [
        {"size": (16, 320)},
        {"size": (320, 9000)},
        {"objects": (0, 2)},
        {"objects": (3, 2)},
        {"lengths": (4.0, 50.0)},
        {"lengths": (64.0, 400.0)},
    ],
)
def test_layouts_that_cannot_be_are_refused(values: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(DekeyError, match="expected"):
        Layout(**values)  # type: ignore[arg-type]


def test_no_pictures_no_scenes() -> None:
    with pytest.raises(DekeyError, match="no labelled picture"):
        Composer(LAYOUT, SCHEMA, [], lambda index: np.zeros((1, 1, 3), np.uint8))
