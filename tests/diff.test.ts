import { getTableName, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { readCatalog } from "../src/operate/drift/catalog.ts";
import { type Transaction, rows } from "../src/client/sql.ts";
import { RepairError, applyRepairs, diff, repair } from "../src/operate/drift/diff.ts";
import { expectedOf } from "../src/operate/drift/expected.ts";
import type { CatalogObject } from "../src/operate/drift/facts.ts";
import { KINDS } from "../src/operate/drift/kinds.ts";
import { TABLES } from "../src/schema/all.ts";
import { lines, run, undone } from "./diff/damage.ts";
import { engine, suite } from "./engine.ts";

suite("diff", (database) => {
  test("src/operate/drift/expected.ts is what the migrations make (update it with vitest -u)", async () => {
    const tables = await database.query<{ name: string }>(
      "select tablename::text as name from pg_tables where schemaname = 'public'",
    );
    const { objects } = await readCatalog(
      database.db,
      tables.map(({ name }) => name),
    );
    await expect(manifest(objects)).toMatchFileSnapshot("../src/operate/drift/expected.ts");
  });

  test("the migrations make nothing of a kind that diff does not read", async () => {
    expect(await database.query(UNREAD)).toEqual([]);
  });

  test("a migrated database has no findings", async () => {
    expect(await diff(database.db)).toEqual([]);
  });

  test("a caller without any right, whatever its settings, learns the same and keeps its settings", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "create role nobody",
        "revoke all on schema public, meta_agent, drizzle from public",
        "grant usage on schema public to authenticated, service_role",
        "alter table cost_budgets disable row level security",
        "set local role nobody",
        "set local search_path = meta_agent, public",
        "set local quote_all_identifiers = on",
      ]);
      expect(await named(tx)).toEqual(["changed row-level security of cost_budgets"]);
      const settings = await tx.execute(sql`
        select current_setting('search_path') as path, current_setting('quote_all_identifiers') as quoting`);
      expect(rows(settings)).toEqual([{ path: "meta_agent, public", quoting: "on" }]);
    });
  });

  test("objects of the user's own that do ours no harm are no findings", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, HARMLESS);
      expect(await named(tx)).toEqual([]);
    });
  });

  test("an IVFFlat index rebuilt with other lists is no finding", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "drop index idx_input_embedding",
        `create index idx_input_embedding on execution_embeddings
           using ivfflat (input_embedding vector_cosine_ops) with (lists = 7)`,
        "comment on index idx_input_embedding is 'built on 4900 rows'",
        "alter index idx_error_embedding set (lists = 3)",
      ]);
      expect(await named(tx)).toEqual([]);
    });
  });

  test.each(SAFETY)("%s, safe to repair: %s", async (_, safe, ...statements) => {
    await undone(database.db, async (tx) => {
      await run(tx, statements);
      const findings = await diff(tx);
      expect(findings.map((finding) => finding.safe)).toEqual(findings.map(() => safe));
      expect(findings).not.toEqual([]);
    });
  });

  test("repair leaves a restrictive policy of the user's own, whatever its name pretends", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        `create policy "p ON t AS PERMISSIVE FOR ALL TO anon USING (" on agent_registry
           as restrictive for all to authenticated using (display_name <> 'secret')`,
      ]);
      const { repaired, remaining } = await repair(tx);
      expect(repaired).toEqual([]);
      expect(remaining).toMatchObject([{ problem: "extra", safe: false }]);
    });
  });

  test("a table that inherits shows its rows through its parent to nobody once it is repaired", async () => {
    const [ours, theirs] = [
      "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10",
      "c93b8f0e-2a47-4a7e-8a2b-64d1f4f0a111",
    ];
    const seen = async (tx: Transaction) => {
      await run(tx, [
        "set local role authenticated",
        `select set_config('request.jwt.claims', '{"organization_id": "${ours}"}', true)`,
      ]);
      const found = rows<{ count: number }>(
        await tx.execute(sql`select count(*)::int as count from spy`),
      );
      await run(tx, ["reset role"]);
      return found;
    };
    await undone(database.db, async (tx) => {
      await run(tx, [
        `insert into agent_registry (agent_name, display_name, category, organization_id)
         values ('a', 'A', 'sales', '${theirs}')`,
        "create table spy (like agent_registry)",
        "alter table agent_registry inherit spy",
        "grant select on spy to authenticated",
      ]);
      expect(await seen(tx)).toEqual([{ count: 1 }]);
      await repair(tx, { only: ({ object }) => object.startsWith("inheritance") });
      expect(await seen(tx)).toEqual([{ count: 0 }]);
    });
  });

  test("partitions of a table of ours are no findings", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "create table meta_agent.parts (at date) partition by range (at)",
        "create table one_part partition of meta_agent.parts default",
      ]);
      expect(await named(tx)).toEqual(["extra table meta_agent.parts"]);
    });
  });

  test("functions made from a checkout with Windows' line ends are no findings", async () => {
    await undone(database.db, async (tx) => {
      await run(
        tx,
        expectedOf("function").map(({ facts }) => facts.definition.replaceAll("\n", "\r\n")),
      );
      expect(await named(tx)).toEqual([]);
    });
  });

  test("what has the name of a missing index is said", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "create table tickets (id int)",
        "drop index idx_agent_slas_agent_id",
        "create index idx_agent_slas_agent_id on tickets (id)",
      ]);
      expect(await diff(tx)).toMatchObject([
        {
          problem: "missing",
          safe: false,
          why: expect.stringContaining("is taken by an index of public.tickets: ALTER INDEX"),
        },
      ]);
    });
  });

  test("two objects that read alike are two findings", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "create role analyst",
        'create table meta_agent."mine()" ()',
        "create function meta_agent.mine() returns int language sql as 'select 1'",
        'alter table meta_agent."mine()" owner to analyst',
        "alter function meta_agent.mine() owner to analyst",
      ]);
      const found = await named(tx);
      expect(found.filter((one) => one === "changed owner of meta_agent.mine()")).toHaveLength(2);
    });
  });

  test("a helper comes back before the table that it reads, whose own SQL can then be pasted", async () => {
    await undone(database.db, async (tx) => {
      const before = await lines(tx);
      await run(tx, [
        "drop table agent_prompts cascade",
        "drop function meta_agent.own_agent_prompts_row cascade",
      ]);
      const { repaired, remaining } = await repair(tx);
      expect(repaired.map(({ object }) => object)).toEqual([
        "function meta_agent.own_agent_prompts_row(uuid)",
      ]);
      await run(
        tx,
        remaining.flatMap((finding) => finding.repair),
      );
      expect(await lines(tx)).toEqual(before);
    });
  });

  test.each(RUINS)("%s, repaired at once", async (_, ...statements) => {
    await undone(database.db, async (tx) => {
      const before = await lines(tx);
      await run(tx, statements);
      expect(await diff(tx)).not.toEqual([]);
      const { remaining } = await applyRepairs(tx, { only: () => true });
      expect(remaining).toEqual([]);
      expect(await lines(tx)).toEqual(before);
    });
  });

  test("repair applies what is safe, says what it did, and leaves the rest with its SQL", async () => {
    await undone(database.db, async (tx) => {
      const before = await lines(tx);
      await run(tx, ['drop policy "Users see own org agents" on agent_registry', LOSES_A_CHECK]);
      const { repaired, remaining } = await repair(tx);
      expect(repaired.map(({ object }) => object)).toEqual([
        'policy "Users see own org agents" on agent_registry',
      ]);
      expect(remaining).toMatchObject([{ problem: "missing", safe: false }]);
      await run(
        tx,
        remaining.flatMap((finding) => finding.repair),
      );
      expect(await lines(tx)).toEqual(before);
      expect(await repair(tx)).toEqual({ repaired: [], remaining: [] });
    });
  });

  test("a row that refuses a repair is said, and nothing is changed", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        LOSES_A_CHECK,
        "drop index idx_logs_quality",
        `insert into agent_registry (agent_name, display_name, category, status)
         values ('a', 'A', 'sales', 'asleep')`,
      ]);
      const before = await named(tx);
      const error: unknown = await repair(tx, { only: () => true }).catch(
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(RepairError);
      expect(String(error)).toContain("check agent_registry_status_check on agent_registry");
      expect(String(error)).toContain("is violated by some row (23514)");
      expect(String(error)).toContain("Nothing was changed.");
      expect(await named(tx)).toEqual(before);
    });
  });

  test("a table renamed is in the way of a new one, and nothing is changed", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, ["alter table agent_slas rename to promises"]);
      const error: unknown = await repair(tx, { only: () => true }).catch(
        (reason: unknown) => reason,
      );
      expect(String(error)).toContain('relation "agent_slas_pkey" already exists (42P07)');
      expect((await named(tx))[0]).toBe("missing table agent_slas");
    });
  });

  test("repair refuses while migrations are pending", async () => {
    await undone(database.db, async (tx) => {
      await run(tx, [
        "drop index idx_logs_quality",
        `delete from drizzle.__meta_agent_migrations
         where id = (select max(id) from drizzle.__meta_agent_migrations)`,
      ]);
      await expect(repair(tx)).rejects.toThrow("1 migration is pending: run meta-agent-db migrate");
      expect(await named(tx)).toEqual(["missing index idx_logs_quality on agent_execution_logs"]);
    });
  });

  // Roles belong to the server, and on the container's other databases stand on them.
  test.skipIf(engine === "container")(
    "a database restored where the roles are not: repair brings back roles, policies and grants",
    async () => {
      await undone(database.db, async (tx) => {
        const before = await lines(tx);
        const roles = "anon, authenticated, service_role";
        await run(tx, [`drop owned by ${roles}`, `drop role ${roles}`]);
        const standing = (["role", "policy", "grant"] as const).flatMap((kind) => expectedOf(kind));
        expect(await named(tx)).toHaveLength(standing.length);
        expect((await repair(tx)).remaining).toEqual([]);
        // The stand-ins of schema auth are left to whoever calls them.
        const granted = before.filter(
          (line) => !/^grant .* on schema auth to (?!postgres)/.test(line),
        );
        expect(await lines(tx)).toEqual(granted);
      });
    },
  );
});

