// The untyped subscriber: a slot in every lane of a topic; or, of a topic on disk, a reader of its directory.
//
// Owned by the handle and by its samples together: it goes with the last of them. One thread.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "quoit/cursor.hpp"
#include "quoit/detail/fork_epoch.hpp"
#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/publisher_core.hpp"
#include "quoit/detail/topic_layout.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1::detail {

struct subscriber_parts;
struct lane_link;
struct kept_lane;
struct kept_subscription;
struct storage_record;
struct topic_place;
class topic;
class receive_wait;

// A message that is held, and the lane that it is in.
struct held_message {
  lane_reader* reader = nullptr;  // nobody, of a topic on disk
  union {
    lane_link* link = nullptr;
    kept_lane* kept;  // without a reader
  };
  lane_frame frame;
};

class QUOIT_EXPORT subscriber_core {
 public:
  struct closer {
    void operator()(subscriber_core* core) const noexcept { core->close(); }
  };
  using owned = std::unique_ptr<subscriber_core, closer>;

  static result<subscriber_core*> open(const std::shared_ptr<node>& owner, std::string_view topic,
                                       const message_type& type, const subscriber_options& options);
  // The same in a loop, which goes on meanwhile; as publisher_core::open_async().
  static task<result<owned>> open_async(std::shared_ptr<node> owner, std::string_view topic, message_type type,
                                        subscriber_options options);
  static result<subscriber_core*> open_observer(const std::shared_ptr<node>& owner, std::string_view topic,
                                                const message_type& type, const subscriber_options& options);
  // A topic on disk, without a bus: it has no owner, and can only be polled. `type`: nothing for whatever it carries.
  static result<subscriber_core*> open_replay(const std::string& directory, std::string_view topic,
                                              const message_type* type, const subscriber_options& options);

  enum class polled : u8 { message, nothing, failed };
  // The next message, into `out`, which is the inside of a sample: it is not copied on its way. failed: why_failed().
  // `asked_by_loop`: not, by a loop of ours, which looks often; the descriptor stays as it is then.
  polled poll(held_message& out, bool asked_by_loop = false) noexcept {
    // sync(topic.roster): lanes that were entered before this number are found by whoever reads it
    if (epoch_ == fork_epoch && load_acquire(*roster_) == roster_seen_ && only_ != nullptr) [[likely]] {
      const take_status status = only_->take(out.frame);
      if (status == take_status::message) [[likely]] {
        out.reader = only_;
        out.link = only_link_;
        ++samples_;
        return polled::message;
      }
      if (status == take_status::nothing) return polled::nothing;
      return failed(status, *only_link_);
    }
    return poll_slow(out, asked_by_loop);
  }
  // Why the last poll() failed: lagged (value: lost), too_many_samples, corrupt, newer_version, forked, closed, and
  // what opening a lane answers. Once.
  error why_failed() noexcept;

  void release(const held_message& message) noexcept {
    if (epoch_ == fork_epoch) [[likely]] {
      if (message.reader != nullptr) [[likely]] {
        message.reader->release(message.frame);
      } else {
        release_kept(message);
      }
    }
    if (--samples_ == 0 && !open_) [[unlikely]]
      finish();
  }

  // One more message for a batch that began with `first`, under its hold. False ends it.
  bool take_more(const held_message& first, lane_frame& out) noexcept {
    if (first.reader != nullptr) [[likely]]
      return first.reader->take_more(first.frame, out);
    return take_more_kept(first, out);
  }

  // The descriptor that is readable while poll() may have something; the core's. Errors: forked, closed,
  // invalid_argument (an observer, a bus in inherited memory), limit_reached (descriptors), no_space, no_permission,
  // system.
  result<int> descriptor();

  // The next message; waits for it, at most `timeout`. As poll(), and never `nothing`: why_failed() may also be
  // timed_out, interrupted.
  polled wait_for(held_message& out, std::chrono::nanoseconds timeout) noexcept;
  // Waits until poll() of one of them, all of one bus, would return something: its index. Errors: timed_out,
  // interrupted, forked, closed.
  static result<std::size_t> wait_any(std::span<subscriber_core* const> cores,
                                      std::chrono::nanoseconds timeout) noexcept;

  // The handle went. What samples are held goes on to live, and the topic is left with the last of them.
  void close() noexcept;

  u32 publishers() noexcept;
  u64 lost() const noexcept;
  transport_info transport() const;
  // The id of the publisher of a message.
  const u64* publisher_of(const held_message& message) const noexcept;

  // ---- of topics on disk; of others: invalid_argument, nothing ----
  std::string_view publisher_name_of(const held_message& message) const noexcept;
  // Errors: also busy (samples are held), forked, closed, and what opening a lane answers.
  result<void> seek(const start& from);
  result<cursor> position() const;  // errors: also forked
  result<void> commit();            // errors: also forked, closed, limit_reached
  // What its files say that it carries. False: there is none yet.
  bool kept_as(std::string& type_name, u32& type_bytes, u32& alignment, std::string& fields) const;

