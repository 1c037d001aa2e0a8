import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import postgres from "postgres";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { rows } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { applyRepairs, diff } from "../../src/operate/drift/diff.ts";
import { databaseError } from "../../src/client/errors.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../../src/migrations.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { catalog } from "../catalog.ts";
import { run, undone } from "../diff/damage.ts";
import { openMigrated } from "../engine.ts";
import { guarantees } from "../isolation/guarantees.ts";
import {
  type Environment,
  drizzleKit,
  ejected,
  inventory,
  openAsOwner,
  openSupabaseLike,
  seedThenAdopt,
} from "./environments.ts";

/** Opens one environment for the tests of a block. Each is a container of its own: one at a time. */
function inEnvironment<E extends Environment>(
  title: string,
  open: () => Promise<E>,
  tests: (current: () => E) => void,
): void {
  describe.skipIf(inject("containerId") === "")(title, () => {
    let opened: E | undefined;
    beforeAll(async () => {
      opened = await open();
    });
    afterAll(() => opened?.close());
    tests(() => {
      if (!opened) throw new Error("the environment opens before the first test");
      return opened;
    });
  });
}

/** ENVIRONMENTS=full checks every guarantee in each environment; otherwise each in every third one, in turns. */
const STRIDE = process.env["ENVIRONMENTS"] === "full" ? 1 : 3;
let environments = 0;

/** The guarantees of tenancy, before any other test: one wants a connection that never had claims. */
function isolatesTenants(current: () => Environment): void {
  const turn = environments++;
  const checked = guarantees.filter((_, index) => (index + turn) % STRIDE === 0);
  test.each(checked.map((guarantee) => [guarantee.title, guarantee] as const))(
    "%s",
    async (_, guarantee) => {
      expect(await guarantee.check(current())).toEqual([]);
    },
  );
}

/** What holds wherever the migrations ran, whoever ran them. `made` is what they had to make there. */
function migratedLikeAnywhere(current: () => Environment, made: readonly string[] = []): void {
  test("the same files leave the same database as on a plain server", async () => {
    const plain = await openMigrated();
    const expected = await catalog(plain.query).finally(() => plain.close());
    const { query, url, before } = current();
    const { username } = new URL(url);
    expect(comparable(await catalog(query), username, before)).toEqual(
      comparable(expected, "postgres", before),
    );
    const journal = await query<{ who: string; files: number }>(
      "select applied_by as who, count(*)::int as files from drizzle.__meta_agent_migrations group by 1",
    );
    expect(journal).toEqual([{ who: username, files: MIGRATIONS.length }]);
  });

  test("diff finds nothing, and a table and a helper that it brings back are closed to anon", async () => {
    await undone(current().db, async (tx) => {
      expect(await diff(tx)).toEqual([]);
      await run(tx, [
        "drop table agent_prompts, execution_embeddings cascade",
        "drop function meta_agent.uuidv7 cascade",
        "drop index idx_logs_quality",
      ]);
      expect((await applyRepairs(tx, { only: () => true })).remaining).toEqual([]);
      expect(rows(await tx.execute(sql.raw(ANON_PRIVILEGES)))).toEqual([]);
    });
  });
  leavesOthersAlone(current, made);
}

/** `made` is what had to be made there. */
function leavesOthersAlone(current: () => Environment, made: readonly string[] = []): void {
  test("what others had made is as they made it, and nothing comes to it but what is ours", async () => {
    const { admin, before } = current();
    const after = await inventory(admin);
    expect(before.filter((line) => !after.includes(line))).toEqual([]);
    const added = after.filter((line) => !before.includes(line));
    const names = added.map((line) => line.split(" ").slice(0, 2).join(" "));
    expect(names).toEqual([...made, "schema drizzle", "schema meta_agent"].toSorted());
  });

  test("anon holds no privilege on anything of ours", async () => {
    const held = await current().query<{ privilege: string }>(ANON_PRIVILEGES);
    expect(held).toEqual([]);
  });
}