// A new kind of object wants a record in src/operate/drift/kinds.ts.
const UNREAD = `
  with ours as (
    select 'pg_class'::regclass as class, oid from pg_class
      where relnamespace in ('public'::regnamespace, 'meta_agent'::regnamespace) and relkind not in ('r', 'i')
    union all
    select 'pg_proc'::regclass, oid from pg_proc where pronamespace = 'public'::regnamespace
    union all
    select 'pg_type'::regclass, t.oid from pg_type t left join pg_class c on c.oid = typrelid
      where typnamespace in ('public'::regnamespace, 'meta_agent'::regnamespace)
        and (typtype in ('e', 'd', 'r') or relkind = 'c')
    union all
    select classoid::regclass, objoid from pg_description
      where objoid >= 16384 and classoid not in ('pg_class'::regclass, 'pg_namespace'::regclass)
    union all
    select 'pg_class'::regclass, objoid from pg_description join pg_class c on c.oid = objoid
      where classoid = 'pg_class'::regclass and relkind <> 'r'
    union all
    select 'pg_publication'::regclass, oid from pg_publication
    union all
    select 'pg_event_trigger'::regclass, oid from pg_event_trigger
    union all
    select 'pg_default_acl'::regclass, oid from pg_default_acl
  )
  select pg_describe_object(class, oid, 0) as object from ours
  where class <> 'pg_extension'::regclass
    and not exists (select from pg_depend d where d.classid = class and d.objid = ours.oid and d.deptype in ('e', 'i'))`;

