#include <doctest/doctest.h>

#include <set>
#include <string_view>

#include "measure.hpp"

namespace {

const bench::row_type& row_named(std::string_view name) {
  for (const bench::row_type& row : bench::all_rows()) {
    if (row.name == name) return row;
  }
  FAIL("there is no such row");
  return bench::all_rows().front();
}

bench::request on_two_cpus() {
  bench::request wanted;
  wanted.cpus = {0, 1};
  return wanted;
}

}  // namespace

TEST_CASE("rows have different names") {
  std::set<std::string_view> names;
  for (const bench::row_type& row : bench::all_rows()) CHECK(names.insert(row.name).second);
}

TEST_CASE("a message is as large as was asked for, and touched as a whole") {
  bench::request wanted = on_two_cpus();
  CHECK(size_of(row_named("shm.poll"), wanted).payload_bytes == 64);
  wanted.payload_asked_for = 1024;
  CHECK(size_of(row_named("shm.poll"), wanted).payload_bytes == 1024);
  CHECK(size_of(row_named("shm.poll"), wanted).touch_bytes == 1024);
  wanted.touch_asked_for = 8;
  CHECK(size_of(row_named("shm.poll"), wanted).touch_bytes == 8);
}

TEST_CASE("a row may have a size of its own, which an option changes") {
  bench::request wanted = on_two_cpus();
  CHECK(size_of(row_named("shm.loan"), wanted).payload_bytes == 1 << 20);
  CHECK(size_of(row_named("shm.loan"), wanted).touch_bytes == 8);
  wanted.payload_asked_for = 4;
  CHECK(size_of(row_named("shm.loan"), wanted).payload_bytes == 4);
  CHECK(size_of(row_named("shm.loan"), wanted).touch_bytes == 4);
}

TEST_CASE("the words of the floors line and futex have their size, whatever is asked for") {
  bench::request wanted = on_two_cpus();
  wanted.payload_asked_for = 1024;
  CHECK(size_of(row_named("raw.line"), wanted).payload_bytes == 8);
  CHECK(size_of(row_named("raw.futex"), wanted).payload_bytes == 4);
}

TEST_CASE("rows that poll, or whose floor does, are refused on one CPU, and rows that sleep are not") {
  bench::request wanted;
  wanted.cpus = {0, 0};
  for (const bench::row_type& row : bench::all_rows()) {
    CHECK(objection(row, wanted).empty() == !(row.polls || bench::spins(row.floor)));
  }
}

TEST_CASE("a fixed rate is for round trips through the library") {
  bench::request wanted = on_two_cpus();
  wanted.rate = 1000;
  CHECK(objection(row_named("shm.poll"), wanted).empty());
  CHECK(objection(row_named("shm.wait"), wanted).empty());
  CHECK_FALSE(objection(row_named("raw.slot"), wanted).empty());
  CHECK_FALSE(objection(row_named("shm.oneway"), wanted).empty());
  CHECK(objection(row_named("executor.echo"), wanted).empty());
  CHECK_FALSE(objection(row_named("raw.echo"), wanted).empty());
}

TEST_CASE("an echo is as large as was asked for, and all of it is sent") {
  bench::request wanted = on_two_cpus();
  wanted.payload_asked_for = 4096;
  for (const char* name : {"raw.echo", "executor.echo", "raw.echo.spin", "executor.echo.spin"}) {
    CHECK(size_of(row_named(name), wanted).touch_bytes == 4096);
    CHECK(objection(row_named(name), wanted).empty());
  }
  wanted.touch_asked_for = 8;
  CHECK_FALSE(objection(row_named("executor.echo"), wanted).empty());
  wanted.touch_asked_for.reset();
  wanted.payload_asked_for = 2 << 20;
  CHECK_FALSE(objection(row_named("executor.echo"), wanted).empty());
}

TEST_CASE("more than the floor can copy is refused, more than is touched is not") {
  bench::request wanted = on_two_cpus();
  wanted.payload_asked_for = 2 << 20;
  CHECK_FALSE(objection(row_named("shm.poll"), wanted).empty());
  wanted.touch_asked_for = 8;
  CHECK(objection(row_named("shm.poll"), wanted).empty());
}