// Held by anon itself or through PUBLIC, on tables, their columns, sequences, functions and schemas.
const ANON_PRIVILEGES = `
  select format('%s on %s', privilege, c.oid::regclass) as privilege
  from pg_class c join pg_namespace n on n.oid = c.relnamespace,
    unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']
      || case when current_setting('server_version_num')::int >= 170000 then array['maintain'] else '{}' end) as privilege
  where n.nspname in ('public', 'meta_agent', 'drizzle') and c.relkind in ('r', 'p', 'v', 'm', 'S')
    and case c.relkind when 'S' then privilege in ('select', 'update') and has_sequence_privilege('anon', c.oid, privilege)
      else has_table_privilege('anon', c.oid, privilege) or privilege in ('select', 'insert', 'update', 'references')
        and has_any_column_privilege('anon', c.oid, privilege) end
  union all
  select format('execute on %s', p.oid::regprocedure) from pg_proc p
  where p.pronamespace = 'meta_agent'::regnamespace and has_function_privilege('anon', p.oid, 'execute')
  union all
  select format('%s on schema %s', privilege, nspname)
  from pg_namespace, unnest(array['usage', 'create']) as privilege
  where nspname in ('meta_agent', 'drizzle') and has_schema_privilege('anon', oid, privilege)`;

/** A catalog without what others own, and with one name for whoever migrated. */
function comparable(lines: string[], owner: string, before: readonly string[]): string[] {
  const hasAuth = before.some((line) => line.startsWith("schema auth "));
  return lines
    .filter((line) => !hasAuth || !/^(function|grant).*\b(schema auth\b|auth\.)/.test(line))
    .map((line) => line.replace(new RegExp(`^(grant .*) to ${owner}$`), "$1 to the owner"))
    .toSorted();
}

inEnvironment(
  "a Supabase project with the old default grants",
  () => openSupabaseLike("old"),
  (current) => {
    isolatesTenants(current);
    migratedLikeAnywhere(current);

    test("the default grants are in force: a table of someone else's is born open to anon", async () => {
      await current().rolledBack(async (query) => {
        await query("create table public.of_someone_else (a int)");
        const held = await query<{ privilege: string }>(ANON_PRIVILEGES);
        expect(held).toContainEqual({ privilege: "delete on of_someone_else" });
      });
    });

    asPostgrestSends(current);
  },
);

inEnvironment(
  "a Supabase project with the new default grants: none",
  () => openSupabaseLike("new"),
  (current) => {
    isolatesTenants(current);
    migratedLikeAnywhere(current, ["extension vector"]);

    test("the migrations enable vector in schema extensions", async () => {
      expect(current().before.filter((line) => line.startsWith("extension vector"))).toEqual([]);
      expect(await inventory(current().admin)).toContain(
        "extension vector of postgres in extensions",
      );
    });
  },
);

inEnvironment(
  "a Supabase project migrated by drizzle-kit",
  () => openSupabaseLike("old", drizzleKit),
  (current) => migratedLikeAnywhere(current),
);

inEnvironment(
  "a Supabase project made with the seed's files, then adopted",
  () => openSupabaseLike("old", seedThenAdopt),
  (current) => {
    isolatesTenants(current);
    leavesOthersAlone(current);

    test("diff finds nothing, and migrate has nothing to do", async () => {
      expect(await diff(current().db)).toEqual([]);
      expect(await migrate(current().db)).toEqual({ applied: [] });
    });
  },
);

inEnvironment(
  "a Supabase project migrated by the files of eject",
  () => openSupabaseLike("new", ejected),
  (current) => migratedLikeAnywhere(current, ["extension vector"]),
);

inEnvironment("a plain database whose owner is no superuser", openAsOwner, (current) => {
  isolatesTenants(current);
  migratedLikeAnywhere(current, [
    "schema auth",
    ...["jwt", "role", "uid"].map((name) => `function auth.${name}()`),
  ]);

  test("the refusal named all that a superuser had to run, and no more", () => {
    expect(current().asked.split("\n")).toEqual([
      "CREATE ROLE anon NOLOGIN NOINHERIT;",
      "CREATE ROLE authenticated NOLOGIN NOINHERIT;",
      "CREATE ROLE service_role NOLOGIN NOINHERIT;",
      "CREATE EXTENSION vector;",
    ]);
  });
});

const [OURS, THEIRS] = [randomUUID(), randomUUID()];

