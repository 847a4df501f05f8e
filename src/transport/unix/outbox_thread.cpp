// The thread of an outbox: greets who comes, sends what a full socket did not take, notices who goes.
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/call_counts.hpp"
#include "transport/unix/outbox.hpp"
#include "transport/unix/outbox_parts.hpp"
#include "transport/unix/sockets.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int events_max = 32;
// After a descriptor could not be had.
constexpr int pause_ms = 50;

}  // namespace

void outbox::run() noexcept {
  int timeout_ms = -1;
  for (;;) {
    epoll_event events[events_max];
    count_call(calls_made.sleeps);
    const int n = ::epoll_wait(epoll_.get(), events, events_max, timeout_ms);
    const std::lock_guard hold(mutex_);
    timeout_ms = -1;
    u64 count = 0;
    for (int i = 0; i < n; ++i) {
      const u64 tag = events[i].data.u64;
      if (tag == outbox_tag_told) {
        count_call(calls_made.others);
        [[maybe_unused]] const ssize_t taken = ::read(told_.get(), &count, sizeof count);
      } else if (tag == outbox_tag_listener) {
        take_connections();
      } else if (tag < connections_.size() && connections_[tag] != nullptr) {
        const u32 slot = static_cast<u32>(tag);
        connection& c = *connections_[slot];
        if (c.reader == nullptr) {
          greet(slot);
        } else if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
          // A subscriber says nothing after its hello: this is its end.
          drop(slot);
        } else {
          c.full = false;
          if (!send_on(c)) {
            drop(slot);
          } else if (!c.full) {
            watch(slot, false);
          }
        }
      }
    }
    drop_gone();
    if (!closing_ && !listening_) {
      // There was no descriptor for who comes: tried again after a pause.
      take_connections();
      if (!listening_) timeout_ms = pause_ms;
    }
    if (stopping_ || (closing_ && everything_sent())) break;
  }
  over_ = true;
}

// With the mutex held.
void outbox::take_connections() noexcept {
  if (closing_) return;
  bool can = true;
  while (can) {
    auto socket = accept_from(own_.listener.get());
    can = socket.has_value();
    if (!can || !*socket) break;
    const auto place = std::find(connections_.begin(), connections_.end(), nullptr);
    if (place == connections_.end()) {
      welcome w = greeting(false);
      w.refusal = static_cast<u32>(errc::limit_reached);
      send_packet(socket->get(), &w, sizeof w, nullptr, 0);
      continue;
    }
    try {
      *place = std::make_unique<connection>();
    } catch (const std::bad_alloc&) {
      continue;  // it is refused by being closed
    }
    (*place)->socket = std::move(*socket);
    packet_bytes_max((*place)->socket.get(), request_.geometry.payload_bytes_max + sizeof(packet_head));
    watch(static_cast<u32>(place - connections_.begin()), false);
  }
  if (can == listening_) return;
  listening_ = can;
  count_call(calls_made.others);
  epoll_event event{};
  event.events = can ? static_cast<u32>(EPOLLIN) : 0u;
  event.data.u64 = outbox_tag_listener;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, own_.listener.get(), &event);
}

// Moves a connection among those of its kind: only subscriptions have a slot in the lane. False: all are taken.
bool outbox::find_place(u32& slot, bool observer) noexcept {
  const u32 subscriptions = request_.geometry.subscriptions;
  if ((slot >= subscriptions) == observer) return true;
  const auto begin = connections_.begin() + (observer ? subscriptions : 0);
  const auto end = observer ? connections_.end() : connections_.begin() + subscriptions;
  const auto place = std::find(begin, end, nullptr);
  if (place == end) return false;
  *place = std::move(connections_[slot]);
  slot = static_cast<u32>(place - connections_.begin());
  watch(slot, false);
  return true;
}

void outbox::greet(u32 slot) noexcept {
  connection& c = *connections_[slot];
  hello said{};
  std::size_t bytes = 0;
  bool cut = false;
  const packet how = receive_packet(c.socket.get(), &said, sizeof said, nullptr, 0, bytes, cut);
  if (how == packet::would_block) return;
  if (how == packet::gone || bytes != sizeof said || cut || said.magic != hello_magic) return drop(slot);
  errc refusal = said.version == wire_version ? errc{} : errc::newer_version;
  const lane_geometry& g = request_.geometry;
  if (refusal == errc{} && !check_mode(place_.name(), said.mode, g)) refusal = errc::policy_conflict;
  welcome w = greeting(is_reliable(said.mode, g));
  // Until now it had the first place that was free.
  if (refusal == errc{} && !find_place(slot, is_observer(said.mode))) refusal = errc::limit_reached;
  if (refusal == errc{}) refusal = start_reader(slot, said);
  w.refusal = static_cast<u32>(refusal);
  const bool sent = send_packet(c.socket.get(), &w, sizeof w, nullptr, 0) == packet::done;
  if (!sent || refusal != errc{}) return drop(slot);
  // History.
  if (!send_on(c)) {
    c.gone = true;
  } else if (c.full) {
    watch(slot, true);
  }
}

errc outbox::start_reader(u32 slot, const hello& said) noexcept {
  connection& c = *connections_[slot];
  const lane_geometry& g = request_.geometry;
  c.observes = is_observer(said.mode);
  try {
    c.reader = std::make_unique<lane_reader>(lane_.memory(), g, slot, how_to_read(said.mode, g), 1,
                                             lane_poke{&outbox::room_was_made, this});
  } catch (const std::bad_alloc&) {
    return errc::no_space;
  }
  const auto from = static_cast<start::from>(said.start_kind);
  const bool started = from == start::from::latest     ? c.reader->start_at_latest()
                       : from == start::from::earliest ? c.reader->start_with_history(~u64{0})
                                                       : c.reader->start_with_history(said.start_messages);
  if (!started) return errc::corrupt;
  c.pid = said.pid;
  std::memcpy(c.node_name, said.node_name, sizeof c.node_name);
  c.node_name[sizeof c.node_name - 1] = '\0';
  if (c.observes) return {};
  subscription_entry& entry = control_.subscription(slot);
  store_relaxed(entry.samples_max, said.samples_max);  // relaxed: ordered by the release of the state
  // sync(topic.entry): whole, for never_refuses()
  store_release(entry.state, static_cast<u64>(participant_state::active));
  return {};
}

}  // namespace quoit::inline v1::detail