  subscriber_core(const subscriber_core&) = delete;
  subscriber_core& operator=(const subscriber_core&) = delete;

 private:
  static result<subscriber_core*> open_with(const std::shared_ptr<node>& owner, std::string_view topic,
                                            const message_type& type, const subscriber_options& options,
                                            std::chrono::nanoseconds lock_timeout);
  static result<subscriber_core*> open_kernel(const std::shared_ptr<node>& owner, std::string_view topic,
                                              const message_type& type, const subscriber_options& options,
                                              std::chrono::nanoseconds lock_timeout);
  // Without a directory. Nothing: the topic is kept in one by now.
  static result<subscriber_core*> open_elsewhere(const std::shared_ptr<node>& owner, std::string_view topic,
                                                 const message_type& type, const subscriber_options& options,
                                                 std::chrono::nanoseconds lock_timeout);
  static result<subscriber_core*> open_in_memory(const std::shared_ptr<node>& owner, std::string_view topic,
                                                 const message_type& type, const subscriber_options& options,
                                                 std::chrono::nanoseconds lock_timeout);
  // `kept` is taken only where that succeeds. Nothing, and no `kept`: the topic is kept elsewhere by now. Nothing, with
  // `kept`: its `ends` are to be measured, and then this again.
  static result<subscriber_core*> open_kept(const std::shared_ptr<node>& owner, std::string_view topic,
                                            const message_type& type, const subscriber_options& options,
                                            std::chrono::nanoseconds lock_timeout,
                                            std::unique_ptr<kept_subscription>& kept);
  // Asks the topic, before anything is made in a directory, whether this may read there. Errors: busy (its lock).
  static result<void> ask_topic(const std::shared_ptr<node>& owner, std::string_view topic, const message_type& type,
                                const subscriber_options& options, std::chrono::nanoseconds lock_timeout,
                                const topic_place& place);
  static result<u32> find_entry(const topic& control);
  static result<void> may_make(const std::shared_ptr<node>& owner, std::string_view topic, const message_type& type,
                               const subscriber_options& options, std::chrono::nanoseconds lock_timeout);
  static result<void> enter_table(subscriber_parts& parts, u64 storage);
  explicit subscriber_core(std::unique_ptr<subscriber_parts> parts) noexcept;
  ~subscriber_core();

  polled poll_slow(held_message& out, bool asked_by_loop) noexcept;
  polled look_once(held_message& out) noexcept;
  polled look_for_foreign_loop(held_message& out) noexcept;
  void drop_descriptor() noexcept;
  polled take_from_links(held_message& out) noexcept;
  polled take_kept(kept_subscription& kept, held_message& out) noexcept;
  polled take_left(held_message& out) noexcept;
  bool take_more_kept(const held_message& first, lane_frame& out) noexcept;
  void release_kept(const held_message& message) noexcept;
  void look_at_storage() noexcept;
  void follow_storage() noexcept;
  result<void> follow_record(const storage_record& record);
  void refuse_storage(u64 record, error why);
  void look_at_kept_lanes() noexcept;
  static bool look_around(kept_subscription& kept) noexcept;
  static bool ready_kept(kept_subscription& kept) noexcept;
  void recheck_kept() noexcept;
  polled failed(take_status status, lane_link& link) noexcept;
  error leave_broken(lane_link& link, take_status status) noexcept;
  void finish() noexcept;
  void look_at_roster() noexcept;
  void look_at_sockets() noexcept;
  bool anything_received() noexcept;
  u32 count_connected() noexcept;
  void sleep_on_sockets(std::span<subscriber_core* const> cores, std::chrono::nanoseconds timeout) noexcept;
  void drop_ended() noexcept;
  void finish_kernel() noexcept;
  void drop_drained() noexcept;
  void forget_removed_lanes() noexcept;
  void set_only() noexcept;
  bool ready() noexcept;
  void set_armed_bit() noexcept;
  void prefetch_look() const noexcept;
  void recheck_publishers() noexcept;
  void show_counters() noexcept;

  friend class receive_wait;
  friend class bus_loop;

  std::unique_ptr<subscriber_parts> parts_;
  receive_wait* waiting_ = nullptr;  // the coroutine that waits for the next message
  const u64* roster_;
  u64 roster_seen_ = 0;
  lane_reader* only_ = nullptr;  // if there is one lane and nothing is to be done about it
  lane_link* only_link_ = nullptr;
  u32 epoch_;
  u32 samples_ = 0;
  bool open_ = true;
};

}  // namespace quoit::inline v1::detail
