/**
 * The ways in which a transaction of the embedded engine can end; the others are in
 * tests/container/transaction-endings.test.ts. It runs in this process: no answer is lost, no session is
 * killed, no statement is given up by either side, and each BEGIN and ROLLBACK is carried out.
 */
import { randomUUID } from "node:crypto";
import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import type { Transaction } from "../../src/client/sql.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { agentRegistry } from "../../src/schema/index.ts";
import { newAgent } from "../../src/testing.ts";
import { breakAtCommit, leftFor, told } from "../borrower.ts";
import { suite } from "../engine.ts";

interface Ending {
  readonly name: string;
  readonly end: (tx: Transaction) => Promise<unknown>;
  readonly error: RegExp;
}

const ENDINGS: readonly Ending[] = [
  {
    name: "a statement is refused",
    end: async (tx) => tx.execute(sql`select 1 / 0`),
    error: /22012/,
  },
  {
    name: "COMMIT is refused by a deferred constraint",
    end: breakAtCommit,
    error: /23505/,
  },
  {
    name: "its signal is aborted while a statement waits",
    end: async (tx) => {
      const { reason } = AbortSignal.abort();
      return Promise.race([tx.execute(sql`select pg_sleep(0.05)`), Promise.reject(reason)]);
    },
    error: /AbortError/,
  },
];

suite("the embedded engine after a transaction that ends", (database) => {
  for (const { name, end, error } of ENDINGS) {
    test.each(["withOrganization", "withServiceRole"])(
      `%s, where ${name}: the next one is itself, in no transaction, sees its own rows and commits no others`,
      async (by) => {
        const [predecessor, organization] = [randomUUID(), randomUUID()];
        await database.db.insert(agentRegistry).values(newAgent({ organizationId: organization }));
        const work = async (tx: Transaction) => {
          await tx.insert(agentRegistry).values(newAgent({ organizationId: predecessor }));
          await end(tx);
        };
        const acted =
          by === "withServiceRole"
            ? withServiceRole(database.db, work)
            : withOrganization(database.db, predecessor, work);
        const refusal: unknown = await acted.catch((rejected: unknown) => rejected);
        expect(refusal).toBeInstanceOf(Error);
        expect(told(refusal)).toMatch(error);
        const left = await leftFor(database.db, {
          login: "postgres",
          organization,
          predecessor,
          committed: 0,
          query: database.query,
        });
        expect(left).toEqual([]);
      },
    );
  }
});
