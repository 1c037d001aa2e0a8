/**
 * Behind a pooler in transaction mode every transaction may get another server connection, and every
 * server connection serves all organizations in turn. POOLER=full: more clients, for a minute.
 */
import { randomUUID } from "node:crypto";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { schema } from "../../src/client/schema.ts";
import { type Database, rows } from "../../src/client/sql.ts";
import { withOrganization } from "../../src/client/tenancy.ts";
import { agentExecutionLogs, agentRegistry } from "../../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../../src/testing.ts";
import { type Query, type TestDatabase, openMigrated } from "../engine.ts";
import { administer } from "../setup/server.ts";
import { type Pooler, pgbouncer, startPooler } from "./pgbouncer.ts";

const FULL = process.env["POOLER"] === "full";
const CLIENTS = FULL ? 500 : 32;
const SECONDS = FULL ? 60 : 0;
const SERVER_CONNECTIONS = 8;

if (!pgbouncer) {
  const reason = "the pooler suite, because pgbouncer is not installed (apt-get install pgbouncer)";
  if (process.env["REQUIRE_CONTAINER"]) throw new Error(`cannot run ${reason}`);
  console.warn(`\nSKIPPED: ${reason}.\n`);
}

interface Organization {
  readonly id: string;
  /** The ids of its agents, in order. */
  readonly agents: readonly string[];
}

interface Transaction {
  readonly tx: Database;
  readonly organization: Organization;
}

interface Client {
  readonly name: string;
  readonly db: Database;
  /** Its last transaction, which is over. */
  former?: Transaction;
}

/** How a client comes to act as an organization. */
type Act = (
  db: Database,
  organization: string,
  work: (tx: Database) => Promise<void>,
) => Promise<void>;

/** Many clients at work, what they did, and what they should not have been able to do. */
interface Run {
  readonly act: Act;
  readonly pooler: Pooler;
  /** As superuser, past the pooler. */
  readonly query: Query;
  readonly login: string;
  readonly organizations: readonly Organization[];
  /** What clients were told is committed: execution ids, each with its organization. */
  readonly committed: Map<string, string>;
  readonly ended: Record<string, number>;
  /** Kinds of leaks and failures, each with how often and the first example. */
  readonly findings: Record<string, { count: number; example: string }>;
  probes: number;
}

/** What a request has at hand when it comes to its end. */
interface Last {
  readonly run: Run;
  readonly client: Client;
  readonly tx: Database;
  readonly other: Organization;
}

interface Ending {
  readonly name: string;
  /** The code of the error that the client is given; none when it is told that all is committed. */
  readonly code: RegExp;
  readonly end: (last: Last) => PromiseLike<unknown>;
}

const COMMIT: Ending = { name: "commit", code: /^$/, end: async () => {} };

const CALM: readonly Ending[] = [
  COMMIT,
  { name: "SQL error", code: /^22012$/, end: ({ tx }) => tx.execute(sql`select 1 / 0`) },
  {
    name: "refusal",
    code: /^42501$/,
    end: ({ tx, other }) => tx.insert(agentRegistry).values(newAgent({ organizationId: other.id })),
  },
  {
    name: "thrown rollback",
    code: /^THROWN$/,
    end: () => Promise.reject(Object.assign(new Error("on purpose"), { code: "THROWN" })),
  },
];

const CANCELLED: readonly Ending[] = [
  {
    name: "statement timeout",
    code: /^57014$/,
    end: async ({ tx }) => {
      await tx.execute(sql`set local statement_timeout = 1`);
      await tx.execute(sql`select pg_sleep(60)`);
    },
  },
  {
    name: "query cancel",
    code: /^57014$/,
    end: (last) => inStatement(last, () => last.run.pooler.cancel(last.client.name)),
  },
];

const LOSS = /^(CONNECTION_CLOSED|ECONNRESET|EPIPE|57P01|08P01)$/;

