// Directories that are renamed, removed or replaced while a publisher or a reader is in them.
#include <filesystem>

#include "support/log_fixture.hpp"

using namespace quoit::test;

namespace {

std::string lane_of(const log_writer_options& o) { return lane_directory(o.directory, o.topic, o.name); }

}  // namespace

TEST_CASE("a publisher whose directory was renamed removes nothing from the directory that has its name now") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto first = open_log(options);
  append_all(*first, 0, 10);
  while (first->keeper().spares() == 0) ::usleep(1000);
  std::filesystem::rename(lane_of(options), directory.path() + "/elsewhere");
  auto second = open_log(options);
  append_all(*second, 0, 1000);
  const auto before = begun_segments(lane_of(options));
  REQUIRE(before.size() > 3);
  first.reset();
  CHECK(begun_segments(lane_of(options)) == before);
  CHECK(read_on(*read_from_begin(options), 0) == 1000);
  // Its own spare segments are gone.
  CHECK(list_segments(directory.path() + "/elsewhere") == std::vector<u64>{1});
}

TEST_CASE("a publisher removes no segment that was put in the place of one that it made ahead") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.own_thread = false;
  auto w = open_log(options);
  append_all(*w, 0, 10);
  while (w->keeper().work()) {
  }
  REQUIRE(w->keeper().spares() == 1);
  // Restored in place: a file of the same lane under the name of the one that was made ahead.
  const std::string made = lane_of(options) + "/" + segment_name(2);
  std::filesystem::copy_file(made, made + ".copy");
  std::filesystem::rename(made + ".copy", made);
  w.reset();
  CHECK(std::filesystem::exists(made));
}
