// A subscriber on the kernel path: the socket at which publishers find it, and those that it connected to. What they
// send is the business of an `incoming` for each; who waits for all of them waits for one descriptor, an epoll.
//
// Thread safety: the subscriber's thread.
#pragma once

#include <sys/epoll.h>

#include <memory>
#include <span>
#include <vector>

#include "base/fork_guard.hpp"
#include "topic/node.hpp"
#include "transport/unix/meeting_place.hpp"
#include "transport/unix/sockets.hpp"

namespace quoit::inline v1::detail {

// A publisher whose greeting is there.
struct greeted {
  guarded_fd socket;
  welcome said{};
  u64 tag = 0;  // of its socket in the epoll
};

class mailbox {
 public:
  struct request {
    std::string_view topic;
    type_info type;
    topic_limits limits;
    quoit::mode mode;
    quoit::start start;
    u32 samples_max;
  };
  // Enters, and connects to every publisher that is there; `there` has those that answered in time. From then on
  // whatever is published arrives. Errors: as meeting_place::open(), and policy_conflict, limit_reached.
  static result<std::unique_ptr<mailbox>> open(node& owner, const request& r, std::chrono::nanoseconds lock_timeout,
                                               std::vector<greeted>& there);
  ~mailbox();
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;

  // Readable while something may be there.
  int descriptor() const noexcept { return epoll_.get(); }
  // Sleeps until that is so. What it saw is what the next look() sees.
  void sleep(std::chrono::nanoseconds timeout) noexcept;

  // What has something: new publishers are in `came`, the tags of the others in what is returned.
  // Errors: limit_reached (descriptors: whoever comes waits), corrupt, newer_version; each once.
  std::span<const u64> look(std::vector<greeted>& came, result<void>& how) noexcept;

  // For whoever lists the topic.
  void show(u64 received, u64 lost) noexcept;
  u32 arriving() const noexcept { return static_cast<u32>(arriving_.size()); }
  void close() noexcept { place_.leave(own_); }

 private:
  explicit mailbox(node& owner) noexcept : owner_(owner) {}
  result<void> set_up(const request& r, std::chrono::nanoseconds lock_timeout, std::vector<greeted>& there);
  result<void> say_hello(const member& whom, const request& r);
  result<void> watch(int socket, u64 tag);
  result<void> take_connections();
  result<bool> hear(greeted& who) const;
  void hear_all(std::vector<greeted>& came, result<void>& how);
  void listen(bool on) noexcept;

  static constexpr u64 tag_listener = 0;
  static constexpr u64 tag_interrupt = ~u64{0};
  static constexpr int events_max = 32;

  node& owner_;
  meeting_place place_;
  registration own_;
  guarded_fd epoll_;
  std::vector<greeted> arriving_;  // connected, and not greeted yet
  u64 next_tag_ = 1;
  bool listening_ = true;
  std::chrono::steady_clock::time_point listens_again_{};
  int pending_ = 0;  // events that sleep() saw
  epoll_event events_[events_max];
  u64 tags_[events_max];
};

}  // namespace quoit::inline v1::detail
