// One segment as a file: made whole under a temporary name, or opened and checked.
#pragma once

#include <sys/types.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "mem/mapping.hpp"
#include "quoit/detail/segment_layout.hpp"
#include "quoit/detail/stamp_clock.hpp"
#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

// Touches the pages of [begin, end) of a mapping for writing, so that nobody else meets a page for the first time.
void populate_pages(const mapping& memory, u64 begin, u64 end) noexcept;

// Pages of two mebibytes from now on, where the file system has such: touching them takes half the time. Not for what
// is flushed message by message, as the kernel writes a page back whole.
void advise_large_pages(const mapping& memory) noexcept;

// While it lives, pages of a mapping that are not in memory are read as they are asked for, and nothing around them: a
// device that reads eight mebibytes ahead makes a search of ten pages take as long as eighty mebibytes do.
class sparse_reading {
 public:
  explicit sparse_reading(const mapping& memory) noexcept;
  sparse_reading(const sparse_reading&) = delete;
  sparse_reading& operator=(const sparse_reading&) = delete;
  ~sparse_reading();
  // Begins to read what will be needed, in one piece.
  void expect(u64 begin, u64 end) const noexcept;

 private:
  const mapping& memory_;
};

// All of a mapping begins to be read, where it is not in memory: so that a disk is busy while what it read is verified.
void read_all_soon(const mapping& memory) noexcept;

// The system calls of storage that can fail for want of a disk, or wait for one; tests put others in their place.
struct storage_calls {
  int (*allocate)(int fd, off_t bytes) noexcept;  // 0, or -1 and errno, as fallocate
  int (*synchronize)(int fd) noexcept;            // as fdatasync
  void (*populate)(const mapping& memory, u64 begin, u64 end) noexcept = populate_pages;
  clock_source clocks = clock_source::of_system();
  static const storage_calls& of_system() noexcept;
};

// Frames that a segment can hold.
constexpr u64 frames_max(const segment_geometry& geometry) noexcept {
  return geometry.data_bytes / geometry.extent(0) + 1;
}

// What all segments of a lane have in common.
struct segment_kind {
  u64 lane_id[2]{};
  u64 segment_bytes = u64{64} << 20;  // rounded up to pages; segment_bytes_min to segment_bytes_max
  u32 payload_bytes_max = 0;          // 0: as large as a segment takes
  u32 alignment = 8;                  // of frames
  u32 payload_alignment = 8;
  u32 type_bytes = 0;
  std::string topic_name;
  std::string type_name;
  std::string type_fields;
};

// A segment that is open and mapped. Everything in `geometry` was checked.
struct segment_file {
  fd descriptor;  // none where it was closed after mapping
  mapping memory;
  std::string path;
  file_identity file;
  u64 number = 0;
  segment_geometry geometry{};
  u32 salt = 0;
  bool mended = false;        // its header, by open_segment_to_mend()
  bool of_this_boot = false;  // made here since the machine started: nothing of it can be torn

  segment_header& header() const noexcept { return memory.object<segment_header>(); }
  std::byte* data() const noexcept { return memory.data() + geometry.data_offset; }
  segment_index_entry& entry(u32 index) const noexcept {
    return memory.object<segment_index_entry>(segment_header_bytes + sizeof(segment_index_entry) * index);
  }
  // The start record, if the writer has come here and what it says makes sense.
  bool read_start(segment_start& out) const noexcept;
  void write_start(segment_start start) const noexcept;
  // The clock of its stamps, if that is said.
  bool read_clock(segment_clock& out) const noexcept;
  void write_clock(segment_clock clock) const noexcept;
};

std::string segment_name(u64 number);
// 0: not the name of a segment.
u64 segment_number(const std::string& name) noexcept;

// Sizes for a kind. Errors: invalid_argument (value: segment_bytes that would do, 0 if none would).
result<segment_geometry> make_segment_geometry(const segment_kind& kind);

// Makes segment `number`, allocated, zero, without a start. `durable`: its name and its header are on
// the disk when this returns.
// Errors: no_space (value: bytes), no_permission, limit_reached (descriptors, RLIMIT_FSIZE), invalid_argument, busy
// (there is one already), system.
result<std::shared_ptr<segment_file>> make_segment(const directory_handle& where, u64 number, const segment_kind& kind,
                                                   bool durable, const storage_calls& calls);

// Opens what is there, and checks header and sizes.
// Errors: not_found, no_permission, corrupt, newer_version, system.
result<std::shared_ptr<segment_file>> open_segment(const directory_handle& where, u64 number, access how);

// The same, but a flipped bit of the header is put right; `how` is read_write or private_copy.
result<std::shared_ptr<segment_file>> open_segment_to_mend(const directory_handle& where, u64 number, access how);

// The same of its header alone: geometry, start record, nothing behind. What looks at many segments takes this: it maps
// one page, and reads one where it is not in memory.
result<std::shared_ptr<segment_file>> open_segment_head(const directory_handle& where, u64 number);

// As open_segment(), with a shared lock that lives as long as the mapping does, for readers: whoever removes segments
// asks for it. A forked child does not have the mapping. Errors: also `not_found` if it is being removed.
result<std::shared_ptr<segment_file>> open_segment_to_read(const directory_handle& where, u64 number);

// The text in a field of a header, which ends with a zero or fills the field.
template <std::size_t N>
std::string_view stored_text(const char (&field)[N]) noexcept {
  return {field, ::strnlen(field, N)};
}

enum class segment_removal : u8 { unless_read, also_if_read };

// Removes a segment of this lane unless a reader is in it. One that is not there is no error. Errors: busy (a reader
// is), corrupt (what has that name is no segment of this lane: it stays), no_permission, system.
result<void> remove_segment(const directory_handle& where, u64 number, const u64 (&lane_id)[2],
                            segment_removal how = segment_removal::unless_read);

// Numbers of the segments, sorted. Temporary files that a maker left are removed with `tidy`. `why`: the errno of a
// directory that is there and cannot be read, or else 0.
std::vector<u64> list_segments(const directory_handle& where, bool tidy = false, int* why = nullptr);

u64 header_check(const segment_header& header) noexcept;
u64 start_check(const segment_start& start, u32 salt) noexcept;
u64 clock_check(const segment_clock& clock, u32 salt) noexcept;
u32 entry_check(const segment_index_entry& entry, u32 salt) noexcept;
// Fills in the check, and stores it so that whoever looks sees none or all of it.
void write_entry(segment_index_entry& to, u32 salt, const segment_index_entry& entry) noexcept;

}  // namespace quoit::inline v1::detail
