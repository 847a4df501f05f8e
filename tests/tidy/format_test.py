#!/usr/bin/env python3
"""The sources are laid out as `.clang-format` says."""

import os
import shutil
import subprocess
import sys

import tidy

# The layout differs from one version to the next: this is the one that decides.
TOOL = "clang-format-19"
STYLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".clang-format")


def check(tree):
    paths = tree.paths(*tidy.SOURCE_FOLDERS)
    if not paths:
        return []
    run = subprocess.run(
        [TOOL, f"--style=file:{STYLE}", "--dry-run", *paths], cwd=tree.root, capture_output=True, text=True, check=False
    )
    wrong = {line.split(":", 1)[0] for line in run.stderr.splitlines() if ": warning: " in line}
    faults = [f"{path}: not as .clang-format says; run {TOOL} -i {path}" for path in sorted(wrong)]
    if run.returncode != 0:
        faults.append(f"{TOOL}: {run.stderr.strip()}")
    return faults


if shutil.which(TOOL) is None:
    print(f"SKIP: {TOOL} is not installed")
    sys.exit(77)

tidy.main(
    check,
    bad=[("indented by four", {"src/a.cpp": "int main() {\n    return 0;\n}\n"}, "src/a.cpp")],
    good=[("clean", {"src/a.cpp": "int main() { return 0; }\n"})],
)
