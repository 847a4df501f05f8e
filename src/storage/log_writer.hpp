// A lane on disk that is open for writing: its lock, its appender, and who makes segments and writes them back.
#pragma once

#include <cstdint>
#include <optional>

#include "quoit/detail/fork_epoch.hpp"
#include "storage/log_lane.hpp"
#include "storage/recovery.hpp"
#include "storage/segment_keeper.hpp"

namespace quoit::inline v1::detail {

struct log_writer_options {
  std::string directory;
  std::string topic;
  std::string name = "0";
  segment_kind kind;  // ids and the topic's name are filled in
  log_durability durability = log_durability::os;
  std::chrono::nanoseconds interval = std::chrono::milliseconds(10);
  retention_limits retention;
  u32 claims_max = 8;
  bool own_thread = true;  // false: the caller runs keeper().work()
  // True: what opening made is removed again with the writer, unless keep() was called.
  bool provisional = false;
  storage_calls calls = storage_calls::of_system();
  u64 sequences_reserved = sequences_reserved_at_once;
};

// Thread safety: the appender and flush() belong to one thread; what the keeper says may be asked by any.
class log_writer {
 public:
  // Recovers what is there, and goes on at its end.
  // Errors: busy (words name the holder), invalid_name, invalid_argument, type_mismatch, no_permission, no_space,
  // corrupt, newer_version, system.
  static result<std::unique_ptr<log_writer>> open(log_writer_options options);
  ~log_writer();
  log_writer(const log_writer&) = delete;
  log_writer& operator=(const log_writer&) = delete;

  // The lane stays. Before anything is published.
  void keep() noexcept { made_.keep(); }

  segment_appender& appender() noexcept { return *appender_; }
  segment_keeper& keeper() noexcept { return *keeper_; }
  const recovery_report& report() const noexcept { return report_; }
  const std::string& directory() const noexcept { return lane_.where.path(); }
  const u64* lane_id() const noexcept { return lane_.header().lane_id; }

  // Waits until everything that was committed is on the disk. With a timeout of ten seconds or more the calling thread
  // writes it back itself, and a disk that does not answer can keep it longer.
  // Errors: timed_out; system (it could not be written back: what is not durable now may never be, and what is
  // published from now on goes to another segment).
  result<void> flush(std::chrono::nanoseconds timeout);

 private:
  log_writer() = default;
  void give_up_new_lane() noexcept;

  log_lane lane_;
  made_names made_;  // removed before the lane's lock goes
  recovery_report report_;
  std::unique_ptr<segment_keeper> keeper_;
  std::unique_ptr<segment_appender> appender_;
  std::optional<keeper_thread> thread_;
  log_durability durability_ = log_durability::os;
  storage_calls calls_ = storage_calls::of_system();
  u64 flushed_ = 0;  // what the last flush that was over spoke of
  std::uint32_t epoch_ = fork_epoch;
};

}  // namespace quoit::inline v1::detail
