import { BunSQLSession } from "drizzle-orm/bun-sql/session";
import { NeonHttpSession } from "drizzle-orm/neon-http/session";
import { NodePgSession } from "drizzle-orm/node-postgres/session";
import { PgDatabase, PgDialect } from "drizzle-orm/pg-core";
import { drizzle as overProxy } from "drizzle-orm/pg-proxy";
import { describe, expect, test } from "vitest";
import { refuseOtherDrivers } from "../../src/client/driver.ts";
import { withOrganization, withServiceRole } from "../../src/client/tenancy.ts";
import { recordExecutions } from "../../src/fleet/record/record.ts";
import { adopt } from "../../src/operate/adopt/adopt.ts";
import { doctor } from "../../src/operate/doctor/doctor.ts";
import { diff } from "../../src/operate/drift/diff.ts";
import { createLogins } from "../../src/operate/logins.ts";
import { migrate } from "../../src/operate/migrate/migrate.ts";

const ORGANIZATION = "7a1de0c4-5d0f-4f36-9a51-3f0c2a5d9b10";
const PASSWORDS = { application: "a-password-of-some-length", backend: "another-of-some-length" };

/** What is done to the client of a driver. */
const done: PropertyKey[] = [];
const client = new Proxy(() => {}, {
  get: (_, key) => {
    done.push(key);
    return client;
  },
  apply: () => done.push("called"),
});

const dialect = new PgDialect();
/** Drizzle's own sessions, of drivers that are not supported. */
const sessions: [string, object][] = [
  ["BunSQLSession", Reflect.construct(BunSQLSession, [client, dialect, undefined])],
  ["NeonHttpSession", Reflect.construct(NeonHttpSession, [client, dialect, undefined])],
  ["PgRemoteSession", overProxy(() => Promise.reject(new Error("sent")))._.session],
];

describe.each(sessions)("a database over %s", (name, session) => {
  const db: unknown = Reflect.construct(PgDatabase, [dialect, session, undefined]);

  test.each([
    ["withOrganization", withOrganization, [ORGANIZATION, async () => done.push("worked")]],
    ["withServiceRole", withServiceRole, [async () => done.push("worked")]],
    ["recordExecutions", recordExecutions, [[]]],
    ["migrate", migrate, []],
    ["adopt", adopt, []],
    ["diff", diff, []],
    ["doctor", doctor, []],
    ["createLogins", createLogins, [PASSWORDS]],
  ] as const)("is refused by %s, before anything is sent", async (_, use, given) => {
    done.length = 0;
    const refused: unknown = await Promise.resolve(
      Reflect.apply(use, undefined, [db, ...given]),
    ).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(TypeError);
    expect(String(refused)).toContain(
      `does not support the driver of this database (${name}): open`,
    );
    expect(done).toEqual([]);
  });
});

test("a session of a class of somebody's own is that of the driver it derives from", () => {
  class Traced extends NodePgSession<Record<string, never>, Record<string, never>> {}
  const session: object = Reflect.construct(Traced, [client, dialect, undefined]);
  expect(() => refuseOtherDrivers(session)).not.toThrow();
  expect(() => refuseOtherDrivers(Object.create(session))).not.toThrow();
  expect(() => refuseOtherDrivers({})).toThrow("(no session of Drizzle)");
});
