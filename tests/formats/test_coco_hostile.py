"""Whatever one value of a file is replaced by, the answer is a data set that fits together or one sentence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dekey.data.problems import find_problems, without_problems
from dekey.data.summary import summarise
from dekey.errors import DekeyError
from dekey.formats import read, write

SOUND: dict[str, Any] = {
    "categories": [
        {"id": 1, "name": "a", "keypoints": ["x_l", "x_r"], "skeleton": [[1, 2]], "flip_indices": [1, 0], "sigmas": [0.1, 0.1]},
        {"id": 2, "name": "b", "keypoints": ["x_l", "y"], "skeleton": []},
    ],
    "images": [{"id": number, "file_name": f"{number}.png", "width": 20, "height": 10} for number in (1, 2)],
    "annotations": [
        {"id": 1, "image_id": 2, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 2.5, "keypoints": [1, 2, 2, 3, 4, 1]},
        {"id": 2, "image_id": 1, "category_id": 2, "iscrowd": 1, "keypoints": [0, 0, 0, 3, 4, 2]},
    ],
}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.sampled_from([2**40, 2**63, 10**400, -(2**70), 1e308, -1e308, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["../a", "/a", "C:/a", "\ud800", "a\0b", "x" * 5000]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=2))
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(places(SOUND)[1:]), ANYTHING)
def test_one_strange_value_gives_a_data_set_or_a_sentence(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    content = copy.deepcopy(SOUND)
    target: Any = content
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    for rule in ("keep", "drop"):
        sentence, dataset = "", None
        try:
            dataset = read(file, problems=rule)  # type: ignore[arg-type]
        except DekeyError as error:
            sentence = str(error)
        assert "\n" not in sentence
        assert len(sentence) < 12_000
        if dataset is None:
            continue
        instances = dataset.instances
        np.testing.assert_array_equal(np.isfinite(instances.keypoints).all(-1), instances.labelled)
        assert dataset.starts[-1] == len(instances)
        problems = find_problems(dataset)
        for each in problems:
            assert "\n" not in str(each)
        json.dumps(summarise(without_problems(dataset, problems)), allow_nan=False)
        if len(instances):
            write(dataset, tmp_path / "again.json")
            again = read(tmp_path / "again.json", problems="keep")
            np.testing.assert_array_equal(again.instances.visibility, instances.visibility)
