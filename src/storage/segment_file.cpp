#include "storage/segment_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/allocate.hpp"
#include "base/boot_id.hpp"
#include "base/clock.hpp"
#include "base/file_lock.hpp"
#include "base/file_size_limit.hpp"
#include "base/fork_guard.hpp"
#include "base/random.hpp"
#include "base/segment_prefix.hpp"
#include "storage/allocation.hpp"
#include "storage/segment_mending.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 page_bytes = 4096;
// So that no sum of a position and what is in a segment wraps.
constexpr u64 position_max = u64{1} << 62;
// Readers share this byte, whoever removes the segment takes it alone. Far behind any end of file.
constexpr off_t reader_lock_byte = off_t{1} << 40;
constexpr const char* temporary_prefix = ".making-";

int allocate_by_system(int file, off_t bytes) noexcept {
  const int why = allocate_range(file, 0, bytes);
  if (why == 0) return 0;
  errno = why;
  return -1;
}
int synchronize_by_system(int file) noexcept { return ::fdatasync(file); }

error failed(const std::string& doing, const std::string& path, int why) {
  errc code = errc::system;
  if (why == EACCES || why == EPERM || why == EROFS) code = errc::no_permission;
  if (why == ENOENT) code = errc::not_found;
  if (why == EMFILE || why == ENFILE) code = errc::limit_reached;
  if (why == EEXIST) code = errc::busy;
  return error(code, doing + " " + path, 0, why);
}

error bad(errc code, const std::string& path, const std::string& what) { return error(code, path + ": " + what); }

template <std::size_t Size>
void copy_text(char (&to)[Size], const std::string& from) noexcept {
  std::memcpy(to, from.data(), std::min(from.size(), Size - 1));
}

void write_header(segment_file& segment, const segment_kind& kind, const struct stat& status) noexcept {
  segment_header& head = segment.header();
  const segment_geometry& g = segment.geometry;
  head.prefix =
      prefix_of_now(segment_magic, segment_header_bytes, sizeof(segment_index_entry), g.index_entries, g.segment_bytes);
  head.prefix.layout_major = log_layout_major;
  head.prefix.layout_minor = log_layout_minor;
  head.number = segment.number;
  head.data_offset = g.data_offset;
  head.data_bytes = g.data_bytes;
  head.alignment = g.alignment;
  head.payload_alignment = g.payload_alignment;
  head.payload_bytes_max = g.payload_bytes_max;
  head.index_shift = g.index_shift;
  head.salt = segment.salt;
  head.type_bytes = kind.type_bytes;
  std::memcpy(head.lane_id, kind.lane_id, sizeof head.lane_id);
  head.created_ns = realtime_ns();
  head.device = status.st_dev;
  head.inode = status.st_ino;
  copy_text(head.topic_name, kind.topic_name);
  copy_text(head.type_name, kind.type_name);
  copy_text(head.type_fields, kind.type_fields);
  head.check = header_check(head);
}

