#!/usr/bin/env python3
"""Every acquire, release and fence names its partner; every relaxed access says why it may be.

An acquire, a release, a sequentially consistent access or a fence in src/ and include/ carries a comment `sync(tag)`,
on its line or in a comment that ends at most 3 lines above, and the tag stands at least twice: a partner carries it
too. A relaxed access carries `relaxed:` and a reason in the same places. include/quoit/detail/atomic.hpp, which wraps
the orders, is free of both.
"""

import re

import tidy

HELPER = r"(?<![\w:.>])(?:(?:\w+::)*detail::)?"
ORDERED = re.compile(
    r"\bmemory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)\b|"
    + HELPER
    + r"(?:load_acquire|store_release|full_fence|exchange|compare_exchange\w*|fetch_(?:add|sub|or|and|xor))\s*\("
)
RELAXED = re.compile(r"\bmemory_order(?:_|::)relaxed\b|" + HELPER + r"(?:load|store)_relaxed\s*\(")
TAG = re.compile(r"\bsync\(([a-z0-9_.]+)\)")
REASON = re.compile(r"\brelaxed: \S")
COMMENT_LINES_ABOVE_MAX = 3
EXEMPT = ("include/quoit/detail/atomic.hpp",)


def split_comment(line):
    """A line's code and its comment; a `//` in a string literal would be taken for one, and there is none."""
    code, slashes, comment = line.partition("//")
    return code, comment if slashes else ""


def comments_near(lines, index):
    """The comments that speak for a line: its own, and those up to 3 lines above with the whole of their block."""
    found = [split_comment(lines[index])[1]]
    above = index - 1
    while above >= 0 and index - above <= COMMENT_LINES_ABOVE_MAX:
        found.append(split_comment(lines[above])[1])
        above -= 1
    # The block that begins further up than we looked.
    inside = above + 1 <= index and lines[above + 1].lstrip().startswith("//")
    while inside and above >= 0 and lines[above].lstrip().startswith("//"):
        found.append(split_comment(lines[above])[1])
        above -= 1
    return "\n".join(found)


def check(tree):
    faults = []
    places = {}
    for path in tree.paths("src", "include"):
        if path in EXEMPT:
            continue
        lines = tree.lines(path)
        for index, line in enumerate(lines):
            code, comment = split_comment(line)
            for tag in TAG.findall(comment):
                places.setdefault(tag, []).append(f"{path}:{index + 1}")
            if ORDERED.search(code) and not TAG.search(comments_near(lines, index)):
                faults.append(f"{path}:{index + 1}: no sync(tag) names the partner of: {code.strip()}")
            if RELAXED.search(code) and not REASON.search(comments_near(lines, index)):
                faults.append(f"{path}:{index + 1}: no `relaxed:` says why: {code.strip()}")
    for tag, where in sorted(places.items()):
        if len(where) < 2:
            faults.append(f"{where[0]}: sync({tag}) has no partner")
    return faults


PAIR = "load_acquire(a);  // sync(lane.commit): whole\n"

tidy.main(
    check,
    bad=[
        ("helper without a tag", {"src/a.cpp": "x = load_acquire(a);\n"}, "src/a.cpp:1: no sync(tag)"),
        ("order without a tag", {"src/a.cpp": "a.store(1, std::memory_order_release);\n"}, "no sync(tag)"),
        ("scoped order without a tag", {"src/a.cpp": "a.load(std::memory_order::seq_cst);\n"}, "no sync(tag)"),
        ("fence without a tag", {"include/a.hpp": "detail::full_fence();\n"}, "no sync(tag)"),
        ("exchange without a tag", {"src/a.cpp": "if (exchange(word, 1) == 0) return;\n"}, "no sync(tag)"),
        ("tag in code only", {"src/a.cpp": "sync(lane.commit); load_acquire(a);\n"}, "no sync(tag)"),
        ("tag too far away", {"src/a.cpp": "// sync(a.b): x\n" * 2 + "f();\n" * 3 + "load_acquire(a);\n"}, "no sync(tag)"),
        ("tag alone", {"src/a.cpp": PAIR}, "sync(lane.commit) has no partner"),
        ("relaxed without a reason", {"src/a.cpp": "x = load_relaxed(a);\n"}, "no `relaxed:`"),
        ("relaxed with an empty reason", {"src/a.cpp": "x = load_relaxed(a);  // relaxed:\n"}, "no `relaxed:`"),
    ],
    good=[
        ("pair", {"src/a.cpp": PAIR, "include/b.hpp": "// sync(lane.commit): whole\nf();\n\nstore_release(a, 1);\n"}),
        ("long comment", {"src/a.cpp": PAIR + "// sync(lane.commit): a\n// b\n// c\n// d\n// e\nstore_release(a, 1);\n"}),
        ("relaxed", {"src/a.cpp": "// relaxed: only we write it\nx = load_relaxed(a);\n"}),
        ("other functions", {"src/a.cpp": "std::exchange(a, b); q.exchange(c); my_full_fence(); // full_fence()\n"}),
        ("the wrapper", {"include/quoit/detail/atomic.hpp": "a.load(std::memory_order_acquire);  // a sync(tag)\n"}),
    ],
)