const LOST: readonly Ending[] = [
  {
    name: "server connection killed in a statement",
    code: LOSS,
    end: ({ run, ...last }) => inStatement({ run, ...last }, (pid) => kill(run, pid)),
  },
  {
    name: "server connection killed between statements",
    code: LOSS,
    end: async ({ run, tx }) => {
      await kill(run, await backendOf(tx));
      await tx.execute(sql`select 1`);
    },
  },
  {
    name: "client connection cut in a statement",
    code: LOSS,
    end: ({ run, ...last }) =>
      inStatement({ run, ...last }, async (pid) => {
        run.pooler.cut(last.client.name);
        // The server does not notice, and would sleep on.
        await kill(run, pid);
      }),
  },
  {
    name: "client connection cut between statements",
    code: LOSS,
    end: async ({ run, client, tx }) => {
      run.pooler.cut(client.name);
      await tx.execute(sql`select 1`);
    },
  },
];

const COMMITS = [COMMIT, COMMIT, COMMIT, COMMIT];

/** Strikes while the server is in the middle of a statement. */
async function inStatement(
  { run, tx }: Last,
  strike: (pid: number) => Promise<void>,
): Promise<void> {
  const tag = randomUUID();
  const asleep = async () => {
    const [sleeper] = await run.query<{ pid: number }>(
      "select pid from pg_stat_activity where wait_event = 'PgSleep' and query like $1",
      [`%${tag}%`],
    );
    if (!sleeper) throw new Error("the statement does not run");
    return sleeper.pid;
  };
  await Promise.all([
    tx.execute(sql.raw(`select pg_sleep(60) /* ${tag} */`)),
    vi.waitFor(asleep, { interval: 2, timeout: 10_000 }).then(strike),
  ]);
}

async function backendOf(tx: Database): Promise<number> {
  const [row] = rows<{ pid: number }>(await tx.execute(sql`select pg_backend_pid() as pid`));
  return row?.pid ?? 0;
}

async function kill(run: Run, pid: number): Promise<void> {
  await run.query("select pg_terminate_backend($1)", [pid]);
}

function found(run: Run, kind: string, example: string): void {
  const finding = (run.findings[kind] ??= { count: 0, example });
  finding.count += 1;
}

/** The code of an error or of what caused it; empty for none. */
function codeOf(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const code: unknown = Reflect.get(at, "code");
    if (typeof code === "string") return code;
  }
  return String(error);
}

function pick<T>(list: readonly T[], n: number): T {
  const picked = list[n % list.length];
  if (picked === undefined) throw new Error("the list is empty");
  return picked;
}

/** One transaction of one organization: it reads, writes a row, and ends as it is told to. */
async function request(run: Run, client: Client, turn: number, ending: Ending): Promise<void> {
  const organization = pick(run.organizations, turn);
  const other = pick(run.organizations, turn + 1);
  const log = newExecutionLog({ agentId: pick(organization.agents, turn) });
  const outcome = await run
    .act(client.db, organization.id, async (tx) => {
      await seesItsOwn(run, { tx, organization });
      if (client.former) await isOver(run, client.former);
      if (tx !== client.db) client.former = { tx, organization };
      await tx.insert(agentExecutionLogs).values(log);
      try {
        await ending.end({ run, client, tx, other });
      } finally {
        if (ending.code === LOSS) await isOver(run, { tx, organization });
      }
    })
    .then(() => "", codeOf);
  if (outcome === "") run.committed.set(log.executionId, organization.id);
  if (ending.code.test(outcome)) run.ended[ending.name] = (run.ended[ending.name] ?? 0) + 1;
  else found(run, "ended otherwise", `${ending.name}: ${outcome}`);
  // After a loss postgres.js may give the lost connection's error to the next statement.
  if (LOSS.test(outcome)) await client.db.execute(sql`select 1`).catch(() => {});
}

async function seesItsOwn(run: Run, { tx, organization }: Transaction): Promise<void> {
  const { id, organizationId } = agentRegistry;
  const agents = await tx.select({ id, organizationId }).from(agentRegistry);
  const foreignLogs = await tx.$count(
    agentExecutionLogs,
    sql`${agentExecutionLogs.organizationId} is distinct from ${organization.id}`,
  );
  const ids = agents.map((agent) => agent.id).toSorted();
  const seen = `${organization.id} saw ${JSON.stringify(agents)}`;
  if (foreignLogs > 0 || agents.some((agent) => agent.organizationId !== organization.id)) {
    found(run, "rows of another organization", seen);
  } else if (ids.join() !== organization.agents.join()) {
    found(run, "own rows are missing", seen);
  }
}

