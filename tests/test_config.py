from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dekey.config import CONFIG_LIMIT, Config, parse_duration, read_config
from dekey.errors import DekeyError

BASE: dict[str, Any] = {"data": {"train": "a.json"}}


def test_what_is_not_given_stays_as_it_is_by_default() -> None:
    empty: dict[str, Any] = {
        "data": {"train": "a.json", "val": None, "images": None},
        "run": dict.fromkeys(("budget", "epochs", "batch_size", "device", "seed")),
    }
    assert read_config(empty) == read_config(BASE) == Config(data={"train": "a.json"})  # type: ignore[arg-type]


def test_the_last_of_file_flags_and_overrides_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("data: {train: b.json}\noptim: {lr: 0.1, clip: 5}\nrun: {seed: 1, patience: null}\n", encoding="utf-8")
    config = read_config({**BASE, "run": {"seed": 2, "epochs": None}}, file, ["optim.lr=1e-3", "run.seed=3", "run.seed=4"])
    assert config.data.train == Path("a.json")
    assert (config.optim.lr, config.optim.clip, config.run.seed, config.run.patience) == (1e-3, 5, 4, None)


def test_one_file_or_several_are_read_in_one_form() -> None:
    one = read_config(BASE, overrides=["data.train=[b.json]"])
    assert one == read_config({"data": {"train": "b.json"}})
    assert (one.data.train_files, one.data.val_files) == ((Path("b.json"),), ())
    several = read_config(BASE, overrides=["data.train=[b.json, c.json]", "data.val=[d.json, e.json]"])
    assert several.data.train_files == several.data.train == (Path("b.json"), Path("c.json"))
    assert several.data.val_files == (Path("d.json"), Path("e.json"))
    assert "train:\n  - b.json\n  - c.json\n" in several.to_yaml()


def test_null_is_a_value_where_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("run: {patience: 3}\n", encoding="utf-8")
    assert read_config(BASE, file).run.patience == 3
    assert read_config(BASE, file, ["run.patience=null"]).run.patience is None


def test_the_whole_is_read_again_from_its_yaml(tmp_path: Path) -> None:
    config = read_config(
        BASE, overrides=["model.input_size=[64, 96]", "run.budget=1h30m", "data.sigmas=0.1", "model.decoder_channels=[8, 4]"]
    )
    assert config.run.budget == 5400
    assert config.data.sigmas == (0.1,)
    (tmp_path / "a.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert read_config(path=tmp_path / "a.yaml") == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lrr=1", "unknown configuration key 'optim.lrr' (did you mean 'lr'?)"),
        ("optm.lr=1", "unknown configuration key 'optm' (did you mean 'optim'?)"),
        ("Optim.lr=1", "unknown configuration key 'Optim' (did you mean 'optim'?)"),  # a capital used to be a crash
        ("1=2", "unknown configuration key '1'"),
        ("data.train.x=1", "configuration key 'data.train' is {'x': 1}: input is not a valid path"),
        ("data.train=[]", "configuration key 'data.train' is []: expected a label file, or a list of them"),
        ("data.train=[a.json, 3]", "input is not a valid path, or a list of them"),
        ("data.train=[a.json, ./a.json]", "./a.json occurs twice"),
        ("optim=3", "configuration key 'optim' is 3"),
        ("optim.lr=[1]", "configuration key 'optim.lr' is [1]"),
        ("optim.lr=0", "greater than 0"),
        ("optim.lr=.nan", "finite number"),
        ("optim.weight_decay=.inf", "finite number"),
        ("run.seed=99999999999999999999999", "less than"),
        ("run.epochs=0", "greater than or equal to 1"),
        ("run.epochs=many", "'run.epochs' is 'many'"),
        ("run.batch_size=1.5", "fractional"),
        ("run.budget=abc", "found the duration 'abc', expected a positive one"),
        ("run.budget=-3", "greater than 0"),
        ("run.budget=2020-13-45", "is no YAML"),  # YAML takes it for a date, and there is no month 13
        ("model.decoder_channels=[]", "at least 1 item"),
        ("model.decoder_channels=[0]", "greater than or equal to 1"),
        ("model.input_size=[-64, 64]", "greater than or equal to 16"),
        ("model.input_size=[64, 1000000000]", "less than or equal to 4096"),
        ("model.input_size=128", "valid tuple"),
        ("data.memory_gb=-1", "greater than or equal to 0"),
        ("data.workers=0", "greater than or equal to 1"),
        ("augment.flip=2", "less than or equal to 1"),
        ("lr", "expected --set section.key=value"),
        ("=3", "expected --set section.key=value"),
        ("a..b=3", "expected --set section.key=value"),
        ("optim.lr=[", "is no YAML; quote it"),
        ("optim.lr=" + "[" * 5000, "is no YAML; quote it"),
    ],
)
def test_a_wrong_setting_is_one_short_sentence(override: str, expected: str) -> None:
    with pytest.raises(DekeyError) as caught:
        read_config(BASE, overrides=[override])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"optim: {lr: 1", "cannot be read"),
        (b"optim:\n  lr: 1\n bad\n", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"!!python/object/apply:os.system ['true']", "cannot be read"),
        (b"[1, 2]", "holds list"),
        (b"", "holds NoneType"),
        (b"1: 2", "has the key 1"),
        (b"optim: {1: 2}", "has the key 1"),
        (b"optim: {lr: " + b"[" * 5000, "cannot be read"),
        (b"# " + b"x" * CONFIG_LIMIT, "is larger than"),
        # Sixty aliases that double each time would be 2^60 values if anything walked them.
        (
            "\n".join(["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}" for i in range(1, 60))]).encode(),
            "unknown configuration key 'a0'",
        ),
    ],
    ids=["cut", "indent", "bytes", "code", "list", "empty", "number", "number-below", "deep", "large", "aliases"],
)
def test_a_broken_file_is_one_sentence(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(DekeyError) as caught:
        read_config(BASE, tmp_path / "a.yaml")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_files_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.yaml"):
        with pytest.raises(DekeyError, match=r"cannot be read \((Is a directory|No such file or directory)\)"):
            read_config(BASE, path)


def test_data_must_be_named() -> None:
    with pytest.raises(DekeyError, match="lacks 'data'"):
        read_config()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("1h", 3600), ("1h1m1s", 3661)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-3", "0", "1d", "m", "nan", "inf", "1..2m", "9" * 400])
def test_what_is_no_duration_is_one_sentence(text: str) -> None:
    with pytest.raises(DekeyError, match="expected a positive one such as"):
        parse_duration(text)


def test_budget_and_epochs_are_not_given_together() -> None:
    with pytest.raises(DekeyError, match="give one of them"):
        read_config({"data": {"train": "a.json"}, "run": {"budget": 5.0, "epochs": 3}})
