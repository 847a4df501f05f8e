// Disks that refuse: full, read-only, of another user, or on the network. Each on a mount of its own, in a process of
// its own, and skipped where a mount is not permitted.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "storage/file_system.hpp"
#include "storage/kept_reader.hpp"
#include "storage/log_check.hpp"
#include "storage/subscription_file.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace quoit::detail;
using quoit::errc;

namespace {

constexpr int not_permitted = 77;

// In a child, where checks of doctest do not count.
#define NEED(what)                                                    \
  do {                                                                \
    if (!(what)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      return 1;                                                       \
    }                                                                 \
  } while (false)

bool own_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}
bool mount_tmpfs(const std::string& where, const char* options) {
  return own_mounts() && ::mount("tmpfs", where.c_str(), "tmpfs", 0, options) == 0;
}

bool says(const quoit::error& why, const std::string& words) {
  if (why.message().find(words) != std::string::npos) return true;
  std::fprintf(stderr, "%s\n", why.message().c_str());
  return false;
}

// How many messages of the lane are there and whole; the writer may be another one.
u64 readable(const log_writer_options& o) {
  auto r = log_reader::open(o.directory, o.topic, o.name, 1, true);
  if (!r || !(*r)->start_at_earliest()) return 0;
  u64 n = 0;
  for (lane_frame frame; (*r)->take(frame) == take_status::message; ++n) {
    u64 number = 0;
    std::memcpy(&number, frame.payload, sizeof number);
    if (number != n || !is_message(frame.payload, frame.payload_bytes, n)) return 0;
    (*r)->release(frame);
  }
  return n;
}

u64 append_until_refused(log_writer& w, u64 n, append_status& status) {
  while ((status = append(w, n)) == append_status::ok) ++n;
  return n;
}

#define IN_A_CHILD(body)                                                                     \
  do {                                                                                       \
    child process(body);                                                                     \
    const ending how = process.wait();                                                       \
    if (how.status == not_permitted) QUOIT_SKIP("a mount of its own is not permitted here"); \
    CHECK_MESSAGE(how.status == 0, "status ", how.status, " signal ", how.signal);           \
  } while (false)

// ---- the least that a program behind FUSE has to answer ---------------------------------------------------

template <class Body>
void answer(int device, std::uint64_t unique, int error, const Body* body) {
  fuse_out_header head{};
  head.unique = unique;
  head.error = error;
  head.len = static_cast<std::uint32_t>(sizeof head + (body != nullptr ? sizeof *body : 0));
  iovec parts[2] = {{&head, sizeof head}, {const_cast<Body*>(body), body != nullptr ? sizeof *body : 0}};
  if (::writev(device, parts, body != nullptr ? 2 : 1) < 0) ::_exit(0);
}

// An empty directory, for ever.
[[noreturn]] void serve_fuse(int device) {
  static std::array<char, 1 << 17> request;
  for (;;) {
    const ssize_t bytes = ::read(device, request.data(), request.size());
    if (bytes < static_cast<ssize_t>(sizeof(fuse_in_header))) ::_exit(0);
    fuse_in_header in{};
    std::memcpy(&in, request.data(), sizeof in);
    if (in.opcode == FUSE_INIT) {
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = 31;
      out.max_write = 4096;
      answer(device, in.unique, 0, &out);
    } else if (in.opcode == FUSE_STATFS) {
      fuse_statfs_out out{};
      out.st.bsize = out.st.frsize = 4096;
      out.st.blocks = out.st.bfree = out.st.bavail = 1 << 20;
      answer(device, in.unique, 0, &out);
    } else if (in.opcode == FUSE_GETATTR) {
      fuse_attr_out out{};
      out.attr.ino = 1;
      out.attr.mode = S_IFDIR | 0777;
      out.attr.nlink = 2;
      answer(device, in.unique, 0, &out);
    } else if (in.opcode != FUSE_FORGET) {
      answer<fuse_attr_out>(device, in.unique, -ENOSYS, nullptr);
    }
  }
}

}  // namespace

