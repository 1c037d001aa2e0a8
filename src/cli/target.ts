import { databaseUrls } from "../config.ts";
import { type Connection, connect } from "../database.ts";
import { EMBEDDED_DIRECTORY, openEmbedded } from "../embedded.ts";

export interface TargetOptions {
  readonly url?: string;
  readonly directory?: string;
}

/** The database a command works on: `--url`, else `--directory`, else the environment, else the embedded directory. */
export async function openTarget({ url, directory }: TargetOptions): Promise<Connection> {
  if (url !== undefined) return connect(url);
  if (directory !== undefined) return openEmbedded(directory);
  const { migrationDatabaseUrl } = databaseUrls();
  return migrationDatabaseUrl === undefined
    ? openEmbedded(EMBEDDED_DIRECTORY)
    : connect(migrationDatabaseUrl);
}
