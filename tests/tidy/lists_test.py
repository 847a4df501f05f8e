#!/usr/bin/env python3
"""Every source and every test is in a list of the build: one that is forgotten would pass by never running."""

import os
import re

import tidy

NAME = re.compile(r"'([^'\n]+)'")


def listed(tree, path):
    """Whether a meson.build in the file's folder, or in one above it, names the file."""
    folder = os.path.dirname(path)
    while True:
        build = os.path.join(folder, "meson.build")
        if tree.exists(build):
            names = NAME.findall(re.sub(r"#.*", "", tree.text(build)))
            wanted = os.path.relpath(path, folder) if folder else path
            stem = os.path.splitext(wanted)[0]
            if wanted in names or stem in names:
                return True
        if not folder:
            return False
        folder = os.path.dirname(folder)


def check(tree):
    sources = tree.paths("src", "tests", "examples", "bench", suffixes=(".cpp",))
    scripts = tree.paths("tests", suffixes=("_test.py",))
    return [f"{path}: in no meson.build" for path in sources + scripts if not listed(tree, path)]


tidy.main(
    check,
    bad=[
        ("source", {"src/base/a.cpp": "", "src/base/meson.build": "quoit_sources += files()\n"}, "src/base/a.cpp"),
        ("test", {"tests/unit/base/a_test.cpp": ""}, "a_test.cpp: in no meson.build"),
        ("commented out", {"src/a.cpp": "", "src/meson.build": "files(\n  # 'a.cpp',\n)\n"}, "src/a.cpp"),
        ("script", {"tests/tidy/a_test.py": "", "tests/tidy/meson.build": ""}, "a_test.py"),
        ("same name elsewhere", {"src/a/b.cpp": "", "src/meson.build": "files('b.cpp')\n"}, "src/a/b.cpp"),
    ],
    good=[
        ("in its folder", {"src/base/a.cpp": "", "src/base/meson.build": "files(\n  'a.cpp',\n)\n"}),
        ("from above", {"bench/floors/a.cpp": "", "bench/meson.build": "executable('x', 'floors/a.cpp')\n"}),
        ("without suffix", {"examples/x/publisher.cpp": "", "examples/x/meson.build": "foreach p : ['publisher']\n"}),
    ],
)
