import { TransactionRollbackError, getTableName, sql } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { type Database, type Transaction, rows } from "../src/client/sql.ts";
import { loadDemo } from "../src/demo/load.ts";
import { acquireExecution } from "../src/fleet/breaker.ts";
import { expireExecutions } from "../src/fleet/budgets.ts";
import { type DoctorOptions, doctor } from "../src/operate/doctor/doctor.ts";
import type { Diagnosis } from "../src/operate/doctor/check.ts";
import { rebuildEmbeddingIndexes } from "../src/operate/rebuild.ts";
import { type TestDatabase, engine, openEmpty, suite } from "./engine.ts";
import { planted } from "./planted.ts";
import { oneOfEach } from "./rows.ts";

const [OURS, THEIRS] = [
  "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10",
  "c93b8f0e-2a47-4a7e-8a2b-64d1f4f0a111",
];

/** Runs `work` in a transaction that is rolled back. */
async function undone(
  { db }: TestDatabase,
  work: (tx: Transaction) => Promise<void>,
): Promise<void> {
  const rolledBack = db.transaction(async (tx) => {
    await work(tx);
    tx.rollback();
  });
  await expect(rolledBack).rejects.toThrow(TransactionRollbackError);
}

const run = async (tx: Transaction | Database, statements: readonly string[]) => {
  for (const statement of statements) await tx.execute(sql.raw(statement));
};

/** What doctor says; of the logins of a server, which other tests make too, only of this file's. */
async function examine(db: Database | Transaction, options?: DoctorOptions): Promise<Diagnosis[]> {
  const found = await doctor(db, options);
  return found.filter(({ check, message }) => check !== "logins" || message.includes("doctor"));
}

/** What is above info, as one line each. */
const grave = (found: readonly Diagnosis[]) =>
  found
    .filter(({ level }) => level !== "info")
    .map(({ level, check, message }) => `${level} ${check}: ${message}`);

/** The statements of a next step, as a transaction takes them. */
const statementsOf = ({ next }: Diagnosis): string[] =>
  next.endsWith(";") ? next.replaceAll(" CONCURRENTLY", "").split(/(?<=;) /) : [];

const VECTOR = `('[1' || repeat(',0', 1535) || ']')::vector`;
const agents = (organization: string) =>
  `insert into agent_registry (agent_name, display_name, category, organization_id)
   values ('a', 'A', 'sales', ${organization})`;
const embedded = (count: number) => [
  agents("null").replace("'a'", "gen_random_uuid()::text"),
  `insert into agent_execution_logs (agent_id, execution_id, action_type)
   select id, gen_random_uuid(), 'reply' from agent_registry, generate_series(1, ${count})`,
  `insert into execution_embeddings (execution_log_id, input_embedding, error_embedding)
   select id, ${VECTOR}, case when random() < 0.01 then ${VECTOR} end from agent_execution_logs`,
  "analyze",
];

/** Tables of the user's own that are isolated. */
const OWN_TABLES = [
  `create table notes (id uuid primary key, agent_id uuid not null references agent_registry, sla_id uuid,
     parent uuid references notes, organization_id uuid default meta_agent.current_organization_id())`,
  "create index on notes (agent_id)",
  "create index on notes (sla_id)",
  "create index on notes (parent)",
  "create table note_words (id uuid primary key, note_id uuid not null references notes)",
  "create index on note_words (note_id)",
  "create table plain_notes (organization_id uuid)",
  "select meta_agent.isolate('notes', 'notes')",
  "select meta_agent.isolate('note_words', 'words of \"notes\"')",
  "select meta_agent.isolate('plain_notes', 'plain notes')",
];

