// Coroutines that are to be resumed, in the order in which they became ready.
#pragma once

#include "quoit/detail/coroutine.hpp"

namespace quoit::inline v1::detail {

// Part of whatever waits: being ready needs no memory. In at most one queue at a time.
struct ready_node {
  std::coroutine_handle<> handle{};
  ready_node* next = nullptr;
  ready_node** back = nullptr;  // what points to it; null if it is in no queue

  bool queued() const noexcept { return back != nullptr; }
};

class ready_queue {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  void push(ready_node& node) noexcept {
    node.next = nullptr;
    node.back = last_;
    *last_ = &node;
    last_ = &node.next;
  }
  // Requires: not empty. The node may be gone once its coroutine was resumed.
  std::coroutine_handle<> pop() noexcept {
    ready_node& node = *first_;
    remove(node);
    return node.handle;
  }
  // Takes out one, wherever it is: those that are destroyed while they are ready may be many. Requires: in this queue.
  void remove(ready_node& node) noexcept {
    *node.back = node.next;
    (node.next != nullptr ? node.next->back : last_) = node.back;
    node.back = nullptr;
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
