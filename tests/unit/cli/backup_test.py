#!/usr/bin/env python3
"""The commands that docs/topics-on-disk.md has for a backup, run while a publisher writes. Arguments: that page, the
command quoit, and the program that publishes and reads.
"""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PAGE, QUOIT, LIVE = sys.argv[1:]
HANGS_AFTER_S = 120


def documented_commands():
    with open(PAGE, encoding="utf-8") as page:
        section = page.read().split("## A backup\n")[1].split("\n## ")[0]
    return re.search(r"```sh\n(.*?)```", section, re.S).group(1)


class Backup(unittest.TestCase):
    def setUp(self):
        scratch = os.environ.get("QUOIT_TEST_DIR", "/var/tmp")
        self.directory = tempfile.mkdtemp(prefix="quoit-test-", dir=scratch)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        path = os.path.dirname(os.path.abspath(QUOIT)) + ":" + os.environ["PATH"]
        self.environment = {**os.environ, "PATH": path, "QUOIT_BUS": f"t{os.getpid()}-{secrets.token_hex(3)}"}
        self.topic = os.path.join(self.directory, "live")

    def environment_of(self, bus):
        return {**self.environment, "QUOIT_BUS": self.environment["QUOIT_BUS"] + bus}

    def run_program(self, *command, status=0, bus=""):
        done = subprocess.run(
            command, env=self.environment_of(bus), capture_output=True, text=True, timeout=HANGS_AFTER_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, done)
        return done.stdout

    def copy(self, to):
        commands = documented_commands()
        for literal, real in (("/var/lib/market", self.topic), ("/backup/market", to)):
            self.assertIn(literal, commands)
            commands = commands.replace(literal, real)
        self.run_program("sh", "-euc", commands)

    def test_a_copy_that_is_made_as_documented_while_a_publisher_writes_is_whole_and_goes_on(self):
        writer = subprocess.Popen([LIVE, "write", self.topic, "100000000"], env=self.environment, stdout=subprocess.PIPE, text=True)
        self.addCleanup(writer.stdout.close)
        self.addCleanup(writer.wait)
        self.addCleanup(writer.kill)
        for n in range(5):
            # Some segments, and then all of the time.
            for _ in range(30):
                flushed = int(writer.stdout.readline())
            to = os.path.join(self.directory, f"backup{n}")
            reading = subprocess.Popen(["cat"], stdin=writer.stdout, stdout=subprocess.DEVNULL)
            self.copy(to)
            reading.send_signal(signal.SIGTERM)
            reading.wait()
            self.run_program(QUOIT, "topic", "verify", to)
            first, end, resumed = (int(word) for word in self.run_program(LIVE, "read", to, bus="-copy").split())
            self.assertLess(first, end)
            self.assertGreaterEqual(end, flushed)
            self.assertLessEqual(resumed, end)
            self.assertGreater(resumed, 0)
            self.run_program(LIVE, "write", to, "500", bus="-copy")
            self.run_program(QUOIT, "topic", "verify", to)
            self.assertEqual(int(self.run_program(LIVE, "read", to, bus="-copy").split()[1]), end + 500)
        self.assertIsNone(writer.poll())

    def test_a_copy_without_the_lanes_file_is_an_error_that_names_it_until_it_is_repaired(self):
        self.run_program(LIVE, "write", self.topic, "2000")
        lane = os.path.join(self.topic, "market+quotes", "a", "lane")
        os.unlink(lane)
        for command in (("echo", "--from", "earliest"), ("verify",)):
            done = subprocess.run(
                [QUOIT, "topic", command[0], self.topic, *command[1:]], env=self.environment, capture_output=True,
                text=True, timeout=HANGS_AFTER_S,
            )  # fmt: skip
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("/a/lane", done.stdout + done.stderr)
        self.run_program(LIVE, "read", self.topic, status=1)
        self.run_program(QUOIT, "topic", "repair", "--yes", self.topic)
        self.run_program(QUOIT, "topic", "verify", self.topic)
        self.assertEqual(self.run_program(LIVE, "read", self.topic).split()[:2], ["0", "2000"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