TEST_CASE("on a full disk loans are refused with what is free, nothing is harmed, and room is found when it is made") {
  const scratch_directory directory;
  IN_A_CHILD([&] {
    if (!mount_tmpfs(directory.path(), "size=1m")) return not_permitted;
    auto options = small_log(directory);
    options.directory += "/kept";
    const std::string ballast = directory.path() + "/ballast";
    {
      const fd file(::open(ballast.c_str(), O_RDWR | O_CREAT, 0600));
      NEED(::fallocate(file.get(), 0, 0, 512 << 10) == 0);
    }
    auto w = log_writer::open(options);
    NEED(w);
    append_status status = append_status::ok;
    const u64 full = append_until_refused(**w, 0, status);
    NEED(status == append_status::no_space);
    NEED(full > 500);
    NEED((*w)->keeper().supply_failure() == errc::no_space);
    NEED(says((*w)->keeper().supply_failure(), "bytes are free"));
    NEED(says((*w)->keeper().supply_failure(), options.directory));
    NEED(readable(options) == full);
    // A second one does not even get its first segment.
    auto other = options;
    other.name = "late";
    const auto refused = log_writer::open(other);
    NEED(!refused && refused.error() == errc::no_space);
    NEED(says(refused.error(), "bytes are free"));
    NEED(::unlink(ballast.c_str()) == 0);
    u64 n = full;
    while ((status = append(**w, n)) == append_status::no_space) ::usleep(1000);
    NEED(status == append_status::ok);
    n = append_until_refused(**w, n + 1, status);
    NEED(status == append_status::no_space);
    NEED(n > full + 500);
    NEED(readable(options) == n);
    w->reset();
    NEED(verify_lane(lane_directory(options.directory, options.topic, "0")).value().whole());
    return 0;
  });
}

TEST_CASE("a sparse copy on a full disk is refused with what it needs, and goes on when there is room") {
  const scratch_directory directory;
  IN_A_CHILD([&] {
    if (!mount_tmpfs(directory.path(), "size=4m")) return not_permitted;
    auto options = small_log(directory);
    options.directory += "/first";
    const std::string last = directory.path() + "/copy";
    u64 published = 0;
    {
      auto w = log_writer::open(options);
      NEED(w);
      for (; published < 500; ++published) NEED(append(**w, published) == append_status::ok);
      const auto subscription = subscription_file::open(options.directory, options.topic, "audit");
      NEED(subscription);
      const auto reader =
          kept_reader::open(options.directory, options.topic, std::nullopt, 4, quoit::start::earliest, true);
      NEED(reader);
      NEED((*subscription)->begin(**reader));
      NEED((*subscription)->commit(**reader));
    }
    NEED(std::system(("cp -r --sparse=always " + options.directory + " " + last).c_str()) == 0);
    std::filesystem::remove_all(options.directory);
    options.directory = last;
    const std::string lane = lane_directory(options.directory, options.topic, options.name);
    const std::string ballast = directory.path() + "/ballast";
    {
      const fd file(::open(ballast.c_str(), O_RDWR | O_CREAT, 0600));
      for (off_t at = 0; ::fallocate(file.get(), 0, at, 4096) == 0;) at += 4096;
      NEED(errno == ENOSPC);
    }
    const auto w = log_writer::open(options);
    NEED(!w && w.error() == errc::no_space);
    NEED(says(w.error(), "bytes are free"));
    NEED(says(w.error(), ".seg"));
    const auto repaired = repair_lane(lane);
    NEED(!repaired && repaired.error() == errc::no_space);
    const auto held = subscription_file::open(options.directory, options.topic, "audit");
    NEED(!held && held.error() == errc::no_space);
    NEED(says(held.error(), "audit"));
    NEED(::unlink(ballast.c_str()) == 0);
    NEED(subscription_file::open(options.directory, options.topic, "audit"));
    {
      auto heir = log_writer::open(options);
      if (!heir) says(heir.error(), "?");
      NEED(heir);
      for (; published < 1000; ++published) NEED(append(**heir, published) == append_status::ok);
    }
    NEED(readable(options) == published);
    NEED(verify_lane(lane).value().whole());
    return 0;
  });
}

TEST_CASE("on a disk that is read-only everything is read and verified, and writing is an error that says so") {
  const scratch_directory directory;
  IN_A_CHILD([&] {
    if (!mount_tmpfs(directory.path(), "size=16m")) return not_permitted;
    const auto options = small_log(directory);
    const std::string lane = lane_directory(options.directory, options.topic, options.name);
    {
      auto w = log_writer::open(options);
      NEED(w);
      for (u64 n = 0; n < 1000; ++n) NEED(append(**w, n) == append_status::ok);
    }
    NEED(::mount(nullptr, directory.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) == 0);
    NEED(readable(options) == 1000);
    NEED(verify_lane(lane).value().whole());
    NEED(verify_lane(lane).value().messages == 1000);
    const auto w = log_writer::open(options);
    NEED(!w && w.error() == errc::no_permission);
    NEED(says(w.error(), "Read-only file system"));
    NEED(says(w.error(), directory.path()));
    auto fresh = options;
    fresh.topic = "another";
    const auto none = log_writer::open(fresh);
    NEED(!none && none.error() == errc::no_permission);
    NEED(says(none.error(), "Read-only file system"));
    // What a repair would do can be asked there, too.
    const auto rehearsed = repair_lane(lane, true);
    NEED(rehearsed && rehearsed->cuts.empty());
    const auto repaired = repair_lane(lane);
    NEED(!repaired && repaired.error() == errc::no_permission);
    return 0;
  });
}

