#include "transport/unix/outbox.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/call_counts.hpp"
#include "base/random.hpp"
#include "transport/unix/outbox_parts.hpp"
#include "transport/unix/sockets.hpp"

namespace quoit::inline v1::detail {

namespace {

// Of the kernel: above this it needs its memory in one piece.
constexpr std::size_t packet_bytes_limit = std::size_t{1} << 20;

void write_one(int eventfd) noexcept {
  const u64 one = 1;
  count_call(calls_made.wakes);
  [[maybe_unused]] const ssize_t written = ::write(eventfd, &one, sizeof one);
}

}  // namespace

// ---- coming --------------------------------------------------------------------------------------------

result<std::unique_ptr<outbox>> outbox::open(node& owner, const request& r, std::chrono::nanoseconds lock_timeout) {
  std::unique_ptr<outbox> made(new outbox(owner, r));
  if (auto ok = made->set_up(lock_timeout); !ok) {
    // Nobody has seen it.
    made->end_thread();
    if (!made->own_.path.empty()) made->place_.leave(made->own_);
    return tl::unexpected(std::move(ok.error()));
  }
  return made;
}

result<void> outbox::set_up(std::chrono::nanoseconds lock_timeout) {
  over_ = true;  // until there is a thread
  const auto id = random_id();
  id_[0] = id[0];
  id_[1] = id[1];
  if (auto ok = limit_messages(); !ok) return ok;
  const lane_geometry& g = request_.geometry;
  auto control = topic::make_private(request_.topic, request_.type, request_.limits);
  if (!control) return tl::unexpected(std::move(control.error()));
  control_ = std::move(*control);
  auto lane = make_private_lane(g);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  lane_ = std::move(*lane);
  lane_.memory().head->policy = static_cast<u8>(request_.policy);
  connections_.resize(g.subscriptions + observers_max);
  writer_ = std::make_unique<lane_writer>(lane_.memory(), g, request_.loans_max);

  epoll_ = guarded_fd::opened_by(make_epoll);
  told_ = guarded_fd::opened_by([] { return make_eventfd(EFD_NONBLOCK); });
  if (!epoll_ || !told_) return tl::unexpected(descriptor_error("making an epoll and an eventfd", errno));

  auto opened = meeting_place::open(owner_.bus(), request_.topic, request_.type, request_.limits, lock_timeout);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  place_ = std::move(opened->place);
  const auto failed = [&](error why) -> result<void> {
    // Looking into the directory takes a descriptor.
    epoll_.reset();
    told_.reset();
    place_.remove_if_unused();
    return tl::unexpected(std::move(why));
  };
  auto publishers = place_.members(member_role::publisher);
  if (!publishers) return failed(std::move(publishers.error()));
  if (const u32 max = place_.record().publishers_max; publishers->size() >= max) {
    return failed(topic_is_full(place_.name(), publishers->size(), "publishers", "publishers_max", max));
  }
  auto subscribers = place_.members(member_role::subscriber);
  if (!subscribers) return failed(std::move(subscribers.error()));
  for (const member& m : *subscribers) {
    if (auto ok = check_mode(place_.name(), m.record.mode, g); !ok) return failed(std::move(ok.error()));
  }
  auto observers = place_.members(member_role::observer);
  if (!observers) return failed(std::move(observers.error()));
  if (auto ok = connect_to_all(*subscribers, 0, g.subscriptions); !ok) return failed(std::move(ok.error()));
  if (observers->size() > observers_max) observers->resize(observers_max);
  const u32 end = static_cast<u32>(connections_.size());
  if (auto ok = connect_to_all(*observers, g.subscriptions, end); !ok) return failed(std::move(ok.error()));

  member_record record{};
  record.magic = member_magic;
  record.version = wire_version;
  record.role = member_role::publisher;
  record.policy = static_cast<u32>(request_.policy);
  record.lossy_allowed = g.lossy_allowed;
  record.pid = static_cast<u32>(::getpid());
  record.uid = ::geteuid();
  record.capacity_bytes = g.ring_bytes;
  record.payload_bytes_max = g.payload_bytes_max;
  record.id[0] = id_[0];
  record.id[1] = id_[1];
  std::memcpy(record.node_name, owner_.own_entry().name, sizeof record.node_name);
  owner_.why_transport().copy(record.why, sizeof record.why - 1);
  auto entered = place_.enter(record);
  if (!entered) return failed(std::move(entered.error()));
  own_ = std::move(*entered);
  listening_ = true;
  for (const auto& [descriptor, tag] :
       {std::pair{told_.get(), outbox_tag_told}, std::pair{own_.listener.get(), outbox_tag_listener}}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) {
      return tl::unexpected(descriptor_error("watching a socket", errno));
    }
  }
  // Signals are for the threads of the program.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  result<void> started;
  try {
    thread_ = std::make_unique<std::thread>([this] { run(); });
    over_ = false;
  } catch (const std::system_error& e) {
    started = tl::unexpected(error(errc::limit_reached, "starting a thread", 0, e.code().value()));
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

// A message goes as one packet, which a socket's send buffer must take.
result<void> outbox::limit_messages() {
  fd probe = make_socket(SOCK_SEQPACKET);
  if (!probe) return tl::unexpected(descriptor_error("making a socket", errno));
  lane_geometry& g = request_.geometry;
  const std::size_t wanted = std::min(std::size_t{g.payload_bytes_max} + sizeof(packet_head), packet_bytes_limit);
  const std::size_t most = std::min(packet_bytes_max(probe.get(), wanted), packet_bytes_limit) - sizeof(packet_head);
  packet_payload_max_ = static_cast<u32>(most);
  if (g.payload_bytes_max <= most) return {};
  if (request_.fixed_size) {
    return tl::unexpected(error(errc::message_too_large,
                                "messages of " + std::to_string(g.payload_bytes_max) +
                                    " bytes: on the kernel path a message is one packet, of at most " +
                                    std::to_string(most) +
                                    " bytes here (the sysctl net.core.wmem_max, and 1 MiB); send it in parts, or "
                                    "use shared memory",
                                most));
  }
  g.payload_bytes_max = static_cast<u32>(most);
  g.frame_bytes_max = static_cast<u32>(g.extent(most));
  return {};
}

welcome outbox::greeting(bool reliable) const noexcept {
  const lane_geometry& g = request_.geometry;
  welcome w{};
  w.magic = welcome_magic;
  w.version = wire_version;
  w.id[0] = id_[0];
  w.id[1] = id_[1];
  w.payload_bytes_max = g.payload_bytes_max;
  w.payload_alignment = g.payload_alignment;
  w.frame_alignment = g.alignment;
  w.stamped = (g.flags & frame_stamped) != 0;
  w.reliable = reliable;
  return w;
}

result<std::unique_ptr<outbox::connection>> outbox::reach(const member& whom, u32 slot) {
  auto socket = connect_to(whom.socket_path);
  if (!socket) return tl::unexpected(std::move(socket.error()));
  const lane_geometry& g = request_.geometry;
  packet_bytes_max(socket->get(), g.payload_bytes_max + sizeof(packet_head));
  const bool reliable = is_reliable(whom.record.mode, g);
  const welcome w = greeting(reliable);
  if (send_packet(socket->get(), &w, sizeof w, nullptr, 0) != packet::done) {
    return tl::unexpected(error(errc::not_found));
  }
  auto made = std::make_unique<connection>();
  made->socket = std::move(*socket);
  made->pid = whom.record.pid;
  std::memcpy(made->node_name, whom.record.node_name, sizeof made->node_name);
  made->node_name[sizeof made->node_name - 1] = '\0';
  made->observes = is_observer(whom.record.mode);
  made->reader = std::make_unique<lane_reader>(lane_.memory(), g, slot, how_to_read(whom.record.mode, g), 1,
                                               lane_poke{&outbox::room_was_made, this});
  // It is here before the first message (A14).
  if (reliable) lane_.memory().slot_table->reliable_active[slot / 64] |= u64{1} << (slot % 64);
  made->reader->start_at_first();
  return made;
}

// With the lock of the topic held, and without a thread yet.
result<void> outbox::connect_to_all(const std::vector<member>& members, u32 slot, u32 end) {
  for (const member& m : members) {
    if (slot == end) {
      return tl::unexpected(error(errc::limit_reached,
                                  "topic " + place_.name() + " has more than " + std::to_string(slot) +
                                      " subscriptions (limits.subscriptions_max of this publisher)",
                                  slot));
    }
    auto made = reach(m, slot);
    if (!made) {
      if (made.error().code() == errc::not_found) continue;  // it is just leaving
      return tl::unexpected(std::move(made.error()));
    }
    connections_[slot] = std::move(*made);
    if (!connections_[slot]->observes) {
      subscription_entry& entry = control_.subscription(slot);
      store_relaxed(entry.samples_max, m.record.samples_max);  // relaxed: nobody else is here yet
      // sync(topic.entry): whole, for never_refuses()
      store_release(entry.state, static_cast<u64>(participant_state::active));
    }
    watch(slot, false);
    ++slot;
  }
  return {};
}

// With the mutex held: readers move only there.
void outbox::room_was_made(void* context) {
  auto& self = *static_cast<outbox*>(context);
  self.owner_.ring_node(self.owner_.id());
  if (self.told_of_room_ >= 0) write_one(self.told_of_room_);
}

void outbox::tell_of_room(int descriptor) noexcept {
  const std::lock_guard hold(mutex_);
  told_of_room_ = descriptor;
}

// ---- sending -------------------------------------------------------------------------------------------

// False: the other side is gone.
bool outbox::send_on(connection& c) noexcept {
  while (c.reader != nullptr) {
    if (!c.holds) {
      const take_status status = c.observes ? c.reader->take_copy(c.frame) : c.reader->take(c.frame);
      if (status == take_status::lagged) continue;  // the head of the next message says so
      if (status == take_status::drained) return false;
      if (status != take_status::message) break;
      c.holds = true;
    }
    const packet_head head{c.frame.sequence, c.frame.stamp, c.reader->lost_total()};
    ++sent_;
    const packet how = send_packet(c.socket.get(), &head, sizeof head, c.frame.payload, c.frame.payload_bytes);
    if (how == packet::gone) return false;
    c.full = how == packet::would_block;
    if (c.full) return true;
    c.holds = false;
    c.reader->release(c.frame);
  }
  return true;
}

u64 outbox::flush() noexcept {
  const std::lock_guard hold(mutex_);
  const u64 before = sent_;
  for (u32 slot = 0; slot < connections_.size(); ++slot) {
    connection* const c = connections_[slot].get();
    if (c == nullptr || c->full || c->gone) continue;
    if (!send_on(*c)) {
      // Its thread sees to it; the writer may be in the middle of something.
      c->gone = true;
      tell_thread();
    } else if (c->full) {
      watch(slot, true);
    }
  }
  show_counters();
  return sent_ - before;
}

void outbox::show_counters() noexcept {
  const lane_header& head = *lane_.memory().head;
  member_counters& shown = own_.counted();
  // relaxed: counters, which this thread writes
  store_relaxed(shown.messages, load_relaxed(head.published) - load_relaxed(head.voids));
  store_relaxed(shown.message_bytes, load_relaxed(head.payload_bytes));  // relaxed: as above
  store_relaxed(shown.refused, load_relaxed(head.refused));              // relaxed: as above
  store_relaxed(shown.sends, sent_);                                     // relaxed: as above
}

bool outbox::send_more() noexcept {
  const std::lock_guard hold(mutex_);
  show_counters();
  bool any = false;
  for (u32 slot = 0; slot < connections_.size(); ++slot) {
    connection* const c = connections_[slot].get();
    if (c == nullptr || !c->full || c->gone) continue;
    const u64 before = c->frame.position;
    if (!send_on(*c)) {
      c->gone = true;
      tell_thread();
    } else if (!c->full) {
      watch(slot, false);
    }
    any = any || !c->full || c->frame.position != before;
  }
  return any;
}

bool outbox::all_sent() noexcept {
  send_more();
  const std::lock_guard hold(mutex_);
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& c) {
    return c == nullptr || c->gone || c->observes || c->reader == nullptr || (!c->holds && !c->reader->ready());
  });
}