const ISOLATED: [title: string, damage: string[], problems: string][] = [
  ["row-level security off", ["alter table notes disable row level security"], "row-level .+ off"],
  ...["see", "add", "change", "remove"].map((verb): [string, string[], string] => [
    `the policy to ${verb} dropped`,
    [`drop policy "Users ${verb} own org notes" on notes`],
    `the policy "Users ${verb} own org notes" is missing`,
  ]),
  [
    "the backend's policy dropped",
    [`drop policy "Service role full access" on notes`],
    `the policy "Service role full access" is missing`,
  ],
  [
    "a policy that shows all",
    [`alter policy "Users see own org notes" on notes using (true)`],
    `the policy "Users see own org notes" is changed`,
  ],
  [
    "a policy for everyone",
    [`alter policy "Users see own org notes" on notes to public`],
    `the policy "Users see own org notes" is changed`,
  ],
  [
    "policies that look at no parent",
    [
      `alter policy "Users add own org notes" on notes with check (organization_id = (select meta_agent.current_organization_id()))`,
    ],
    `the policy "Users add own org notes" is changed`,
  ],
  [
    "a reference that came later",
    ["alter table notes add foreign key (sla_id) references agent_slas"],
    `the policy "Users add own org notes" is changed; the policy "Users change own org notes" is changed`,
  ],
  [
    "privileges that look past policies",
    ["grant truncate on notes to authenticated", "grant select on notes to anon, public"],
    "PUBLIC may SELECT, anon may SELECT, authenticated may TRUNCATE",
  ],
];

