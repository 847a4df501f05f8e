// A program unloads a plugin that used the library. The library stays, as its threads may not be over.
#include <doctest/doctest.h>

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <fstream>
#include <string>

namespace {

bool is_mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

bool stays_loaded(const link_map& object) {
  for (const ElfW(Dyn)* entry = object.l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_FLAGS_1) return (entry->d_un.d_val & DF_1_NODELETE) != 0;
  }
  return false;
}

}  // namespace

TEST_CASE("a plugin that used an executor is unloaded, again and again, and the library stays") {
  const char* const path = std::getenv("QUOIT_TEST_PLUGIN");
  REQUIRE(path != nullptr);
  for (int i = 0; i < 30; ++i) {
    void* const plugin = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
    INFO((plugin != nullptr ? "" : ::dlerror()));
    REQUIRE(plugin != nullptr);
    void* const read_a_file = ::dlsym(plugin, "read_a_file");
    REQUIRE(read_a_file != nullptr);
    CHECK(reinterpret_cast<int (*)()>(read_a_file)() == 0);
    // Of the library itself: a compiler may keep it loaded by other means, or may not.
    link_map* object = nullptr;
    REQUIRE(::dlinfo(plugin, RTLD_DI_LINKMAP, &object) == 0);
    while (object != nullptr && std::string(object->l_name).find("/libquoit.so") == std::string::npos) {
      object = object->l_next;
    }
    REQUIRE(object != nullptr);
    CHECK(stays_loaded(*object));
    REQUIRE(::dlclose(plugin) == 0);
    CHECK(is_mapped("/libquoit.so"));
  }
}
