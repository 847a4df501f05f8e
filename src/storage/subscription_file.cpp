#include "storage/subscription_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/allocate.hpp"
#include "base/file_lock.hpp"
#include "base/file_size_limit.hpp"
#include "base/random.hpp"
#include "base/segment_prefix.hpp"
#include "storage/allocation.hpp"
#include "storage/kept_reader.hpp"
#include "storage/lane_header.hpp"
#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr off_t holder_lock_byte = off_t{1} << 40;
constexpr const char* folder_name = ".subscriptions";
constexpr int file_openings_max = 100;

error file_failed(const std::string& doing, const std::string& path, int why) {
  if (why == EFBIG) return file_size_limit_reached(doing + " " + path, subscription_file_bytes);
  if (why == EOPNOTSUPP) return error(errc::invalid_argument, doing + " " + path, 0, why);
  if (why == ENOSPC || why == EDQUOT) return error(errc::no_space, doing + " " + path, subscription_file_bytes, why);
  return storage_call_failed(doing, path, why);
}

u64 marked(u32 crc) noexcept { return u64{crc} | u64{1} << 32; }

u64 header_check(const subscription_header& header) noexcept {
  const auto* const bytes = reinterpret_cast<const std::byte*>(&header);
  return marked(crc32c_words(~u32{0}, bytes, offsetof(subscription_header, check)));
}

u64 lane_check(const remembered_lane& lane, u32 salt) noexcept {
  const auto* const bytes = reinterpret_cast<const std::byte*>(&lane);
  return marked(crc32c_words(salt, bytes, offsetof(remembered_lane, check)));
}

u32 check_words(u32 crc, const std::vector<u64>& words) noexcept {
  return crc32c_words(crc, reinterpret_cast<const std::byte*>(words.data()), words.size() * sizeof(u64));
}

u64 commit_check(u64 commit, const std::vector<u64>& sequences, const std::vector<u64>& lane_checks,
                 u32 salt) noexcept {
  const u64 words[2] = {commit, sequences.size()};
  const u32 crc = crc32c_words(salt, reinterpret_cast<const std::byte*>(words), sizeof words);
  return marked(check_words(check_words(crc, sequences), lane_checks));
}

// The file, whole, under its name. The description holds its lock, from before that; none: another process was first,
// and its file is as good.
result<guarded_fd> make_file(const directory_handle& where, const std::string& name) {
  const auto random = random_id();
  char temporary[48];
  std::snprintf(temporary, sizeof temporary, ".making-%016llx", static_cast<unsigned long long>(random[0]));
  alignas(line_pair_bytes) std::byte page[subscription_header_bytes]{};
  auto& head = *new (page) subscription_header{};
  head.prefix = prefix_of_now(subscription_magic, subscription_header_bytes, sizeof(remembered_lane),
                              remembered_lanes_max, subscription_file_bytes);
  head.salt = static_cast<u32>(random[1]) | 1;
  head.slot_count = commit_slots;
  head.check = header_check(head);
  int why = 0;
  guarded_fd file = guarded_fd::opened_by([&] {
    fd made = where.open_file(temporary, O_RDWR | O_CREAT | O_EXCL, 0660);
    if (!made) why = errno;
    return made;
  });
  if (!file) return tl::unexpected(file_failed("creating", where.path_of(temporary), why));
  // Nobody else has it yet.
  if (try_lock(file.get(), holder_lock_byte) != lock_status::taken) why = errno;
  // Allocated: without that a full disk would be a SIGBUS at some commit.
  if (why == 0) why = allocate_range(file.get(), 0, subscription_file_bytes);
  if (why == 0) why = write_whole(file.get(), page, sizeof page);
  if (why == 0 && ::fsync(file.get()) != 0) why = errno;
  const bool is_first = why == 0 && where.rename(temporary, name);
  if (why == 0 && !is_first && errno != EEXIST) why = errno;
  where.remove(temporary);
  if (why != 0) return tl::unexpected(file_failed("making", where.path_of(name), why));
  where.synchronize();
  if (!is_first) file.reset();
  return file;
}

}  // namespace

