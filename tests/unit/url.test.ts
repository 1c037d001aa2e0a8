import { inspect } from "node:util";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { connect } from "../../src/client/connect.ts";
import { readUrl, siblingUrl } from "../../src/client/url.ts";
import { databaseUrls, partsOfDatabaseUrl } from "../../src/config.ts";
import { openTestDatabase } from "../../src/testing.ts";

const SEED = process.env["PROPERTY_SEED"];

const SECRET = "s3cret-Pa55";

/** URLs that nobody can read, each with a password in it. */
const MALFORMED = [
  "postgres://u:PASS@[::1",
  "postgres://u:PASS@[::1]:x/db",
  "postgres://u:PASS@host:99999/db",
  "postgres://u:PASS@host:54a2/db",
  "postgres://u:PASS@ho st/db",
  "postgres://u:PASS@host name:5432/db",
  "postgres://u:PASS%@host/db",
  "postgres://u:PASS%zz@host/db",
  "postgres://u:PASS%E0%A4%A@host/db",
  "postgres://u%:PASS@host/db",
  "postgres://u:PASS@host/%",
  "postgres://u:PASS@host/db?a=%",
  "postgres://u:PA@PASS@host/db",
  "postgres://u:PASS/x@host/db",
  "postgres://u:PASS?x@host/db",
  "postgres://u:PASS#x@host/db",
  "postgres://u:PASS@host/db#x",
  "postgres://u:PASS@",
  "postgres://",
  "postgres:/u:PASS@host/db",
  "postgres:u:PASS@host/db",
  "Postgres//u:PASS@host/db",
  "mysql://u:PASS@host/db",
  "http://u:PASS@host/db",
  "u:PASS@host/db",
  "PASS",
  " postgres://u:PASS@host/db",
  "postgres://u:PASS@host/db ",
  "postgres://u:PASS@host/db\n",
  "postgres://u:PASS@host\0/db",
  "postgres://u:PASS\ud800@host/db",
  "postgres://u:PASS@<host>/db",
  "postgres://u:PASS@host^/db",
  "postgres://u:PASS@a,b c/db",
  "postgres://u:PASS@%zz/db",
].map((url) => url.replace("PASS", SECRET));

/** All that could be shown of an error. */
const shown = (error: unknown) =>
  [inspect(error, { depth: 9, showHidden: true }), String(error), JSON.stringify(error)].join("\n");

/** What a typing hand, a shell or a template leaves in a URL. */
const SCRAP = fc.oneof(
  fc.constantFrom(
    ..."@:/?#[]%&=, \t\n\0\\\"'<>^|`{}$".split(""),
    "%zz",
    "%E0",
    "::",
    "//",
    "\ud800",
  ),
  fc.string({ unit: "binary", maxLength: 3 }),
);

/** A URL that was right once, with scraps put in and pieces cut out; the password is still whole. */
const damagedUrl = fc
  .tuple(
    fc.constantFrom("postgres://", "postgresql://", "postgres:", "http://", ""),
    fc.constantFrom("u:", "u%40:", ":", ""),
    fc.constantFrom("@host:5432/db?sslmode=require", "@a:1,b:2/db", "@[::1]/db", "@host", ""),
    fc.array(fc.tuple(fc.nat(99), SCRAP), { minLength: 1, maxLength: 4 }),
  )
  .map(([scheme, user, rest, scraps]) =>
    scraps.reduce((url, [place, scrap]) => {
      const at = (place * url.length) / 100;
      const damaged = `${url.slice(0, at)}${scrap}${url.slice(at + (place % 3))}`;
      return damaged.includes(SECRET) ? damaged : url;
    }, `${scheme}${user}${SECRET}${rest}`),
  )
  .filter((url) => partsOfDatabaseUrl(url) === null);

/** Every way in refuses it, and none says a word of it. */
async function expectSilentRefusals(url: string): Promise<void> {
  const refusals = [
    () => connect(url),
    () => readUrl(url),
    () => siblingUrl(url, "other"),
    () => openTestDatabase({ url }),
    () => databaseUrls({ databaseUrl: url }, { env: {}, envFile: false }),
    () => databaseUrls({}, { env: { MIGRATION_DATABASE_URL: url }, envFile: false }),
  ];
  for (const refusal of refusals) {
    const error = await (async () => refusal())().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(Error);
    expect(shown(error)).not.toContain("s3cret");
    expect(shown(error)).not.toContain("Pa55");
  }
}

describe("a database URL that nobody can read", () => {
  test.each(MALFORMED)("is refused without a word of it, form %#", expectSilentRefusals);

  test("is refused without a word of it, 1,000 random ones", async () => {
    await fc.assert(fc.asyncProperty(damagedUrl, expectSilentRefusals), {
      numRuns: 1000,
      ...(SEED ? { seed: Number(SEED) } : {}),
    });
  });

  test("no driver is handed a URL that it cannot read", () => {
    // Of what passes, postgres.js makes a client, which reads the URL at once.
    const fine = fc.webUrl({ authoritySettings: { withUserInfo: true, withPort: true } });
    const either = fc.oneof(
      fine.map((url) => url.replace(/^https?/, "postgres")),
      fc
        .tuple(fc.constantFrom("h,h:1", "h", "[::1]", "%68"), SCRAP)
        .map(([host, scrap]) => `postgres://u:${SECRET}@${host}/db${scrap}`),
    );
    fc.assert(
      fc.property(either, (url) => {
        if (partsOfDatabaseUrl(url)) expect(connect(url).label).not.toContain(SECRET);
      }),
      { numRuns: 1000, ...(SEED ? { seed: Number(SEED) } : {}) },
    );
  });
});

describe("a database URL of a provider", () => {
  test.each([
    ["Neon", "sslmode=require&channel_binding=require", "sslmode=require"],
    ["Vercel and Supabase", "supa=base-pooler.x&sslmode=require", "sslmode=require"],
    ["Supabase's pooler", "pgbouncer=true&workaround=supabase-pooler.vercel", undefined],
    ["Prisma", "schema=public&connection_limit=1", undefined],
    ["RDS", "sslmode=verify-full&sslrootcert=/certs/rds.pem", "sslmode=verify-full"],
    [
      "libpq",
      "sslrootcert=system&options=-c%20jit%3Doff",
      "sslrootcert=system&options=-c%20jit%3Doff",
    ],
  ])("%s: what only others understand is left out, and told", (_, query, kept) => {
    const { url, ignored } = readUrl(`postgres://u:p@host/db?${query}`);
    expect(url).toBe(kept ? `postgres://u:p@host/db?${kept}` : "postgres://u:p@host/db");
    const connection = connect(`postgres://u:p@host/db?${query}`);
    for (const name of ignored) expect(connection.label).toContain(name);
  });

  test("its sibling has the same hosts and parameters", () => {
    expect(siblingUrl("postgres://u:p@a:1,b:2/db?sslmode=require&schema=x", "other")).toBe(
      "postgres://u:p@a:1,b:2/other?sslmode=require",
    );
    expect(siblingUrl("postgres://u:p@[::1]:5432", "other")).toBe(
      "postgres://u:p@[::1]:5432/other",
    );
  });
});

test("options that are no numbers of 0 or more are refused, all of them named", () => {
  expect(() => connect("postgres://host/db", { max: -1, idleTimeout: Number.NaN })).toThrow(
    "connect: expected numbers of 0 or more: max, idleTimeout",
  );
});
