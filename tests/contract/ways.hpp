// A case of the contract runs once in shared memory, once in inherited memory, and once through the kernel.
#pragma once

#include <doctest/doctest.h>

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <quoit.hpp>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"

namespace quoit::test {

struct way {
  way(quoit::transport t, bool i = false, bool s = false) : used(t), inherited(i), sealed(s) {}
  friend bool operator==(const way& a, quoit::transport b) { return a.used == b; }

  quoit::transport used;
  bool inherited;
  bool sealed;
};

inline way this_way() {
  way chosen = quoit::transport::unspecified;
  SUBCASE("in shared memory") { chosen = quoit::transport::shared_memory; }
  SUBCASE("in inherited memory") { chosen = {quoit::transport::shared_memory, true}; }
  SUBCASE("in sealed memory") { chosen = {quoit::transport::shared_memory, true, true}; }
  SUBCASE("through the kernel") { chosen = quoit::transport::kernel; }
  return chosen;
}

// Where the sockets of this user's buses are, unless the environment says otherwise.
inline std::string sockets_directory() {
  const char* const chosen = std::getenv("QUOIT_SOCKETS");
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  if (chosen != nullptr && *chosen == '/') return chosen;
  if (runtime != nullptr && *runtime == '/') return std::string(runtime) + "/quoit";
  return "/tmp/quoit-" + std::to_string(::geteuid());
}

inline std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  while (const dirent* const entry = open ? ::readdir(open.get()) : nullptr) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// Owns a bus for the length of a case. At the end nothing of it may be left: no file in /dev/shm, and no socket.
class meeting {
 public:
  explicit meeting(way chosen) : way_(chosen) {
    if (!way_.inherited) return;
    memory_ = quoit::inherited_memory::create({.bytes = 64 << 20, .sealed = way_.sealed}).value();
    free_at_first_ = memory_->free_bytes();
  }
  ~meeting() {
    if (memory_ && !leftovers_expected_) CHECK(memory_->free_bytes() == free_at_first_);
    const bool left = ::access(directory().c_str(), F_OK) == 0;
    if (left && !leftovers_expected_) ADD_FAIL_CHECK_AT(__FILE__, __LINE__, "left: " << directory());
    if (!left) return;
    for (const std::string& topic : names_in(directory())) {
      for (const std::string& file : names_in(directory() + "/" + topic)) {
        ::unlink((directory() + "/" + topic + "/" + file).c_str());
      }
      ::rmdir((directory() + "/" + topic).c_str());
    }
    ::rmdir(directory().c_str());
  }
  meeting(const meeting&) = delete;
  meeting& operator=(const meeting&) = delete;

  const std::string& name() const { return name_.name(); }
  std::string directory() const { return sockets_directory() + "/" + name(); }
  // Of the only topic; empty if there is none.
  std::string topic_directory() const {
    const auto topics = names_in(directory());
    return topics.empty() ? std::string() : directory() + "/" + topics.front();
  }
  // For tests in which the last process of the bus dies.
  void expect_leftovers() {
    name_.expect_leftovers();
    leftovers_expected_ = true;
  }

  bool sealed() const { return way_.sealed; }
  quoit::result<quoit::bus_info> inspect() const { return memory_ ? quoit::inspect(*memory_) : quoit::inspect(name()); }
  quoit::bus_options options() const {
    quoit::bus_options o;
    o.transport = way_.used;
    o.recheck = std::chrono::milliseconds(20);
    return o;
  }
  quoit::bus open() const { return open(options()); }
  quoit::bus open(const quoit::bus_options& o) const {
    return memory_ ? quoit::bus::open(*memory_, o).value() : quoit::bus::open(name(), o).value();
  }
  quoit::bus open(quoit::executor& where) const {
    return memory_ ? quoit::bus::open(where, *memory_, options()).value()
                   : quoit::bus::open(where, name(), options()).value();
  }

 private:
  way way_;
  std::optional<quoit::inherited_memory> memory_;
  std::uint64_t free_at_first_ = 0;
  bus_guard name_;
  bool leftovers_expected_ = false;
};

}  // namespace quoit::test
