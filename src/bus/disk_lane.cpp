#include "bus/disk_lane.hpp"

#include <algorithm>
#include <system_error>

#include "base/deadline.hpp"

namespace quoit::inline v1::detail {

namespace {

// Who waits that long writes back itself, as in log_writer::flush().
constexpr auto written_here_from = std::chrono::seconds(10);
constexpr std::chrono::nanoseconds longest_interval = std::chrono::hours(24 * 365);
constexpr std::chrono::nanoseconds interrupts_looked_for_each = std::chrono::milliseconds(10);

log_durability durability_of(durability asked) noexcept {
  return asked == durability::each       ? log_durability::each
         : asked == durability::interval ? log_durability::interval
                                         : log_durability::os;
}

error refused(std::string words) { return error(errc::invalid_argument, words); }

}  // namespace

result<log_writer_options> disk_options_for(const std::string& topic, const message_type& type,
                                            const publisher_options& options) {
  if (auto named = check_lane_name(options.publisher_name); !named) return tl::unexpected(std::move(named.error()));
  if (options.durability > durability::each) {
    return tl::unexpected(refused("durability is none of os, interval, each"));
  }
  if (options.durability == durability::interval && options.flush_interval.count() <= 0) {
    return tl::unexpected(refused("flush_interval has to be longer than 0"));
  }
  if (options.retention_age.count() < 0) return tl::unexpected(refused("retention_age is negative"));
  if (options.retention_bytes_max != 0 && options.retention_bytes_max < options.retention_bytes) {
    return tl::unexpected(refused("retention_bytes_max is less than retention_bytes"));
  }
  if (type.bytes != 0 && options.message_bytes_max != 0) {
    return tl::unexpected(refused("message_bytes_max is for types of variable size; this one has " +
                                  std::to_string(type.bytes) + " bytes: leave it out"));
  }
  const u64 wanted = type.bytes != 0 ? type.bytes : options.message_bytes_max;
  log_writer_options o;
  o.directory = options.directory;
  o.topic = topic;
  o.name = options.publisher_name;
  o.kind.segment_bytes = options.segment_bytes;
  o.kind.payload_alignment = std::max<u32>(type.alignment, word_bytes);
  o.kind.alignment = std::max<u32>(options.alignment, word_bytes);
  o.kind.type_bytes = type.bytes;
  o.kind.type_name = type.name;
  o.kind.type_fields = type.fields;
  o.kind.topic_name = topic;
  // Whatever is wrong with the rest is said first: what is left can only be the size of a message.
  if (auto ok = make_segment_geometry(o.kind); !ok) return tl::unexpected(std::move(ok.error()));
  o.kind.payload_bytes_max = static_cast<u32>(std::min<u64>(wanted, ~u32{0}));
  if (auto ok = make_segment_geometry(o.kind); !ok) {
    return tl::unexpected(error(errc::message_too_large, ok.error().words(), ok.error().value()));
  }
  o.durability = durability_of(options.durability);
  o.interval = std::min<std::chrono::nanoseconds>(options.flush_interval, longest_interval);
  o.retention = {options.retention_bytes, options.retention_bytes_max, static_cast<u64>(options.retention_age.count())};
  o.claims_max = options.loans_max;
  o.own_thread = false;
  o.provisional = true;
  return o;
}

disk_lane::disk_lane(std::unique_ptr<log_writer> writer, node& owner, const segment_kind& kind)
    : owner_(owner), kind_(kind), writer_(std::move(writer)) {}

result<std::unique_ptr<disk_lane>> disk_lane::start(std::unique_ptr<log_writer> writer, node& owner,
                                                    const log_writer_options& options) {
  std::unique_ptr<disk_lane> lane(new disk_lane(std::move(writer), owner, options.kind));
  lane->keeper().when_done([self = lane.get()] { self->something_is_done(); });
  try {
    lane->thread_.emplace(lane->keeper());
  } catch (const std::system_error& e) {
    return tl::unexpected(error(errc::limit_reached, "a publisher on disk has a thread, and there is none to be had", 0,
                                e.code().value()));
  }
  return lane;
}

// What was published last may be written back once more in here, by the writer: the thread is gone by then.
disk_lane::~disk_lane() { thread_.reset(); }

// On the keeper's thread, or on that of the publisher in flush().
void disk_lane::something_is_done() noexcept {
  // sync(disk.waiting): either we see that somebody waits, or his look sees what was done
  full_fence();
  // relaxed: ordered by the fence
  if (load_relaxed(waiting_) != 0) owner_.ring_node(owner_.id());
}

void disk_lane::announce_waiting(bool waits) noexcept {
  // sync(disk.waiting): as above; the fence behind it is the caller's
  store_release(waiting_, waits ? 1 : 0);
}

bool disk_lane::supply_changed() const noexcept {
  const segment_keeper& keeper = writer_->keeper();
  return keeper.spares() != 0 || keeper.supply_failure().code() != errc{};
}

publisher_core::flush_range disk_lane::request_flush() noexcept {
  const u64 position = appender().frontier();
  keeper().request(position);
  return {flushed_, position};
}

flush_status disk_lane::flush_status_of(const publisher_core::flush_range& asked) noexcept {
  const flush_status status = keeper().status_of(asked.since, asked.position);
  // Each failure is said once, to all that had asked by then: the next flush speaks of what is published from here on.
  if (status != flush_status::pending) flushed_ = std::max(flushed_, asked.position);
  return status;
}

flush_status disk_lane::flush(std::chrono::nanoseconds timeout, bool& interrupted) noexcept {
  const deadline end(timeout);
  const publisher_core::flush_range asked{flushed_, appender().frontier()};
  if (timeout >= written_here_from) {
    keeper().write_back_here(asked.position);
  } else {
    keeper().request(asked.position);
  }
  // An interrupt wakes no condition variable: it may come in a signal handler.
  flush_status status = flush_status::pending;
  do {
    status = keeper().wait(asked.since, asked.position, std::min(end.left(), interrupts_looked_for_each));
    interrupted = status == flush_status::pending && owner_.take_interrupt();
  } while (status == flush_status::pending && !interrupted && !end.over());
  return flush_status_of(asked);
}

u64 disk_lane::durable_sequence() noexcept {
  const segment_appender& a = appender();
  const u64 at_frontier = a.next_sequence() - a.unresolved();
  // What failed counts as over once a flush has told of it.
  const u64 position = keeper().durable_position(flushed_);
  if (position >= a.frontier()) return durable_sequence_ = at_frontier;
  // What begins there is the first that may not be: it has its sequence, or the low part of it.
  const frame_header first{keeper().word_at(position)};
  const bool near = a.frontier() - position < segment_words_bytes * sequence_low_mask;
  if (near && (first.is(frame_kind::message) || first.is(frame_kind::voided))) {
    const u64 behind = (at_frontier - first.sequence_low()) & sequence_low_mask;
    durable_sequence_ = std::max(durable_sequence_, at_frontier - behind);
  }
  return durable_sequence_;
}

u64 disk_lane::segment_bytes_for(u32 payload_bytes) const {
  segment_kind larger = kind_;
  larger.payload_bytes_max = payload_bytes;
  const auto ok = make_segment_geometry(larger);
  return ok ? ok->segment_bytes : ok.error().value();
}

}  // namespace quoit::inline v1::detail
