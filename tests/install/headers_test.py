#!/usr/bin/env python3
"""The installed headers, as users compile them: alone, behind macros of other libraries, with warnings of their own, as
another standard, and in two translation units of one program.

usage: headers_test.py PROGRAM.cpp BUILD_DIR LIBRARIES COMPILER...
"""

import concurrent.futures
import os
import re
import sys

import installed
from installed import run

program_source, build, libraries, *compiler = sys.argv[1:]
here = os.path.dirname(os.path.abspath(program_source))
is_clang = "clang" in run(*compiler, "--version")

# Quiet of what no header can be without, and of what says nothing about a header.
EVERYTHING = [
    "-Weverything", "-Wno-unknown-warning-option", "-Wno-c++98-compat", "-Wno-c++98-compat-pedantic", "-Wno-c++20-compat",
    "-Wno-pre-c++20-compat-pedantic", "-Wno-padded", "-Wno-weak-vtables",
    "-Wno-missing-include-dirs", "-Wno-unsafe-buffer-usage", "-Wno-nrvo",
]  # fmt: skip
MANY = [
    "-Wshadow", "-Wold-style-cast", "-Wuseless-cast", "-Wconversion", "-Wsign-conversion", "-Warith-conversion",
    "-Wcast-align=strict", "-Wcast-qual", "-Wdouble-promotion", "-Wduplicated-branches", "-Wduplicated-cond",
    "-Wextra-semi", "-Wfloat-equal", "-Wformat=2", "-Wlogical-op", "-Wmismatched-tags", "-Wredundant-tags",
    "-Wnon-virtual-dtor", "-Wnull-dereference", "-Woverloaded-virtual", "-Wredundant-decls", "-Wsuggest-override",
    "-Wswitch-enum", "-Wundef", "-Wunused-macros", "-Wunused-const-variable=2", "-Wvla", "-Wctor-dtor-privacy",
    "-Wdeprecated-copy-dtor", "-Wcatch-value=3", "-Wvolatile",
]  # fmt: skip
SENTENCES = (
    (("-std=c++17",), "quoit needs C++20: compile with -std=c++20 or a later standard"),
    (("-std=c++20", "-fno-exceptions"), "quoit needs exceptions"),
)


def at_once(quoit, headers, compile_one):
    """Calls compile_one(path of a new source, header) for each header, as many at a time as there are CPUs."""

    def one(numbered):
        number, header = numbered
        return compile_one(os.path.join(quoit.scratch, f"header-{number}.cpp"), header)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, enumerate(headers)))


def each_header_compiles_alone(quoit):
    cflags = quoit.pkg_config("--cflags")

    def compile_one(unit, header):
        # Twice: a header without its guard shows.
        with open(unit, "w", encoding="utf-8") as file:
            file.write(f"#include <{header}>\n#include <{header}>\n")
        quoit.compile("-fsyntax-only", unit, *cflags)

    at_once(quoit, sorted(quoit.headers()), compile_one)


def each_header_refuses_in_one_sentence_what_it_cannot_be_compiled_as(quoit):
    cflags = quoit.pkg_config("--cflags")

    def compile_one(unit, header):
        with open(unit, "w", encoding="utf-8") as file:
            file.write(f"#include <{header}>\n")
        for options, sentence in SENTENCES:
            said = run(*compiler, *options, "-fsyntax-only", unit, *cflags, fails=True)
            errors = [line for line in said.splitlines() if re.search(r"\berror:", line)]
            # The second one is that of the file that stops the compiler.
            if len(errors) != 2 or sentence not in errors[0] or "stopped by the error above" not in errors[1]:
                raise RuntimeError(f"{header} with {' '.join(options)} is refused in other words:\n" + "\n".join(errors[:9]))

    ours = [header for header in sorted(quoit.headers()) if header.startswith("quoit")]
    at_once(quoit, ours, compile_one)


def behind_macros(quoit, name):
    text = f'#include "{os.path.join(here, name)}"\n#include <quoit.hpp>\n#include "{program_source}"\n'
    quoit.compile("-fsyntax-only", quoit.write(name + ".cpp", text), *quoit.pkg_config("--cflags"))


def headers_compile_behind_the_keywords_of_qt(quoit):
    behind_macros(quoit, "macros_of_qt.hpp")


