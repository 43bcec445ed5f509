"""The tables of the page on label formats are what the code says and does."""

from __future__ import annotations

from pathlib import Path

import formats_table
import pytest

from dekey.formats import FEATURES, FORMATS


def test_the_table_of_features_is_that_of_the_code() -> None:
    page = formats_table.PAGE.read_text(encoding="utf-8")
    assert formats_table.filled(page, {"held": formats_table.held()}) == page, "run python benchmarks/formats_table.py"


def test_every_feature_and_format_has_its_place() -> None:
    text = formats_table.held()
    assert all(f"`{name}`" in text and known.title in text for name, known in FORMATS.items())
    assert all(feature.meaning in text for feature in FEATURES.values())


@pytest.mark.shared
def test_every_folder_of_real_files_is_read_or_refused_as_the_table_says(shared_data: Path) -> None:
    page = formats_table.PAGE.read_text(encoding="utf-8")
    made = formats_table.made_of(shared_data / "formats")
    assert formats_table.filled(page, {"read": made}) == page, "run python benchmarks/formats_table.py"
    folders = [path.name for path in (shared_data / "formats").iterdir() if path.is_dir()]
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in made.splitlines()[2:]}
    assert sorted(rows) == sorted(folders)


def test_a_page_without_its_marker_is_told() -> None:
    with pytest.raises(SystemExit, match="no marker"):
        formats_table.filled("nothing here", {"held": "table"})