// What a header says, held against itself and against the size of the file.
result<void> check_header(segment_file& segment, u64 file_bytes) {
  const segment_header& head = segment.header();
  const std::string& path = segment.path;
  if (head.prefix.magic != segment_magic) {
    return tl::unexpected(bad(errc::corrupt, path, "not a segment of quoit (another magic)"));
  }
  if (head.prefix.layout_major != log_layout_major || head.prefix.required_features != 0) {
    return tl::unexpected(bad(errc::newer_version, path,
                              "made by a version of another layout (" + std::to_string(head.prefix.layout_major) +
                                  ", required features " + std::to_string(head.prefix.required_features) +
                                  "); this one knows " + std::to_string(log_layout_major)));
  }
  if (head.check != header_check(head)) return tl::unexpected(bad(errc::corrupt, path, "the header's check is wrong"));
  segment_geometry g{};
  g.segment_bytes = head.prefix.segment_bytes;
  g.data_offset = head.data_offset;
  g.data_bytes = head.data_bytes;
  g.alignment = head.alignment;
  g.payload_alignment = head.payload_alignment;
  g.payload_bytes_max = head.payload_bytes_max;
  g.index_shift = head.index_shift;
  g.index_entries = head.prefix.entry_count;
  const auto power_of_two = [](u32 value) {
    return value >= 8 && value <= alignment_max && (value & (value - 1)) == 0;
  };
  const bool sane =
      g.segment_bytes >= segment_bytes_min && g.segment_bytes <= segment_bytes_max && power_of_two(g.alignment) &&
      power_of_two(g.payload_alignment) && head.prefix.entry_bytes == sizeof(segment_index_entry) &&
      g.index_entries >= 1 && g.index_entries <= index_entries_max && g.index_shift >= 12 && g.index_shift <= 30 &&
      g.data_offset >= segment_header_bytes + sizeof(segment_index_entry) * g.index_entries &&
      g.data_offset % word_bytes == 0 && g.data_offset < g.segment_bytes && g.data_bytes % page_bytes == 0 &&
      g.data_bytes > 0 && g.data_bytes <= g.segment_bytes - g.data_offset &&
      (g.data_bytes - 1) >> g.index_shift < g.index_entries &&
      g.extent(g.payload_bytes_max) + word_bytes <= g.data_bytes;
  if (!sane) return tl::unexpected(bad(errc::corrupt, path, "sizes that no segment has"));
  if (file_bytes < g.segment_bytes) {
    return tl::unexpected(
        bad(errc::corrupt, path,
            "cut short: " + std::to_string(file_bytes) + " bytes of " + std::to_string(g.segment_bytes)));
  }
  if (head.number != segment.number) {
    return tl::unexpected(
        bad(errc::corrupt, path, "is segment " + std::to_string(head.number) + " under another name"));
  }
  segment.geometry = g;
  segment.salt = head.salt;
  return {};
}

enum class purpose : u8 { to_look, to_look_at_head, to_read, to_mend };

result<std::shared_ptr<segment_file>> open_at(const directory_handle& where, u64 number, access how, purpose why) {
  const bool to_read = why == purpose::to_read;
  auto segment = std::make_shared<segment_file>();
  segment->number = number;
  const std::string name = segment_name(number);
  segment->path = where.path_of(name);
  fd file = where.open_file(name, how == access::read_write ? O_RDWR : O_RDONLY);
  if (!file) return tl::unexpected(failed("opening", segment->path, errno));
  struct stat status{};
  if (to_read) {
    // Removed, or about to be: who removes has it alone.
    const lock_status locked = try_lock_shared(file.get(), reader_lock_byte);
    if (locked == lock_status::failed) return tl::unexpected(failed("locking", segment->path, errno));
    if (locked != lock_status::taken || ::fstat(file.get(), &status) != 0 || status.st_nlink == 0) {
      return tl::unexpected(error(errc::not_found, segment->path + " is being removed"));
    }
  } else if (::fstat(file.get(), &status) != 0) {
    return tl::unexpected(failed("fstat of", segment->path, errno));
  }
  segment->file = file_identity::of(status);
  const auto bytes = static_cast<u64>(status.st_size);
  if (bytes < segment_header_bytes) {
    return tl::unexpected(bad(errc::corrupt, segment->path, "cut short: " + std::to_string(bytes) + " bytes"));
  }
  const bool head_only = why == purpose::to_look_at_head;
  const u64 mapped = head_only ? segment_header_bytes : std::min(bytes, segment_bytes_max);
  {
    // A forked child would keep the lock, and with it the segment, or could store where only one may: none comes
    // between the two calls.
    const guarded_fd::fork_pause pause;
    auto memory = map_file(file.get(), mapped, how, segment->path.c_str());
    if (!memory) return tl::unexpected(std::move(memory.error()));
    segment->memory = std::move(*memory);
    if ((to_read || how == access::read_write) &&
        ::madvise(segment->memory.data(), segment->memory.bytes(), MADV_DONTFORK) == 0) {
      segment->memory.stay_behind_in_parent();
    }
  }
  const sparse_reading header_only(segment->memory);
  if (why == purpose::to_mend) segment->mended = mend_header(segment->header());
  if (auto checked = check_header(*segment, bytes); !checked) return tl::unexpected(std::move(checked.error()));
  const segment_header& head = segment->header();
  const bool is_original = head.device == status.st_dev && head.inode == status.st_ino;
  segment->of_this_boot =
      is_original && std::memcmp(head.prefix.boot_id, boot_id().data(), sizeof head.prefix.boot_id) == 0;
  // It was allocated whole when it was made: that is asked of copies, and of those that have less than that.
  const u64 allocated = static_cast<u64>(status.st_blocks) * 512;
  if (how == access::read_write && (!is_original || allocated < segment->geometry.segment_bytes)) {
    auto filled = fill_holes(where, file.get(), segment->path, segment->geometry.segment_bytes);
    if (!filled) return tl::unexpected(std::move(filled.error()));
  }
  if (!to_read) segment->descriptor = std::move(file);
  return segment;
}

}  // namespace

