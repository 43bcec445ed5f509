from __future__ import annotations

from pathlib import Path

import yaml

from dekey.config import Config, read_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def test_the_default_configuration_shows_every_setting_at_its_default() -> None:
    shown = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    default = Config.model_validate({"data": {"train": "annotations.json"}}).model_dump(mode="json")
    assert shown == default


def test_every_configuration_is_read() -> None:
    files = sorted(CONFIGS.glob("*.yaml"))
    assert files
    for file in files:
        assert read_config(path=file).data.train
