// A topic of many gigabytes: writing it, opening it after a death and after a restart, finding places in it.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <filesystem>
#include <random>

#include "floors/append.hpp"
#include "kept.hpp"

namespace kept {

namespace {

constexpr u32 bytes = 1024;

template <class F>
double ms_of(F&& f) {
  const double begin = now();
  f();
  return (now() - begin) * 1e3;
}

// Publishes a little, has a loan open, and is killed.
void publish_and_die(const setting& s) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::byte payload[bytes]{};
    open_lane dying(s.options("places"));
    for (int i = 0; i < 1000; ++i) dying.append(payload, bytes);
    lane_claim claim;
    (void)dying.appender().claim(bytes, claim);
    dying.wait_for_spares();
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
}

// Nothing of the lane is in memory after this, but what the file system keeps of its files.
void forget(const std::string& lane) {
  for (const u64 number : list_segments(lane)) {
    const fd file(::open((lane + "/" + segment_name(number)).c_str(), O_RDONLY | O_CLOEXEC));
    if (file) ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  }
}
void write_back(const std::string& lane) {
  const fd folder(::open(lane.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) ::syncfs(folder.get());
}

// What one page costs that is not in memory, with what else the disk does at the time.
double cold_page_ms(const std::string& lane, std::mt19937_64& random) {
  std::vector<double> times;
  const std::vector<u64> numbers = list_segments(lane);
  forget(lane);
  std::byte page[4096];
  for (int i = 0; i < 100; ++i) {
    const fd file(
        ::open((lane + "/" + segment_name(numbers[random() % numbers.size()])).c_str(), O_RDONLY | O_CLOEXEC));
    ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_RANDOM);
    times.push_back(ms_of([&] {
      if (::pread(file.get(), page, sizeof page, 4096 * static_cast<off_t>(random() % 10'000)) < 0) std::exit(1);
    }));
  }
  return median(times);
}

long major_faults() {
  rusage u{};
  ::getrusage(RUSAGE_THREAD, &u);
  return u.ru_majflt;
}

// The segments are of another boot from now on.
void restart(const std::string& lane) {
  for (const u64 number : list_segments(lane)) {
    auto segment = must(open_segment(must(directory_handle::open(lane)), number, access::read_write));
    segment_header& head = segment->header();
    head.prefix.boot_id[0] ^= 1;
    const auto* const begin = reinterpret_cast<const std::byte*>(&head);
    head.check = u64{crc32c_words(~u32{0}, begin, offsetof(segment_header, check))} | u64{1} << 32;
  }
}

}  // namespace

void place_rows(const setting& s) {
  if (s.gigabytes == 0) return;
  const u64 count = s.gigabytes * 1'000'000'000 / floors::append_extent(bytes);
  const std::string lane = s.lane("places");
  std::vector<u64> stamps;  // of every thousandth message
  {
    floors::anchored_clock counter;
    auto clock = [&] { return counter.now(); };
    const std::byte payload[bytes]{};
    const u64 files = count * floors::append_extent(bytes) / s.segment_bytes + 1;
    warm_memory(files * s.segment_bytes);
    double begin = now();
    {
      floors::mapping_maker maker(s.directory.c_str(), s.segment_bytes, 4, files);
      unsigned char* memory = nullptr;
      u64 sequence = 0;
      for (u64 f = 0; f < files; ++f) {
        floors::append_lap<true>(memory = maker.next(memory), s.segment_bytes,
                                 std::integral_constant<std::size_t, bytes>{},
                                 reinterpret_cast<const unsigned char*>(payload), sequence, clock);
      }
      begin = now() - begin;
    }
    const double floor = static_cast<double>(files * s.segment_bytes) / 1e9 / begin;
    warm_memory(files * s.segment_bytes);
    open_lane written(s.options("places"));
    begin = now();
    for (u64 n = 0; n < count; ++n) {
      written.append(payload, bytes);
      if (n % 1000 == 0) stamps.push_back(written.appender().last_stamp());
    }
    row("append, 1 KiB, past the cache",
        static_cast<double>(count * floors::append_extent(bytes)) / 1e9 / (now() - begin), "GB/s", floor,
        "stores, files made beside", 0.7);
  }
  std::vector<double> open, read;
  for (int i = 0; i < 7; ++i) {
    publish_and_die(s);
    read.push_back(ms_of([&] {
      auto reader = must(log_reader::open(s.directory, "bench", "places", 4));
      must(reader->start_at_earliest());
      lane_frame frame;
      if (reader->take(frame) != take_status::message) std::exit(1);
      reader->release(frame);
    }));
    std::unique_ptr<log_writer> writer;
    open.push_back(ms_of([&] { writer = must(log_writer::open(s.options("places"))); }));
  }
  std::printf("a topic of %llu GB in %zu files:\n", static_cast<unsigned long long>(s.gigabytes),
              list_segments(lane).size());
  row("opened after a death", median(open), "ms", 100, false);
  row("reader at the first message", median(read), "ms", 100, false);
  write_back(lane);
  std::mt19937_64 random(1);
  for (const bool cold : {false, true}) {
    std::vector<double> by_sequence, by_time, pages;
    for (int i = 0; i < 40; ++i) {
      const u64 thousand = random() % stamps.size();
      for (const bool time : {false, true}) {
        if (cold) forget(lane);
        auto reader = must(log_reader::open(s.directory, "bench", "places", 4));
        lane_frame frame;
        const long before = major_faults();
        const double ms = ms_of([&] {
          must(time ? reader->start_at_time(stamps[thousand]) : reader->start_at_sequence(thousand * 1000));
          if (reader->take(frame) != take_status::message) std::exit(1);
        });
        if (time ? frame.stamp != stamps[thousand] : frame.sequence != thousand * 1000) {
          std::fprintf(stderr, "storage: found another message\n");
          std::exit(1);
        }
        pages.push_back(static_cast<double>(major_faults() - before));
        reader->release(frame);
        (time ? by_time : by_sequence).push_back(ms);
      }
    }
    row(cold ? "seek by sequence, nothing cached" : "seek by sequence", median(by_sequence), "ms", 1, false);
    std::printf("  longest of 40: %.2f ms\n", share_of(by_sequence, 1));
    row(cold ? "seek by time, nothing cached" : "seek by time", median(by_time), "ms", 1, false);
    std::printf("  longest of 40: %.2f ms\n", share_of(by_time, 1));
    if (cold) {
      std::printf("  each waits %.0f times for the disk; a page that is not in memory takes %.3f ms just now\n",
                  median(pages), cold_page_ms(lane, random));
    }
  }
  publish_and_die(s);
  restart(lane);
  write_back(lane);
  forget(lane);
  std::unique_ptr<log_writer> writer;
  const double ms = ms_of([&] { writer = must(log_writer::open(s.options("places"))); });
  std::printf("opened after a restart of the machine: %.0f ms: %llu messages verified, %.2f GB/s, nothing cached\n", ms,
              static_cast<unsigned long long>(writer->report().messages_verified),
              static_cast<double>(writer->report().messages_verified * floors::append_extent(bytes)) / 1e6 / ms);
}

}  // namespace kept
