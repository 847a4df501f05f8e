// A lane on memory of the test's own: what a publisher and its subscribers see, without files or processes.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string>

#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "ring/geometry.hpp"

namespace quoit::test {

using namespace quoit::detail;

inline lane_request small_lane() {
  lane_request r{};
  r.capacity_bytes = 2048;
  r.payload_bytes_max = 56;
  r.payload_alignment = 8;
  r.frame_alignment = 8;
  r.strides = 8;
  r.subscriptions = 4;
  r.lossy_allowed = true;
  r.reliable_allowed = true;
  return r;
}

// Zeroed memory that begins at a page.
class pages {
 public:
  explicit pages(std::size_t bytes)
      : bytes_(align_up(bytes, 4096)), base_(new(std::align_val_t(4096)) std::byte[bytes_]()) {}
  std::byte* data() const { return base_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct free_pages {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t(4096)); }
  };
  std::size_t bytes_;
  std::unique_ptr<std::byte[], free_pages> base_;
};

class lane {
 public:
  explicit lane(const lane_request& request = small_lane())
      : geometry(make_geometry(request).value()),
        data_(geometry.data_file_bytes()),
        slots_(slots_bytes(geometry.subscriptions)) {
    write_geometry(geometry, head(), slots());
  }
  // A copy of the memory: the moment at which its publisher died.
  lane(const lane& other) : geometry(other.geometry), data_(other.data_.bytes()), slots_(other.slots_.bytes()) {
    std::memcpy(data_.data(), other.data_.data(), data_.bytes());
    std::memcpy(slots_.data(), other.slots_.data(), slots_.bytes());
  }

  lane_header& head() const { return *reinterpret_cast<lane_header*>(data_.data()); }
  lane_slots& slots() const { return *reinterpret_cast<lane_slots*>(slots_.data()); }
  lane_memory memory() const { return {&head(), &slots(), data_.data() + geometry.data_offset()}; }
  std::size_t data_bytes() const { return data_.bytes(); }
  std::size_t slots_file_bytes() const { return slots_.bytes(); }

  std::unique_ptr<lane_writer> writer(u32 claims_max = 8) const {
    return std::make_unique<lane_writer>(memory(), geometry, claims_max);
  }
  std::unique_ptr<lane_writer> heir(u32 claims_max = 8) const {
    auto w = std::make_unique<lane_writer>(lane_writer::adopt_tag{}, memory(), geometry, claims_max);
    return w->adopt() ? std::move(w) : nullptr;
  }
  // Attached, and not started.
  std::unique_ptr<lane_reader> reader(lane_reader::reading how, u32 slot = 0, u32 held_max = 4) const {
    return std::make_unique<lane_reader>(memory(), geometry, slot, how, held_max, lane_poke{});
  }
  std::unique_ptr<lane_reader> reliable(u32 slot = 0, u32 held_max = 4) const {
    slots().reliable_active[slot / 64] |= u64{1} << (slot % 64);
    auto r = reader(lane_reader::reading::reliable, slot, held_max);
    r->start_at_first();
    return r;
  }
  std::unique_ptr<lane_reader> lossy(u32 slot = 0, u32 held_max = 4) const {
    auto r = reader(lane_reader::reading::lossy, slot, held_max);
    r->start_at_first();
    return r;
  }

  const lane_geometry geometry;

 private:
  pages data_;
  pages slots_;
};

// Messages are a number, repeated.
inline void fill(const lane_claim& claim, u64 number) {
  for (u32 at = 0; at + 8 <= claim.payload_bytes; at += 8) std::memcpy(claim.payload + at, &number, 8);
}
inline claim_status publish(lane_writer& w, u64 number, u32 bytes = 56) {
  lane_claim claim;
  const claim_status status = w.claim(bytes, claim);
  if (status != claim_status::ok) return status;
  fill(claim, number);
  w.commit(claim, bytes);
  return status;
}
inline u64 number_of(const lane_frame& frame) {
  u64 number = 0;
  std::memcpy(&number, frame.payload, 8);
  for (u32 at = 0; at + 8 <= frame.payload_bytes; at += 8) {
    if (std::memcmp(frame.payload + at, &number, 8) != 0) return ~u64{0};
  }
  return number;
}
// The next message's number; nothing if there is none.
inline std::optional<u64> next(lane_reader& r) {
  lane_frame frame;
  if (r.take(frame) != take_status::message) return std::nullopt;
  const u64 number = number_of(frame);
  r.release(frame);
  return number;
}

}  // namespace quoit::test
