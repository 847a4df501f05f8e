#!/usr/bin/env python3
"""Installs quoit into a folder of its own and builds a user's program against it, outside of the project's build.

usage: install_test.py PROGRAM.cpp BUILD_DIR LIBRARIES COMPILER...

LIBRARIES is the `default_library` of the build: shared, static or both. Cases: pkg-config and CMake, each with the shared
and with the static library; a version that is too new is refused; nothing private is installed; a stripped installation.
"""

import os
import re
import shutil
import sys

import installed
from installed import find, run

program_source, build, libraries, *compiler = sys.argv[1:]
here = os.path.dirname(os.path.abspath(program_source))
has_shared = libraries != "static"
has_static = libraries != "shared"


def library_folder(root):
    return os.path.dirname(find(root, "libquoit.so" if has_shared else "libquoit.a"))


def with_pkg_config(quoit):
    compiled = os.path.join(quoit.scratch, "program.o")
    quoit.compile("-c", program_source, "-o", compiled, *quoit.pkg_config("--cflags"))
    if has_shared:
        program = os.path.join(quoit.scratch, "pkg_shared")
        quoit.compile(compiled, "-o", program, *quoit.pkg_config("--libs"))
        run(program, environment={"LD_LIBRARY_PATH": library_folder(quoit.root)})
        needed = run("readelf", "-d", program)
        if "libquoit.so.0" not in needed:
            raise RuntimeError("the program does not ask for libquoit.so.0:\n" + needed)
    if has_static:
        program = os.path.join(quoit.scratch, "pkg_static")
        # Beside a shared library, the linker takes that one unless it is told otherwise.
        asked = ["-l:libquoit.a" if flag == "-lquoit" else flag for flag in quoit.pkg_config("--static", "--libs")]
        quoit.compile(compiled, "-o", program, *asked)
        run(program)
    if libraries == "static":
        program = os.path.join(quoit.scratch, "pkg_plain")
        quoit.compile(compiled, "-o", program, *quoit.pkg_config("--libs"))
        run(program)


def with_cmake(quoit):
    folder = os.path.join(quoit.scratch, "cmake")
    options = [f"-Dquoit_DIR={quoit.config_folder}", f"-DCMAKE_CXX_COMPILER={compiler[-1]}"]
    run("cmake", "-G", "Ninja", "-S", here, "-B", folder, *options)
    for program in ["with_quoit"] + (["with_static"] if has_static else []):
        run("cmake", "--build", folder, "--target", program)
        run(os.path.join(folder, program))


def only_the_static_library_asks_for_liburing(quoit):
    def configure(target, **how):
        folder = os.path.join(quoit.scratch, "no_uring_" + target)
        os.mkdir(folder)
        with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write("cmake_minimum_required(VERSION 3.16)\nproject(x CXX)\nfind_package(quoit REQUIRED)\n")
            file.write(f"add_executable(x x.cpp)\ntarget_link_libraries(x PRIVATE quoit::{target})\n")
        with open(os.path.join(folder, "x.cpp"), "w", encoding="utf-8") as file:
            file.write("int main() {}\n")
        options = [f"-Dquoit_DIR={quoit.config_folder}", f"-DCMAKE_CXX_COMPILER={compiler[-1]}", "-D_quoit_uring=OFF"]
        # What the compiler can do is not asked again.
        options += ["-DCMAKE_CXX_COMPILER_FORCED=ON", "-DCMAKE_CXX_COMPILE_FEATURES=cxx_std_20"]
        return run("cmake", "-G", "Ninja", "-S", folder, "-B", folder + "/b", *options, **how)

    if has_shared:
        configure("quoit")
    if has_static:
        said = configure("quoit_static", fails=True)
        if "install liburing" not in said:
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


def only_public_headers_and_asked_libraries_are_installed(quoit):
    # tl/expected.hpp comes along where it was no package of the system but a subproject.
    public = re.compile(r"(quoit/.+|quoit|tl/expected)\.hpp")
    odd = [header for header in quoit.headers() if not public.fullmatch(header)]
    if odd:
        raise RuntimeError("installed and not a public header: " + " ".join(odd))
    found = {file for _, _, files in os.walk(quoit.root) for file in files if file.startswith("libquoit")}
    asked = {"libquoit.a"} if has_static else set()
    if any(file.startswith("libquoit.so") for file in found) != has_shared or asked != found & {"libquoit.a"}:
        raise RuntimeError(f"default_library is {libraries}, and installed were " + " ".join(sorted(found)))


def a_stripped_installation_works_and_has_no_debug_information(quoit):
    root = os.path.join(quoit.scratch, "stripped")
    run("meson", "install", "-C", build, "--no-rebuild", "--strip", "--destdir", root)
    binaries = [
        os.path.join(where, file)
        for where, _, files in os.walk(root)
        for file in files
        if file.startswith("libquoit.so.") or file == "quoit" and os.access(os.path.join(where, file), os.X_OK)
    ]
    for path in binaries:
        if not os.path.islink(path) and ".debug_info" in run("readelf", "-SW", path):
            raise RuntimeError(f"{path} was installed with --strip and has debug information")
    program = os.path.join(quoit.scratch, "with_stripped")
    linked = ["-L" + library_folder(root), *quoit.pkg_config("--libs" if has_shared else "--static", "--libs")]
    quoit.compile(os.path.join(quoit.scratch, "program.o"), "-o", program, *linked)
    environment = {"LD_LIBRARY_PATH": library_folder(root)}
    run(program, environment=environment)
    for command in binaries:
        if os.path.basename(command) == "quoit":
            run(command, "--version", environment=environment)


CASES = (
    with_pkg_config,
    with_cmake,
    only_the_static_library_asks_for_liburing,
    newer_version_is_refused,
    only_public_headers_and_asked_libraries_are_installed,
    a_stripped_installation_works_and_has_no_debug_information,
)

for needed in ("cmake", "pkg-config"):
    if shutil.which(needed) is None:
        print(f"SKIP: {needed} is not installed")
        sys.exit(77)
sys.exit(installed.main(CASES, build, compiler))
