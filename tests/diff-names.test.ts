import { sql } from "drizzle-orm";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Transaction, rows, textArray } from "../src/client/sql.ts";
import { doctor } from "../src/operate/doctor/doctor.ts";
import type { Finding } from "../src/operate/drift/findings.ts";
import { applyRepairs, plannedFindings, repair } from "../src/operate/drift/diff.ts";
import { run, undone } from "./diff/damage.ts";
import { suite } from "./engine.ts";
import { SEED_TABLES } from "./seed.ts";

/** How many sets of names are tried, and the seed that repeats a failed run. */
const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 2);
const SEED = process.env["PROPERTY_SEED"];

const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`;
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;

/** What a user may make or rename, under a name of its own, each on a table where nothing else is made. */
const OBJECTS: readonly ((name: string) => readonly string[])[] = [
  (name) => [
    `create policy ${identifier(name)} on agent_slas to authenticated using (id is not null)`,
  ],
  (name) => [
    `create policy ${identifier(name)} on agent_registry as restrictive to authenticated using (display_name <> 'secret')`,
  ],
  (name) => [
    `create role ${identifier(name)}`,
    `create policy ${identifier(name)} on cost_budgets to ${identifier(name)} using (true)`,
    `grant truncate on shadow_tests to ${identifier(name)}`,
    `grant references (id) on sla_compliance to ${identifier(name)}`,
    `alter table agent_prompts owner to ${identifier(name)}`,
  ],
  (name) => [
    `alter table alert_history add column ${identifier(name)} text default 'x' not null`,
    `comment on column alert_history.${identifier(name)} is ${literal(name)}`,
  ],
  (name) => [`alter table ab_tests add constraint ${identifier(name)} check (id is not null)`],
  (name) => [
    `alter table agent_dependencies add constraint ${identifier(name)} check (id is not null) not valid`,
  ],
  (name) => [`alter table canary_deployments add constraint ${identifier(name)} unique (id)`],
  (name) => [
    `alter table learning_log add constraint ${identifier(name)} exclude using btree (id with =)`,
  ],
  (name) => [
    `alter table evaluation_reports add constraint ${identifier(name)} foreign key (id) references agent_registry`,
  ],
  (name) => [`create unique index ${identifier(name)} on prompt_library (id) where id is not null`],
  (name) => [`create index ${identifier(name)} on model_routing_rules (agent_id)`],
  (name) => [`create statistics ${identifier(name)} on agent_id, id from model_routing_rules`],
  (name) => [
    `create trigger ${identifier(name)} before update on prompt_library_usage for each row execute function suppress_redundant_updates_trigger(${literal(name)})`,
    `alter table prompt_library_usage disable trigger ${identifier(name)}`,
  ],
  (name) => [
    `create rule ${identifier(name)} as on delete to circuit_breaker_state do instead nothing`,
  ],
  (name) => [`create view ${identifier(name)} as select id as ${identifier(name)} from agent_slas`],
  (name) => [
    `create materialized view ${identifier(name)} as table agent_slas`,
    `grant select on ${identifier(name)} to authenticated, public`,
  ],
  (name) => [
    `create function meta_agent.${identifier(name)}(${identifier(name)} text default ${literal(name)}) returns text language sql as 'select null'`,
    `comment on function meta_agent.${identifier(name)} is ${literal(name)}`,
  ],
  (name) => [
    `create table meta_agent.${identifier(name)} (${identifier(name)} text primary key default ${literal(name)})`,
    `create index on meta_agent.${identifier(name)} (lower(${identifier(name)}))`,
  ],
  // Ours are missing under the name that they had.
  (name) => [
    `alter policy "Users see own org prompts" on agent_prompts rename to ${identifier(name)}`,
  ],
  (name) => [`alter table agent_performance_metrics rename avg_latency_ms to ${identifier(name)}`],
  (name) => [`alter index idx_logs_quality rename to ${identifier(name)}`],
  (name) => [
    `alter table execution_embeddings rename constraint execution_embeddings_execution_log_id_fkey to ${identifier(name)}`,
  ],
  // Ours are changed to something that a user named.
  (name) => [
    `create type ${identifier(name)} as enum ('one')`,
    `alter table improvement_proposals alter rationale type ${identifier(name)} using 'one'`,
  ],
  (name) => [
    `create collation ${identifier(name)} from "C"`,
    `alter table improvement_proposals alter title type text collate ${identifier(name)}`,
  ],
  (name) => [`alter table improvement_proposals alter description set default ${literal(name)}`],
  (name) => [
    `alter policy "Users see own org proposals" on improvement_proposals using (title <> ${literal(name)})`,
  ],
  (name) => [`comment on table agent_health_realtime is ${literal(name)}`],
];

/** Pieces that a reader of SQL might take for more than a name. */
const FRAGMENTS = [
  "p ON t AS PERMISSIVE FOR ALL TO anon USING (",
  " AS RESTRICTIVE FOR ALL TO analyst",
  " TO PUBLIC",
  " TO anon, ",
  "-- invalid",
  " -- disabled",
  " -- not validated",
  " DEFAULT ",
  " NOT NULL",
  " NOT VALID",
  " SET NOT NULL",
  " GENERATED ALWAYS AS (1) STORED",
  " TYPE ",
  " DROP COLUMN id",
  "DROP ROUTINE ",
  "CREATE UNIQUE ",
  "ALTER TABLE public.agent_slas OWNER TO anon",
  "TABLE public.agent_performance_metrics ADD COLUMN avg_latency_ms",
  " USING ivfflat (a) WITH (lists='7')",
  " ON a, b FROM ",
  "\n LANGUAGE sql",
  "$function$",
  "column agent_slas.id",
  ' on agent_registry" on ',
  "public.",
  "\n",
  '"',
  "'",
  "\\",
  "%I",
  "();",
  "ß日本🙂",
];

const bytes = (text: string) => Buffer.byteLength(text);
/** As PostgreSQL cuts a name that is too long, but before it does. */
const cut = (text: string) => {
  const characters = Array.from(text);
  while (bytes(characters.join("")) > 63) characters.pop();
  return characters.join("");
};

const hostileName = fc
  .tuple(
    fc.array(
      fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(...FRAGMENTS) },
        fc.string({ unit: "grapheme", minLength: 1, maxLength: 9 }),
      ),
      { minLength: 1, maxLength: 4 },
    ),
    fc.boolean(),
  )
  .map(([parts, isLong]) =>
    cut(parts.join("").replaceAll("\0", "") + (isLong ? "x".repeat(63) : "")),
  )
  // What is reserved, or may be there, is no new name.
  .filter((name) => !/^([a-z_0-9]*|pg_.*)$/s.test(name));

const hostileNames = fc.uniqueArray(hostileName, {
  minLength: OBJECTS.length,
  maxLength: OBJECTS.length,
});

/** What is said of a finding without a word that a name could be in. */
const said = ({ problem, safe, why, repair: statements }: Finding) =>
  `${problem}, ${safe ? "safe" : "by hand"}, ${statements.length} statements. ${why}`;

/** The same, with the kind and the table of each. */
async function judged(tx: Transaction): Promise<string[]> {
  const found = await plannedFindings(tx);
  return found
    .map(({ object: { kind, path }, finding }) => {
      const place = path.find((part) => SEED_TABLES.includes(part)) ?? "elsewhere";
      return `${kind}, ${place}: ${said(finding)}`;
    })
    .toSorted();
}

/** What doctor finds, without the words that a name could be in. */
const examined = async (tx: Transaction) =>
  (await doctor(tx, { deep: true })).map(({ check, level }) => `${check}: ${level}`).toSorted();

/** Indexes and statistics of these names: they do no harm, and must stay. */
async function kept(tx: Transaction, names: readonly string[]): Promise<number> {
  const found = await tx.execute(sql`
    select relname from pg_class where relkind = 'i' and relname = any (${textArray(names)})
    union all select stxname from pg_statistic_ext where stxname = any (${textArray(names)})`);
  return rows(found).length;
}

suite("diff of what a user named", (database) => {
  /** What is said of all objects under these names, before and after `repair`, and after all of it is applied. */
  const judgements = async (names: readonly string[]) => {
    const judgement: (string[] | number)[] = [];
    await undone(database.db, async (tx) => {
      await run(
        tx,
        OBJECTS.flatMap((object, index) => object(names[index] ?? "")),
      );
      judgement.push(await examined(tx), await judged(tx));
      const mended = await repair(tx);
      judgement.push(mended.remaining.map(said).toSorted(), await kept(tx, names));
      const all = await applyRepairs(tx, { only: () => true });
      judgement.push(all.remaining.map(said), await kept(tx, names));
    });
    return judgement;
  };

  test("what is found, what repair does and what it leaves does not depend on any name", async () => {
    const plain = await judgements(OBJECTS.map((_, index) => `plain_${index}`));
    expect(plain).toMatchObject({ 1: { length: 32 }, 4: [], 5: 3 });
    await fc.assert(
      fc.asyncProperty(hostileNames, async (names) => {
        expect(await judgements(names)).toEqual(plain);
      }),
      {
        numRuns: RUNS,
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
        endOnFailure: true,
      },
    );
  });
});
