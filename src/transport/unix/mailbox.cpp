#include "transport/unix/mailbox.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/call_counts.hpp"
#include "base/deadline.hpp"
#include "base/file_lock.hpp"
#include "base/random.hpp"

namespace quoit::inline v1::detail {

namespace {

// After a descriptor could not be had.
constexpr std::chrono::milliseconds pause{50};

error conflict(const std::string& topic, const char* words) {
  return error(errc::policy_conflict, "topic " + topic + " has a publisher " + words);
}

result<void> check_mode(const std::string& topic, mode asked, const member_record& publisher) {
  if (asked == mode::observer) return {};
  const bool overwrites = publisher.policy == static_cast<u32>(policy::overwrite);
  if (asked == mode::reliable && overwrites) {
    return tl::unexpected(conflict(topic,
                                   "with policy overwrite, which waits for nobody; subscribe with mode "
                                   "automatic or lossy"));
  }
  if ((asked == mode::lossy || overwrites) && publisher.lossy_allowed == 0) {
    return tl::unexpected(conflict(topic, "with lossy_subscribers = false; subscribe with mode automatic or reliable"));
  }
  return {};
}

error refused(const welcome& w, const std::string& topic) {
  const std::string who = "a publisher of topic " + topic;
  if (w.version != wire_version || w.refusal == static_cast<u32>(errc::newer_version)) {
    return error(errc::newer_version, who + " speaks version " + std::to_string(w.version) +
                                          " of the kernel path, this library version " + std::to_string(wire_version) +
                                          ": use one version of quoit on a bus");
  }
  switch (static_cast<errc>(w.refusal)) {
    case errc::limit_reached:
      return error(errc::limit_reached, who + " has no room for more subscriptions (its limits.subscriptions_max)");
    case errc::policy_conflict: return error(errc::policy_conflict, who + " cannot give the mode that was asked for");
    case errc::no_space: return error(errc::no_space, who + " has no memory");
    default: return error(errc::corrupt, who + " refuses with words that no version knows");
  }
}

}  // namespace

result<std::unique_ptr<mailbox>> mailbox::open(node& owner, const request& r, std::chrono::nanoseconds lock_timeout,
                                               std::vector<greeted>& there) {
  std::unique_ptr<mailbox> made(new mailbox(owner));
  if (auto ok = made->set_up(r, lock_timeout, there); !ok) {
    there.clear();
    if (!made->own_.path.empty()) made->close();
    return tl::unexpected(std::move(ok.error()));
  }
  return made;
}

mailbox::~mailbox() = default;

result<void> mailbox::set_up(const request& r, std::chrono::nanoseconds lock_timeout, std::vector<greeted>& there) {
  epoll_ = guarded_fd::opened_by(make_epoll);
  if (!epoll_) return tl::unexpected(descriptor_error("making an epoll", errno));
  if (const int interrupts = owner_.interrupt_descriptor(); interrupts >= 0) {
    // Told once for each write: nobody reads it.
    epoll_event written{};
    written.events = EPOLLIN | EPOLLET;
    written.data.u64 = tag_interrupt;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, interrupts, &written) != 0) {
      return tl::unexpected(descriptor_error("watching an eventfd", errno));
    }
  } else {
    return tl::unexpected(descriptor_error("making an eventfd", errno));
  }
  std::vector<member> publishers;
  {
    const bool observes = r.mode == mode::observer;
    auto opened = observes ? meeting_place::find(owner_.bus(), r.topic, r.type, lock_timeout)
                           : meeting_place::open(owner_.bus(), r.topic, r.type, r.limits, lock_timeout);
    if (!opened) return tl::unexpected(std::move(opened.error()));
    place_ = std::move(opened->place);
    const auto failed = [&](error why) -> result<void> {
      // Looking into the directory takes a descriptor.
      epoll_.reset();
      place_.remove_if_unused();
      return tl::unexpected(std::move(why));
    };
    auto subscribers = place_.members(member_role::subscriber);
    if (!subscribers) return failed(std::move(subscribers.error()));
    if (const u32 max = place_.record().subscriptions_max; !observes && subscribers->size() >= max) {
      return failed(topic_is_full(place_.name(), subscribers->size(), "subscriptions", "subscriptions_max", max));
    }
    auto found = place_.members(member_role::publisher);
    if (!found) return failed(std::move(found.error()));
    publishers = std::move(*found);
    for (const member& m : publishers) {
      if (auto ok = check_mode(place_.name(), r.mode, m.record); !ok) return failed(std::move(ok.error()));
    }
    member_record record{};
    record.magic = member_magic;
    record.version = wire_version;
    record.role = observes ? member_role::observer : member_role::subscriber;
    record.mode = static_cast<u32>(r.mode);
    record.samples_max = r.samples_max;
    record.pid = static_cast<u32>(::getpid());
    record.uid = ::geteuid();
    const auto id = random_id();
    record.id[0] = id[0];
    record.id[1] = id[1];
    std::memcpy(record.node_name, owner_.own_entry().name, sizeof record.node_name);
    owner_.why_transport().copy(record.why, sizeof record.why - 1);
    auto entered = place_.enter(record);
    if (!entered) return failed(std::move(entered.error()));
    own_ = std::move(*entered);
    if (auto ok = watch(own_.listener.get(), tag_listener); !ok) return ok;
  }
  // The lock is free again: who comes from now on connects to us, and those that were there know their own answer.
  for (const member& m : publishers) {
    if (auto ok = say_hello(m, r); !ok) return ok;
  }
  // They answer on a thread of theirs, at once; one that is stopped is waited for later.
  const std::chrono::nanoseconds most = owner_.settings().lock_timeout;
  const deadline end(lock_timeout.count() > 0 ? lock_wait_limit::left(most) : most);
  std::vector<greeted> waiting = std::move(arriving_);
  arriving_.clear();
  for (greeted& who : waiting) {
    for (;;) {
      auto heard = hear(who);
      if (!heard && heard.error() == errc::not_found) break;  // it left
      if (!heard) return tl::unexpected(std::move(heard.error()));
      if (*heard) {
        there.push_back(std::move(who));
      } else if (!end.over() && wait_for_packet(who.socket.get(), end.left())) {
        continue;
      } else {
        arriving_.push_back(std::move(who));
      }
      break;
    }
  }
  return {};
}

