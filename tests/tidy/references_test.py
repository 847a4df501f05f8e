#!/usr/bin/env python3
"""The project stands on its own: no file names a place outside the clone that only one machine has."""

import re

import tidy

# Written in pieces, so that this file does not name them either.
FORBIDDEN = re.compile("(?<![a-z0-9_.-])/wo" + "rk/|" + r"\.\./sha" + "red\\b")
FOLDERS = (*tidy.SOURCE_FOLDERS, "docs", "tools", "packaging", "subprojects/packagefiles", ".ci")
ROOT_FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "meson.build", "meson_options.txt", ".gitignore")


def check(tree):
    faults = []
    wraps = [path for path in tree.paths("subprojects", suffixes=(".wrap",)) if path.count("/") == 1]
    paths = tree.paths(*FOLDERS, suffixes=("",)) + wraps + [path for path in ROOT_FILES if tree.exists(path)]
    for path in sorted(paths):
        for number, line in enumerate(tree.lines(path), 1):
            if FORBIDDEN.search(line):
                faults.append(f"{path}:{number}: {line.strip()}")
    return faults


tidy.main(
    check,
    bad=[
        ("absolute", {"tools/test": "cd /wo" + "rk/main\n"}, "tools/test:1"),
        ("relative", {"docs/a.md": "see ../sha" + "red/x.md\n"}, "docs/a.md:1"),
        ("at the root", {"README.md": "\nin `/wo" + "rk/x`\n"}, "README.md:2"),
    ],
    good=[("others", {"README.md": "net/work/ a/../share ../shared_memory.md\n", "src/a.cpp": "// homework/ x\n"})],
)
