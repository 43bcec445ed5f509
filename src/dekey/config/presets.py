"""Networks by name, from `tiny` to `large`: plain settings, each of which an explicit one overrides.

They were chosen by measurement; `docs/concepts/presets.md` has the figures. `small` is what a configuration holds by default.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from dekey.errors import DekeyError, nearest

KEY = "preset"
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"backbone": "mobilenetv4_conv_small_050", "decoder_channels": [32, 32, 32], "input_scale": 1.0},
    "small": {"backbone": "hgnetv2_b0", "decoder_channels": [64, 64, 64], "input_scale": 1.0},
    "medium": {"backbone": "resnet10t", "decoder_channels": [64, 64, 64], "input_scale": 1.0},
    "large": {"backbone": "hgnetv2_b2", "decoder_channels": [64, 64, 64], "input_scale": 1.2},
}
"""What ``model.preset=NAME`` stands for: settings of the section ``model``."""


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the settings of a preset in its place; a setting that stands beside it is kept.

    Args:
        values: sections of a configuration that were given together, in one file or on one command line.

    Returns:
        The same sections; ``model`` has no preset any more.

    Raises:
        DekeyError: if there is no such preset.

    >>> expanded({"model": {"preset": "tiny", "backbone": "resnet18"}})
    {'model': {'backbone': 'resnet18', 'decoder_channels': [32, 32, 32], 'input_scale': 1.0}}
    """
    model = values.get("model")
    if not isinstance(model, Mapping) or KEY not in model:
        return dict(values)
    name = model[KEY]
    explicit = {key: value for key, value in model.items() if key != KEY}
    if name is None:
        return {**values, "model": explicit}
    if not isinstance(name, str) or name not in PRESETS:
        hint = nearest(name, PRESETS) if isinstance(name, str) else ""
        raise DekeyError(f"there is no preset {reprlib.repr(name)}{hint}; use one of {', '.join(PRESETS)}")
    return {**values, "model": {**PRESETS[name], **explicit}}
