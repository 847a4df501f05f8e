#include "quoit/detail/log_reader.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "storage/frame_walk.hpp"
#include "storage/lane_clock.hpp"
#include "storage/lane_header.hpp"
#include "storage/log_lane.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {
constexpr u64 page_bytes_read = 4096;  // behind the place that is looked for
constexpr int seeks_max = 100;
// A reader asks this often whether the segment that it is in was removed.
constexpr u64 bytes_between_looks = u64{64} << 10;
}  // namespace

struct log_reader::parts {
  struct held_segment {
    std::shared_ptr<segment_file> file;
    u32 held;
  };

  log_lane lane;
  std::shared_ptr<segment_file> segment;
  std::shared_ptr<segment_file> next;  // opened, and not begun by its writer
  std::vector<held_segment> old;
  lane_clock clock;  // of `segment`
  std::string fault;

  u64 end(u64 begin) const noexcept { return begin + segment->geometry.data_bytes; }
};

// What a start function looks for.
struct log_reader::by_key {
  enum class what : u8 { sequence, message, time } kind;
  u64 value;

  // True if everything before the place comes before what is looked for.
  bool not_behind(u64 sequence, u64 voids, u64 stamp) const noexcept {
    switch (kind) {
      case what::sequence: return sequence <= value;
      case what::message: return sequence - voids <= value;
      case what::time: break;
    }
    return stamp < value;
  }
};

log_reader::log_reader(std::unique_ptr<parts> p, u32 held_max, bool check_all)
    : parts_(std::move(p)), held_max_(held_max), check_all_(check_all) {}
log_reader::~log_reader() = default;

result<std::unique_ptr<log_reader>> log_reader::open(const std::string& root, const std::string& topic,
                                                     const std::string& name, u32 held_max, bool check_all) {
  auto lane = open_lane_to_read(root, topic, name);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  return open(std::move(*lane), held_max, check_all);
}

std::unique_ptr<log_reader> log_reader::open(log_lane lane, u32 held_max, bool check_all) {
  auto p = std::make_unique<parts>();
  p->lane = std::move(lane);
  return std::unique_ptr<log_reader>(new log_reader(std::move(p), held_max, check_all));
}

bool log_reader::is_written() const noexcept { return lane_is_held(parts_->lane.where).value_or(false); }

u64 log_reader::durable_position() const noexcept { return known_durable(parts_->lane.header()); }
const u64* log_reader::lane_id() const noexcept { return parts_->lane.header().lane_id; }
const std::string& log_reader::fault() const noexcept { return parts_->fault; }

// ---- segments ------------------------------------------------------------------------------------------

// Goes to the begin of segment `number`. False: it is not there, or its writer has not come to it.
result<bool> log_reader::begin_in(u64 number) {
  std::shared_ptr<segment_file> file = std::move(parts_->next);
  parts_->next = nullptr;
  if (file == nullptr || file->number != number) {
    auto opened = open_segment_to_read(parts_->lane.where, number);
    if (!opened) {
      if (opened.error() == errc::not_found) return false;
      return tl::unexpected(std::move(opened.error()));
    }
    file = std::move(*opened);
    const log_lane_header& lane = parts_->lane.header();
    if (!std::equal(lane.lane_id, lane.lane_id + 2, file->header().lane_id)) {
      return tl::unexpected(error(errc::corrupt, file->path + " is of another lane"));
    }
  }
  segment_start start{};
  if (!file->read_start(start)) {
    if (start.check != 0) return tl::unexpected(error(errc::corrupt, file->path + ": its start record is wrong"));
    parts_->next = std::move(file);
    return false;
  }
  leave_segment();
  parts_->segment = std::move(file);
  const segment_file& segment = *parts_->segment;
  data_ = segment.data();
  data_bytes_ = segment.geometry.data_bytes;
  begin_ = position_ = start.position;
  sequence_ = start.sequence;
  voids_ = start.voids;
  stamp_ = start.stamp;
  alignment_ = segment.geometry.alignment;
  verifies_ = check_all_ || !segment.of_this_boot;
  believed_end_ = looked_until_ = 0;
  note_clock();
  return true;
}