result<std::unique_ptr<subscription_file>> subscription_file::open(const std::string& root, const std::string& topic,
                                                                   const std::string& name, made_names* made) {
  if (!check_lane_name(name)) {
    return tl::unexpected(error(
        errc::invalid_name, "a subscription is named by 1 to 64 of [A-Za-z0-9_.-], and not with a dot first: " + name));
  }
  for (int n = 0; n < file_openings_max; ++n) {
    const auto of_topic = open_topic_directory(root, topic);
    if (!of_topic) return tl::unexpected(of_topic.error());
    auto opened = open_in(*of_topic, name, made);
    // A lock on a file that has another name by now keeps nobody away from this one.
    if (!opened || leads_to((*opened)->path_, (*opened)->identity_)) return opened;
  }
  return tl::unexpected(error(errc::not_found, lane_directory(root, topic, folder_name) + "/" + name +
                                                   ": is renamed or removed again and again"));
}

result<std::unique_ptr<subscription_file>> subscription_file::open_in(const directory_handle& topic,
                                                                      const std::string& name, made_names* made) {
  const auto folder = topic.make_directory(folder_name, made);
  if (!folder) return tl::unexpected(folder.error());
  std::unique_ptr<subscription_file> self(new subscription_file());
  self->path_ = absolute_path(folder->path_of(name));
  const char* const path = self->path_.c_str();
  struct stat there{};
  // Removed while the lock is held, if anything fails from here on.
  made_names of_file;
  if (!folder->find(name, there)) {
    auto first = make_file(*folder, name);
    if (!first) return tl::unexpected(std::move(first.error()));
    self->lock_ = std::move(*first);
    if (self->lock_) of_file.add_file(*folder, name);
  }
  self->file_ = folder->open_file(name, O_RDWR);
  if (!self->file_) return tl::unexpected(file_failed("opening", self->path_, errno));
  struct stat status{};
  if (::fstat(self->file_.get(), &status) != 0) return tl::unexpected(file_failed("fstat of", self->path_, errno));
  if (status.st_size < static_cast<off_t>(subscription_file_bytes)) {
    return tl::unexpected(error(errc::corrupt, self->path_ + ": cut short: " + std::to_string(status.st_size) +
                                                   " bytes; remove it, and the subscription begins anew"));
  }
  int why = 0;
  if (!self->lock_) {
    self->lock_ = guarded_fd::opened_by([&] {
      fd lock = folder->open_file(name, O_RDWR);
      if (!lock) why = errno;
      return lock;
    });
  }
  if (!self->lock_) return tl::unexpected(file_failed("opening", self->path_, why));
  self->identity_ = file_identity::of(status);
  if (::fstat(self->lock_.get(), &status) != 0) return tl::unexpected(file_failed("fstat of", self->path_, errno));
  if (self->identity_ != file_identity::of(status)) {
    return tl::unexpected(error(errc::busy, self->path_ + " is being replaced: try again"));
  }
  const lock_status locked = try_lock(self->lock_.get(), holder_lock_byte);
  if (locked == lock_status::failed) return tl::unexpected(file_failed("locking", self->path_, errno));
  if (auto filled = fill_holes(*folder, self->file_.get(), self->path_, subscription_file_bytes); !filled) {
    return tl::unexpected(std::move(filled.error()));
  }
  {
    // A forked child that could store here would be a second holder: none comes between the two calls.
    const guarded_fd::fork_pause pause;
    auto memory = map_file(self->file_.get(), subscription_file_bytes, access::read_write, path);
    if (!memory) return tl::unexpected(std::move(memory.error()));
    self->memory_ = std::move(*memory);
    if (::madvise(self->memory_.data(), self->memory_.bytes(), MADV_DONTFORK) != 0) {
      return tl::unexpected(file_failed("MADV_DONTFORK of", self->path_, errno));
    }
    self->memory_.stay_behind_in_parent();
  }
  if (locked == lock_status::held_by_other) {
    return tl::unexpected(error(errc::busy, self->path_ + " is held by process " +
                                                // relaxed: for people
                                                std::to_string(load_relaxed(self->header().holder_pid)) +
                                                ": a named subscription has one holder at a time"));
  }
  store_relaxed(self->header().holder_pid, static_cast<u64>(::getpid()));  // relaxed: for people
  if (auto read = self->read(); !read) return tl::unexpected(std::move(read.error()));
  if (!of_file.empty() && made != nullptr) made->add_file(*folder, name);
  of_file.keep();
  return self;
}