/** Work may outlive its transaction or its connection: it must not be answered from the next ones. */
async function isOver(run: Run, transaction: Transaction): Promise<void> {
  const answered = await seesItsOwn(run, transaction).then(
    () => true,
    () => false,
  );
  if (answered) found(run, "a transaction that is over answers", transaction.organization.id);
}

/** Outside of transactions a server connection is the login's, who may read nothing. */
async function probe(run: Run, db: Database): Promise<number> {
  const [session] = rows<{ pid: number; role: string; claims: string | null }>(
    await db.execute(
      sql`select pg_backend_pid() as pid, current_user::text as role,
        current_setting('request.jwt.claims', true) as claims`,
    ),
  );
  if (session?.role !== run.login) found(run, "a role stays", `${session?.role}`);
  if (session?.claims) found(run, "claims stay", session.claims);
  const read = await db
    .transaction((tx) => tx.select({ id: agentRegistry.id }).from(agentRegistry))
    .then((seen) => `${seen.length} rows`, codeOf);
  if (read !== "42501") found(run, "the login reads", read);
  run.probes += 1;
  return session?.pid ?? 0;
}

/** Holds all server connections at once and probes each. */
async function probeAll(run: Run): Promise<void> {
  let waiting = SERVER_CONNECTIONS;
  let proceed = () => {};
  const allHere = new Promise<void>((done) => {
    proceed = done;
  });
  const held = Array.from({ length: SERVER_CONNECTIONS }, async (_, n) => {
    const { db } = connect(run.pooler.url(`probe-${n}`));
    return db.transaction(async (tx) => {
      const pid = await probe(run, tx);
      waiting -= 1;
      if (waiting === 0) proceed();
      await allHere;
      return pid;
    });
  });
  expect(new Set(await Promise.all(held)).size).toBe(SERVER_CONNECTIONS);
}

/** What is stored is what clients were told is committed, no more and no less, and where it belongs. */
async function compareWithStored(run: Run): Promise<void> {
  const stored = await run.query<{ id: string; organization: string }>(
    "select execution_id::text as id, organization_id::text as organization from agent_execution_logs",
  );
  const missing = new Map(run.committed);
  for (const { id, organization } of stored) {
    const expected = missing.get(id);
    if (expected === undefined) found(run, "a row without a commit is stored", organization);
    else if (expected !== organization) found(run, "a row in another organization", organization);
    missing.delete(id);
  }
  for (const [id, organization] of missing) {
    found(run, "a committed row is not stored", `${id} of ${organization}`);
  }
}

interface Cast {
  readonly clients: number;
  readonly endings: readonly Ending[];
  readonly seconds?: number;
  readonly open?: (url: string) => { readonly db: Database };
}

/** Lets many clients work at once, each through all endings and at least as long as told. */
async function play(run: Run, cast: Cast): Promise<void> {
  const { clients, endings, seconds = 0, open = connect } = cast;
  await run.query("delete from agent_execution_logs");
  const until = Date.now() + seconds * 1000;
  const works = Array.from({ length: clients }, async (_, n) => {
    const client: Client = { name: `client-${n}`, db: open(run.pooler.url(`client-${n}`)).db };
    for (let turn = n; turn < n + endings.length || Date.now() < until; turn += 1) {
      await request(run, client, turn, pick(endings, turn));
      await probe(run, client.db);
    }
  });
  await Promise.all(works);
  await probeAll(run);
  await compareWithStored(run);
}

