#include "storage/lane_header.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/boot_id.hpp"
#include "base/file_lock.hpp"
#include "base/file_size_limit.hpp"
#include "base/random.hpp"
#include "storage/lane_records.hpp"

namespace quoit::inline v1::detail {

namespace {

u64 id_check(const log_lane_header& header) noexcept {
  return u64{crc32c_words(~u32{0}, reinterpret_cast<const std::byte*>(header.lane_id), sizeof header.lane_id)} |
         u64{1} << 32;
}

}  // namespace

result<void> set_file_aside(const directory_handle& where, const std::string& name) {
  std::string to = name + ".cut";
  for (int n = 1; !where.rename(name, to); ++n) {
    if (errno != EEXIST) return tl::unexpected(storage_call_failed("setting aside", where.path_of(name), errno));
    to = name + ".cut." + std::to_string(n);
  }
  return {};
}

void fill_lane_header(log_lane_header& header, const u64 (&id)[2]) noexcept {
  header.prefix.magic = log_lane_magic;
  header.prefix.layout_major = log_layout_major;
  header.prefix.layout_minor = log_layout_minor;
  header.prefix.header_bytes = sizeof(log_lane_header);
  header.prefix.segment_bytes = log_lane_bytes;
  std::memcpy(header.prefix.boot_id, boot_id().data(), sizeof header.prefix.boot_id);
  std::copy(id, id + 2, header.lane_id);
  header.check = id_check(header);
}

result<void> check_lane_header(const log_lane_header& header, const std::string& path) {
  if (header.prefix.magic != log_lane_magic) {
    return tl::unexpected(error(errc::corrupt, path + ": not a lane of quoit (another magic)"));
  }
  if (header.prefix.layout_major != log_layout_major || header.prefix.required_features != 0) {
    return tl::unexpected(error(errc::newer_version, path + ": made by a version of another layout (" +
                                                         std::to_string(header.prefix.layout_major) +
                                                         "); this one knows " + std::to_string(log_layout_major)));
  }
  if (header.check != id_check(header))
    return tl::unexpected(error(errc::corrupt, path + ": the check of its id is wrong"));
  return {};
}

result<guarded_fd> make_lane_file(const directory_handle& where, const u64 (&id)[2], bool epoch_due) {
  char temporary[48];
  std::snprintf(temporary, sizeof temporary, ".making-%016llx", static_cast<unsigned long long>(random_id()[0]));
  alignas(log_lane_header) std::byte page[log_lane_bytes]{};
  auto& header = *new (page) log_lane_header{};
  fill_lane_header(header, id);
  header.epoch_due = epoch_due ? 1 : 0;
  int why = 0;
  guarded_fd file = guarded_fd::opened_by([&] {
    fd made = where.open_file(temporary, O_RDWR | O_CREAT | O_EXCL, 0660);
    if (!made) why = errno;
    return made;
  });
  if (!file) return tl::unexpected(storage_call_failed("creating", where.path_of(temporary), why));
  note_home(header, file.get());
  // Nobody else has it yet.
  if (try_lock(file.get(), writer_lock_byte) != lock_status::taken) why = errno;
  if (why == 0) why = write_whole(file.get(), page, sizeof page);
  if (why == 0 && ::fsync(file.get()) != 0) why = errno;
  const bool is_first = why == 0 && where.rename(temporary, lane_file_name);
  // EEXIST: another publisher was first, and its file is as good.
  if (why == 0 && !is_first && errno != EEXIST) why = errno;
  where.remove(temporary);
  const std::string path = where.path_of(lane_file_name);
  if (why == EFBIG) return tl::unexpected(file_size_limit_reached("writing " + path, sizeof page));
  if (why != 0) return tl::unexpected(storage_call_failed("writing", path, why));
  where.synchronize();
  if (!is_first) file.reset();
  return file;
}

}  // namespace quoit::inline v1::detail
