#include "storage/recovery.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "storage/frame_walk.hpp"
#include "storage/lane_header.hpp"
#include "storage/lane_records.hpp"
#include "storage/segment_mending.hpp"

namespace quoit::inline v1::detail {

namespace {

std::string where(const segment_file& segment, u64 begin, const log_place& place) {
  return segment.path + " at byte " + std::to_string(segment.geometry.data_offset + (place.position - begin)) +
         " (sequence " + std::to_string(place.sequence) + ")";
}

constexpr std::byte zeros[4096]{};

// Bytes up to the last one that is not zero.
u64 bytes_used(const segment_file& segment, u64 offset) noexcept {
  u64 end = segment.geometry.data_bytes;
  const std::byte* const data = segment.data();
  while (end >= offset + sizeof zeros && std::memcmp(data + end - sizeof zeros, zeros, sizeof zeros) == 0) {
    end -= sizeof zeros;
  }
  while (end > offset && data[end - 1] == std::byte{}) --end;
  return end - offset;
}

// Made ahead, and nothing was published in it. Of this boot every store is there: without a first header, there is at
// most the payload of a loan.
bool never_used(const segment_file& segment) noexcept {
  if (segment.header().start.check != 0) return false;
  // sync(segment.commit): orders nothing: its writer is dead
  if (segment.of_this_boot) return load_acquire(*reinterpret_cast<const u64*>(segment.data())) == 0;
  return bytes_used(segment, 0) == 0;
}

enum class verdict : u8 {
  go_on,     // the segment ends with a roll: the next one counts too
  here,      // the lane ends in this segment
  not_here,  // the lane ends before it
  failed,
};

class recovery {
 public:
  recovery(const log_lane& lane, bool durable, bool repair, const storage_calls& calls, bool rehearse)
      : lane_(lane),
        durable_(durable),
        repair_(repair),
        rehearse_(rehearse),
        calls_(calls),
        mark_(known_durable(lane.header())) {}

  result<recovered_lane> run() {
    int unread = 0;
    const std::vector<u64> numbers = list_segments(lane_.where, !rehearse_, &unread);
    if (unread != 0) return tl::unexpected(storage_call_failed("reading the directory", lane_.where.path(), unread));
    out_.report.segments = numbers.size();
    verdict last = verdict::go_on;
    std::size_t at = 0;
    for (; at < numbers.size() && last == verdict::go_on; ++at) last = enter(numbers, at);
    if (last == verdict::not_here) --at;
    if (auto whole = last != verdict::failed ? compare_end() : result<void>(); !whole) {
      return tl::unexpected(std::move(whole.error()));
    }
    // The last first: whoever dies here leaves no gap.
    for (std::size_t i = numbers.size(); i-- > at && last != verdict::failed;) {
      if (auto gone = set_aside(numbers[i]); !gone) return tl::unexpected(std::move(gone.error()));
    }
    if (last == verdict::failed) return tl::unexpected(std::move(failure_));
    return finish(last == verdict::go_on, numbers.empty() ? 0 : numbers.back());
  }

 private:
  verdict fail(errc code, const std::string& words) {
    failure_ = error(code, words);
    return verdict::failed;
  }

  // Something at the place is wrong. Behind the durable position it may be, once, for a file that is not of this boot.
  verdict cut(const std::string& words, bool torn_is_possible, verdict then) {
    if (!repair_ && (!torn_is_possible || place_.position < mark_)) {
      return fail(errc::corrupt,
                  words + ", which was whole once: see what `verify` says, and `repair` cuts the lane there");
    }
    if (out_.report.cut.empty()) {
      out_.report.cut_sequence = place_.sequence;
      out_.report.cut = words;
    }
    // What follows from a cut is none of its own.
    if (!std::exchange(given_up_, true)) out_.report.cuts.push_back(words);
    return then;
  }

  // What the lane's records say was there behind its end.
  result<void> compare_end() {
    missing_end missing = compare_with_records(lane_, out_.segment ? out_.segment->number : 0, found_end_);
    // A repair that cut the end has said so.
    if (missing.words.empty() || (repair_ && given_up_)) return {};
    if (missing.was_safe && !repair_) {
      return tl::unexpected(error(errc::corrupt, missing.words +
                                                     ": what was behind that is missing; see what `verify` says, and "
                                                     "`repair` lets publishers go on from there"));
    }
    if (out_.report.cut.empty()) {
      out_.report.cut_sequence = place_.sequence;
      out_.report.cut = missing.words;
    }
    out_.report.cuts.push_back(std::move(missing.words));
    return {};
  }