/** What is wrong, what is done for that, and what is said. */
const CONDITIONS: [condition: string, damage: string[], said: RegExp[], options?: DoctorOptions][] =
  [
    [
      "a login that is a superuser",
      ["create role doctor_app login noinherit superuser in role authenticated"],
      [/^error logins: the login doctor_app is a superuser/],
    ],
    [
      "a login with BYPASSRLS",
      ["create role doctor_app login noinherit bypassrls in role authenticated"],
      [/^error logins: the login doctor_app has BYPASSRLS/],
    ],
    [
      "a login of another name that inherits service_role",
      ['create role "doctor jobs" login inherit in role service_role'],
      [/^error logins: the login "doctor jobs" inherits service_role/],
    ],
    [
      "a login that inherits authenticated through a group",
      [
        "create role doctor_staff in role authenticated",
        "create role doctor_reporter login inherit in role doctor_staff",
      ],
      [/^warning logins: the login doctor_reporter inherits authenticated/],
    ],
    [
      "a login that may act as both",
      ["create role doctor_app login noinherit in role authenticated, service_role"],
      [/^warning logins: the login doctor_app may act as authenticated and as service_role/],
    ],
    [
      "a login that may become the owner of the tables",
      [
        "create role doctor_holder",
        "alter table agent_slas owner to doctor_holder",
        "create role doctor_app login noinherit in role authenticated, doctor_holder",
      ],
      [/^error logins: the login doctor_app is a member of doctor_holder, who owns the tables/],
    ],
    [
      "a login that owns a table of ours",
      [
        "create role doctor_app login noinherit in role authenticated",
        "alter table agent_slas owner to doctor_app",
      ],
      [/^error logins: the login doctor_app owns the tables/],
    ],
    [
      "a login that owns something else",
      [
        "create role doctor_app login noinherit in role authenticated",
        "create schema theirs authorization doctor_app",
      ],
      [/^warning logins: the login doctor_app owns objects/],
    ],
    [
      "a login with CREATEROLE",
      ["create role doctor_app login noinherit createrole in role authenticated"],
      [/^warning logins: the login doctor_app has CREATEROLE/],
    ],
    [
      "tenants who are service_role",
      ["grant service_role to authenticated"],
      [/^error roles: the role authenticated is a member of service_role/],
    ],
    [
      "tenants with a right more than theirs",
      ["create role doctor_staff", "grant doctor_staff to anon"],
      [/^warning roles: the role anon is a member of doctor_staff/],
    ],
    [
      "a role of ours with an attribute",
      ["alter role authenticated bypassrls login"],
      [
        /^error roles: the role authenticated has BYPASSRLS/,
        /^warning roles: the role authenticated may log in/,
      ],
    ],
    [
      "a SECURITY DEFINER function whose body names a table of ours",
      [
        `create function doctor_count() returns bigint language plpgsql security definer as
           $$ begin return (select count(*) from public.Agent_Registry); end $$`,
      ],
      [
        /^warning isolation: public.doctor_count\(\) is SECURITY DEFINER, .+ seems to read agent_registry as postgres/,
      ],
    ],
    [
      "a SECURITY DEFINER function whose body reads a table of ours, and one by a view, in any schema",
      [
        'create schema "Doctor"',
        'grant usage on schema "Doctor" to authenticated',
        'create view "Doctor".fair with (security_invoker) as table agent_slas',
        `create function "Doctor".one() returns bigint language sql security definer
           begin atomic select count(*) from agent_registry; end`,
        `create procedure "Doctor".two() language sql security definer
           begin atomic select from "Doctor".fair; end`,
      ],
      [
        /^warning isolation: "Doctor".one\(\) is SECURITY DEFINER, .+ reads agent_registry as/,
        /^warning isolation: "Doctor".two\(\) is SECURITY DEFINER, .+ reads agent_slas as/,
      ],
    ],
    [
      "a table of the user's own without row-level security, and open to tenants",
      [
        "create table notes (organization_id uuid)",
        "grant select (organization_id) on notes to authenticated",
      ],
      [/^error isolation: public.notes has an organization_id and no row-level security: tenants/],
    ],
    [
      "tables of the user's own without row-level security, and one without a policy",
      [
        "create table notes (organization_id uuid)",
        "create schema mine",
        "create table mine.notes (organization_id uuid)",
        "create table papers (organization_id uuid)",
        "alter table papers enable row level security",
        // Supabase's default privileges do it.
        "grant all on papers to anon, authenticated",
        "alter table mine.notes enable row level security",
        "create policy own on mine.notes using (true)",
      ],
      [
        /^warning isolation: public.notes has an organization_id and no row-level security: a grant/,
        /^warning isolation: public.papers has an organization_id and no policy/,
      ],
    ],
    ...ISOLATED.map(([title, damage, problems]): [string, string[], RegExp[]] => [
      `a table of the user's own, isolated, and then ${title},`,
      [...OWN_TABLES, ...damage],
      [new RegExp(`^error isolation: public.notes is no longer as .+: ${problems}$`)],
    ]),
    [
      "a reference without an index, of the user's own table",
      [
        "create table notes (agent_id uuid references agent_registry, sla_id uuid references agent_slas)",
        "create index on notes (sla_id) where sla_id is not null",
      ],
      [/^warning references: the reference notes_agent_id_fkey of public.notes has no index/],
    ],
    [
      "a reference of two columns whose index begins with another",
      [
        "alter table agent_slas add unique (id, organization_id)",
        `create table notes (day date, sla_id uuid, owner_id uuid,
         foreign key (sla_id, owner_id) references agent_slas (id, organization_id))`,
        "create index on notes (day, sla_id, owner_id)",
      ],
      [/^warning references: the reference notes_sla_id_owner_id_fkey of public.notes/],
    ],
    [
      "counters that are full",
      [
        agents("null"),
        "insert into agent_performance_metrics (agent_id, date, total_tokens_input) select id, '2026-01-01', 2147483647 from agent_registry",
      ],
      [
        /^warning overflow: rows of public.agent_performance_metrics that hold the largest INTEGER.+: 1$/,
      ],
      { deep: true },
    ],
    [
      "executions whose enclosing rows repeat what their calls cost",
      [
        agents("null"),
        `insert into agent_execution_logs (agent_id, execution_id, action_type, token_count_input, estimated_cost_usd)
          select id, ('00000000-0000-4000-8000-00000000000' || execution)::uuid, type, tokens, cost
          from agent_registry, (values
            (1, 'agent_run', 7, 0.1), (1, 'llm_call', 7, 0.1),
            (2, 'agent_step', null, 0.1), (2, 'agent_run', 0, null), (2, 'reply', 7, null),
            -- Each of these costs once.
            (3, 'agent_run', null, 0), (3, 'llm_call', 7, 0.1),
            (4, 'agent_run', 7, 0.1), (4, 'agent_step', 7, 0.1), (4, 'tool_call', null, null)
          ) as row (execution, type, tokens, cost)`,
      ],
      [
        /^warning costs: executions of a whose agent_run or agent_step rows .+ twice: 2, such as 00000000-0000-4000-8000-000000000001/,
      ],
      { deep: true },
    ],
    [
      "budgets whose counters differ from the log",
      [
        agents("null"),
        `insert into agent_execution_logs (agent_id, execution_id, action_type, estimated_cost_usd)
          select id, gen_random_uuid(), 'llm_call', 0.25 from agent_registry`,
        `insert into cost_budgets (id, agent_id, current_daily_spend, current_weekly_spend, current_monthly_spend)
          select '00000000-0000-4000-8000-000000000001'::uuid, id, 0.25, 0.25, 0.25 from agent_registry
          union all select '00000000-0000-4000-8000-000000000002', null, 0.25, 0.125, 0.25`,
      ],
      [
        /^warning budgets: budgets whose counters .+: 1, such as 00000000-0000-4000-8000-000000000002 weekly: 0.125, and 0.25$/,
      ],
      { deep: true },
    ],
  ];

