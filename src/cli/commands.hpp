#pragma once

namespace CLI {
class App;
}

namespace cli {

inline constexpr int exit_failed = 1;
inline constexpr int exit_usage = 2;

// The command does nothing by itself. Said after parsing, so that a word that is no subcommand is named.
void require_subcommand(CLI::App& command);

// Each adds its subcommands; running one sets `status`, the exit status.
void add_topic(CLI::App& app, int& status);
void add_node(CLI::App& app, int& status);
void add_clean(CLI::App& app, int& status);
void add_bench(CLI::App& app, int& status);
// To `topic`: what is kept in a directory.
void add_kept(CLI::App& topic, int& status);
void add_echo(CLI::App& topic, int& status);
// To `bench`.
void add_compare(CLI::App& group);

}  // namespace cli
