#!/usr/bin/env python3
"""The quoit command and the floors, run as a user runs them: what they print, their exit statuses, and that nothing is
left of them, whichever of their processes is killed. Arguments: the command, the program that refuses io_uring, then the
programs of the floors.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

QUOIT = sys.argv[1]
WITHOUT = sys.argv[2]
APPEND_FLOOR = sys.argv[3]
FLOORS = sys.argv[4:]
HANGS_AFTER_S = 120
CPUS = sorted(os.sched_getaffinity(0))
PROMISED = {
    "name", "payload_bytes", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns", "messages_per_s",
    "floor_name", "floor_before_ns", "floor_after_ns", "ratio", "regime",
}  # fmt: skip
FLOOR_OF = {
    "raw.line": "line", "raw.slot": "slot", "raw.futex": "futex", "shm.poll": "slot", "shm.loan": "slot",
    "shm.wait": "futex", "raw.futex.timed": "futex.timed", "shm.oneway": "slot", "shm.oneway.batch": "slot",
}  # fmt: skip
# Rows that need io_uring, which a container may forbid.
EXECUTOR_FLOOR_OF = {
    "shm.coroutine.spin": "slot", "shm.coroutine.idle": "slot", "shm.coroutine.adaptive": "slot",
    "shm.coroutine.ten": "slot", "shm.coroutine.ten.idle": "slot", "shm.threads.spin": "slot",
    "shm.threads.block": "futex", "shm.coroutine.block": "futex", "executor.post": "line", "executor.switch": "slot",
    "executor.idle": "futex", "raw.futex.ring": "futex.ring", "rung.futex": "futex.ring", "raw.pipe.ring": "pipe.ring",
    "rung.pipe": "pipe.ring", "raw.pipe.epoll": "pipe.epoll", "rung.pipe.epoll": "pipe.epoll",
    "raw.echo": "echo", "executor.echo": "echo", "raw.echo.spin": "echo.spin", "executor.echo.spin": "echo.spin",
}  # fmt: skip
THROUGHPUT = ["shm.oneway", "shm.oneway.batch", "executor.switch", "executor.idle"]
BLOCKING = ["raw.futex", "raw.futex.timed", "shm.wait"]
EXECUTOR_BLOCKING = [
    "shm.coroutine.block", "shm.threads.block", "raw.echo", "executor.echo", "executor.idle", "raw.futex.ring",
    "rung.futex", "raw.pipe.ring", "rung.pipe", "raw.pipe.epoll", "rung.pipe.epoll",
]  # fmt: skip
needs_two_cpus = unittest.skipIf(len(CPUS) < 2, "this process may run on one CPU only")


def run(*arguments, program=QUOIT, **more):
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=HANGS_AFTER_S, stdin=subprocess.DEVNULL, **more
    )


def on_one_cpu():
    os.sched_setaffinity(0, {CPUS[0]})


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except FileNotFoundError:
        return []


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(what, condition):
    end = time.monotonic() + HANGS_AFTER_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain until {what}")
        time.sleep(0.01)


class Usage(unittest.TestCase):
    def test_version_and_help_are_no_mistakes(self):
        self.assertRegex(run("--version").stdout, r"^quoit \d+\.\d+\.\d+")
        for arguments in (["--version"], ["--help"], ["bench", "--help"], ["bench", "latency", "--help"]):
            self.assertEqual(run(*arguments).returncode, 0, arguments)

    def test_help_names_every_row(self):
        text = run("bench", "latency", "--help").stdout + run("bench", "throughput", "--help").stdout
        for row in [*FLOOR_OF, *EXECUTOR_FLOOR_OF]:
            self.assertIn(row, text)

    def test_wrong_usage_exits_with_2_and_says_what_is_wrong(self):
        for arguments, words in (
            ([], "subcommand"),
            (["nonsense"], "nonsense"),
            (["bench", "latency", "--row", "nonsense"], "nonsense"),
            (["bench", "latency", "--cpus", f"{CPUS[0]},9999"], "--cpus"),
            (["bench", "latency", "--cpus", "x"], "--cpus"),
            (["bench", "latency", "--payload", "0"], "--payload"),
            (["bench", "latency", "--payload", "many"], "--payload"),
            (["bench", "latency", "--seconds", "-1"], "--seconds"),
            (["bench", "latency", "--payload", "8", "--touch", "9"], "--touch"),
            (["bench", "latency", "--rate", "fast"], "--rate"),
            (["topic", "list", "--bus", "no name"], "no name"),
        ):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done))
            self.assertIn(words, done.stderr)

    def test_a_file_that_cannot_be_written_exits_with_1(self):
        done = run("bench", "latency", "--row", "raw.futex", "--json", "/nonexistent/file")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/file", done.stderr)


class Rows(unittest.TestCase):
    def measure(self, row, *options, **more):
        mode = "throughput" if row in THROUGHPUT else "latency"
        done = run("bench", mode, "--row", row, "--seconds", "0.05", "--json", "-", *options, **more)
        if row in EXECUTOR_FLOOR_OF and "stands on io_uring" in done.stdout + done.stderr:
            self.skipTest(done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0, done)
        (line,) = done.stdout.splitlines()
        return json.loads(line)

    @needs_two_cpus
    def test_every_row_is_an_object_with_what_is_promised(self):
        for name, floor in (FLOOR_OF | EXECUTOR_FLOOR_OF).items():
            row = self.measure(name)
            self.assertLessEqual(PROMISED, set(row))
            self.assertEqual(row["name"], name)
            self.assertEqual(row["floor_name"], floor)
            self.assertIn(row["regime"], ("smt", "near", "far", "unstable"))
            order = [row[key] for key in ("p50_ns", "p90_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns")]
            # The median is read between the steps of the clock, the others are not.
            self.assertEqual(order[1:], sorted(order[1:]), row)
            self.assertGreater(min(order + [row["messages_per_s"], row["floor_before_ns"], row["floor_after_ns"]]), 0)
            self.assertLessEqual(row["attempts"], 5)
            self.assertEqual(len(row["cpu_percent"]), 2)

    def test_the_executor_calls_the_kernel_no_more_often_than_the_same_without_it(self):
        raw = self.measure("raw.echo")["calls_per_message"]
        # One call to send and one to receive, on each side.
        self.assertAlmostEqual(raw, 2, delta=0.05)
        self.assertAlmostEqual(self.measure("executor.echo")["calls_per_message"], raw, delta=0.1)

    def test_more_than_a_socket_holds_goes_through_it_and_back(self):
        for row in ("raw.echo", "executor.echo"):
            self.assertEqual(self.measure(row, "--payload", "1000000")["payload_bytes"], 1_000_000)

    def test_a_process_that_waits_for_its_turns_asleep_has_little_of_its_core(self):
        row = self.measure("shm.coroutine.adaptive", "--rate", "50")
        # The other one spins for its schedule.
        self.assertLess(row["cpu_percent"][1], row["cpu_percent"][0])

    @needs_two_cpus
    def test_payloads_of_any_size_are_measured(self):
        for size in (1, 8, 100, 256, 1024, 4096, 65536, 100_000):
            self.assertEqual(self.measure("shm.poll", "--payload", str(size))["payload_bytes"], size)
            self.assertEqual(self.measure("shm.oneway", "--payload", str(size))["payload_bytes"], size)

    @needs_two_cpus
    def test_a_file_that_is_written_gets_nothing_of_what_is_printed_where_stdout_is_closed(self):
        path = f"/tmp/quoit-cli-test-closed-{os.getpid()}.json"
        try:
            subprocess.run(
                [QUOIT, "bench", "latency", "--row", "raw.line", "--seconds", "0.05", "--json", path],
                timeout=HANGS_AFTER_S,
                preexec_fn=lambda: os.closerange(0, 3),
            )
            with open(path) as file:
                self.assertEqual([json.loads(line)["name"] for line in file], ["raw.line"])
        finally:
            os.unlink(path)

    @needs_two_cpus
    def test_several_rows_are_as_many_lines_of_the_file(self):
        path = f"/tmp/quoit-cli-test-{os.getpid()}.json"
        try:
            done = run("bench", "latency", "--row", "raw.line", "--row", "raw.slot", "--seconds", "0.05", "--json", path)
            self.assertEqual(done.returncode, 0, done)
            with open(path) as file:
                self.assertEqual([json.loads(line)["name"] for line in file], ["raw.line", "raw.slot"])
            self.assertIn("raw.slot", done.stdout)
        finally:
            if os.path.exists(path):
                os.remove(path)

    def test_at_a_fixed_rate_as_many_turns_are_made_as_were_asked_for(self):
        row = self.measure("shm.wait", "--rate", "200")
        self.assertEqual(row["turns"], 10)
        self.assertEqual(row["rate_per_s"], 200)

    def test_a_rate_that_cannot_be_kept_ends_nevertheless(self):
        row = self.measure("shm.wait", "--rate", "1e8")
        self.assertLess(row["turns"], 1e8 * 0.05)

    def test_on_one_cpu_rows_that_poll_are_refused_with_the_reason(self):
        for row in FLOOR_OF:
            if row in BLOCKING:
                continue
            done = run("bench", "latency", "--row", row, "--seconds", "0.05", preexec_fn=on_one_cpu)
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("needs two CPUs", done.stdout)

    def test_where_io_uring_is_refused_what_stands_on_it_says_so_and_the_rest_is_measured(self):
        rows = ["raw.echo", "executor.echo", "rung.futex", "rung.pipe", "rung.pipe.epoll", "shm.coroutine.block"]
        named = [word for row in rows for word in ("--row", row)]
        command = [WITHOUT, "io_uring=EPERM", QUOIT, "bench", "latency", "--seconds", "0.05", "--json", "-", *named]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER_S, stdin=subprocess.DEVNULL)
        if done.returncode == 77:
            self.skipTest(done.stdout)
        # Rows that were asked for are missing.
        self.assertEqual(done.returncode, 1, done)
        self.assertEqual([json.loads(line)["name"] for line in done.stdout.splitlines()], rows[-2:])
        self.assertEqual(done.stderr.count("not measured: its floor stands on io_uring: "), 4, done)
        self.assertIn("not permitted", done.stderr)

    def test_on_one_cpu_rows_that_sleep_are_measured(self):
        for row in BLOCKING + EXECUTOR_BLOCKING:
            self.assertEqual(self.measure(row, preexec_fn=on_one_cpu)["regime"], "same_cpu")


class Killed(unittest.TestCase):
    def start(self):
        """A row under way: the command, its asking process, its answering one, and the files of its bus."""
        command = subprocess.Popen(
            [QUOIT, "bench", "latency", "--row", "shm.wait", "--seconds", "60"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.addCleanup(command.kill)
        files = f"/dev/shm/quoit.bench-{command.pid}*"
        asks = answers = None

        def under_way():
            nonlocal asks, answers
            asks = next(iter(children_of(command.pid)), None)
            answers = next(iter(children_of(asks)), None) if asks else None
            # The bus, two topics, and a lane of two files for each.
            return command.poll() is not None or (answers is not None and len(glob.glob(files)) >= 7)

        wait_until("the row is under way", under_way)
        self.assertIsNone(command.poll(), "the command ended before it was killed")
        return command, asks, answers, files

    def test_if_a_measuring_process_dies_the_command_says_so_and_leaves_nothing(self):
        for victim in (0, 1):
            command, *processes, files = self.start()
            os.kill(processes[victim], signal.SIGKILL)
            _, words = command.communicate(timeout=HANGS_AFTER_S)
            self.assertEqual(command.returncode, 1)
            self.assertIn("process died", words)
            self.assertFalse(any(runs(process) for process in processes))
            self.assertEqual(glob.glob(files), [])

    def test_an_interrupted_command_leaves_nothing(self):
        for signal_sent in (signal.SIGINT, signal.SIGTERM):
            command, asks, answers, files = self.start()
            command.send_signal(signal_sent)
            command.communicate(timeout=HANGS_AFTER_S)
            self.assertEqual(command.returncode, -signal_sent)
            self.assertFalse(runs(asks) or runs(answers))
            self.assertEqual(glob.glob(files), [])

    def test_what_a_killed_command_leaves_is_gone_after_the_next_one(self):
        command, asks, answers, files = self.start()
        command.kill()
        command.communicate(timeout=HANGS_AFTER_S)
        wait_until("its processes are gone too", lambda: not runs(asks) and not runs(answers))
        self.assertEqual(run("bench", "latency", "--row", "raw.futex", "--seconds", "0.05").returncode, 0)
        self.assertEqual(glob.glob(files), [])

    def test_a_running_row_is_seen_from_outside(self):
        command, _, _, _ = self.start()
        bus = f"bench-{command.pid}"
        topics = [json.loads(line) for line in run("topic", "list", "--bus", bus, "--json").stdout.splitlines()]
        self.assertEqual({topic["topic"] for topic in topics}, {"there", "back"})
        by_environment = run("topic", "list", "--json", env={**os.environ, "QUOIT_BUS": bus}).stdout.splitlines()
        self.assertEqual(len(by_environment), 2)
        command.terminate()
        command.communicate(timeout=HANGS_AFTER_S)


class Lists(unittest.TestCase):
    def test_a_bus_that_is_not_there_is_said_to_be_so(self):
        for what in ("topic", "node"):
            for arguments, more in ((["--bus", "no-such-bus"], {}), ([], {"env": {**os.environ, "QUOIT_BUS": "no-such-bus"}})):
                done = run(what, "list", *arguments, **more)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn("there is no bus no-such-bus", done.stderr)
            self.assertIn("Exit status 1", run(what, "list", "--help").stdout)
            self.assertNotIn("there is no bus", run(what, "list", "--all").stderr)


class Clean(unittest.TestCase):
    def setUp(self):
        self.bus = f"clean-{os.getpid()}"
        self.files = f"/dev/shm/quoit.{self.bus}*"
        self.addCleanup(lambda: [os.unlink(file) for file in glob.glob(self.files)])

    def leave(self, *files):
        for file in files:
            with open(f"/dev/shm/quoit.{self.bus}{file}", "wb") as left:
                left.write(b"left" * 2048)

    def test_a_bus_of_which_nothing_is_left_is_clean(self):
        self.assertEqual(run("clean", "--bus", self.bus).returncode, 0)

    def test_without_dev_shm_it_says_so_and_cleans_the_sockets(self):
        with tempfile.TemporaryDirectory(prefix="quoit-test-") as sockets:
            place = os.path.join(sockets, self.bus, "0123456789abcdef")
            os.makedirs(place, mode=0o700)
            for dead in ("topic", "p0123456789abcdef"):
                with open(os.path.join(place, dead), "w", encoding="ascii"):
                    pass
            script = 'mount -t tmpfs tmpfs /dev && exec "$@"'
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, "sh", QUOIT, "clean", "--all"],
                env={**os.environ, "QUOIT_SOCKETS": sockets},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            if "unshare" in done.stderr or "mount" in done.stderr:
                self.skipTest("a mount namespace is not permitted here")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("/dev/shm is missing", done.stderr)
            self.assertFalse(os.path.exists(os.path.join(sockets, self.bus)))

    def test_a_damaged_bus_is_removed(self):
        self.leave("", ".t", ".t@1", ".t@1s")
        done = run("topic", "list", "--bus", self.bus)
        self.assertEqual(done.returncode, 1)
        done = run("clean", "--force", "--bus", self.bus)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(glob.glob(self.files), [])

    def test_topics_of_a_bus_whose_file_is_gone_are_removed(self):
        self.leave(".t", ".t@1", ".t@1s", ".a+b")
        done = run("clean", "--force", "--bus", self.bus)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(glob.glob(self.files), [])


class Floors(unittest.TestCase):
    def test_each_runs_alone(self):
        for program in FLOORS:
            name = os.path.basename(program)
            done = run("--seconds", "0.05", program=program)
            if len(CPUS) < 2 and name in ("line", "slot"):
                self.assertEqual(done.returncode, 1, done)
                continue
            if "io_uring_setup" in done.stderr or "IORING_OP_FUTEX_WAIT" in done.stderr:
                continue
            self.assertEqual(done.returncode, 0, done)
            self.assertRegex(done.stdout, rf"^{name}: CPUs \d+ and \d+, round trip p50 [\d.]+ ns, .* max \d+")

    def test_wrong_usage_exits_with_2(self):
        for program in FLOORS:
            for arguments in (["--nonsense"], ["nonsense"], ["--seconds", "0"], ["--cpus", "0,9999"]):
                self.assertEqual(run(*arguments, program=program).returncode, 2, (program, arguments))

    def test_the_one_that_appends_runs_alone_and_refuses_what_it_does_not_know(self):
        done = run("-s", "0.05", "-p", "64", program=APPEND_FLOOR)
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, r"^append: 64 bytes, clock tsc, check crc32c, memory: [\d.]+ M/s")
        for arguments in (["-x"], ["nonsense"], ["-s", "0"], ["-p", "0"]):
            self.assertEqual(run(*arguments, program=APPEND_FLOOR).returncode, 2, arguments)

    @needs_two_cpus
    def test_if_a_process_dies_so_does_the_other(self):
        for program in FLOORS:
            for victim in ("asks", "answers"):
                command = subprocess.Popen([program, "--seconds", "60"], stderr=subprocess.DEVNULL)
                self.addCleanup(command.kill)
                wait_until("it has forked", lambda: children_of(command.pid))
                (answers,) = children_of(command.pid)
                os.kill(answers if victim == "answers" else command.pid, signal.SIGKILL)
                command.wait(timeout=HANGS_AFTER_S)
                wait_until("both are gone", lambda: not runs(answers))


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2).result
    wrong = len(result.failures) + len(result.errors)
    for test, reason in result.skipped:
        print(f"SKIP: {test}: {reason}")
    print(f"{result.testsRun - wrong - len(result.skipped)} passed, {wrong} failed, {len(result.skipped)} skipped")
    sys.exit(1 if wrong else 0)
