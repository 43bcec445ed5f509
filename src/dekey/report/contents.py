"""`Report`: everything that the page is made of, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances
from dekey.metrics import Evaluation

Image = NDArray[np.uint8]


class HeatmapExample(NamedTuple):
    """One network input with what the network made of it.

    Attributes:
        crop: (H, W, 3) uint8 RGB.
        maps: (K, h, w) float32; they cover the whole crop.
        keypoints: (K, 2) annotated x, y px of the crop, continuous frame; NaN where unlabelled.
    """

    crop: Image
    maps: NDArray[np.float32]
    keypoints: NDArray[np.float64]


@dataclass(frozen=True)
class Report:
    """The contents of a report; what a run does not have stays empty, and the page says so.

    Attributes:
        title: heading, such as the name of the run.
        train: what was learned from; gives the schema and the statistics.
        held_out: images that training never saw.
        found: the answers on `held_out`, one for each image in its order.
        evaluation: `found` measured against `held_out`.
        baseline: the mean pose of `train` measured in the same way.
        model: facts such as backbone, parameters, input size.
        config: the resolved configuration, nested.
        machine: processor, memory, versions.
        times: what took how long, such as ``{"training": "2 min 4 s", "images per second": 120.3}``.
        pretrained: one sentence on where the first weights came from.
        log: the rows of log.csv; keys may differ from row to row.
        heatmaps: the first is shown keypoint by keypoint, up to five more as overlays.
        augmented: pictures as training saw them, with their objects in px of the picture.
        flipped: a mirrored picture with its mirrored labels, to check left and right by eye.
        notes: sentences that the reader must know.
    """

    title: str
    train: Dataset
    held_out: Dataset
    found: Sequence[Instances] = ()
    evaluation: Evaluation | None = None
    baseline: Evaluation | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    log: Sequence[Mapping[str, float]] = ()
    heatmaps: Sequence[HeatmapExample] = ()
    augmented: Sequence[tuple[Image, Instances]] = ()
    flipped: tuple[Image, Instances] | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.found and len(self.found) != len(self.held_out):
            raise ValueError(f"Report.found holds {len(self.found)} images, expected {len(self.held_out)}")
