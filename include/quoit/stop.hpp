// Asking for a stop: a request that reaches what a task is waiting for.
//
// Of one executor and one thread: nothing here is atomic and nothing allocates. A stop_source outlives the tokens made
// from it: scopes, when_any() and timeout() own theirs and end after their tasks. From another thread, use
// executor::request_stop() or executor::post().
#pragma once

#include "quoit/detail/export.hpp"

namespace quoit::inline v1 {

class stop_token;

namespace detail {

class loop;

// What is called once, when a stop is requested; in the list of one source as long as it is there.
class stop_hook {
 public:
  using function = void (*)(stop_hook&) noexcept;
  explicit stop_hook(function call) noexcept : call_(call) {}
  stop_hook(const stop_hook&) = delete;
  stop_hook& operator=(const stop_hook&) = delete;
  ~stop_hook() { detach(); }

  // Requires: not attached. Not called if the stop was requested already: ask the token first.
  void attach(const stop_token& token) noexcept;
  void detach() noexcept {
    if (before_ == nullptr) return;
    *before_ = next_;
    if (next_ != nullptr) next_->before_ = before_;
    before_ = nullptr;
  }

 private:
  friend struct stop_list;
  function call_;
  stop_hook** before_ = nullptr;  // what points to us
  stop_hook* next_ = nullptr;
};

struct stop_list {
  stop_hook* first = nullptr;
  bool requested = false;

  void push(stop_hook& hook) noexcept {
    hook.next_ = first;
    hook.before_ = &first;
    if (first != nullptr) first->before_ = &hook.next_;
    first = &hook;
  }
  // One by one: a hook may detach others, or attach new ones elsewhere.
  void request() noexcept {
    requested = true;
    while (first != nullptr) {
      stop_hook& hook = *first;
      hook.detach();
      hook.call_(hook);
    }
  }
};

}  // namespace detail

// Says whether a stop was requested. A default-constructed one is never asked to.
class stop_token {
 public:
  stop_token() = default;
  bool stop_requested() const noexcept { return list_ != nullptr && list_->requested; }
  bool stop_possible() const noexcept { return list_ != nullptr; }

 private:
  friend class stop_source;
  friend class detail::stop_hook;
  explicit stop_token(detail::stop_list* list) noexcept : list_(list) {}
  detail::stop_list* list_ = nullptr;
};

// Requests the stop. Not movable: tokens point to it. Requires: goes after every task that has a token of it.
class stop_source {
 public:
  stop_source() = default;
  stop_source(const stop_source&) = delete;
  stop_source& operator=(const stop_source&) = delete;

  // What waits for something of this executor stops waiting, and answers errc::cancelled. Once; again is nothing.
  void request_stop() noexcept {
    if (!list_.requested) list_.request();
  }
  bool stop_requested() const noexcept { return list_.requested; }
  stop_token token() noexcept { return stop_token(&list_); }

 private:
  friend class detail::loop;
  detail::stop_list list_;
};

inline void detail::stop_hook::attach(const stop_token& token) noexcept {
  if (token.list_ != nullptr) token.list_->push(*this);
}

namespace detail {

// A source that also stops when another one does.
class linked_stop : private stop_hook {
 public:
  linked_stop() noexcept
      : stop_hook([](stop_hook& hook) noexcept { static_cast<linked_stop&>(hook).source.request_stop(); }) {}
  // Requires: follows nobody. The outer source outlives this, or unfollow() comes first.
  void follow(const stop_token& outer) noexcept {
    if (outer.stop_requested()) return source.request_stop();
    attach(outer);
  }
  void unfollow() noexcept { detach(); }
  stop_source source;
};

}  // namespace detail

}  // namespace quoit::inline v1
