#include "storage/log_reader_parts.hpp"

#include <algorithm>
#include <cerrno>
#include <functional>
#include <utility>

#include "storage/frame_walk.hpp"
#include "storage/lane_clock.hpp"
#include "storage/lane_header.hpp"

namespace quoit::inline v1::detail {

namespace {
// A reader asks this often whether the segment that it is in was removed.
constexpr u64 bytes_between_looks = u64{64} << 10;
}  // namespace

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
  // A recovery may have set it aside meanwhile, and a publisher have made another one.
  struct stat status{};
  const bool is_still_next = file != nullptr && file->number == number &&
                             parts_->lane.where.find(segment_name(number), status) &&
                             file_identity::of(status) == file->file;
  if (!is_still_next) {
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
  epoch_begin_ = start.epoch_begin;
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
  const u64 messages_expected = sequence_ - voids_;
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
    const bool may_be_torn = any ? !parts_->segment->of_this_boot : !was_written_in_this_boot(parts_->lane);
    if (may_be_torn && end >= durable_position()) return take_status::nothing;
    return corrupt(std::string(began.error().words()));
  }
  if (!*began) return take_status::nothing;
  if (!any) return take_status::message;
  const u64 messages = sequence_ - voids_;
  // Who read on behind a cut has had messages that are not there any more.
  const bool behind_cut = epoch_begin_ == sequence_;
  if (position_ < end || sequence_ < expected || (messages < messages_expected && !behind_cut)) {
    // What was delivered is not said to be due again.
    sequence_ = std::max(sequence_, expected);
    return corrupt(parts_->segment->path + " does not begin where the segment before it ends");
  }
  if (messages <= messages_expected) return take_status::message;
  lost_ = messages - messages_expected;
  lost_total_ += lost_;
  return take_status::lagged;
}

// The same; where there is none behind it, but there was once, that is said.
take_status log_reader::go_on() {
  for (int n = 0;; ++n) {
    if (const take_status status = cross(); status != take_status::nothing) {
      const u64 wanted = std::exchange(wanted_, 0);
      if (status != take_status::message || sequence_ >= wanted) return status;
      if (auto there = walk_to({by_key::what::sequence, wanted}); !there)
        return corrupt(std::string(there.error().words()));
      return status;
    }
    const log_lane_header& header = parts_->lane.header();
    const u64 number = parts_->segment != nullptr ? parts_->segment->number : 0;
    const u64 end = number != 0 ? parts_->end(begin_) : 0;
    const bool went_on =
        known_durable(header) > end || (was_written_in_this_boot(parts_->lane) && known_begun(header) > number);
    if (!went_on) return take_status::nothing;
    // What is recorded was there before: a second look finds it.
    if (n > 0) break;
  }
  return corrupt(parts_->lane.where.path() + " went on behind sequence " + std::to_string(sequence_) +
                 " once: its last segments are missing");
}

// Nothing is there. `message`: it is worth another look.
take_status log_reader::at_end() {
  safe_end_ = durable_position();
  if (position_ >= safe_end_) return take_status::nothing;
  // sync(segment.commit): what is on the disk was committed before
  if (load_acquire(*reinterpret_cast<const u64*>(data_ + (position_ - begin_))) != 0) return take_status::message;
  return corrupt(where_it_is() + ": ends here, and was on the disk up to position " + std::to_string(safe_end_));
}

// The reader comes no further where it is. It may be behind a cut, in what was given up: a publisher or a repair has
// cut the lane before it, and the lane goes on elsewhere. `message`: it does.
take_status log_reader::look_elsewhere(take_status found) {
  const bool look = std::exchange(path_look_due_, false);
  if (parts_->segment == nullptr) return found;
  if ((look || found == take_status::corrupt) && is_replaced()) {
    if (auto there = resume_at(sequence()); !there) return corrupt(std::string(there.error().words()));
    return lagged_due_ ? tell_lagged() : take_status::message;
  }
  if ((look || !parts_->segment->of_this_boot) && !at_roll_ && was_left()) return cross();
  return found;
}

// Whether the lane goes on in the next segment, whatever the rest of this one says: it could not be written back, or
// was cut, or left, and the skip was not written back.
bool log_reader::was_left() const {
  auto next = open_segment_head(parts_->lane.where, parts_->segment->number + 1);
  segment_start start{};
  if (!next || !(*next)->read_start(start) || start.position != parts_->end(begin_)) return false;
  return start.after_failure != 0 || start.epoch_begin == start.sequence ||
         follows_on(start, {position_, sequence_, voids_, stamp_});
}

// The segment was set aside, and the lane was written anew from before it; or another file has its name.
bool log_reader::is_replaced() const {
  struct stat status{};
  const segment_file& segment = *parts_->segment;
  const bool there = parts_->lane.where.find(segment_name(segment.number), status);
  if (there) return file_identity::of(status) != segment.file;
  // Where all are gone, the lane goes on nowhere.
  return errno == ENOENT && !list_segments(parts_->lane.where).empty();
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
  if (lagged_due_) return tell_lagged();
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

take_status log_reader::tell_lagged() noexcept {
  lagged_due_ = false;
  lost_total_ += lost_;
  return take_status::lagged;
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
    const take_status status = take_here(out);
    if (status != take_status::nothing && status != take_status::corrupt) return status;
    if (const take_status elsewhere = look_elsewhere(status); elsewhere != take_status::message) return elsewhere;
  }
}

take_status log_reader::take_here(lane_frame& out) {
  for (;;) {
    if (clock_due_) return take_slow(out);
    at_roll_ = false;
    if (parts_->segment == nullptr) {
      if (const take_status status = go_on(); status != take_status::message) return status;
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
        at_roll_ = true;
        if (const take_status status = go_on(); status != take_status::message) return status;
        break;
      case step_kind::newer: return take_status::newer_version;
      case step_kind::end:
        if (const take_status status = at_end(); status != take_status::message) return status;
        break;
      case step_kind::bad: return at_bad(step.reason);
    }
  }
}

take_status log_reader::at_bad(const char* reason) {
  const segment_file& segment = *parts_->segment;
  // Behind the durable position a frame of an earlier boot may be torn: that is the end, until a publisher cuts it.
  if (!segment.of_this_boot && position_ >= durable_position()) return take_status::nothing;
  return corrupt(where_it_is() + ": " + reason);
}

std::string log_reader::where_it_is() const {
  const segment_file& segment = *parts_->segment;
  return segment.path + " at byte " + std::to_string(segment.geometry.data_offset + (position_ - begin_)) +
         " (sequence " + std::to_string(sequence_) + ")";
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

}  // namespace quoit::inline v1::detail