void outbox::watch(u32 slot, bool for_room) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | (for_room ? static_cast<u32>(EPOLLOUT) : 0u);
  event.data.u64 = slot;
  const int socket = connections_[slot]->socket.get();
  count_call(calls_made.others);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket, &event) != 0) {
    count_call(calls_made.others);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket, &event);
  }
}

// With the mutex held.
void outbox::drop(u32 slot) noexcept {
  connection& c = *connections_[slot];
  if (c.reader != nullptr) {
    if (c.holds) c.reader->release(c.frame);
    c.reader->stop();
    // sync(topic.entry): free, for the next one
    if (!c.observes) store_release(control_.subscription(slot).state, static_cast<u64>(participant_state::free));
  }
  count_call(calls_made.others);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, c.socket.get(), nullptr);
  connections_[slot].reset();
}

void outbox::drop_gone() noexcept {
  for (u32 slot = 0; slot < connections_.size(); ++slot) {
    if (connections_[slot] != nullptr && connections_[slot]->gone) drop(slot);
  }
}

u32 outbox::subscribers() noexcept {
  const std::lock_guard hold(mutex_);
  u32 count = 0;
  for (u32 slot = 0; slot < connections_.size(); ++slot) {
    connection* const c = connections_[slot].get();
    if (c == nullptr || c->reader == nullptr || c->observes) continue;
    if (c->gone || !is_connected(c->socket.get())) {
      drop(slot);
    } else {
      ++count;
    }
  }
  return count;
}

