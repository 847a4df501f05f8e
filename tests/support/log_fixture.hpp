// A lane on disk in a directory of the test's own, and messages that know whether they are whole.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include "quoit/detail/log_reader.hpp"
#include "storage/frame_walk.hpp"
#include "storage/log_writer.hpp"

namespace quoit::test {

using namespace quoit::detail;

// A directory on a disk, removed at the end.
class scratch_directory {
 public:
  scratch_directory() {
    const char* const base = std::getenv("QUOIT_TEST_DIR");
    std::string name = std::string(base != nullptr ? base : "/var/tmp") + "/quoit-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed: " + name);
    path_ = name;
  }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;
  ~scratch_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The directory of a lane by its path, as tests name it.
inline directory_handle handle_of(const std::string& path) { return directory_handle::open(path).value(); }
inline std::vector<u64> list_segments(const std::string& lane) {
  const auto where = directory_handle::open(lane);
  return where ? detail::list_segments(*where) : std::vector<u64>();
}
inline quoit::result<std::shared_ptr<segment_file>> open_segment(const std::string& lane, u64 number, access how) {
  return detail::open_segment(handle_of(lane), number, how);
}
inline quoit::result<void> remove_segment(const std::string& lane, u64 number) {
  const auto there = open_lane_directory(handle_of(lane)).value();
  return detail::remove_segment(there.where, number, there.header().lane_id);
}

inline log_writer_options small_log(const scratch_directory& directory) {
  log_writer_options o;
  o.directory = directory.path();
  o.topic = "market/quotes";
  o.kind.segment_bytes = segment_bytes_min;
  o.kind.payload_bytes_max = 4096;
  return o;
}

// The bytes of message n: its number, and what follows from it.
inline u32 size_of(u64 n) { return static_cast<u32>(8 + n * 7919 % 400); }
inline void write_message(std::byte* to, u32 bytes, u64 n) {
  for (u32 at = 0; at < bytes; ++at) to[at] = static_cast<std::byte>(n + at * 31);
  if (bytes != 0) std::memcpy(to, &n, std::min<u32>(bytes, 8));
}
inline bool is_message(const std::byte* from, u32 bytes, u64 n) {
  std::vector<std::byte> expected(bytes);
  write_message(expected.data(), bytes, n);
  return bytes == 0 || std::memcmp(from, expected.data(), bytes) == 0;
}

// Waits for the next segment where it is still being made.
inline append_status claim_waiting(log_writer& w, u32 bytes, lane_claim& claim) {
  for (;;) {
    const append_status status = w.appender().claim(bytes, claim);
    if (status != append_status::not_ready) return status;
    ::usleep(100);
  }
}
inline append_status append(log_writer& w, u64 n, u32 bytes) {
  lane_claim claim;
  if (const append_status status = claim_waiting(w, bytes, claim); status != append_status::ok) return status;
  write_message(claim.payload, bytes, n);
  w.appender().commit(claim, bytes);
  return append_status::ok;
}
inline append_status append(log_writer& w, u64 n) { return append(w, n, size_of(n)); }
inline void append_all(log_writer& w, u64 begin, u64 end) {
  for (u64 n = begin; n < end; ++n) REQUIRE(append(w, n) == append_status::ok);
}

inline std::unique_ptr<log_writer> open_log(const log_writer_options& o) {
  auto w = log_writer::open(o);
  INFO((w ? std::string() : w.error().message()));
  REQUIRE(w.has_value());
  return std::move(*w);
}
inline std::unique_ptr<log_reader> open_reader(const log_writer_options& o, u32 held_max = 4, bool check_all = false) {
  auto r = log_reader::open(o.directory, o.topic, o.name, held_max, check_all);
  INFO((r ? std::string() : r.error().message()));
  REQUIRE(r.has_value());
  return std::move(*r);
}
inline std::unique_ptr<log_reader> read_from_begin(const log_writer_options& o, bool check_all = false) {
  auto r = open_reader(o, 4, check_all);
  REQUIRE(r->start_at_earliest().has_value());
  return r;
}

// Gives the messages of a lane that nobody has open other times, which may not go back.
inline void set_stamps(const log_writer_options& o, const std::vector<u64>& stamps) {
  const std::string directory = lane_directory(o.directory, o.topic, o.name);
  std::size_t at = 0;
  for (const u64 number : list_segments(directory)) {
    const auto segment = open_segment(directory, number, access::read_write).value();
    segment_start start{};
    if (!segment->read_start(start)) break;
    log_place place{start.position, start.sequence, start.voids, 0};
    for (;;) {
      const frame_step step = look_at_frame(*segment, start.position, place, false);
      if (step.kind == step_kind::message) {
        REQUIRE(at < stamps.size());
        std::memcpy(segment->data() + (place.position - start.position) + 8, &stamps[at++], 8);
      } else if (step.kind != step_kind::voided && step.kind != step_kind::skip) {
        break;
      }
      place = behind(place, step);
    }
  }
  REQUIRE(at == stamps.size());
}

// The segments to which the publisher has come, without those that are made ahead.
inline std::vector<u64> begun_segments(const std::string& directory) {
  std::vector<u64> begun;
  for (const u64 number : list_segments(directory)) {
    segment_start start{};
    const auto segment = open_segment(directory, number, access::read);
    if (segment && (*segment)->read_start(start)) begun.push_back(number);
  }
  return begun;
}

// Makes the files of a lane that nobody has open those of an earlier boot.
inline void restart_machine(const std::string& lane) {
  for (const u64 number : list_segments(lane)) {
    const auto segment = open_segment(lane, number, access::read_write).value();
    segment_header& head = segment->header();
    head.prefix.boot_id[0] ^= 1;
    head.check = header_check(head);
  }
  open_lane_directory_to_write(handle_of(lane))->header().holder_boot[0] ^= 1;
}

// The messages from this sequence on were never written back, and a power failure took them. Nobody has the lane open.
inline void lose_end(const log_writer_options& o, u64 sequence) {
  const std::string lane = lane_directory(o.directory, o.topic, o.name);
  auto r = read_from_begin(o);
  for (lane_frame frame; r->sequence() < sequence; r->release(frame)) REQUIRE(r->take(frame) == take_status::message);
  const u64 position = r->position();
  r.reset();
  for (const u64 number : begun_segments(lane)) {
    const auto segment = open_segment(lane, number, access::read_write).value();
    segment_start begin{};
    REQUIRE(segment->read_start(begin));
    if (begin.position > position) {
      std::filesystem::remove(lane + "/" + segment_name(number));
    } else if (position < begin.position + segment->geometry.data_bytes) {
      const u64 offset = position - begin.position;
      std::memset(segment->data() + offset, 0, segment->geometry.data_bytes - offset);
    }
  }
}

// The number of the next message, which has to be whole; nothing if there is none.
inline std::optional<u64> next_number(log_reader& r) {
  lane_frame frame;
  const take_status status = r.take(frame);
  if (status == take_status::nothing) return std::nullopt;
  INFO(r.fault());
  REQUIRE(status == take_status::message);
  u64 n = 0;
  std::memcpy(&n, frame.payload, std::min<u32>(frame.payload_bytes, 8));
  CHECK(is_message(frame.payload, frame.payload_bytes, n));
  r.release(frame);
  return n;
}
// Reads numbers from `begin` on; returns the one behind the last.
inline u64 read_on(log_reader& r, u64 begin) {
  while (const auto n = next_number(r)) {
    if (*n != begin) FAIL_CHECK("message " << *n << " where " << begin << " was due");
    if (*n != begin) break;
    ++begin;
  }
  return begin;
}

}  // namespace quoit::test
