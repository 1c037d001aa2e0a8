import { initialize } from "./application.ts";
import { command } from "./command.ts";
import { print, progress } from "./print.ts";

export const initCommand = command("init", {
  summary: "prepare your application for tables of its own beside these",
  description:
    "Writes drizzle.config.ts, a schema file with a first table that refers to ours, and .env.example. Nothing is overwritten.",
  examples: ["meta-agent-db init", "meta-agent-db init --directory packages/api"],
})
  .option("--directory <path>", "the folder of your application's package.json", ".")
  .action(({ directory }: { directory: string }) => {
    const { written, left, missing } = initialize(directory);
    for (const file of written) print(file);
    for (const file of left) progress(`${file}: is there already, left as it is`);
    progress("Next");
    if (missing.length > 0) progress(`  install ${missing.join(", ")}`);
    progress("  npx meta-agent-db migrate       our tables");
    progress("  npx drizzle-kit generate        the migrations of yours");
    progress("  npx drizzle-kit migrate");
  });
