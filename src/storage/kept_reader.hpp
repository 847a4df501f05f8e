// All lanes of a topic on disk as one stream.
//
// Each message has a stamp: the lane whose next message has the lowest is next; of equal ones, that of the first name.
// Where the clock was set, stamps are compared as if it had not been (clock_order.hpp), and so never go back in a lane.
// So what is there when take() is called comes by time, and each publisher's messages in its order. A lane that is at
// its end holds nobody back, whether its publisher lives or not: what it publishes later comes when it is there.
//
// R1. A lane is the one that is being taken from (`current_`), or *waiting* (its next message was taken off it, or what
// is
//     wrong with it is known; in `waiting_`, a heap), or *idle* (it was at its end at the last look; in `idle_`), or
//     left.
// R2. Messages are taken from `current_` without a look at the others while they come before `bound_`: the first of
//     those that wait. They do not change, and wait until they are taken.
// R3. What an idle lane will have is not known; but it is stamped when it is published. So up to the time of the last
//     look at the idle lanes there is nothing of theirs, and `bound_` is at most that. Behind it they are looked at
//     again. A message that was stamped before the look and became visible after it comes late by as much.
//
// So one lane costs nothing more than itself, a backlog of many costs a step in a heap where the lane changes, and at
// the live end each message costs one look at the others. Everything on disk is input, as in log_reader.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quoit/cursor.hpp"
#include "quoit/detail/log_reader.hpp"
#include "quoit/options.hpp"
#include "storage/clock_order.hpp"
#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

// What a topic on disk carries, as its segments say.
struct kept_type {
  std::string name;
  u32 bytes = 0;  // 0: variable
  u32 alignment = 8;
  std::string fields;
};

class kept_reader;

struct kept_lane {
  static constexpr u32 not_remembered = ~u32{0};

  std::string name;
  u64 id[2] = {};
  std::unique_ptr<log_reader> reader;
  kept_reader* topic = nullptr;        // that it belongs to
  u32 remembered_as = not_remembered;  // in a named subscription's table
  bool nowhere = false;                // a seek failed: no place of it is said

 private:
  friend class kept_reader;
  file_identity file;  // the lane's own
  u32 order = 0;       // by name; of one name, the younger behind
  bool left = false;
  bool merged = false;                        // its clocks are known to `clocks_`
  std::int64_t shift = 0;                     // of the clock of what comes next: clock_order::shift_of()
  take_status status = take_status::nothing;  // of a lane that waits: what comes next
  lane_frame next;                            // if that is a message
  std::int64_t time = 0;                      // of it, to be compared
  std::vector<u64> held;                      // sequences, in order; of a reader that commits
};

// Thread safety: one thread. In a forked child nothing may be called but the destructor.
class kept_reader {
 public:
  // Opens what is there, and goes to the start in each lane. `type`: what the segments have to carry; none: anything.
  // A start at a cursor with a value n: the last n messages of each lane before it, too. `remembers_held`: done() will
  // be asked for. `is_patient`: a lane that cannot be opened yet is said by unsaid(), and the others go on. Errors:
  // not_found (no such topic there), invalid_name, type_mismatch, no_permission, limit_reached (descriptors, mappings),
  // system.
  static result<std::unique_ptr<kept_reader>> open(std::string root, std::string topic, std::optional<kept_type> type,
                                                   u32 held_max, const start& from, bool remembers_held = false,
                                                   bool is_patient = false);
  ~kept_reader();
  kept_reader(const kept_reader&) = delete;
  kept_reader& operator=(const kept_reader&) = delete;

  // The next message, and the lane that it is in, or of which the status speaks (lagged, corrupt, newer_version). A
  // lane that is corrupt or too new is left: that is said once, and the others go on.
  take_status take(lane_frame& out, kept_lane*& from) noexcept {
    if (current_ != nullptr && held_ < held_max_) [[likely]] {
      const take_status status = current_->reader->take(out);
      if (status == take_status::message && is_next(out.stamp)) [[likely]] {
        return hand_out(out, from);
      }
      if (status == take_status::nothing && lanes_.size() == 1) return status;
      set_aside(status, out);
    }
    return take_slow(out, from);
  }
  // One more message that lies behind those of a batch which began with `first`, under the same hold. False ends it.
  bool take_more(kept_lane& lane, const lane_frame& first, lane_frame& out) noexcept;
  void release(kept_lane& lane, const lane_frame& frame) noexcept;