/** Above info, and besides what the damage is as a difference from the migrations. */
const besides = async (tx: Transaction, options?: DoctorOptions) =>
  (await examine(tx, options)).filter(({ level, check }) => level !== "info" && check !== "schema");

suite("doctor", (database) => {
  test("the demo fleet is healthy", async () => {
    await undone(database, async (tx) => {
      expect(grave(await examine(tx, { deep: true }))).toEqual([]);
    });
  });

  test.each(CONDITIONS)(
    "%s is found, and its next step mends it",
    async (_, damage, said, options) => {
      await undone(database, async (tx) => {
        await run(tx, damage);
        const found = await besides(tx, options);
        expect(grave(found)).toEqual(said.map((pattern) => expect.stringMatching(pattern)));
        await run(tx, found.flatMap(statementsOf));
        const left = grave(await besides(tx, options));
        expect(left).toEqual(options?.deep ? grave(found) : []);
      });
    },
  );

  test("a difference from the migrations is found, an error where isolation depends on it", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        'drop policy "Users see own org SLAs" on agent_slas',
        "drop index idx_agent_slas_agent_id",
        "alter table agent_slas add column note text",
        "drop table model_routing_rules",
      ]);
      const found = grave(await examine(tx)).map((line) => line.split(". ")[0]);
      expect(found).toEqual([
        "error schema: table model_routing_rules is missing",
        "warning schema: column agent_slas.note is not of the migrations",
        "warning schema: index idx_agent_slas_agent_id on agent_slas is missing",
        'error schema: policy "Users see own org SLAs" on agent_slas is missing',
      ]);
    });
  });

  test("tables of the user's own that are isolated, or nobody's organization's, are no findings", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        ...OWN_TABLES,
        "create table words (word text)",
        "create policy mine on notes as restrictive to authenticated using (agent_id is not null)",
      ]);
      expect(grave(await examine(tx))).toEqual([]);
    });
  });

  test("SECURITY DEFINER functions that open nothing to tenants are no findings", async () => {
    await undone(database, async (tx) => {
      const body = "as 'select count(*) from public.agent_registry'";
      const make = "create function doctor_count() returns bigint language sql";
      await run(tx, [
        // Of another table; of an owner to whom the policies apply; a trigger's; not for tenants; in a schema
        // that they may not use.
        "create function one() returns text language sql security definer as $$ select 'agent_registry_old' $$",
        "create role doctor_poor",
        `${make.replace("doctor_count", "two")} security definer ${body}`,
        "alter function two() owner to doctor_poor",
        `create function three() returns trigger language plpgsql security definer as
           $$ begin perform count(*) from agent_registry; return new; end $$`,
        `${make.replace("doctor_count", "four")} security definer ${body}`,
        "revoke execute on function four() from public",
        "create schema hidden",
        `${make.replace("doctor_count", "hidden.five")} security definer ${body}`,
        `${make.replace("doctor_count", "six")} ${body}`,
      ]);
      expect(grave(await examine(tx))).toEqual([]);
    });
  });

  test("a table that inherits is an error, with the repair that closes it", async () => {
    await undone(database, async (tx) => {
      await run(tx, ["create table spy ()", "alter table agent_registry inherit spy"]);
      expect((await examine(tx)).filter(({ level }) => level === "error")).toEqual([
        {
          level: "error",
          check: "schema",
          message: expect.stringMatching(
            /^inheritance of agent_registry from spy is not of the migrations\. /,
          ),
          next: "meta-agent-db diff --repair",
        },
      ]);
    });
  });

  test("a publication of our tables is told", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        "create table notes ()",
        "create publication mine for table agent_slas, notes, agent_registry",
      ]);
      const found = (await examine(tx)).filter(({ check }) => check === "isolation");
      expect(found).toMatchObject([
        {
          level: "info",
          message: expect.stringMatching(/^the publication mine .+: agent_registry, agent_slas$/),
        },
      ]);
    });
  });

  test("calls nothing that others planted in schema public", async () => {
    await undone(database, async (tx) => {
      await insertEach(tx, OURS);
      const before = await examine(tx, { deep: true });
      await plant(tx);
      expect(await examine(tx, { deep: true })).toEqual(before);
    });
  });

  test.each([
    [
      "pending",
      "delete from drizzle.__meta_agent_migrations where id = (select max(id) from drizzle.__meta_agent_migrations)",
      "meta-agent-db migrate",
    ],
    ["skipped", "delete from drizzle.__meta_agent_migrations where id = 2", "meta-agent-db status"],
    [
      "edited",
      "update drizzle.__meta_agent_migrations set hash = 'x' where id = 2",
      "meta-agent-db status",
    ],
    [
      "unknown",
      "insert into drizzle.__meta_agent_migrations (hash, created_at) values ('x', 1)",
      "meta-agent-db status",
    ],
    ["all pending", "drop table drizzle.__meta_agent_migrations", "meta-agent-db adopt"],
  ])(
    "a migration that is %s comes before what is missing because of it",
    async (_, damage, next) => {
      await undone(database, async (tx) => {
        await run(tx, ["drop index idx_agent_slas_agent_id", damage]);
        const found = (await examine(tx)).filter(({ check }) => check === "schema");
        expect(found).toEqual([expect.objectContaining({ level: "error", next })]);
      });
    },
  );

  test("a login that may not read the journal is told so, and what is missing too", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        "drop index idx_agent_slas_agent_id",
        "create role doctor_app login noinherit in role authenticated",
        "set local role doctor_app",
      ]);
      const found = (await examine(tx)).filter(({ check }) => check === "schema");
      expect(found.map(({ level, message }) => [level, message.split(". ")[0]])).toEqual([
        ["info", "the journal is not checked: needs the owner of the tables"],
        ["warning", "index idx_agent_slas_agent_id on agent_slas is missing"],
      ]);
    });
  });

  test.each(["_new", "_old"])(
    "an index %s that a rebuild left behind is the rebuild's to drop, valid or not",
    async (suffix) => {
      const damage = [
        `create index idx_error_embedding${suffix} on execution_embeddings (id)`,
        "set local allow_system_table_mods = on",
        `update pg_index set indisvalid = false where indexrelid = 'idx_error_embedding${suffix}'::regclass`,
      ];
      for (const statements of [damage, damage.slice(0, 1)]) {
        await undone(database, async (tx) => {
          await run(tx, statements);
          const found = (await examine(tx)).filter(({ level }) => level !== "info");
          expect(found).toEqual([
            {
              level: "warning",
              check: "indexes",
              message: expect.stringContaining(
                `idx_error_embedding${suffix} of public.execution_embeddings is left over from a rebuild`,
              ),
              next: "meta-agent-db rebuild",
            },
          ]);
        });
      }
    },
  );

  test("ids that run out are found", async () => {
    const old = (share: number) =>
      `((txid_current() - ${share * 2 ** 31} + 2 ^ 33) :: bigint % (2 ^ 32) :: bigint) :: text :: xid`;
    await undone(database, async (tx) => {
      await run(tx, [
        "set local allow_system_table_mods = on",
        `update pg_class set relfrozenxid = ${old(0.6)} where oid = 'agent_slas'::regclass`,
        `update pg_class set relfrozenxid = ${old(0.8)} where oid = 'agent_registry'::regclass`,
      ]);
      expect(grave(await examine(tx)).toSorted()).toEqual([
        expect.stringMatching(
          /^error overflow: the transaction ids of public.agent_registry: 80 %/,
        ),
        expect.stringMatching(/^warning overflow: the transaction ids of public.agent_slas: 60 %/),
      ]);
    });
  });

  test("rows of no organization are counted, a table each", async () => {
    await undone(database, async (tx) => {
      const before = await examine(tx);
      await run(tx, [agents("null"), agents(`'${OURS}'`).replace("'a'", "'b'")]);
      const found = await examine(tx);
      expect(found.filter(({ check }) => check === "platform rows")).toEqual([
        expect.objectContaining({
          level: "info",
          message: "rows of no organization, which no tenant sees: agent_registry 1",
        }),
      ]);
      expect(found).toHaveLength(before.length + 1);
    });
  });

  test("rows that have been running for more than a day are found, until they expire", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        agents("null"),
        `insert into agent_execution_logs (agent_id, execution_id, action_type, status, timestamp)
          select id, gen_random_uuid(), 'agent_run', outcome, now() - age * interval '1 hour'
          from agent_registry, (values ('running', 25), ('running', 23), ('success', 25)) as row (outcome, age)`,
      ]);
      const found = async () => grave(await besides(tx));
      expect(await found()).toEqual([
        expect.stringMatching(
          /^warning executions: rows that have been running for more than a day: 1 of 1 agents, since \d{4}-/,
        ),
      ]);
      await expireExecutions(tx, { olderThan: new Date(Date.now() - 86_400_000) });
      expect(await found()).toEqual([]);
    });
  });

  test("breakers whose probe has lapsed are found, until another is let out; no others are", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        `insert into agent_registry (agent_name, display_name, category, organization_id)
         select name, 'A', 'sales', '${OURS}' from unnest(array['lost', 'out', 'reported', 'open', 'by hand']) as name`,
        `insert into circuit_breaker_state (agent_id, organization_id, state, half_open_at, last_success_at, cooldown_seconds)
         select id, organization_id, case agent_name when 'open' then 'open' else 'half_open' end,
           case agent_name when 'by hand' then null else now() - interval '1 hour' end,
           case agent_name when 'reported' then now() end, case agent_name when 'out' then 7200 else 3599 end
         from agent_registry where organization_id = '${OURS}'`,
      ]);
      const said = async () => (await besides(tx)).filter(({ check }) => check === "breakers");
      expect(await said()).toMatchObject([
        {
          level: "warning",
          message: expect.stringMatching(
            /^the circuit breaker of lost is half open, .+ UTC has lapsed/,
          ),
        },
      ]);
      const [lost] = rows<{ id: string }>(
        await tx.execute(sql`select id from agent_registry where agent_name = 'lost'`),
      );
      await acquireExecution(tx, { agentId: lost?.id ?? "" });
      expect(await said()).toEqual([]);
    });
  });

  test("a crossed reference is found, whichever of them it is", async () => {
    const names = await database.query<{ name: string; child: string; parent: string }>(
      `select conname::text as name, conrelid::regclass::text as child, confrelid::regclass::text as parent
       from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace`,
    );
    // A use of a component has no organization: its two references are one finding.
    const crossing = names.filter(({ child }) => child !== "prompt_library_usage");
    expect(crossing).toHaveLength(names.length - 2);
    await undone(database, async (tx) => {
      await insertEach(tx, OURS);
      expect(grave(await examine(tx, { deep: true }))).toEqual([]);
    });
    const told = new Set<string>();
    for (const parent of new Set(names.map((name) => name.parent))) {
      await undone(database, async (tx) => {
        await insertEach(tx, OURS);
        await run(tx, [`update ${parent} set organization_id = '${THEIRS}'`]);
        const found = (await examine(tx, { deep: true })).filter(
          ({ check }) => check === "tenancy",
        );
        expect(found.map(({ level }) => level)).toEqual(found.map(() => "error"));
        for (const { message, next } of found) {
          const [, name = ""] = /by (.+): \d+$/.exec(message) ?? [];
          told.add(name);
          expect(rows(await tx.execute(sql.raw(next))).length, name).toBeGreaterThan(0);
        }
        const expected = names.filter(
          (name) =>
            (name.parent === parent) !== (name.child === parent) &&
            name.child !== "prompt_library_usage",
        );
        const single = found.map(({ message }) => message.replace(/^.* by |: \d+$/g, ""));
        expect(
          single.filter((name) => !name.startsWith("prompt_library_usage_")).toSorted(),
        ).toEqual(expected.map(({ name }) => name).toSorted());
      });
    }
    const self = crossing.filter(({ child, parent }) => child === parent).map(({ name }) => name);
    expect(self).toHaveLength(2);
    await undone(database, async (tx) => {
      await insertEach(tx, OURS);
      await run(tx, [
        `update agent_prompts set parent_version_id = (select id from agent_prompts o where o.id <> agent_prompts.id limit 1)`,
        `update agent_prompts set organization_id = '${THEIRS}' where id = (select min(id::text)::uuid from agent_prompts)`,
        `insert into learning_log select (jsonb_populate_record(l, jsonb_build_object('id', gen_random_uuid(),
          'superseded_by', l.id, 'organization_id', '${THEIRS}'))).* from learning_log l`,
      ]);
      const found = (await examine(tx, { deep: true })).map(({ message }) => message);
      for (const name of self) {
        expect(found.some((message) => message.includes(`by ${name}:`))).toBe(true);
        told.add(name);
      }
    });
    expect([...told].toSorted()).toEqual(
      [
        ...crossing.map(({ name }) => name),
        "prompt_library_usage_library_component_id_fkey",
      ].toSorted(),
    );
  });

  test("a row of the platform under an organization's is a warning", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        agents(`'${OURS}'`),
        "insert into agent_slas (agent_id) select id from agent_registry",
      ]);
      expect(grave(await examine(tx, { deep: true }))).toEqual([
        "warning tenancy: rows between the platform and an organization, by agent_slas_agent_id_fkey: 1",
      ]);
    });
  });

  test.each(["doctor_app", "doctor_stranger"])(
    "%s, a login without rights, gets answers and no errors",
    async (login) => {
      await undone(database, async (tx) => {
        await run(tx, [
          "create role doctor_app login noinherit in role authenticated",
          "create role doctor_stranger login",
          `set local role ${login}`,
        ]);
        const found = await examine(tx, { deep: true });
        expect(grave(found)).toEqual(
          login === "doctor_stranger"
            ? [
                "warning logins: the login doctor_stranger may act neither as authenticated nor as service_role",
              ]
            : [],
        );
        const unseen = found.filter(({ message }) => message.startsWith("not checked: needs"));
        expect(unseen.map(({ check }) => check)).toEqual(
          expect.arrayContaining(["statistics", "embeddings", "tenancy", "overflow"]),
        );
      });
    },
  );

  // On a server other tests make and drop this login.
  if (engine === "embedded") {
    test("the login that `roles --apply` makes is examined without a membership too", async () => {
      await undone(database, async (tx) => {
        await run(tx, ["create role meta_agent_app login"]);
        const found = await doctor(tx);
        expect(grave(found)).toEqual([
          expect.stringMatching(/^warning logins: the login meta_agent_app may act neither/),
        ]);
        await run(tx, found.flatMap(statementsOf));
        expect(grave(await doctor(tx))).toEqual([]);
      });
    });

    test("what needs a server of its own is left out", async () => {
      expect(await doctor(database.db, { longTransaction: 0 })).toEqual([]);
    });
  }
});

