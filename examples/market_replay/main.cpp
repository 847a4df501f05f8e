// A market's quotes and trades on disk: `record` makes up a session and keeps it, `replay` reads it merged by time.
#include "commands.hpp"

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--bytes N] [--speed 1x|10x|...|max] record|replay DIRECTORY");
  if (args.rest.size() != 2) args.fail();
  stop_on_ctrl_c();
  if (args.rest[0] == "record") return record(args, args.rest[1]);
  if (args.rest[0] == "replay") return replay(args, args.rest[1]);
  args.fail();
}
