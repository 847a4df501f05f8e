#!/usr/bin/env python3
"""No two sources in one folder of the library define the same name in an anonymous namespace: a unity build compiles
them as one translation unit.

Functions of one name that differ in their parameters are overloads, and no fault.
"""

import os
import re

import tidy

LIBRARY = ("base", "mem", "ring", "wake", "exec", "topic", "storage", "transport", "bus", "api")
BEGIN = re.compile(r"^namespace \{$", re.MULTILINE)
END = re.compile(r"^\}  // namespace$", re.MULTILINE)
TYPE = re.compile(r"^(?:struct|class|enum class|enum|union) (?:alignas\([^)]*\) )?(\w+)[^;{]*\{", re.MULTILINE)
ALIAS = re.compile(r"^using (\w+) =", re.MULTILINE)
VARIABLE = re.compile(
    r"^(?:(?:inline|static|constexpr|const|thread_local|volatile) )*[\w:]+(?:<[^;()]*>)?[*&]* (?:const )?(\w+)(?:\[\w*\])*(?: = |\{|;)",
    re.MULTILINE,
)
FUNCTION = re.compile(r"^(?! |using |return |if |else )[\w:<>,&*\[\] ]*?[ &*](\w+)(\([^;{]*?\))[^;{()]*\{", re.MULTILINE)


def anonymous(text):
    """What stands in the anonymous namespaces at the top level of a file."""
    parts = []
    for begin in BEGIN.finditer(text):
        end = END.search(text, begin.end())
        parts.append(text[begin.end() : end.start() if end else len(text)])
    return re.sub(r"//.*", "", "\n".join(parts))


def parameters(text):
    """The types of a list of parameters, without names and defaults."""
    types = []
    for parameter in re.sub(r"\s+", " ", text.strip("()")).split(","):
        words = re.sub(r"=.*", "", parameter).strip()
        words = re.sub(r"/\*\w*\*/", "", words).strip()
        types.append(re.sub(r"(?<=[\w>&*]) ?\b\w+$", "", words) if re.search(r"[ &*>]\w+$", words) else words)
    return tuple(types)


def names(text):
    body = anonymous(text)
    for pattern in (TYPE, ALIAS, VARIABLE):
        for name in pattern.findall(body):
            if name not in ("namespace", "return"):
                yield name, None
    for name, list_of_parameters in FUNCTION.findall(body):
        yield name, parameters(list_of_parameters)


def check(tree):
    first = {}
    faults = []
    for path in tree.paths(*(f"src/{folder}" for folder in LIBRARY), suffixes=(".cpp",)):
        folder = os.path.dirname(path)
        for name in sorted(set(names(tree.text(path))), key=str):
            other = first.setdefault((folder, name), path)
            if other != path:
                faults.append(f"{path}: {name[0]} is in an anonymous namespace of {other} too: rename it, or share it")
    return faults


def source(body):
    return "namespace quoit {\n\nnamespace {\n\n" + body + "\n}  // namespace\n\n}  // namespace quoit\n"


def pair(one, other):
    return {"src/base/a.cpp": source(one), "src/base/b.cpp": source(other)}


tidy.main(
    check,
    bad=[
        ("constants", pair("constexpr int most = 1;\n", "constexpr int most = 2;\n"), "b.cpp: most is in"),
        ("braces", pair("constexpr std::chrono::seconds pause{1};\n", "constexpr auto pause = 2;\n"), "pause"),
        ("types", pair("struct parts {\n  int a;\n};\n", "class parts final : public x {\n};\n"), "parts"),
        ("functions", pair("error failed(int why) {\n}\n", "error failed(int errno_then) {\n}\n"), "failed"),
        (
            "of two lines",
            pair("error f(const std::string& a,\n        int b) noexcept {\n}\n", "error f(const std::string& x, int y) {\n}\n"),
            "f is in",
        ),
    ],
    good=[
        ("overloads", pair("error failed(int why) {\n}\n", "error failed(const std::string& path) {\n}\n")),
        ("a member", pair("struct a {\n  int parts;\n};\n", "struct b {\n  int parts;\n};\n")),
        ("not anonymous", {"src/base/a.cpp": "struct a {\n};\n", "src/base/b.cpp": source("struct a {\n};\n")}),
        ("another folder", {"src/base/a.cpp": source("int x = 1;\n"), "src/exec/b.cpp": source("int x = 1;\n")}),
        ("another program", {"src/base/a.cpp": source("int x = 1;\n"), "src/cli/b.cpp": source("int x = 1;\n")}),
    ],
)
