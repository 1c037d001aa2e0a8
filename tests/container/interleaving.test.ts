/**
 * What a tenant sees is a function of its own statements alone. Random statements of two tenants run
 * interleaved over two connections; then each tenant's run again without the other. PROPERTY_RUNS sets
 * how many interleavings are tried, PROPERTY_SEED repeats a failed run.
 */
import * as fc from "fast-check";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { databaseError } from "../../src/client/errors.ts";
import { type TestDatabase, openMigrated } from "../engine.ts";
import { administer } from "../setup/server.ts";

const RUNS = Number(process.env["PROPERTY_RUNS"] ?? 25);
const SEED = process.env["PROPERTY_SEED"];

/** The tables that take part: the column that statements change, the references, what else a row needs. */
const TABLES = {
  agents: {
    name: "agent_registry",
    mark: "display_name",
    references: {},
    rest: (n: number) => ({ agent_name: `:own.name.${n}`, category: "'sales'" }),
  },
  prompts: {
    name: "agent_prompts",
    mark: "system_prompt",
    references: { agent_id: "agents", parent_version_id: "prompts" },
    rest: (n: number) => ({ version: `'v${n}'` }),
  },
  logs: {
    name: "agent_execution_logs",
    mark: "action_type",
    references: { agent_id: "agents", prompt_version_id: "prompts" },
    rest: () => ({ execution_id: "gen_random_uuid()" }),
  },
  alerts: {
    name: "alert_history",
    mark: "title",
    references: { agent_id: "agents" },
    rest: () => ({ alert_type: "'cost'", severity: "'info'", message: "'m'" }),
  },
  learnings: {
    name: "learning_log",
    mark: "title",
    references: { agent_id: "agents", superseded_by: "learnings" },
    rest: () => ({ learning_type: "'optimization'", description: "'d'" }),
  },
} as const;
type Kind = keyof typeof TABLES;
const KINDS = ["agents", "prompts", "logs", "alerts", "learnings"] as const satisfies Kind[];

/** The columns that a run determines: neither times nor generated values. */
function columns(kind: Kind): string {
  const { mark, references } = TABLES[kind];
  return ["id", "organization_id", mark, ...Object.keys(references)].join(", ");
}

// Statements are written without an author: `:own.agents.1` is the author's second agent, `:other.agents.1`
// the other tenant's. Nobody makes rows with the other's ids or names: those may be noticed (23505).
const slot = fc.nat(2);
const owner = fc.constantFrom("own", "own", "other");
const rowOf = (kind: Kind) => fc.tuple(owner, slot).map(([who, n]) => `:${who}.${kind}.${n}`);
const mark = fc.nat(3).map((n) => `'m${n}'`);
const organization = fc.constantFrom(":own.organization", ":other.organization", "null");
const returning = (kind: Kind) => fc.constantFrom("", ` returning ${columns(kind)}`);

function insert(kind: Kind): fc.Arbitrary<string> {
  const { name, mark: marked, references, rest } = TABLES[kind];
  const parents = Object.fromEntries(
    Object.entries(references).map(([column, parent]) => [
      column,
      fc.option(rowOf(parent), { nil: "null", freq: 2 }),
    ]),
  );
  const given = fc.record({ [marked]: mark, ...parents });
  const tenant = fc.option(organization, { nil: "", freq: 1 });
  const again = [marked, ...Object.keys(parents)].map((column) => `${column} = excluded.${column}`);
  const conflict = fc.constantFrom(
    "",
    " on conflict do nothing",
    ` on conflict (id) do update set ${again.join(", ")}`,
  );
  return fc
    .tuple(slot, slot, given, tenant, conflict, returning(kind))
    .map(([id, n, values, organization_id, onConflict, answer]) => {
      const row = {
        id: `:own.${kind}.${id}`,
        ...rest(n),
        ...values,
        ...(organization_id && { organization_id }),
      };
      const [names, list] = [Object.keys(row).join(", "), Object.values(row).join(", ")];
      return `insert into ${name} (${names}) values (${list})${onConflict}${answer}`;
    });
}

/** One row, anybody's, or all that the author can reach. */
const where = (kind: Kind) =>
  fc.oneof(
    rowOf(kind).map((row) => ` where id = ${row}`),
    fc.constant(":everywhere"),
  );

function update(kind: Kind): fc.Arbitrary<string> {
  const { name, mark: marked, references } = TABLES[kind];
  const change = fc.oneof(
    mark.map((value) => `${marked} = ${value}`),
    organization.map((value) => `organization_id = ${value}`),
    ...Object.entries(references).map(([column, parent]) =>
      rowOf(parent).map((value) => `${column} = ${value}`),
    ),
  );
  return fc
    .tuple(change, where(kind), returning(kind))
    .map(([set, scope, answer]) => `update ${name} set ${set}${scope}${answer}`);
}

const remove = (kind: Kind) =>
  fc
    .tuple(where(kind), returning(kind))
    .map(([scope, answer]) => `delete from ${TABLES[kind].name}${scope}${answer}`);

