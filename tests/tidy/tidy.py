"""What the tidy tests share: a tree of sources to look at, and a check that each test can fail.

A test has a function check(tree) that returns a list of faults, and samples: small trees with the words that its
faults must hold, and small trees in which it must find none. main() runs the samples first and then the project, and
closes with `N passed, N failed, N skipped`: one case for the samples and one for the project.
"""

import os
import sys
import tempfile

SOURCE_FOLDERS = ("src", "include", "tests", "bench", "examples")


class Tree:
    """The text files below a folder, by their path from it."""

    def __init__(self, root):
        self.root = root
        self._texts = {}

    def paths(self, *folders, suffixes=(".hpp", ".cpp")):
        """Paths of the files below the folders, sorted; a folder that is not there has none."""
        found = []
        for folder in folders:
            for where, names, files in os.walk(os.path.join(self.root, folder)):
                names[:] = [name for name in names if not name.startswith((".", "build", "__pycache__"))]
                found += [os.path.relpath(os.path.join(where, f), self.root) for f in files if f.endswith(suffixes)]
        return sorted(found)

    def exists(self, path):
        return os.path.isfile(os.path.join(self.root, path))

    def text(self, path):
        if path not in self._texts:
            with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
                self._texts[path] = file.read()
        return self._texts[path]

    def lines(self, path):
        return self.text(path).splitlines()


def sample_fault(check, files, expected):
    """What is wrong with the check itself on one sample, or None."""
    with tempfile.TemporaryDirectory(prefix="quoit-tidy-") as root:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        faults = check(Tree(root))
    if expected is None:
        return f"finds a fault where there is none: {faults}" if faults else None
    if len(faults) != 1 or expected not in faults[0]:
        return f"expected one fault with '{expected}', found {faults}"
    return None


def main(check, bad, good, notes=None):
    """bad: (name, files, words of the only fault); good: (name, files); notes: what is worth a look and no fault."""
    root = os.environ.get("QUOIT_SOURCE_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    samples = [(name, files, words) for name, files, words in bad] + [(name, files, None) for name, files in good]
    self_faults = []
    for name, files, expected in samples:
        fault = sample_fault(check, files, expected)
        if fault is not None:
            self_faults.append(f"self-check '{name}': {fault}")
    tree = Tree(os.path.abspath(root))
    for note in notes(tree) if notes else ():
        print(f"note: {note}")
    faults = check(tree)
    for fault in self_faults + faults:
        print(f"FAULT: {fault}")
    failed = bool(self_faults) + bool(faults)
    print(f"{2 - failed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)
