#!/usr/bin/env python3
"""Shell scripts are clean for shellcheck, and stop at the first error."""

import shutil
import subprocess
import sys

import tidy


def scripts(tree):
    for path in tree.paths("tools", "tests", "bench", "examples", ".ci", suffixes=("",)):
        head = tree.text(path).split("\n", 1)[0]
        if head.startswith("#!") and head.rstrip().endswith(("bash", "/sh")):
            yield path


def check(tree):
    faults = []
    for path in scripts(tree):
        text = tree.text(path)
        if "bash" in text.split("\n", 1)[0] and "\nset -euo pipefail\n" not in text:
            faults.append(f"{path}: no line `set -euo pipefail`")
        run = subprocess.run(
            ["shellcheck", "-x", "-f", "gcc", path], cwd=tree.root, capture_output=True, text=True, check=False
        )
        faults += run.stdout.splitlines() + run.stderr.splitlines()
    return faults


if shutil.which("shellcheck") is None:
    print("SKIP: shellcheck is not installed")
    sys.exit(77)

HEAD = "#!/usr/bin/env bash\nset -euo pipefail\n"
tidy.main(
    check,
    bad=[
        ("unquoted", {"tools/a": HEAD + "rm $1\n"}, "SC2086"),
        ("goes on after an error", {"tools/a": "#!/usr/bin/env bash\ntrue\n"}, "pipefail"),
    ],
    good=[("clean", {"tools/a": HEAD + 'rm "$1"\n', "tools/b.py": "#!/usr/bin/env python3\nrm $1\n"})],
)
