"""The doctor's verdicts, from facts to remedies."""

from pathlib import Path

import pytest

from firstmile.local import checks
from firstmile.local.doctor import is_fit


@pytest.mark.parametrize(
    ("version", "is_ok"), [((3, 11, 7), True), ((3, 12, 0), True), ((3, 10, 9), False), ((3, 13, 0), False)]
)
def test_python_of_another_version_is_refused(version: tuple[int, ...], is_ok: bool) -> None:
    assert checks.python(version).is_ok is is_ok


def test_missing_java_names_the_package_and_the_setting() -> None:
    finding = checks.java("/nowhere/java")
    assert not finding.is_ok
    assert finding.is_essential
    assert "/nowhere/java" in finding.found
    assert "openjdk-17" in finding.remedy
    assert "FIRSTMILE_LOCAL__JAVA" in finding.remedy


def test_java_that_says_an_old_version_is_refused(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("""#!/bin/sh\necho 'openjdk version "11.0.2" 2019-01-15' >&2\n""")
    java.chmod(0o755)
    assert checks.java(str(java)).is_ok is False
    assert checks.java(str(java)).found == "11.0.2"


def test_too_little_memory_says_how_much_and_which_setting() -> None:
    finding = checks.memory(1_000, 4_096)
    assert not finding.is_ok
    assert "1000 MB" in finding.found
    assert "FIRSTMILE_LOCAL__MIN_MEMORY_MB" in finding.remedy
    assert checks.memory(4_096, 4_096).is_ok


def test_disk_is_asked_at_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert str(tmp_path) in checks.disk(tmp_path / "not" / "yet").found


def test_only_essential_findings_keep_the_machine_from_starting() -> None:
    note = checks.Finding("jars", False, "", "", is_essential=False)
    essential = checks.Finding("java", False, "", "")
    assert is_fit([note])
    assert not is_fit([note, essential])