// ---- reading -------------------------------------------------------------------------------------------

bool subscription_file::read_lane(u32 i, cursor::place& out, u64& check) const {
  const remembered_lane& shared = entry(i);
  remembered_lane lane;
  // sync(subscription.lane): a lane is whole for whoever reads its check
  check = load_acquire(shared.check);
  std::memcpy(&lane, &shared, sizeof lane);
  if (check != lane_check(lane, salt_)) return false;
  out.publisher.assign(lane.name, ::strnlen(lane.name, sizeof lane.name));
  out.lane = lane.lane_id[0];
  return check_lane_name(out.publisher).has_value();
}

bool subscription_file::read_slot(u32 i, std::vector<cursor::place>& out, u64& commit, std::vector<u64>& checks) const {
  const commit_slot& shared = slot(i);
  // sync(subscription.commit): what a commit says is whole for whoever reads its check
  const u64 check = load_acquire(shared.check);
  commit = shared.commit;
  const u64 lanes = shared.lanes;
  if (check == 0 || commit == 0 || lanes > remembered_lanes_max) return false;
  const std::vector<u64> sequences(shared.sequence, shared.sequence + lanes);
  out.resize(lanes);
  checks.resize(lanes);
  for (u32 at = 0; at < lanes; ++at) {
    if (!read_lane(at, out[at], checks[at])) return false;
    out[at].sequence = sequences[at];
  }
  return check == commit_check(commit, sequences, checks, salt_);
}

result<void> subscription_file::read() {
  const subscription_header& head = header();
  const std::string advice = "; remove it, and the subscription begins anew";
  if (head.prefix.magic != subscription_magic) {
    return tl::unexpected(
        error(errc::corrupt, path_ + ": not a subscription of quoit (another magic); another name is free"));
  }
  if (head.prefix.layout_major != layout_major || head.prefix.required_features != 0) {
    return tl::unexpected(error(errc::newer_version, path_ + ": made by a version of another layout (" +
                                                         std::to_string(head.prefix.layout_major) +
                                                         "); this one knows " + std::to_string(layout_major)));
  }
  if (head.check != header_check(head) || head.prefix.entry_count != remembered_lanes_max ||
      head.prefix.entry_bytes != sizeof(remembered_lane) || head.slot_count != commit_slots || head.salt == 0) {
    return tl::unexpected(error(errc::corrupt, path_ + ": its header is wrong" + advice));
  }
  salt_ = head.salt;
  std::vector<cursor::place> best;
  u64 said[commit_slots] = {};
  for (u32 i = 0; i < commit_slots; ++i) {
    std::vector<cursor::place> places;
    std::vector<u64> checks;
    u64 commit = 0;
    const bool whole = read_slot(i, places, commit, checks);
    if (!whole) said[i] = commit;
    if (!whole || commit <= commit_) continue;
    commit_ = commit;
    best = std::move(places);
    lane_checks_ = std::move(checks);
    found_in_anchor_ = i == anchor_slot;
  }
  if (commit_ == 0) {
    const auto never_written = [&](u32 i) { return slot(i).commit == 0 && slot(i).lanes == 0 && slot(i).check == 0; };
    // Whoever made it died before it was anywhere.
    if (never_written(0) && never_written(1)) return {};
    return tl::unexpected(error(errc::corrupt, path_ + ": none of its commits is whole" + advice));
  }
  // A slot that is not whole because a lane of it is not would be whole once that lane is in the table again.
  for (u32 i = 0; i < commit_slots; ++i) {
    // sync(subscription.commit): never whole again, until it is written
    if (said[i] > commit_) store_release(slot(i).check, u64{0});
  }
  found_.emplace();
  sequences_.clear();
  for (cursor::place& place : best) {
    sequences_.push_back(place.sequence);
    // A lane that was made anew is in the table again, behind.
    found_->set(std::move(place));
  }
  return {};
}

