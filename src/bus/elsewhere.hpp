#pragma once

#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

#include "quoit/offload.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1::detail {

// What takes a disk, on another thread while the loop goes on. Where no thread is to be had the loop waits for the
// disk. What `work` refers to outlives the task; a copy of it does the same.
template <class Work>
task<std::invoke_result_t<Work&>> do_elsewhere(Work work) {
  std::optional<std::invoke_result_t<Work&>> done;
  try {
    Work there = work;
    done.emplace(co_await offload(std::move(there)));
  } catch (const std::system_error&) {
  }
  if (!done) done.emplace(work());
  co_return std::move(*done);
}

}  // namespace quoit::inline v1::detail
