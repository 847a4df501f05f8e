#include "wake/doze.hpp"

#include <doctest/doctest.h>

#include <string>

using namespace quoit::detail;

namespace {

// Writes down what is done, in order.
struct script {
  bool run(bool something, bool ready) {
    return doze(
        bell, [&] { said += bell.sleeping == 0 ? "arm " : "late-arm "; },
        [&] {
          said += "look ";
          return something;
        },
        [&] {
          said += "ready? ";
          return ready;
        },
        [&](nap&) { said += bell.sleeping == 1 ? "sleep " : "awake "; }, [&] { said += "take "; });
  }
  doorbell bell{};
  std::string said;
};

}  // namespace

TEST_CASE("everything is armed before a node says that it sleeps, and looked at after") {
  script s;
  CHECK_FALSE(s.run(false, false));
  CHECK(s.said == "arm look ready? sleep take look ");
  CHECK(s.bell.sleeping == 0);
}

TEST_CASE("whoever was fired before it said that it sleeps does not sleep") {
  script s;
  CHECK_FALSE(s.run(false, true));
  CHECK(s.said == "arm look ready? take look ");
}

TEST_CASE("whoever finds something at the last look does not sleep") {
  script s;
  CHECK(s.run(true, false));
  CHECK(s.said.find("sleep") == std::string::npos);
}

TEST_CASE("whoever waits for space announces it before the slots are scanned again, and takes it back") {
  for (const bool granted : {false, true}) {
    doorbell bell{};
    std::string said;
    doze_for_space(
        bell, [&](bool waits) { said += waits ? "announce " : "take-back "; },
        [&] {
          said += "scan ";
          return granted;
        },
        [&](nap&) { said += "sleep "; });
    CHECK(said == (granted ? "announce scan take-back " : "announce scan sleep take-back "));
  }
}
