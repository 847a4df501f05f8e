#include "transport/unix/incoming.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <bit>

#include "base/call_counts.hpp"
#include "ring/geometry.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 capacity_default = 64 * 1024;
constexpr u32 payload_bytes_limit = u32{1} << 20;
constexpr u32 burst_max = 64;

}  // namespace

result<lane_geometry> geometry_for(const welcome& w, u32 type_bytes, u32 samples_max) {
  const bool sane =
      w.payload_bytes_max <= payload_bytes_limit && (type_bytes == 0 || w.payload_bytes_max == type_bytes);
  if (!sane) return tl::unexpected(error(errc::corrupt, "a publisher greets with sizes that no version knows"));
  lane_request r{};
  r.payload_bytes_max = w.payload_bytes_max;
  r.payload_alignment = w.payload_alignment;
  r.frame_alignment = w.frame_alignment;
  r.subscriptions = 1;
  r.stamped = w.stamped != 0;
  r.lossy_allowed = w.reliable == 0;
  r.reliable_allowed = w.reliable != 0;
  // A lossy subscription receives, whatever samples it holds.
  r.strides = w.reliable != 0 ? 16 : std::clamp<u32>(std::bit_ceil(6 + 2 * std::min(samples_max, 29u)), 16, 64);
  r.capacity_bytes = std::max(capacity_for(r), capacity_default);
  auto geometry = make_geometry(r);
  if (!geometry) return tl::unexpected(error(errc::corrupt, geometry.error().message()));
  return geometry;
}

incoming::incoming(guarded_fd socket, const lane_file& lane, u32 type_bytes, int epoll, u64 tag)
    : socket_(std::move(socket)),
      writer_(lane.memory(), lane.geometry, 1),
      slots_(lane.memory().slot_table),
      type_bytes_(type_bytes),
      epoll_(epoll),
      tag_(tag) {}

incoming::~incoming() {
  if (socket_) ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket_.get(), nullptr);
}

void incoming::watch(bool on) noexcept {
  if (watched_ == on || !socket_) return;
  watched_ = on;
  count_call(calls_made.others);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = tag_;
  // Out of the set, and not only without events: a hang-up would be told again and again.
  ::epoll_ctl(epoll_, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, socket_.get(), &event);
}

result<void> incoming::receive(lane_reader& reader) noexcept {
  if (!socket_ || reader.ready()) return {};
  if (gap_ != 0) {
    step(reader);
    return {};
  }
  const u64 begin = writer_.tail();
  u32 count = 0;
  received last = received::message;
  while (last == received::message && count < burst_ && gap_ == 0 &&
         writer_.tail() - begin <= writer_.geometry().ring_bytes / 4) {
    last = receive_one(reader);
    count += last == received::message;
  }
  burst_ = count == burst_ ? std::min(burst_ * 2, burst_max) : std::max(burst_ / 2, 1u);
  if (last != received::wrong) return {};
  end();
  return tl::unexpected(error(errc::corrupt));
}

// A place for the largest message, or, if there is none, for the one that comes.
incoming::received incoming::claim_place() noexcept {
  const auto claim = [this](u32 bytes) { return claimed_ = writer_.claim(bytes, claim_) == claim_status::ok; };
  if (claim(writer_.geometry().payload_bytes_max)) return received::message;
  std::size_t bytes = 0;
  switch (look_at_packet(socket_.get(), bytes)) {
    case packet::gone: end(); return received::nothing;
    case packet::would_block: return received::nothing;
    default: break;
  }
  if (bytes < sizeof(packet_head) || bytes - sizeof(packet_head) > writer_.geometry().payload_bytes_max) {
    return received::wrong;
  }
  const u32 payload_bytes = static_cast<u32>(bytes - sizeof(packet_head));
  if (claim(payload_bytes)) return received::message;
  // Samples that are held are in the way: what comes waits in the socket, and with it its publisher.
  // sync(lane.waiting): the reader runs on this thread, or not at all
  store_release(slots_->waiting, 1);
  full_fence();  // sync(lane.waiting): as above
  if (writer_.would_grant(payload_bytes) && claim(payload_bytes)) return received::message;
  watch(false);
  return received::full;
}

incoming::received incoming::receive_one(lane_reader& reader) noexcept {
  if (!claimed_) {
    if (const received how = claim_place(); how != received::message) return how;
    watch(true);
  }
  std::size_t bytes = 0;
  bool cut = false;
  switch (receive_packet(socket_.get(), &head_, sizeof head_, claim_.payload, claim_.payload_bytes, bytes, cut)) {
    case packet::would_block: return received::nothing;
    case packet::gone: end(); return received::nothing;
    default: break;
  }
  if (bytes < sizeof head_ || cut) return received::wrong;
  const u32 payload_bytes = static_cast<u32>(bytes - sizeof head_);
  if (type_bytes_ != 0 && payload_bytes != type_bytes_) return received::wrong;
  if (head_.sequence < claim_.sequence || head_.lost < lost_) return received::wrong;
  const u64 gap = head_.sequence - claim_.sequence;
  if (head_.lost - lost_ > gap) return received::wrong;
  received_bytes_ = payload_bytes;
  gap_ = gap;
  if (gap == 0) {
    claimed_ = false;
    writer_.commit(claim_, payload_bytes, head_.stamp);
  } else if (!reader.ready()) {
    step(reader);
  }
  return received::message;
}

void incoming::step(lane_reader& reader) noexcept {
  lost_now_ += head_.lost - lost_;
  writer_.step_sequence(claim_, gap_);
  reader.step_sequence(gap_, head_.lost - lost_);
  lost_ = head_.lost;
  gap_ = 0;
  claimed_ = false;
  writer_.commit(claim_, received_bytes_, head_.stamp);
}

void incoming::end() noexcept {
  count_call(calls_made.others);
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket_.get(), nullptr);
  socket_.reset();
  claimed_ = false;
  writer_.close();
}

}  // namespace quoit::inline v1::detail
