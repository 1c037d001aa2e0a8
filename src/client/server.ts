import postgres from "postgres";
import { readUrl } from "./url.ts";

/** Works on a server in one session, outside of any transaction: databases are made and dropped so. */
export async function administer(
  serverUrl: string,
  work: (admin: postgres.Sql) => Promise<unknown>,
): Promise<void> {
  const admin = postgres(readUrl(serverUrl).url, { max: 1, onnotice: () => {} });
  try {
    await work(admin);
  } finally {
    await admin.end();
  }
}