const storage_calls& storage_calls::of_system() noexcept {
  static const storage_calls calls{allocate_by_system, synchronize_by_system, populate_pages};
  return calls;
}

u64 header_check(const segment_header& header) noexcept {
  const auto* const bytes = reinterpret_cast<const std::byte*>(&header);
  return u64{crc32c_words(~u32{0}, bytes, offsetof(segment_header, check))} | u64{1} << 32;
}

u64 start_check(const segment_start& start, u32 salt) noexcept {
  return u64{crc32c_words(salt, reinterpret_cast<const std::byte*>(&start), offsetof(segment_start, check))} |
         u64{1} << 32;
}

u64 clock_check(const segment_clock& clock, u32 salt) noexcept {
  return u64{crc32c_words(salt, reinterpret_cast<const std::byte*>(&clock), offsetof(segment_clock, check))} |
         u64{1} << 32;
}

u32 entry_check(const segment_index_entry& entry, u32 salt) noexcept {
  const u64 words[4] = {entry.sequence, entry.voids, entry.stamp, entry.offset()};
  // Never 0, so that an entry at offset 0 is one.
  return crc32c_words(salt, reinterpret_cast<const std::byte*>(words), sizeof words) | 1;
}

void write_entry(segment_index_entry& to, u32 salt, const segment_index_entry& entry) noexcept {
  // relaxed: the release of the last word orders them
  store_relaxed(to.sequence, entry.sequence);
  store_relaxed(to.voids, entry.voids);
  store_relaxed(to.stamp, entry.stamp);
  // sync(segment.index): the entry is whole for whoever reads its last word
  store_release(to.place, u64{entry.offset()} | u64{entry_check(entry, salt)} << 32);
}

bool segment_file::read_start(segment_start& out) const noexcept {
  const segment_start& start = header().start;
  // sync(segment.start): the record is whole for whoever reads its check
  out.check = load_acquire(start.check);
  if (out.check == 0) return false;
  // relaxed: ordered by the acquire of the check; each is stored once
  out.position = load_relaxed(start.position);
  out.sequence = load_relaxed(start.sequence);
  out.voids = load_relaxed(start.voids);
  out.stamp = load_relaxed(start.stamp);              // relaxed: as above
  out.epoch_begin = load_relaxed(start.epoch_begin);  // relaxed: as above
  // relaxed: whoever asks does so after its writer is dead
  out.after_failure = load_relaxed(start.after_failure);
  return out.check == start_check(out, salt) && out.position % page_bytes == 0 && out.position <= position_max &&
         out.sequence <= sequence_max && out.voids <= out.sequence && out.epoch_begin <= out.sequence &&
         (out.after_failure == 0 || out.after_failure == segment_failure_mark);
}

