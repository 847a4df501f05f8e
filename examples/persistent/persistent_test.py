#!/usr/bin/env python3
"""The two programs of this example as a user runs them: publish, stop, publish on, replay from any place, live, and by a
name that is remembered. Arguments: publisher, subscriber, and the command quoit if it was built.
"""

import glob
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

PUBLISHER, SUBSCRIBER, *QUOIT = sys.argv[1:]
HANGS_AFTER_S = 120


class Persistent(unittest.TestCase):
    def setUp(self):
        scratch = os.environ.get("QUOIT_TEST_DIR", "/var/tmp")
        self.directory = tempfile.mkdtemp(prefix="quoit-test-", dir=scratch)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.bus = f"t{os.getpid()}-{secrets.token_hex(3)}"
        self.environment = {**os.environ, "QUOIT_BUS": self.bus}

    def tearDown(self):
        left = glob.glob(f"/dev/shm/quoit.{self.bus}*")
        for path in left:
            os.unlink(path)
        self.assertEqual(left, [])

    def run_program(self, program, *arguments, status=0):
        done = subprocess.run(
            [program, *arguments, self.directory], env=self.environment, capture_output=True, text=True,
            timeout=HANGS_AFTER_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, done)
        return done.stdout

    def publish(self, count, *arguments):
        return self.run_program(PUBLISHER, "--count", str(count), "--interval-ms", "0", *arguments)

    def read(self, count, *arguments):
        lines = self.run_program(SUBSCRIBER, "--count", str(count), *arguments).splitlines()
        return [tuple(line.split()[:2]) for line in lines if " C" in line]

    def start(self, *command):
        return subprocess.Popen(
            [*command, self.directory], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def test_what_is_published_before_a_restart_and_after_it_is_one_stream(self):
        self.assertIn("published 20 readings, 20 in all", self.publish(20))
        said = self.publish(10)
        self.assertIn("sensor goes on at 20", said)
        self.assertIn("published 10 readings, 30 in all", said)
        self.assertEqual(self.read(30), [("sensor", str(n)) for n in range(30)])
        self.assertEqual(self.read(5, "--from", "last:5"), [("sensor", str(n)) for n in range(25, 30)])
        self.assertEqual(self.read(12, "--from", "sequence:18"), [("sensor", str(n)) for n in range(18, 30)])

    def test_a_replay_goes_on_live(self):
        self.publish(20)
        reader = self.start(SUBSCRIBER, "--count", "50")
        self.publish(30)
        output, _ = reader.communicate(timeout=HANGS_AFTER_S)
        self.assertEqual(reader.returncode, 0)
        numbers = [line.split()[1] for line in output.splitlines() if " C" in line]
        self.assertEqual(numbers, [str(n) for n in range(50)])
        self.assertIn(":50", output.splitlines()[-1])

    def test_a_named_subscription_goes_on_where_it_was(self):
        self.publish(20)
        self.assertEqual(len(self.read(8, "--subscription", "display")), 8)
        self.publish(5, "--name", "second")
        rest = self.read(17, "--subscription", "display")
        self.assertEqual([n for who, n in rest if who == "sensor"], [str(n) for n in range(8, 20)])
        self.assertEqual([n for who, n in rest if who == "second"], [str(n) for n in range(5)])

    def test_a_publisher_that_is_killed_loses_nothing(self):
        publisher = self.start(PUBLISHER, "--interval-ms", "1")
        self.assertEqual(len(self.read(50)), 50)
        publisher.send_signal(signal.SIGKILL)
        publisher.communicate()
        before = self.publish(1).splitlines()[0]
        kept = int(before.split()[-1])
        self.assertGreaterEqual(kept, 50)
        self.assertEqual(self.read(kept + 1), [("sensor", str(n)) for n in range(kept + 1)])

    @unittest.skipIf(not QUOIT, "the command was not built")
    def test_the_command_reads_and_verifies_it(self):
        self.publish(20)
        echo = subprocess.run(
            [*QUOIT, "topic", "echo", self.directory, "--from", "last:1"], capture_output=True, text=True, check=True
        ).stdout
        self.assertIn("number=19 celsius=12.94630", echo)
        subprocess.run([*QUOIT, "topic", "verify", self.directory], check=True, capture_output=True)

    def test_wrong_usage_exits_with_2(self):
        for program in (PUBLISHER, SUBSCRIBER):
            self.run_program(program, "--nonsense", status=2)
        self.run_program(SUBSCRIBER, "--from", "yesterday", status=2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
