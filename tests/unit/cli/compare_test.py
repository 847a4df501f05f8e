#!/usr/bin/env python3
"""quoit bench compare, run as a user runs it: its table, its objects and its page say the same; the page is drawn as it
should be, in a window of a telephone and in a large one. Argument: the command.
"""

import glob
import html.parser
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "support"))
import chromium  # noqa: E402

QUOIT = sys.argv[1]
HANGS_AFTER_S = 300
CPUS = sorted(os.sched_getaffinity(0))
SIZES = [64, 4096, 1 << 20]
ASLEEP = ["shm.loan", "shm.copy", "kernel", "pipe", "socketpair"]
POLLING = ["shm.loan", "shm.copy"]
ROW_NAMES = [
    *(f"{job}.{way}.asleep" for job in ("round_trip", "one_way", "file_transfer") for way in ASLEEP),
    *(f"{job}.{way}.polling" for job in ("round_trip", "one_way") for way in POLLING),
]
# What each way copies, and how often, is no matter of time.
COPIES = {"shm.loan": 0, "shm.copy": 2, "kernel": 2, "pipe": 2, "socketpair": 2}


def run(*arguments, **more):
    return subprocess.run(
        [QUOIT, "bench", "compare", *arguments],
        capture_output=True, text=True, timeout=HANGS_AFTER_S, stdin=subprocess.DEVNULL, **more,
    )  # fmt: skip


def left_of(pid):
    kernel = os.environ.get("XDG_RUNTIME_DIR")
    kernel = os.path.join(kernel, "quoit") if kernel else f"/tmp/quoit-{os.geteuid()}"
    return glob.glob(f"/dev/shm/quoit.bench-{pid}*") + glob.glob(f"{kernel}/bench-{pid}*")


