#include "storage/lane_records.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "base/boot_id.hpp"
#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u32 begun_bits = 40;
constexpr u64 begun_mask = (u64{1} << begun_bits) - 1;

u32 check_of(std::initializer_list<u64> words, const u64 (&lane_id)[2]) noexcept {
  u32 crc = ~u32{0};
  for (const u64 word : words) crc = crc32c_words(crc, reinterpret_cast<const std::byte*>(&word), sizeof word);
  return crc32c_words(crc, reinterpret_cast<const std::byte*>(lane_id), sizeof lane_id);
}
u64 non_zero(u32 crc) noexcept { return u64{crc} | u64{1} << 32; }

u64 limit_check(u64 sequence, const u64 (&lane_id)[2]) noexcept { return non_zero(check_of({sequence}, lane_id)); }
u64 end_check(const lane_end& end, const u64 (&lane_id)[2]) noexcept {
  return non_zero(check_of({end.position, end.sequence}, lane_id));
}

// What a copy of a file does not have in common with it.
struct file_birth {
  u64 inode = 0;
  u64 born = 0;
};
file_birth birth_of(int file) noexcept {
  struct statx status{};
  if (::statx(file, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) != 0) return {};
  file_birth birth{status.stx_ino, 0};
  if ((status.stx_mask & STATX_BTIME) != 0) {
    birth.born = static_cast<u64>(status.stx_btime.tv_sec) * 1'000'000'000u + status.stx_btime.tv_nsec;
  }
  return birth;
}
u64 home_check(const file_birth& birth, const u64 (&lane_id)[2]) noexcept {
  return non_zero(check_of({birth.inode, birth.born}, lane_id));
}

u64 limit_in(const sequence_limit& record, const u64 (&lane_id)[2]) noexcept {
  // sync(lane.limit): of a pair that is being stored one may be new: the check finds that out
  const u64 check = load_acquire(record.check);
  const u64 sequence = load_acquire(record.sequence);  // sync(lane.limit): as above
  return check == limit_check(sequence, lane_id) && sequence <= sequence_max ? sequence : 0;
}

}  // namespace

u64 durable_check(u64 position, const u64 (&lane_id)[2]) noexcept { return non_zero(check_of({position}, lane_id)); }

u64 known_durable(const log_lane_header& header) noexcept {
  // sync(segment.durable): of a pair that is being stored one may be new: the check finds that out
  const u64 check = load_acquire(header.durable_check);
  const u64 position = load_acquire(header.durable_position);
  return check == durable_check(position, header.lane_id) ? position : 0;
}

bool is_durable_wrong(const log_lane_header& header) noexcept {
  // relaxed: only asked of a lane that nobody writes
  const u64 check = load_relaxed(header.durable_check);
  return check != 0 && check != durable_check(load_relaxed(header.durable_position), header.lane_id);
}

void note_durable(log_lane_header& header, u64 position) noexcept {
  // sync(segment.durable): everything before it is on the disk; the check comes last, so that a torn pair is seen
  store_release(header.durable_position, position);
  store_release(header.durable_check, durable_check(position, header.lane_id));
}

u64 known_begun(const log_lane_header& header) noexcept {
  // sync(segment.begun): the segment with this number has its start record
  const u64 word = load_acquire(header.begun_segment);
  const u64 number = word & begun_mask;
  return word >> begun_bits == (check_of({number}, header.lane_id) & (~u32{0} >> 8)) ? number : 0;
}

void note_begun(log_lane_header& header, u64 number) noexcept {
  const u64 word = number | u64{check_of({number}, header.lane_id)} << begun_bits;
  // sync(segment.begun): the start record of that segment was stored before
  store_release(header.begun_segment, number == 0 ? 0 : word);
}

std::optional<lane_end> known_end(const log_lane_header& header) noexcept {
  // sync(lane.end): of what is being stored one may be new: the check finds that out
  const u64 check = load_acquire(header.end_check);
  // relaxed: as above
  const lane_end end{load_relaxed(header.end_position), load_relaxed(header.end_sequence)};
  if (check != end_check(end, header.lane_id)) return std::nullopt;
  return end;
}

