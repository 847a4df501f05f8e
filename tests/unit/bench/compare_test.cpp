#include "compare/compare.hpp"

#include <doctest/doctest.h>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "compare/counting.hpp"
#include "compare/report.hpp"
#include "compare/slices.hpp"
#include "compare/work.hpp"
#include "floors/pair.hpp"
#include "support/skip.hpp"

using bench::doubt;
using bench::regime;
using bench::slice_state;

namespace {

bench::compared sample_row(bench::job what_for, bench::way by, double time) {
  bench::compared row;
  row.what_for = what_for;
  row.by = by;
  row.payload_bytes = what_for == bench::job::file_transfer ? bench::file_part_bytes : 64;
  row.time.turns = 100;
  row.time.time = time;
  row.time.p90 = time * 2;
  row.time.p99 = time * 3;
  row.time.messages_per_s = 1e9 / time;
  row.time.cpu_us = 1.5;
  row.time.sleeps = 0.25;
  row.time.floor = bench::floor_kind::futex;
  row.time.floor_before = 100;
  row.time.floor_after = 110;
  row.time.ratio = 2.5;
  row.time.regime = regime::near;
  row.time.slices = 3;
  row.counts = bench::counted{2, {{"futex", 1.25}, {"write", 0.75}}, 128, 2};
  return row;
}

std::vector<nlohmann::json> objects_of(const std::string& text) {
  std::vector<nlohmann::json> all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) all.push_back(nlohmann::json::parse(line));
  return all;
}

}  // namespace

TEST_CASE("what is produced has the sum that is promised, in one piece and in several, and other bytes have not") {
  for (const std::size_t bytes : {8u, 16u, 56u, 64u, 72u, 4096u, 4104u}) {
    std::vector<std::byte> message(bytes);
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{5}, ~std::uint64_t{3}}) {
      bench::produce(message.data(), bytes, first);
      CHECK(bench::consume(message.data(), bytes) == bench::sum_of(bytes, first));
      const std::size_t half = bytes / 16 * 8;
      bench::produce(message.data(), half, first);
      bench::produce(message.data() + half, bytes - half, first + half / 8);
      CHECK(bench::consume(message.data(), half) + bench::consume(message.data() + half, bytes - half) ==
            bench::sum_of(bytes, first));
      message[bytes - 1] ^= std::byte{1};
      CHECK(bench::consume(message.data(), bytes) != bench::sum_of(bytes, first));
    }
  }
}

TEST_CASE("slices that poll count where most of them were, slices that sleep wherever they were") {
  const slice_state near{doubt::none, regime::near, true}, far{doubt::none, regime::far, true};
  const slice_state asleep_far{doubt::none, regime::far, false};
  CHECK(bench::common_regime({near, near, far, asleep_far, asleep_far}) == regime::near);
  CHECK(bench::counts(near, regime::near));
  CHECK_FALSE(bench::counts(far, regime::near));
  CHECK(bench::counts(asleep_far, regime::near));
}

TEST_CASE("a slice against which something is said does not count, and decides nothing") {
  const slice_state near{doubt::none, regime::near, true}, doubted{doubt::floor_moved, regime::far, true};
  CHECK(bench::common_regime({near, doubted, doubted}) == regime::near);
  CHECK_FALSE(bench::counts(doubted, regime::far));
  CHECK(bench::common_regime({doubted, doubted}) == regime::unstable);
  const slice_state awake{doubt::floor_awake, regime::near, false};
  CHECK_FALSE(bench::counts(awake, regime::near));
}

TEST_CASE("where nothing polls, the regime is that of most slices that sleep") {
  const slice_state near{doubt::none, regime::near, false}, far{doubt::none, regime::far, false};
  CHECK(bench::common_regime({near, far, far}) == regime::far);
}

TEST_CASE("what a call copied is what it said, and no more than it was given room for") {
  using bench::trace::copied_by;
  CHECK(copied_by(SYS_write, 100, 64) == 64);
  CHECK(copied_by(SYS_recvmsg, 0, 64) == 64);
  CHECK(copied_by(SYS_read, 100, -EAGAIN) == 0);
  // recv(fd, nullptr, 0, MSG_PEEK | MSG_TRUNC) says how long a packet is.
  CHECK(copied_by(SYS_recvfrom, 0, 4096) == 0);
  CHECK(copied_by(SYS_futex, 100, 1) == 0);
  CHECK(bench::trace::name_of_call(SYS_futex) == "futex");
  CHECK(bench::trace::name_of_call(4242) == "call 4242");
}