// ---- writing -------------------------------------------------------------------------------------------

result<u32> subscription_file::remember(const std::string& name, const u64 (&id)[2]) {
  for (u32 i = 0; i < sequences_.size(); ++i) {
    const remembered_lane& lane = entry(i);
    if (std::equal(id, id + 2, lane.lane_id) && name == std::string_view(lane.name, ::strnlen(lane.name, 64))) {
      return i;
    }
  }
  const auto index = static_cast<u32>(sequences_.size());
  if (index == remembered_lanes_max) {
    return tl::unexpected(error(errc::limit_reached,
                                path_ + " remembers " + std::to_string(remembered_lanes_max) +
                                    " lanes, and the topic has had more; remove it, and it begins anew",
                                remembered_lanes_max));
  }
  remembered_lane lane{};
  name.copy(lane.name, sizeof lane.name);
  std::copy_n(id, 2, lane.lane_id);
  remembered_lane& to = entry(index);
  std::memcpy(&to, &lane, offsetof(remembered_lane, check));
  // sync(subscription.lane): the lane is whole
  store_release(to.check, lane_check(lane, salt_));
  lane_checks_.push_back(lane_check(lane, salt_));
  sequences_.push_back(0);
  return index;
}

// Where the reader is, and what was said before of lanes that it does not have.
result<void> subscription_file::gather(kept_reader& reader) {
  for (std::size_t i = 0; i < reader.lanes(); ++i) {
    kept_lane& lane = reader.lane(i);
    if (lane.nowhere) continue;
    if (lane.remembered_as == kept_lane::not_remembered) {
      auto index = remember(lane.name, lane.id);
      if (!index) return tl::unexpected(std::move(index.error()));
      lane.remembered_as = *index;
    }
    sequences_[lane.remembered_as] = reader.done_of(lane);
  }
  return {};
}

void subscription_file::store(u32 slot_index) noexcept {
  commit_slot& to = slot(slot_index);
  // sync(subscription.commit): not whole, before anything of it changes
  store_release(to.check, 0);
  full_fence();  // sync(subscription.commit): and the stores that follow come after it
  // relaxed: the release of the check orders them
  store_relaxed(to.commit, commit_);
  store_relaxed(to.lanes, u64{sequences_.size()});  // relaxed: as above
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    store_relaxed(to.sequence[i], sequences_[i]);  // relaxed: as above
  }
  // sync(subscription.commit): whole
  store_release(to.check, commit_check(commit_, sequences_, lane_checks_, salt_));
}

result<void> subscription_file::check_path() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_look_) return {};
  if (leads_to(path_, identity_)) {
    next_look_ = now + between_looks_at_path;
    return {};
  }
  return tl::unexpected(error(errc::not_found, path_ + " is not the file any more that this holder has locked: it, or "
                                                       "a directory above, was renamed, removed or replaced. The next "
                                                       "holder does not find what is committed here: put it back, or "
                                                       "open the subscription again"));
}

result<void> subscription_file::commit(kept_reader& reader) {
  if (auto here = check_path(); !here) return here;
  if (auto gathered = gather(reader); !gathered) return gathered;
  ++commit_;
  store(commit_ % 2);
  return {};
}

result<void> subscription_file::synchronize() const {
  if (::fdatasync(file_.get()) == 0) return {};
  return tl::unexpected(file_failed("writing back", path_, errno));
}

result<void> subscription_file::begin(kept_reader& reader) {
  // What a holder before us left may still be on its way.
  if (auto done = synchronize(); !done) return done;
  const std::vector<u64> before = sequences_;
  if (auto gathered = gather(reader); !gathered) return gathered;
  if (found_in_anchor_) {
    // It has said this already, and nothing since: its only copy is not written again.
    if (sequences_ == before) return {};
    // A lane was cut, or is new. What is true is on the disk a second time before the only copy is written again.
    ++commit_;
    store(commit_ % 2);
    if (auto done = synchronize(); !done) return done;
  }
  ++commit_;
  store(anchor_slot);
  return synchronize();
}

}  // namespace quoit::inline v1::detail
