#!/usr/bin/env python3
"""Installs quoit into a folder of its own and builds a user's program against it, outside of the project's build.

usage: install_test.py PROGRAM.cpp BUILD_DIR COMPILER...

Cases: CMake and pkg-config, each with the shared and with the static library; every public header compiled alone; a
version that is too new is refused; nothing private is installed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

program_source, build, *compiler = sys.argv[1:]
here = os.path.dirname(os.path.abspath(program_source))


def run(*command, environment=None, fails=False):
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    if (done.returncode != 0) != fails:
        raise RuntimeError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout.strip()


def find(root, name):
    for where, _, files in os.walk(root):
        if name in files:
            return os.path.join(where, name)
    raise RuntimeError(f"{name} was not installed")


class Installed:
    """quoit below a folder, as a package would have it before it is packed: the prefix is not the place."""

    def __init__(self, root, scratch):
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", root)
        self.root = root
        self.scratch = scratch
        self.config_folder = os.path.dirname(find(root, "quoit-config.cmake"))
        self.pc_folder = os.path.dirname(find(root, "quoit.pc"))
        self.library_folder = os.path.dirname(find(root, "libquoit.a"))
        self.include_folder = os.path.dirname(os.path.dirname(os.path.dirname(find(root, "config.hpp"))))

    def pkg_config(self, *arguments):
        environment = {"PKG_CONFIG_PATH": self.pc_folder, "PKG_CONFIG_SYSROOT_DIR": self.root}
        return run("pkg-config", *arguments, "quoit", environment=environment).split()

    def compile(self, *arguments):
        run(*compiler, "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *arguments)


def with_pkg_config_shared(quoit):
    program = os.path.join(quoit.scratch, "pkg_shared")
    flags = quoit.pkg_config("--cflags", "--libs")
    quoit.compile(program_source, "-o", program, *flags)
    run(program, environment={"LD_LIBRARY_PATH": quoit.library_folder})
    needed = run("readelf", "-d", program)
    if "libquoit.so.0" not in needed:
        raise RuntimeError("the program does not ask for libquoit.so.0:\n" + needed)


def with_pkg_config_static(quoit):
    program = os.path.join(quoit.scratch, "pkg_static")
    flags = quoit.pkg_config("--cflags") + ["-L" + quoit.library_folder]
    libraries = ["-l:libquoit.a" if flag == "-lquoit" else flag for flag in quoit.pkg_config("--static", "--libs")]
    quoit.compile(program_source, "-o", program, *flags, *libraries)
    run(program)


def cmake(quoit, name, program):
    folder = os.path.join(quoit.scratch, name)
    compiler_option = f"-DCMAKE_CXX_COMPILER={compiler[-1]}"
    run("cmake", "-G", "Ninja", "-S", here, "-B", folder, f"-Dquoit_DIR={quoit.config_folder}", compiler_option)
    run("cmake", "--build", folder, "--target", program)
    run(os.path.join(folder, program))


def with_cmake_shared(quoit):
    cmake(quoit, "cmake_shared", "with_shared")


def with_cmake_static(quoit):
    cmake(quoit, "cmake_static", "with_static")


def only_the_static_library_asks_for_liburing(quoit):
    def configure(library, **how):
        folder = os.path.join(quoit.scratch, "no_uring_" + library)
        os.mkdir(folder)
        with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write("cmake_minimum_required(VERSION 3.16)\nproject(x CXX)\nfind_package(quoit REQUIRED)\n")
            file.write(f"add_executable(x x.cpp)\ntarget_link_libraries(x PRIVATE quoit::{library})\n")
        with open(os.path.join(folder, "x.cpp"), "w", encoding="utf-8") as file:
            file.write("int main() {}\n")
        options = [f"-Dquoit_DIR={quoit.config_folder}", f"-DCMAKE_CXX_COMPILER={compiler[-1]}", "-D_quoit_uring=OFF"]
        return run("cmake", "-G", "Ninja", "-S", folder, "-B", folder + "/b", *options, **how)

    configure("quoit")
    said = configure("quoit_static", fails=True)
    if "install liburing" not in said:
        raise RuntimeError("refused in other words:\n" + said)


def waiting_for_nobody_is_refused_in_words(quoit):
    source = os.path.join(quoit.scratch, "nobody.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write("#include <quoit.hpp>\nauto f(quoit::bus& bus) { return bus.wait_any(std::chrono::seconds(1)); }\n")
    command = [*compiler, "-std=c++20", "-fsyntax-only", source, *quoit.pkg_config("--cflags")]
    said = run(*command, fails=True)
    if "give it at least one" not in said:
        raise RuntimeError("refused in other words:\n" + said)


def newer_version_is_refused(quoit):
    folder = os.path.join(quoit.scratch, "newer")
    os.mkdir(folder)
    with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
        file.write("cmake_minimum_required(VERSION 3.16)\nproject(x NONE)\nfind_package(quoit 99.0 REQUIRED)\n")
    where = f"-Dquoit_DIR={quoit.config_folder}"
    said = run("cmake", "-G", "Ninja", "-S", folder, "-B", folder + "/b", where, fails=True)
    if "requested version" not in said:
        raise RuntimeError("refused for another reason:\n" + said)


def headers(quoit):
    for where, _, files in os.walk(quoit.include_folder):
        for file in files:
            yield os.path.relpath(os.path.join(where, file), quoit.include_folder)


def each_header_compiles_alone(quoit):
    for header in sorted(headers(quoit)):
        unit = os.path.join(quoit.scratch, "header.cpp")
        # Twice: a header without its guard shows.
        with open(unit, "w", encoding="utf-8") as file:
            file.write(f"#include <{header}>\n#include <{header}>\n")
        quoit.compile("-fsyntax-only", unit, *quoit.pkg_config("--cflags"))


def only_public_headers_are_installed(quoit):
    # tl/expected.hpp comes along where it was no package of the system but a subproject.
    public = re.compile(r"(quoit/.+|quoit|tl/expected)\.hpp")
    odd = [header for header in headers(quoit) if not public.fullmatch(header)]
    if odd:
        raise RuntimeError("installed and not a public header: " + " ".join(odd))


CASES = (
    with_pkg_config_shared,
    with_pkg_config_static,
    with_cmake_shared,
    with_cmake_static,
    only_the_static_library_asks_for_liburing,
    waiting_for_nobody_is_refused_in_words,
    newer_version_is_refused,
    each_header_compiles_alone,
    only_public_headers_are_installed,
)


def main():
    for program in ("cmake", "pkg-config"):
        if shutil.which(program) is None:
            print(f"SKIP: {program} is not installed")
            return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix="quoit-install-") as folder:
        scratch = os.path.join(folder, "scratch")
        os.mkdir(scratch)
        quoit = Installed(os.path.join(folder, "root"), scratch)
        for case in CASES:
            try:
                case(quoit)
            except RuntimeError as error:
                failed += 1
                print(f"FAULT: {case.__name__}: {error}")
    print(f"{len(CASES) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
