#include "storage/log_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/type_difference.hpp"
#include "storage/segment_growth.hpp"

namespace quoit::inline v1::detail {

namespace {

// Who waits that long, or for ever, writes back itself: two threads that wake each other take longer than a good disk.
// A system call cannot be left when the time is over, so who has less lets the helper do it.
constexpr auto written_here_from = std::chrono::seconds(10);

result<void> check_type(const segment_file& segment, const segment_kind& kind) {
  const segment_header& head = segment.header();
  // Alignment is a size: a segment of another one is left, and the next one made with it.
  const std::string difference = type_difference(
      {stored_text(head.type_name), head.type_bytes, kind.payload_alignment, stored_text(head.type_fields)},
      {kind.type_name, kind.type_bytes, kind.payload_alignment, kind.type_fields});
  if (difference.empty()) return {};
  return tl::unexpected(
      error(errc::type_mismatch, segment.path + " carries another type than this publisher asks for: " + difference));
}

// The clock with which the lane goes on: that of its last segment, if CLOCK_REALTIME was not set since.
segment_clock go_on_with(const std::optional<lane_clock>& last, const log_place& place, const clock_source& source) {
  const std::int64_t offset = clock_offset_now(source);
  const u64 now = source.boottime() + static_cast<u64>(offset);
  const u64 zone = own_clock_zone();
  const auto step = static_cast<std::int64_t>(clock_step_ns);
  if (last && last->known && last->domain == clock_domain_of(zone) && offset - last->offset < step &&
      last->offset - offset < step && place.stamp < now + clock_step_ns) {
    return {static_cast<u64>(last->offset), zone, last->first, last->since, last->before, 0};
  }
  return {static_cast<u64>(offset), zone, 0, now, place.stamp, 0};
}

// What is used from here on is on the disk before it is, and that the lane is written again.
result<void> reserve_first(const log_lane& lane, u64 last_segment, u64 limit, const storage_calls& calls) {
  log_lane_header& header = lane.header();
  forget_end(header);
  note_begun(header, last_segment);
  note_home(header, lane.descriptor.get());
  note_boot(header);
  // In any case: whoever raised it may have been killed before it was on the disk.
  note_limit(header, std::max(known_limit(header), limit));
  return synchronize_lane(lane, calls);
}

// The rest of a segment with other sizes, or before an epoch, is passed over.
void leave_segment(const segment_file& segment, log_place& place) noexcept {
  segment_start start{};
  segment.read_start(start);
  const u64 end = start.position + segment.geometry.data_bytes;
  u64& word = *reinterpret_cast<u64*>(segment.data() + (place.position - start.position));
  // sync(segment.commit): readers go on in the next segment
  store_release(word, segment_skip(segment.salt, place.position, end - place.position).word);
  place.position = end;
}

}  // namespace

result<std::unique_ptr<log_writer>> log_writer::open(log_writer_options o) {
  auto geometry = make_segment_geometry(o.kind);
  if (!geometry) return tl::unexpected(std::move(geometry.error()));
  std::unique_ptr<log_writer> writer(new log_writer());
  auto lane = open_lane_to_write(o.directory, o.topic, o.name, &writer->made_);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  writer->lane_ = std::move(*lane);
  writer->durability_ = o.durability;
  writer->calls_ = o.calls;
  o.kind.topic_name = o.topic;
  std::copy_n(writer->lane_.header().lane_id, 2, o.kind.lane_id);
  const bool durable = o.durability != log_durability::os;
  auto recovered = recover_lane(writer->lane_, durable, false, o.calls);
  if (!recovered) return tl::unexpected(std::move(recovered.error()));
  log_lane_header& header = writer->lane_.header();
  std::shared_ptr<segment_file> segment = std::move(recovered->segment);
  log_place place = recovered->place;
  segment_clock clock = go_on_with(recovered->clock, place, o.calls.clocks);
  u64 epoch_begin = recovered->epoch_begin;
  if (segment) {
    if (auto same = check_type(*segment, o.kind); !same) return tl::unexpected(std::move(same.error()));
  }
  if (recovered->epoch_due) {
    epoch_begin = begin_of_epoch(writer->lane_, place.sequence, o.calls.clocks.realtime());
    if (epoch_begin > sequence_max) {
      return tl::unexpected(
          error(errc::limit_reached, writer->directory() + ": all sequences are used up", sequence_max));
    }
    recovered->report.sequences_skipped = epoch_begin - place.sequence;
    place.voids += epoch_begin - place.sequence;
    place.sequence = epoch_begin;
  }
  const u64 last_segment = segment ? segment->number : 0;
  const u64 last_bytes = segment ? segment->geometry.segment_bytes : 0;
  const u64 limit = place.sequence + frames_max(*geometry) + o.sequences_reserved;
  if (auto reserved = reserve_first(writer->lane_, last_segment, limit, o.calls); !reserved) {
    return tl::unexpected(std::move(reserved.error()));
  }
  // relaxed: nobody else writes it while the lane is ours
  const bool after_failure =
      segment && segment->of_this_boot && load_relaxed(header.failed_segment) == segment->number;  // S9: it is left
  // A clock begins with a segment (S10), and so does an epoch (S12).
  if (segment && (recovered->is_full || after_failure || recovered->epoch_due || clock.first == 0 ||
                  !can_go_on_in(segment->geometry, o.kind))) {
    if (!recovered->is_full) {
      leave_segment(*segment, place);
      if (durable && !after_failure && o.calls.synchronize(segment->descriptor.get()) != 0) {
        return tl::unexpected(error(errc::system, "writing back " + segment->path, 0, errno));
      }
    }
    segment = nullptr;
  }
  if (!segment) {
    auto made = make_segment(writer->lane_.where, recovered->next_number, grown_segment(o.kind, last_bytes, 0), durable,
                             o.calls);
    if (!made) return tl::unexpected(std::move(made.error()));
    segment = std::move(*made);
    // relaxed: ordered by the release of the start record
    if (after_failure) store_relaxed(segment->header().start.after_failure, segment_failure_mark);
    if (clock.first == 0) {
      clock.first = segment->number;
      place.stamp = clock.since;
    }
    segment->write_clock(clock);
    segment->write_start({place.position, place.sequence, place.voids, place.stamp, epoch_begin, 0, 0});
  }
  // relaxed: nobody else writes it, and that an epoch begins once more harms nothing
  store_relaxed(header.epoch_due, 0);
  note_begun(header, segment->number);
  writer->report_ = std::move(recovered->report);
  keeper_options keeping{o.kind, o.durability, o.interval, o.retention, o.calls, epoch_begin, o.sequences_reserved};
  writer->keeper_ = std::make_unique<segment_keeper>(std::move(keeping), writer->lane_, std::move(segment), place);
  writer->appender_ = std::make_unique<segment_appender>(*geometry, *writer->keeper_, o.claims_max,
                                                         writer->keeper_->current(), place, clock, o.calls.clocks);
  writer->keeper_->watch(*writer->appender_);
  if (o.own_thread) writer->thread_.emplace(*writer->keeper_);
  if (!o.provisional) writer->keep();
  return writer;
}

// The segments of a lane that this opening made, from the first on, without listing the directory: there may be no
// descriptor left. The lane's other names go with `made_`.
void log_writer::give_up_new_lane() noexcept {
  if (made_.empty() || !lane_.is_new || epoch_ != fork_epoch) return;
  for (u64 number = 1; lane_.where.remove(segment_name(number)); ++number) {
  }
}

log_writer::~log_writer() {
  if (epoch_ != fork_epoch && !thread_) {
    // A child has none of the mappings, and locks that the parent's threads held at the fork are held for ever.
    static_cast<void>(appender_.release());
    static_cast<void>(keeper_.release());
    return;
  }
  if (appender_) appender_->close();
  if (!keeper_) {
    give_up_new_lane();
    return;
  }
  thread_.reset();
  keeper_->stop();
  if (durability_ != log_durability::os) {
    // What was published last is written back once more: nobody waits for it any longer.
    keeper_->request(appender_->frontier());
    keeper_->work();
  }
  // A child that has inherited this has none of its mappings, and its parent goes on.
  if (epoch_ != fork_epoch) return;
  keeper_->remove_spares();
  note_begun(lane_.header(), keeper_->current().number);
  note_end(lane_.header(), {appender_->frontier(), appender_->next_sequence()});
  if (durability_ != log_durability::os && made_.empty()) static_cast<void>(synchronize_lane(lane_, calls_));
  give_up_new_lane();
}

result<void> log_writer::flush(std::chrono::nanoseconds timeout) {
  const u64 position = appender_->frontier();
  if (timeout >= written_here_from) {
    keeper_->write_back_here(position);
  } else {
    keeper_->request(position);
    if (!thread_) keeper_->work();
  }
  const flush_status status = keeper_->wait(flushed_, position, timeout);
  if (status == flush_status::pending) return tl::unexpected(error(errc::timed_out));
  // Each failure is said once: the next flush speaks of what is published from here on.
  flushed_ = position;
  if (status == flush_status::failed) return tl::unexpected(keeper_->sync_failure());
  return {};
}

}  // namespace quoit::inline v1::detail
