"""Reading files on behalf of the formats: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dekey
import dekey.formats
from dekey.data import Dataset, Instances, Sample, Schema, embedded
from dekey.errors import DekeyError
from dekey.formats import FORMATS
from dekey.formats.files import extra_module, read_text, read_xml


def test_an_xml_file_gives_its_root(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<?xml version="1.0"?><a b="1"><c/></a>', encoding="utf-8")
    root = read_xml(tmp_path / "a.xml")
    assert root.tag == "a"
    assert root.get("b") == "1"
    assert [each.tag for each in root] == ["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '<!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;&l;">]><a>&m;</a>',
            "document type",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ("<a><b></a>", "not valid XML"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not valid XML"),
        ("<a>&l;</a>", "not valid XML"),
        ("", "is empty"),
    ],
)
def test_bad_xml_is_refused_in_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DekeyError, match=said):
        read_xml(path)


def test_text_loses_its_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfh\xc3\xa9")
    assert read_text(tmp_path / "a.txt") == "hé"


def test_text_that_is_too_large_or_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"h\xe9")
    with pytest.raises(DekeyError, match="not UTF-8"):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DekeyError, match="more than the limit"):
        read_text(tmp_path / "a.txt", limit=1)


def test_a_way_with_broken_records_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DekeyError, match=r"found problems='dorp' \(did you mean 'drop'\?\)"):
        dekey.read("labels.json", problems="dorp")  # type: ignore[arg-type]


def test_no_file_is_written_under_the_ending_of_another_format(tmp_path: Path) -> None:
    data = embedded.load("test")
    with pytest.raises(DekeyError, match=r"would hold COCO keypoints JSON; name it \.json, or say the format, such as 'csv'"):
        dekey.write(data, tmp_path / "labels.csv")
    assert not list(tmp_path.iterdir())
    dekey.write(data, tmp_path / "labels.csv", format="csv")


def test_a_missing_module_names_its_extra() -> None:
    with pytest.raises(DekeyError, match=r'pip install "dekey\[formats\]"'):
        extra_module("a_module_that_is_not_there")


@pytest.mark.parametrize("format", [name for name, known in FORMATS.items() if known.write is not None])
@pytest.mark.parametrize("what", ["class", "keypoint", "image"])
def test_half_a_character_is_refused_in_every_format(format: str, what: str, tmp_path: Path) -> None:  # noqa: A002
    names = {each: f"{each} \ud800" if each == what else each for each in ("class", "keypoint", "image")}
    sample = Sample(tmp_path / names["image"], (9, 9), Instances.create([[[1.0, 2.0]]]), 1, np.array([1]))
    dataset = Dataset.from_samples(Schema.create([names["class"]], [names["keypoint"]]), [sample])
    with pytest.raises(DekeyError, match=r"\\ud800' holds half a character, which no file can hold; rename it"):
        dekey.formats.write(dataset, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    assert list(tmp_path.iterdir()) == []
