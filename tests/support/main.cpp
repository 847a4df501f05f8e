// main() of every doctest program, and its watchdog: a test case that does not end is killed and named, because a hang
// that says nothing costs more than the bug behind it.

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace {

// Seconds for one test case; QUOIT_TEST_TIMEOUT overrides, 0 switches the watchdog off (for a debugger).
constexpr unsigned case_timeout_s_default = 180;

// What the handler prints. Written before the alarm is set, and by the thread that sets it.
char message[512];
std::size_t message_bytes = 0;

// Runs at any instruction, with any lock held: only async-signal-safe calls. Not through doctest's handler of SIGABRT,
// which allocates.
extern "C" void on_alarm(int) {
  const auto written = ::write(STDERR_FILENO, message, message_bytes);
  static_cast<void>(written);
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

unsigned case_timeout_s() {
  const char* text = std::getenv("QUOIT_TEST_TIMEOUT");
  return text != nullptr ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : case_timeout_s_default;
}

struct watchdog final : doctest::IReporter {
  explicit watchdog(const doctest::ContextOptions&) { std::signal(SIGALRM, on_alarm); }

  void test_case_start(const doctest::TestCaseData& data) override {
    const unsigned timeout_s = case_timeout_s();
    const int length =
        std::snprintf(message, sizeof message, "watchdog: not done after %u s, aborted: \"%.300s\" (%.120s:%u)\n",
                      timeout_s, data.m_name, data.m_file.c_str(), data.m_line);
    message_bytes = length > 0 ? std::strlen(message) : 0;
    ::alarm(timeout_s);
  }
  void test_case_end(const doctest::CurrentTestCaseStats&) override { ::alarm(0); }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("watchdog", 1, watchdog);

}  // namespace
