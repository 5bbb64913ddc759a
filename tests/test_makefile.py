"""make says what there is."""

import re
import subprocess

from crayfish.spec.paths import ROOT


def test_bare_make_prints_every_target_that_is_meant_for_people():
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = phony[1].replace("\\\n", " ").split()
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    told = re.findall(r"^make ([\w-]+)", done.stdout, re.MULTILINE)
    parts = {name for name in targets if name.startswith("lint-")} | {"test-fast", "help"}
    assert set(told) == set(targets) - parts