void note_end(log_lane_header& header, lane_end end) noexcept {
  // relaxed: the release of the check orders them
  store_relaxed(header.end_position, end.position);
  store_relaxed(header.end_sequence, end.sequence);
  // sync(lane.end): both are whole for whoever finds the check right
  store_release(header.end_check, end_check(end, header.lane_id));
}

void forget_end(log_lane_header& header) noexcept {
  // sync(lane.end): orders nothing: the lane is ours
  store_release(header.end_check, u64{0});
}

u64 known_limit(const log_lane_header& header) noexcept {
  return std::max(limit_in(header.limit_0, header.lane_id), limit_in(header.limit_1, header.lane_id));
}

void note_limit(log_lane_header& header, u64 sequence) noexcept {
  const u64(&id)[2] = header.lane_id;
  sequence_limit& older = limit_in(header.limit_0, id) > limit_in(header.limit_1, id) ? header.limit_1 : header.limit_0;
  // sync(lane.limit): the check comes last, so that a torn pair is seen
  store_release(older.sequence, sequence);
  store_release(older.check, limit_check(sequence, id));
}

missing_end compare_with_records(const log_lane& lane, u64 last_segment, const log_place& end) {
  const log_lane_header& header = lane.header();
  const std::string here = lane.where.path() + " ends in segment " + std::to_string(last_segment) +
                           " before sequence " + std::to_string(end.sequence);
  const u64 durable = known_durable(header);
  if (end.position < durable) {
    return {here + " (position " + std::to_string(end.position) + "), and was on the disk up to position " +
                std::to_string(durable),
            true};
  }
  const bool all_was_stored = was_written_in_this_boot(lane);
  if (const u64 begun = known_begun(header); begun > last_segment) {
    return {here + ", and its publisher had come to segment " + std::to_string(begun), all_was_stored};
  }
  if (const auto left = known_end(header); left && end.position < left->position) {
    return {here + ", and its publisher went behind sequence " + std::to_string(left->sequence), all_was_stored};
  }
  return {};
}

u64 begin_of_epoch(const log_lane& lane, u64 end, u64 now_ns) noexcept {
  // Where no limit is known, as of a lane whose file was lost, or the record is older than the lane.
  u64 begin = std::max(known_limit(lane.header()), end + sequences_reserved_at_once);
  // A copy, or a disk that was set back, has an old limit; nobody publishes a message each microsecond since 1970.
  const u64 now_us = now_ns / 1000;
  if (now_us <= sequence_max) begin = std::max(begin, now_us);
  return begin;
}

bool is_home(const log_lane_header& header, int file) noexcept {
  const file_birth birth = birth_of(file);
  // sync(lane.home): of what is being stored one may be new: the check finds that out
  const u64 check = load_acquire(header.home_check);
  // relaxed: as above
  return load_relaxed(header.home_inode) == birth.inode && load_relaxed(header.home_born) == birth.born &&
         check == home_check(birth, header.lane_id);
}

void note_home(log_lane_header& header, int file) noexcept {
  const file_birth birth = birth_of(file);
  // relaxed: the release of the check orders them
  store_relaxed(header.home_inode, birth.inode);
  store_relaxed(header.home_born, birth.born);
  // sync(lane.home): both are whole for whoever finds the check right
  store_release(header.home_check, home_check(birth, header.lane_id));
}

bool was_written_in_this_boot(const log_lane& lane) noexcept {
  u64 boot[2];
  // sync(lane.boot): the other records are those of this boot, too
  for (int i = 0; i < 2; ++i) boot[i] = load_acquire(lane.header().holder_boot[i]);
  return !lane.copied && std::memcmp(boot, boot_id().data(), sizeof boot) == 0;
}

void note_boot(log_lane_header& header) noexcept {
  u64 boot[2];
  std::memcpy(boot, boot_id().data(), sizeof boot);
  // sync(lane.boot): what an earlier boot left in the other records was put right before
  for (int i = 0; i < 2; ++i) store_release(header.holder_boot[i], boot[i]);
}

}  // namespace quoit::inline v1::detail