void outbox::who_blocks(u32 slot, u32& pid, char (&node_name)[48]) noexcept {
  const std::lock_guard hold(mutex_);
  if (slot >= connections_.size() || connections_[slot] == nullptr) return;
  pid = connections_[slot]->pid;
  std::memcpy(node_name, connections_[slot]->node_name, sizeof node_name);
}

// ---- going ---------------------------------------------------------------------------------------------

void outbox::tell_thread() noexcept { write_one(told_.get()); }

// A connection that was served to its end was dropped.
bool outbox::everything_sent() const noexcept {
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& c) { return c == nullptr; });
}

void outbox::close() noexcept {
  // The listener must be out of the set before it is closed: a copy in a forked child would keep it there.
  {
    const std::lock_guard hold(mutex_);
    closing_ = true;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, own_.listener.get(), nullptr);
    for (u32 slot = 0; slot < connections_.size(); ++slot) {
      connection* const c = connections_[slot].get();
      // From now on its reader tells the end of the lane from a message that is not there yet.
      if (c != nullptr && c->reader != nullptr) c->reader->look_at_state();
      // Who was not greeted yet is refused by being closed.
      if (c != nullptr && (c->reader == nullptr || (!c->full && !send_on(*c))))
        drop(slot);
      else if (c != nullptr && c->full)
        watch(slot, true);
    }
    tell_thread();
  }
  place_.leave(own_);
}

bool outbox::over() const noexcept { return over_; }

void outbox::end_thread() noexcept {
  if (thread_ == nullptr) return;
  {
    const std::lock_guard hold(mutex_);
    stopping_ = true;
    tell_thread();
  }
  thread_->join();
  thread_.reset();
}

// Not in a forked child, which has no such thread, and cannot tell what it was at.
outbox::~outbox() { end_thread(); }

void outbox::finish_until(const deadline& end) noexcept {
  while (!over_ && !end.over()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace quoit::inline v1::detail
