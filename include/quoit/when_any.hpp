#pragma once

#include <array>
#include <tuple>
#include <utility>
#include <variant>

#include "quoit/detail/exec/group.hpp"

namespace quoit::inline v1 {

// Which task was over first, and its value: the alternative of that index.
template <class... T>
struct any_result {
  std::size_t index;
  std::variant<detail::non_void<T>...> value;
};

// Runs the tasks at once, on this executor. When one is over, by its value or by an exception, the others are asked to
// stop, and this is over when all are. What the others made of the stop is lost: a loser may still have received a
// message, which is then gone. If the first one threw, its exception is thrown.
template <class... T>
  requires(sizeof...(T) > 0)
task<any_result<T...>> when_any(task<T>... tasks) {
  detail::group group;
  group.stop_at_first = true;
  std::tuple<detail::outcome<T>...> outcomes;
  auto children = [&]<std::size_t... I>(std::index_sequence<I...>) {
    return std::array<detail::member_task, sizeof...(T)>{
        detail::member_task::run(std::move(tasks), std::get<I>(outcomes), group, I)...};
  }(std::index_sequence_for<T...>{});
  detail::gather all(group, children);
  co_await all;
  std::optional<any_result<T...>> first;
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto take = [&]<std::size_t N>(std::integral_constant<std::size_t, N>) {
      if (group.first != N) return;
      using value = std::variant<detail::non_void<T>...>;
      first.emplace(any_result<T...>{N, value(std::in_place_index<N>, std::get<N>(outcomes).take())});
    };
    (take(std::integral_constant<std::size_t, I>{}), ...);
  }(std::index_sequence_for<T...>{});
  co_return std::move(*first);
}

}  // namespace quoit::inline v1
