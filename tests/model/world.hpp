// The memory of a small lane as relacy sees it, behind the functions that detail/atomic.hpp declares under QUOIT_MODEL.
//
// The real sources run on real addresses; each word that processes share has an rl::atomic beside it, found by its
// address, and each word of the ring also an rl::var, which finds data races: a header or a payload that is stored
// while somebody reads the payload that was there. Payload words are seen by loads of headers too, as what they are: a
// header must never be looked for where an earlier lap's payload lies.
//
// A writer dies by going on as a ghost: from some access on nothing it does has an effect.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/lane_writer.hpp"

#include <relacy/relacy.hpp>
// Relacy takes these words from everybody; we want them back.
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno

namespace model {

using namespace quoit::detail;

// What is left out in this run, several with '+' between them; empty: nothing.
inline std::string rule_off;
inline bool on(const char* name) {
  const std::size_t length = std::strlen(name);
  for (const char* at = rule_off.c_str(); (at = std::strstr(at, name)) != nullptr; at += length) {
    const bool begins = at == rule_off.c_str() || at[-1] == '+';
    if (begins && (at[length] == '\0' || at[length] == '+')) return false;
  }
  return true;
}

inline constexpr std::uint32_t slots_count = 3;

struct shape {
  std::uint32_t strides;
  std::uint64_t stride_bytes;
  std::uint32_t payload_bytes_max;
  bool reliable;
};

inline lane_geometry geometry_of(const shape& s) {
  lane_geometry g{};
  g.strides = s.strides;
  g.stride_bytes = s.stride_bytes;
  g.stride_shift = static_cast<std::uint32_t>(__builtin_ctzll(s.stride_bytes));
  g.ring_bytes = s.stride_bytes * s.strides;
  g.alignment = 8;
  g.payload_alignment = 8;
  g.payload_bytes_max = s.payload_bytes_max;
  g.frame_bytes_max = static_cast<std::uint32_t>(g.extent(s.payload_bytes_max));
  g.subscriptions = slots_count;
  g.lossy_allowed = true;
  g.reliable_allowed = s.reliable;
  return g;
}

class world {
 public:
  static constexpr std::size_t ring_words_max = 32;
  static constexpr std::size_t strides_modelled = 8;

  explicit world(const lane_geometry& g) : geometry(g) {
    raw.reset(new (std::align_val_t(4096)) unsigned char[memory_bytes]());
    memory.head = new (raw.get()) lane_header{};
    memory.slot_table = reinterpret_cast<lane_slots*>(raw.get() + 8192);
    memory.data = reinterpret_cast<std::byte*>(raw.get() + 4096);
  }

  // The atomic beside a word; none for counters, which nothing depends on.
  rl::atomic<u64>* find(const void* address) {
    const auto* const p = static_cast<const unsigned char*>(address);
    const auto* const ring = reinterpret_cast<const unsigned char*>(memory.data);
    if (p >= ring && p < ring + geometry.ring_bytes) return &ring_words[static_cast<std::size_t>(p - ring) / 8];
    if (address == &memory.head->reserved) return &reserved;
    if (address == &memory.head->committed) return &committed;
    for (std::size_t i = 0; i < geometry.strides; ++i) {
      const lane_checkpoint& c = memory.head->checkpoints[i];
      if (address == &c.sequence) return &checkpoint[i][0];
      if (address == &c.voids) return &checkpoint[i][1];
      if (address == &c.position) return &checkpoint[i][2];
    }
    if (address == &memory.slot_table->state) return &state;
    if (address == &memory.slot_table->waiting) return &waiting;
    if (address == &memory.slot_table->reliable_active[0]) return &reliable_active;
    if (address == &memory.slot_table->lossy_active[0]) return &lossy_active;
    for (std::size_t i = 0; i < slots_count; ++i) {
      if (address == &memory.slot_table->slot[i].place) return &place[i];
    }
    return nullptr;
  }
  bool in_ring(const void* address) const {
    const auto* const p = static_cast<const std::byte*>(address);
    return p >= memory.data && p < memory.data + geometry.ring_bytes;
  }
  bool is_place(const void* address) const {
    for (std::size_t i = 0; i < slots_count; ++i) {
      if (address == &memory.slot_table->slot[i].place) return true;
    }
    return false;
  }
  bool is_checkpoint(const void* address) const {
    const auto* const p = static_cast<const unsigned char*>(address);
    const auto* const table = reinterpret_cast<const unsigned char*>(memory.head->checkpoints);
    return p >= table && p < table + sizeof memory.head->checkpoints;
  }
  rl::var<u64>& payload_var(const void* address) {
    return payload[static_cast<std::size_t>(static_cast<const std::byte*>(address) - memory.data) / 8];
  }