TEST_CASE("a payload that crosses into the kernel and out of it is two copies, whatever goes with it") {
  bench::trace::tally seen;
  seen.calls = {{SYS_sendmsg, 10}, {SYS_recvmsg, 10}, {SYS_epoll_pwait, 5}};
  seen.bytes_in = seen.bytes_out = 10 * (64 + 24);
  const bench::counted c = bench::counts_of(seen, {}, 10, 64, bench::job::one_way);
  CHECK(c.copies == doctest::Approx(2));
  CHECK(c.bytes_copied == doctest::Approx(2 * (64 + 24)));
  CHECK(c.calls == doctest::Approx(2.5));
  CHECK(c.calls_by_name.at("epoll_pwait") == doctest::Approx(0.5));
}

TEST_CASE("what the ways copy by themselves counts as well, and a byte that wakes is no payload") {
  bench::trace::tally seen;
  seen.calls = {{SYS_write, 10}};
  seen.bytes_in = 80;
  const bench::counted c = bench::counts_of(seen, {20, 20 * 4096}, 10, 4096, bench::job::round_trip);
  CHECK(c.copies == doctest::Approx(2).epsilon(0.01));
  CHECK(c.bytes_copied == doctest::Approx(2 * 4096 + 8));
}

TEST_CASE("a file that is read, sent, received and written is copied four times") {
  bench::trace::tally seen;
  seen.bytes_in = seen.bytes_out = 2 * 4096;
  CHECK(bench::counts_of(seen, {}, 1, 4096, bench::job::file_transfer).copies == doctest::Approx(4));
}

TEST_CASE("a tracer counts the calls between the marks, of the process and of its child, and their bytes") {
  if (quoit::test::under_tsan) QUOIT_SKIP("the sanitizer makes system calls of its own");
  auto* const told = floors::shared<bench::trace::attached>();
  REQUIRE(told != nullptr);
  const auto calls = [](std::uint32_t slot, int times) {
    int ends[2];
    char bytes[100] = {};
    if (::pipe(ends) != 0) return 1;
    bench::trace::begin(slot);
    for (int i = 0; i < times; ++i) {
      if (::write(ends[1], bytes, 64) != 64 || ::read(ends[0], bytes, sizeof bytes) != 64) return 1;
    }
    bench::trace::end();
    return ::write(ends[1], bytes, 1) == 1 ? 0 : 1;
  };
  const pid_t child = floors::fork_with_us([&] {
    bench::trace::wait_for_tracer(*told);
    const pid_t grandchild = floors::fork_with_us([&] { return calls(1, 3); });
    int status = 0;
    if (grandchild < 0 || ::waitpid(grandchild, &status, 0) != grandchild) return 1;
    return calls(0, 5) + status;
  });
  REQUIRE(child > 0);
  bench::trace::tracer tracer(2, *told);
  const int status = tracer.wait(child);
  ::munmap(told, sizeof *told);
  if (!tracer.problem().empty()) QUOIT_SKIP("no process can be traced here");
  CHECK(status == 0);
  CHECK(tracer.of(0).calls == std::map<std::uint64_t, std::uint64_t>{{SYS_read, 5}, {SYS_write, 5}});
  CHECK(tracer.of(1).calls == std::map<std::uint64_t, std::uint64_t>{{SYS_read, 3}, {SYS_write, 3}});
  CHECK(tracer.of(0).bytes_in == 5 * 64);
  CHECK(tracer.of(0).bytes_out == 5 * 64);
  CHECK(tracer.of(1).calls_total() == 6);
}