result<void> mailbox::say_hello(const member& whom, const request& r) {
  auto socket = connect_to(whom.socket_path);
  if (!socket) {
    if (socket.error() == errc::not_found) return {};  // it left
    return tl::unexpected(std::move(socket.error()));
  }
  hello h{};
  h.magic = hello_magic;
  h.version = wire_version;
  h.mode = static_cast<u32>(r.mode);
  h.start_kind = static_cast<u32>(r.start.kind);
  h.start_messages = r.start.value;
  h.samples_max = r.samples_max;
  h.pid = static_cast<u32>(::getpid());
  std::memcpy(h.node_name, owner_.own_entry().name, sizeof h.node_name);
  if (send_packet(socket->get(), &h, sizeof h, nullptr, 0) != packet::done) return {};
  const u64 tag = next_tag_++;
  if (auto ok = watch(socket->get(), tag); !ok) return ok;
  arriving_.push_back({std::move(*socket), {}, tag});
  return {};
}

// True: its greeting is there. Errors: not_found (it is gone), and what it refused with.
result<bool> mailbox::hear(greeted& who) const {
  std::size_t bytes = 0;
  bool cut = false;
  switch (receive_packet(who.socket.get(), &who.said, sizeof who.said, nullptr, 0, bytes, cut)) {
    case packet::would_block: return false;
    case packet::gone: return tl::unexpected(error(errc::not_found));
    default: break;
  }
  if (bytes < 16 || who.said.magic != welcome_magic) {
    return tl::unexpected(
        error(errc::corrupt, "what connected to a subscriber of topic " + place_.name() + " is no publisher"));
  }
  if (who.said.version != wire_version || who.said.refusal != 0) {
    return tl::unexpected(refused(who.said, place_.name()));
  }
  if (bytes != sizeof who.said || cut) return tl::unexpected(error(errc::corrupt, "a greeting of the wrong size"));
  return true;
}

result<void> mailbox::watch(int socket, u64 tag) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag;
  count_call(calls_made.others);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket, &event) == 0) return {};
  return tl::unexpected(descriptor_error("watching a socket", errno));
}

void mailbox::show(u64 received, u64 lost) noexcept {
  store_relaxed(own_.counted().received, received);  // relaxed: a counter
  store_relaxed(own_.counted().lost, lost);          // relaxed: as above
}

void mailbox::listen(bool on) noexcept {
  if (listening_ == on) return;
  listening_ = on;
  listens_again_ = std::chrono::steady_clock::now() + pause;
  epoll_event event{};
  event.events = on ? static_cast<u32>(EPOLLIN) : 0u;
  event.data.u64 = tag_listener;
  count_call(calls_made.others);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, own_.listener.get(), &event);
}

void mailbox::sleep(std::chrono::nanoseconds timeout) noexcept {
  if (!listening_) timeout = std::min<std::chrono::nanoseconds>(timeout, pause);
  // Up to the next millisecond: a sleep that ends early would be followed by others of nothing.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  count_call(calls_made.sleeps);
  pending_ = std::max(::epoll_wait(epoll_.get(), events_, events_max, static_cast<int>(std::min<long>(ms, 60'000))), 0);
}

std::span<const u64> mailbox::look(std::vector<greeted>& came, result<void>& how) noexcept {
  how = {};
  if (!listening_ && std::chrono::steady_clock::now() >= listens_again_) listen(true);
  int n = std::exchange(pending_, 0);
  if (n == 0) {
    count_call(calls_made.looks);
    n = ::epoll_wait(epoll_.get(), events_, events_max, 0);
  }
  std::size_t count = 0;
  bool somebody = false;
  for (int i = 0; i < n; ++i) {
    const u64 tag = events_[i].data.u64;
    if (tag == tag_listener) {
      how = take_connections();
      somebody = true;
    } else if (tag == tag_interrupt) {
      continue;  // whoever waits looks whether it was meant
    } else if (std::any_of(arriving_.begin(), arriving_.end(), [&](const greeted& g) { return g.tag == tag; })) {
      somebody = true;
    } else {
      tags_[count++] = tag;
    }
  }
  if (somebody) hear_all(came, how);
  return {tags_, count};
}

void mailbox::hear_all(std::vector<greeted>& came, result<void>& how) {
  std::erase_if(arriving_, [&](greeted& who) {
    auto heard = hear(who);
    if (heard && !*heard) return false;
    if (heard) {
      came.push_back(std::move(who));
    } else {
      if (heard.error() != errc::not_found) how = tl::unexpected(std::move(heard.error()));
      count_call(calls_made.others);
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, who.socket.get(), nullptr);
    }
    return true;
  });
}

result<void> mailbox::take_connections() {
  for (;;) {
    auto socket = accept_from(own_.listener.get());
    if (!socket) {
      listen(false);
      return tl::unexpected(std::move(socket.error()));
    }
    if (!*socket) return {};
    const u64 tag = next_tag_++;
    if (auto ok = watch(socket->get(), tag); !ok) return ok;
    arriving_.push_back({std::move(*socket), {}, tag});
  }
}

}  // namespace quoit::inline v1::detail
