#include "storage/kept_reader.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/clock.hpp"
#include "base/type_difference.hpp"
#include "storage/lane_header.hpp"
#include "storage/log_lane.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 never = ~u64{0};
constexpr std::int64_t behind_all = std::numeric_limits<std::int64_t>::max();
// Beside what the caller holds of a lane: what waits, and what is being looked at.
constexpr u32 held_beside = 2;

bool is_left_with(take_status status) noexcept {
  return status == take_status::corrupt || status == take_status::newer_version;
}

}  // namespace

kept_reader::~kept_reader() = default;

// ---- lanes ---------------------------------------------------------------------------------------------

result<std::unique_ptr<kept_reader>> kept_reader::open(std::string root, std::string topic,
                                                       std::optional<kept_type> type, u32 held_max, const start& from,
                                                       bool remembers_held, bool is_patient) {
  std::unique_ptr<kept_reader> reader(new kept_reader());
  reader->root_ = std::move(root);
  reader->topic_ = std::move(topic);
  reader->type_ = std::move(type);
  reader->held_max_ = held_max;
  reader->remembers_held_ = remembers_held;
  reader->start_from(from);
  const auto how = is_patient ? looking::patiently : looking::first;
  if (auto looked = reader->look(from, how); !looked) return tl::unexpected(std::move(looked.error()));
  return reader;
}

// What the segments of a lane carry. False: it has none that could be asked, yet.
result<bool> kept_reader::check_type(const directory_handle& where) {
  int unread = 0;
  const std::vector<u64> numbers = list_segments(where, false, &unread);
  if (unread != 0) return tl::unexpected(storage_call_failed("reading the directory", where.path(), unread));
  std::optional<error> why;
  for (auto at = numbers.rbegin(); at != numbers.rend(); ++at) {
    auto segment = open_segment(where, *at, access::read);
    if (!segment) {
      if (segment.error() != errc::not_found) why = std::move(segment.error());
      continue;
    }
    const segment_header& head = (*segment)->header();
    kept_type found{std::string(stored_text(head.type_name)), head.type_bytes, head.payload_alignment,
                    std::string(stored_text(head.type_fields))};
    if (type_) {
      // Each publisher may align its messages to more than its type needs.
      const u32 alignment = std::min(found.alignment, type_->alignment);
      const std::string difference = type_difference({found.name, found.bytes, alignment, found.fields},
                                                     {type_->name, type_->bytes, type_->alignment, type_->fields});
      if (!difference.empty()) {
        return tl::unexpected(error(errc::type_mismatch,
                                    (*segment)->path + " carries another type than the one asked for: " + difference));
      }
    }
    if (!carried_) carried_ = std::move(found);
    return true;
  }
  if (why) return tl::unexpected(std::move(*why));
  return false;
}

result<void> kept_reader::go_to(kept_lane& lane, const start& from) const {
  log_reader& reader = *lane.reader;
  switch (from.kind) {
    case start::from::latest: return reader.start_at_latest();
    case start::from::earliest: return reader.start_at_earliest();
    case start::from::last: return reader.start_with_last(from.value);
    case start::from::sequence: return reader.start_at_sequence(from.value);
    case start::from::time: return reader.start_at_time(from.value);
    case start::from::cursor: break;
  }
  const cursor::place* const place = from.where != nullptr ? from.where->find(lane.name) : nullptr;
  if (place == nullptr || (place->lane != 0 && place->lane != lane.id[0])) return reader.start_at_earliest();
  if (from.value != 0) return reader.start_before_sequence(place->sequence, from.value);
  return place->lane != 0 ? reader.resume_at(place->sequence) : reader.start_at_sequence(place->sequence);
}

// Empty: there is nothing in it yet.
result<std::optional<log_lane>> kept_reader::open_lane(const directory_handle& topic, const std::string& name) {
  const auto where = topic.open_directory(name);
  if (!where) return tl::unexpected(where.error());
  for (int n = 0;; ++n) {
    auto has_segments = check_type(*where);
    if (!has_segments) return tl::unexpected(std::move(has_segments.error()));
    auto lane = open_lane_directory(*where);
    if (lane && *has_segments) return std::optional(std::move(*lane));
    if (!lane && *has_segments && lane.error() == errc::not_found) {
      // It is made before any segment is.
      return tl::unexpected(error(errc::corrupt, where->path_of(lane_file_name) +
                                                     " is missing, and there are segments: `repair` makes it anew"));
    }
    if (!lane) return tl::unexpected(std::move(lane.error()));
    const missing_end missing = compare_with_records(*lane, 0, {});
    if (!missing.was_safe) return std::nullopt;
    // Its publisher may have come between the two looks.
    if (n > 0) return tl::unexpected(error(errc::corrupt, missing.words + ": all its segments are missing"));
  }
}