  verdict enter(const std::vector<u64>& numbers, std::size_t at) {
    const u64 number = numbers[at];
    const bool first = out_.segment == nullptr;
    const bool gap = at > 0 && number != numbers[at - 1] + 1;
    if (gap && !repair_ && !passes_over(number)) {
      return cut(lane_.where.path() + ": segment " + std::to_string(numbers[at - 1] + 1) + " is missing", false,
                 verdict::not_here);
    }
    auto opened = open_once(number);
    if (!opened) {
      if (opened.error() != errc::corrupt) {
        failure_ = std::move(opened.error());
        return verdict::failed;
      }
      return no_segment(number, std::string(opened.error().words()), first || !trusted_);
    }
    const std::shared_ptr<segment_file> segment = std::move(*opened);
    const u64(&lane_id)[2] = lane_.header().lane_id;
    if (!std::equal(lane_id, lane_id + 2, segment->header().lane_id)) {
      return no_segment(number, segment->path + " is of another lane", false);
    }
    if (segment->mended) out_.report.mended.push_back(segment->path + ": a flipped bit of its header");
    if (repair_ && segment->header().start.check != 0 && mend_start(*segment)) {
      out_.report.mended.push_back(segment->path + ": a flipped bit of its start record");
    }
    if (repair_ && mend_clock(*segment)) {
      out_.report.mended.push_back(segment->path + ": the record of its clock");
    }
    segment_start start{};
    if (!segment->read_start(start)) {
      // One that was made ahead has none after it that was written.
      const bool empty = segment->header().start.check == 0 && !(repair_ && goes_on_behind(*segment));
      if (!empty && !(repair_ && start_from_index(*segment, first, start))) {
        return no_segment(number, segment->path + ": its start record is wrong", !segment->of_this_boot);
      }
      // Its start record was there before that was noted.
      const bool was_begun = number <= known_begun(lane_.header());
      if (empty && first && was_begun &&
          cut(segment->path + ": its start record is missing", !was_written_in_this_boot(lane_), verdict::go_on) ==
              verdict::failed) {
        return verdict::failed;
      }
      if (empty && first) {
        start = {0, 0, 0, stamp_at_begin(*segment), 0, 0, 0};
        // Retention leaves the segment in which a publisher is: those before this one are lost.
        epoch_due_ = number != 1;
      } else if (empty && !was_begun && trusted_ && segment->of_this_boot && (!repair_ || died_here(*segment))) {
        // S5: the publisher died before it came to say where the segment begins, and may have written there.
        start = {place_.position, place_.sequence, place_.voids, stamp_at_begin(*segment), epoch_begin_, 0, 0};
      } else if (empty) {
        return verdict::not_here;  // made ahead
      }
      segment->write_start(start);
    }
    if (!first && !follows(start)) {
      const std::string words = segment->path + ": does not begin where the segment before it ends";
      const bool behind = start.position >= end_ && start.sequence >= place_.sequence;
      if (!repair_ || !behind) return cut(words, !segment->of_this_boot, verdict::not_here);
      cut(words, true, verdict::here);
      pass_over(*segment);
    }
    given_up_ = false;
    place_ = {start.position, start.sequence, start.voids, start.stamp};
    epoch_begin_ = start.epoch_begin;
    begin_ = start.position;
    end_ = begin_ + segment->geometry.data_bytes;
    trusted_ = segment->of_this_boot;
    known_ = true;
    out_.segment = segment;
    // By number: a lane can have more segments than a process may have open.
    if (end_ > mark_) pending_.push_back(number);
    if ((end_ <= mark_ || trusted_) && !repair_ && next_start(*segment).check != 0) {
      // All of it is on the disk, or in memory, and its successor says where it went on.
      place_.position = end_;
      known_ = false;
      return verdict::go_on;
    }
    if (end_ <= mark_) pending_.push_back(number);
    return walk(segment, start);
  }

