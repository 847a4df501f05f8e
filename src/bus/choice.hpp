// Which way a bus goes: shared memory or the kernel.
#pragma once

#include "mem/arena.hpp"
#include "topic/node.hpp"

namespace quoit::inline v1::detail {

// Opens a node by the way that the options, or the environment, choose. Errors: as bus::open().
result<std::shared_ptr<node>> open_node(std::string_view bus, const bus_options& options);

// The same in inherited memory, where there is only one way.
result<std::shared_ptr<node>> open_node(const std::shared_ptr<arena>& memory, const bus_options& options);

// Cleans up after processes that died, whichever way they went.
void clean_up_after_dead(node& self) noexcept;

}  // namespace quoit::inline v1::detail