void log_reader::note_clock() noexcept {
  const lane_clock clock = clock_of(*parts_->segment);
  const lane_clock before = std::exchange(parts_->clock, clock);
  if (!tells_clocks_ || is_same_time(clock, before)) return;
  clock_due_ = true;
}

const lane_clock& log_reader::clock() const noexcept { return parts_->clock; }
const directory_handle& log_reader::where() const noexcept { return parts_->lane.where; }

// S11: its file has no name any more, and is as it was.
bool log_reader::is_removed() const noexcept {
  const segment_file& segment = *parts_->segment;
  // relaxed: a hint: whether the file is there is asked
  if (segment.number >= load_relaxed(parts_->lane.header().first_kept)) return false;
  struct stat status{};
  return !parts_->lane.where.find(segment_name(segment.number), status) || file_identity::of(status) != segment.file;
}

// Frames of it may still be held.
void log_reader::leave_segment() {
  if (held_here_ > 0) parts_->old.push_back({std::move(parts_->segment), held_here_});
  held_here_ = 0;
  parts_->segment = nullptr;
  data_ = nullptr;
  data_bytes_ = 0;
}

void log_reader::release_old(const lane_frame& frame) noexcept {
  auto& old = parts_->old;
  const auto found = std::find_if(old.begin(), old.end(), [&](const auto& held) {
    const std::byte* const data = held.file->data();
    return !std::less<>()(frame.payload, data) && std::less<>()(frame.payload, data + held.file->geometry.data_bytes);
  });
  if (found != old.end() && --found->held == 0) old.erase(found);
}

// On to the segment behind this one, or to the oldest that is there.
take_status log_reader::cross() {
  const u64 expected = sequence_;
  const u64 expected_voids = voids_;
  const bool any = parts_->segment != nullptr;
  const u64 end = any ? parts_->end(begin_) : 0;
  u64 number = any ? parts_->segment->number + 1 : 1;
  auto began = begin_in(number);
  if (began && !*began && parts_->next == nullptr) {
    // Removed, or not made yet.
    const std::vector<u64> numbers = list_segments(parts_->lane.where);
    const auto later = std::lower_bound(numbers.begin(), numbers.end(), number);
    if (later == numbers.end()) return take_status::nothing;
    number = *later;
    began = begin_in(number);
  }
  if (!began) {
    // Not whole: what a power failure leaves behind the end; or damage, before it.
    if (began.error() == errc::newer_version) return take_status::newer_version;
    if (began.error() != errc::corrupt) return take_status::nothing;
    if (any && !parts_->segment->of_this_boot && end >= durable_position()) return take_status::nothing;
    return corrupt(std::string(began.error().words()));
  }
  if (!*began) return take_status::nothing;
  if (!any) return take_status::message;
  if (position_ < end || sequence_ < expected || sequence_ - voids_ < expected - expected_voids) {
    // What was delivered is not said to be due again.
    sequence_ = std::max(sequence_, expected);
    return corrupt(parts_->segment->path + " does not begin where the segment before it ends");
  }
  const u64 lost = (sequence_ - voids_) - (expected - expected_voids);
  if (lost == 0) return take_status::message;
  lost_ = lost;
  lost_total_ += lost;
  return take_status::lagged;
}

// ---- taking --------------------------------------------------------------------------------------------

take_status log_reader::take_slow(lane_frame& out) noexcept {
  if (position_ >= looked_until_) return look_and_take(out);
  if (held_ >= held_max_) return take_status::too_many;
  if (verifies_ && crc32c_in_hardware() && take_whole(out)) return take_status::message;
  return take_checked(out);
}

// What is to be said before the next message, and each so many bytes whether the segment is still there.
take_status log_reader::look_and_take(lane_frame& out) noexcept {
  if (std::exchange(clock_due_, false)) return take_status::clock_changed;
  if (std::exchange(lagged_due_, false)) {
    lost_total_ += lost_;
    return take_status::lagged;
  }
  if (held_ >= held_max_) return take_status::too_many;
  if (parts_->segment == nullptr) return take_checked(out);
  looked_until_ = position_ + bytes_between_looks;
  believed_end_ = verifies_ ? 0 : std::min(parts_->end(begin_), looked_until_);
  if (is_removed()) {
    // Where there is no other segment this one is read on.
    const take_status status = cross();
    if (status != take_status::message && status != take_status::nothing) return status;
  }
  return take(out);
}

