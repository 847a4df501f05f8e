// What the rows of a lane on disk have in common: what is asked for, how it is printed, and a lane to write to.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "quoit/detail/log_reader.hpp"
#include "storage/log_writer.hpp"

namespace kept {

using namespace quoit::detail;

struct setting {
  std::string directory;  // of this run alone
  u64 messages = 10'000'000;
  u32 bytes = 64;
  u64 segment_bytes = u64{64} << 20;
  u64 gigabytes = 10;  // of the topic that is opened and searched

  log_writer_options options(const std::string& name, log_durability durability = log_durability::os) const {
    log_writer_options o;
    o.directory = directory;
    o.topic = "bench";
    o.name = name;
    o.durability = durability;
    o.kind.segment_bytes = segment_bytes;
    o.kind.payload_bytes_max = 4096;
    return o;
  }
  std::string lane(const std::string& name) const { return lane_directory(directory, "bench", name); }
};

inline std::vector<u64> list_segments(const std::string& lane) {
  const auto where = directory_handle::open(lane);
  return where ? quoit::detail::list_segments(*where) : std::vector<u64>();
}

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class T>
T must(quoit::result<T> r) {
  if (r) return std::move(*r);
  std::fprintf(stderr, "storage: %s\n", r.error().message().c_str());
  std::exit(1);
}
inline void must(quoit::result<void> r) {
  if (r) return;
  std::fprintf(stderr, "storage: %s\n", r.error().message().c_str());
  std::exit(1);
}

// Of the values, in whatever order they are.
inline double share_of(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}
inline double median(const std::vector<double>& values) { return share_of(values, 0.5); }

// A figure beside its floor. `target`: the ratio that is asked for, at least where more is better, at most where it is
// not; 0: none.
inline void row(const char* name, double ours, const char* unit, double floor, const char* floor_name,
                double target = 0, bool more_is_better = true) {
  std::printf("%-34s %9.2f %-5s | %-26s %9.2f %-5s", name, ours, unit, floor_name, floor, unit);
  if (floor > 0) std::printf(" | ratio %5.2f", ours / floor);
  if (target > 0) {
    const bool met = more_is_better ? ours / floor >= target : ours / floor <= target;
    std::printf(", asked %s %.2f: %s", more_is_better ? ">=" : "<=", target, met ? "met" : "NOT MET");
  }
  std::printf("\n");
  std::fflush(stdout);
}
// A figure beside what is asked for.
inline void row(const char* name, double ours, const char* unit, double target, bool more_is_better) {
  const bool met = more_is_better ? ours >= target : ours <= target;
  std::printf("%-34s %9.2f %-5s | asked %s %g: %s\n", name, ours, unit, more_is_better ? ">=" : "<=", target,
              met ? "met" : "NOT MET");
  std::fflush(stdout);
}

// A publisher's lane with its keeper. Waits for a segment as a publisher does: until the keeper says that it has one.
class open_lane {
 public:
  explicit open_lane(log_writer_options o) {
    o.own_thread = false;
    writer_ = must(log_writer::open(std::move(o)));
    writer_->keeper().when_done([this] {
      {
        const std::lock_guard hold(mutex_);
        ++done_;
      }
      moved_.notify_one();
    });
    thread_.emplace(writer_->keeper());
  }
  open_lane(const open_lane&) = delete;
  open_lane& operator=(const open_lane&) = delete;

  segment_appender& appender() { return writer_->appender(); }
  segment_keeper& keeper() { return writer_->keeper(); }
  log_writer& writer() { return *writer_; }
  u64 waited() const { return waited_; }

  // Inline, as for a type of a fixed size.
  [[gnu::always_inline]] void append(const std::byte* payload, u32 bytes) {
    lane_claim claim;
    append_status status = append_status::ok;
    while ((status = writer_->appender().claim(bytes, claim)) != append_status::ok) [[unlikely]]
      wait(status);
    std::memcpy(claim.payload, payload, bytes);
    writer_->appender().commit(claim, bytes);
  }
  // Until the keeper has made what it wants to.
  void wait_for_spares() {
    while (keeper().spares() < keeper().spares_wanted()) ::usleep(1000);
    ::usleep(20'000);
  }

 private:
  void wait(append_status status) {
    if (status != append_status::not_ready) std::fprintf(stderr, "storage: no space\n"), std::exit(1);
    ++waited_;
    std::unique_lock hold(mutex_);
    moved_.wait_for(hold, std::chrono::milliseconds(1), [&] { return done_ != seen_; });
    seen_ = done_;
  }

  std::mutex mutex_;
  std::condition_variable moved_;
  u64 done_ = 0;
  u64 seen_ = 0;
  u64 waited_ = 0;
  std::unique_ptr<log_writer> writer_;
  std::optional<keeper_thread> thread_;
};

// Memory that was in use a moment ago, or half of what is free, if that is less. A virtual machine may have given its
// free pages back to the host, and then the first to use one waits for it: five times as long as for making it zero.
// Neither side shall be the one that does.
inline void warm_memory(std::size_t bytes) {
  const auto free_bytes = static_cast<std::size_t>(::sysconf(_SC_AVPHYS_PAGES)) * 4096;
  bytes = std::min(bytes, free_bytes / 2);
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 1, bytes);
  ::munmap(memory, bytes);
}

void append_rows(const setting& s);
void latency_rows(const setting& s);
void flush_rows(const setting& s);
void replay_rows(const setting& s);
void place_rows(const setting& s);

}  // namespace kept
