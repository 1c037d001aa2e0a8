import { ejectSupabase } from "../operate/migrate/install-script.ts";
import { command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { print, progress } from "./print.ts";

export const ejectCommand = command("eject", {
  description:
    "Writes the migrations as files of Supabase's command line. Run it again after an update: it adds the new ones. A file with other content is left and named, and the exit code is 2.",
  examples: ["meta-agent-db eject --supabase && supabase db push"],
})
  .requiredOption("--supabase", "timestamped files for supabase db push")
  .option("--directory <path>", "where to", "supabase/migrations")
  .action(({ directory }: { directory: string }) => {
    const { written, unchanged, left } = ejectSupabase(directory);
    for (const file of written) print(`${directory}/${file}`);
    progress(`${written.length} written to ${directory}, ${unchanged.length} there already`);
    for (const file of left) progress(`${file}: has other content, left as it is`);
    if (left.length > 0) process.exitCode = EXIT.findings;
  });
