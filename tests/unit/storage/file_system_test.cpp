// Which file systems a topic can be kept on.
#include "storage/file_system.hpp"
#include "storage/directory_handle.hpp"

#include <doctest/doctest.h>

using namespace quoit::detail;
using quoit::errc;

TEST_CASE("network file systems are known by their magic numbers, and local ones are none") {
  for (const u32 network :
       {0x6969u, 0xff534d42u, 0xfe534d42u, 0x517bu, 0x01021997u, 0x00c36400u, 0x5346414fu, 0x0bd00bd0u, 0x01161970u}) {
    CHECK(!network_name(network).empty());
  }
  CHECK(network_name(0x6969) == "NFS");
  // ext4, xfs, btrfs, tmpfs, overlayfs, f2fs, zfs, bcachefs, ramfs, FUSE
  for (const u32 local : {0xef53u, 0x58465342u, 0x9123683eu, 0x01021994u, 0x794c7630u, 0xf2f52010u, 0x2fc12fc1u,
                          0xca451a4eu, 0x858458f6u, fuse_magic}) {
    CHECK(network_name(local).empty());
  }
}

TEST_CASE("a program behind FUSE is known by the type of its mount") {
  const std::string_view mounts =
      "21 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"
      "35 21 0:41 / /home/a\\040b rw,nosuid shared:7 master:1 - fuse.sshfs host:/data rw,user_id=0\n"
      "36 21 0:42 / /mnt rw - fuse.ntfs-3g /dev/sdb1 rw";
  CHECK(type_of_mount(mounts, 254, 0) == "ext4");
  CHECK(type_of_mount(mounts, 0, 41) == "fuse.sshfs");
  CHECK(type_of_mount(mounts, 0, 42) == "fuse.ntfs-3g");
  CHECK(type_of_mount(mounts, 0, 4).empty());
  CHECK(type_of_mount("", 0, 41).empty());
  CHECK(type_of_mount("nonsense\n\n1 2\n- - -", 0, 41).empty());
  CHECK(is_network_fuse("fuse.sshfs"));
  CHECK(is_network_fuse("fuse.glusterfs"));
  CHECK(!is_network_fuse("fuse.ntfs-3g"));
  CHECK(!is_network_fuse(""));
}

TEST_CASE("the disk of this machine is none of them") {
  for (const char* const path : {"/", "/dev/shm", "/var/tmp"}) {
    const auto there = directory_handle::open(path);
    if (there) CHECK_MESSAGE(check_file_system(there->get(), path).has_value(), path);
  }
  CHECK(check_file_system(-1, "/no/such/place").error() == errc::system);
}