def headers_compile_behind_macros_of_x11_and_the_system(quoit):
    behind_macros(quoit, "macros_of_others.hpp")


def headers_define_no_macro_but_their_own(quoit):
    unit = quoit.write("macros.cpp", "#include <quoit.hpp>\n")
    said = quoit.compile("-E", "-dD", unit, *quoit.pkg_config("--cflags"))
    inside = False
    odd = set()
    for line in said.splitlines():
        place = re.match(r'# \d+ "([^"]*)"', line)
        if place:
            inside = place[1].startswith(os.path.join(quoit.include_folder, "quoit"))
        defined = re.match(r"#define (\w+)", line)
        if inside and defined and not defined[1].startswith("QUOIT_"):
            odd.add(defined[1])
    if odd:
        raise RuntimeError("macros of the headers that do not begin with QUOIT_: " + " ".join(sorted(odd)))


def a_program_with_many_warnings_compiles(quoit):
    # Without -isystem, which would keep the compiler from saying anything of the headers.
    warnings = EVERYTHING if is_clang else MANY
    for optimization in ("-O0", "-O2"):
        output = os.path.join(quoit.scratch, "warned.o")
        quoit.compile(optimization, *warnings, "-c", program_source, "-o", output, *quoit.pkg_config("--cflags"))


def other_ways_to_compile(quoit):
    cflags = quoit.pkg_config("--cflags")

    def compile_one(_, options):
        standard, *more = options.split()
        quoit.compile(*more, "-fsyntax-only", program_source, *cflags, standard=standard)

    ways = ["gnu++20", "c++23", "gnu++23", "c++20 -fno-rtti", "c++20 -fno-char8_t", "c++20 -funsigned-char"]
    ways += ["c++20 -U_FILE_OFFSET_BITS", "c++20 -D_FILE_OFFSET_BITS=64", "c++20 -D_GNU_SOURCE", "c++20 -fvisibility=hidden"]
    ways += ["c++20 -D_GLIBCXX_ASSERTIONS", "c++20 -DNDEBUG"]
    at_once(quoit, [way for way in ways if takes(quoit, "-std=" + way.split()[0])], compile_one)


def takes(quoit, option):
    try:
        run(*compiler, option, "-fsyntax-only", quoit.write("empty.cpp", ""))
    except RuntimeError:
        return False
    return True


def two_translation_units_include_everything(quoit):
    everything = "".join(f"#include <{header}>\n" for header in sorted(quoit.headers()) if header.startswith("quoit"))
    second = quoit.write("second.cpp", everything + "int second() { return quoit::library_version(); }\n")
    first = quoit.write("first.cpp", everything + "int second();\nint main() { return second() == QUOIT_VERSION ? 0 : 1; }\n")
    program = os.path.join(quoit.scratch, "two")
    # GCC compares the definitions of both where it links with -flto.
    compared = [] if is_clang else ["-flto=auto", "-Wodr", "-Wlto-type-mismatch", "-fno-fat-lto-objects"]
    linked = quoit.pkg_config("--cflags", *(["--static"] if libraries == "static" else []), "--libs")
    quoit.compile("-O1", *compared, first, second, "-o", program, *linked)
    library = os.path.dirname(installed.find(quoit.root, "libquoit.a" if libraries == "static" else "libquoit.so"))
    run(program, environment={"LD_LIBRARY_PATH": library})


def waiting_for_nobody_is_refused_in_words(quoit):
    text = "#include <quoit.hpp>\nauto f(quoit::bus& bus) { return bus.wait_any(std::chrono::seconds(1)); }\n"
    source = quoit.write("nobody.cpp", text)
    said = run(*compiler, "-std=c++20", "-fsyntax-only", source, *quoit.pkg_config("--cflags"), fails=True)
    if "give it at least one" not in said:
        raise RuntimeError("refused in other words:\n" + said)


CASES = (
    each_header_compiles_alone,
    each_header_refuses_in_one_sentence_what_it_cannot_be_compiled_as,
    headers_compile_behind_the_keywords_of_qt,
    headers_compile_behind_macros_of_x11_and_the_system,
    headers_define_no_macro_but_their_own,
    a_program_with_many_warnings_compiles,
    other_ways_to_compile,
    two_translation_units_include_everything,
    waiting_for_nobody_is_refused_in_words,
)

sys.exit(installed.main(CASES, build, compiler))
