#include "quoit/bus.hpp"

#include <cstdlib>

#include "bus/bus_loop.hpp"
#include "bus/choice.hpp"
#include "quoit/detail/no_memory.hpp"
#include "quoit/executor.hpp"
#include "quoit/offload.hpp"
#include "topic/node.hpp"

namespace quoit::inline v1 {

result<bus> bus::open(std::string_view name, const bus_options& options) {
  return detail::or_no_memory([&]() -> result<bus> {
    if (name.empty()) {
      const char* const from_environment = std::getenv("QUOIT_BUS");
      name = from_environment != nullptr && *from_environment != '\0' ? from_environment : "default";
    }
    auto node = detail::open_node(name, options);
    if (!node) return tl::unexpected(std::move(node.error()));
    return bus(std::move(*node));
  });
}

result<bus> bus::open(executor& where, std::string_view name, const bus_options& options) {
  auto opened = open(name, options);
  errc why{};
  if (opened && detail::bus_loop::of(*opened->node_, where.loop(), why) == nullptr) return tl::unexpected(error(why));
  return opened;
}

result<bus> bus::open(const inherited_memory& memory, const bus_options& options) {
  return detail::or_no_memory([&]() -> result<bus> {
    auto node = detail::open_node(memory.arena_, options);
    if (!node) return tl::unexpected(std::move(node.error()));
    return bus(std::move(*node));
  });
}

result<bus> bus::open(executor& where, const inherited_memory& memory, const bus_options& options) {
  auto opened = open(memory, options);
  errc why{};
  if (opened && detail::bus_loop::of(*opened->node_, where.loop(), why) == nullptr) return tl::unexpected(error(why));
  return opened;
}

namespace {

task<result<bus>> open_elsewhere(std::string name, std::string node_name, bus_options options) {
  auto opening = [&name, &node_name, &options]() mutable {
    options.node_name = node_name;
    return bus::open(name, options);
  };
  auto opened = co_await offload(std::move(opening));
  co_return opened;
}

task<result<bus>> open_in_memory_elsewhere(inherited_memory memory, std::string node_name, bus_options options) {
  auto opening = [&memory, &node_name, &options]() mutable {
    options.node_name = node_name;
    return bus::open(memory, options);
  };
  auto opened = co_await offload(std::move(opening));
  co_return opened;
}

}  // namespace

task<result<bus>> bus::open_async(const inherited_memory& memory, const bus_options& options) {
  return attached(open_in_memory_elsewhere(memory, std::string(options.node_name), options));
}

task<result<bus>> bus::open_async(std::string_view name, const bus_options& options) {
  return attached(open_elsewhere(std::string(name), std::string(options.node_name), options));
}

task<result<bus>> bus::attached(task<result<bus>> opening) {
  if (detail::loop::current()->forked()) co_return tl::unexpected(error(errc::forked));
  auto opened = co_await std::move(opening);
  errc why{};
  if (opened && detail::bus_loop::of(*opened->node_, *detail::loop::current(), why) == nullptr) {
    co_return tl::unexpected(error(why));
  }
  co_return opened;
}

bus::bus(std::shared_ptr<detail::node> node) noexcept : node_(std::move(node)) {}
bus::bus(bus&&) noexcept = default;
bus& bus::operator=(bus&&) noexcept = default;
bus::~bus() = default;

std::string_view bus::name() const noexcept { return node_->bus(); }

transport_info bus::transport() const {
  return {node_->on_kernel() ? quoit::transport::kernel : quoit::transport::shared_memory, node_->why_transport()};
}

void bus::interrupt() noexcept { node_->interrupt(); }

void bus::clean_up() noexcept { detail::clean_up_after_dead(*node_); }

namespace detail {

std::string fields_text(const field* fields, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    const field& f = fields[i];
    if (!text.empty()) text += ' ';
    text += f.name;
    text += ':';
    text += f.scalar;
    if (f.scalar == "bytes") text += std::to_string(f.bytes);
    if (f.count != 1) text += '[' + std::to_string(f.count) + ']';
    text += '@' + std::to_string(f.offset);
  }
  return text;
}

}  // namespace detail
}  // namespace quoit::inline v1
