"""What holds for the repository as a whole: what an import costs, what a file may hold, that one thing is said once."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path

import pytest

import dekey
from dekey.cli import COMMANDS
from dekey.errors import TRAIN_EXTRA

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "dekey"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NEEDS_TORCH = ("codecs", "explain", "export", "keras", "models", "training")
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        ".*.yaml",
        ".ci/*",
        "benchmarks/**/*",
        "configs/**/*",
        "docs/**/*",
        "src/**/*",
        "tests/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.suffix in {"", ".html", ".json", ".md", ".py", ".toml", ".txt", ".yaml"} and path.is_file()
)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after running `code`."""
    printed = python(f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))")
    return {name.partition(".")[0] for name in printed.splitlines()[-1].split()}


def test_importing_dekey_imports_neither_numpy_nor_torch() -> None:
    assert not modules_after("import dekey") & {"numpy", "cv2", *TRAIN_EXTRA}


def test_help_imports_neither_numpy_nor_torch() -> None:
    assert not modules_after("from dekey.cli import main; main(['--help'])") & {"numpy", "cv2", *TRAIN_EXTRA}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_of_the_train_extra(command: str) -> None:
    assert not modules_after(f"from dekey.cli import main; assert main(['{command}', '--help']) == 0") & TRAIN_EXTRA


def test_start_up_is_quick() -> None:
    def best(code: str) -> float:
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            python(code)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    assert best("import dekey") < 0.3
    assert best("from dekey.cli import main; main(['--help'])") < 0.6


def test_all_but_training_imports_without_the_train_extra() -> None:
    modules = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE).with_suffix("").parts[0] not in NEEDS_TORCH
    ]
    assert len(modules) > 20
    blocked = sorted(TRAIN_EXTRA)
    code = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
for module in {modules}:
    importlib.import_module(module.removesuffix(".__init__"))
"""
    python(code)


def test_the_table_of_the_train_extra_is_the_extra() -> None:
    wanted = {re.split(r"[^\w-]", line)[0] for line in requires("dekey") or () if re.search(r"extra == ['\"]train['\"]", line)}
    assert wanted == TRAIN_EXTRA


def test_the_library_offers_these_names() -> None:
    assert dir(dekey) == [
        "Dataset",
        "DekeyError",
        "Instances",
        "Points",
        "Predictor",
        "Problem",
        "Sample",
        "Schema",
        "__version__",
        "evaluate",
        "load",
        "read",
        "train",
        "write",
    ]
    for name in dekey.__all__:
        assert getattr(dekey, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dekey.trian  # noqa: B018


def test_help_works_without_the_train_extra_and_lists_what_can_be_had() -> None:
    code = f"""
import sys
sys.modules |= dict.fromkeys({sorted(TRAIN_EXTRA)})
import dekey
page = __import__("pydoc").plain(__import__("pydoc").render_doc(dekey))
assert "load(" in page and "train(" not in page
assert set(dekey.__all__) - set(dir(dekey)) == {{"train"}}
try:
    dekey.train
except dekey.DekeyError as error:
    print(error)
"""
    said = python(code)
    assert re.fullmatch(r'[a-z]+ is not installed, which dekey\.train needs: pip install "dekey\[train\]"\n', said), said


def test_the_version_is_written_once() -> None:
    assert f'\nversion = "{dekey.__version__}"\n' in PROJECT
    assert not [path for path in SOURCE.rglob("*.py") if f'"{dekey.__version__}"' in path.read_text(encoding="utf-8")]


def test_the_changelog_tells_of_this_version() -> None:
    assert f"\n## [{dekey.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_runs_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(.*?)\n```", readme, re.DOTALL)
    test = [command for command in commands if "pytest" in command]
    assert len(test) == 1
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == test[0]
    assert any(command.endswith("uv run dekey demo") for command in commands)
    assert any(line.startswith("uv run dekey demo") for line in lines)


def test_everything_installed_is_pinned() -> None:
    block = PROJECT.partition("# pins\n")[2].partition("# /pins\n")[0]
    pins = re.findall(r'^    "(.+)",$', block, re.MULTILINE)
    assert len(pins) > 100
    assert not [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+( ; python_full_version .+)?", pin)]
    own = PROJECT.partition("[tool.")[0]
    asked_for = set(re.findall(r'^    "([\w-]+)(?:[>=].*)?",$', own, re.MULTILINE))
    assert {"numpy", "torch", "pytest"} <= asked_for
    assert asked_for <= {pin.partition("==")[0] for pin in pins}


def test_no_source_file_is_longer_than_350_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (SOURCE, ROOT / "tests", ROOT / "benchmarks", ROOT / ".ci")
        for path in folder.rglob("*.py")
    }
    assert not {path: length for path, length in lengths.items() if length > 350}


def test_no_module_needs_posix_to_be_imported_or_asks_for_what_only_linux_has() -> None:
    found = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name} imports {name}" for name in names if name in {"fcntl", "grp", "pwd", "resource", "termios"}]
        linux = {"sched_getaffinity", "sched_setaffinity", "fork", "getuid", "geteuid", "statvfs", "O_DIRECTORY"}
        found += [
            f"{path.name}: {node.attr}" for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in linux
        ]
    assert not found


def test_no_file_names_a_machine_or_a_package_index() -> None:
    forbidden = re.compile(
        r"/(?:work|root|home|Users|tmp/dev)/|[A-Z]:\\Users|(?:index|extra-index)-url|find-links|files\.pythonhosted"
    )
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}"
        for path in TEXTS
        if path != own and (hit := forbidden.search(path.read_text(encoding="utf-8")))
    ]
    assert not found
