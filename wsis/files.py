"""Read and write the files that evaluation touches."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wsis.errors import WsisError


def read_json(path: Path) -> Any:
    """The file's content. Raises WsisError naming the file when it is absent or not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise WsisError(f"{path}: can't be read as JSON: {error}") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` so that `path` is either the old file or the whole new one, never a part of it."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise WsisError(f"{path}: can't be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (a NaN is an error, not an extension), indented, with a final newline."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