/** Requests to a Supabase project: the login is `authenticator`, as PostgREST's and our client's. */
function asPostgrestSends(current: () => Environment): void {
  let client: postgres.Sql | undefined;
  const connection = () =>
    (client ??= postgres(current().urlAs("authenticator"), { max: 1, onnotice: () => {} }));
  afterAll(() => client?.end());
  afterEach(() => current().query("delete from agent_registry"));

  /** One request: what it sets lasts for its transaction; the answer is JSON. */
  const request = (settings: Record<string, string>, source: string, ...body: string[]) =>
    connection().begin(async (tx) => {
      const list = Object.entries({ search_path: `"public", "extensions"`, ...settings });
      const assignments = list.map((_, i) => `set_config($${2 * i + 1}, $${2 * i + 2}, true)`);
      await tx.unsafe(`select ${assignments.join(", ")}`, list.flat());
      const [answer] = await tx.unsafe<{ body: { agent_name: string }[] }[]>(
        `with source as (${source}) select coalesce(json_agg(t), '[]') as body from (select * from source) t`,
        body,
      );
      return (answer?.body ?? []).map(({ agent_name }) => agent_name).toSorted();
    });

  const read = "select * from public.agent_registry";
  const write = `
    insert into public.agent_registry (agent_name, display_name, category)
    select agent_name, agent_name, 'sales' from json_to_recordset($1::text::json) as _ (agent_name text) returning *`;
  const named = (name: string) => JSON.stringify([{ agent_name: name }]);
  const signedIn = (claims: object) => ({
    role: "authenticated",
    "request.jwt.claims": JSON.stringify({ sub: randomUUID(), role: "authenticated", ...claims }),
  });
  const top = (organization: string) => signedIn({ organization_id: organization });
  const app = (organization: string) =>
    signedIn({ app_metadata: { provider: "email", organization_id: organization } });

  test("a request writes and reads its organization's rows, by app_metadata and by a top-level claim alike", async () => {
    expect(await request(app(OURS), write, named("ours"))).toEqual(["ours"]);
    expect(await request(top(THEIRS), write, named("theirs"))).toEqual(["theirs"]);
    for (const claims of [app, top]) {
      expect(await request(claims(OURS), read)).toEqual(["ours"]);
      expect(await request(claims(THEIRS), read)).toEqual(["theirs"]);
    }
    expect(await request(signedIn({ user_metadata: { organization_id: OURS } }), read)).toEqual([]);
  });

  test("anon is refused, whatever it claims", async () => {
    const attempt = request({ ...app(OURS), role: "anon" }, read).catch((error: unknown) => error);
    expect(databaseError(await attempt)?.code).toBe("42501");
  });

  test("the old settings request.jwt.claim and request.jwt.claim.… name no organization", async () => {
    await request(top(OURS), write, named("ours"));
    await request(top(THEIRS), write, named("theirs"));
    const old = {
      "request.jwt.claim": JSON.stringify({ organization_id: THEIRS }),
      "request.jwt.claim.organization_id": THEIRS,
      "request.jwt.claim.app_metadata": JSON.stringify({ organization_id: THEIRS }),
    };
    expect(await request({ role: "authenticated", ...old }, read)).toEqual([]);
    expect(await request({ ...signedIn({}), ...old }, read)).toEqual([]);
    expect(await request({ ...top(OURS), ...old }, read)).toEqual(["ours"]);
  });

  test("withOrganization and withServiceRole serve a client that logs in as authenticator", async () => {
    const { db, close } = connect(current().urlAs("authenticator"));
    const names = (tx: Pick<typeof db, "select">) =>
      tx
        .select({ name: agentRegistry.agentName })
        .from(agentRegistry)
        .orderBy(agentRegistry.agentName);
    try {
      for (const organization of [OURS, THEIRS]) {
        const agent = newAgent({ agentName: `agent of ${organization}` });
        await withOrganization(db, organization, (tx) => tx.insert(agentRegistry).values(agent));
      }
      const claims = { app_metadata: { organization_id: OURS } };
      expect(await withOrganization(db, claims, names)).toEqual([{ name: `agent of ${OURS}` }]);
      expect(await withServiceRole(db, names)).toHaveLength(2);
    } finally {
      await close();
    }
  });
}