function select(kind: Kind): fc.Arbitrary<string> {
  const { name, references } = TABLES[kind];
  const all = `select ${columns(kind)} from ${name}`;
  return fc.oneof(
    where(kind).map((scope) => all + scope),
    where(kind).map((scope) => `${all}${scope} for update`),
    fc.constant(`select count(*)::int from ${name}`),
    ...Object.entries(references).map(([column, parent]) =>
      fc.constant(
        `select c.id, p.${TABLES[parent].mark} from ${name} c left join ${TABLES[parent].name} p on p.id = c.${column}`,
      ),
    ),
  );
}

const statement = fc.oneof(
  ...KINDS.flatMap((kind) => [
    { weight: 4, arbitrary: insert(kind) },
    { weight: 3, arbitrary: update(kind) },
    { weight: 2, arbitrary: remove(kind) },
    { weight: 2, arbitrary: select(kind) },
  ]),
);

interface Step {
  readonly author: Author;
  readonly sql: string;
  /** What becomes of the author's transaction. */
  readonly end: "commit" | "rollback" | "stay open";
}

const scripts = (authors: readonly Author[]): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record({
      author: fc.constantFrom(...authors),
      sql: statement,
      end: fc.constantFrom("commit", "commit", "commit", "stay open", "rollback"),
    }),
    { maxLength: 40, size: "max" },
  );

/** A script with what every author does before it, one row a table, and after it: look at everything. */
function whole(script: readonly Step[], authors: readonly Author[]): Step[] {
  const each = (statements: readonly string[]) =>
    authors.flatMap((author) => statements.map((sql): Step => ({ author, sql, end: "commit" })));
  return [
    ...each(KINDS.map(firstRow)),
    ...script,
    ...each(["select 'the end'"]),
    ...each(KINDS.map((kind) => `select ${columns(kind)} from ${TABLES[kind].name}`)),
  ];
}

const FIRST = "'first'";

function firstRow(kind: Kind): string {
  const { name, mark: marked, references, rest } = TABLES[kind];
  const agent = "agent_id" in references ? { agent_id: ":own.agents.0" } : {};
  const row = { id: `:own.${kind}.0`, [marked]: FIRST, ...agent, ...rest(0) };
  return `insert into ${name} (${Object.keys(row).join(", ")}) values (${Object.values(row).join(", ")})`;
}

/** Two tenants, and a backend that keeps to rows of its own, those without an organization. */
const AUTHORS = {
  a: { other: "b", role: "authenticated" },
  b: { other: "a", role: "authenticated" },
  backend: { other: "backend", role: "service_role" },
} as const;
type Author = keyof typeof AUTHORS;
const TENANTS = ["a", "b"] as const satisfies Author[];

const THINGS = ["organization", ...KINDS] as const;

/** Two digits tell whose and what it is, the last one which. */
function uuid(author: Author, thing: string, n: string): string {
  const whose = Object.keys(AUTHORS).indexOf(author);
  const what = THINGS.findIndex((name) => name === thing);
  return `${whose}${what}000000-0000-4000-8000-00000000000${n}`;
}

/** Ids as they are written here: `a.agents.1`. */
function named(text: string): string {
  return text.replaceAll(
    /'?(\d)(\d)000000-0000-4000-8000-00000000000(\d)'?/g,
    (_, whose: string, what: string, n: string) =>
      [Object.keys(AUTHORS)[Number(whose)], THINGS[Number(what)], n].join("."),
  );
}

/** A statement with its author's ids and names. */
function authored({ author, sql }: Step): string {
  const { other, role } = AUTHORS[author];
  const backend = role === "service_role";
  return sql
    .replace(":everywhere", backend ? " where organization_id is null" : "")
    .replaceAll(/:(own|other)\.(\w+)(?:\.(\d))?/g, (_, whose: string, thing: string, n = "0") => {
      if (thing === "organization" && backend) return "null";
      const who = whose === "own" ? author : other;
      return thing === "name" ? `'${who}-${n}'` : `'${uuid(who, thing, n)}'`;
    });
}

type Connections = Record<Author, postgres.Sql>;

/** Runs a script from an empty database on; for each step its rows or SQLSTATE. */
async function play(connections: Connections, steps: readonly Step[]): Promise<string[]> {
  const busy = new Set<Author>();
  const outcomes: string[] = [];
  for (const step of steps) {
    const connection = connections[step.author];
    if (!busy.has(step.author)) await connection.unsafe(beginAs(step.author));
    outcomes.push(await outcome(connection, authored(step)));
    if (step.end === "stay open") busy.add(step.author);
    else busy.delete(step.author);
    if (!busy.has(step.author)) await connection.unsafe(step.end);
  }
  return outcomes;
}

function beginAs(author: Author): string {
  const { role } = AUTHORS[author];
  const claims =
    role === "authenticated" ? `{"organization_id":"${uuid(author, "organization", "0")}"}` : "";
  return `begin; set local role ${role}; set local "request.jwt.claims" = '${claims}'`;
}

