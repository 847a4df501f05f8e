// The only way in which quoit touches words that another process can see.
//
// Shared structures are plain integers reached through std::atomic_ref: a std::atomic object has no legal
// lifetime in memory that another process made. Each call site names its partner with a sync(tag) comment.
//
// A model checker replaces these functions: with QUOIT_MODEL defined, they are declared here and defined by
// tests/model, on the unchanged sources that call them. There, QUOIT_RULE(name) switches one rule of the
// protocol off, to show that the rule is needed; everywhere else it is nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "quoit/detail/language.hpp"

#if defined(__SANITIZE_THREAD__)
#define QUOIT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUOIT_TSAN 1
#endif
#endif

namespace quoit::inline v1::detail {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

// Words of different writers are kept this far apart: two cache lines, since processors fetch lines in pairs.
inline constexpr std::size_t line_pair_bytes = 128;

static_assert(std::atomic_ref<u64>::is_always_lock_free && std::atomic_ref<u32>::is_always_lock_free);
static_assert(std::atomic_ref<u64>::required_alignment == 8 && std::atomic_ref<u32>::required_alignment == 4);

#if defined(QUOIT_MODEL)

u64 load_relaxed(const u64& word);
u64 load_acquire(const u64& word);
void store_relaxed(u64& word, u64 value);
void store_release(u64& word, u64 value);
u64 exchange(u64& word, u64 value);
u64 fetch_or(u64& word, u64 bits);
u64 fetch_and(u64& word, u64 bits);
void full_fence();
bool model_rule(const char* name);
#define QUOIT_RULE(name) if (::quoit::detail::model_rule(#name))
#define QUOIT_RULE_ON(name) (::quoit::detail::model_rule(#name))

// The other widths are not used by the modelled parts.
u32 load_relaxed(const u32& word);
u32 load_acquire(const u32& word);
void store_relaxed(u32& word, u32 value);
void store_release(u32& word, u32 value);
u32 exchange(u32& word, u32 value);
u32 fetch_add(u32& word, u32 value);

#else

#define QUOIT_RULE(name)
#define QUOIT_RULE_ON(name) true

// C++20 has no atomic_ref<const T>: the cast adds no write, a load on a read-only page is a plain load.
template <class Word>
[[gnu::always_inline]] inline Word load_relaxed(const Word& word) noexcept {
  return std::atomic_ref<Word>(const_cast<Word&>(word)).load(std::memory_order_relaxed);
}
template <class Word>
[[gnu::always_inline]] inline Word load_acquire(const Word& word) noexcept {
  return std::atomic_ref<Word>(const_cast<Word&>(word)).load(std::memory_order_acquire);
}
template <class Word>
[[gnu::always_inline]] inline void store_relaxed(Word& word, std::type_identity_t<Word> value) noexcept {
  std::atomic_ref<Word>(word).store(value, std::memory_order_relaxed);
}
template <class Word>
[[gnu::always_inline]] inline void store_release(Word& word, std::type_identity_t<Word> value) noexcept {
  std::atomic_ref<Word>(word).store(value, std::memory_order_release);
}
template <class Word>
[[gnu::always_inline]] inline Word exchange(Word& word, std::type_identity_t<Word> value) noexcept {
  return std::atomic_ref<Word>(word).exchange(value, std::memory_order_acq_rel);
}
template <class Word>
[[gnu::always_inline]] inline Word fetch_or(Word& word, std::type_identity_t<Word> bits) noexcept {
  return std::atomic_ref<Word>(word).fetch_or(bits, std::memory_order_acq_rel);
}
template <class Word>
[[gnu::always_inline]] inline Word fetch_and(Word& word, std::type_identity_t<Word> bits) noexcept {
  return std::atomic_ref<Word>(word).fetch_and(bits, std::memory_order_acq_rel);
}
template <class Word>
[[gnu::always_inline]] inline Word fetch_add(Word& word, std::type_identity_t<Word> value) noexcept {
  return std::atomic_ref<Word>(word).fetch_add(value, std::memory_order_acq_rel);
}

#if defined(QUOIT_TSAN)
inline u64 fence_word_for_tsan = 0;
#endif

// Orders everything before it against everything after it, stores before loads included.
//
// On x86-64 a locked read-modify-write of the stack: 2 ns, where the mfence that Clang emits for
// atomic_thread_fence(seq_cst) takes 16. ThreadSanitizer does not know fences: there it is a
// read-modify-write on one word, which it does.
[[gnu::always_inline]] inline void full_fence() noexcept {
#if defined(QUOIT_TSAN)
  std::atomic_ref<u64>(fence_word_for_tsan).fetch_add(1, std::memory_order_seq_cst);
#elif defined(__x86_64__)
  __asm__ __volatile__("lock; orl $0, (%%rsp)" ::: "memory", "cc");
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

#endif

// Tells the processor that this is a spin loop.
[[gnu::always_inline]] inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory");
#endif
}

}  // namespace quoit::inline v1::detail
