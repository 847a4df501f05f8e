#!/usr/bin/env python3
"""market_replay as a user runs it, on a session of some megabytes: recorded, replayed, and damaged. Argument: the
program.
"""

import glob
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv[1]
HANGS_AFTER_S = 120


class MarketReplay(unittest.TestCase):
    def setUp(self):
        scratch = os.environ.get("QUOIT_TEST_DIR", "/var/tmp")
        self.directory = tempfile.mkdtemp(prefix="quoit-test-", dir=scratch)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.bus = f"t{os.getpid()}-{secrets.token_hex(3)}"
        self.addCleanup(lambda: self.assertEqual(glob.glob(f"/dev/shm/quoit.{self.bus}*"), []))

    def run_program(self, *arguments, status=0):
        done = subprocess.run(
            [PROGRAM, *arguments, self.directory], env={**os.environ, "QUOIT_BUS": self.bus}, capture_output=True,
            text=True, timeout=HANGS_AFTER_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, done)
        return done

    def record(self, size):
        said = self.run_program("--bytes", str(size), "record").stdout
        return int(re.search(r"recorded (\d+) messages", said)[1])

    def test_what_was_recorded_is_replayed_whole(self):
        messages = self.record(5_000_000)
        self.assertGreater(messages, 5_000_000 / 72)
        said = self.run_program("replay").stdout
        self.assertIn(f"replayed {messages} messages", said)
        self.assertIn("checksums of 8 publishers are right", said)
        bars = [line.split() for line in said.splitlines() if re.match(r"[A-Z]{3,4} ", line)]
        self.assertEqual(len(bars), 8)
        for _, opened, high, low, closed, volume, vwap, trades, spread in bars:
            self.assertLessEqual(float(low), min(float(opened), float(closed)))
            self.assertGreaterEqual(float(high), max(float(opened), float(closed)))
            self.assertTrue(float(low) <= float(vwap) <= float(high))
            self.assertGreater(int(volume), int(trades))
            self.assertTrue(0.02 <= float(spread) <= 0.04)

    def test_the_pace_of_the_market_is_kept(self):
        said = self.run_program("--bytes", "100000", "record").stdout
        market_s = float(re.search(r"messages of ([0-9.]+) s of a market", said)[1])
        said = self.run_program("--speed", "0.5x", "replay").stdout
        took_s = float(re.search(r"messages in ([0-9.]+) s", said)[1])
        # The last event is where the market's clock ends, at half the speed; what is printed is rounded.
        self.assertGreaterEqual(took_s, 2 * market_s - 0.2)

    def test_a_second_recording_in_one_place_is_refused(self):
        self.record(10_000)
        self.assertIn("has a recording already", self.run_program("--bytes", "1", "record", status=1).stderr)

    def test_what_was_changed_is_not_replayed_as_if_it_was_whole(self):
        self.record(100_000)
        path = self.directory + "/market+quotes/XNAS/000000000001.seg"
        with open(path, "r+b") as file:
            whole = file.read()
            at = whole.index(b"NVDA")
            file.seek(at)
            file.write(b"NVDB")
        self.assertIn("is not what was recorded", self.run_program("replay", status=1).stderr)

    def test_wrong_usage_exits_with_2(self):
        self.run_program("nonsense", status=2)
        self.run_program("--speed", "fast", "replay", status=2)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
