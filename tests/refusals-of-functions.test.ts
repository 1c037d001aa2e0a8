import { Readable } from "node:stream";
import { inspect } from "node:util";
import { sql } from "drizzle-orm";
import { pgTable, point } from "drizzle-orm/pg-core";
import { expect, test } from "vitest";
import * as root from "../src/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { openEmpty, suite } from "./engine.ts";

/** What no error may repeat: of a password, of a setting, of a payload. */
const SECRET = "in-confidence";
const SECRETS = new RegExp(SECRET);

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
/** Where nobody listens. */
const NOWHERE = `postgres://nobody:${SECRET}@127.0.0.1:1/nowhere`;
/** A path at which a directory is asked for. */
const FILE = "package.json";
const unknownColumns = pgTable("unknown", { at: point("at") });

/** A way into a refusal, and what its message says: the function, or the place. */
interface Case {
  readonly refuse: (db: root.Database) => unknown;
  readonly says: RegExp;
}

const functions = new Map(
  Object.entries<unknown>(root).flatMap(([name, value]) =>
    typeof value === "function" ? [[name, value] as const] : [],
  ),
);

/** As JavaScript calls it, without the compiler's word. */
function called(name: string, ...given: unknown[]): unknown {
  const target = functions.get(name);
  if (target === undefined) throw new Error(`${name} is no public function`);
  return Reflect.apply(target, undefined, given);
}

/** Of what asks a database that is away. */
const away = (use: (db: root.Database) => Promise<unknown>): Case => ({
  async refuse() {
    const { db, close } = root.connect(NOWHERE);
    try {
      await use(db);
    } finally {
      await close();
    }
  },
  says: /127\.0\.0\.1:1|Failed query/,
});

const asTenant =
  (work: (tx: root.Transaction) => Promise<unknown>) =>
  (db: root.Database): Promise<unknown> =>
    root.withOrganization(db, ORGANIZATION, work);

const imported = (db: root.Database, content: string | Buffer, agent?: string) =>
  root.importExecutions(db, Readable.from([Buffer.from(content)]), {
    organization: ORGANIZATION,
    agent,
  });

const badEntry = () =>
  newExecutionLog({
    agentId: ORGANIZATION,
    qualityScore: 101,
    outputData: `${"x".repeat(100_000)}${SECRET}`,
  });
const danglingEntry = () => newExecutionLog({ agentId: ORGANIZATION, outputData: SECRET });
const manyDangling = () => Array.from({ length: 400 }, danglingEntry);

const incident = {
  alertType: "x",
  severity: "info",
  title: SECRET,
  message: SECRET,
  details: { at: SECRET },
} as const;
/** Beyond what a refusal shows of a value. */
const FAR = "x".repeat(300);
const badClaim = { id: "no uuid", severity: "info", claimedUntil: new Date() } as const;

const dependency = {
  upstreamAgentId: ORGANIZATION,
  downstreamAgentId: "f3b1de0c-5d0f-4f36-9a51-3f0c2a5d9b11",
  dependencyType: "data",
} as const;