void segment_file::write_start(segment_start start) const noexcept {
  segment_start& to = header().start;
  // relaxed: the release of the check orders them
  store_relaxed(to.position, start.position);
  store_relaxed(to.sequence, start.sequence);
  store_relaxed(to.voids, start.voids);
  store_relaxed(to.stamp, start.stamp);              // relaxed: as above
  store_relaxed(to.epoch_begin, start.epoch_begin);  // relaxed: as above
  // sync(segment.start): the record is whole
  store_release(to.check, start_check(start, salt));
}

bool segment_file::read_clock(segment_clock& out) const noexcept {
  const segment_clock& clock = header().clock;
  // sync(segment.clock): the record is whole for whoever reads its check
  out.check = load_acquire(clock.check);
  if (out.check == 0) return false;
  // relaxed: ordered by the acquire of the check; each is stored once
  out.offset = load_relaxed(clock.offset);
  out.zone = load_relaxed(clock.zone);
  out.first = load_relaxed(clock.first);
  out.since = load_relaxed(clock.since);    // relaxed: as above
  out.before = load_relaxed(clock.before);  // relaxed: as above
  return out.check == clock_check(out, salt) && out.first != 0 && out.first <= number;
}

void segment_file::write_clock(segment_clock clock) const noexcept {
  segment_clock& to = header().clock;
  // relaxed: the release of the check orders them
  store_relaxed(to.offset, clock.offset);
  store_relaxed(to.zone, clock.zone);
  store_relaxed(to.first, clock.first);
  store_relaxed(to.since, clock.since);    // relaxed: as above
  store_relaxed(to.before, clock.before);  // relaxed: as above
  // sync(segment.clock): the record is whole
  store_release(to.check, clock_check(clock, salt));
}

std::string segment_name(u64 number) {
  char name[32];
  std::snprintf(name, sizeof name, "%012llu.seg", static_cast<unsigned long long>(number));
  return name;
}

u64 segment_number(const std::string& name) noexcept {
  if (name.size() < 5 || name.size() > 24 || name.compare(name.size() - 4, 4, ".seg") != 0) return 0;
  u64 number = 0;
  for (const char c : name.substr(0, name.size() - 4)) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<u64>(c - '0');
  }
  return segment_name(number) == name ? number : 0;
}

result<segment_geometry> make_segment_geometry(const segment_kind& kind) {
  segment_geometry g{};
  const auto refused = [](const std::string& words, u64 value = 0) {
    return tl::unexpected(error(errc::invalid_argument, words, value));
  };
  const auto power_of_two = [](u32 value) {
    return value >= 8 && value <= alignment_max && (value & (value - 1)) == 0;
  };
  if (!power_of_two(kind.alignment) || !power_of_two(kind.payload_alignment)) {
    return refused("the alignment of a message on disk is a power of two from 8 to 4096");
  }
  if (kind.segment_bytes < segment_bytes_min || kind.segment_bytes > segment_bytes_max) {
    return refused("a segment has " + std::to_string(segment_bytes_min) + " to " + std::to_string(segment_bytes_max) +
                   " bytes, not " + std::to_string(kind.segment_bytes));
  }
  if (kind.topic_name.size() >= sizeof(segment_header::topic_name) ||
      kind.type_name.size() >= sizeof(segment_header::type_name) ||
      kind.type_fields.size() >= sizeof(segment_header::type_fields)) {
    return refused("the description of type " + kind.type_name.substr(0, 100) + " does not fit into a segment");
  }
  g.segment_bytes = align_up(kind.segment_bytes, page_bytes);
  g.payload_alignment = kind.payload_alignment;
  g.alignment = std::max(kind.alignment, kind.payload_alignment);
  g.index_shift = 12;
  while (g.segment_bytes >> g.index_shift >= index_entries_max) ++g.index_shift;
  g.index_entries = static_cast<u32>(((g.segment_bytes - 1) >> g.index_shift) + 1);
  const u64 behind_index = align_up(segment_header_bytes + sizeof(segment_index_entry) * g.index_entries, page_bytes);
  // Payloads, not headers, are aligned when a type asks for more than a word.
  g.data_offset = behind_index + align_up(segment_words_bytes, g.payload_alignment) - segment_words_bytes;
  if (g.payload_alignment <= word_bytes) g.data_offset = behind_index;
  g.data_bytes = align_down(g.segment_bytes - g.data_offset, page_bytes);
  const u64 largest = align_down(g.data_bytes - word_bytes, g.alignment) - segment_words_bytes;
  if (kind.payload_bytes_max > largest) {
    const u64 wanted = align_up(u64{kind.payload_bytes_max} + kind.payload_bytes_max / 8, page_bytes) + (u64{1} << 17);
    return refused("messages of " + std::to_string(kind.payload_bytes_max) + " bytes do not fit into segments of " +
                       std::to_string(g.segment_bytes) + " bytes",
                   wanted <= segment_bytes_max ? wanted : 0);
  }
  g.payload_bytes_max = kind.payload_bytes_max != 0 ? kind.payload_bytes_max : static_cast<u32>(largest);
  return g;
}