const named = async (tx: Transaction) =>
  (await diff(tx)).map(({ problem, object }) => `${problem} ${object}`);

const LOSES_A_CHECK = "alter table agent_registry drop constraint agent_registry_status_check";

const HARMLESS = [
  "create role analyst",
  "grant select, insert on agent_registry to analyst",
  "grant select (id) on agent_slas to analyst",
  "grant usage on schema meta_agent, drizzle to analyst",
  "grant select on drizzle.__meta_agent_migrations to analyst",
  "grant execute on function meta_agent.uuidv7() to analyst",
  "create index on agent_execution_logs (action_name)",
  "create statistics mine on status, action_type from agent_execution_logs",
  "comment on column agent_registry.category is 'Mine.'",
  "create view mine_of_agents with (security_invoker = on) as table agent_registry",
  "create materialized view secret_of_agents as table agent_registry",
  "create table mine (id uuid primary key, agent_id uuid references agent_registry)",
  "create view mine_alone as table mine",
  "create policy mine on mine using (true)",
  "create table mine_in_trees (id uuid primary key, parent uuid references mine_in_trees, organization_id uuid)",
  "select meta_agent.isolate('mine_in_trees', 'trees')",
  "create trigger mine before update on mine for each row execute function suppress_redundant_updates_trigger()",
  "create function mine() returns bigint language sql as 'select count(*) from public.agent_registry'",
  "alter table agent_registry set (fillfactor = 80, autovacuum_enabled = off)",
  "alter table agent_registry replica identity full",
  "alter table agent_registry alter category set statistics 500, alter category set storage external",
  "alter table agent_registry cluster on agent_registry_pkey",
  "alter default privileges grant select on tables to analyst",
];

