// Lanes that were damaged at random, and copies that were made while they were written: `verify`, publishers, readers
// and `repair` agree on what is whole, and one repair is enough.
#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "storage/kept_reader.hpp"
#include "storage/lane_records.hpp"
#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"
#include "support/property.hpp"

using namespace quoit::test;
using quoit::errc;
namespace fs = std::filesystem;

namespace {

enum class damage : int {
  flip_bit,
  flip_bit_of_header,
  zero_tail,
  zero_page,
  cut_short,
  remove_segment,
  remove_last,
  remove_lane_file,
  flip_bit_of_lane_file,
  cut_lane_file_short,
  count
};

struct blow {
  damage what;
  u32 segment;  // which one
  u32 at;       // where in it
};

std::string words_of(const std::vector<log_fault>& faults) {
  std::string all;
  for (const log_fault& f : faults) all += f.words + "\n";
  return all;
}

void flip(const std::string& path, u64 at, u32 bit) {
  const fd file(::open(path.c_str(), O_RDWR));
  char byte = 0;
  if (::pread(file.get(), &byte, 1, static_cast<off_t>(at)) != 1) return;
  byte = static_cast<char>(byte ^ (1 << bit));
  RC_ASSERT(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)) == 1);
}

void zero(const std::string& path, u64 at, u64 bytes) {
  const fd file(::open(path.c_str(), O_RDWR));
  const std::vector<char> zeros(bytes);
  RC_ASSERT(::pwrite(file.get(), zeros.data(), bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes));
}

void strike(const std::string& lane, const blow& b) {
  const std::vector<u64> numbers = list_segments(lane);
  const std::string lane_file = lane + "/lane";
  const bool has_lane_file = fs::exists(lane_file);
  switch (b.what) {
    case damage::remove_lane_file: fs::remove(lane_file); return;
    case damage::flip_bit_of_lane_file:
      if (has_lane_file) flip(lane_file, b.at % 1100, b.at / 4096 % 8);
      return;
    case damage::cut_lane_file_short:
      if (has_lane_file) fs::resize_file(lane_file, b.at % log_lane_bytes);
      return;
    default: break;
  }
  if (numbers.empty()) return;
  const std::string path = lane + "/" + segment_name(numbers[b.segment % numbers.size()]);
  const u64 size = fs::file_size(path);
  switch (b.what) {
    case damage::flip_bit: flip(path, b.at, b.segment % 8); break;
    case damage::flip_bit_of_header: flip(path, b.at % 5000, b.segment % 8); break;
    case damage::zero_tail:
      if (b.at < size) zero(path, b.at, size - b.at);
      break;
    case damage::zero_page:
      if (align_up(b.at, 4096) + 4096 <= size) zero(path, align_up(b.at, 4096), 4096);
      break;
    case damage::cut_short:
      if (b.at < size) fs::resize_file(path, b.at);
      break;
    case damage::remove_segment: fs::remove(path); break;
    case damage::remove_last: fs::remove(lane + "/" + segment_name(numbers.back())); break;
    default: break;
  }
}

struct history {
  u32 messages;
  bool durable;
  bool killed;
  bool rebooted;
  bool restarted_between;  // the publisher, so that there is what the first one left
};

// Returns the sequence behind the last one that was used.
u64 write(const log_writer_options& options, const history& h) {
  u64 used = 0;
  const u64 half = h.restarted_between ? h.messages / 2 : h.messages;
  for (const auto& [begin, end] : {std::pair<u64, u64>(0, half), std::pair<u64, u64>(half, h.messages)}) {
    if (begin == end && begin != 0) break;
    const auto w = open_log(options);
    for (u64 n = begin; n < end; ++n) {
      if (n % 11 == 10) {
        lane_claim claim;
        RC_ASSERT(claim_waiting(*w, 100, claim) == append_status::ok);
        w->appender().abandon(claim);
      }
      RC_ASSERT(append(*w, n) == append_status::ok);
      if (h.durable && n % 400 == 399) RC_ASSERT(w->flush(std::chrono::seconds(60)).has_value());
    }
    used = w->appender().next_sequence();
  }
  const std::string lane = lane_directory(options.directory, options.topic, options.name);
  if (h.killed) forget_end(open_lane_to_write(options.directory, options.topic, options.name)->header());
  if (h.rebooted) restart_machine(lane);
  return used;
}

