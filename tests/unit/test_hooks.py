"""Python that a product's file names: called with its keys, and every mistake is said with the line."""

from pathlib import Path
from typing import Any

import pytest

from firstmile.documents import read_document
from firstmile.errors import DataError, FileError
from firstmile.hooks import Hook, call_hook


def shelves(*, folder: Path, data: str) -> dict[str, Any]:
    return {"folder": folder, "data": data}


def refusing(*, folder: Path) -> None:
    raise DataError("vle has no column id_site")


def called(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "content.yaml"
    path.write_text(f"items: []\nshelves:\n  {text}\n")
    document = read_document(path)
    return call_hook(document, ("shelves",), document.parse(Hook, ("shelves",)))


def test_a_hook_is_called_with_the_file_s_folder_and_its_keys(tmp_path: Path) -> None:
    assert called(tmp_path, "hook: test_hooks:shelves\n  data: d") == {"folder": tmp_path, "data": "d"}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("hook: test_hooks:nothing", 3, "test_hooks:nothing cannot be imported"),
        ("hook: no_such_module:nothing", 3, "No module named 'no_such_module'"),
        ("hook: test_hooks", 3, "shelves.hook: String should match pattern"),
        ("hook: test_hooks:shelves\n  date: d", 2, "does not take these keys: .*'date'"),
        ("hook: test_hooks:refusing", 2, "vle has no column id_site"),
        ("data: d", 2, "shelves.hook: Field required"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(FileError, match=rf"content\.yaml, line {line}: .*{said}"):
        called(tmp_path, text)
