#include "quoit/inherited_memory.hpp"

#include <fcntl.h>

#include <cerrno>

#include "mem/arena.hpp"
#include "quoit/detail/no_memory.hpp"

namespace quoit::inline v1 {

inherited_memory::inherited_memory(std::shared_ptr<detail::arena> arena) noexcept : arena_(std::move(arena)) {}

result<inherited_memory> inherited_memory::create(const inherited_memory_options& options) {
  return detail::or_no_memory([&]() -> result<inherited_memory> {
    auto made = detail::arena::create(options.bytes, options.sealed);
    if (!made) return tl::unexpected(std::move(made.error()));
    return inherited_memory(std::move(*made));
  });
}

result<inherited_memory> inherited_memory::from_descriptor(int descriptor) {
  return detail::or_no_memory([&]() -> result<inherited_memory> {
    auto found = detail::arena::adopt(descriptor);
    if (!found) return tl::unexpected(std::move(found.error()));
    return inherited_memory(std::move(*found));
  });
}

int inherited_memory::descriptor() const noexcept { return arena_->descriptor(); }

result<void> inherited_memory::keep_through_exec(bool keep) const {
  if (::fcntl(arena_->descriptor(), F_SETFD, keep ? 0 : FD_CLOEXEC) != 0) {
    return tl::unexpected(error(errc::system, "F_SETFD of the inherited memory", 0, errno));
  }
  return {};
}

std::uint64_t inherited_memory::bytes() const noexcept { return arena_->bytes(); }
std::uint64_t inherited_memory::free_bytes() const { return arena_->free_bytes(); }
bool inherited_memory::sealed() const noexcept { return arena_->sealed(); }

}  // namespace quoit::inline v1