  // True if take() would not say `nothing`.
  bool ready() noexcept;

  // Opens lanes that have come since; each is read from its first message, or from where the cursor says at which the
  // reader was started: it may have been there then, and could not be opened. One that was removed and made anew is
  // another lane of the same name.
  void look_for_lanes();
  // A lane is there that could not be opened, or has nothing in it yet: it is worth looking again.
  bool lane_missing() const noexcept { return lane_missing_; }
  // What opening lanes answered: each once for a lane.
  std::vector<error>& unsaid() noexcept { return unsaid_; }

  // Publishers may have died: see log_reader.
  void look_at_writers() noexcept;

  // Goes to another place. Nothing may be held. Errors: corrupt, newer_version, no_permission, limit_reached, system:
  // that lane is left then.
  result<void> seek(const start& from);
  // Behind everything that was taken.
  cursor position() const;
  // Before everything that was not taken and given back.
  cursor done() const;

  std::size_t lanes() const noexcept { return lanes_.size(); }
  kept_lane& lane(std::size_t i) const noexcept { return *lanes_[i]; }
  u64 sequence_of_next(const kept_lane& lane) const noexcept;
  u64 done_of(const kept_lane& lane) const noexcept;
  u64 lost_total() const noexcept;
  // Lanes that somebody publishes in, now.
  u32 publishers() const noexcept;
  u32 held() const noexcept { return held_; }
  // Of the first lane that was opened. Nothing where there is none yet.
  const std::optional<kept_type>& carried() const noexcept { return carried_; }
  const std::string& root() const noexcept { return root_; }
  const std::string& topic() const noexcept { return topic_; }

 private:
  static constexpr std::int64_t never_looked = std::numeric_limits<std::int64_t>::min();

  kept_reader() = default;

  bool is_next(u64 stamp) const noexcept {
    return stamp < bound_stamp_ || (stamp == bound_stamp_ && current_->order < bound_order_);
  }
  take_status hand_out(const lane_frame& frame, kept_lane*& from) noexcept {
    from = current_;
    ++held_;
    if (remembers_held_) current_->held.push_back(frame.sequence);
    return take_status::message;
  }
  take_status take_from(kept_lane& lane, lane_frame& out) noexcept;
  static bool comes_after(const kept_lane* a, const kept_lane* b) noexcept;
  void set_aside(take_status status, const lane_frame& frame) noexcept;
  void wait_in_line(kept_lane& lane) noexcept;
  void look_at_idle() noexcept;
  void set_bound() noexcept;
  take_status take_slow(lane_frame& out, kept_lane*& from) noexcept;
  void start_from(const start& from);
  void take_back(kept_lane& lane) noexcept;
  void add(std::unique_ptr<kept_lane> lane);
  void compare_clocks();
  result<std::optional<log_lane>> open_lane(const directory_handle& topic, const std::string& name);
  result<void> begin_lane(const std::string& name, log_lane opened, const start& from);
  result<void> follow_lane(kept_lane& lane, log_lane opened);
  result<bool> check_type(const directory_handle& where);
  kept_lane* youngest(const std::string& name) const noexcept;
  // Of a lane that cannot be opened, `first` fails; the others say so once, and go on.
  enum class looking : u8 { first, patiently, again };
  result<void> look(const start& from, looking how);
  result<void> go_to(kept_lane& lane, const start& from) const;

  std::string root_;
  std::string topic_;
  std::optional<kept_type> type_;
  std::optional<kept_type> carried_;
  std::vector<std::unique_ptr<kept_lane>> lanes_;  // by name
  std::vector<kept_lane*> waiting_;                // a heap: the first is next
  std::vector<kept_lane*> idle_;
  kept_lane* current_ = nullptr;
  u64 bound_stamp_ = 0;  // on the clock of the current lane
  u32 bound_order_ = 0;
  clock_order clocks_;
  std::int64_t looked_at_ = never_looked;  // when the idle lanes were looked at
  u32 held_ = 0;
  u32 held_max_ = 0;
  std::optional<cursor> goes_on_;  // the start, where it was one
  u64 goes_back_ = 0;              // so many messages before it
  bool remembers_held_ = false;
  bool lane_missing_ = false;
  std::vector<std::string> complained_of_;  // lanes of which it was said that they cannot be opened
  std::vector<error> unsaid_;
};

}  // namespace quoit::inline v1::detail
