import postgres from "postgres";

/** The URL of another database of the same server. */
export function siblingUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** Works on a server in one session, outside of any transaction: databases are made and dropped so. */
export async function administer(
  serverUrl: string,
  work: (admin: postgres.Sql) => Promise<unknown>,
): Promise<void> {
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} });
  try {
    await work(admin);
  } finally {
    await admin.end();
  }
}
