#include "storage/file_system.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/fd.hpp"
#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

namespace {

// The word behind the n-th space of a line, counted from 0.
std::string_view word_of(std::string_view line, int n) noexcept {
  for (; n > 0; --n) {
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

std::string mountinfo() {
  const fd file = open_file("/proc/self/mountinfo", O_RDONLY);
  std::string text;
  char part[4096];
  for (ssize_t got = 0; file && (got = ::read(file.get(), part, sizeof part)) > 0;) {
    text.append(part, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

std::string_view network_name(u32 magic) noexcept {
  struct network {
    u32 magic;
    std::string_view name;
  };
  static constexpr std::array<network, 21> networks{{
      {0x00006969, "NFS"},    {0xff534d42, "CIFS"},     {0xfe534d42, "SMB"},    {0x0000517b, "SMB"},
      {0x01021997, "9p"},     {0x00c36400, "Ceph"},     {0x5346414f, "AFS"},    {0x6b414653, "AFS"},
      {0x0bd00bd0, "Lustre"}, {0x01161970, "GFS2"},     {0x7461636f, "OCFS2"},  {0x47504653, "GPFS"},
      {0x19830326, "BeeGFS"}, {0x20030528, "OrangeFS"}, {0xaad7aaea, "PanFS"},  {0x73757245, "Coda"},
      {0x0000564c, "NCP"},    {0x61636673, "ACFS"},     {0xbacbacbc, "vmhgfs"}, {0x786f4256, "vboxsf"},
      {0x7c7c6673, "prl_fs"},
  }};
  for (const network& n : networks) {
    if (n.magic == magic) return n.name;
  }
  return {};
}

bool is_network_fuse(std::string_view type) noexcept {
  static constexpr std::array<std::string_view, 14> programs{
      "fuse.sshfs",     "fuse.glusterfs", "fuse.ceph",    "fuse.ceph-fuse", "fuse.s3fs",
      "fuse.rclone",    "fuse.juicefs",   "fuse.gcsfuse", "fuse.moosefs",   "fuse.davfs",
      "fuse.curlftpfs", "fuse.seaweedfs", "fuse.goofys",  "fuse.mount-s3"};
  return std::find(programs.begin(), programs.end(), type) != programs.end();
}

// `36 35 98:0 /root /where options tags... - type source options`: a tag may be missing, so the type is found from the
// lone dash, and no path holds a space (it is \040 there).
std::string_view type_of_mount(std::string_view text, u32 device_major, u32 device_minor) noexcept {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view device = word_of(line, 2);
    const std::size_t colon = device.find(':');
    const std::size_t dash = line.find(" - ");
    if (colon == std::string_view::npos || dash == std::string_view::npos) continue;
    if (device.substr(0, colon) != std::to_string(device_major)) continue;
    if (device.substr(colon + 1) == std::to_string(device_minor)) return word_of(line.substr(dash + 3), 0);
  }
  return {};
}

result<void> check_file_system(int directory, const std::string& path) {
  struct statfs fs{};
  if (::fstatfs(directory, &fs) != 0) return tl::unexpected(storage_call_failed("statfs of", path, errno));
  const u32 magic = static_cast<u32>(fs.f_type);
  std::string name(network_name(magic));
  if (magic == fuse_magic) {
    struct stat status{};
    if (::fstat(directory, &status) != 0) return tl::unexpected(storage_call_failed("stat of", path, errno));
    const std::string mounts = mountinfo();
    const std::string_view type = type_of_mount(mounts, major(status.st_dev), minor(status.st_dev));
    if (is_network_fuse(type)) name = type;
  }
  if (name.empty()) return {};
  return tl::unexpected(
      error(errc::invalid_argument, path + " is on a network file system (" + name +
                                        "), where mappings and locks of two machines do not see each other; use a "
                                        "local disk"));
}

}  // namespace quoit::inline v1::detail