/** What `safe` promises: a title, whether it is, and the damage. */
const SAFETY: [title: string, safe: boolean, ...statements: string[]][] = [
  ["a default of another value", true, "alter table agent_slas alter is_active set default false"],
  ["NULL refused", true, "alter table agent_slas alter target_availability set not null"],
  ["an unlogged table", true, "alter table execution_embeddings set unlogged"],
  [
    "a policy for tenants added",
    true,
    "create policy mine on agent_slas to authenticated using (true)",
  ],
  ["TRUNCATE for everyone", true, "grant truncate on agent_slas to public"],
  ["a table of service_role's", true, "alter table agent_slas owner to service_role"],
  [
    "a table of ours that inherits from another one",
    true,
    "create table spy ()",
    "alter table agent_slas inherit spy",
  ],
  [
    "a table of the user's that inherits from ours",
    false,
    "create table heir () inherits (agent_slas)",
  ],
  [
    "NULL allowed, as rows may hold it now",
    false,
    "alter table agent_slas alter is_active drop not null",
  ],
  [
    "a column of another type",
    false,
    "alter table agent_registry alter display_name type varchar(9)",
  ],
  [
    "a check not validated",
    false,
    "alter table agent_slas drop constraint agent_slas_target_availability_check",
    "alter table agent_slas add constraint agent_slas_target_availability_check check (target_availability between 0 and 1) not valid",
  ],
  ["CREATE in schema public for tenants", true, "grant create on schema public to authenticated"],
  ["CREATE in schema public for everyone", false, "grant create on schema public to public"],
  [
    "a policy whose name pretends",
    false,
    `create role analyst`,
    `create policy "x ON y AS PERMISSIVE FOR ALL TO anon" on agent_slas to analyst using (true)`,
  ],
  [
    "a restrictive policy added, as dropping it would open rows",
    false,
    "create policy mine on agent_slas as restrictive to authenticated using (false)",
  ],
  [
    "a policy for a role of the user's",
    false,
    "create role analyst",
    "create policy mine on agent_slas to analyst using (true)",
  ],
  [
    "TRUNCATE for a role of the user's",
    false,
    "create role analyst",
    "grant truncate on agent_slas to analyst",
  ],
  ["a table of a user's", false, "create role analyst", "alter table agent_slas owner to analyst"],
  [
    "a column that is computed and stored",
    true,
    "alter table agent_slas drop is_active, add is_active boolean generated always as (true) stored not null",
  ],
  [
    "a function that answers otherwise",
    false,
    "drop function meta_agent.uuidv7_time(uuid)",
    "create function meta_agent.uuidv7_time(id uuid) returns text language sql as 'select null'",
    "revoke all on function meta_agent.uuidv7_time(uuid) from public",
    "grant execute on function meta_agent.uuidv7_time(uuid) to authenticated, service_role",
  ],
  ["a column of the user's", false, "alter table agent_slas add column mine text"],
  [
    "a trigger of the user's",
    false,
    "create trigger mine before update on agent_slas for each row execute function suppress_redundant_updates_trigger()",
  ],
  ["a view of the user's", false, "create view mine as table agent_slas"],
  [
    "a function of the user's in our schema",
    false,
    "create function meta_agent.mine() returns int language sql as 'select 1'",
    "revoke all on function meta_agent.mine() from public",
  ],
  ["a table dropped, and what stood on it", false, "drop table agent_slas cascade"],
  [
    "a column dropped, and what stood on it",
    false,
    "alter table agent_registry drop column current_health_score cascade",
  ],
];

/** Damage whose repairs depend on each other. */
const RUINS: [title: string, ...statements: string[]][] = [
  ["the helpers dropped", "drop schema meta_agent cascade"],
  ["the extension dropped", "drop extension vector cascade"],
  ["all tables dropped", ...TABLES.map(getTableName).map((table) => `drop table ${table} cascade`)],
  [
    "parent, child and helper dropped",
    "drop table agent_prompts, canary_deployments cascade",
    "drop function meta_agent.own_agent_prompts_row cascade",
  ],
  [
    "a primary key and a child dropped",
    "alter table agent_slas drop constraint agent_slas_pkey cascade",
    "drop table sla_compliance",
  ],
  [
    "columns renamed",
    "alter table agent_registry rename status to state",
    "alter table agent_registry rename id to key",
  ],
  [
    "an organization of another type",
    "drop schema meta_agent cascade",
    "alter table cost_budgets alter organization_id drop default, alter organization_id type text",
    "create policy mine on cost_budgets using (organization_id = current_user)",
  ],
];

function manifest(objects: readonly CatalogObject[]): string {
  const listed = KINDS.flatMap((kind) => [
    `  ${JSON.stringify(kind)}: [\n`,
    ...objects
      .filter((object) => object.kind === kind)
      .map(({ path, facts }) => `    ${JSON.stringify([path, facts])},\n`),
    "  ],\n",
  ]);
  return `// What the migrations make, read from a database that they made. Never edited by hand:
// npx vitest run --project embedded tests/diff.test.ts -t expected -u
import type { CatalogObject, FactsOf, Kind } from "./facts.ts";

type Listed<K extends Kind> = readonly (readonly [path: readonly string[], facts: FactsOf[K]])[];

const OBJECTS: { readonly [K in Kind]: Listed<K> } = {
${listed.join("")}};

/** The objects of a kind, as the migrations make them. */
export const expectedOf = <K extends Kind>(kind: K): CatalogObject<K>[] =>
  OBJECTS[kind].map(([path, facts]) => ({ kind, path, facts }));
`;
}
