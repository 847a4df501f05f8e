#!/usr/bin/env python3
"""docs/format says what the files are: its tables against the compiler, and a reader written from it against a live bus.

Arguments: the programs `offsets`, `publish` and `append`.
"""

import glob
import os
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import read_lane  # noqa: E402
import read_segments  # noqa: E402

OFFSETS, PUBLISH, APPEND = sys.argv[1:4]
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BUS = f"t-format-{os.getpid()}"


def documented():
    """`struct field offset bytes` of every table."""
    found = set()
    for path in glob.glob(os.path.join(ROOT, "docs", "format", "*.md")):
        struct_name = None
        for line in open(path, encoding="utf-8"):
            if heading := re.match(r"### (\w+)(?:, (\d+) bytes)?$", line):
                struct_name = heading[1]
                if heading[2]:
                    found.add((struct_name, "-", 0, int(heading[2])))
            elif row := re.match(r"\| (\d+) \| (\d+) \| `(\w+)` \|", line):
                found.add((struct_name, row[3], int(row[1]), int(row[2])))
    return found


class Format(unittest.TestCase):
    def test_the_tables_are_what_the_compiler_has(self):
        lines = subprocess.run([OFFSETS], capture_output=True, text=True, check=True).stdout.split("\n")
        compiled = {(t, f, int(o), int(b)) for t, f, o, b in (line.split() for line in lines if line)}
        self.assertGreater(len(compiled), 60)
        self.assertEqual(documented(), compiled)

    def test_a_reader_written_from_the_pages_reads_a_live_bus(self):
        with subprocess.Popen([PUBLISH, BUS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
            try:
                self.assertEqual(publisher.stdout.readline(), "ready\n")
                self.check_listing(publisher.pid)
                self.check_fixed()
                self.check_words()
            finally:
                publisher.stdin.close()
                self.assertEqual(publisher.wait(timeout=60), 0)
        self.assertEqual(glob.glob(f"/dev/shm/quoit.{BUS}*"), [])

    def check_listing(self, pid):
        self.assertEqual([(n["pid"], n["name"]) for n in read_lane.nodes(BUS)], [(pid, "format test")])
        self.assertEqual(list(read_lane.topics(BUS)), ["fixed/readings", "words"])
        fixed = read_lane.topic(BUS, "/fixed/readings")
        self.assertEqual(fixed["bytes"], 16)
        self.assertEqual(fixed["fields"], "number:u32@0 kind:u16[2]@4 value:f64@8")
        self.assertEqual(len(fixed["publishers"]), 1)
        self.assertEqual(fixed["subscriptions"], [])
        self.assertEqual([s["number"] for s in read_lane.topic(BUS, "words")["subscriptions"]], [0])

    def check_fixed(self):
        lane = read_lane.Lane(BUS, "fixed/readings", read_lane.topic(BUS, "fixed/readings")["publishers"][0]["lane"])
        messages = lane.messages()
        self.assertGreater(len(messages), 100)
        for sequence, stamp, payload in messages:
            number, kind, one, value = struct.unpack("<IHHd", payload)
            self.assertEqual((number, kind, one, value, stamp), (sequence, sequence % 7, 1, sequence / 2, 0))
        sequences = [m[0] for m in messages]
        self.assertEqual(sequences, [n for n in range(sequences[0], 1000) if n % 10 != 9])

    def check_words(self):
        lane = read_lane.Lane(BUS, "words", read_lane.topic(BUS, "words")["publishers"][0]["lane"])
        messages = lane.messages()
        self.assertGreater(len(messages), 20)
        before = 0
        for sequence, stamp, payload in messages:
            self.assertEqual(payload, bytes([ord("a") + sequence % 26]) * (sequence % 200))
            self.assertGreaterEqual(stamp, before)
            before = stamp
        # The loan that is still open hides what came after it.
        self.assertEqual([m[0] for m in messages], list(range(messages[0][0], 300)))

    def test_a_reader_written_from_the_page_reads_a_lane_on_disk(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            subprocess.run([APPEND, directory], check=True)
            for name in ("plain", "aligned", "set"):
                lane = os.path.join(directory, "format+test", name)
                before, expected = 0, [n for n in range(600) if n % 7 != 6]
                for sequence, stamp, payload in read_segments.messages(lane):
                    self.assertEqual(sequence, expected.pop(0))
                    size = sequence * 3 % 200
                    size = size // 2 if sequence % 11 == 10 else size
                    self.assertEqual(payload, bytes([ord("a") + sequence % 26]) * size)
                    if name == "set" and sequence == 301:
                        self.assertLess(stamp, before)
                    else:
                        self.assertGreaterEqual(stamp, before)
                    before = stamp
                self.assertEqual(expected, [])
                self.assertTrue(read_segments.Segment(lane, "000000000001.seg").index())
                records = read_segments.Lane(lane)
                last = max(name for name in os.listdir(lane) if name.endswith(".seg"))
                self.assertEqual(records.begun, int(last.split(".")[0]))
                self.assertEqual(records.end[1], 600)
                self.assertGreater(records.limit, 600)
                self.assertEqual(records.home[0], os.stat(os.path.join(lane, "lane")).st_ino)
            clocks = [read_segments.Segment(lane, f"00000000000{n}.seg").clock for n in (1, 2)]
            self.assertEqual([first for _, _, first, _, _ in clocks], [1, 2])
            self.assertAlmostEqual(clocks[0][0] - clocks[1][0], 3600e9, delta=1e6)
            self.assertGreater(clocks[1][4], clocks[1][3])

    def test_that_reader_finds_any_bit_that_was_flipped_in_what_was_written(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            subprocess.run([APPEND, directory], check=True)
            lane = os.path.join(directory, "format+test", "plain")
            path = os.path.join(lane, "000000000001.seg")
            with open(path, "rb") as file:
                whole = file.read()
            begin = read_segments.Segment(lane, "000000000001.seg").data_offset
            for at in [70, 300, 2432, 2470, 2476, 2490, 2505, 2530, *range(begin, begin + 30000, 1013)]:
                flipped = bytearray(whole)
                flipped[at] ^= 1 << at % 8
                with open(path, "wb") as file:
                    file.write(flipped)
                with self.assertRaises(read_segments.Corrupt, msg=f"at {at}"):
                    list(read_segments.messages(lane))


result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(unittest.defaultTestLoader.loadTestsFromTestCase(Format))
bad = len(result.failures) + len(result.errors)
print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
sys.exit(1 if bad else 0)