// What ANALYZE writes into pg_class stays there after a rollback: a database of their own.
suite("doctor, of a database that nobody analyzed", (database) => {
  test("tables and extended statistics without data are found, until they are analyzed", async () => {
    await run(database.db, [
      agents("null"),
      "insert into agent_slas (agent_id) select id from agent_registry, generate_series(1, 1000)",
      "alter table agent_slas set (autovacuum_enabled = off)",
      "alter table agent_execution_logs set (autovacuum_enabled = off)",
      "analyze agent_slas",
      "create statistics public.slas_stat on agent_id, measurement_window from agent_slas",
      "insert into agent_execution_logs (agent_id, execution_id, action_type) select id, id, 'x' from agent_registry, generate_series(1, 1000)",
    ]);
    const found = (await examine(database.db)).filter(({ check }) => check === "statistics");
    expect(grave(found)).toEqual([
      expect.stringMatching(/the table public.agent_execution_logs was never analyzed/),
      expect.stringMatching(/the statistics slas_stat of public.agent_slas are empty/),
    ]);
    await run(database.db, found.flatMap(statementsOf));
    const left = (await examine(database.db)).filter(({ check }) => check === "statistics");
    expect(left).toEqual([]);
  });
});

suite("doctor, of a database beside others' schemas", (database) => {
  test("names that must be quoted are no trouble", async () => {
    await undone(database, async (tx) => {
      await run(tx, [
        'create schema "My App"',
        'create table "My App".notes (id serial, a int, b int)',
        'create statistics "My App"."Stat" on a, b from "My App".notes',
        'create statistics "My App"."Own" on agent_id, measurement_window from agent_slas',
        agents("null"),
        "insert into agent_slas (agent_id) select id from agent_registry, generate_series(1, 1000)",
        'insert into "My App".notes (a, b) select n, n from generate_series(1, 1000) n',
        "analyze",
      ]);
      expect(grave(await examine(tx))).toEqual([]);
    });
  });
});

