// How fast a lane on disk is: storage DIRECTORY [MILLIONS] [BYTES] [SEGMENT MIB]. Beside it, in the same minute:
// floors/append.
//
// Appends with durability `os`, reads from the begin, seeks, and opens again; then flushes beside raw fdatasync.
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "quoit/detail/log_reader.hpp"
#include "storage/log_writer.hpp"

using namespace quoit::detail;

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double thread_cpu() {
  timespec t{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

template <class T>
T must(quoit::result<T> r) {
  if (r) return std::move(*r);
  std::fprintf(stderr, "storage: %s\n", r.error().message().c_str());
  std::exit(1);
}
void must(quoit::result<void> r) {
  if (r) return;
  std::fprintf(stderr, "storage: %s\n", r.error().message().c_str());
  std::exit(1);
}

template <u32 Bytes>
void append_and_replay(log_writer_options options, u64 count) {
  std::byte payload[Bytes];
  std::memset(payload, 'x', sizeof payload);
  u64 waited = 0;
  auto writer = must(log_writer::open(options));
  segment_appender& a = writer->appender();
  double begin = now();
  const double cpu_begin = thread_cpu();
  for (u64 n = 0; n < count; ++n) {
    lane_claim claim;
    append_status status = append_status::ok;
    while ((status = a.claim(Bytes, claim)) != append_status::ok) {
      if (status != append_status::not_ready) std::fprintf(stderr, "storage: no space\n"), std::exit(1);
      ++waited;
      ::usleep(50);
    }
    std::memcpy(claim.payload, payload, Bytes);
    a.commit(claim, Bytes);
  }
  double seconds = now() - begin;
  const double cpu = thread_cpu() - cpu_begin;
  std::printf(
      "append  %4u bytes: %6.1f M/s, %5.1f ns (%.1f of this thread's CPU), %.2f GB/s of payload; waited %llu times for "
      "a segment\n",
      Bytes, static_cast<double>(count) / seconds / 1e6, seconds / static_cast<double>(count) * 1e9,
      cpu / static_cast<double>(count) * 1e9, static_cast<double>(count) * Bytes / seconds / 1e9,
      static_cast<unsigned long long>(waited));
  writer.reset();
  for (const bool check : {false, true}) {
    auto reader = must(log_reader::open(options.directory, options.topic, options.name, 4, check));
    must(reader->start_at_earliest());
    u64 got = 0;
    u64 sum = 0;
    lane_frame frame;
    begin = now();
    while (reader->take(frame) == take_status::message) {
      sum += static_cast<u64>(frame.payload[0]) + static_cast<u64>(frame.payload[Bytes - 1]);
      reader->release(frame);
      ++got;
    }
    seconds = now() - begin;
    std::printf("replay  %4u bytes: %6.1f M/s, %.2f GB/s of payload%s (%llu of %llu, sum %llu)\n", Bytes,
                static_cast<double>(got) / seconds / 1e6, static_cast<double>(got) * Bytes / seconds / 1e9,
                check ? ", each verified" : "", static_cast<unsigned long long>(got),
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(sum));
  }
  auto reader = must(log_reader::open(options.directory, options.topic, options.name, 4));
  std::vector<double> seeks;
  for (u64 i = 0; i < 100; ++i) {
    begin = now();
    must(reader->start_at_sequence(count / 100 * i));
    seeks.push_back(now() - begin);
  }
  std::sort(seeks.begin(), seeks.end());
  std::printf("seek by sequence: p50 %.0f us, longest of 100 %.0f us\n", seeks[50] * 1e6, seeks.back() * 1e6);
  begin = now();
  writer = must(log_writer::open(options));
  std::printf("open again: %.1f ms, with the making of a segment begun\n", (now() - begin) * 1e3);
}

void flushes(log_writer_options options, const std::string& directory) {
  constexpr int times = 300;
  const fd raw(::open(directory.c_str(), O_TMPFILE | O_RDWR, 0600));
  const std::vector<char> page(88, 'x');
  if (!raw || ::posix_fallocate(raw.get(), 0, 1 << 20) != 0) return;
  std::vector<double> raw_us;
  for (int i = 0; i < times; ++i) {
    if (::pwrite(raw.get(), page.data(), page.size(), i * 88) < 0) return;
    const double begin = now();
    ::fdatasync(raw.get());
    raw_us.push_back((now() - begin) * 1e6);
  }
  options.durability = log_durability::each;
  options.name = "flush";
  auto writer = must(log_writer::open(options));
  std::vector<double> us;
  for (int i = 0; i < times; ++i) {
    lane_claim claim;
    while (writer->appender().claim(64, claim) != append_status::ok) ::usleep(50);
    std::memset(claim.payload, 'x', 64);
    writer->appender().commit(claim, 64);
    const double begin = now();
    must(writer->flush(std::chrono::seconds(10)));
    us.push_back((now() - begin) * 1e6);
  }
  std::nth_element(raw_us.begin(), raw_us.begin() + times / 2, raw_us.end());
  std::nth_element(us.begin(), us.begin() + times / 2, us.end());
  std::printf("flush of one message: p50 %.0f us, raw fdatasync p50 %.0f us\n", us[times / 2], raw_us[times / 2]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return std::fprintf(stderr, "usage: storage DIRECTORY [MILLIONS] [BYTES: 64 or 4096] [SEGMENT MIB]\n"), 2;
  const std::string directory = std::string(argv[1]) + "/quoit-bench-" + std::to_string(::getpid());
  log_writer_options options;
  options.directory = directory;
  options.topic = "bench";
  options.kind.payload_bytes_max = 4096;
  const u64 count = (argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 10) * 1'000'000;
  if (argc > 4) options.kind.segment_bytes = std::strtoull(argv[4], nullptr, 10) << 20;
  if (argc > 3 && std::strcmp(argv[3], "4096") == 0) {
    append_and_replay<4096>(options, count);
  } else {
    append_and_replay<64>(options, count);
  }
  flushes(options, argv[1]);
  std::filesystem::remove_all(directory);
  return 0;
}
