// What a task waits for at a publisher, but for loans.
#include "quoit/detail/bus_waits.hpp"
#include "quoit/sleep.hpp"

namespace quoit::inline v1::detail {

namespace {
constexpr std::chrono::milliseconds between_looks{1};
}

task<result<void>> publisher_core::matched(u32 n) {
  if (epoch_ != fork_epoch) co_return tl::unexpected(error(errc::forked));
  while (subscribers() < n) {
    auto slept = co_await sleep_for(between_looks);
    if (!slept) co_return slept;
  }
  co_return result<void>();
}

task<result<void>> publisher_core::flush_async() {
  if (disk_ != nullptr && open_ && epoch_ == fork_epoch) {
    flush_awaiter written(*this);
    co_return co_await written;
  }
  // On the kernel path its thread sends meanwhile, and says nothing when it is done.
  while (!is_flushed()) {
    auto slept = co_await sleep_for(between_looks);
    if (!slept) co_return slept;
  }
  co_return flush(std::chrono::nanoseconds(0));
}

}  // namespace quoit::inline v1::detail
