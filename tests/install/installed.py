"""quoit installed into a folder of its own, and a compiler that builds users' programs against it."""

import os
import subprocess
import sys
import tempfile
import traceback


def run(*command, environment=None, fails=False, folder=None):
    """The output of a command that ends well, or, with `fails`, of one that does not; else RuntimeError."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        cwd=folder,
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

    def __init__(self, build, compiler, root, scratch):
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", root)
        self.build = build
        self.compiler = compiler
        self.root = root
        self.scratch = scratch
        self.config_folder = os.path.dirname(find(root, "quoit-config.cmake"))
        self.pc_folder = os.path.dirname(find(root, "quoit.pc"))
        self.include_folder = os.path.dirname(os.path.dirname(os.path.dirname(find(root, "config.hpp"))))

    def pkg_config(self, *arguments):
        environment = {"PKG_CONFIG_PATH": self.pc_folder, "PKG_CONFIG_SYSROOT_DIR": self.root}
        return run("pkg-config", *arguments, "quoit", environment=environment).split()

    def compile(self, *arguments, standard="c++20", fails=False):
        warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        return run(*self.compiler, f"-std={standard}", *warnings, *arguments, fails=fails)

    def headers(self):
        """The paths of all public headers, as a program names them."""
        for where, _, files in os.walk(self.include_folder):
            for file in sorted(files):
                yield os.path.relpath(os.path.join(where, file), self.include_folder)

    def write(self, name, text):
        path = os.path.join(self.scratch, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def main(cases, build, compiler):
    failed = 0
    with tempfile.TemporaryDirectory(prefix="quoit-install-") as folder:
        scratch = os.path.join(folder, "scratch")
        os.mkdir(scratch)
        quoit = Installed(build, compiler, os.path.join(folder, "root"), scratch)
        for case in cases:
            try:
                case(quoit)
            except RuntimeError as error:
                failed += 1
                print(f"FAULT: {case.__name__}: {error}")
            except Exception:
                failed += 1
                print(f"FAULT: {case.__name__}:")
                traceback.print_exc(file=sys.stdout)
    print(f"{len(cases) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0
