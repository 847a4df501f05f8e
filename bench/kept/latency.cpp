// How long publishing takes while segments roll, beside a ring in memory, and which pages it meets for the first time.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>

#include "floors/clock.hpp"
#include "floors/histogram.hpp"
#include "kept.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "ring/geometry.hpp"

namespace kept {

namespace {

constexpr u64 rate = 1'000'000;              // messages a second
constexpr u64 rolling_bytes = u64{4} << 20;  // segments small enough to roll twenty times a second
constexpr int rounds = 6;

// A ring as a topic in memory has it, in memory of this process.
struct memory_ring {
  memory_ring() {
    lane_request r{};
    r.capacity_bytes = u64{64} << 20;
    r.payload_bytes_max = 4096;
    r.payload_alignment = r.frame_alignment = 8;
    r.strides = 16;
    r.subscriptions = 4;
    r.lossy_allowed = r.reliable_allowed = true;
    const lane_geometry geometry = must(make_geometry(r));
    bytes = align_up(geometry.data_file_bytes(), u64{4096}) + slots_bytes(geometry.subscriptions);
    base = static_cast<std::byte*>(
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
    if (base == MAP_FAILED) std::perror("mmap"), std::exit(1);
    auto& head = *reinterpret_cast<lane_header*>(base);
    auto& slots = *reinterpret_cast<lane_slots*>(base + align_up(geometry.data_file_bytes(), u64{4096}));
    write_geometry(geometry, head, slots);
    writer = std::make_unique<lane_writer>(lane_memory{&head, &slots, base + geometry.data_offset()}, geometry, 8);
  }
  ~memory_ring() { ::munmap(base, bytes); }
  memory_ring(const memory_ring&) = delete;
  memory_ring& operator=(const memory_ring&) = delete;
  void publish(const std::byte* payload, u32 size) {
    lane_claim claim;
    if (writer->claim(size, claim) != claim_status::ok)
      std::fprintf(stderr, "storage: the ring is full\n"), std::exit(1);
    std::memcpy(claim.payload, payload, size);
    writer->commit(claim, size);
  }

  std::byte* base;
  std::size_t bytes;
  std::unique_ptr<lane_writer> writer;
};

// A second of publishing at the rate; each message is timed from loan to commit.
template <class Publish>
void publish_paced(floors::histogram& h, Publish&& publish) {
  const auto gap = static_cast<u64>(1e9 / static_cast<double>(rate) / floors::ns_per_tick());
  u64 due = floors::ticks();
  for (u64 n = 0; n < rate; ++n, due += gap) {
    while (floors::ticks() < due) {
    }
    const u64 begin = floors::ticks();
    publish();
    h.record(floors::ticks() - begin);
  }
}

struct faults {
  long minor = 0, major = 0;
  static faults now() {
    rusage u{};
    ::getrusage(RUSAGE_THREAD, &u);
    return {u.ru_minflt, u.ru_majflt};
  }
  void count_since(const faults& before) {
    const faults here = now();
    minor += here.minor - before.minor;
    major += here.major - before.major;
  }
};

// What the kernel does from time to time: writes back what was written, and protects it.
class write_back_thread {
 public:
  explicit write_back_thread(const std::string& lane) : thread_([this, lane] { run(lane); }) {}
  write_back_thread(const write_back_thread&) = delete;
  write_back_thread& operator=(const write_back_thread&) = delete;
  ~write_back_thread() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run(const std::string& lane) {
    while (!stop_) {
      for (const u64 number : list_segments(lane)) {
        const fd file(::open((lane + "/" + segment_name(number)).c_str(), O_RDWR | O_CLOEXEC));
        if (file) ::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
      }
      ::usleep(100'000);
    }
  }
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace

void latency_rows(const setting& s) {
  const double ns = floors::ns_per_tick();
  const std::byte payload[64]{};
  memory_ring ring;
  auto options = s.options("rolling");
  options.kind.segment_bytes = rolling_bytes;
  options.retention.bytes = 16 * rolling_bytes;
  std::optional<open_lane> lane(std::in_place, options);
  segment_appender& a = lane->appender();
  const auto publish = [&] { lane->append(payload, sizeof payload); };
  lane->wait_for_spares();
  floors::histogram kept, rolls, in_memory, written_back;
  faults untouched, protected_again;
  for (int i = 0; i < rounds; ++i) {
    publish_paced(in_memory, [&] { ring.publish(payload, sizeof payload); });
    const faults before = faults::now();
    publish_paced(kept, [&] {
      const u64 expected = a.tail() + a.geometry().extent(sizeof payload);
      const u64 begin = floors::ticks();
      publish();
      if (a.tail() != expected) rolls.record(floors::ticks() - begin);
    });
    untouched.count_since(before);
  }
  const auto at = [&](const floors::histogram& h, double share) { return static_cast<double>(h.at(share)) * ns; };
  row("publish while files roll, p50", at(kept, 0.5), "ns", at(in_memory, 0.5), "ring in memory");
  row("publish while files roll, p99.9", at(kept, 0.999), "ns", at(in_memory, 0.999), "ring in memory", 2, false);
  row("publish while files roll, p99.99", at(kept, 0.9999), "ns", at(in_memory, 0.9999), "ring in memory", 2, false);
  std::printf(
      "  %llu messages a second, segments of 4 MiB; %llu rolls: p50 %.0f ns, longest %.0f ns; waited %llu times\n",
      static_cast<unsigned long long>(rate), static_cast<unsigned long long>(rolls.total()), at(rolls, 0.5),
      at(rolls, 1), static_cast<unsigned long long>(lane->waited()));
  row("faults on pages not touched before", static_cast<double>(untouched.minor), "", 0, false);
  row("major faults", static_cast<double>(untouched.major), "", 0, false);
  {
    const write_back_thread kernel(lane->writer().directory());
    const faults before = faults::now();
    publish_paced(written_back, publish);
    publish_paced(written_back, publish);
    protected_again.count_since(before);
  }
  std::printf(
      "  while written back ten times a second: %ld faults at pages that were protected, %ld major; "
      "p99.9 %.0f ns, p99.99 %.0f ns, longest %.0f ns\n",
      protected_again.minor, protected_again.major, at(written_back, 0.999), at(written_back, 0.9999),
      at(written_back, 1));
  lane.reset();
  std::filesystem::remove_all(s.lane("rolling"));
}

}  // namespace kept
