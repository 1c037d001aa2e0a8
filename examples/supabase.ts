// A server beside a Supabase project. Once, as `postgres` on the direct connection:
//
//   export MIGRATION_DATABASE_URL=postgres://postgres:…@db.example.com:5432/postgres
//   npx meta-agent-db migrate && npx meta-agent-db roles --apply
//
// The server connects as meta_agent_app, for which service_role's key is never needed to read and write
// rows. PostgREST shows the same rows to supabase-js in the browser: the policies are the same.
import { type Claims, type Database, type Transaction, withOrganization } from "../src/index.ts";

/** What is used of supabase-js: `createClient(url, key)` fits. */
export interface Supabase {
  readonly auth: {
    getClaims(jwt: string): Promise<{ data: { claims: Claims } | null; error: unknown }>;
  };
}

/** The same of a client with the secret key, for the server's own administration. */
export interface SupabaseAdmin {
  readonly auth: {
    readonly admin: {
      updateUserById(
        userId: string,
        changes: { app_metadata: Record<string, unknown> },
      ): Promise<{ error: unknown }>;
    };
  };
}

/** Puts a user into an organization, from the next token on. Users cannot edit `app_metadata`. */
export async function joinOrganization(
  { auth }: SupabaseAdmin,
  { userId, organizationId }: { userId: string; organizationId: string },
): Promise<void> {
  const changes = { app_metadata: { organization_id: organizationId } };
  const { error } = await auth.admin.updateUserById(userId, changes);
  if (error) throw new Error("the user is in no organization: Supabase refused", { cause: error });
}

/** Acts as the user whose access token a request brought (`session.access_token` in supabase-js). */
export async function asUser<T>(
  { db, supabase, accessToken }: { db: Database; supabase: Supabase; accessToken: string },
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  // It verifies the signature and the expiry. Claims that were only decoded must not come here.
  const { data, error } = await supabase.auth.getClaims(accessToken);
  if (!data) throw new Error("a valid access token is needed", { cause: error });
  return withOrganization(db, data.claims, work);
}
