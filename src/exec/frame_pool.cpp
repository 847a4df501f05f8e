#include "quoit/detail/exec/promise.hpp"

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>

namespace quoit::inline v1::detail {

namespace {

constexpr std::size_t step = 64;
constexpr std::size_t classes = 32;  // frames of up to 2 KiB; larger ones are rare
#if defined(__SANITIZE_ADDRESS__)
#define QUOIT_FRAMES_ARE_WATCHED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define QUOIT_FRAMES_ARE_WATCHED
#endif
#endif
#if defined(QUOIT_FRAMES_ARE_WATCHED)
constexpr std::size_t kept_max = 0;  // a frame that is used after its end is to be noticed
#else
constexpr std::size_t kept_max = 64;  // of each size: what a burst leaves beyond that is given back
#endif

struct free_frame_node {
  free_frame_node* next;
};

struct size_class {
  free_frame_node* first = nullptr;
  std::size_t count = 0;
};

struct pool {
  std::array<size_class, classes> sizes;
  ~pool() {
    for (size_class& s : sizes) {
      while (s.first != nullptr) ::operator delete(std::exchange(s.first, s.first->next));
      // Whoever frees after this, in the destructor of something static, frees for good.
      s.count = kept_max;
    }
  }
};

thread_local pool frames;

std::size_t class_of(std::size_t bytes) noexcept { return (bytes + step - 1) / step; }

// The frame that was allocated last, and is without a promise as yet.
thread_local std::uintptr_t newest_frame = 0;
thread_local std::size_t newest_bytes = 0;

void* take_frame(std::size_t bytes) {
  const std::size_t c = class_of(bytes);
  if (c >= classes) return ::operator new(bytes);
  size_class& s = frames.sizes[c];
  if (s.first == nullptr) return ::operator new(c * step);
  --s.count;
  return std::exchange(s.first, s.first->next);
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
  void* const frame = take_frame(bytes);
  newest_frame = reinterpret_cast<std::uintptr_t>(frame);
  newest_bytes = bytes;
  return frame;
}

void free_frame(void* frame, std::size_t bytes) noexcept {
  const std::size_t c = class_of(bytes);
  if (c >= classes) return ::operator delete(frame);
  size_class& s = frames.sizes[c];
  if (s.count >= kept_max) return ::operator delete(frame);
  ++s.count;
  s.first = new (frame) free_frame_node{s.first};
}

void check_frame_of(const void* promise) noexcept {
  // The addresses of two functions come first, and then the promise. Where a parameter made a coroutine of its own when
  // it was copied into the frame, that one's frame is the newest and this one is not looked at.
  const std::uintptr_t distance = reinterpret_cast<std::uintptr_t>(promise) - newest_frame;
  if (distance == 2 * sizeof(void*) || distance >= newest_bytes) return;
  std::fputs(
      "quoit: this compiler has laid out the frame of a coroutine wrong. GCC 12 does that where `if (co_await ...)` "
      "or\n"
      "`while (co_await ...)` comes before any local variable. Write `const auto x = co_await ...; if (x)` instead.\n"
      "The stack shows which coroutine it is.\n",
      stderr);
  std::abort();
}

}  // namespace quoit::inline v1::detail