result<void> kept_reader::begin_lane(const std::string& name, log_lane opened, const start& from) {
  auto lane = std::make_unique<kept_lane>();
  lane->name = name;
  lane->file = opened.file;
  lane->reader = log_reader::open(std::move(opened), held_max_ + held_beside);
  std::copy_n(lane->reader->lane_id(), 2, lane->id);
  if (auto there = go_to(*lane, from); !there) return there;
  // A publisher that was killed before we came may have left a loan open.
  lane->reader->look_at_writer();
  lane->reader->tell_clocks();
  add(std::move(lane));
  return {};
}

// The lane is in another directory by now, or has another file of its own, as after a repair: a restored backup, say.
result<void> kept_reader::follow_lane(kept_lane& lane, log_lane opened) {
  lane.file = opened.file;
  auto there = lane.reader->go_on_in(std::move(opened));
  if (!there) {
    lane.left = lane.nowhere = true;
    return there;
  }
  lane.reader->look_at_writer();
  if (std::exchange(lane.left, false)) idle_.push_back(&lane);
  lane.nowhere = false;
  looked_at_ = never_looked;  // it may have messages of any time
  return {};
}

// A lane that is alone is not compared with any.
void kept_reader::compare_clocks() {
  for (const auto& lane : lanes_) {
    if (lanes_.size() == 1 || std::exchange(lane->merged, true)) continue;
    clocks_.add(lane->reader->where());
  }
  clocks_.settle();
  for (const auto& lane : lanes_) {
    if (lane->status == take_status::nothing) lane->shift = clocks_.shift_of(lane->reader->clock());
  }
}

void kept_reader::add(std::unique_ptr<kept_lane> lane) {
  const auto at = std::upper_bound(lanes_.begin(), lanes_.end(), lane,
                                   [](const auto& a, const auto& b) { return a->name < b->name; });
  lane->topic = this;
  // Taking allocates nothing.
  if (remembers_held_) lane->held.reserve(held_max_);
  idle_.push_back(lane.get());
  lanes_.insert(at, std::move(lane));
  for (u32 i = 0; i < lanes_.size(); ++i) lanes_[i]->order = i;
  // The bound was made without it.
  if (current_ != nullptr) idle_.push_back(std::exchange(current_, nullptr));
  looked_at_ = never_looked;
  waiting_.reserve(lanes_.size());
  idle_.reserve(lanes_.size());
}

kept_lane* kept_reader::youngest(const std::string& name) const noexcept {
  const auto at = std::find_if(lanes_.rbegin(), lanes_.rend(), [&](const auto& lane) { return lane->name == name; });
  return at != lanes_.rend() ? at->get() : nullptr;
}

result<void> kept_reader::look(const start& from, looking how) {
  const bool opens = how != looking::again;
  const auto topic = open_topic_directory(root_, topic_);
  if (!topic) {
    // What could not be read is worth reading again.
    lane_missing_ = topic.error() != errc::not_found;
    if (!opens) return {};
    return tl::unexpected(topic.error());
  }
  int why = 0;
  const std::vector<std::string> names = list_lanes(*topic, &why);
  if (why != 0 && opens) return tl::unexpected(storage_call_failed("reading the directory", topic->path(), why));
  lane_missing_ = why != 0;
  for (const std::string& name : names) {
    kept_lane* const known = youngest(name);
    if (known != nullptr) {
      struct stat status{};
      // One that is not there any more is read to the end of what is open of it.
      const bool there = topic->find(name + "/" + lane_file_name, status);
      if (!there || file_identity::of(status) == known->file) continue;
    }
    auto opened = open_lane(*topic, name);
    result<void> done = tl::unexpected(error(errc::not_found));
    if (!opened) {
      done = tl::unexpected(std::move(opened.error()));
    } else if (*opened) {
      const log_lane_header& header = (*opened)->header();
      const bool same = known != nullptr && std::equal(known->id, known->id + 2, header.lane_id);
      done = same ? follow_lane(*known, std::move(**opened))
                  : begin_lane(name, std::move(**opened), known != nullptr ? start::earliest : from);
    }
    if (done) {
      std::erase(complained_of_, name);
      continue;
    }
    // Being made, or for a later look.
    lane_missing_ = true;
    if (done.error() == errc::not_found) continue;
    const bool of_this_lane = done.error() == errc::corrupt || done.error() == errc::newer_version;
    if (how == looking::first && !of_this_lane) return done;
    if (std::find(complained_of_.begin(), complained_of_.end(), name) != complained_of_.end()) continue;
    complained_of_.push_back(name);
    unsaid_.push_back(std::move(done.error()));
  }
  compare_clocks();
  return {};
}

