import { getTableName, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { type AdoptOptions, type AdoptResult, adopt } from "../src/operate/adopt/adopt.ts";
import { type Transaction, rows } from "../src/client/sql.ts";
import { diff } from "../src/operate/drift/diff.ts";
import { migrate, migrationStatus } from "../src/operate/migrate/migrate.ts";
import { MIGRATIONS } from "../src/migrations.ts";
import { liveTypes, rulesOf } from "../src/operate/adopt/violations.ts";
import { TABLES } from "../src/schema/all.ts";
import { catalog } from "./catalog.ts";
import { contents } from "./contents.ts";
import { type Query, openEmpty, suite } from "./engine.ts";
import { fillSeed, makeSeed } from "./made-by-seed.ts";
import { planted } from "./planted.ts";

async function openSeed() {
  const database = await openEmpty();
  await makeSeed(database);
  await fillSeed(database, { agents: 8, logs: 60 });
  return database;
}

const queryIn =
  (tx: Transaction): Query =>
  async <T extends object>(text: string) =>
    rows<T & Record<string, unknown>>(await tx.execute(sql.raw(text)));

const id = (kind: string, n: number) => `md5('${kind}' || ${n})::uuid`;

suite(
  "adopt takes over a database made from the seed's SQL",
  (database) => {
    /** Runs `work` in a transaction that is rolled back. */
    async function tried(work: (tx: Transaction, query: Query) => Promise<void>): Promise<void> {
      const rollback = new Error("rolled back");
      const attempt = database.db.transaction(async (tx) => {
        await work(tx, queryIn(tx));
        throw rollback;
      });
      await expect(attempt).rejects.toBe(rollback);
    }

    /** What adopting says after these statements. */
    async function adoptAfter(
      statements: readonly string[],
      options?: AdoptOptions,
    ): Promise<AdoptResult | undefined> {
      let result: AdoptResult | undefined;
      await tried(async (tx, query) => {
        for (const statement of statements) await query(statement);
        result = await adopt(tx, options);
      });
      return result;
    }

    /** Demands that adopting changes neither a row nor the catalog, whether it is refused or not. */
    const changesNothing = (statements: readonly string[], options?: AdoptOptions) =>
      tried(async (tx, query) => {
        for (const statement of statements) await query(statement);
        const before = [await catalog(query), await contents(query)];
        await adopt(tx, options).catch(() => undefined);
        expect([await catalog(query), await contents(query)]).toEqual(before);
      });

    test("clean rows are kept as they are, diff is silent, and migrate has nothing to do", () =>
      tried(async (tx, query) => {
        const before = await contents(query);
        const { adopted, findings, offences, filled, platformRows } = await adopt(tx);
        expect({ adopted, offences, filled }).toEqual({ adopted: true, offences: [], filled: [] });
        expect(findings.length).toBeGreaterThan(300);
        expect(platformRows).toContainEqual({ table: "agent_registry", count: 2 });
        expect(await contents(query, undefined, before)).toEqual(before);
        expect(await diff(tx)).toEqual([]);
        expect(await migrate(tx)).toEqual({ applied: [] });
      }));

    test("the journal is what migrate would have written", () =>
      tried(async (tx) => {
        await adopt(tx);
        const { upToDate, migrations } = await migrationStatus(tx);
        expect(upToDate).toBe(true);
        expect(migrations).toEqual(
          MIGRATIONS.map(({ name, when }) => ({
            name,
            when,
            state: "applied",
            appliedAt: expect.any(Date),
            appliedBy: "postgres",
          })),
        );
      }));

    test("the seed's policies and Supabase's grants are gone, what else there was stays", () =>
      tried(async (tx, query) => {
        await query("create table tickets (id int, agent_id uuid references agent_registry)");
        await query("create policy own on tickets using (true)");
        await query("create index my_index on agent_execution_logs (related_entity_id)");
        await query("grant all on agent_registry to anon");
        await adopt(tx);
        const policies = await query<{ name: string }>(
          `select policyname as name from pg_policies where roles = '{public}'`,
        );
        expect(policies).toEqual([{ name: "own" }]);
        const grants = await query(
          `select from information_schema.role_table_grants where grantee = 'anon' and table_name = 'agent_registry'`,
        );
        expect(grants).toEqual([]);
        const kept = await query(
          `select to_regclass('tickets') as a, to_regclass('my_index') as b`,
        );
        expect(kept).toEqual([{ a: "tickets", b: "my_index" }]);
      }));

    const OFFENCES: [
      title: string,
      statements: string[],
      table: string,
      rule: string,
      count: number,
    ][] = [
      [
        "NULL where a value must be",
        ["update agent_execution_logs set agent_id = null where latency_ms < 10"],
        "agent_execution_logs",
        "agent_id",
        8,
      ],
      [
        "NULL in a column with a default",
        ["update agent_registry set status = null"],
        "agent_registry",
        "status",
        8,
      ],
      [
        "a value outside a list that the seed leaves open",
        ["update agent_registry set category = 'fun' where agent_name = 'agent-3'"],
        "agent_registry",
        "agent_registry_category_check",
        1,
      ],
      [
        "a number out of range",
        ["update agent_slas set target_availability = 99.9 where target_availability is not null"],
        "agent_slas",
        "agent_slas_target_availability_check",
        4,
      ],
      [
        "NaN",
        ["update agent_performance_metrics set avg_latency_ms = 'NaN' where total_executions = 7"],
        "agent_performance_metrics",
        "agent_performance_metrics_avg_latency_ms_check",
        8,
      ],
      [
        "an instant that is no instant",
        ["update alert_history set created_at = 'infinity' where severity = 'info'"],
        "alert_history",
        "alert_history_created_at_check",
        24,
      ],
      [
        "JSON of another form",
        [`update canary_deployments set stages = '{}' where id = ${id("canary", 1)}`],
        "canary_deployments",
        "canary_deployments_stages_check",
        1,
      ],
      [
        "an end before its start",
        ["update shadow_tests set end_date = start_date"],
        "shadow_tests",
        "shadow_tests_dates_check",
        8,
      ],
      [
        "two metrics of a day without prompt",
        [
          `insert into agent_performance_metrics (id, agent_id, date) values
            (gen_random_uuid(), ${id("agent", 1)}, '2025-01-01'), (gen_random_uuid(), ${id("agent", 1)}, '2025-01-01')`,
        ],
        "agent_performance_metrics",
        "agent_performance_metrics_agent_id_prompt_version_id_date_key",
        2,
      ],
      [
        "a name taken twice",
        [
          "alter table prompt_library drop constraint prompt_library_name_key",
          "update prompt_library set name = 'same'",
        ],
        "prompt_library",
        "prompt_library_name_key",
        8,
      ],
      [
        "a reference to nothing",
        [
          "alter table agent_slas drop constraint agent_slas_agent_id_fkey",
          `update agent_slas set agent_id = gen_random_uuid() where id = ${id("sla", 2)}`,
        ],
        "agent_slas",
        "agent_slas_agent_id_fkey",
        1,
      ],
      [
        "a reference into a table that is gone",
        [
          "drop table prompt_library cascade",
          "delete from prompt_library_usage where id = " + id("usage", 1),
        ],
        "prompt_library_usage",
        "prompt_library_usage_library_component_id_fkey",
        7,
      ],
      [
        "two active prompts of an agent",
        [`update agent_prompts set is_active = true where agent_id = ${id("agent", 5)}`],
        "agent_prompts",
        "agent_prompts_one_active",
        3,
      ],
      [
        "two baselines of an agent",
        [`update agent_prompts set is_baseline = true where agent_id = ${id("agent", 5)}`],
        "agent_prompts",
        "agent_prompts_one_baseline",
        3,
      ],
      [
        "two open alerts of a key",
        [
          // Of another agent, or of none, it is another alert; and what is resolved is no open one.
          `update alert_history set details = '{"dedup_key": "k"}'
            where id in (${[10, 11, 12, 13, 14, 21].map((n) => id("alert", n)).join(", ")})`,
          `update alert_history set resolved = true where id = ${id("alert", 14)}`,
        ],
        "alert_history",
        "alert_history_open_key",
        3,
      ],
      [
        "a row of another organization referred to",
        [`update alert_history set agent_id = ${id("agent", 2)} where id = ${id("alert", 11)}`],
        "alert_history",
        "alert_history_agent_id_fkey",
        1,
      ],
      [
        "a version that descends from another organization's",
        [
          `update agent_prompts set parent_version_id = ${id("prompt", 6)} where id = ${id("prompt", 3)}`,
        ],
        "agent_prompts",
        "agent_prompts_parent_version_id_fkey",
        1,
      ],
      [
        "a use that joins two organizations",
        [
          `update prompt_library_usage set library_component_id = ${id("component", 2)} where id = ${id("usage", 1)}`,
        ],
        "prompt_library_usage",
        "prompt_library_usage_library_component_id_fkey",
        1,
      ],
      [
        "a missing column that must have a value",
        ["alter table agent_registry drop column display_name"],
        "agent_registry",
        "display_name",
        8,
      ],
    ];

    test.each(OFFENCES)("%s is in the way", async (_, statements, ...expected) => {
      const result = await adoptAfter(statements);
      expect(result?.adopted).toBe(false);
      expect(result?.offences.map(({ table, rule, count }) => [table, rule, count])).toEqual([
        expected,
      ]);
      const [offence] = result?.offences ?? [];
      expect(offence?.ids).toHaveLength(Math.min(3, offence?.count ?? 0));
    });

    test("all that is in the way is listed at once, in words, and nothing is changed", async () => {
      const statements = [
        "update agent_registry set category = 'fun', version = '' where agent_name = 'agent-3'",
        "update agent_slas set is_active = null",
        `update ab_tests set treatment_prompt_id = control_prompt_id where id = ${id("test", 1)}`,
      ];
      const result = await adoptAfter(statements);
      expect(result?.offences.map(({ demands }) => demands)).toEqual([
        "category: one of client_success, marketing, sales, operations, internal",
        "version: text of 1 to 255 characters",
        "control_prompt_id and treatment_prompt_id must differ",
        "is_active: not NULL",
      ]);
      await changesNothing(statements);
      await changesNothing(statements, { fillDefaults: true });
    });

    test("every rule of the catalog is looked for before it is put upon the rows", () =>
      tried(async (tx, query) => {
        await adopt(tx);
        const live = await liveTypes(tx);
        const looked = TABLES.flatMap((table) => rulesOf(table, live).map(({ name }) => name));
        const constraints = await query<{ name: string }>(
          `select distinct conname::text as name from pg_constraint
           where connamespace = 'public'::regnamespace and contype in ('c', 'u', 'p', 'f', 'x')
           union select relname from pg_index join pg_class c on c.oid = indexrelid
           where relnamespace = 'public'::regnamespace and indisunique`,
        );
        expect(looked).toEqual(expect.arrayContaining(constraints.map(({ name }) => name)));
        const required = await query<{ name: string }>(
          `select distinct attname::text as name from pg_attribute join pg_class c on c.oid = attrelid
           where relnamespace = 'public'::regnamespace and relkind = 'r' and attnotnull and attnum > 0`,
        );
        expect(looked).toEqual(expect.arrayContaining(required.map(({ name }) => name)));
      }));

    test("fillDefaults replaces NULLs by the column's default, and says how many", () =>
      tried(async (tx, query) => {
        await query("update agent_registry set status = null, metadata = null");
        await query("update agent_registry set created_at = null where agent_name < 'agent-4'");
        await query("update agent_execution_logs set status = null where status = 'running'");
        await query("create table statuses (name text primary key)");
        await query("insert into statuses values ('active')");
        await query(`alter table agent_registry add constraint my_status foreign key (status)
          references statuses deferrable initially deferred`);
        const { adopted, filled } = await adopt(tx, { fillDefaults: true });
        expect(adopted).toBe(true);
        expect(filled).toEqual([
          { table: "agent_registry", column: "status", count: 8 },
          { table: "agent_registry", column: "created_at", count: 3 },
          { table: "agent_registry", column: "metadata", count: 8 },
          { table: "agent_execution_logs", column: "status", count: 8 },
        ]);
        const filledRows = await query(
          `select status, metadata::text, created_at = now() as now, count(*)::int as count
           from agent_registry group by 1, 2, 3 order by 3`,
        );
        expect(filledRows).toEqual([
          { status: "active", metadata: "{}", now: false, count: 5 },
          { status: "active", metadata: "{}", now: true, count: 3 },
        ]);
        const others = await diff(tx);
        expect(others.map(({ object }) => object)).toEqual([
          "foreign key my_status on agent_registry",
        ]);
      }));

    test("a dry run finds the same and changes nothing", async () => {
      const statements = ["update agent_registry set status = null"];
      const result = await adoptAfter(statements, { dryRun: true });
      expect(result).toMatchObject({ adopted: false, offences: [{ rule: "status", count: 8 }] });
      await changesNothing(statements, { dryRun: true, fillDefaults: true });
      const clean = await adoptAfter([], { dryRun: true });
      expect(clean).toMatchObject({ adopted: false, offences: [] });
      expect(clean?.findings).toEqual((await adoptAfter([]))?.findings);
    });

    test("types that hold no more are converted, rows and all", () =>
      tried(async (tx, query) => {
        await query(
          "create type kind as enum ('client_success', 'marketing', 'sales', 'operations', 'internal')",
        );
        await query(
          "alter table agent_registry alter column category type kind using category::kind",
        );
        await query("alter table agent_registry alter column version type varchar(20)");
        await query("alter table learning_log alter column applicable_to type varchar(40)[]");
        await query("alter table evaluation_reports alter column overall_score type numeric(8, 2)");
        await query("alter table agent_slas alter column target_p50_latency_ms type smallint");
        const before = await contents(query);
        expect((await adopt(tx)).offences).toEqual([]);
        expect(await contents(query, undefined, before)).toEqual(before);
        expect(await diff(tx)).toEqual([]);
      }));

    test("other types are refused, all of them named", () =>
      tried(async (tx, query) => {
        await query(
          "alter table agent_registry alter column metadata drop default, alter column metadata type json",
        );
        await query("alter table alert_history alter column created_at type timestamp");
        const attempt = adopt(tx);
        await expect(attempt).rejects.toThrow("agent_registry.metadata is json, expected jsonb");
        await expect(attempt).rejects.toThrow(
          "alert_history.created_at is timestamp without time zone, expected timestamp with time zone",
        );
      }));

    test("a column of others that must be given a value is refused: nobody could insert afterwards", () =>
      tried(async (tx, query) => {
        await query("create domain tenant as text not null");
        await query(`truncate agent_registry cascade`);
        await query(`alter table agent_registry add "Slug" text not null, add tenant tenant,
          add place int not null default 1, add number int not null generated always as identity,
          add twice int not null generated always as (2) stored, add optional text`);
        const attempt = adopt(tx);
        await expect(attempt).rejects.toThrow(
          "agent_registry.Slug is not of this package, NOT NULL",
        );
        await expect(attempt).rejects.toThrow('ALTER COLUMN "Slug" SET DEFAULT');
        await expect(attempt).rejects.toThrow("agent_registry.tenant is not of this package");
        await expect(attempt).rejects.not.toThrow(/place|number|twice|optional/);
      }));

    test("an index whose name something else has is refused, and who has it is said", () =>
      tried(async (tx, query) => {
        await query("create table tickets (id int)");
        await query("create index idx_ab_tests_organization_id_running on tickets (id)");
        await query("create view idx_agent_slas_agent_id as select 1");
        const attempt = adopt(tx);
        await expect(attempt).rejects.toThrow(
          "idx_ab_tests_organization_id_running is taken by an index of public.tickets: ALTER INDEX",
        );
        await expect(attempt).rejects.toThrow("idx_agent_slas_agent_id is taken by another object");
      }));

    test("a view or a partitioned table in the place of a table is refused, before anything else", () =>
      tried(async (tx, query) => {
        await query("drop table execution_embeddings");
        await query("create table execution_embeddings (id uuid) partition by hash (id)");
        await query("alter table alert_history rename to alerts");
        await query("create view alert_history as select * from alerts");
        const attempt = adopt(tx);
        await expect(attempt).rejects.toThrow("alert_history is a view");
        await expect(attempt).rejects.toThrow("execution_embeddings is partitioned");
      }));

    test("a missing table and missing columns are made", () =>
      tried(async (tx, query) => {
        await query("drop table agent_dependencies");
        await query("alter table agent_registry drop column owner_email, drop column version");
        expect((await adopt(tx)).adopted).toBe(true);
        expect(await query("select distinct version, owner_email from agent_registry")).toEqual([
          { version: "1.0.0", owner_email: null },
        ]);
        expect(await diff(tx)).toEqual([]);
      }));

    test("one empty table is enough to begin with: the others are made", () =>
      tried(async (tx, query) => {
        const others = TABLES.map(getTableName).filter((name) => name !== "prompt_library_usage");
        await query(`drop table if exists ${others.join(", ")} cascade`);
        await query("delete from prompt_library_usage");
        expect((await adopt(tx)).adopted).toBe(true);
        expect(await diff(tx)).toEqual([]);
      }));

    const ASKING = [
      ...["adopt/adopt", "adopt/violations", "drift/catalog", "drift/expected", "drift/kinds"],
      ...["migrate/journal", "migrate/lock"],
    ].map((name) => `operate/${name}`);
    const plantedFor = (spared: readonly string[] = []) =>
      planted(
        [...ASKING, "client/settings", "schema/rules", "schema/table"].map((name) => `${name}.ts`),
        spared,
      ).split(/(?<=end \$\$);/);

    test("a dry run calls nothing that others planted in schema public", () =>
      tried(async (tx, query) => {
        const before = await adopt(tx, { dryRun: true });
        for (const statement of plantedFor()) await query(statement);
        expect(await adopt(tx, { dryRun: true })).toEqual(before);
      }));

    // The first migration compares by <> and cannot change any more.
    test("nothing that others planted in schema public is called, or gets into what is made", () =>
      tried(async (tx, query) => {
        await query("update agent_registry set status = null");
        await query("drop table agent_dependencies");
        for (const statement of plantedFor(["<>"])) await query(statement);
        expect((await adopt(tx, { fillDefaults: true })).adopted).toBe(true);
        expect(await diff(tx)).toEqual([]);
      }));

    test("where public does not come first, the tables looked at would be others: refused", () =>
      tried(async (tx, query) => {
        await query("create schema elsewhere");
        await query("set local search_path = elsewhere, public");
        await expect(adopt(tx)).rejects.toThrow("public must come first on the search_path");
      }));

    test("a database with our journal is migrate's", () =>
      tried(async (tx) => {
        await adopt(tx);
        await expect(adopt(tx)).rejects.toThrow("run meta-agent-db migrate");
      }));
  },
  openSeed,
);

suite(
  "adopt leaves alone what is not its to take",
  (database) => {
    test("a database without any of the tables is migrate's", async () => {
      const before = await catalog(database.query);
      await expect(adopt(database.db)).rejects.toThrow(
        "This database has none of the tables: run meta-agent-db migrate.",
      );
      expect(await catalog(database.query)).toEqual(before);
    });
  },
  openEmpty,
);

suite("adopt takes over our own tables", (database) => {
  test("without a journal: nothing but the journal is written", async () => {
    await database.query("drop schema drizzle cascade");
    const before = await catalog(database.query);
    const { adopted, findings } = await adopt(database.db);
    expect(adopted).toBe(true);
    expect(findings.map(({ object }) => object)).toEqual([]);
    const after = await catalog(database.query);
    expect(after.filter((line) => !line.includes("drizzle"))).toEqual(before);
    expect(await migrate(database.db)).toEqual({ applied: [] });
  });
});

suite(
  "adopt takes over the tables of 0.1.0 without a journal",
  (database) => {
    test("what was a constraint becomes the index of that name, over the rows there are", async () => {
      const { adopted, findings } = await adopt(database.db);
      expect(adopted).toBe(true);
      expect(
        findings
          .filter(({ object }) => object.startsWith("unique index agent_prompts_"))
          .map(({ object, problem, safe }) => `${object} ${problem} ${safe}`),
      ).toEqual([
        "unique index agent_prompts_one_active on agent_prompts changed false",
        "unique index agent_prompts_one_baseline on agent_prompts changed false",
      ]);
      expect(await diff(database.db)).toEqual([]);
      expect(await migrate(database.db)).toEqual({ applied: [] });
    });
  },
  async () => {
    const database = await openEmpty();
    const last = MIGRATIONS.findIndex(({ name }) => name === "0011_tenant_indexes");
    await migrate(database.db, { migrations: MIGRATIONS.slice(0, last + 1) });
    await fillSeed(database, { agents: 8, logs: 60 });
    await database.query("drop schema drizzle cascade");
    return database;
  },
);
