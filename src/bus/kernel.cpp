// Publishers and subscribers on the kernel path: what in them is not as in shared memory. The rest is the same code, on
// lanes of their own (src/transport/unix).
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <new>

#include "base/call_counts.hpp"
#include "bus/publisher_parts.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/detail/bus_waits.hpp"

namespace quoit::inline v1::detail {

namespace {

transport_info info_of(const node& owner) {
  return {owner.on_kernel() ? transport::kernel : transport::shared_memory, owner.why_transport()};
}

type_info info_of(const message_type& type) { return {type.name, type.bytes, type.alignment, type.fields}; }

// What a publisher sends from now on lands in a lane of ours.
result<std::unique_ptr<lane_link>> link_to(const subscriber_parts& parts, greeted who) {
  const auto geometry = geometry_for(who.said, parts.payload_bytes, parts.options.samples_max);
  if (!geometry) return tl::unexpected(geometry.error());
  auto lane = make_private_lane(*geometry);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  const bool reliable = geometry->reliable_allowed;
  auto connection = std::make_unique<incoming>(std::move(who.socket), *lane, parts.payload_bytes,
                                               parts.sockets->descriptor(), who.tag);
  if (reliable) lane->memory().slot_table->reliable_active[0] |= 1;
  auto link = std::make_unique<lane_link>(std::move(*lane), 0,
                                          reliable ? lane_reader::reading::reliable : lane_reader::reading::lossy,
                                          parts.options.samples_max);
  link->connection = std::move(connection);
  link->owner = parts.owner.get();
  link->control = &parts.control;
  link->publisher_id[0] = who.said.id[0];
  link->publisher_id[1] = who.said.id[1];
  link->reader.start_at_first();
  return link;
}

}  // namespace

// ---- publishers ----------------------------------------------------------------------------------------

result<publisher_core*> publisher_core::open_kernel(const std::shared_ptr<node>& owner, std::string_view name,
                                                    const message_type& type, const publisher_options& options,
                                                    std::chrono::nanoseconds lock_timeout) {
  const auto geometry =
      geometry_for(type, options, std::clamp(options.limits.subscriptions_max, 1u, subscriptions_limit));
  if (!geometry) return tl::unexpected(geometry.error());
  const bool fixed = type.bytes != 0 || options.message_bytes_max != 0;
  auto sockets = outbox::open(
      *owner, {name, info_of(type), options.limits, *geometry, options.policy, options.loans_max, fixed}, lock_timeout);
  if (!sockets) return tl::unexpected(std::move(sockets.error()));
  auto parts = std::make_unique<publisher_parts>();
  parts->owner = owner;
  parts->policy = options.policy;
  parts->sockets = std::move(*sockets);
  return new publisher_core(std::move(parts));
}

void finish_kernel(publisher_parts& parts) noexcept {
  if (parts.owner->forked()) {
    static_cast<void>(parts.sockets.release());
    return;
  }
  parts.sockets->close();
  auto& kept = parts.owner->kept;
  std::erase_if(kept, [](const auto& k) { return k->over(); });
  try {
    kept.push_back(std::move(parts.sockets));
  } catch (const std::bad_alloc&) {
    // Then it goes with the publisher, which waits for what subscribers are still to take.
    parts.sockets->finish_until(deadline(parts.owner->settings().lock_timeout));
  }
}

error too_large_for_sockets(u32 payload_bytes_max) noexcept {
  char words[160];
  std::snprintf(words, sizeof words,
                "on the kernel path a message is one packet, of at most %u bytes here; send it in parts, or use shared "
                "memory",
                payload_bytes_max);
  return error(errc::message_too_large, std::string_view(words), payload_bytes_max);
}

bool publisher_core::is_flushed() noexcept {
  return !parts_->sockets || epoch_ != fork_epoch || parts_->sockets->all_sent();
}

result<void> publisher_core::flush(std::chrono::nanoseconds timeout) noexcept {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (disk_) return flush_on_disk(timeout);
  const deadline end(timeout);
  long pause_ns = 20'000;
  while (!is_flushed()) {
    if (parts_->owner->take_interrupt()) return tl::unexpected(error(errc::interrupted));
    if (end.over()) return tl::unexpected(error(errc::timed_out));
    // Its thread sends meanwhile. This is done at the end of something, and not in the middle.
    const timespec pause{0, std::min(pause_ns, static_cast<long>(end.left().count()))};
    count_call(calls_made.sleeps);
    ::nanosleep(&pause, nullptr);
    pause_ns = std::min(pause_ns * 2, 1'000'000L);
  }
  return {};
}

transport_info publisher_core::transport() const { return info_of(*parts_->owner); }

// ---- subscribers ---------------------------------------------------------------------------------------

result<subscriber_core*> subscriber_core::open_kernel(const std::shared_ptr<node>& owner, std::string_view name,
                                                      const message_type& type, const subscriber_options& options,
                                                      std::chrono::nanoseconds lock_timeout) {
  auto control = topic::make_private(name, info_of(type), options.limits);
  if (!control) return tl::unexpected(std::move(control.error()));
  auto parts = std::make_unique<subscriber_parts>();
  parts->owner = owner;
  parts->control = std::move(*control);
  parts->options = options;
  // Here it has lanes of its own, and reads them as anybody does; it is its publishers that do not wait.
  if (options.mode == mode::observer) parts->options.mode = mode::lossy;
  parts->payload_bytes = type.bytes;
  parts->ready_bit = owner->take_ready_bit();
  std::vector<greeted> there;
  auto sockets =
      mailbox::open(*owner, {name, info_of(type), options.limits, options.mode, options.start, options.samples_max},
                    lock_timeout, there);
  if (!sockets) return tl::unexpected(std::move(sockets.error()));
  parts->sockets = std::move(*sockets);
  for (greeted& who : there) {
    auto link = link_to(*parts, std::move(who));
    if (!link) {
      parts->links.clear();
      parts->sockets->close();
      return tl::unexpected(std::move(link.error()));
    }
    parts->links.push_back(std::move(*link));
  }
  // A loop that waits must not need memory.
  parts->watch = std::make_unique<socket_watch>();
  parts->watch->owner = owner.get();
  parts->watch->ready_bit = parts->ready_bit;
  parts->watch->call = [](operation& op) noexcept {
    auto& self = static_cast<socket_watch&>(op);
    if (self.orphaned) {
      delete &self;
    } else {
      self.owner->mark_own(self.ready_bit);
    }
  };
  return new subscriber_core(std::move(parts));
}

void subscriber_core::finish_kernel() noexcept {
  socket_watch* const watch = parts_->watch.get();
  const bool in_flight = watch != nullptr && watch->now == operation::state::in_flight;
  if (epoch_ != fork_epoch) {
    static_cast<void>(parts_->watch.release());  // its loop may still name it
    return;
  }
  // First out of the loop: it waits for a descriptor that goes.
  if (in_flight) {
    watch->where->cancel(*watch);
    if (watch->now == operation::state::in_flight) {
      watch->orphaned = true;
      static_cast<void>(parts_->watch.release());
    }
  }
  parts_->links.clear();
  parts_->sockets->close();
}

// Whoever connected is linked, and what they sent is received.
void subscriber_core::look_at_sockets() noexcept {
  std::vector<greeted> came;
  result<void> how;
  // One at a time: a peer that is wrong again and again fills no memory.
  const auto say = [this](error why) {
    if (parts_->unsaid.empty()) parts_->unsaid.push_back(std::move(why));
  };
  const std::span<const u64> tags = parts_->sockets->look(came, how);
  if (!how) say(std::move(how.error()));
  const auto receive = [&say](lane_link& link) {
    if (auto ok = link.connection->receive(link.reader); !ok) say(std::move(ok.error()));
    if (!link.connection->open()) link.reader.look_at_state();
  };
  for (auto& link : parts_->links) {
    incoming& connection = *link->connection;
    const bool told = std::find(tags.begin(), tags.end(), connection.tag()) != tags.end();
    if (!told && !connection.waits_for_reader()) continue;
    receive(*link);
  }
  for (greeted& who : came) {
    auto link = link_to(*parts_, std::move(who));
    if (!link) {
      say(std::move(link.error()));
      continue;
    }
    // Its first messages may have come with its greeting.
    receive(**link);
    parts_->links.push_back(std::move(*link));
  }
  // The sockets do not show any more what was received.
  if (parts_->foreign && anything_received()) parts_->foreign->ring();
  show_counters();
}

bool subscriber_core::anything_received() noexcept {
  if (!parts_->unsaid.empty()) return true;
  return std::any_of(parts_->links.begin(), parts_->links.end(), [](auto& link) {
    return !link->drained && (link->connection->has_lost() || link->reader.ready());
  });
}

// Leaves lanes whose publisher is gone and which were read to their end.
void subscriber_core::drop_ended() noexcept {
  std::erase_if(parts_->links, [&](const std::unique_ptr<lane_link>& link) {
    if (!link->drained || link->reader.held() > 0) return false;
    link->reader.count();
    parts_->received_before += received_on(*link);
    parts_->lost_before += link->reader.lost_total();
    return true;
  });
}

u32 subscriber_core::count_connected() noexcept {
  look_at_sockets();  // who came lately is counted too
  const auto open = std::count_if(parts_->links.begin(), parts_->links.end(),
                                  [](const auto& link) { return link->connection->is_connected_now(); });
  return static_cast<u32>(open) + parts_->sockets->arriving();
}

void subscriber_core::sleep_on_sockets(std::span<subscriber_core* const> cores,
                                       std::chrono::nanoseconds timeout) noexcept {
  if (cores.size() == 1) return parts_->sockets->sleep(timeout);
  constexpr std::size_t some = 64;
  pollfd few[some];
  std::unique_ptr<pollfd[]> many(cores.size() <= some ? nullptr : new (std::nothrow) pollfd[cores.size()]);
  pollfd* const all = cores.size() <= some ? few : many.get();
  // Without memory for it: a look now and then.
  const std::size_t count = all == nullptr ? 0 : cores.size();
  if (all == nullptr) timeout = std::min<std::chrono::nanoseconds>(timeout, std::chrono::milliseconds(1));
  for (std::size_t i = 0; i < count; ++i) all[i] = {cores[i]->parts_->sockets->descriptor(), POLLIN, 0};
  const timespec most{static_cast<time_t>(timeout.count() / 1'000'000'000),
                      static_cast<long>(timeout.count() % 1'000'000'000)};
  count_call(calls_made.sleeps);
  ::ppoll(all, count, &most, nullptr);
}

transport_info subscriber_core::transport() const { return info_of(*parts_->owner); }

}  // namespace quoit::inline v1::detail