void kept_reader::start_from(const start& from) {
  goes_on_.reset();
  goes_back_ = 0;
  if (from.kind != start::from::cursor || from.where == nullptr) return;
  goes_on_ = *from.where;
  goes_back_ = from.value;
}

void kept_reader::look_for_lanes() {
  start from = start::earliest;
  if (goes_on_) from = {start::from::cursor, goes_back_, &*goes_on_};
  (void)look(from, looking::again);
}

void kept_reader::look_at_writers() noexcept {
  for (const auto& lane : lanes_) lane->reader->look_at_writer();
}

// ---- taking --------------------------------------------------------------------------------------------

bool kept_reader::comes_after(const kept_lane* a, const kept_lane* b) noexcept {
  return a->time != b->time ? a->time > b->time : a->order > b->order;
}

// `lane` waits, with its status, and its message if it has one.
void kept_reader::wait_in_line(kept_lane& lane) noexcept {
  // What is wrong is said before anything else.
  lane.time = lane.status == take_status::message
                  ? static_cast<std::int64_t>(lane.next.stamp + static_cast<u64>(lane.shift))
                  : never_looked;
  waiting_.push_back(&lane);
  std::push_heap(waiting_.begin(), waiting_.end(), comes_after);
}

// Never says clock_changed.
take_status kept_reader::take_from(kept_lane& lane, lane_frame& out) noexcept {
  for (;;) {
    const take_status status = lane.reader->take(out);
    if (status != take_status::clock_changed) return status;
    lane.shift = clocks_.shift_of(lane.reader->clock());
  }
}

// The current lane has this next, and it is not its turn, or that is no message.
void kept_reader::set_aside(take_status status, const lane_frame& frame) noexcept {
  kept_lane& lane = *std::exchange(current_, nullptr);
  lane.next = frame;
  lane.status = status;
  if (status == take_status::clock_changed) {
    lane.shift = clocks_.shift_of(lane.reader->clock());
    lane.status = take_from(lane, lane.next);
  }
  if (lane.status == take_status::nothing) {
    idle_.push_back(&lane);
  } else {
    wait_in_line(lane);
  }
}

void kept_reader::look_at_idle() noexcept {
  // Before the look: what is published behind it is not seen.
  looked_at_ = clocks_.now();
  std::erase_if(idle_, [&](kept_lane* lane) {
    lane->status = take_from(*lane, lane->next);
    if (lane->status == take_status::nothing) return false;
    wait_in_line(*lane);
    return true;
  });
}

// Of a run that begins now, with the others in line.
void kept_reader::set_bound() noexcept {
  std::int64_t bound = waiting_.empty() ? behind_all : waiting_.front()->time;
  bound_order_ = waiting_.empty() ? ~u32{0} : waiting_.front()->order;
  if (!idle_.empty() && bound >= looked_at_) {
    bound = looked_at_;
    bound_order_ = 0;
  }
  const u64 stamp = static_cast<u64>(bound) - static_cast<u64>(current_->shift);
  bound_stamp_ = bound == behind_all ? never : static_cast<std::int64_t>(stamp) > 0 ? stamp : 0;
}