  // Every word as its maker left it: zero.
  void initialise() {
    for (auto& w : ring_words) w.store(0, rl::mo_relaxed, $);
    for (auto& v : payload) v($) = 0;
    for (auto& c : checkpoint) {
      for (auto& w : c) w.store(0, rl::mo_relaxed, $);
    }
    for (auto& p : place) p.store(0, rl::mo_relaxed, $);
    for (auto* w : {&reserved, &committed, &state, &waiting, &reliable_active, &lossy_active}) {
      w->store(0, rl::mo_relaxed, $);
    }
  }

  // The publisher's death: counted down by its accesses.
  void access() {
    if (rl::thread_index() != writer_thread || accesses_to_live == 0) return;
    if (--accesses_to_live == 0) dead = true;
  }
  bool ghost() const { return dead && rl::thread_index() == writer_thread; }

  lane_geometry geometry;
  lane_memory memory{};
  unsigned writer_thread = 0;
  unsigned accesses_to_live = 0;  // 0: for ever
  bool dead = false;
  u64 committed_sequences = 0;  // bit i: message i was made visible

  rl::atomic<u64> ring_words[ring_words_max];
  rl::var<u64> payload[ring_words_max];
  rl::atomic<u64> checkpoint[strides_modelled][3];
  rl::atomic<u64> place[slots_count];
  rl::atomic<u64> reserved, committed, state, waiting, reliable_active, lossy_active;

 private:
  static constexpr std::size_t memory_bytes = 8192 + 4096;
  struct aligned_delete {
    void operator()(unsigned char* p) const { ::operator delete[](p, std::align_val_t(4096)); }
  };
  std::unique_ptr<unsigned char[], aligned_delete> raw;
};

inline world* here = nullptr;

inline u64 load(const u64& word, bool acquire) {
  rl::atomic<u64>* const atomic = here->find(&word);
  if (atomic == nullptr) return 0;
  here->access();
  return atomic->load(acquire ? rl::mo_acquire : rl::mo_relaxed, $);
}

inline void store(u64& word, u64 value, bool release) {
  rl::atomic<u64>* const atomic = here->find(&word);
  if (atomic == nullptr) return;
  here->access();
  if (here->ghost()) return;
  if (here->in_ring(&word)) {
    here->payload_var (&word)($) = value;
    const frame_header h{value};
    if (release && h.is(frame_kind::message)) here->committed_sequences |= u64{1} << h.sequence_low();
  }
  atomic->store(value, release ? rl::mo_release : rl::mo_relaxed, $);
}

// What a publisher writes into a loan, and a subscriber reads from a sample.
inline void write_payload(std::byte* at, u64 value) {
  here->access();
  if (here->ghost()) return;
  here->payload_var(at)($) = value;
  here->find(at)->store(value, rl::mo_relaxed, $);
}
inline u64 read_payload(const std::byte* at) { return here->payload_var(at)($); }

}  // namespace model

#if !defined(QUOIT_MODEL_OWN_WORDS)
namespace quoit::inline v1::detail {

// Orders are rules too: each can be left out for one kind of word.
u64 load_relaxed(const u64& word) { return model::load(word, false); }
u64 load_acquire(const u64& word) {
  const bool weak = (model::here->in_ring(&word) && !model::on("order_commit_acquire")) ||
                    (model::here->is_place(&word) && !model::on("order_slot_acquire")) ||
                    (model::here->is_checkpoint(&word) && !model::on("order_checkpoint_acquire"));
  return model::load(word, !weak);
}
void store_relaxed(u64& word, u64 value) { model::store(word, value, false); }
void store_release(u64& word, u64 value) {
  const bool weak = (model::here->in_ring(&word) && !model::on("order_commit_release")) ||
                    (model::here->is_place(&word) && !model::on("order_slot_release")) ||
                    (model::here->is_checkpoint(&word) && !model::on("order_checkpoint_release"));
  model::store(word, value, !weak);
}
u64 exchange(u64& word, u64 value) {
  model::here->access();
  if (model::here->ghost()) return 0;
  return model::here->find(&word)->exchange(value, rl::mo_acq_rel, $);
}
u64 fetch_or(u64& word, u64 bits) {
  model::here->access();
  rl::atomic<u64>& atomic = *model::here->find(&word);
  u64 seen = atomic.load(rl::mo_relaxed, $);
  while (!atomic.compare_exchange_strong(seen, seen | bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
u64 fetch_and(u64& word, u64 bits) {
  model::here->access();
  rl::atomic<u64>& atomic = *model::here->find(&word);
  u64 seen = atomic.load(rl::mo_relaxed, $);
  while (!atomic.compare_exchange_strong(seen, seen & bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
void full_fence() {
  model::here->access();
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
}

}  // namespace quoit::inline v1::detail
#endif

namespace quoit::inline v1::detail {
bool model_rule(const char* name) { return model::on(name); }
}  // namespace quoit::inline v1::detail