const CASES: Readonly<Record<string, readonly Case[]>> = {
  acquireExecution: [
    {
      refuse: asTenant((tx) => root.acquireExecution(tx, { agentId: SECRET })),
      says: /acquireExecution: agentId/,
    },
    {
      refuse: asTenant((tx) => root.acquireExecution(tx, { agentId: ORGANIZATION })),
      says: /acquireExecution: no agent/,
    },
  ],
  acknowledgeAlerts: [
    {
      refuse: asTenant((tx) => root.acknowledgeAlerts(tx, { ids: ["no uuid"], by: SECRET })),
      says: /ids\[0\]/,
    },
    {
      refuse: asTenant((tx) =>
        root.acknowledgeAlerts(tx, { agentId: ORGANIZATION, dedupKey: SECRET, by: SECRET }),
      ),
      says: /acknowledgeAlerts: no agent/,
    },
  ],
  addDependency: [
    {
      refuse: asTenant((tx) =>
        root.addDependency(tx, { ...dependency, downstreamAgentId: ORGANIZATION }),
      ),
      says: /downstreamAgentId|upstreamAgentId/,
    },
    { refuse: asTenant((tx) => root.addDependency(tx, dependency)), says: /addDependency: no/ },
  ],
  adopt: [away((db) => root.adopt(db))],
  asJson: [
    {
      refuse: () => root.asJson({ [SECRET]: SECRET }, { maxCharacters: 1 }),
      says: /asJson: maxCharacters/,
    },
  ],
  budgetStatus: [
    {
      refuse: asTenant((tx) => root.budgetStatus(tx, { agentId: SECRET })),
      says: /budgetStatus: agentId must be a uuid/,
    },
    {
      refuse: asTenant((tx) => root.budgetStatus(tx, { now: new Date("2999-01-01") })),
      says: /budgetStatus: now is more than a day ahead/,
    },
  ],
  blastRadius: [
    {
      refuse: asTenant((tx) => root.blastRadius(tx, { agentId: ORGANIZATION })),
      says: /blastRadius: no agent/,
    },
  ],
  claimAlerts: [
    {
      refuse: asTenant((tx) => root.claimAlerts(tx, { channel: "slack", limit: 0 })),
      says: /at limit/,
    },
  ],
  choosePrompt: [
    {
      refuse: asTenant((tx) =>
        root.choosePrompt(tx, { agentId: ORGANIZATION, unit: `${SECRET}\0` }),
      ),
      says: /unit/,
    },
    {
      refuse: asTenant((tx) => root.choosePrompt(tx, { agentId: ORGANIZATION, unit: SECRET })),
      says: /choosePrompt/,
    },
  ],
  connect: [
    { refuse: () => root.connect(`mysql://nobody:${SECRET}@db/x`), says: /postgres:\/\// },
    { refuse: () => root.connect(NOWHERE, { max: -1 }), says: /connect: .*max/ },
  ],
  createLogins: [
    {
      refuse: (db) => root.createLogins(db, { application: `${SECRET}\n`, backend: SECRET }),
      says: /password/,
    },
  ],
  currentLsn: [
    {
      refuse: (db) => db.transaction((tx) => root.currentLsn(tx)),
      says: /currentLsn: ask after the commit/,
    },
    away((db) => root.currentLsn(db)),
  ],
  databaseUrls: [
    {
      refuse: () =>
        root.databaseUrls({ databaseUrl: `mysql://${SECRET}@db/x` }, { envFile: false }),
      says: /DATABASE_URL/,
    },
  ],
  diff: [away((db) => root.diff(db))],
  doctor: [away((db) => root.doctor(db))],
  ejectSupabase: [{ refuse: () => root.ejectSupabase(FILE), says: /package\.json/ }],
  embeddingIndexStates: [away((db) => root.embeddingIndexStates(db))],
  importExecutions: [
    {
      refuse: (db) => imported(db, `{"${SECRET}":"${SECRET}"}`),
      says: /^line 1: expected resourceSpans .*--format/,
    },
    {
      refuse: (db) => imported(db, `[{"role":"user","content":"${SECRET}"}]`),
      says: /give the agent's name \(--agent\)/,
    },
    {
      refuse: (db) => imported(db, Buffer.from(`"${SECRET}\xff"`, "latin1")),
      says: /^line 1, .* no UTF-8: convert/,
    },
    away((db) => imported(db, `{"messages":[{"role":"assistant","content":"${SECRET}"}]}`, "desk")),
  ],
  ensureAgents: [
    {
      refuse: asTenant((tx) =>
        root.ensureAgents(tx, [{ agentName: "", description: SECRET.repeat(99) }]),
      ),
      says: /agentName/,
    },
    {
      refuse: asTenant((tx) =>
        root.ensureAgents(tx, [
          {
            agentName: "for-another",
            organizationId: "f3b1de0c-5d0f-4f36-9a51-3f0c2a5d9b11",
            description: SECRET,
          },
        ]),
      ),
      says: /organization/,
    },
    {
      async refuse(db) {
        const agent = { agentName: "held-by-another" };
        await asTenant((tx) => root.ensureAgents(tx, [agent]))(db);
        await root.withOrganization(db, "f3b1de0c-5d0f-4f36-9a51-3f0c2a5d9b11", (tx) =>
          root.ensureAgents(tx, [{ ...agent, description: SECRET }]),
        );
      },
      says: /ensureAgents: another organization.*held-by-another/,
    },
  ],
  executionLogId: [
    {
      refuse: () => root.executionLogId(new Date(Number.NaN), SECRET),
      says: /executionLogId/,
    },
  ],
  expireExecutions: [
    {
      refuse: asTenant((tx) => root.expireExecutions(tx, { olderThan: new Date(Number.NaN) })),
      says: /expireExecutions: olderThan must be a valid Date/,
    },
  ],
  draftEvaluation: [
    {
      refuse: asTenant((tx) =>
        root.draftEvaluation(tx, { agentId: ORGANIZATION, from: "2026-03-01", to: "2026-03-02" }),
      ),
      says: /draftEvaluation: no agent/,
    },
    {
      refuse: asTenant((tx) =>
        root.draftEvaluation(tx, { agentId: ORGANIZATION, from: "2026-03-02", to: "2026-03-01" }),
      ),
      says: /expected no day before from/,
    },
  ],
  errorBudgets: [
    {
      refuse: asTenant((tx) => root.errorBudgets(tx, { agentId: "x", minFailures: 0 })),
      says: /agentId[^]*minFailures/,
    },
  ],
  executionsBetween: [
    {
      refuse: () => root.executionsBetween({ from: new Date(Number.NaN), to: new Date() }),
      says: /executionsBetween: from must be a valid Date/,
    },
    {
      refuse: () => called("executionsBetween", { from: new Date(), to: SECRET }),
      says: /executionsBetween: to must be a valid Date/,
    },
  ],
  explainPrompt: [
    {
      refuse: asTenant((tx) => root.explainPrompt(tx, { promptId: ORGANIZATION })),
      says: /explainPrompt: no prompt/,
    },
    {
      refuse: asTenant((tx) => root.explainPrompt(tx, { logId: ORGANIZATION })),
      says: /explainPrompt: no row/,
    },
    { refuse: asTenant((tx) => root.explainPrompt(tx, { promptId: "x" })), says: /promptId/ },
  ],
  findSimilarExecutions: [
    {
      refuse: asTenant((tx) => root.findSimilarExecutions(tx, { vector: [1], by: "input" })),
      says: /findSimilarExecutions/,
    },
  ],
  finishAbTest: [
    {
      refuse: asTenant((tx) =>
        root.finishAbTest(tx, { id: ORGANIZATION, conclusionSummary: SECRET }),
      ),
      says: /finishAbTest/,
    },
  ],
  finishShadowTest: [
    {
      refuse: asTenant((tx) =>
        root.finishShadowTest(tx, { id: ORGANIZATION, recommendation: SECRET }),
      ),
      says: /finishShadowTest/,
    },
  ],
  fromDatabaseError: [
    {
      refuse: asTenant(async (tx) => {
        const agent = newAgent({ agentName: SECRET, displayName: SECRET.repeat(30) });
        await tx.insert(root.agentRegistry).values(agent);
        await tx
          .insert(root.agentRegistry)
          .values({ ...agent, id: ORGANIZATION })
          .catch((error: unknown) => {
            throw root.fromDatabaseError(error);
          });
      }),
      says: /agentName/,
    },
  ],
  guardedExecution: [
    {
      refuse: (db) =>
        root.guardedExecution(
          db,
          { organization: ORGANIZATION, agentId: ORGANIZATION, usd: "1", inputData: SECRET },
          () => SECRET,
        ),
      says: /acquireExecution: no agent/,
    },
    {
      refuse: (db) =>
        root.guardedExecution(
          db,
          { organization: SECRET, agentId: ORGANIZATION, usd: "1" },
          () => SECRET,
        ),
      says: /withOrganization: the organization must be a uuid/,
    },
  ],
  healthThresholds: [
    {
      refuse: () => called("healthThresholds", { failureRateThreshold: SECRET }),
      says: /FAILURE_RATE_THRESHOLD/,
    },
  ],
  insertJsonSchema: [{ refuse: () => root.insertJsonSchema(unknownColumns), says: /\bat: / }],
  jsonInsertSchema: [{ refuse: () => root.jsonInsertSchema(unknownColumns), says: /\bat: / }],
  loadConfig: [
    {
      refuse: () => root.loadConfig({}, { env: { DATABASE_URL: SECRET }, envFile: false }),
      says: /DATABASE_URL/,
    },
    { refuse: () => root.loadConfig({}, { envFile: "nowhere.env" }), says: /nowhere\.env/ },
  ],
  loadDemo: [
    away((db) => root.loadDemo(db)),
    {
      refuse: (db) => root.loadDemo(db, { now: new Date("then") }),
      says: /now must be a valid Date/,
    },
    {
      async refuse(db) {
        await root.withServiceRole(db, (tx) => tx.insert(root.agentRegistry).values(newAgent()));
        await root.loadDemo(db);
      },
      says: /demo needs an empty database.*agent_registry/,
    },
  ],
  markAlertsSent: [
    {
      refuse: asTenant((tx) => root.markAlertsSent(tx, { channel: "slack", alerts: [badClaim] })),
      says: /at alerts\[0\]/,
    },
  ],
  measureSlas: [
    {
      refuse: asTenant((tx) => root.measureSlas(tx, { agentId: "x" })),
      says: /agentId/,
    },
    {
      refuse: asTenant((tx) => root.measureSlas(tx, { now: new Date(Number.NaN) })),
      says: /now/,
    },
  ],
  migrate: [
    away((db) => root.migrate(db)),
    {
      refuse: (db) => root.migrate(db, { migrations: [] }),
      says: /migration/,
    },
  ],
  migrationStatus: [away((db) => root.migrationStatus(db))],
  openEmbedded: [{ refuse: () => root.openEmbedded(FILE), says: /package\.json/ }],
  moveProposal: [
    {
      refuse: asTenant((tx) =>
        root.moveProposal(tx, { id: ORGANIZATION, to: "approved", reason: SECRET }),
      ),
      says: /by/,
    },
    {
      refuse: asTenant((tx) =>
        root.moveProposal(tx, { id: ORGANIZATION, to: "rejected", reason: SECRET }),
      ),
      says: /moveProposal/,
    },
  ],
  pauseCanary: [
    { refuse: asTenant((tx) => root.pauseCanary(tx, { id: ORGANIZATION })), says: /pauseCanary/ },
  ],
  pendingMigrations: [away((db) => root.pendingMigrations(db))],
  promotePrompt: [
    { refuse: asTenant((tx) => root.promotePrompt(tx, ORGANIZATION)), says: /promotePrompt/ },
  ],
  raiseAlert: [
    {
      refuse: asTenant((tx) => root.raiseAlert(tx, { ...incident, dedupKey: FAR + SECRET })),
      says: /dedupKey/,
    },
    {
      refuse: asTenant((tx) => root.raiseAlert(tx, { ...incident, agentId: ORGANIZATION })),
      says: /raiseAlert: no agent/,
    },
    {
      refuse: (db) => root.withServiceRole(db, (tx) => root.raiseAlert(tx, incident)),
      says: /raiseAlert: .*give organizationId/,
    },
  ],
  distributeLogs: [
    away((db) => root.distributeLogs(db)),
    {
      refuse: (db) => root.distributeLogs(db),
      says: /this database has no Citus: .*CREATE EXTENSION/,
    },
  ],
  planDistribution: [away((db) => root.planDistribution(db))],
  addPartitions: [
    away((db) => root.addPartitions(db)),
    { refuse: (db) => root.addPartitions(db), says: /not partitioned: .* --apply/ },
    { refuse: (db) => root.addPartitions(db, { ahead: -1 }), says: /addPartitions: ahead must be/ },
  ],
  partitionLogs: [
    away((db) => root.partitionLogs(db)),
    {
      refuse: (db) => root.partitionLogs(db, { ahead: 0.5 }),
      says: /partitionLogs: ahead must be/,
    },
  ],
  planPartitions: [
    away((db) => root.planPartitions(db)),
    {
      refuse: (db) => root.planPartitions(db, { ahead: Number.NaN }),
      says: /planPartitions: ahead must be/,
    },
  ],
  pruneLogs: [
    away((db) => root.pruneLogs(db, { before: "2026-01-01" })),
    { refuse: (db) => root.pruneLogs(db, { before: SECRET }), says: /before must be a day/ },
  ],
  logIdBounds: [
    {
      refuse: () => root.logIdBounds({ from: new Date(Number.NaN) }),
      says: /logIdBounds: from must be a valid Date/,
    },
  ],
  rebuildEmbeddingIndexes: [
    away((db) => root.rebuildEmbeddingIndexes(db)),
    {
      refuse: (db) => db.transaction((tx) => root.rebuildEmbeddingIndexes(tx)),
      says: /rebuildEmbeddingIndexes/,
    },
  ],
  recordOutcome: [
    {
      refuse: asTenant((tx) =>
        root.recordOutcome(tx, { agentId: ORGANIZATION, outcome: "failure" }),
      ),
      says: /recordOutcome: no agent/,
    },
  ],
  resetCircuit: [
    {
      refuse: asTenant((tx) => root.resetCircuit(tx, { agentId: ORGANIZATION })),
      says: /resetCircuit: no agent/,
    },
  ],
  recordExecutions: [
    { refuse: asTenant((tx) => root.recordExecutions(tx, [badEntry()])), says: /qualityScore/ },
    { refuse: asTenant((tx) => root.recordExecutions(tx, manyDangling())), says: /agentId/ },
    {
      refuse: asTenant((tx) =>
        root.recordExecutions(tx, [{ ...danglingEntry(), ["x".repeat(9000) + SECRET]: 1 }]),
      ),
      says: /at \[0\]|Unrecognized/,
    },
  ],
  recordExecutionStream: [
    {
      refuse: asTenant((tx) => root.recordExecutionStream(tx, [badEntry()])),
      says: /qualityScore/,
    },
  ],
  refreshBudgets: [
    {
      refuse: asTenant((tx) => root.refreshBudgets(tx, { agentId: SECRET })),
      says: /refreshBudgets: agentId must be a uuid/,
    },
  ],
  evidenceOverTime: [
    {
      refuse: asTenant((tx) =>
        root.evidenceOverTime(tx, { id: ORGANIZATION, now: new Date(), points: 0 }),
      ),
      says: /points/,
    },
  ],
  shadowTestSoFar: [
    {
      refuse: asTenant((tx) => root.shadowTestSoFar(tx, { id: "none" })),
      says: /expected a uuid.*\n.*at id/,
    },
  ],
  refreshAbTest: [
    {
      refuse: asTenant((tx) => root.refreshAbTest(tx, { id: ORGANIZATION, alpha: 1 })),
      says: /alpha/,
    },
    {
      refuse: asTenant((tx) => root.refreshAbTest(tx, { id: ORGANIZATION })),
      says: /refreshAbTest/,
    },
  ],
  refreshHealth: [
    {
      refuse: asTenant((tx) => root.refreshHealth(tx, { now: new Date(Number.NaN) })),
      says: /refreshHealth/,
    },
  ],
  releaseAlerts: [
    {
      refuse: asTenant((tx) => root.releaseAlerts(tx, { channel: "slack", alerts: [badClaim] })),
      says: /at alerts\[0\]/,
    },
  ],
  repair: [away((db) => root.repair(db))],
  reserveExecution: [
    {
      refuse: asTenant((tx) =>
        root.reserveExecution(tx, { agentId: ORGANIZATION, usd: "1", inputData: SECRET }),
      ),
      says: /reserveExecution: no agent .+ Nothing was reserved/,
    },
    {
      refuse: asTenant((tx) =>
        root.reserveExecution(tx, { agentId: ORGANIZATION, usd: "cheap", inputData: SECRET }),
      ),
      says: /usd/,
    },
  ],
  resolveAlerts: [
    {
      refuse: asTenant((tx) => root.resolveAlerts(tx, { ids: [], notes: `${FAR}${SECRET}\0` })),
      says: /notes/,
    },
  ],
  refreshPromptCounters: [
    {
      refuse: asTenant((tx) => root.refreshPromptCounters(tx, { agentId: "x" })),
      says: /agentId/,
    },
  ],
  refreshShadowTest: [
    {
      refuse: asTenant((tx) => root.refreshShadowTest(tx, { id: ORGANIZATION })),
      says: /refreshShadowTest/,
    },
  ],
  resumeCanary: [
    { refuse: asTenant((tx) => root.resumeCanary(tx, { id: ORGANIZATION })), says: /resumeCanary/ },
  ],
  rollBackCanary: [
    {
      refuse: asTenant((tx) => root.rollBackCanary(tx, { id: ORGANIZATION, reason: SECRET })),
      says: /rollBackCanary/,
    },
  ],
  rollBackPrompt: [
    {
      refuse: asTenant((tx) => root.rollBackPrompt(tx, { agentId: ORGANIZATION })),
      says: /rollBackPrompt/,
    },
  ],
  runGovernance: [
    away((db) => root.runGovernance(db)),
    {
      refuse: (db) => root.runGovernance(db, { since: SECRET }),
      says: /runGovernance: since must be a day/,
    },
  ],
  rollUpMetrics: [
    {
      refuse: asTenant((tx) => root.rollUpMetrics(tx, { from: SECRET, to: "2026-01-01" })),
      says: /rollUpMetrics/,
    },
  ],
  routeModel: [
    {
      refuse: asTenant((tx) =>
        root.routeModel(tx, { agentId: ORGANIZATION, context: { language: SECRET } }),
      ),
      says: /routeModel: no agent/,
    },
  ],
  rows: [{ refuse: () => root.rows(SECRET), says: /db\.execute/ }],
  setBaseline: [
    { refuse: asTenant((tx) => root.setBaseline(tx, ORGANIZATION)), says: /setBaseline/ },
  ],
  startAbTest: [
    {
      refuse: asTenant((tx) =>
        root.startAbTest(tx, {
          agentId: ORGANIZATION,
          treatmentPromptId: ORGANIZATION,
          testName: SECRET,
          hypothesis: SECRET,
        }),
      ),
      says: /startAbTest/,
    },
  ],
  startCanary: [
    {
      refuse: asTenant((tx) =>
        root.startCanary(tx, {
          agentId: ORGANIZATION,
          canaryPromptId: ORGANIZATION,
          stages: [{ traffic: 1, note: SECRET }],
        }),
      ),
      says: /startCanary/,
    },
  ],
  startShadowTest: [
    {
      refuse: asTenant((tx) =>
        root.startShadowTest(tx, { agentId: ORGANIZATION, shadowPromptId: ORGANIZATION }),
      ),
      says: /startShadowTest/,
    },
  ],
  stepCanary: [
    { refuse: asTenant((tx) => root.stepCanary(tx, { id: ORGANIZATION })), says: /stepCanary/ },
  ],
  supersedeLearning: [
    {
      refuse: asTenant((tx) => root.supersedeLearning(tx, { id: ORGANIZATION, by: "x" })),
      says: /by/,
    },
  ],
  validators: [
    {
      refuse: () => root.validators(unknownColumns).insert.parse({}),
      says: /\bat: /,
    },
    {
      refuse: () => root.validators(root.agentExecutionLogs).insert.parse(badEntry()),
      says: /qualityScore/,
    },
  ],
  waitForServer: [away((db) => root.waitForServer(db, { seconds: 0.01 }))],
  withOrganization: [
    {
      refuse: (db) => root.withOrganization(db, SECRET, async () => {}),
      says: /withOrganization/,
    },
    {
      refuse: (db) =>
        root.withOrganization(db, ORGANIZATION, async () => {}, { freshAs: `${SECRET}/0` }),
      says: /freshAs must be what currentLsn answered/,
    },
    {
      refuse: (db) =>
        root.withOrganization(db, ORGANIZATION, async () => {}, { freshWithinMs: Number.NaN }),
      says: /freshWithinMs must be a number/,
    },
    {
      refuse: (db) =>
        root.withOrganization(db, ORGANIZATION, async () => {}, {
          freshAs: "FFFFFFFF/0",
          freshWithinMs: 0,
        }),
      says: /has not replayed FFFFFFFF\/0: it is at .*Read from the primary/,
    },
    away((db) => root.withOrganization(db, ORGANIZATION, async () => {})),
  ],
  withServiceRole: [
    {
      refuse: (db) => root.withServiceRole(db, (tx) => root.withServiceRole(tx, async () => {})),
      says: /withServiceRole/,
    },
    away((db) => root.withServiceRole(db, async () => {})),
  ],
};

/** Functions that refuse nothing, and why. */
const NEVER: Readonly<Record<string, string>> = {
  AgentNameTakenError: "an error itself",
  UnrecordedExecutionError: "an error itself",
  CitusError: "an error itself",
  DependencyCycleError: "an error itself",
  LockedError: "an error itself",
  MigrationError: "an error itself",
  PartitionError: "an error itself",
  RepairError: "an error itself",
  StaleReplicaError: "an error itself",
  UntrustedSchemaError: "an error itself",
  bucketOf: "hashes any two texts",
  databaseError: "answers undefined for what is no error of PostgreSQL",
  embeddedServerUrl: "answers undefined where nothing is served",
  explain: "says anything as text",
  installSql: "is given nothing",
  isUnreachable: "answers false for what is no error",
  loginStatements: "is given nothing",
  uuidFor: "makes a uuid of any text",
  migrationSql: "writes what migrations say, and asks no database",
};

test("every public function has its refusals here, or a reason why there are none", () => {
  expect([...functions.keys()].toSorted()).toEqual(
    [...Object.keys(CASES), ...Object.keys(NEVER)].toSorted(),
  );
});

test("what refuses nothing answers whatever it is given", () => {
  for (const given of [undefined, null, 7, SECRET, new Error(SECRET), { code: "42501" }]) {
    for (const name of ["databaseError", "explain", "isUnreachable"] as const) {
      expect(() => called(name, given), name).not.toThrow();
    }
  }
});

/** The error that `work` throws or rejects with. */
async function thrownBy(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was refused");
}

suite("a refusal of", (database) => {
  for (const [name, cases] of Object.entries(CASES)) {
    test(`${name} is a readable Error without a secret`, async () => {
      for (const { refuse, says } of cases) {
        const error = await thrownBy(() => refuse(database.db));
        if (!(error instanceof Error)) throw new TypeError("what was thrown is no Error");
        expect(error.message).toMatch(says);
        expect(error.stack).toMatch(/\n +at /);
        const printed = inspect(error);
        expect(printed).not.toContain("[Getter/Setter]");
        expect(printed).not.toMatch(SECRETS);
        expect(printed.length, printed.slice(0, 500)).toBeLessThanOrEqual(4000);
      }
    });
  }
});

suite(
  "of a database without tables, a refusal of",
  (database) => {
    test("each that needs them is a readable Error that says to migrate, or names what is missing", async () => {
      const works: readonly ((db: root.Database) => Promise<unknown>)[] = [
        (db) => root.withOrganization(db, ORGANIZATION, async () => {}),
        (db) => root.withServiceRole(db, async () => {}),
        (db) => root.repair(db),
        (db) => root.embeddingIndexStates(db),
        (db) => root.loadDemo(db),
        (db) => root.planPartitions(db),
        (db) => root.partitionLogs(db),
        (db) => root.addPartitions(db),
        (db) => root.pruneLogs(db, { before: "2026-01-01" }),
      ];
      for (const work of works) {
        const error = await thrownBy(() => work(database.db));
        expect(error).toBeInstanceOf(Error);
        expect(root.explain(error)).toMatch(/migrate|does not exist/);
      }
      await database.db.execute(sql`select 1`);
    });
  },
  openEmpty,
);