  // S10: of a segment that has no start record yet, or lost it with the record of its clock.
  u64 stamp_at_begin(const segment_file& segment) const noexcept {
    const lane_clock clock = clock_of(segment);
    segment_index_entry entry{};
    if (clock.known && clock.first == segment.number) return clock.since;
    return read_entry(segment, 0, entry) && entry.offset() == 0 ? entry.stamp : place_.stamp;
  }

  // Nothing was given up before it, and there is something in it.
  bool died_here(const segment_file& segment) const noexcept {
    return out_.report.cuts.empty() && bytes_used(segment, 0) != 0;
  }

  // What is under the name of a segment is none of this lane. A repair gives up no more than that.
  verdict no_segment(u64 number, const std::string& words, bool torn_is_possible) {
    const verdict then = cut(words, torn_is_possible, repair_ ? verdict::go_on : verdict::not_here);
    if (then != verdict::go_on) return then;
    if (auto gone = set_aside(number); !gone) {
      failure_ = std::move(gone.error());
      return verdict::failed;
    }
    return then;
  }

  // A segment begins where the one before ended, unless that one's end is known to be missing.
  bool follows(const segment_start& start) const noexcept {
    if (start.after_failure != 0) return start.position >= end_;
    return start.position == end_ && (!known_ || follows_on(start, place_));
  }

  // Whether a segment says that what is before it may be missing.
  bool passes_over(u64 number) const {
    auto segment = open_segment_head(lane_.where, number);
    segment_start start{};
    return segment && (*segment)->read_start(start) && start.after_failure != 0;
  }
  void pass_over(segment_file& segment) {
    // relaxed: it is written back before the lane is written again
    store_relaxed(segment.header().start.after_failure, segment_failure_mark);
    if (repair_) durable_ = true;
  }

  // What a start record said is also in the first entry of the index, but for the position.
  bool start_from_index(const segment_file& segment, bool first, segment_start& out) const {
    segment_index_entry entry{};
    if (!read_entry(segment, 0, entry) || entry.offset() != 0) return false;
    u64 position = end_;
    // Its own, where as many sequences were passed over as are no messages (S12).
    const bool begins_epoch =
        entry.sequence != place_.sequence && entry.sequence - entry.voids == place_.sequence - place_.voids;
    u64 epoch_begin = begins_epoch ? entry.sequence : epoch_begin_;
    if (first) {
      auto next = open_segment_head(lane_.where, segment.number + 1);
      segment_start start{};
      if (next && (*next)->read_start(start)) {
        position = start.position - segment.geometry.data_bytes;
        epoch_begin = std::min(start.epoch_begin, entry.sequence);
      } else if (segment.number != 1) {
        return false;
      }
    }
    out = {position, entry.sequence, entry.voids, entry.stamp, epoch_begin, 0, 0};
    return true;
  }

  verdict walk(const std::shared_ptr<segment_file>& file, const segment_start& start) {
    segment_file& segment = *file;
    if (!trusted_) read_all_soon(segment.memory);
    const u64 from = repair_ ? 0 : trusted_ ? ~u64{0} : mark_;
    place_ = place_from_index(
        segment, start, [&](const segment_index_entry& entry) { return start.position + entry.offset() <= from; });
    if (repair_) mend(segment);
    u64 due = place_.position;
    for (;;) {
      const frame_step step = look_at_frame(segment, begin_, place_, !trusted_ || repair_);
      switch (step.kind) {
        case step_kind::message: ++out_.report.messages_verified; break;
        case step_kind::voided:
        case step_kind::skip: break;
        case step_kind::claimed: make_void(segment, step); break;
        case step_kind::end: return at_end(file);
        case step_kind::rolled:
          place_.position += step.length;
          found_end_ = place_;
          return verdict::go_on;
        case step_kind::newer:
          return fail(errc::newer_version, where(segment, begin_, place_) + ": a frame of a later version");
        case step_kind::bad:
          // A segment that came after a failure of writing back stands for itself, and readers step to it.
          if (next_start(segment).after_failure != 0) {
            place_.position = end_;
            return verdict::go_on;
          }
          if (repair_ && goes_on(next_start(segment))) return seal_roll(file);
          return cut_here(file, step.reason, !trusted_);
      }
      place_ = behind(place_, step);
      if (place_.position >= due) due = note_entry(segment);
    }
  }

