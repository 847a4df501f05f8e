#!/usr/bin/env python3
"""Runs several programs at the same time and checks that each ends well.

usage: run_together.py [--timeout S] [--expect PROGRAM_INDEX TEXT] [--same FILE FILE...] -- PROGRAM ARG... [-- PROGRAM ARG...]...

They are started in the order given, without waiting in between. In arguments, {bus} is a bus name that nobody else
has and {tmp} a folder that is removed at the end; QUOIT_BUS is set to the bus. The test fails if a program fails or is
still there after the timeout, if TEXT is not in the output of the program with that index (from 0), if the files after
--same (a list that ends at the next option) differ, or if anything of the bus is left in /dev/shm.
"""

import argparse
import filecmp
import glob
import os
import secrets
import subprocess
import sys
import tempfile
import time


def split_programs(arguments):
    groups = [[]]
    for argument in arguments:
        if argument == "--":
            groups.append([])
        else:
            groups[-1].append(argument)
    return groups[0], [group for group in groups[1:] if group]


def run(programs, timeout_s, environment):
    """Runs all; returns their exit statuses (None: had to be killed) and outputs."""
    outputs = [tempfile.TemporaryFile(mode="w+", errors="replace") for _ in programs]
    children = [
        subprocess.Popen(p, stdin=subprocess.DEVNULL, stdout=o, stderr=subprocess.STDOUT, env=environment)
        for p, o in zip(programs, outputs)
    ]
    deadline = time.monotonic() + timeout_s
    statuses = []
    for child in children:
        try:
            statuses.append(child.wait(max(0.1, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            statuses.append(None)
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()
    texts = []
    for output in outputs:
        output.seek(0)
        texts.append(output.read())
        output.close()
    return statuses, texts


def main():
    own, programs = split_programs(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("--expect", nargs=2, action="append", default=[])
    parser.add_argument("--same", nargs="+", action="append", default=[])
    options = parser.parse_args(own)
    if not programs:
        parser.error("no program to run")

    bus = f"t{os.getpid()}-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="quoit-test-") as folder:

        def fill(text):
            return text.replace("{bus}", bus).replace("{tmp}", folder)

        programs = [[fill(argument) for argument in program] for program in programs]
        statuses, outputs = run(programs, options.timeout, {**os.environ, "QUOIT_BUS": bus})

        faults = []
        for program, status in zip(programs, statuses):
            if status is None:
                faults.append(f"{program[0]} was still running after {options.timeout:g} s and was killed")
            elif status != 0:
                faults.append(f"{program[0]} ended with status {status}")
        for index, text in options.expect:
            if fill(text) not in outputs[int(index)]:
                faults.append(f"the output of {programs[int(index)][0]} does not hold: {fill(text)}")
        for files in options.same:
            first, *others = [fill(file) for file in files]
            for other in others:
                if not (os.path.exists(first) and os.path.exists(other) and filecmp.cmp(first, other, shallow=False)):
                    faults.append(f"{first} and {other} are not the same")

    left = glob.glob(f"/dev/shm/quoit.{bus}") + glob.glob(f"/dev/shm/quoit.{bus}[.@]*")
    if left:
        faults.append("left in /dev/shm: " + " ".join(sorted(left)))
        for path in left:
            os.unlink(path)

    for program, output in zip(programs, outputs):
        print(f"--- {' '.join(program)}\n{output.rstrip()}")
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
