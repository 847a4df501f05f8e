#!/usr/bin/env python3
"""quoit topic info, verify, repair and echo, run as a user runs them on topics on disk: what they print, their exit statuses,
and what they change. Arguments: the command, then the program that keeps messages (keep.cpp).
"""

import glob
import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
import unittest

QUOIT = sys.argv[1]
KEEP = sys.argv[2]
HANGS_AFTER_S = 120
BEGUN_SEGMENT = 296  # offset in the file of a lane (docs/format/segment.md)
SCRATCH = os.environ.get("QUOIT_TEST_DIR", "/var/tmp")


def run(*arguments, **more):
    return subprocess.run(
        [QUOIT, *arguments], **{"capture_output": True, "text": True, "timeout": HANGS_AFTER_S, "stdin": subprocess.DEVNULL, **more}
    )


class Kept(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="quoit-test-", dir=SCRATCH)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def keep(self, topic, publisher, kind="text", count=2000, hold=False):
        child = subprocess.Popen(
            [KEEP, self.directory, topic, publisher, kind, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.assertEqual(child.stdout.readline(), "ready\n")

        def end():
            child.stdin.close()
            self.assertEqual(child.wait(HANGS_AFTER_S), 0)
            child.stdout.close()

        return child, end if hold else end()

    def lane(self, topic, publisher):
        return os.path.join(self.directory, topic.replace("/", "+"), publisher)

    def flip(self, path, at):
        with open(path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 4]))

    def answers(self, *arguments, status=0):
        done = run(*arguments, "--json")
        self.assertEqual(done.returncode, status, done)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def everything(self):
        files = {}
        for path in glob.glob(self.directory + "/**", recursive=True):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    files[path] = file.read()
        return files

    # ---- info ----------------------------------------------------------------------------------------------

    def test_info_has_each_publisher_of_each_topic(self):
        self.keep("market/quotes", "nyse")
        self.keep("market/quotes", "xetra", count=10)
        self.keep("blobs", "0", kind="bytes", count=0)
        blobs, quotes = self.answers("topic", "info", self.directory)
        self.assertEqual(quotes["topic"], "market/quotes")
        self.assertEqual(quotes["type"], "text")
        nyse, xetra = quotes["publishers"]
        self.assertEqual((nyse["publisher"], nyse["messages"], nyse["first_sequence"]), ("nyse", 2000, 0))
        self.assertEqual((xetra["messages"], xetra["next_sequence"], xetra["held"]), (10, 10, False))
        self.assertGreater(nyse["first_time_ns"], 0)
        self.assertLessEqual(nyse["first_time_ns"], nyse["last_time_ns"])
        self.assertGreaterEqual(nyse["disk_bytes"], 2 * 65536)
        self.assertEqual(blobs["publishers"][0]["messages"], 0)
        self.assertEqual(blobs["publishers"][0]["first_time_ns"], 0)
        table = run("topic", "info", self.directory).stdout
        for words in ("market/quotes", "xetra", "0..1999", "blobs", "KiB"):
            self.assertIn(words, table)
        (only,) = self.answers("topic", "info", self.directory, "blobs")
        self.assertEqual(only["topic"], "blobs")

    def test_info_names_the_process_that_writes(self):
        child, end = self.keep("t", "live", hold=True)
        (topic,) = self.answers("topic", "info", self.directory)
        end()
        self.assertEqual((topic["publishers"][0]["held"], topic["publishers"][0]["pid"]), (True, child.pid))

    def test_a_place_without_topics_is_said(self):
        done = run("topic", "info", self.directory)
        self.assertEqual((done.returncode, done.stdout), (0, f"no topics in {self.directory}\n"))
        self.keep("t", "0")
        for arguments, words in (
            (["info", "/no/such/place"], "/no/such/place"),
            (["info", self.directory, "other"], "other"),
            (["verify", self.directory, "other"], "other"),
            (["verify", self.directory, "t", "--publisher", "nobody"], "nobody"),
            (["repair", self.directory, "other"], "other"),
            (["info", self.lane("t", "")], "name the one above"),
            (["verify", self.lane("t", "0")], "name the one above"),
        ):
            done = run("topic", *arguments)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_wrong_usage_exits_with_2(self):
        self.keep("t", "0")
        for arguments in (
            ["topic", "info"],
            ["topic", "verify"],
            ["topic", "repair"],
            ["topic", "verify", self.directory, "no topic"],
            ["topic", "verify", self.directory, "t", "--publisher", "../0"],
            ["topic", "repair", self.directory, "t", "--nonsense"],
        ):
            self.assertEqual(run(*arguments).returncode, 2, arguments)

    # ---- verify --------------------------------------------------------------------------------------------

    def test_verify_of_what_is_whole(self):
        self.keep("market/quotes", "nyse")
        self.keep("market/quotes", "xetra", count=10)
        before = self.everything()
        nyse, xetra = self.answers("topic", "verify", self.directory)
        self.assertTrue(nyse["whole"])
        self.assertEqual((nyse["messages"], nyse["durable_sequence"], nyse["missing"]), (2000, 2000, 0))
        self.assertEqual(xetra["message_bytes"], sum(len(f"message {n}") for n in range(10)))
        done = run("topic", "verify", self.directory, "market/quotes", "--publisher", "nyse")
        self.assertEqual(done.returncode, 0)
        self.assertIn("whole", done.stdout)
        self.assertNotIn("xetra", done.stdout)
        self.assertEqual(self.everything(), before)

    def test_verify_of_a_lane_that_is_being_written(self):
        _, end = self.keep("t", "live", hold=True)
        (live,) = self.answers("topic", "verify", self.directory)
        end()
        self.assertEqual((live["held"], live["whole"], live["messages"]), (True, True, 2000))

    def test_verify_names_a_flipped_bit_and_exits_with_1(self):
        self.keep("t", "a")
        self.keep("t", "b")
        path = self.lane("t", "b") + "/000000000001.seg"
        self.flip(path, 20000)
        before = self.everything()
        a, b = self.answers("topic", "verify", self.directory, status=1)
        self.assertTrue(a["whole"])
        self.assertFalse(b["whole"])
        fault = b["faults"][0]
        self.assertEqual(fault["path"], path)
        self.assertLess(fault["byte"], 20001)
        self.assertGreater(fault["byte"], 19000)
        self.assertGreater(fault["sequence"], 0)
        done = run("topic", "verify", self.directory)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"fault: {path} at byte {fault['byte']} (sequence {fault['sequence']})", done.stdout)
        self.assertIn("topic repair --dry-run", done.stderr)
        self.assertEqual(self.everything(), before)

    # ---- repair --------------------------------------------------------------------------------------------

    def test_repair_says_what_it_would_do_and_changes_nothing_before_it_is_told(self):
        self.keep("t", "a")
        self.keep("t", "b")
        self.flip(self.lane("t", "b") + "/000000000001.seg", 20000)
        before = self.everything()
        for arguments, status in ((["--dry-run"], 0), ([], 1), (["--dry-run", "--json"], 0)):
            done = run("topic", "repair", self.directory, *arguments)
            self.assertEqual(done.returncode, status, done)
            self.assertIn("a frame's check is wrong", done.stdout)
            self.assertEqual(self.everything(), before)
        self.assertIn("would be cut", run("topic", "repair", self.directory).stdout)
        self.assertIn("--yes", run("topic", "repair", self.directory).stderr)

        a, b = self.answers("topic", "repair", self.directory, "--dry-run")
        self.assertEqual((a["cuts"], a["repaired"], b["repaired"]), ([], False, False))
        self.assertEqual(len(b["cuts"]), 1)

    def test_repair_cuts_the_rest_of_one_segment_and_says_so(self):
        self.keep("t", "a")
        self.keep("t", "b")
        self.flip(self.lane("t", "b") + "/000000000001.seg", 20000)
        (plan,) = self.answers("topic", "repair", self.directory, "t", "--lane", "b", "--dry-run")
        a, b = self.answers("topic", "repair", self.directory, "--yes")
        self.assertFalse(a["repaired"])
        self.assertTrue(b["repaired"])
        self.assertEqual({**b, "repaired": False}, plan)
        a, b = self.answers("topic", "verify", self.directory)
        self.assertTrue(a["whole"] and b["whole"])
        self.assertEqual(a["messages"], 2000)
        self.assertEqual(b["messages"], plan["messages"])
        self.assertEqual(b["messages"] + b["missing"], 2000)
        done = run("topic", "repair", self.directory)
        self.assertEqual((done.returncode, done.stdout.count("whole, nothing to do")), (0, 2))

    def test_repair_asks_on_a_terminal(self):
        self.keep("t", "0")
        self.flip(self.lane("t", "0") + "/000000000001.seg", 20000)
        for answer, status, whole in (("n", 1, False), ("y", 0, True)):
            ours, theirs = pty.openpty()
            os.write(ours, answer.encode() + b"\n")
            done = run("topic", "repair", self.directory, stdin=theirs)
            os.close(ours)
            os.close(theirs)
            self.assertEqual(done.returncode, status, done)
            self.assertIn("Repair?", done.stderr)
            self.assertEqual(run("topic", "verify", self.directory).returncode, 0 if whole else 1)

    def test_repair_leaves_a_lane_alone_that_is_being_written(self):
        child, end = self.keep("t", "live", hold=True)
        before = self.everything()
        done = run("topic", "repair", self.directory, "--yes")
        after = self.everything()
        end()
        # Its publisher may make segments ahead meanwhile, and note in its file to which one it came.
        for path, content in before.items():
            now = after.get(path, b"")
            if path.endswith("/lane"):
                content, now = (data[:BEGUN_SEGMENT] + data[BEGUN_SEGMENT + 8 :] for data in (content, now))
            self.assertTrue(content == now, path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"is being written by process {child.pid}", done.stderr)

    def test_what_a_killed_publisher_leaves_is_no_fault(self):
        child, end = self.keep("t", "0", hold=True)
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
        (lane,) = self.answers("topic", "verify", self.directory)
        self.assertTrue(lane["whole"])
        self.assertFalse(lane["held"])
        self.assertEqual(lane["messages"], 2000)

    def test_a_lost_file_of_a_lane_is_made_anew(self):
        self.keep("t", "0")
        os.unlink(self.lane("t", "0") + "/lane")
        (lane,) = self.answers("topic", "verify", self.directory, status=1)
        self.assertEqual(lane["messages"], 2000)
        self.assertIn("lane: is missing", lane["faults"][0]["words"])
        done = run("topic", "repair", self.directory, "--yes")
        self.assertEqual(done.returncode, 0)
        self.assertIn("put right", done.stdout)
        (lane,) = self.answers("topic", "verify", self.directory)
        self.assertTrue(lane["whole"])
        self.keep("t", "0", count=5)
        (lane,) = self.answers("topic", "verify", self.directory)
        self.assertEqual((lane["messages"], lane["whole"]), (2005, True))

    # ---- echo ----------------------------------------------------------------------------------------------

    def echo(self, *arguments):
        return self.answers("topic", "echo", self.directory, *arguments)

    def test_echo_prints_publisher_sequence_time_and_text(self):
        self.keep("t", "a", count=3)
        self.keep("t", "b", count=2)
        lines = run("topic", "echo", self.directory).stdout.splitlines()
        self.assertEqual(len(lines), 5)
        for line, start, end in zip(lines, ["a 0 ", "a 1 ", "a 2 ", "b 0 ", "b 1 "], ["0", "1", "2", "0", "1"]):
            self.assertTrue(line.startswith(start), line)
            self.assertRegex(line, r"^\w \d 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z message " + end + "$")
        self.assertEqual([m["text"] for m in self.echo("t", "--publisher", "b")], ["message 0", "message 1"])
        self.assertEqual(len(self.echo("t", "--count", "4")), 4)

    def test_echo_prints_bytes_as_xxd_does_and_fields_by_name(self):
        self.keep("raw", "0", kind="bytes", count=300)
        done = run("topic", "echo", self.directory, "raw", "--from", "sequence:299")
        self.assertIn(" 2 bytes\n00000000: 2b01                                     +.\n", done.stdout)
        self.keep("struct", "0", kind="fields", count=2)
        done = run("topic", "echo", self.directory, "struct", "--from", "last:1")
        self.assertTrue(done.stdout.endswith("Z n=1 name=AB\\n\n"), done.stdout)
        self.assertEqual(self.echo("struct")[1]["fields"], {"n": 1, "name": "AB\n"})
        done = run("topic", "echo", self.directory, "struct", "--from", "last:1", "--hex")
        self.assertIn("00000000: 0100 0000 4142 0a00                      ....AB..", done.stdout)

    def test_echo_begins_where_it_is_told(self):
        self.keep("t", "a", count=100)
        self.keep("t", "b", count=100)
        all_of_them = self.echo("t")
        self.assertEqual(len(all_of_them), 200)
        self.assertEqual(self.echo("t", "--from", "earliest"), all_of_them)
        self.assertEqual(self.echo("t", "--from", "latest"), [])
        self.assertEqual([m["sequence"] for m in self.echo("t", "--from", "last:2")], [98, 99, 98, 99])
        self.assertEqual([m["sequence"] for m in self.echo("t", "--from", "sequence:99")], [99, 99])
        self.assertEqual(self.echo("t", "--from", "time:-1h"), all_of_them)
        for before_1970 in ("1969-12-31T23:59:59Z", "1970-01-01T00:30:00+01:00", "1700-01-01T00:00:00Z"):
            self.assertEqual(self.echo("t", "--from", "time:" + before_1970), all_of_them)
        self.assertEqual(self.echo("t", "--from", "time:-0s"), [])
        some = all_of_them[150]
        self.assertEqual(self.echo("t", "--from", "time:" + some["time"])[0]["time_ns"], some["time_ns"])
        east = some["time"].replace("Z", "+00:00")
        self.assertEqual(self.echo("t", "--from", "time:" + east)[0]["time_ns"], some["time_ns"])
        at = self.echo("t", "--from", "cursor:a:98,b:99")
        self.assertEqual([(m["publisher"], m["sequence"]) for m in at], [("a", 98), ("a", 99), ("b", 99)])

    def test_echo_of_a_wrong_start_says_what_is_allowed(self):
        self.keep("t", "a", count=1)
        for start in ("first", "last:", "last:x", "last:-1", "sequence:1x", "time:", "time:yesterday", "time:-5",
                      "time:2026-13-01T00:00:00Z", "time:2026-02-30T00:00:00Z", "time:2026-01-01T00:00:00",
                      "time:2026-01-01T25:00:00Z", "cursor:???"):  # fmt: skip
            done = run("topic", "echo", self.directory, "t", f"--from={start}")
            self.assertEqual(done.returncode, 2, (start, done))
            for words in ("earliest", "last:N", "sequence:N", "time:T", "-10m", "cursor:TEXT"):
                self.assertIn(words, done.stderr)

    def test_echo_asks_which_topic_is_meant(self):
        self.assertEqual(run("topic", "echo", self.directory).returncode, 1)
        self.keep("one", "0", count=1)
        self.keep("two", "0", count=1)
        done = run("topic", "echo", self.directory)
        self.assertEqual(done.returncode, 2)
        self.assertIn("one two", done.stderr)
        for arguments in (["three"], ["one", "--publisher", "nobody"]):
            self.assertEqual(run("topic", "echo", self.directory, *arguments).returncode, 1, arguments)

    def test_echo_follows_what_is_published_next(self):
        self.keep("t", "a", count=2)
        follower = subprocess.Popen(
            [QUOIT, "topic", "echo", self.directory, "t", "--follow", "--count", "4", "--json"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        first = [json.loads(follower.stdout.readline()) for _ in range(2)]
        self.keep("t", "b", count=1)
        self.keep("t", "a", count=1)
        rest = [json.loads(follower.stdout.readline()) for _ in range(2)]
        self.assertEqual(follower.wait(HANGS_AFTER_S), 0)
        follower.stdout.close()
        # At the live end messages of two publishers come as they are found.
        self.assertEqual([(m["publisher"], m["sequence"]) for m in first], [("a", 0), ("a", 1)])
        self.assertEqual(sorted((m["publisher"], m["sequence"]) for m in rest), [("a", 2), ("b", 0)])

    def test_echo_says_where_a_lane_is_damaged_and_goes_on_with_the_others(self):
        self.keep("t", "a")
        self.keep("t", "b")
        self.flip(self.lane("t", "a") + "/000000000001.seg", 64)
        done = run("topic", "echo", self.directory, "t", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("000000000001.seg", done.stderr)
        self.assertEqual({json.loads(line)["publisher"] for line in done.stdout.splitlines()}, {"b"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