// A message of an earlier boot as it nearly always is. False: whatever it is, take_checked() says.
bool log_reader::take_whole(lane_frame& out) noexcept {
  const segment_geometry& g = parts_->segment->geometry;
  const std::byte* const frame = data_ + (position_ - begin_);
  // sync(segment.commit): as in take()
  const frame_header h{load_acquire(*reinterpret_cast<const u64*>(frame))};
  const u64 covered = checked_bytes(h.payload_bytes());
  const u64 length = segment_words_bytes + covered;
  if (!h.is(frame_kind::message) || h.flags() != segment_frame_flags || h.payload_bytes() > g.payload_bytes_max ||
      length != g.extent(h.payload_bytes()) || length + word_bytes > g.data_bytes - (position_ - begin_) ||
      h.sequence_low() != (sequence_ & sequence_low_mask)) {
    return false;
  }
  u64 words[2];
  std::memcpy(words, frame + word_bytes, sizeof words);
  if (words[0] < stamp_) return false;
  const std::byte* const payload = frame + segment_words_bytes;
  const u32 begin = crc32c_word(crc32c_word(parts_->segment->salt, h.word), words[0]);
  if (words[1] != u64{crc32c_inline(begin, payload, covered)}) return false;
  for (u64 at = h.payload_bytes(); at < covered; ++at) {
    if (payload[at] != std::byte{}) return false;
  }
  out.payload = payload;
  out.position = position_;
  out.sequence = sequence_++;
  out.stamp = stamp_ = words[0];
  out.payload_bytes = h.payload_bytes();
  position_ += length;
  ++held_;
  ++held_here_;
  return true;
}

take_status log_reader::take_checked(lane_frame& out) {
  for (;;) {
    if (clock_due_) return take_slow(out);
    if (parts_->segment == nullptr) {
      if (const take_status status = cross(); status != take_status::message) return status;
      continue;
    }
    const segment_file& segment = *parts_->segment;
    const bool verify = verifies_;
    const log_place place{position_, sequence_, voids_, verify ? stamp_ : 0};
    frame_step step = look_at_frame(segment, begin_, place, verify);
    if (step.kind == step_kind::claimed && look_due_) {
      // Without its file, a publisher that has it cannot be asked for: the loan may still be published.
      look_due_ = !lane_is_held(parts_->lane.where).value_or(true);
      if (!look_due_) return take_status::nothing;
      // Whoever claimed it is dead. It may have committed before that, and behind our first look.
      step = look_at_frame(segment, begin_, place, verify);
      if (step.kind == step_kind::claimed) step.kind = step_kind::voided;
    }
    switch (step.kind) {
      case step_kind::message:
        out.payload = segment.data() + (position_ - begin_) + segment_words_bytes;
        out.position = position_;
        out.sequence = sequence_;
        out.stamp = step.stamp;
        out.payload_bytes = step.header.payload_bytes();
        stamp_ = step.stamp;
        position_ += step.length;
        ++sequence_;
        ++held_;
        ++held_here_;
        return take_status::message;
      case step_kind::voided:
        ++sequence_;
        ++voids_;
        stamp_ = std::max(stamp_, step.stamp);
        position_ += step.length;
        break;
      case step_kind::skip: position_ += step.length; break;
      case step_kind::claimed: return take_status::nothing;
      case step_kind::rolled:
        if (const take_status status = cross(); status != take_status::message) return status;
        break;
      case step_kind::newer: return take_status::newer_version;
      case step_kind::end:
        if (!after_failure()) return take_status::nothing;
        if (const take_status status = cross(); status != take_status::message) return status;
        break;
      case step_kind::bad: {
        const take_status status = after_failure() ? cross() : at_bad(step.reason);
        if (status != take_status::message) return status;
        break;
      }
    }
  }
}

