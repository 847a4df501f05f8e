#!/usr/bin/env python3
"""Every #include keeps to the layer table in src/README.md, and no file includes itself on a detour."""

import os
import re

import tidy

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
NAME = re.compile(r"`([^`]+)`")


def read_table(text):
    """Rows from bottom to top: (paths, paths allowed)."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and NAME.match(cells[0]):
            rows.append((NAME.findall(cells[0]), NAME.findall(cells[2])))
    return rows


def is_below(path, folder):
    return path == folder or path.startswith(folder + "/")


def key_of(path, keys):
    """The longest path of the table that the file is, or is below; None: the table does not speak of it."""
    return max((key for key in keys if is_below(path, key)), key=len, default=None)


def allows(allowed, target_key, row_of):
    # A path speaks for its whole row, and a folder for its files that have a row of their own, not for such folders.
    return target_key in row_of[allowed][0] or (target_key.endswith(".hpp") and is_below(target_key, allowed))


def resolve(tree, path, name):
    for candidate in (
        os.path.join("include", name),
        os.path.join("src", name),
        os.path.normpath(os.path.join(os.path.dirname(path), name)),
    ):
        if tree.exists(candidate):
            return candidate
    return None


def table_faults(rows):
    faults = []
    known = []
    for paths, allowed in rows:
        for name in allowed:
            if name not in known:
                faults.append(f"src/README.md: {paths[0]} may include {name}, which does not stand above it")
        known += paths
    return faults


def cycle_faults(graph):
    faults = []
    state = {}

    def visit(path, trail):
        state[path] = "open"
        for target in graph.get(path, ()):
            if state.get(target) == "open":
                faults.append("include cycle: " + " -> ".join(trail[trail.index(target) :] + [target]))
            elif target not in state:
                visit(target, trail + [target])
        state[path] = "done"

    for path in sorted(graph):
        if path not in state:
            visit(path, [path])
    return faults


def check(tree):
    rows = read_table(tree.text("src/README.md"))
    if not rows:
        return ["src/README.md: no layer table in it"]
    row_of = {path: row for row in rows for path in row[0]}
    faults = table_faults(rows)
    if faults:
        return faults
    graph = {}
    for path in tree.paths("src", "include", "examples", "bench"):
        key = key_of(path, row_of)
        if key is None:
            faults.append(f"{path}: its folder has no row in src/README.md")
            continue
        paths, allowed = row_of[key]
        for name in INCLUDE.findall(tree.text(path)):
            target = resolve(tree, path, name)
            if target is None:
                continue
            graph.setdefault(path, []).append(target)
            target_key = key_of(target, row_of)
            if target_key is None:
                faults.append(f"{path}: includes {target}, which has no row in src/README.md")
            elif target_key not in paths and not any(allows(a, target_key, row_of) for a in allowed):
                faults.append(f"{path}: includes {target}, and {key} may not include {target_key}")
    return faults + cycle_faults(graph)


TABLE = """
| folder | holds | may include |
|---|---|---|
| `include/quoit/detail` `include/quoit/error.hpp` | words | |
| `src/base` | base | `include/quoit/detail` |
| `src/mem` | mem | `include/quoit/detail` `src/base` |
| `include/quoit` | face | `include/quoit/detail` |
| `src/cli` | command | `include/quoit` |
"""


def sample(**files):
    tree = {"src/README.md": TABLE, "src/base/fd.hpp": "", "src/mem/segment.hpp": "", "include/quoit/bus.hpp": ""}
    tree |= {"include/quoit/detail/config.hpp": "", "include/quoit/error.hpp": ""}
    return tree | {path.replace("__", "/").replace("_h", ".hpp"): text for path, text in files.items()}


tidy.main(
    check,
    bad=[
        ("upward", sample(src__base__fd_h='#include "mem/segment.hpp"\n'), "src/base may not include src/mem"),
        ("by a path of its own", sample(src__base__fd_h='#include "../mem/segment.hpp"\n'), "may not include src/mem"),
        ("private in public", sample(include__quoit__bus_h='#  include "mem/segment.hpp"\n'), "may not include src/mem"),
        ("detail in the command", sample(src__cli__a_h="#include <quoit/detail/config.hpp>\n"), "src/cli may not"),
        ("face in a layer", sample(src__mem__segment_h="#include <quoit/bus.hpp>\n"), "may not include include/quoit"),
        ("folder without a row", sample(src__new__a_h=""), "has no row"),
        ("cycle", sample(src__base__a_h='#include "fd.hpp"\n', src__base__fd_h='#include "a.hpp"\n'), "include cycle"),
        ("no table", {"src/README.md": "# The layers\n"}, "no layer table"),
        ("table upside down", {"src/README.md": "| `a` | | `b` |\n| `b` | | |\n"}, "does not stand above"),
    ],
    good=[
        (
            "downward",
            sample(
                src__mem__segment_h='#include "base/fd.hpp"\n#include <quoit/detail/config.hpp>\n#include <vector>\n',
                src__base__fd_h="#include <quoit/error.hpp>\n",
                src__cli__a_h="#include <quoit/bus.hpp>\n#include <quoit/error.hpp>\n",
                include__quoit__bus_h="#include <quoit/detail/config.hpp>\n",
            ),
        ),
    ],
)
