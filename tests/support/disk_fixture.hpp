// A topic on disk in a directory of the test's own, on a disk that can be made to wait, to fail, or to be full. The
// calls that do so are in tests/unit/bus/disk_publisher_test.cpp.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <quoit.hpp>
#include <string>
#include <thread>
#include <type_traits>

#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

namespace quoit::test {

using namespace std::chrono_literals;
using quoit::durability;

inline std::atomic<bool> disk_full = false;
inline std::atomic<bool> disk_waits = false;  // allocating and writing back take until this is false
inline std::atomic<int> sync_errors = 0;      // so many of the next ones fail
inline std::atomic<u64> syncs = 0;

inline void wait_for_disk() {
  while (disk_waits) std::this_thread::sleep_for(100us);
}

struct good_disk {
  good_disk() { reset(); }
  ~good_disk() { reset(); }
  good_disk(const good_disk&) = delete;
  good_disk& operator=(const good_disk&) = delete;
  static void reset() {
    disk_full = disk_waits = false;
    sync_errors = 0;
    syncs = 0;
  }
};

inline constexpr std::size_t small_segment = 64 << 10;
inline constexpr u64 per_segment = 600;  // messages of `checked`: fewer fit

// The directory and the name stay where they are as long as the result is used.
inline quoit::publisher_options on_disk(const scratch_directory& directory, const char* name = "0",
                                        durability how = durability::os) {
  quoit::publisher_options o;
  o.directory = directory.path();
  o.publisher_name = name;
  o.durability = how;
  o.segment_bytes = small_segment;
  return o;
}

template <class T>
T must(quoit::result<T> r) {
  INFO((r ? std::string() : r.error().message()));
  REQUIRE(r.has_value());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

inline std::string message_of(const quoit::error& e) { return e.message(); }
inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline void publish_all(quoit::publisher<checked>& pub, u64 begin, u64 end, u64 publisher = 0) {
  for (u64 n = begin; n < end; ++n) must(pub.publish_for(checked::make(publisher, n), 60s));
}

// Reads the lane from its begin: numbers follow each other, and each message is whole. How many there are.
inline u64 count_in(const scratch_directory& directory, const char* name = "0", u64 publisher = 0) {
  auto reader = must(log_reader::open(directory.path(), "t", name, 4, true));
  must(reader->start_at_earliest());
  u64 n = 0;
  lane_frame frame;
  for (take_status status; (status = reader->take(frame)) != take_status::nothing;) {
    INFO(reader->fault());
    REQUIRE(status == take_status::message);
    REQUIRE(frame.payload_bytes == sizeof(checked));
    checked m;
    std::memcpy(&m, frame.payload, sizeof m);
    reader->release(frame);
    REQUIRE(m.intact());
    REQUIRE(m.publisher == publisher);
    REQUIRE(m.number == n);
    ++n;
  }
  return n;
}

inline void check_whole(const scratch_directory& directory, const char* name = "0") {
  const auto v = must(verify_lane(lane_directory(directory.path(), "t", name)));
  INFO((v.faults.empty() ? std::string() : v.faults.front().words));
  CHECK(v.whole());
}

}  // namespace quoit::test
