from __future__ import annotations

import json
from typing import Any

import pytest

from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.runtime import Manifest
from dekey.runtime.manifest import MANIFEST_KEY

SCHEMA = Schema.create(["a", "b"], ["nose", "eye_l", "eye_r"], edges=[[0, 1]], sigmas=[0.1, 0.2, 0.2])
WHOLE = Manifest(
    kind="heatmap",
    keypoint_schema=SCHEMA.to_dict(),
    input_size=(64, 96),
    region="box",
    padding=1.25,
    architecture={"backbone": "x", "decoder_channels": [32, 16]},
    metrics={"median_px": 1.5},
    origin={"torch": "2"},
    licence="Apache-2.0",
)


def changed(**values: Any) -> dict[str, str]:
    return {MANIFEST_KEY: json.dumps({**json.loads(WHOLE.to_metadata()[MANIFEST_KEY]), **values})}


def test_metadata_hold_the_whole_manifest() -> None:
    again = Manifest.from_metadata(WHOLE.to_metadata(), "x")
    assert again == WHOLE
    assert again.schema_found == SCHEMA
    assert again.input_size == (64, 96)


def test_a_file_of_before_detectors_says_what_it_always_said() -> None:
    values = json.loads(WHOLE.to_metadata()[MANIFEST_KEY])
    for name in ("objects", "finds_boxes", "object_threshold", "visibility_temperature"):
        del values[name]
    assert Manifest.from_metadata({MANIFEST_KEY: json.dumps(values)}, "x") == WHOLE


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, "m.onnx carries no dekey manifest"),
        ({MANIFEST_KEY: "{"}, "does not fit this dekey"),
        ({MANIFEST_KEY: "[" * 100_000}, "does not fit this dekey"),
        ({MANIFEST_KEY: "[1]"}, "does not fit this dekey"),
        (changed(manifest_version=2, something_new=1), r"newer dekey \(its manifest is of version 2.*update dekey"),
        (changed(manifest_version="1"), "does not fit this dekey"),
        (changed(unknown=1), "does not fit this dekey"),
        (changed(input_size=[64]), "input_size"),
        (changed(input_size=[10**9, 10**9]), "input_size.0"),
        (changed(input_size=[0, 64]), "input_size.0"),
        (changed(region="circle"), "region"),
        (changed(padding=0), "padding"),
        (changed(padding=float("nan")), "padding"),
        (changed(channel_order="BGR"), "channel_order"),
        (changed(fill=300), "fill"),
        (changed(default_threshold=2), "default_threshold"),
        (changed(objects=0), "objects"),
        (changed(objects=10**6), "objects"),
        (changed(object_threshold=1.1), "object_threshold"),
        (changed(object_threshold=-0.1), "object_threshold"),
        (changed(visibility_temperature=0), "visibility_temperature"),
        (changed(objects=4), "a model of crops answers with one object for each box"),
        (changed(finds_boxes=True), "a model of crops answers with one object for each box"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_sentence(metadata: dict[str, str], expected: str) -> None:
    with pytest.raises(DekeyError, match=expected) as caught:
        Manifest.from_metadata(metadata, "m.onnx")
    assert "m.onnx" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_schema_that_is_not_whole_is_one_sentence() -> None:
    with pytest.raises(DekeyError, match="schema"):
        _ = Manifest.from_metadata(changed(keypoint_schema={"classes": ["a"]}), "x").schema_found