struct replayed {
  bool corrupt = false;
  u64 messages = 0;
  u64 first = 0;
  u64 lost = 0;
  std::string words;
};

replayed replay(const log_writer_options& options) {
  replayed all;
  const auto r = kept_reader::open(options.directory, options.topic, std::nullopt, 4, quoit::start::earliest);
  if (!r) {
    RC_ASSERT(r.error() == errc::corrupt || r.error() == errc::newer_version);
    all.corrupt = true;
    all.words = r.error().words();
    return all;
  }
  u64 next = 0;
  lane_frame frame;
  kept_lane* lane = nullptr;
  for (;;) {
    const take_status status = (*r)->take(frame, lane);
    if (status == take_status::lagged) continue;
    if (status == take_status::nothing) break;
    if (status != take_status::message) {
      RC_ASSERT(status == take_status::corrupt || status == take_status::newer_version);
      all.corrupt = true;
      all.words = lane != nullptr ? lane->reader->fault() : std::string();
      break;
    }
    RC_ASSERT(frame.sequence >= next);
    if (all.messages == 0) all.first = frame.sequence;
    next = frame.sequence + 1;
    ++all.messages;
    (*r)->release(*lane, frame);
  }
  all.lost = (*r)->lost_total();
  return all;
}

// What `verify` calls whole is published to, and read to its end. What it does not is so after one repair.
void check_agreement(const log_writer_options& options, u64 used, bool may_be_zero) {
  const std::string lane = lane_directory(options.directory, options.topic, options.name);
  auto found = verify_lane(lane);
  if (!found) {
    // Nothing of it is left.
    RC_ASSERT(found.error() == errc::not_found);
    return;
  }
  const bool was_repaired = !found->whole();
  if (was_repaired) {
    const auto rehearsed = repair_lane(lane, true);
    const auto repaired = repair_lane(lane);
    if (!repaired) {
      RC_LOG() << repaired.error().message() << "\n";
      RC_ASSERT(repaired.error() == errc::newer_version);
      return;
    }
    RC_ASSERT(rehearsed.has_value());
    RC_LOG() << "was: " << words_of(found->faults);
    for (const auto& cut : repaired->cuts) RC_LOG() << "cut: " << cut << "\n";
    for (const auto& cut : repaired->mended) RC_LOG() << "mended: " << cut << "\n";
    RC_ASSERT(rehearsed->cuts.size() == repaired->cuts.size());
    found = verify_lane(lane);
    RC_ASSERT(found.has_value());
    RC_LOG() << "is: " << words_of(found->faults);
    RC_ASSERT(found->whole());
    const auto again = repair_lane(lane);
    RC_ASSERT(again.has_value());
    RC_ASSERT(again->cuts.empty());
    RC_ASSERT(again->mended.empty());
  }
  const replayed before = replay(options);
  RC_LOG() << "replay: " << before.words << "\n";
  RC_ASSERT(!before.corrupt);
  RC_ASSERT(before.messages == found->messages);
  // What is missing before the first message of all is not lost to those who begin with it.
  RC_ASSERT(before.lost <= found->missing);
  if (before.messages != 0 && before.first == found->first_sequence) RC_ASSERT(before.lost == found->missing);
  {
    const auto w = log_writer::open(options);
    if (!w) RC_LOG() << w.error().message() << "\n";
    RC_ASSERT(w.has_value());
    // Only a power failure leaves zeros where messages were: in this boot a shorter lane is taken for what it is.
    if (!may_be_zero || was_repaired) RC_ASSERT((*w)->appender().next_sequence() >= used);
    for (u64 n = 0; n < 300; ++n) RC_ASSERT(append(**w, n) == append_status::ok);
  }
  const auto after = verify_lane(lane);
  RC_ASSERT(after.has_value());
  RC_LOG() << "after: " << words_of(after->faults);
  RC_ASSERT(after->whole());
  RC_ASSERT(after->messages == before.messages + 300);
  const replayed all = replay(options);
  RC_LOG() << "replay: " << all.words << "\n";
  RC_ASSERT(!all.corrupt);
  RC_ASSERT(all.messages == after->messages);
}