// Whether the rest of this segment may be missing, as it could not be written back, and the next one says so.
bool log_reader::after_failure() {
  if (parts_->segment->of_this_boot) return false;
  auto next = open_segment_head(parts_->lane.where, parts_->segment->number + 1);
  segment_start start{};
  return next && (*next)->read_start(start) && start.after_failure != 0 && start.position == parts_->end(begin_);
}

take_status log_reader::at_bad(const char* reason) {
  const segment_file& segment = *parts_->segment;
  // Behind the durable position a frame of an earlier boot may be torn: that is the end, until a publisher cuts it.
  if (!segment.of_this_boot && position_ >= durable_position()) return take_status::nothing;
  return corrupt(segment.path + " at byte " + std::to_string(segment.geometry.data_offset + (position_ - begin_)) +
                 " (sequence " + std::to_string(sequence_) + "): " + reason);
}

take_status log_reader::corrupt(const std::string& words) {
  parts_->fault = words;
  return take_status::corrupt;
}

bool log_reader::ready() noexcept {
  if (lagged_due_) return true;
  if (parts_->segment == nullptr) return !list_segments(parts_->lane.where).empty();
  // sync(segment.commit): only whether there is something
  const frame_header h{load_acquire(*reinterpret_cast<const u64*>(data_ + (position_ - begin_)))};
  return h.word != 0 && (!h.is(frame_kind::claimed) || look_due_);
}

// ---- places --------------------------------------------------------------------------------------------

result<void> log_reader::start_at_earliest() { return seek({by_key::what::sequence, 0}); }

result<void> log_reader::start_at_latest() { return seek({by_key::what::sequence, ~u64{0}}); }

result<void> log_reader::start_with_last(u64 messages) {
  if (auto there = start_at_latest(); !there) return there;
  const u64 all = sequence_ - voids_;
  if (messages == 0) return {};
  return seek({by_key::what::message, all - std::min(all, messages)});
}

result<void> log_reader::start_at_sequence(u64 sequence) {
  if (auto there = seek({by_key::what::sequence, sequence}); !there) return there;
  if (sequence_ > sequence && position_ == begin_) {
    // What was between was removed: as many sequences, voids among them.
    lost_ = sequence_ - sequence;
    lagged_due_ = true;
    believed_end_ = looked_until_ = 0;
  }
  return {};
}

result<void> log_reader::start_before_sequence(u64 sequence, u64 messages) {
  if (auto there = start_at_sequence(sequence); !there || lagged_due_) return there;
  const u64 before = sequence_ - voids_;
  return seek({by_key::what::message, before - std::min(before, messages)});
}

result<void> log_reader::start_at_time(u64 time_ns) { return seek({by_key::what::time, time_ns}); }

result<void> log_reader::go_on_in(log_lane lane) {
  parts_->lane = std::move(lane);
  return start_at_sequence(sequence_);
}

// Retention may remove all that was listed before any of it is opened; what came meanwhile is in the next list.
result<void> log_reader::seek(const by_key& key) {
  for (int n = 0; n < seeks_max; ++n) {
    const auto there = seek_in_list(key);
    if (!there) return tl::unexpected(there.error());
    if (*there) return {};
  }
  return tl::unexpected(
      error(errc::not_found, parts_->lane.where.path() + ": its segments go before they can be opened"));
}

