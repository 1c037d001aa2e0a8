import { inspect } from "node:util";
import { DrizzleQueryError, type SQL, sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { databaseError, explain } from "../src/client/errors.ts";
import type { Transaction } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { TABLES } from "../src/schema/all.ts";
import { agentExecutionLogs, agentRegistry } from "../src/schema/index.ts";
import { newAgent, newExecutionLog } from "../src/testing.ts";
import { fromDatabaseError } from "../src/validation/refusals.ts";
import { suite } from "./engine.ts";
import { rolledBack } from "./fuzz/rolled-back.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
const AS_OWNER = "Connect as the owner";
const INSIDE = "Run it inside withOrganization(db, organization, (tx) => …) and use its tx, not db";
const MARKER = "in confidence";

const caught = (work: PromiseLike<unknown>): Promise<unknown> =>
  Promise.resolve(work).then(
    () => "nothing was refused",
    (error: unknown) => error,
  );

suite("what a refusal tells to do", (database) => {
  /** What is told to the application's login, which owns nothing and inherits nothing. */
  async function toldToLogin(work: (tx: Transaction) => PromiseLike<unknown>): Promise<string> {
    let told = "";
    await rolledBack(database.db, async (tx) => {
      await tx.execute(sql`create role forgetful noinherit in role authenticated`);
      await tx.execute(sql`create table public.notes (note text)`);
      await tx.execute(sql`set local role forgetful`);
      told = explain(await caught(tx.transaction(async (inner) => work(inner))));
      await tx.execute(sql`reset role`);
    });
    return told;
  }

  test("who forgot withOrganization is told so, and not to connect as the owner", async () => {
    for (const table of TABLES) {
      const told = await toldToLogin((tx) => tx.select().from(table));
      expect(told).toContain("permission denied for table");
      expect(told).toContain(INSIDE);
      expect(told).not.toContain(AS_OWNER);
    }
    expect(await toldToLogin((tx) => tx.insert(agentRegistry).values(newAgent()))).toContain(
      INSIDE,
    );
    const theirs = await toldToLogin((tx) => tx.execute(sql`select * from notes`));
    expect(theirs).toContain("Have the owner of the table grant the missing right");
    expect(theirs).not.toContain(AS_OWNER);
  });

  const commands: readonly SQL[] = [
    sql`create table more (a integer)`,
    sql`create schema more`,
    sql`alter table agent_registry add more integer`,
    sql`create index on agent_registry (category)`,
    sql`drop table agent_registry cascade`,
  ];

  test("who is refused a command of the owner is told to connect as the owner", async () => {
    for (const command of commands) {
      const told = await toldToLogin((tx) => tx.execute(command));
      expect(told).toContain("(42501)");
      expect(told).toContain(AS_OWNER);
    }
  });
});

suite("what was sent is not repeated", (database) => {
  const refusedOf = (work: (tx: Transaction) => PromiseLike<unknown>) =>
    caught(withOrganization(database.db, ORGANIZATION, async (tx) => work(tx)));

  /** In each the marker was sent, and Drizzle's message has it. */
  const statements: Readonly<Record<string, (tx: Transaction) => PromiseLike<unknown>>> = {
    "NUL in a payload of a megabyte": (tx) =>
      tx.insert(agentExecutionLogs).values(
        newExecutionLog({
          agentId: ORGANIZATION,
          outputData: MARKER.repeat(80_000),
          errorMessage: `${MARKER}\0`,
        }),
      ),
    "a malformed uuid": (tx) => tx.execute(sql`select ${MARKER}::text::uuid`),
    "a malformed uuid of a megabyte": (tx) =>
      tx.execute(sql`select ${MARKER.repeat(80_000)}::text::uuid`),
    "malformed JSON": (tx) => tx.execute(sql`select ${`{"a":${MARKER}`}::text::json`),
    "a row that breaks a CHECK": (tx) =>
      tx.insert(agentRegistry).values(newAgent({ displayName: MARKER, targetSuccessRate: 101 })),
    "a row without a value": (tx) =>
      tx.execute(sql`insert into agent_registry (display_name) values (${MARKER})`),
    "a taken name": (tx) =>
      tx
        .insert(agentRegistry)
        .values([newAgent({ agentName: MARKER }), newAgent({ agentName: MARKER })]),
    "a reference to nothing": (tx) =>
      tx
        .insert(agentExecutionLogs)
        .values(newExecutionLog({ agentId: ORGANIZATION, actionName: MARKER })),
  };

  test.each(Object.keys(statements))("%s", async (title) => {
    const thrown = await refusedOf(async (tx) => statements[title]?.(tx));
    expect(String(thrown)).toContain(MARKER);
    const told = explain(thrown);
    expect(told).not.toContain(MARKER);
    expect(told.length).toBeLessThan(600);
    const error = fromDatabaseError(thrown);
    expect(error).toBeInstanceOf(Error);
    expect(databaseError(error)?.code).toBe(databaseError(thrown)?.code);
    expect(inspect(error)).toContain("explain.test.ts");
    expect(inspect(error)).not.toContain(MARKER);
    expect(inspect(error).length).toBeLessThan(4000);
  });

  test("nor when the connection was lost meanwhile", async () => {
    const lost = Object.assign(new Error("write ECONNRESET"), { code: "ECONNRESET" });
    expect(fromDatabaseError(new DrizzleQueryError("insert …", [MARKER], lost))).toBe(lost);
  });
});
