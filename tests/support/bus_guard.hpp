#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include "support/test_names.hpp"

namespace quoit::test {

// Owns a bus name for the length of a test. At the end nothing of the bus may be left in /dev/shm: what is left is
// removed, and fails the test unless expect_leftovers() was called.
class bus_guard {
 public:
  explicit bus_guard(std::string name = unique_bus_name()) : name_(std::move(name)) { remove_all(); }
  bus_guard(const bus_guard&) = delete;
  bus_guard& operator=(const bus_guard&) = delete;

  ~bus_guard() {
    const std::vector<std::string> left = files();
    remove_all();
    if (leftovers_expected_) return;
    for (const std::string& file : left) ADD_FAIL_CHECK_AT(__FILE__, __LINE__, "left in /dev/shm: " << file);
  }

  const std::string& name() const { return name_; }

  // For tests in which the last process of the bus dies.
  void expect_leftovers() { leftovers_expected_ = true; }

  // Names of the files of this bus in /dev/shm.
  std::vector<std::string> files() const {
    std::vector<std::string> found;
    for_each_bus_file(name_, [&](const std::string& file) { found.push_back(file); });
    return found;
  }

  void remove_all() const {
    for (const std::string& file : files()) ::shm_unlink(("/" + file).c_str());
  }

 private:
  std::string name_;
  bool leftovers_expected_ = false;
};

}  // namespace quoit::test