sparse_reading::sparse_reading(const mapping& memory) noexcept : memory_(memory) {
  ::madvise(memory.data(), memory.bytes(), MADV_RANDOM);
}
sparse_reading::~sparse_reading() { ::madvise(memory_.data(), memory_.bytes(), MADV_NORMAL); }
void sparse_reading::expect(u64 begin, u64 end) const noexcept {
  begin = align_down(begin, page_bytes);
  end = std::min<u64>(align_up(end, page_bytes), memory_.bytes());
  if (begin < end) ::madvise(memory_.data() + begin, end - begin, MADV_WILLNEED);
}

void read_all_soon(const mapping& memory) noexcept { ::madvise(memory.data(), memory.bytes(), MADV_WILLNEED); }

void advise_large_pages(const mapping& memory) noexcept {
  // Where there are none it is refused, and nothing is lost.
  ::madvise(memory.data(), memory.bytes(), MADV_HUGEPAGE);
}

void populate_pages(const mapping& memory, u64 begin, u64 end) noexcept {
  begin = align_down(begin, page_bytes);
  end = std::min<u64>(align_up(end, page_bytes), memory.bytes());
  if (begin >= end || populate_range(memory.data() + begin, end - begin)) return;
  // An older kernel. Others may write there at the same time: an `or` of nothing changes nothing.
  // sync(segment.populate): orders nothing
  for (u64 at = begin; at < end; at += page_bytes) fetch_or(memory.object<u64>(at), 0);  // sync(segment.populate)
}