/** Rows in no order, since none was asked for. */
async function outcome(connection: postgres.Sql, sql: string): Promise<string> {
  await connection.unsafe("savepoint before");
  try {
    const rows = await connection.unsafe(sql);
    const list = rows.map((row) => named(JSON.stringify(row))).toSorted();
    return [`${rows.count} rows`, ...list].join(" ");
  } catch (error) {
    const code = databaseError(error)?.code;
    if (code === undefined) throw error;
    await connection.unsafe("rollback to before");
    return code;
  }
}

interface Stage {
  readonly connections: Connections;
  empty(): Promise<void>;
}

/** The first outcome of a tenant that differs from its outcome alone; empty when none does. */
async function difference(stage: Stage, steps: readonly Step[]): Promise<string> {
  await stage.empty();
  const together = await play(stage.connections, steps);
  for (const tenant of TENANTS) {
    const own = [...steps.keys()].filter((i) => steps[i]?.author === tenant);
    await stage.empty();
    const alone = await play(
      stage.connections,
      steps.filter(({ author }) => author === tenant),
    );
    const nth = own.findIndex((i, n) => together[i] !== alone[n]);
    if (nth >= 0) return retold(steps.slice(0, (own[nth] ?? 0) + 1), together, alone[nth] ?? "");
  }
  return "";
}

/** What everyone did up to there; of the first rows, only one that is the difference itself. */
function retold(steps: readonly Step[], together: readonly string[], alone: string): string {
  const told = steps.map(
    (step, i) => `${step.author}: ${named(authored(step))}; ${step.end}\n     ${together[i]}`,
  );
  const shown = told.filter((_, i) => !steps[i]?.sql.includes(FIRST) || i === told.length - 1);
  return ["everyone: one row in each table", ...shown, `     alone: ${alone}`].join("\n");
}

/** An interleaving that a tenant can notice, as short as can be; empty when none is found. */
async function noticed(
  stage: Stage,
  authors: readonly Author[],
  parameters: fc.Parameters<[Step[]]> = { numRuns: RUNS },
): Promise<string> {
  const result = await fc.check(
    fc.asyncProperty(scripts(authors), async (script) => {
      const found = await difference(stage, whole(script, authors));
      if (found) throw new Error(found);
    }),
    { ...parameters, ...(SEED !== undefined && { seed: Number(SEED) }) },
  );
  if (!result.failed) return "";
  const { errorInstance: error, seed } = result;
  return `PROPERTY_SEED=${seed}\n${error instanceof Error ? error.message : String(error)}`;
}

/** Leaks that the comparison must see. */
const LEAKS = {
  "a policy that shows every organization's agents": `
    alter policy "Users see own org agents" on agent_registry using (true)`,
  "a policy that lets go of every organization's logs, only where nothing is read": `
    alter policy "Users remove own org logs" on agent_execution_logs using (true)`,
  "prompts whose references are not checked": `
    alter policy "Users add own org prompts" on agent_prompts
      with check (organization_id = (select meta_agent.current_organization_id()))`,
  "alerts without row-level security": "alter table alert_history disable row level security",
};

describe.skipIf(inject("server") === "")("statements of two tenants, interleaved", () => {
  const login = `interleaving_${process.pid}`;
  beforeAll(() =>
    administer(
      inject("server"),
      `create role ${login} login password 'x' noinherit in role authenticated, service_role`,
    ),
  );
  afterAll(() => administer(inject("server"), `drop role if exists ${login}`));

  /** A database of its own and a connection for each author. */
  async function onStage(work: (stage: Stage, database: TestDatabase) => Promise<void>) {
    const database = await openMigrated();
    const url = new URL(database.url);
    [url.username, url.password] = [login, "x"];
    // Tenants never wait for each other: one that does is refused (55P03), which is a difference.
    const open = () =>
      postgres(url.href, { max: 1, onnotice: () => {}, connection: { lock_timeout: 2000 } });
    const connections = { a: open(), b: open(), backend: open() };
    const all = Object.values(connections);
    const deletes = KINDS.toReversed().map((kind) => `delete from ${TABLES[kind].name}`);
    const empty = async () => {
      // Only a script that broke off has left a transaction open.
      await Promise.all(all.map((connection) => connection.unsafe("rollback")));
      await database.query(deletes.join("; "));
    };
    try {
      await work({ connections, empty }, database);
    } finally {
      await Promise.all(all.map((connection) => connection.end()));
      await database.close();
    }
  }

  // Shrinking a failure takes a while.
  const timeout = 120_000 + 1000 * RUNS;

  test("each tenant gets what it would get alone", { timeout }, () =>
    onStage(async (stage) => {
      expect(await noticed(stage, TENANTS)).toBe("");
    }),
  );

  test("so it does beside a backend that works as service_role", { timeout }, () =>
    onStage(async (stage) => {
      expect(await noticed(stage, [...TENANTS, "backend"])).toBe("");
    }),
  );

  test.each(Object.entries(LEAKS))("the comparison sees %s", { timeout }, (_, leak) =>
    onStage(async (stage, database) => {
      await database.query(leak);
      expect(await noticed(stage, TENANTS, { numRuns: 200, endOnFailure: true })).toContain(
        "alone:",
      );
    }),
  );
});