take_status kept_reader::take_slow(lane_frame& out, kept_lane*& from) noexcept {
  if (held_ >= held_max_) return take_status::too_many;
  if (!idle_.empty() && (waiting_.empty() || waiting_.front()->time >= looked_at_)) look_at_idle();
  if (waiting_.empty()) {
    // Alone, it is asked without a detour next time.
    if (lanes_.size() == 1 && !idle_.empty()) {
      current_ = idle_.front();
      idle_.clear();
      set_bound();
    }
    return take_status::nothing;
  }
  std::pop_heap(waiting_.begin(), waiting_.end(), comes_after);
  kept_lane& lane = *waiting_.back();
  waiting_.pop_back();
  const take_status status = std::exchange(lane.status, take_status::nothing);
  if (status == take_status::message) {
    current_ = &lane;
    set_bound();
    out = lane.next;
    return hand_out(out, from);
  }
  from = &lane;
  lane.left = is_left_with(status);
  if (!lane.left) {
    idle_.push_back(&lane);
    looked_at_ = never_looked;  // it may have messages of any time
  }
  return status;
}

bool kept_reader::take_more(kept_lane& lane, const lane_frame& first, lane_frame& out) noexcept {
  if (&lane != current_) return false;
  lane_frame frame;
  const take_status status = lane.reader->take(frame);
  // The hold of the first is one of its segment.
  const bool together = status == take_status::message && is_next(frame.stamp) && lane.reader->is_in_segment(first);
  if (!together) {
    set_aside(status, frame);
    return false;
  }
  lane.reader->release(frame);
  out = frame;
  return true;
}

void kept_reader::release(kept_lane& lane, const lane_frame& frame) noexcept {
  lane.reader->release(frame);
  --held_;
  if (!remembers_held_) return;
  const auto at = std::find(lane.held.begin(), lane.held.end(), frame.sequence);
  if (at != lane.held.end()) lane.held.erase(at);
}

bool kept_reader::ready() noexcept {
  if (!unsaid_.empty() || !waiting_.empty()) return true;
  if (current_ != nullptr) {
    lane_frame frame;
    const take_status status = current_->reader->take(frame);
    set_aside(status, frame);
  }
  if (waiting_.empty()) look_at_idle();
  return !waiting_.empty();
}

// ---- places --------------------------------------------------------------------------------------------

// What waits of a lane is not taken after all.
void kept_reader::take_back(kept_lane& lane) noexcept {
  if (std::exchange(lane.status, take_status::nothing) == take_status::message) lane.reader->release(lane.next);
}

result<void> kept_reader::seek(const start& from) {
  start_from(from);
  look_for_lanes();
  for (kept_lane* const lane : waiting_) take_back(*lane);
  waiting_.clear();
  idle_.clear();
  current_ = nullptr;
  looked_at_ = never_looked;
  result<void> answer;
  for (const auto& lane : lanes_) {
    lane->held.clear();
    lane->left = lane->nowhere = false;
    if (auto there = go_to(*lane, from); !there) {
      lane->left = lane->nowhere = true;
      answer = std::move(there);
      continue;
    }
    lane->reader->look_at_writer();
    lane->shift = clocks_.shift_of(lane->reader->clock());
    idle_.push_back(lane.get());
  }
  return answer;
}

u64 kept_reader::sequence_of_next(const kept_lane& lane) const noexcept {
  return lane.status == take_status::message ? lane.next.sequence : lane.reader->sequence();
}

u64 kept_reader::done_of(const kept_lane& lane) const noexcept {
  return lane.held.empty() ? sequence_of_next(lane) : lane.held.front();
}

cursor kept_reader::position() const {
  cursor c;
  for (const auto& lane : lanes_) {
    if (!lane->nowhere) c.set({lane->name, lane->id[0], sequence_of_next(*lane)});
  }
  return c;
}

cursor kept_reader::done() const {
  cursor c;
  for (const auto& lane : lanes_) {
    if (!lane->nowhere) c.set({lane->name, lane->id[0], done_of(*lane)});
  }
  return c;
}

u32 kept_reader::publishers() const noexcept {
  const auto held =
      std::count_if(lanes_.begin(), lanes_.end(), [&](const auto& lane) { return lane->reader->is_written(); });
  return static_cast<u32>(held);
}

u64 kept_reader::lost_total() const noexcept {
  u64 sum = 0;
  for (const auto& lane : lanes_) sum += lane->reader->lost_total();
  return sum;
}

}  // namespace quoit::inline v1::detail