result<std::shared_ptr<segment_file>> make_segment(const directory_handle& where, u64 number, const segment_kind& kind,
                                                   bool durable, const storage_calls& calls) {
  auto geometry = make_segment_geometry(kind);
  if (!geometry) return tl::unexpected(std::move(geometry.error()));
  auto segment = std::make_shared<segment_file>();
  segment->geometry = *geometry;
  segment->number = number;
  const auto random = random_id();
  segment->salt = static_cast<u32>(random[0]) | 1;
  segment->of_this_boot = true;
  char temporary_name[48];
  std::snprintf(temporary_name, sizeof temporary_name, "%s%016llx", temporary_prefix,
                static_cast<unsigned long long>(random[1]));
  const std::string name = segment_name(number);
  const std::string temporary = where.path_of(temporary_name);
  segment->path = where.path_of(name);
  fd file = where.open_file(temporary_name, O_RDWR | O_CREAT | O_EXCL, 0660);
  if (!file)
    return tl::unexpected(errno == ENOSPC
                              ? allocation_failed(where, "a segment", temporary, geometry->segment_bytes, errno)
                              : failed("creating", temporary, errno));
  const auto undo = [&](error why) {
    where.remove(temporary_name);
    return tl::unexpected(std::move(why));
  };
  // Without this a full disk would be a SIGBUS at some later store.
  while (calls.allocate(file.get(), static_cast<off_t>(geometry->segment_bytes)) != 0) {
    if (errno == EINTR) continue;
    return undo(allocation_failed(where, "a segment", temporary, geometry->segment_bytes, errno));
  }
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return undo(failed("fstat of", temporary, errno));
  segment->file = file_identity::of(status);
  {
    // A forked child that could store here would be a second writer: none comes between the two calls.
    const guarded_fd::fork_pause pause;
    auto memory = map_file(file.get(), geometry->segment_bytes, access::read_write, temporary.c_str());
    if (!memory) return undo(std::move(memory.error()));
    segment->memory = std::move(*memory);
    if (::madvise(segment->memory.data(), segment->memory.bytes(), MADV_DONTFORK) != 0) {
      return undo(failed("MADV_DONTFORK of", temporary, errno));
    }
    segment->memory.stay_behind_in_parent();
  }
  if (!durable) advise_large_pages(segment->memory);
  write_header(*segment, kind, status);
  // Before the rest is touched: a page that is touched is one to write.
  if (durable && calls.synchronize(file.get()) != 0) return undo(failed("writing back", temporary, errno));
  if (!where.rename(temporary_name, name)) return undo(failed("naming", segment->path, errno));
  if (durable && !where.synchronize()) {
    const int why = errno;
    where.remove(name);  // or its number would be taken at the next try
    return tl::unexpected(failed("writing back", where.path(), why));
  }
  segment->descriptor = std::move(file);
  return segment;
}

result<std::shared_ptr<segment_file>> open_segment(const directory_handle& where, u64 number, access how) {
  return open_at(where, number, how, purpose::to_look);
}

result<std::shared_ptr<segment_file>> open_segment_to_mend(const directory_handle& where, u64 number, access how) {
  return open_at(where, number, how, purpose::to_mend);
}

result<std::shared_ptr<segment_file>> open_segment_head(const directory_handle& where, u64 number) {
  return open_at(where, number, access::read, purpose::to_look_at_head);
}

result<std::shared_ptr<segment_file>> open_segment_to_read(const directory_handle& where, u64 number) {
  return open_at(where, number, access::read, purpose::to_read);
}

result<void> remove_segment(const directory_handle& where, u64 number, const u64 (&lane_id)[2], segment_removal how) {
  const std::string name = segment_name(number);
  const std::string path = where.path_of(name);
  const fd file = where.open_file(name, O_RDWR);
  if (!file) {
    if (errno == ENOENT) return {};
    return tl::unexpected(failed("opening", path, errno));
  }
  u64 magic = 0;
  u64 id[2] = {};
  const bool ours = ::pread(file.get(), &magic, sizeof magic, 0) == sizeof magic && magic == segment_magic &&
                    ::pread(file.get(), id, sizeof id, offsetof(segment_header, lane_id)) == sizeof id &&
                    std::equal(id, id + 2, lane_id);
  if (!ours) return tl::unexpected(bad(errc::corrupt, path, "is of another lane, and is not removed"));
  if (how == segment_removal::unless_read && try_lock(file.get(), reader_lock_byte) != lock_status::taken) {
    return tl::unexpected(error(errc::busy, path + " is being read"));
  }
  if (!where.remove(name) && errno != ENOENT) return tl::unexpected(failed("removing", path, errno));
  return {};
}

std::vector<u64> list_segments(const directory_handle& where, bool tidy, int* why) {
  std::vector<u64> numbers;
  std::vector<std::string> left;
  const bool read = where.for_each_name([&](const std::string& name) {
    if (const u64 number = segment_number(name); number != 0) numbers.push_back(number);
    if (tidy && name.starts_with(temporary_prefix)) left.push_back(name);
  });
  // A directory that was removed while it was open reads as ENOENT.
  if (why != nullptr) *why = read || errno == ENOENT ? 0 : errno;
  for (const std::string& name : left) where.remove(name);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

}  // namespace quoit::inline v1::detail
