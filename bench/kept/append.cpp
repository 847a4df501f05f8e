// Appending with durability `os`, beside the same stores without a lane.
#include <filesystem>

#include "floors/append.hpp"
#include "kept.hpp"

namespace kept {

namespace {

// What the processors did meanwhile, for this thread and for the one that makes files: on a machine that others use at
// the same time this says more than the clock.
struct cpu_time {
  double here = 0, beside = 0;

  static double of(clockid_t clock) {
    timespec t{};
    ::clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
  }
  static cpu_time now() {
    const double here = of(CLOCK_THREAD_CPUTIME_ID);
    return {here, of(CLOCK_PROCESS_CPUTIME_ID) - here};
  }
  void add_since(const cpu_time& begin) {
    const cpu_time end = now();
    here += end.here - begin.here;
    beside += end.beside - begin.beside;
  }
  void print(const char* whose, u64 messages) const {
    std::printf("  %s: %.1f ns of CPU for each message, and %.1f of the other thread\n", whose,
                here / static_cast<double>(messages) * 1e9, beside / static_cast<double>(messages) * 1e9);
  }
};

template <u32 Bytes>
struct appending {
  const setting& s;
  std::byte payload[Bytes];
  u64 waited = 0;

  explicit appending(const setting& wanted) : s(wanted) { std::memset(payload, 'x', sizeof payload); }

  double millions(u64 count, double seconds) const { return static_cast<double>(count) / seconds / 1e6; }

  double ours(open_lane& lane, u64 count) {
    const double begin = now();
    for (u64 n = 0; n < count; ++n) lane.append(payload, Bytes);
    return millions(count, now() - begin);
  }
  u64 lap(unsigned char* memory, u64 bytes) {
    u64 sequence = 0;
    auto clock = [this] { return counter.now(); };
    return floors::append_lap<true>(memory, bytes, std::integral_constant<std::size_t, Bytes>{},
                                    reinterpret_cast<const unsigned char*>(payload), sequence, clock);
  }
  floors::anchored_clock counter;

  // As much as fits into what is ready.
  void burst() {
    open_lane lane(s.options("burst"));
    const u64 count = s.segment_bytes / floors::append_extent(Bytes);
    int file = -1;
    unsigned char* const memory = floors::populated_mapping(s.directory.c_str(), s.segment_bytes, file);
    std::vector<double> us, floor;
    cpu_time mine, raw;
    u64 raw_frames = 0;
    for (int i = 0; i < 15; ++i) {
      lane.wait_for_spares();
      cpu_time before = cpu_time::now();
      us.push_back(ours(lane, count));
      mine.add_since(before);
      lane.wait_for_spares();
      before = cpu_time::now();
      const double begin = now();
      const u64 frames = lap(memory, s.segment_bytes);
      floor.push_back(millions(frames, now() - begin));
      raw.add_since(before);
      raw_frames += frames;
    }
    row("append, burst", median(us), "M/s", median(floor), "stores, same mapping", 0.7);
    row("append, burst", median(us), "M/s", 20, true);
    ::munmap(memory, s.segment_bytes);
    ::close(file);
    mine.print("a lane", 15 * count);
    raw.print("stores", raw_frames);
    std::printf("  waited %llu times for a segment\n", static_cast<unsigned long long>(lane.waited()));
  }

  void sustained() {
    std::vector<double> us, floor;
    const u64 files = std::max<u64>(s.messages * floors::append_extent(Bytes) / s.segment_bytes, 1);
    waited = 0;
    cpu_time mine, raw;
    u64 raw_frames = 0;
    const std::size_t memory_bytes = (files + 6) * s.segment_bytes;
    for (int i = 0; i < 5; ++i) {
      warm_memory(memory_bytes);
      {
        open_lane lane(s.options("sustained"));
        const cpu_time before = cpu_time::now();
        us.push_back(ours(lane, s.messages));
        mine.add_since(before);
        waited += lane.waited();
      }
      std::filesystem::remove_all(s.lane("sustained"));
      warm_memory(memory_bytes);
      floors::mapping_maker maker(s.directory.c_str(), s.segment_bytes, 4, files);
      u64 frames = 0;
      unsigned char* memory = nullptr;
      const cpu_time before = cpu_time::now();
      const double begin = now();
      for (u64 f = 0; f < files; ++f) frames += lap(memory = maker.next(memory), s.segment_bytes);
      floor.push_back(millions(frames, now() - begin));
      raw.add_since(before);
      raw_frames += frames;
    }
    row("append, sustained", median(us), "M/s", median(floor), "stores, files made beside", 0.7);
    row("append, sustained", median(us), "M/s", 20, true);
    mine.print("a lane", 5 * s.messages);
    raw.print("stores", raw_frames);
    std::printf("  %.2f GB in each of 5 runs; waited %llu times for a segment\n",
                static_cast<double>(s.messages * floors::append_extent(Bytes)) / 1e9,
                static_cast<unsigned long long>(waited));
  }
};

}  // namespace

void append_rows(const setting& s) {
  const auto run = [](auto&& what) {
    what.burst();
    what.sustained();
  };
  if (s.bytes == 4096) {
    run(appending<4096>(s));
  } else {
    run(appending<64>(s));
  }
  std::filesystem::remove_all(s.lane("burst"));
}

}  // namespace kept
