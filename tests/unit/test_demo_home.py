"""The demo's file of environment: what a person sources before typing the commands the demo names."""

import subprocess
from pathlib import Path

from examples.oulad.demo.home import environment_file
from firstmile.settings import Settings


def test_a_shell_that_sources_it_finds_the_verbs_and_the_demo(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    home.mkdir()
    file = environment_file(Settings(home=home))
    said = subprocess.run(
        ["/bin/sh", "-c", f". '{file}' && firstmile --help >/dev/null && echo $FIRSTMILE_HOME"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == str(home)
    assert file.stat().st_mode & 0o077 == 0
