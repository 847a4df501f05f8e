#pragma once

#include <span>
#include <type_traits>
#include <utility>

#include "quoit/detail/exec/group.hpp"
#include "quoit/duration.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

namespace detail {

template <class T>
struct timed {
  using type = result<T>;
};
template <class T>
struct timed<result<T>> {
  using type = result<T>;
};
template <class Awaitable>
using awaited = decltype(std::declval<Awaitable>().operator co_await().await_resume());

template <class Awaitable>
task<awaited<Awaitable>> as_task(Awaitable what) {
  co_return co_await std::move(what);
}

}  // namespace detail

// Runs the task for at most `limit`; after that it is asked to stop, and this is over when it is. errc::timed_out if
// the time was over first; but the task begins in any case, and what it finds there at once is the answer: with a
// `limit` of 0, timeout(0s, subscriber.next()) takes the message that is there. A task that answers result<U> makes
// this a result<U>: then a value that came in spite of the stop is the answer, and no message is lost. Exceptions of
// the task are thrown.
template <class T>
task<typename detail::timed<T>::type> timeout(duration limit, task<T> work) {
  detail::group group;
  detail::outcome<T> out;
  detail::member_task children[] = {detail::member_task::run(std::move(work), out, group, 0)};
  detail::alarm alarm(group, limit);
  detail::gather all(group, children, &alarm);
  co_await all;
  using answer = typename detail::timed<T>::type;
  if constexpr (std::is_same_v<answer, T>) {
    answer value = out.take();
    if (!value && value.error() == errc::cancelled && alarm.fired) value = tl::make_unexpected(error(errc::timed_out));
    co_return value;
  } else if constexpr (std::is_void_v<T>) {
    out.take();
    if (alarm.fired) co_return tl::make_unexpected(error(errc::timed_out));
    co_return answer();
  } else {
    auto value = out.take();
    if (alarm.fired) co_return tl::make_unexpected(error(errc::timed_out));
    co_return answer(std::move(value));
  }
}

// The same for what is awaited directly: timeout(1s, subscriber.next()).
template <class Awaitable>
  requires requires(Awaitable a) { std::move(a).operator co_await(); }
auto timeout(duration limit, Awaitable what) {
  return timeout(limit, detail::as_task(std::move(what)));
}

}  // namespace quoit::inline v1