TEST_CASE("the machine is an object on a line, then each row, then each floor, with the names that are promised") {
  bench::comparison c;
  c.rows.push_back(sample_row(bench::job::round_trip, {bench::carrier::loan, false}, 1234.5678));
  c.rows.push_back(sample_row(bench::job::one_way, {bench::carrier::copy, true}, 50));
  c.floors.push_back({bench::job::round_trip, "futex", 64, 100.25});
  bench::machine where;
  where.cpu = "a \"processor\"";
  where.pair = {2, 3};
  const auto all = objects_of(bench::json_of(c, where));
  REQUIRE(all.size() == 4);
  CHECK(all[0].at("name") == "machine");
  CHECK(all[0].at("cpu") == "a \"processor\"");
  CHECK(all[1].at("name") == "round_trip.shm.loan.asleep");
  CHECK(all[1].at("job") == "round_trip");
  CHECK(all[1].at("way") == "shm.loan");
  CHECK(all[1].at("waits") == "asleep");
  CHECK(all[1].at("payload_bytes") == 64);
  CHECK(all[1].at("p50_ns") == 1234.568);
  CHECK(all[1].at("floor_name") == "futex");
  CHECK(all[1].at("floor_before_ns") == 100.0);
  CHECK(all[1].at("ratio") == 2.5);
  CHECK(all[1].at("regime") == "near");
  CHECK(all[1].at("cpus") == nlohmann::json({2, 3}));
  CHECK(all[1].at("cpu_us_per_message") == 1.5);
  CHECK(all[1].at("copies_per_message") == 2.0);
  CHECK(all[1].at("bytes_copied_per_message") == 128.0);
  CHECK(all[1].at("system_calls_per_message") == 2.0);
  CHECK(all[1].at("system_calls").at("futex") == 1.25);
  CHECK_FALSE(all[1].contains("unstable_because"));
  CHECK(all[2].at("name") == "one_way.shm.copy.polling");
  CHECK(all[2].at("ns_per_message") == 50.0);
  CHECK(all[2].at("payload_bytes_per_s") == 64 * 2e7);
  CHECK_FALSE(all[2].contains("p50_ns"));
  CHECK(all[3].at("name") == "round_trip.floor.futex");
  CHECK(all[3].at("ns") == 100.25);
}

TEST_CASE("what was not measured, not counted or not steady says why, and has no figure of it") {
  bench::comparison c;
  c.rows.push_back(sample_row(bench::job::one_way, {bench::carrier::kernel, false}, 10));
  c.rows[0].not_measured = "no sockets";
  c.rows.push_back(sample_row(bench::job::one_way, {bench::carrier::pipe, false}, 10));
  c.rows[1].counts.reset();
  c.rows[1].not_counted = "ptrace: Operation not permitted";
  c.rows[1].time.regime = regime::unstable;
  c.rows[1].time.why = doubt::floor_awake;
  const auto all = objects_of(bench::json_of(c, {}));
  CHECK(all[1].at("not_measured_because") == "no sockets");
  CHECK_FALSE(all[1].contains("ns_per_message"));
  CHECK(all[2].at("not_counted_because") == "ptrace: Operation not permitted");
  CHECK_FALSE(all[2].contains("system_calls_per_message"));
  CHECK_FALSE(all[2].contains("copies_per_message"));
  CHECK(all[2].at("unstable_because") == "the floor's sides did not sleep");
  const std::string tables = bench::tables_of(c);
  CHECK(tables.find("not measured: no sockets") != std::string::npos);
  CHECK(tables.find("not counted: ptrace: Operation not permitted") != std::string::npos);
  CHECK(tables.find("unstable: the floor's sides did not sleep") != std::string::npos);
}

TEST_CASE("whether a file goes as fast as it should is said as it was found") {
  bench::comparison c;
  CHECK(bench::file_transfer_verdict(c).empty());
  c.rows.push_back(sample_row(bench::job::file_transfer, {bench::carrier::loan, false}, 100));
  c.rows.push_back(sample_row(bench::job::file_transfer, {bench::carrier::kernel, false}, 160));
  c.rows[1].time.cpu_us = 2;
  CHECK(bench::file_transfer_verdict(c).find("1.60 times as fast as the kernel path, for 75 % of") !=
        std::string::npos);
  CHECK(bench::file_transfer_verdict(c).ends_with("is met"));
  c.rows[1].time.time = 149;
  CHECK(bench::file_transfer_verdict(c).ends_with("is not met"));
  c.rows[1].time.regime = regime::unstable;
  CHECK(bench::file_transfer_verdict(c).find("measure again") != std::string::npos);
  c.rows[0].not_measured = "no /dev/shm";
  CHECK(bench::file_transfer_verdict(c).empty());
}
