#include "mem/mapping.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <string>

#include "base/allocate.hpp"
#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

namespace {

const char* hint_for(int why) noexcept {
  // After mlockall(MCL_FUTURE).
  if (why == EAGAIN)
    return " (this process locks what it maps, and may not lock so much: look at RLIMIT_MEMLOCK, ulimit -l)";
  return why == ENOMEM ? " (look at vm.max_map_count and RLIMIT_AS)" : "";
}

}  // namespace

void mapping::unmap() noexcept {
  if (base_ != nullptr && (!stays_behind_ || epoch_ == fork_epoch)) ::munmap(base_, bytes_);
  base_ = nullptr;
  held_.reset();
}

result<mapping> map_private(std::size_t bytes) {
  void* const base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) {
    const int why = errno;
    return tl::unexpected(
        error(errc::no_space, "allocating " + std::to_string(bytes) + " bytes of memory" + hint_for(why), bytes, why));
  }
  return mapping(base, bytes);
}

result<mapping> map_file(int fd, std::size_t bytes, access how, const char* what, off_t offset) {
  const int protection = how == access::read ? PROT_READ : PROT_READ | PROT_WRITE;
  const int sharing = how == access::private_copy ? MAP_PRIVATE : MAP_SHARED;
  void* const base = ::mmap(nullptr, bytes, protection, sharing, fd, offset);
  if (base == MAP_FAILED) {
    const int why = errno;
    return tl::unexpected(error(why == EACCES || why == EPERM ? errc::no_permission : errc::system,
                                std::string("mapping ") + std::to_string(bytes) + " bytes of " + what + hint_for(why),
                                0, why));
  }
  return mapping(base, bytes);
}

void populate(const mapping& memory) noexcept {
  if (populate_range(memory.data(), memory.bytes())) return;
  for (std::size_t at = 0; at < memory.bytes(); at += 4096) {
    // relaxed: nobody else knows this memory yet; zero stays zero
    store_relaxed(memory.object<u64>(at), 0);
  }
}

}  // namespace quoit::inline v1::detail
