#include "report.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace {

bench::measured sample_row() {
  bench::measured row;
  row.name = "shm.poll";
  row.payload_bytes = 64;
  row.touch_bytes = 64;
  row.cpus[1] = 1;
  row.turns = 1000;
  row.p50 = 131.25049;
  row.p90 = 140;
  row.p99 = 150;
  row.p999 = 1'600;
  row.p9999 = 17'000;
  row.max = 18'000'000;
  row.messages_per_s = 12'345'678.9;
  row.floor = bench::floor_kind::slot;
  row.floor_before = 100;
  row.floor_after = 110;
  row.ratio = 1.25;
  row.regime = bench::regime::near;
  row.attempts = 1;
  return row;
}

}  // namespace

TEST_CASE("a row is one JSON object on one line, with the names that are promised") {
  const std::string line = bench::json_line(sample_row());
  CHECK(line.find('\n') == std::string::npos);
  const auto j = nlohmann::json::parse(line);
  CHECK(j.at("name") == "shm.poll");
  CHECK(j.at("payload_bytes") == 64);
  CHECK(j.at("p50_ns") == 131.25);
  CHECK(j.at("p90_ns") == 140.0);
  CHECK(j.at("p99_ns") == 150.0);
  CHECK(j.at("p999_ns") == 1'600.0);
  CHECK(j.at("p9999_ns") == 17'000.0);
  CHECK(j.at("max_ns") == 18'000'000.0);
  CHECK(j.at("messages_per_s") == 12'345'679.0);
  CHECK(j.at("floor_name") == "slot");
  CHECK(j.at("floor_before_ns") == 100.0);
  CHECK(j.at("floor_after_ns") == 110.0);
  CHECK(j.at("ratio") == 1.25);
  CHECK(j.at("regime") == "near");
}

TEST_CASE("a row says what it took of each CPU, and how often it called the kernel") {
  bench::measured row = sample_row();
  row.cpu_us = 1.5;
  row.calls = 2;
  row.enters = 1.25;
  row.cpu_percent[0] = 100;
  row.cpu_percent[1] = 0.31;
  const auto j = nlohmann::json::parse(bench::json_line(row));
  CHECK(j.at("cpu_us_per_message") == 1.5);
  CHECK(j.at("calls_per_message") == 2.0);
  CHECK(j.at("enters_per_message") == 1.25);
  CHECK(j.at("cpu_percent") == nlohmann::json({100.0, 0.31}));
  CHECK(bench::table_line(row).find(" 1500ns ") != std::string::npos);
  CHECK(bench::table_line(row).find(" 2.00 ") != std::string::npos);
  CHECK(bench::table_line(row).find(" 100/0.31 ") != std::string::npos);
}

TEST_CASE("the rate is in a row that was measured at one, and in no other") {
  bench::measured row = sample_row();
  CHECK_FALSE(nlohmann::json::parse(bench::json_line(row)).contains("rate_per_s"));
  row.rate = 1'000;
  CHECK(nlohmann::json::parse(bench::json_line(row)).at("rate_per_s") == 1'000);
}

TEST_CASE("a row that was never stable says so") {
  bench::measured row = sample_row();
  CHECK_FALSE(nlohmann::json::parse(bench::json_line(row)).contains("unstable_because"));
  row.regime = bench::regime::unstable;
  row.why = bench::doubt::floor_awake;
  CHECK(nlohmann::json::parse(bench::json_line(row)).at("regime") == "unstable");
  CHECK(nlohmann::json::parse(bench::json_line(row)).at("unstable_because") == "the floor's sides did not sleep");
  CHECK(bench::table_line(row).find("unstable: the floor's sides did not sleep") != std::string::npos);
  CHECK(bench::table_line(row).find("unstable") != std::string::npos);
}

TEST_CASE("the table gives each time with its unit") {
  const std::string line = bench::table_line(sample_row());
  CHECK(line.find(" 131ns ") != std::string::npos);
  CHECK(line.find(" 1600ns ") != std::string::npos);
  CHECK(line.find(" 17.0us ") != std::string::npos);
  CHECK(line.find(" 18ms ") != std::string::npos);
  CHECK(line.back() == '\n');
}

TEST_CASE("the table says when a rate was more than the row can keep") {
  bench::measured row = sample_row();
  row.rate = 1'000;
  row.messages_per_s = 2'000;
  CHECK(bench::table_line(row).find("cannot keep") == std::string::npos);
  row.messages_per_s = 1'000;
  CHECK(bench::table_line(row).find("it cannot keep this rate: 500 round trips a second") != std::string::npos);
}

TEST_CASE("the table says when other programs had the row's CPUs") {
  bench::measured row = sample_row();
  CHECK(bench::table_line(row).find("other programs") == std::string::npos);
  row.cpu_share = 0.6;
  CHECK(bench::table_line(row).find("other programs had its CPUs for 40 % of the time") != std::string::npos);
}
