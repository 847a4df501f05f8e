// Coroutines that are to be resumed, in the order in which they became ready.
#pragma once

#include <coroutine>

namespace quoit::inline v1::detail {

// Part of whatever waits: being ready needs no memory. In at most one queue at a time.
struct ready_node {
  std::coroutine_handle<> handle{};
  ready_node* next = nullptr;
  bool queued = false;
};

class ready_queue {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  void push(ready_node& node) noexcept {
    node.next = nullptr;
    node.queued = true;
    *last_ = &node;
    last_ = &node.next;
  }
  // Requires: not empty. The node may be gone once its coroutine was resumed.
  std::coroutine_handle<> pop() noexcept {
    ready_node& node = *first_;
    first_ = node.next;
    if (first_ == nullptr) last_ = &first_;
    node.queued = false;
    return node.handle;
  }
  // Takes out one, wherever it is. For those that are destroyed while they are ready.
  void remove(ready_node& node) noexcept {
    node.queued = false;
    for (ready_node** at = &first_; *at != nullptr; at = &(*at)->next) {
      if (*at != &node) continue;
      *at = node.next;
      if (*at == nullptr) last_ = at;
      return;
    }
  }
  void clear() noexcept {
    while (!empty()) pop();
  }

  ready_queue() = default;
  ready_queue(const ready_queue&) = delete;
  ready_queue& operator=(const ready_queue&) = delete;

 private:
  ready_node* first_ = nullptr;
  ready_node** last_ = &first_;
};

}  // namespace quoit::inline v1::detail
