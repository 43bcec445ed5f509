"""Reading files on behalf of the formats: limits and plain errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dekey.errors import DekeyError

# A JSON file above this size is refused; reading takes about its size and, for COCO, 1 KB a record of memory.
MAX_JSON_BYTES = 4 * 1024**3


def checked_file(path: Path) -> Path:
    """Give back a path that is a file with something in it.

    Raises:
        DekeyError: if there is nothing, a folder, or an empty file.
    """
    if path.is_dir():
        raise DekeyError(f"{path} is a folder, expected an annotation file; name the file in it")
    if not path.is_file():
        raise DekeyError(f"{path} does not exist; check the path of the annotation file")
    if path.stat().st_size == 0:
        raise DekeyError(f"{path} is empty, expected annotations; export it again")
    return path


def read_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse a JSON file of at most `MAX_JSON_BYTES`; `hook` sees every object of it while it is parsed.

    Raises:
        DekeyError: on a missing, too large or broken file; a broken one with line and column.
    """
    size = checked_file(path).stat().st_size
    if size > MAX_JSON_BYTES:
        raise DekeyError(f"{path} has {size / 1e9:.1f} GB, more than the limit of {MAX_JSON_BYTES / 1e9:.1f} GB; split it")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except json.JSONDecodeError as error:
        raise DekeyError(
            f"{path} is not valid JSON ({error.msg} at line {error.lineno}, column {error.colno}); export it again or mend it"
        ) from error
    except UnicodeDecodeError as error:
        raise DekeyError(f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise DekeyError(f"{path} nests too deep to be an annotation file; export it again") from error
    except ValueError as error:  # a number of more than 4300 digits
        raise DekeyError(f"{path} is not valid JSON ({str(error).split(';')[0]}); export it again or mend it") from error
