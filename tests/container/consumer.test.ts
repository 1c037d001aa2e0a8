import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { diff } from "../../src/operate/drift/diff.ts";
import { cli, environment } from "../cli.ts";
import { type TestDatabase, openMigrated } from "../engine.ts";

const run = promisify(execFile);

// What `init` writes is used as its reader would: in a package of its own, where this one is installed.
describe.skipIf(inject("server") === "")("an application after init", () => {
  let root: string;
  let database: TestDatabase;
  const at = (...path: string[]) => join(root, ...path);
  const tool = (name: string, ...words: string[]) =>
    run(process.execPath, [at("node_modules", ...name.split("/")), ...words], {
      cwd: root,
      env: environment({ DATABASE_URL: database.url }),
    });
  const drizzleKit = (...words: string[]) => tool("drizzle-kit/bin.cjs", ...words);

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "meta-agent-db-app-"));
    database = await openMigrated();
    const installed = at("node_modules", "meta-agent-db");
    await mkdir(installed, { recursive: true });
    for (const name of await readdir("node_modules")) {
      await symlink(resolve("node_modules", name), at("node_modules", name));
    }
    for (const name of ["package.json", ".env.example", "dist"]) {
      await cp(join(inject("built"), name), join(installed, name), { recursive: true });
    }
    await writeFile(at("package.json"), JSON.stringify({ name: "app", type: "module" }));
  });
  afterAll(async () => {
    await database.close();
    await rm(root, { recursive: true });
  });

  test("has the files, and the command says what is next; a second time nothing is written over", async () => {
    const first = await cli(["init", "--directory", root]);
    expect(first).toMatchObject({
      code: 0,
      stdout: "drizzle.config.ts\ndb/schema.ts\ndb/isolate.mjs\n.env.example\n",
    });
    expect(first.stderr).toContain("install meta-agent-db, drizzle-orm, drizzle-kit");
    await writeFile(at(".env.example"), "MINE=1\n");
    const second = await cli(["init", "--directory", root]);
    expect(second).toMatchObject({ code: 0, stdout: "" });
    expect(second.stderr).toContain(".env.example: is there already, left as it is");
    expect(await readFile(at(".env.example"), "utf8")).toBe("MINE=1\n");
  });

  test("type-checks strictly", async () => {
    const flags = "--noEmit --strict --skipLibCheck --module nodenext --target es2022 --types node";
    await tool("typescript/bin/tsc", ...flags.split(" "), "db/schema.ts", "drizzle.config.ts");
  });

  test("gets migrations of its own table alone, beside ours, in a journal of its own", async () => {
    await drizzleKit("generate", "--name", "notes");
    const text = await readFile(at("migrations", "0000_notes.sql"), "utf8");
    expect(text.match(/CREATE TABLE "\w+"/g)).toEqual(['CREATE TABLE "agent_notes"']);
    expect(text).toContain('REFERENCES "public"."agent_registry"("id") ON DELETE cascade');
    await run(process.execPath, ["db/isolate.mjs", "agent_notes", "notes"], {
      cwd: root,
      env: environment({ DATABASE_URL: database.url }),
    });
    const isolating = await readFile(at("migrations", "0001_isolate_agent_notes.sql"), "utf8");
    expect(isolating).toMatch(/^SELECT meta_agent.isolate\('agent_notes', 'notes'\);$/m);
    await drizzleKit("migrate");
    const policies = await database.query(
      "select from pg_policies where tablename = 'agent_notes'",
    );
    expect(policies).toHaveLength(5);
    expect(await cli(["migrate", "--url", database.url])).toMatchObject({ stdout: "up to date\n" });
  });

  test("may push, which leaves our tables as they are", async () => {
    await drizzleKit("push", "--force");
    expect(await diff(database.db)).toEqual([]);
  });

  test("outside of a package it is an error that names what is missing", async () => {
    const outcome = await cli(["init", "--directory", at("migrations")]);
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain(`${at("migrations", "package.json")} does not exist`);
    expect(await readdir(at("migrations"))).not.toContain("drizzle.config.ts");
  });
});