  // S7: what the dead had claimed spends its sequence, and what it had written there is as if it had not.
  void make_void(segment_file& segment, const frame_step& step) {
    std::byte* const frame = segment.data() + (place_.position - begin_);
    auto* const words = reinterpret_cast<u64*>(frame);
    std::memset(frame + word_bytes, 0, step.length - word_bytes);
    const u64 checked[2] = {
        frame_header::make(step.header.payload_bytes(), frame_kind::voided, segment_frame_flags, place_.sequence).word,
        place_.stamp};
    words[1] = checked[1];
    const u32 crc = crc32c_words(segment.salt, reinterpret_cast<const std::byte*>(checked), sizeof checked);
    words[2] = crc32c_words(crc, frame + segment_words_bytes, checked_bytes(step.header.payload_bytes()));
    // sync(segment.commit): a reader may step over it
    store_release(words[0], checked[0]);
  }

  void mend(segment_file& segment) {
    if (clear_gaps(segment)) out_.report.mended.push_back(segment.path + ": bytes where nothing is written");
    if (clear_wrong_entries(segment)) out_.report.mended.push_back(segment.path + ": entries of its index");
  }

  // The index is the only way to what is behind an end: there readers would find what was given up, and the next
  // publisher would go on behind it.
  static bool forget_entries_behind(segment_file& segment, u64 offset) {
    bool any = false;
    for (u32 part = 0; part < segment.geometry.index_entries; ++part) {
      segment_index_entry entry{};
      if (!read_entry(segment, part, entry) || entry.offset() <= offset) continue;
      clear_entry(segment.entry(part));
      any = true;
    }
    return any;
  }
  static void clear_entry(segment_index_entry& there) {
    // relaxed: the lane is ours, and readers check what they see
    for (u64* word : {&there.place, &there.sequence, &there.voids, &there.stamp}) store_relaxed(*word, 0);
  }

  // True if some were wrong, and not only missing.
  static bool clear_wrong_entries(segment_file& segment) {
    bool any = false;
    for (u32 part = 0; part < segment.geometry.index_entries; ++part) {
      segment_index_entry entry{};
      if (read_entry(segment, part, entry)) continue;
      segment_index_entry& there = segment.entry(part);
      any = any || (there.sequence | there.voids | there.stamp | there.place) != 0;
      clear_entry(there);
    }
    return any;
  }

  u64 note_entry(segment_file& segment) {
    const u64 offset = place_.position - begin_;
    const u64 part = offset >> segment.geometry.index_shift;
    segment_index_entry there{};
    if (part < segment.geometry.index_entries && offset + word_bytes <= segment.geometry.data_bytes &&
        !read_entry(segment, static_cast<u32>(part), there)) {
      write_entry(segment.entry(static_cast<u32>(part)), segment.salt,
                  {place_.sequence, place_.voids, place_.stamp, offset});
    }
    return begin_ + ((part + 1) << segment.geometry.index_shift);
  }

  verdict at_end(const std::shared_ptr<segment_file>& file) {
    segment_file& segment = *file;
    const u64 offset = place_.position - begin_;
    found_end_ = place_;
    const segment_start next = next_start(segment);
    if (repair_ && forget_entries_behind(segment, offset)) {
      out_.report.mended.push_back(segment.path + ": entries of its index behind the end");
    }
    if (next.after_failure != 0) {
      place_.position = end_;
      return verdict::go_on;
    }
    if (trusted_ && !repair_) {
      if (next.check != 0) {
        return cut(where(segment, begin_, place_) + ": ends here, and another segment follows", false, verdict::here);
      }
      clear_last_claim(segment, offset);
      return verdict::here;
    }
    // What is written from now on is of another boot, and goes to a segment of its own.
    if (goes_on(next)) return seal_roll(file);
    const bool clear = bytes_used(segment, offset) == 0;
    if (repair_ && trusted_ && !goes_on_behind(segment)) {
      // As for a publisher: only what its last loan left is there.
      if (!clear) clear_last_claim(segment, offset);
      if (bytes_used(segment, offset) == 0 && place_.position >= mark_) return verdict::here;
    } else if (clear && next.check == 0 && place_.position >= mark_) {
      // A repair leaves that to the next publisher, where nothing follows.
      if (repair_ && !goes_on_behind(segment)) return verdict::here;
      seal(file);
      return repair_ ? verdict::go_on : verdict::here;
    }
    return cut_here(file, clear ? "the lane was longer once" : "a frame is missing before others", true);
  }

