#pragma once

#include <array>
#include <tuple>
#include <utility>
#include <vector>

#include "quoit/detail/exec/group.hpp"

namespace quoit::inline v1 {

// Runs the tasks at once, on this executor, and is over when all of them are. The value of a task<void> is a
// std::monostate. If one throws, the others are asked to stop, and the first exception, in the order of the arguments,
// is thrown when all are over. A stop of the awaiting task reaches all of them.
template <class... T>
task<std::tuple<detail::non_void<T>...>> when_all(task<T>... tasks) {
  detail::group group;
  std::tuple<detail::outcome<T>...> outcomes;
  auto children = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<detail::member_task, sizeof...(T)>{
        detail::member_task::run(std::move(tasks), std::get<I>(outcomes), group, I)...};
  }(std::index_sequence_for<T...>{});
  detail::gather all(group, children);
  co_await all;
  std::tuple<detail::non_void<T>...> values =
      std::apply([](auto&... each) { return std::tuple<detail::non_void<T>...>{each.take()...}; }, outcomes);
  co_return values;
}

// The same for any number of tasks of one type.
template <class T>
task<std::vector<detail::non_void<T>>> when_all(std::vector<task<T>> tasks) {
  detail::group group;
  std::vector<detail::outcome<T>> outcomes(tasks.size());
  std::vector<detail::member_task> children;
  children.reserve(tasks.size());
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    children.push_back(detail::member_task::run(std::move(tasks[i]), outcomes[i], group, i));
  }
  detail::gather all(group, children);
  co_await all;
  std::vector<detail::non_void<T>> values;
  values.reserve(outcomes.size());
  for (auto& each : outcomes) values.push_back(each.take());
  co_return values;
}

}  // namespace quoit::inline v1