// The last segment that does not begin behind what is looked for, and then the place in it. False: it went, and those
// behind it.
result<bool> log_reader::seek_in_list(const by_key& key) {
  leave_segment();
  parts_->next = nullptr;
  lagged_due_ = clock_due_ = false;
  lost_ = looked_until_ = 0;
  position_ = begin_ = believed_end_ = sequence_ = voids_ = stamp_ = 0;
  int why = 0;
  const std::vector<u64> numbers = list_segments(parts_->lane.where, false, &why);
  if (why != 0) return tl::unexpected(storage_call_failed("reading the directory", parts_->lane.where.path(), why));
  const auto not_behind = [&](u64 number) -> result<bool> {
    auto segment = open_segment_head(parts_->lane.where, number);
    if (!segment) {
      // Removed meanwhile: then it was before. Not whole, or not to be understood: what can be read is before it.
      if (segment.error() == errc::not_found) return true;
      if (segment.error() == errc::corrupt || segment.error() == errc::newer_version) return false;
      return tl::unexpected(std::move(segment.error()));
    }
    segment_start start{};
    return (*segment)->read_start(start) && key.not_behind(start.sequence, start.voids, start.stamp);
  };
  std::size_t low = 0;
  std::size_t high = numbers.size();
  if (key.kind == by_key::what::time) find_clock(key, numbers, low, high);
  const std::size_t lowest = low;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    auto answer = not_behind(numbers[middle]);
    if (!answer) return tl::unexpected(std::move(answer.error()));
    if (*answer) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  // Where all begin behind it, the first.
  for (std::size_t at = low > lowest ? low - 1 : lowest; at < numbers.size(); ++at) {
    auto began = begin_in(numbers[at]);
    if (!began) return tl::unexpected(std::move(began.error()));
    if (*began) {
      if (auto there = walk_to(key); !there) return tl::unexpected(std::move(there.error()));
      return true;
    }
    if (parts_->next != nullptr) return true;
  }
  return numbers.empty();
}

// The segments, of the numbers [low, high), of the last clock that began before the time that is looked for.
void log_reader::find_clock(const by_key& key, const std::vector<u64>& numbers, std::size_t& low,
                            std::size_t& high) const {
  for_each_clock(parts_->lane.where, numbers, [&](const lane_clock& clock) {
    const auto first = std::lower_bound(numbers.begin(), numbers.end(), clock.first);
    low = clock.known ? static_cast<std::size_t>(first - numbers.begin()) : 0;
    const bool found = !clock.known || clock.since <= key.value;
    if (!found) high = low;
    return !found;
  });
}

result<void> log_reader::walk_to(const by_key& key) {
  segment_start start{};
  const std::shared_ptr<segment_file> segment = parts_->segment;
  segment->read_start(start);
  const segment_geometry& g = segment->geometry;
  const sparse_reading reading(segment->memory);
  reading.expect(0, g.data_offset);
  const log_place from = place_from_index(*segment, start, [&](const segment_index_entry& entry) {
    return key.not_behind(entry.sequence, entry.voids, entry.stamp);
  });
  // To the next place that the index knows, and the message there.
  const u64 offset = g.data_offset + (from.position - begin_);
  reading.expect(offset, offset + (u64{1} << g.index_shift) + page_bytes_read);
  log_place place = from;
  for (;;) {
    const frame_step step = look_at_frame(*parts_->segment, begin_, place, false);
    bool there = false;
    switch (step.kind) {
      case step_kind::message:
      case step_kind::voided: {
        if (key.kind == by_key::what::sequence) there = place.sequence >= key.value;
        if (key.kind == by_key::what::message) there = place.sequence - place.voids >= key.value;
        if (key.kind == by_key::what::time) there = step.kind == step_kind::message && step.stamp >= key.value;
        break;
      }
      case step_kind::skip: break;
      // Whatever this is, take() says it.
      default: there = true;
    }
    if (there) {
      position_ = place.position;
      sequence_ = place.sequence;
      voids_ = place.voids;
      stamp_ = place.stamp;
      if (step.kind != step_kind::rolled) return {};
      const std::shared_ptr<segment_file> segment_before = parts_->segment;
      const take_status status = cross();
      if (status == take_status::corrupt && parts_->segment != segment_before) {
        return tl::unexpected(error(errc::corrupt, parts_->fault));
      }
      if (status == take_status::lagged) {
        // Removed under the search, and not from under somebody who reads: who asks for a sequence counts it himself.
        lost_total_ -= std::exchange(lost_, 0);
      } else if (status != take_status::message) {
        return {};
      }
      place = {position_, sequence_, voids_, stamp_};
      continue;
    }
    place = behind(place, step);
  }
}

}  // namespace quoit::inline v1::detail
