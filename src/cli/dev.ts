import { openEmbedded } from "../embedded.ts";
import { migrate } from "../operate/migrate/migrate.ts";
import { command, directoryOption, portNumber, untilInterrupted } from "./command.ts";
import { EXIT } from "./exit.ts";
import { print, progress } from "./print.ts";

export const devCommand = command("dev", {
  description:
    "Serves the embedded database on the loopback address until Ctrl-C, migrated. All clients share one session of it.",
  examples: ["meta-agent-db dev --port 54329"],
})
  .option("--port <number>", "port to listen on, 0 for any free one", portNumber, 54_329)
  .addOption(directoryOption())
  .action(async ({ port, directory }: { port: number; directory?: string }) => {
    const { close, db, serve, label } = await openEmbedded(directory);
    untilInterrupted(() => void close().then(() => process.exit(EXIT.ok)));
    try {
      await migrate(db);
      const address = await serve(port);
      progress(`${label}, served until Ctrl-C at`);
      print(address);
    } catch (error) {
      await close();
      throw error;
    }
  });