  bool goes_on(const segment_start& next) const noexcept { return next.check != 0 && follows_on(next, place_); }

  // Only the roll to the next segment was lost.
  verdict seal_roll(const std::shared_ptr<segment_file>& file) {
    if (repair_) out_.report.mended.push_back(file->path + ": the roll at its end");
    seal(file);
    return verdict::go_on;
  }

  verdict cut_here(const std::shared_ptr<segment_file>& file, const std::string& reason, bool torn_is_possible) {
    found_end_ = place_;
    const verdict then = cut(where(*file, begin_, place_) + ": " + reason, torn_is_possible, verdict::here);
    if (then != verdict::here) return then;
    seal(file);
    // A repair gives up only the rest of this segment: what follows is looked at when it is entered.
    return repair_ ? verdict::go_on : then;
  }

  // Whether a segment behind this one was written.
  bool goes_on_behind(const segment_file& segment) const {
    for (const u64 number : list_segments(lane_.where)) {
      if (number <= segment.number) continue;
      const auto later = open_segment_head(lane_.where, number);
      segment_start start{};
      if (later && (*later)->read_start(start)) return true;
    }
    return false;
  }

  // Only the newest claim of the dead may have left bytes behind the end, and its payload at most: S2 is restored.
  static void clear_last_claim(segment_file& segment, u64 offset) {
    const segment_geometry& g = segment.geometry;
    const u64 touched = std::min(g.extent(g.payload_bytes_max), g.data_bytes - offset);
    std::byte* const from = segment.data() + offset;
    for (u64 at = 0; at < touched; at += sizeof zeros) {
      const u64 bytes = std::min<u64>(sizeof zeros, touched - at);
      // A page that is not written needs no writing back.
      if (std::memcmp(from + at, zeros, bytes) != 0) std::memset(from + at, 0, bytes);
    }
  }

  // Nothing is written again where something was: the rest of the segment is passed over. Done when all is well.
  void seal(const std::shared_ptr<segment_file>& file) {
    seals_.push_back({file, begin_, place_.position});
    out_.report.bytes_cut += bytes_used(*file, place_.position - begin_);
    place_.position = end_;
  }

  // A segment is looked at when the one before it is, and then itself.
  result<std::shared_ptr<segment_file>> open_once(u64 number) {
    if (next_ != nullptr && next_->number == number) return std::move(next_);
    const access how = rehearse_ ? access::private_copy : access::read_write;
    return repair_ ? open_segment_to_mend(lane_.where, number, how) : open_segment(lane_.where, number, how);
  }

  segment_start next_start(const segment_file& segment) {
    // A repair looks at what is there, and mends it when it comes there.
    auto next = repair_ ? open_segment_head(lane_.where, segment.number + 1) : open_once(segment.number + 1);
    if (next && !repair_) next_ = *next;
    segment_start start{};
    if (next && (*next)->read_start(start) && start.position == end_) return start;
    return {};
  }

  result<void> set_aside(u64 number) {
    const std::string name = segment_name(number);
    struct stat status{};
    u64 used = lane_.where.find(name, status) ? static_cast<u64>(status.st_size) : 0;
    if (auto segment = open_segment(lane_.where, number, access::read)) {
      const u64(&id)[2] = lane_.header().lane_id;
      if (never_used(**segment) && std::equal(id, id + 2, (*segment)->header().lane_id)) {
        // Also from under a reader that waits for its first message.
        if (rehearse_ || lane_.where.remove(name) || errno == ENOENT) return {};
        return tl::unexpected(storage_call_failed("removing", lane_.where.path_of(name), errno));
      }
      used = bytes_used(**segment, 0);
    }
    out_.report.bytes_cut += used;
    ++out_.report.segments_cut;
    if (out_.report.cut.empty()) out_.report.cut = lane_.where.path_of(name) + ": the lane ends before it";
    if (rehearse_) return {};
    return set_file_aside(lane_.where, name);
  }

