#include "quoit/detail/exec/timer.hpp"

namespace quoit::inline v1::detail {

// Of two roots the earlier one; the other becomes its first child.
timer* timer_heap::merge(timer* a, timer* b) noexcept {
  if (a == nullptr) return b;
  if (b == nullptr) return a;
  // Of two at the same time, the one that was there first.
  if (b->at_ns < a->at_ns) {
    timer* const later = a;
    a = b;
    b = later;
  }
  b->sibling = a->child;
  if (b->sibling != nullptr) b->sibling->before = b;
  b->before = a;
  a->child = b;
  return a;
}

// In pairs from the left, then the pairs from the right; without recursion, as a row may be long.
timer* timer_heap::merge_siblings(timer* first) noexcept {
  timer* pairs = nullptr;  // linked through `sibling`, the last one first
  while (first != nullptr) {
    timer* const a = first;
    timer* const b = a->sibling;
    first = b != nullptr ? b->sibling : nullptr;
    a->sibling = a->before = nullptr;
    if (b != nullptr) b->sibling = b->before = nullptr;
    timer* const pair = merge(a, b);
    pair->sibling = pairs;
    pairs = pair;
  }
  timer* all = nullptr;
  while (pairs != nullptr) {
    timer* const next = pairs->sibling;
    pairs->sibling = nullptr;
    all = merge(all, pairs);
    pairs = next;
  }
  return all;
}

void timer_heap::add(timer& t) noexcept {
  t.child = t.sibling = t.before = nullptr;
  t.in_heap = true;
  root_ = merge(root_, &t);
}

void timer_heap::remove(timer& t) noexcept {
  t.in_heap = false;
  timer* const children = merge_siblings(t.child);
  t.child = nullptr;
  if (root_ == &t) {
    root_ = children;
    return;
  }
  if (t.before->child == &t) {
    t.before->child = t.sibling;
  } else {
    t.before->sibling = t.sibling;
  }
  if (t.sibling != nullptr) t.sibling->before = t.before;
  t.sibling = t.before = nullptr;
  root_ = merge(root_, children);
}

void timer_heap::clear() noexcept {
  while (root_ != nullptr) remove(*root_);
}

}  // namespace quoit::inline v1::detail