rc::Gen<history> any_history() {
  return rc::gen::construct<history>(rc::gen::inRange(0u, 1500u), rc::gen::arbitrary<bool>(),
                                     rc::gen::arbitrary<bool>(), rc::gen::arbitrary<bool>(),
                                     rc::gen::arbitrary<bool>());
}

}  // namespace

TEST_CASE("verify, publishers, readers and repair agree on a lane, whatever happened to its files") {
  check_property("random damage", [] {
    const auto h = *any_history();
    const auto blows = *rc::gen::container<std::vector<blow>>(
        *rc::gen::inRange<std::size_t>(0, 4),
        rc::gen::construct<blow>(rc::gen::map(rc::gen::inRange(0, static_cast<int>(damage::count)),
                                              [](int what) { return static_cast<damage>(what); }),
                                 rc::gen::inRange(0u, 1u << 16), rc::gen::inRange(0u, 1u << 16)));
    const scratch_directory directory;
    auto options = small_log(directory);
    if (h.durable) options.durability = log_durability::each;
    const u64 used = write(options, h);
    const std::string lane = lane_directory(options.directory, options.topic, options.name);
    for (const blow& b : blows) {
      RC_LOG() << "damage " << static_cast<int>(b.what) << " segment " << b.segment << " at " << b.at << "\n";
      strike(lane, b);
    }
    const bool has_zeros = std::any_of(blows.begin(), blows.end(), [](const blow& b) {
      return b.what == damage::zero_tail || b.what == damage::zero_page;
    });
    check_agreement(options, used, has_zeros && !h.rebooted);
  });
}

TEST_CASE("verify, publishers, readers and repair agree on a copy that was made while the lane was written") {
  check_property("a copy in any order", [] {
    const auto pauses = *rc::gen::container<std::vector<u32>>(40, rc::gen::inRange(0u, 200u));
    const auto order = *rc::gen::container<std::vector<u32>>(40, rc::gen::arbitrary<u32>());
    const auto durable = *rc::gen::arbitrary<bool>();
    const scratch_directory directory;
    const scratch_directory backup;
    auto options = small_log(directory);
    if (durable) options.durability = log_durability::each;
    auto copied = options;
    copied.directory = backup.path();
    const std::string from = lane_directory(options.directory, options.topic, options.name);
    const std::string to = lane_directory(copied.directory, copied.topic, copied.name);
    fs::create_directories(to);
    const auto w = open_log(options);
    u64 n = 0;
    const auto publish = [&](u32 count) {
      for (const u64 end = n + count; n < end; ++n) RC_ASSERT(append(*w, n) == append_status::ok);
      if (durable) RC_ASSERT(w->flush(std::chrono::seconds(60)).has_value());
    };
    publish(500);
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(from)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    for (u32 i = 0; !names.empty(); ++i) {
      const auto at = names.begin() + static_cast<std::ptrdiff_t>(order[i % order.size()] % names.size());
      std::error_code failed;
      fs::copy_file(from + "/" + *at, to + "/" + *at, failed);
      names.erase(at);
      publish(pauses[i % pauses.size()]);
    }
    check_agreement(copied, 0, false);
  });
}
