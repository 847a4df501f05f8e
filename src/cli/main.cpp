// The `quoit` command. Exit status: 0 done, 1 failed, 2 wrong usage.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <quoit/version.hpp>

#include "commands.hpp"

void cli::require_subcommand(CLI::App& command) {
  command.require_subcommand(0, 1);
  command.callback([&command] {
    if (command.get_subcommands().empty()) throw CLI::RequiredError("A subcommand");
  });
}

namespace {

// Opens /dev/null in the place of a standard descriptor that is closed, so that no file that is opened later gets its
// number. In the wrong direction: what is printed, or read, fails as it would have.
void fill_standard_descriptors() {
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) >= 0) continue;
    // The lowest number that is free is this one. Nothing is to be done where it fails.
    // descriptor: one of 0, 1 and 2 on purpose
    [[maybe_unused]] const int filled = ::open("/dev/null", number == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

}  // namespace

int main(int argc, char** argv) {
  fill_standard_descriptors();
  CLI::App app{"quoit: topics in shared memory, on one machine", "quoit"};
  app.set_version_flag("--version", fmt::format("quoit {}", QUOIT_VERSION_STRING));
  cli::require_subcommand(app);
  app.fallthrough(false);
  int status = 0;
  cli::add_topic(app, status);
  cli::add_node(app, status);
  cli::add_clean(app, status);
  cli::add_bench(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // CLI11 has a number for each kind of mistake; a shell script wants one.
    return app.exit(e) == 0 ? 0 : cli::exit_usage;
  } catch (const std::exception& e) {
    fmt::print(stderr, "quoit: {}\n", e.what());
    return cli::exit_failed;
  }
  return status;
}
