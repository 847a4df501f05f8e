#include "mem/segment_store.hpp"
#include "quoit/detail/atomic.hpp"
#include "quoit/detail/memory_layout.hpp"

namespace quoit::inline v1::detail {

namespace {

class shm_directory_store final : public segment_store {
 public:
  result<segment> make(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose,
                       segment_content /*what*/) override {
    auto file = make_shm(prefix, bytes, purpose);
    if (!file) return tl::unexpected(std::move(file.error()));
    return segment{segment_locks(std::move(file->descriptor)), std::move(file->memory), std::move(file->name), 0, 0};
  }
  result<bool> place(segment& made, const std::string& name, const shm_permissions& permissions) override {
    auto placed = place_shm(made.locks.fd(), made.name, name, permissions);
    if (placed && *placed) made.name = name;
    return placed;
  }
  void discard(const segment& made) noexcept override { unlink_shm(made.name); }

  result<segment_locks> open_locks(const std::string& name, access how) override {
    auto file = open_shm_for_locks(name, how);
    if (!file) return tl::unexpected(std::move(file.error()));
    return segment_locks(std::move(*file));
  }
  result<mapping> map(const std::string& name, access how) override {
    auto file = open_shm(name, how);
    if (!file) return tl::unexpected(std::move(file.error()));
    const std::uint64_t bytes = file_bytes(file->get());
    if (bytes == 0) return mapping();
    return map_file(file->get(), bytes, how, name.c_str());
  }

  void remove(const std::string& name) noexcept override { unlink_shm(name); }
  void remove_abandoned(const std::string& prefix) override {
    const auto names = list_shm(prefix);
    if (!names) return;
    for (const std::string& name : *names) remove_if_abandoned(name);
  }
  result<std::vector<std::string>> list(const std::string& prefix) override { return list_shm(prefix); }
  std::string path(const std::string& name) const override { return shm_path(name); }
};

}  // namespace

const std::shared_ptr<segment_store>& shm_store() {
  // Never destroyed: a bus of a static object may be closed after every destructor of ours ran.
  static const auto* const store = new std::shared_ptr<segment_store>(std::make_shared<shm_directory_store>());
  return *store;
}

namespace {

// Made when the library is loaded: a child of a fork in the middle of the first use would wait for its end for ever.
[[maybe_unused]] const auto& made_when_loaded = shm_store();

}  // namespace

bool segment_locks::removed() const noexcept {
  if (word_ == nullptr) return is_unlinked(descriptor_.get());
  // sync(memory.object): the use that we hold keeps the entry from another life
  const u64 now = load_acquire(*word_);
  return generation_of(now) != generation_ || state_of(now) == object_state::removed ||
         state_of(now) == object_state::free;
}

}  // namespace quoit::inline v1::detail