  result<recovered_lane> finish(bool at_roll, u64 last_number) {
    if (rehearse_) return std::move(out_);
    for (const seal_place& s : seals_) {
      forget_entries_behind(*s.segment, s.position - s.begin);
      u64& word = *reinterpret_cast<u64*>(s.segment->data() + (s.position - s.begin));
      const u64 length = s.begin + s.segment->geometry.data_bytes - s.position;
      // sync(segment.commit): readers go on in the next segment
      store_release(word, segment_skip(s.segment->salt, s.position, length).word);
    }
    const bool full = out_.segment && (at_roll || place_.position == end_);
    out_.next_number = out_.segment ? out_.segment->number + 1 : last_number + 1;
    out_.place = place_;
    if (durable_ || !seals_.empty()) {
      if (auto written = write_back(); !written) return tl::unexpected(std::move(written.error()));
      note_durable(lane_.header(), place_.position);
    }
    if (out_.segment) out_.clock = clock_of(*out_.segment);
    out_.is_full = full;
    out_.epoch_begin = epoch_begin_;
    out_.epoch_due = epoch_is_due();
    if (repair_ && out_.epoch_due) remember_cut();
    return std::move(out_);
  }

  // S12: whether sequences behind the end may have been used.
  bool epoch_is_due() const {
    const log_lane_header& header = lane_.header();
    if (epoch_due_ || header.epoch_due != 0 || lane_.copied || !out_.report.cuts.empty()) return true;
    // What was damaged in one place may be missing in another, without a trace.
    if (!out_.report.mended.empty()) return true;
    if (out_.segment == nullptr) return known_limit(header) != 0;
    if (trusted_) return false;
    const auto left = known_end(header);
    return !left || left->position != found_end_.position || left->sequence != found_end_.sequence;
  }

  // The next publisher does not find what was cut, and the records are true again.
  void remember_cut() {
    log_lane_header& header = lane_.header();
    header.epoch_due = 1;
    forget_end(header);
    note_begun(header, out_.segment ? out_.segment->number : 0);
  }

  // S9: what could not be written back once is not asked for again.
  result<void> write_back() {
    result<void> all;
    for (const u64 number : pending_) {
      // relaxed: nobody else writes it while the lane is ours
      if (number == load_relaxed(lane_.header().failed_segment) || passes_over(number + 1)) continue;
      const std::string path = lane_.where.path_of(segment_name(number));
      const fd file = lane_.where.open_file(segment_name(number), O_RDWR);
      if (!file) return tl::unexpected(storage_call_failed("opening", path, errno));
      int status = 0;
      while ((status = calls_.synchronize(file.get())) != 0 && errno == EINTR) {
      }
      if (status == 0) continue;
      all = tl::unexpected(error(errc::system, "writing back " + path, 0, errno));
      // Who comes next leaves it, and what is behind it stands for itself.
      if (auto next = open_segment(lane_.where, number + 1, access::read_write)) pass_over(**next);
      store_relaxed(lane_.header().failed_segment, number);  // relaxed: as above
    }
    if (!all) return all;
    if (!lane_.where.synchronize() && errno != EINVAL) {
      return tl::unexpected(error(errc::system, "writing back " + lane_.where.path(), 0, errno));
    }
    return {};
  }

  struct seal_place {
    std::shared_ptr<segment_file> segment;
    u64 begin;
    u64 position;
  };

  const log_lane& lane_;
  bool durable_;
  const bool repair_;
  const bool rehearse_;
  const storage_calls& calls_;
  const u64 mark_;
  recovered_lane out_;
  log_place place_;
  log_place found_end_;  // of the frames that are whole
  u64 epoch_begin_ = 0;  // of the segment that was looked at last
  bool epoch_due_ = false;
  u64 begin_ = 0;  // of the segment that was looked at last
  u64 end_ = 0;
  bool known_ = true;      // where it ends: sequence and voids of place_ count
  bool given_up_ = false;  // something was cut behind the segment that was entered last
  bool trusted_ = false;   // it is of this boot
  error failure_{errc{}};
  std::vector<seal_place> seals_;
  std::vector<u64> pending_;
  std::shared_ptr<segment_file> next_;  // opened by next_start()
};

}  // namespace

result<recovered_lane> recover_lane(const log_lane& lane, bool durable, bool repair, const storage_calls& calls,
                                    bool rehearse) {
  return recovery(lane, durable, repair, calls, rehearse).run();
}

}  // namespace quoit::inline v1::detail
