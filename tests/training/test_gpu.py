from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dekey
from dekey.config import read_config
from dekey.data import embedded
from dekey.training import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]


@pytest.mark.parametrize("kind", ["heatmap", "center", "article"])
def test_a_run_on_cuda_computes_in_bf16_and_answers_alike_on_the_cpu(kind: str, tmp_path: Path) -> None:
    values = {
        "data": {"train": str(embedded.path("test")), "val_fraction": 0.25},
        "model": {
            "kind": kind,
            "backbone": "test_resnet",
            "pretrained": False,
            "decoder_channels": [16, 16, 16],
            "input_size": [64, 64],
        },
        "run": {"epochs": 2, "batch_size": 4, "device": "cuda"},
    }
    train(read_config(values), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["precision"] == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp32")
    image = embedded.load("test")[0].read_image()
    found = [dekey.load(tmp_path / "run", device)(image).keypoints for device in ("cuda", "cpu")]
    if kind != "center":  # so short a run finds nothing for sure, and which noise is strongest is chance
        np.testing.assert_allclose(found[0], found[1], atol=0.5)