// Two builds of an index over 10,000 vectors: seconds on a server, half a minute in WebAssembly.
describe.skipIf(engine === "embedded")("doctor, of a server", () => {
  suite("with embeddings", (database) => {
    test("an index that was not built over its rows, or has lists that do not fit, is found until it is rebuilt", async () => {
      const found = async () =>
        (await doctor(database.db)).filter(({ check }) => check === "embeddings");
      await run(database.db, embedded(10_000));
      expect(grave(await found())).toEqual([
        "warning embeddings: the index idx_input_embedding was never built over its rows, now 10000: every search is exact",
      ]);
      await rebuildEmbeddingIndexes(database.db);
      expect(await found()).toEqual([]);
      await run(database.db, ["alter index idx_input_embedding set (lists = 1000)"]);
      expect(await found()).toMatchObject([
        {
          message: "the index idx_input_embedding has 1000 lists for 10,000 rows, 100 would fit",
          next: "meta-agent-db rebuild --force",
        },
      ]);
      await rebuildEmbeddingIndexes(database.db, { force: true });
      expect(await found()).toEqual([]);
    });
  });
});

suite("rebuild", (database) => {
  test("calls nothing that others planted in schema public", async () => {
    await database.script(planted(["fleet/embedding-index.ts", "operate/rebuild.ts"]));
    const rebuilt = await rebuildEmbeddingIndexes(database.db, { force: true });
    expect(rebuilt.map(({ action }) => action)).toEqual(["rebuilt", "rebuilt"]);
  });
});

