#!/usr/bin/env python3
"""No file that nobody can hold in the head: headers aim at 250 lines, sources at 500; above 300 and 600 they fail.

A file that must be longer is listed in tests/tidy/sizes.txt, as `path: reason`.
"""

import os

import tidy

AIM = {".hpp": 250, ".cpp": 500}
LIMIT = {".hpp": 300, ".cpp": 600}
LIST = "tests/tidy/sizes.txt"


def exceptions(tree):
    if not tree.exists(LIST):
        return {}
    lines = [line for line in tree.lines(LIST) if line.strip() and not line.startswith("#")]
    return {path.strip(): reason.strip() for path, _, reason in (line.partition(":") for line in lines)}


def check(tree):
    faults = []
    listed = exceptions(tree)
    for path, reason in listed.items():
        if not tree.exists(path):
            faults.append(f"{LIST}: {path} is listed and is not there")
        elif not reason:
            faults.append(f"{LIST}: {path} is listed without a reason")
    for path in tree.paths(*tidy.SOURCE_FOLDERS):
        suffix = os.path.splitext(path)[1]
        count = len(tree.lines(path))
        if path in listed:
            if count <= LIMIT[suffix]:
                faults.append(f"{LIST}: {path} is listed and is short enough ({count} lines)")
        elif count > LIMIT[suffix]:
            faults.append(f"{path}: {count} lines, the limit is {LIMIT[suffix]}")
    return faults


def notes(tree):
    listed = exceptions(tree)
    counts = {path: len(tree.lines(path)) for path in tree.paths(*tidy.SOURCE_FOLDERS) if path not in listed}
    return [
        f"{path}: {count} lines, the aim is {AIM[os.path.splitext(path)[1]]}"
        for path, count in counts.items()
        if count > AIM[os.path.splitext(path)[1]]
    ]


tidy.main(
    check,
    notes=notes,
    bad=[
        ("long header", {"include/a.hpp": "\n" * 301}, "include/a.hpp: 301 lines"),
        ("long source", {"tests/a.cpp": "\n" * 601}, "tests/a.cpp: 601 lines"),
        ("no reason", {"src/a.cpp": "\n" * 601, LIST: "src/a.cpp:\n"}, "without a reason"),
        ("gone", {LIST: "src/a.cpp: one table\n"}, "is not there"),
        ("listed and short", {"src/a.cpp": "\n", LIST: "src/a.cpp: one table\n"}, "is short enough"),
    ],
    good=[
        ("at the limit", {"include/a.hpp": "\n" * 300, "src/a.cpp": "\n" * 600}),
        ("listed", {"src/a.cpp": "\n" * 601, LIST: "# a comment\nsrc/a.cpp: one table\n"}),
    ],
)