class Page(html.parser.HTMLParser):
    """What a page says of itself: values and rows by name, addresses, scripts, and whether its tags match."""

    EMPTY = {"meta", "link", "br", "!doctype"}

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.points, self.addresses, self.tags = [], {}, {}, [], set()
        self.series = self.figure = None
        self.title = ""
        self.cells = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.tags.add(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.addresses += [a[name] for name in ("href", "src", "srcset", "action", "data", "xlink:href") if name in a]
        if "data-row" in a:
            self.cells = self.rows[(a["data-row"], int(a["data-bytes"]))] = []
        if tag == "svg" and "aria-label" in a:
            self.figure = a["aria-label"]
        if "data-series" in a:
            self.series = a["data-series"]
        if "data-value" in a and self.figure:
            key = (self.figure, self.series)
            self.points.setdefault(key, []).append((a.get("data-bytes"), float(a["data-value"]), "data-unstable" in a))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if self.cells is not None and self.open and self.open[-1] == "td":
            self.cells.append(data)


class Compare(unittest.TestCase):
    """Of one run, which all of these look at."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="quoit-compare-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.page_path = os.path.join(cls.folder.name, "compare.html")
        json_path = os.path.join(cls.folder.name, "compare.json")
        # In another order, and one twice.
        cls.done = run("--seconds", "0.05", "--sizes", "4096,64,1048576,64", "--html", cls.page_path, "--json", json_path)
        assert cls.done.returncode == 0, cls.done
        with open(json_path) as file:
            objects = [json.loads(line) for line in file]
        with open(cls.page_path, encoding="utf-8") as file:
            cls.text = file.read()
        cls.page = Page(cls.text)
        cls.machine = objects[0]
        cls.floors = [o for o in objects[1:] if "floor" in o]
        cls.rows = [o for o in objects[1:] if "floor" not in o]
        cls.measured = [o for o in cls.rows if "not_measured_because" not in o]

    def test_each_job_is_done_in_each_way_at_each_size(self):
        wanted = {
            (name, size) for name in ROW_NAMES for size in ([256 * 1024] if name.startswith("file") else SIZES)
        }
        self.assertEqual({(row["name"], row["payload_bytes"]) for row in self.rows}, wanted)
        self.assertEqual(len(self.rows), len(wanted))
        for row in self.rows:
            self.assertEqual(row["name"], f"{row['job']}.{row['way']}.{row['waits']}")
            if row["waits"] == "asleep" or len(CPUS) > 1:
                self.assertNotIn("not_measured_because", row)

    def test_every_row_has_what_is_promised(self):
        for row in self.measured:
            self.assertGreater(row.get("p50_ns", row.get("ns_per_message")), 0)
            self.assertGreater(row["messages_per_s"], 0)
            self.assertGreater(row["floor_before_ns"], 0)
            self.assertGreater(row["cpu_us_per_message"], 0)
            self.assertEqual("unstable_because" in row, row["regime"] == "unstable", row)
            self.assertEqual("not_counted_because" in row, "system_calls" not in row, row)
        self.assertEqual(self.machine["name"], "machine")
        self.assertTrue(self.machine["command"].startswith("quoit bench compare --seconds 0.05 --sizes "))
        self.assertLessEqual({"futex", "work"}, {floor["floor"] for floor in self.floors})

    def counted(self):
        rows = [row for row in self.measured if "system_calls" in row]
        if not rows:
            self.skipTest(self.measured[0]["not_counted_because"])
        self.assertEqual(len(rows), len(self.measured))
        return rows

    def test_copies_are_those_that_each_way_makes(self):
        for row in self.counted():
            # A file is read and written besides.
            copies = COPIES[row["way"]] + (2 if row["job"] == "file_transfer" else 0)
            self.assertAlmostEqual(row["copies_per_message"], copies, delta=0.01, msg=row)
            self.assertGreaterEqual(row["bytes_copied_per_message"] * 1.0001, copies * row["payload_bytes"], row)
            # Heads of packets and words that wake are no more than this.
            self.assertLess(row["bytes_copied_per_message"], copies * row["payload_bytes"] + 1024, row)

    def test_calls_are_counted_where_it_is_known_how_many_there_are(self):
        for row in self.counted():
            calls = row["system_calls"]
            self.assertAlmostEqual(sum(calls.values()), row["system_calls_per_message"], delta=0.01)
            small = row["payload_bytes"] <= 4096
            if row["way"] == "pipe" and small:
                self.assertEqual(calls, {"read": 1, "write": 1}, row)
            elif row["way"] == "socketpair" and small:
                self.assertEqual(calls, {"recvfrom": 1, "sendto": 1}, row)
            elif row["waits"] == "polling" and row["job"] == "round_trip":
                self.assertEqual(calls, {}, row)
            elif row["way"] == "kernel":
                self.assertGreaterEqual(calls["sendmsg"], 1)
            elif row["way"] == "pipe":
                # More than a pipe holds.
                self.assertGreater(calls["read"], 1)

    def test_the_table_has_every_row(self):
        for job in ("Round trips", "One way", "A file"):
            self.assertIn(job, self.done.stdout)
        lines = [line for line in self.done.stdout.splitlines() if re.match(r"(shm|kernel|pipe|socketpair)\S* +\w+ +\d", line)]
        self.assertEqual(len(lines), len(self.rows))
        self.assertRegex(self.done.stdout, r"file_transfer: shared memory is [\d.]+ times as fast as the kernel path")

    def test_how_far_it_is_goes_to_standard_error(self):
        self.assertIn("1 of 7: round trips, 64 bytes", self.done.stderr)
        self.assertNotIn("of 7", self.done.stdout)

    def test_the_page_has_the_rows_of_the_objects(self):
        self.assertEqual(self.page.open, [])
        self.assertEqual(set(self.page.rows), {(row["name"], row["payload_bytes"]) for row in self.rows})
        for row in self.counted():
            cells = self.page.rows[(row["name"], row["payload_bytes"])]
            self.assertIn(f"{row['copies_per_message']:.2f}", cells)
            self.assertIn(row["way"], cells)
            self.assertIn(row["waits"], cells)
            if row["regime"] == "unstable":
                self.assertIn(f"unstable: {row['unstable_because']}", cells)

    def expected_points(self):
        """{(figure, series): {bytes: (value, unstable)}} of the plots."""
        wanted = {}
        titles = {
            ("round_trip", "asleep"): ["Round trip, all asleep while they wait"],
            ("round_trip", "polling"): ["Round trip, polling"],
            ("one_way", "asleep"): ["One way, all asleep while they wait"],
            ("one_way", "polling"): ["One way, polling"],
        }
        any_polls = any(row["waits"] == "polling" for row in self.measured)
        for row in self.measured:
            if row["job"] == "file_transfer":
                continue
            figures = list(titles[row["job"], row["waits"]])
            # Beside what is polled, the same asleep.
            if any_polls and row["way"] == "shm.loan" and row["waits"] == "asleep":
                figures += titles[row["job"], "polling"]
            value = row["p50_ns"] if row["job"] == "round_trip" else row["payload_bytes_per_s"]
            for figure in figures:
                series = wanted.setdefault((figure, f"{row['way']}, {row['waits']}"), {})
                series[row["payload_bytes"]] = (value, row["regime"] == "unstable")
        return wanted

    def test_the_plots_have_a_mark_for_each_figure_and_hollow_ones_where_it_is_unstable(self):
        drawn = {
            key: {int(size): (value, unstable) for size, value, unstable in points}
            for key, points in self.page.points.items()
            if points[0][0] is not None
        }
        wanted = self.expected_points()
        self.assertEqual(set(drawn), set(wanted))
        for key, points in wanted.items():
            self.assertEqual(set(drawn[key]), set(points))
            for size, (value, unstable) in points.items():
                self.assertAlmostEqual(drawn[key][size][0], value, delta=max(1.0, value * 1e-6))
                self.assertEqual(drawn[key][size][1], unstable)

    def test_the_page_needs_nothing_else(self):
        self.assertEqual([a for a in self.page.addresses if a != "data:,"], [])
        self.assertNotIn("script", self.page.tags)
        for words in ("http:", "https:", "@import", "url("):
            self.assertNotIn(words, self.text)
        self.assertIn('name="viewport"', self.text)
        self.assertIn("prefers-color-scheme: dark", self.text)


# In the page: what is drawn, and where.
PROBE = """(() => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const plots = [...document.querySelectorAll('svg.plot')].map(svg => ({
    title: svg.getAttribute('aria-label'), box: box(svg), frame: box(svg.querySelector('.frame')),
    named: !!svg.querySelector(':scope > title') && !!svg.querySelector(':scope > desc'),
    texts: [...svg.querySelectorAll('text')].map(t => [t.textContent, box(t), parseFloat(getComputedStyle(t).fontSize)]),
    series: [...svg.querySelectorAll('g.series')].map(g => ({
      name: g.dataset.series, line: g.querySelector('.line').getTotalLength(), colour: getComputedStyle(g.querySelector('.line')).stroke,
      marks: [...g.querySelectorAll('.mark')].map(m => ({box: box(m), fill: getComputedStyle(m).fill, unstable: 'unstable' in m.dataset}))}))}));
  const bars = [...document.querySelectorAll('svg.bars')].map(svg => ({
    box: box(svg), texts: [...svg.querySelectorAll('text')].map(t => [t.textContent, box(t)]),
    bars: [...svg.querySelectorAll('.bar')].map(b => [parseFloat(b.dataset.value), box(b)])}));
  const channel = c => { c /= 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; };
  const light = text => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number); return .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b); };
  const back = light(getComputedStyle(document.body).backgroundColor);
  const contrast = c => { const l = light(c); return (Math.max(l, back) + .05) / (Math.min(l, back) + .05); };
  const worst = Math.min(...[...document.querySelectorAll('p, li, td, th, dt, dd, h1, h2, figcaption')].map(e => contrast(getComputedStyle(e).color)),
                         ...[...document.querySelectorAll('svg text')].map(e => contrast(getComputedStyle(e).fill)));
  const root = document.documentElement;
  return JSON.stringify({plots, bars, worst, scroll: root.scrollWidth, window: innerWidth, client: root.clientWidth});
})()"""


class Drawn(unittest.TestCase):
    """The page of one run in Chromium."""

    @classmethod
    def setUpClass(cls):
        program = chromium.find()
        if program is None:
            raise unittest.SkipTest("chromium is not installed")
        cls.folder = tempfile.TemporaryDirectory(prefix="quoit-compare-")
        cls.addClassCleanup(cls.folder.cleanup)
        page = os.path.join(cls.folder.name, "compare.html")
        done = run("--seconds", "0.02", "--sizes", "8,64,512,4096,32768,262144", "--html", page)
        assert done.returncode == 0, done
        cls.views = {}
        with chromium.Browser(program) as browser:
            for width, dark in ((360, False), (1200, False), (1200, True)):
                browser.size(width, 800, dark)
                browser.open(page)
                cls.views[width, dark] = json.loads(browser.evaluate(PROBE))
            cls.requests = browser.requests
        cls.page = page

    def assert_inside(self, inner, outer, what, slack=0.6):
        for low, limit in zip(inner[:2], outer[:2]):
            self.assertGreaterEqual(low, limit - slack, (what, inner, outer))
        for high, limit in zip(inner[2:], outer[2:]):
            self.assertLessEqual(high, limit + slack, (what, inner, outer))

    def test_nothing_is_asked_of_the_network(self):
        self.assertEqual(set(self.requests), {"file://" + self.page})

    def test_the_window_does_not_scroll_sideways(self):
        for view in self.views.values():
            self.assertLessEqual(view["scroll"], view["client"])

    def test_each_line_and_each_mark_is_drawn_inside_its_plot(self):
        figures = 4 if len(CPUS) > 1 else 2
        for key, view in self.views.items():
            self.assertEqual(len(view["plots"]), figures)
            for plot in view["plots"]:
                self.assertTrue(plot["named"])
                for series in plot["series"]:
                    self.assertGreater(series["line"], 0)
                    floor = series["name"].startswith("floor")
                    self.assertEqual(len(series["marks"]), 0 if floor else 6, (key, series["name"]))
                    for mark in series["marks"]:
                        # A mark stands out by its own half over the axes' ends.
                        self.assert_inside(mark["box"], plot["frame"], (key, plot["title"], series["name"]), slack=8)
                        self.assert_inside(mark["box"], plot["box"], (key, plot["title"], series["name"]))

    def test_what_is_written_in_a_plot_lies_inside_it_and_not_on_itself(self):
        for key, view in self.views.items():
            for plot in view["plots"] + view["bars"]:
                boxes = [(text, box) for text, box, *_ in plot["texts"]]
                for text, box in boxes:
                    self.assert_inside(box, plot["box"], (key, text))
                for i, (a, p) in enumerate(boxes):
                    for b, q in boxes[:i]:
                        apart = p[0] >= q[2] or q[0] >= p[2] or p[1] >= q[3] - 3 or q[1] >= p[3] - 3
                        self.assertTrue(apart, (key, a, p, b, q))

    def test_a_bar_is_as_long_as_its_value(self):
        for view in self.views.values():
            self.assertGreaterEqual(len(view["bars"]), 9)
            for figure in view["bars"]:
                for _, box in figure["bars"]:
                    self.assert_inside(box, figure["box"], figure)
                value, longest = max(figure["bars"], key=lambda bar: bar[0])
                for other, box in figure["bars"]:
                    share = other / value if value else 0
                    self.assertAlmostEqual(box[2] - box[0], share * (longest[2] - longest[0]), delta=2)

    def test_series_of_a_plot_differ_in_colour_and_text_can_be_read(self):
        for key, view in self.views.items():
            self.assertGreaterEqual(view["worst"], 4.5, key)
            for plot in view["plots"]:
                colours = [series["colour"] for series in plot["series"] if series["marks"]]
                self.assertEqual(len(colours), len(set(colours)), (key, plot["title"]))
        self.assertNotEqual(self.views[1200, False]["plots"][0]["series"][0]["colour"],
                            self.views[1200, True]["plots"][0]["series"][0]["colour"])  # fmt: skip


class Usage(unittest.TestCase):
    def test_wrong_usage_exits_with_2_and_says_what_is_wrong(self):
        for arguments, words in (
            (["--sizes", "7"], "--sizes 7"),
            (["--sizes", "64,0"], "--sizes 0"),
            (["--sizes", "33554432"], "--sizes 33554432"),
            (["--sizes", "many"], "--sizes"),
            (["--seconds", "0"], "--seconds"),
            (["--cpus", "x"], "--cpus"),
        ):
            done = run(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done))
            self.assertIn(words, done.stderr)

    def test_a_file_that_cannot_be_written_is_said_so_before_anything_is_measured(self):
        for option in ("--json", "--html"):
            done = run(option, "/nonexistent/file")
            self.assertEqual(done.returncode, 1)
            self.assertIn("/nonexistent/file", done.stderr)
            self.assertNotIn("round trips", done.stderr)

    def test_on_one_cpu_what_sleeps_is_measured_and_what_polls_says_why_not(self):
        done = run(
            "--seconds", "0.02", "--sizes", "64", "--json", "-", preexec_fn=lambda: os.sched_setaffinity(0, {CPUS[0]})
        )
        self.assertEqual(done.returncode, 0, done)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        for row in rows:
            if row.get("waits") == "polling":
                self.assertIn("needs two CPUs", row["not_measured_because"])
            elif row.get("waits") == "asleep":
                self.assertIn(row["regime"], ("same_cpu", "unstable"))


class Interrupted(unittest.TestCase):
    def test_nothing_is_left(self):
        for sent in (signal.SIGINT, signal.SIGTERM):
            command = subprocess.Popen(
                [QUOIT, "bench", "compare", "--sizes", "64", "--seconds", "60"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
            self.addCleanup(command.kill)
            end = time.monotonic() + HANGS_AFTER_S
            # The bus in shared memory, and the one on the kernel path.
            while len(left_of(command.pid)) < 8 and command.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            self.assertIsNone(command.poll(), "the command ended before it was interrupted")
            command.send_signal(sent)
            command.communicate(timeout=HANGS_AFTER_S)
            self.assertEqual(command.returncode, -sent)
            self.assertEqual(left_of(command.pid), [])


if __name__ == "__main__":
    result = unittest.main(argv=sys.argv[:1], exit=False, verbosity=2).result
    wrong = len(result.failures) + len(result.errors)
    for test, reason in result.skipped:
        print(f"SKIP: {test}: {reason}")
    print(f"{result.testsRun - wrong - len(result.skipped)} passed, {wrong} failed, {len(result.skipped)} skipped")
    sys.exit(1 if wrong else 0)