suite("doctor, of a database that is filled", (database) => {
  test("the demo fleet is healthy, but for the execution that it leaves running", async () => {
    await loadDemo(database.db);
    const found = grave(await examine(database.db, { deep: true }));
    // Its story is over, and leaves one that runs, its run and the step it is in.
    expect(found).toEqual([
      expect.stringMatching(/^warning executions: .+ running for more than a day: 2 of 1 agents/),
    ]);
  });
});

suite(
  "doctor, of a database without the tables",
  (database) => {
    test("says what is missing and looks no further", async () => {
      expect(await examine(database.db)).toEqual([
        {
          level: "error",
          check: "server",
          message: "pgvector is not installed",
          next: "CREATE EXTENSION vector;",
        },
        {
          level: "error",
          check: "server",
          message: "the database is not migrated",
          next: "meta-agent-db migrate",
        },
      ]);
    });
  },
  openEmpty,
);

async function plant(tx: Transaction): Promise<void> {
  const files = [
    ...["check", "doctor", "isolation", "logins", "rows", "schema", "upkeep"].map(
      (name) => `doctor/${name}.ts`,
    ),
    ...["drift/catalog.ts", "drift/kinds.ts", "migrate/journal.ts", "rebuild.ts"],
  ];
  for (const statement of planted([
    ...files.map((file) => `operate/${file}`),
    ...["client/settings.ts", "fleet/embedding-index.ts"],
  ]).split(/(?<=end \$\$);/)) {
    await tx.execute(sql.raw(statement));
  }
}

async function insertEach(tx: Transaction, organization: string): Promise<void> {
  for (const { table, values } of oneOfEach()) {
    const owned =
      getTableName(table) === "prompt_library_usage" ? {} : { organizationId: organization };
    await tx.insert(table).values({ ...values, ...owned });
  }
}