describe.skipIf(inject("server") === "" || !pgbouncer)("behind a transaction pooler", () => {
  let database: TestDatabase;
  let login: URL;
  const organizations: Organization[] = Array.from({ length: 12 }, (_, n) => ({
    id: randomUUID(),
    agents: Array.from({ length: 1 + (n % 4) }, () => randomUUID()).toSorted(),
  }));

  beforeAll(async () => {
    database = await openMigrated();
    login = new URL(database.url);
    [login.username, login.password] = [`${login.pathname.slice(1)}_app`, "test"];
    await database.query(
      `create role ${login.username} login noinherit password 'test' in role authenticated, anon`,
    );
    const agents = organizations.flatMap(({ id: organizationId, agents: ids }) =>
      ids.map((id) => newAgent({ id, organizationId })),
    );
    await database.db.insert(agentRegistry).values(agents);
  });
  afterAll(async () => {
    await database.close();
    await administer(inject("server"), `drop role ${login.username}`);
  });

  async function newRun(act: Act): Promise<Run> {
    const pooler = await startPooler(login.href, SERVER_CONNECTIONS);
    onTestFinished(() => pooler.stop());
    return {
      ...{ act, pooler, organizations, query: database.query, login: login.username },
      ...{ committed: new Map(), ended: {}, findings: {}, probes: 0 },
    };
  }

  const promised: Act = (db, organization, work) => withOrganization(db, organization, work);

  test.each([
    ["however requests end", [...CALM, ...CANCELLED]],
    ["whatever connections are lost", [...LOST, ...CALM]],
  ])(
    `${CLIENTS} clients on ${SERVER_CONNECTIONS} server connections see their own organization alone and leave nothing behind, %s`,
    { timeout: (SECONDS + 240) * 1000 },
    async (however, endings) => {
      const run = await newRun(promised);
      await play(run, { clients: CLIENTS, endings, seconds: SECONDS });
      const { ended, probes, findings } = run;
      console.info(`${CLIENTS} clients, ${however}:`, { ended, probes, findings });
      expect(findings).toEqual({});
      for (const { name } of endings) expect(ended[name], name).toBeGreaterThanOrEqual(CLIENTS);
    },
  );

  test("connect() needs no setting: what it commits is stored, whatever server connection COMMIT lands on", async () => {
    const run = await newRun(promised);
    await play(run, { clients: 24, endings: COMMITS });
    expect(run.findings).toEqual({});
  });

  test("Drizzle's named prepared statements are found on whatever server connection they land", async () => {
    const run = await newRun(promised);
    const works = Array.from({ length: 24 }, async (_, n) => {
      const { db } = connect(run.pooler.url(`client-${n}`));
      for (let turn = n; turn < n + 10; turn += 1) {
        const { id: organization, agents } = pick(organizations, turn);
        const seen = await withOrganization(db, organization, (tx) =>
          tx
            .select({ id: agentRegistry.id })
            .from(agentRegistry)
            .where(eq(agentRegistry.category, sql.placeholder("category")))
            .orderBy(agentRegistry.id)
            .prepare("agents_of_category")
            .execute({ category: "operations" }),
        );
        expect(seen.map(({ id }) => id)).toEqual(agents);
      }
    });
    await Promise.all(works);
  });

  // The naive ways. The same harness finds each of them out: it can see a leak.
  const claimsOf = (organization: string) => JSON.stringify({ organization_id: organization });
  const NAIVE: Record<string, { act: Act; shows: string[] }> = {
    "SET for the session": {
      act: async (db, organization, work) => {
        await db.execute(sql.raw(`set request.jwt.claims = '${claimsOf(organization)}'`));
        await db.execute(sql`set role authenticated`);
        await work(db);
      },
      shows: ["rows of another organization", "a role stays", "claims stay", "the login reads"],
    },
    "set_config(..., false) in the transaction": {
      act: (db, organization, work) =>
        db.transaction(async (tx) => {
          await tx.execute(
            sql`select set_config('request.jwt.claims', ${claimsOf(organization)}, false), set_config('role', 'authenticated', false)`,
          );
          await work(tx);
        }),
      shows: ["a role stays", "claims stay", "the login reads"],
    },
    "set_config(..., true) outside of a transaction": {
      act: async (db, organization, work) => {
        await db.execute(
          sql`select set_config('request.jwt.claims', ${claimsOf(organization)}, true), set_config('role', 'authenticated', true)`,
        );
        await work(db);
      },
      shows: ["ended otherwise"],
    },
  };

  test.each(Object.entries(NAIVE))("%s is found out", async (_, { act, shows }) => {
    const run = await newRun(act);
    await play(run, { clients: 24, endings: CALM });
    expect(Object.keys(run.findings)).toEqual(expect.arrayContaining(shows));
  });

  test("a driver that prepares its COMMIT loses commits, and that is found out", async () => {
    const run = await newRun(promised);
    const open = (url: string) => ({
      db: drizzle(postgres(url, { prepare: true, onnotice: () => {} }), { schema }),
    });
    await play(run, { clients: 24, endings: COMMITS, open });
    expect(Object.keys(run.findings)).toContain("a committed row is not stored");
  });
});
