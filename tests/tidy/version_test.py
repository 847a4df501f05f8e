#!/usr/bin/env python3
"""meson.build, include/quoit/detail/config.hpp and CHANGELOG.md speak of the same version."""

import re

import tidy

CONFIG = "include/quoit/detail/config.hpp"


def first(pattern, text):
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else None


def check(tree):
    build = first(r"^\s*version: '([0-9.]+)',", tree.text("meson.build"))
    config = tree.text(CONFIG)
    numbers = [first(rf"^#define QUOIT_VERSION_{part} (\d+)$", config) for part in ("MAJOR", "MINOR", "PATCH")]
    faults = []
    if ".".join(str(number) for number in numbers) != build:
        faults.append(f"{CONFIG}: the numbers are not those of meson.build, {build}")
    if first(r'^#define QUOIT_VERSION_STRING "(.*)"$', config) != build:
        faults.append(f"{CONFIG}: QUOIT_VERSION_STRING is not {build}")
    if build is None or not re.search(rf"^## .*{re.escape(build)}\b", tree.text("CHANGELOG.md"), re.MULTILINE):
        faults.append(f"CHANGELOG.md: no heading for {build}")
    return faults


def sample(build, config, string, change):
    major, minor, patch = config.split(".")
    parts = f"#define QUOIT_VERSION_MAJOR {major}\n#define QUOIT_VERSION_MINOR {minor}\n#define QUOIT_VERSION_PATCH {patch}\n"
    return {
        "meson.build": f"project(\n  'quoit',\n  version: '{build}',\n)\n",
        CONFIG: parts + f'#define QUOIT_VERSION_STRING "{string}"\n',
        "CHANGELOG.md": f"## [Unreleased] {change}\n",
    }


tidy.main(
    check,
    bad=[
        ("numbers", sample("1.2.3", "1.2.4", "1.2.3", "1.2.3"), "the numbers"),
        ("string", sample("1.2.3", "1.2.3", "1.2.4", "1.2.3"), "QUOIT_VERSION_STRING"),
        ("changes", sample("1.2.3", "1.2.3", "1.2.3", "1.2.2"), "CHANGELOG.md"),
    ],
    good=[("same", sample("1.2.3", "1.2.3", "1.2.3", "1.2.3"))],
)
