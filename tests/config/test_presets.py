"""A preset is settings: explicit ones win, whatever says them; what is written into a run holds the settings alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dekey.config import PRESETS, ModelConfig, read_config
from dekey.errors import DekeyError

BASE = {"data": {"train": "a.json"}}


def network(**model: object) -> dict[str, object]:
    return {**BASE, "model": model}


def test_small_is_the_default() -> None:
    assert read_config(network(preset="small")) == read_config(BASE)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings(name: str) -> None:
    config = read_config(network(preset=name))
    assert config == read_config({**BASE, "model": PRESETS[name]})
    assert config == read_config(BASE, overrides=[f"model.preset={name}"])
    assert config == read_config({**BASE, "model": {"preset": None}}, overrides=[f"model.preset={name}"])
    assert set(PRESETS[name]) <= set(ModelConfig.model_fields)


def test_presets_differ() -> None:
    assert len({read_config(network(preset=name)).to_yaml() for name in PRESETS}) == len(PRESETS)


def test_what_is_set_explicitly_wins_in_every_place(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("data: {train: a.json}\nmodel: {backbone: resnet18, preset: tiny}\n")
    for config in (
        read_config(network(preset="tiny", backbone="resnet18")),
        read_config(network(preset="tiny"), overrides=["model.backbone=resnet18"]),
        read_config(BASE, overrides=["model.backbone=resnet18", "model.preset=tiny"]),
        read_config(BASE, overrides=["model.preset=tiny", "model.backbone=resnet18"]),
        read_config(path=file),
    ):
        assert config.model.backbone == "resnet18"
        assert list(config.model.decoder_channels) == PRESETS["tiny"]["decoder_channels"]


def test_a_preset_that_is_named_later_wins_over_the_settings_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(read_config(network(backbone="resnet18", sigma=2.5, input_size=[64, 96])).to_yaml())
    config = read_config({"model": {"preset": "large"}}, file)
    assert config.model.backbone == PRESETS["large"]["backbone"]
    # What the preset does not speak of stays, and with it an input that was chosen.
    assert (config.model.sigma, config.model.input_size) == (2.5, (64, 96))
    file.write_text("data: {train: a.json}\nmodel: {preset: large}\n")
    assert read_config({"model": {"preset": "tiny"}}, file) == read_config(network(preset="tiny"))
    assert read_config(path=file, overrides=["model.preset=null"]) == read_config(network(preset="large"))


def test_what_is_written_names_no_preset_and_is_read_as_the_same(tmp_path: Path) -> None:
    config = read_config(network(preset="large"))
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert "preset" not in config.to_yaml()
    assert read_config(path=tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smal", r"^there is no preset 'smal' \(did you mean 'small'\?\); use one of tiny, small, medium, large$"),
        ("[tiny]", r"^there is no preset \['tiny'\]; use one of tiny, small, medium, large$"),
        ("3", r"^there is no preset 3; use one of tiny, small, medium, large$"),
    ],
)
def test_an_unknown_preset_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(DekeyError, match=sentence):
        read_config(BASE, overrides=[f"model.preset={name}"])


def test_a_misspelt_preset_is_told() -> None:
    with pytest.raises(DekeyError, match=r"unknown configuration key 'model.presett' \(did you mean 'preset'\?\)"):
        read_config(BASE, overrides=["model.presett=tiny"])


def test_a_larger_preset_computes_more() -> None:
    """Every network can be built for both families, and takes more operations than the next smaller one."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from dekey.models.build import build_model

    def operations(kind: str, name: str, sides: tuple[int, int]) -> int:
        preset = PRESETS[name]
        height, width = (round(side * preset["input_scale"] / 32) * 32 for side in sides)
        own = {"keypoint_count": 5} if kind == "heatmap" else {"present": [[True] * 5], "objects": 20}
        parts = {key: preset[key] for key in ("backbone", "decoder_channels")}
        model = build_model(kind, {**parts, "decoder": "lateral", "sigma": 1.5, "input_size": [height, width], **own})
        model.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            found = model.detect(torch.zeros(1, 3, height, width, dtype=torch.uint8))  # type: ignore[operator]
        assert np.isfinite(found["keypoints"].numpy()).all()
        return int(counter.get_total_flops())

    for kind, sides in (("heatmap", (96, 96)), ("center", (192, 320))):
        counts = [operations(kind, name, sides) for name in PRESETS]
        assert counts == sorted(set(counts))