TEST_CASE("a directory of another user is read if it may be, and not written") {
  if (::geteuid() != 0) QUOIT_SKIP("only root can become another user");
  const scratch_directory directory;
  const auto options = small_log(directory);
  {
    auto w = open_log(options);
    append_all(*w, 0, 1000);
  }
  ::chmod(directory.path().c_str(), 0755);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path())) {
    ::chmod(entry.path().c_str(), entry.is_directory() ? 0555 : 0444);
  }
  IN_A_CHILD([&] {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return not_permitted;
    NEED(readable(options) == 1000);
    auto o = options;
    auto w = log_writer::open(o);
    NEED(!w && w.error() == errc::no_permission);
    NEED(says(w.error(), "Permission denied"));
    o.name = "mine";
    w = log_writer::open(o);
    NEED(!w && w.error() == errc::no_permission);
    NEED(says(w.error(), "mine"));
    return 0;
  });
  // Nothing of it may be looked at.
  ::chmod((directory.path() + "/market+quotes/0").c_str(), 0700);
  IN_A_CHILD([&] {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return not_permitted;
    const auto r = log_reader::open(options.directory, options.topic, options.name, 1);
    NEED(!r && r.error() == errc::no_permission);
    const auto v = verify_lane(lane_directory(options.directory, options.topic, options.name));
    NEED(!v && v.error() == errc::no_permission);
    return 0;
  });
}

TEST_CASE("overlays of containers, and memory, can keep a topic") {
  const scratch_directory directory;
  IN_A_CHILD([&] {
    if (!mount_tmpfs(directory.path(), "size=16m")) return not_permitted;
    auto options = small_log(directory);
    for (const char* const part : {"/lower", "/upper", "/work", "/merged"}) {
      NEED(::mkdir((directory.path() + part).c_str(), 0700) == 0);
    }
    const std::string layers = "lowerdir=" + directory.path() + "/lower,upperdir=" + directory.path() +
                               "/upper,workdir=" + directory.path() + "/work";
    const std::string merged = directory.path() + "/merged";
    const bool overlay = ::mount("overlay", merged.c_str(), "overlay", 0, layers.c_str()) == 0;
    for (const std::string& where : {directory.path(), merged}) {
      if (where == merged && !overlay) continue;
      options.directory = where;
      auto w = log_writer::open(options);
      NEED(w);
      for (u64 n = 0; n < 300; ++n) NEED(append(**w, n) == append_status::ok);
      NEED(readable(options) == 300);
    }
    return overlay ? 0 : not_permitted;
  });
}

TEST_CASE("a directory on a network file system is refused, and the words name it") {
  const scratch_directory directory;
  IN_A_CHILD([&] {
    if (::access("/dev/fuse", R_OK | W_OK) != 0 || !own_mounts()) return not_permitted;
    // As sshfs mounts itself, with somebody else behind it.
    for (const char* const type : {"fuse.sshfs", "fuse.local-thing"}) {
      const int own = ::open("/dev/fuse", O_RDWR);
      const std::string options = "fd=" + std::to_string(own) + ",rootmode=40777,user_id=0,group_id=0";
      if (::mount("host:/data", directory.path().c_str(), type, MS_NOSUID | MS_NODEV, options.c_str()) != 0) {
        return not_permitted;
      }
      child server([own]() -> int { serve_fuse(own); });
      ::close(own);
      // Not opened to be read: nothing answers that.
      const fd mounted(::open(directory.path().c_str(), O_PATH | O_CLOEXEC));
      const auto local = check_file_system(mounted.get(), directory.path());
      ::umount2(directory.path().c_str(), MNT_DETACH);
      if (std::string(type) == "fuse.local-thing") {
        NEED(local);
        continue;
      }
      NEED(!local && local.error() == errc::invalid_argument);
      NEED(says(local.error(), directory.path()));
      NEED(says(local.error(), "network file system (fuse.sshfs)"));
      NEED(says(local.error(), "use a local disk"));
    }
    return 0;
  });
}
