import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink } from "node:fs/promises";
import { type IncomingMessage, type OutgoingHttpHeaders, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { getTableName } from "drizzle-orm";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { openEmbedded } from "../src/embedded.ts";
import { migrate } from "../src/operate/migrate/migrate.ts";
import { TABLES } from "../src/schema/all.ts";
import { askStudio, cli, environment, finished, mainFile, printed, start } from "./cli.ts";
import { engine, suite } from "./engine.ts";

suite("studio", (database) => {
  let directory: string;
  let target: string[];
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "meta-agent-db-studio-"));
    target = engine === "container" ? ["--url", database.url] : ["--directory", directory];
    if (engine === "container") return;
    const { db, close } = await openEmbedded(directory);
    await migrate(db);
    await close();
  });
  afterAll(() => rm(directory, { recursive: true }));

  test("serves all 21 tables and their relations until it is told to stop", async () => {
    const studio = start(["studio", "--port", "0", ...target]);
    const ended = finished(studio);
    const page = await printed(studio.stdout, /https:\/\/local\.drizzle\.studio\?port=(\d+)\n/);
    const port = Number(/\d+/.exec(page)?.[0]);
    const init = await vi.waitFor(() => askStudio(port, { type: "init" }), 10_000);
    expect(init).toMatchObject({ dialect: "postgresql" });
    expect(JSON.stringify(init)).toContain("executionLogs");
    for (const table of TABLES.map(getTableName)) {
      const sql = `select count(*)::int as count from "${table}"`;
      const data = { sql, params: [], method: "all", mode: "object" };
      const answer = await askStudio(port, { type: "proxy", data });
      expect(answer, table).toEqual([{ count: expect.any(Number) }]);
    }
    studio.kill("SIGINT");
    expect(await ended).toMatchObject({ code: 0 });
    await expect(askStudio(port, { type: "init" })).rejects.toThrow("fetch failed");
  });

  describe("while it runs", () => {
    let studio: ChildProcess;
    let port: number;
    beforeAll(async () => {
      studio = start(["studio", "--port", "0", ...target]);
      const page = await printed(studio.stdout, /https:\/\/local\.drizzle\.studio\?port=(\d+)\n/);
      port = Number(/\d+/.exec(page)?.[0]);
      await vi.waitFor(() => askStudio(port, { type: "init" }), 10_000);
    });
    afterAll(() => studio.kill("SIGINT"));

    const body = JSON.stringify({
      type: "proxy",
      data: { sql: "select 1 as one", params: [], method: "all", mode: "object" },
    });
    /** A request with headers that fetch would not let us choose. */
    const ask = async (headers: OutgoingHttpHeaders, method = "POST") => {
      const asked = request({ host: "127.0.0.1", port, method });
      for (const [name, value] of Object.entries(headers)) asked.setHeader(name, value ?? "");
      if (method === "POST") asked.setHeader("content-type", "application/json").write(body);
      asked.end();
      const answer = await new Promise<IncomingMessage>((done, failed) =>
        asked.once("response", done).once("error", failed),
      );
      return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
    };
    const page = "https://local.drizzle.studio";

    test.each<OutgoingHttpHeaders>([
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: "http://local.drizzle.studio" },
      { origin: "https://local.drizzle.studio.evil.example" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { host: "evil.example" },
      { host: "evil.example", origin: page },
      { host: "127.0.0.1", origin: page },
      { host: "127.0.0.1:1", origin: page },
      { host: "127.0.0.1.evil.example:4983", "sec-fetch-site": "same-origin" },
    ])("no other web page runs SQL: %j", async (headers) => {
      for (const method of ["POST", "OPTIONS", "GET"]) {
        const answer = await ask(headers, method);
        expect(answer.status, method).toBe(403);
        expect(answer.headers).not.toHaveProperty("access-control-allow-origin");
        expect(answer.body).toContain("studio answers to");
      }
    });

    test("its own page is answered, by each name of the loopback address, and named as the one who may read", async () => {
      for (const name of ["127.0.0.1", "localhost", "[::1]"]) {
        const answer = await ask({ origin: page, host: `${name}:${port}` });
        expect(answer).toMatchObject({ status: 200, body: '[{"one":1}]' });
        expect(answer.headers["access-control-allow-origin"]).toBe(page);
      }
      const preflight = await ask(
        {
          origin: page,
          "access-control-request-method": "POST",
          "access-control-request-private-network": "true",
        },
        "OPTIONS",
      );
      expect(preflight.status).toBe(204);
      expect(preflight.headers).toMatchObject({
        "access-control-allow-origin": page,
        "access-control-allow-private-network": "true",
      });
    });

    test("a program that is no browser is answered", async () => {
      expect(await ask({})).toMatchObject({ status: 200, body: '[{"one":1}]' });
    });
  });

  test("a port that is taken is said, and nothing is left open", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((done) => taken.once("listening", done));
    const address = taken.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const outcome = await cli(["studio", "--port", String(port), ...target]);
    taken.close();
    expect(outcome).toMatchObject({ code: 1, stdout: "" });
    expect(outcome.stderr).toContain("Another process listens on this port");
  });

  test("drizzle-kit that is not installed is said", async () => {
    const app = join(directory, "app");
    for (const name of ["dist", "package.json"]) {
      await cp(join(inject("built"), name), join(app, name), { recursive: true });
    }
    await mkdir(join(app, "node_modules"));
    for (const name of await readdir("node_modules")) {
      if (name === "drizzle-kit" || name.startsWith(".")) continue;
      await symlink(resolve("node_modules", name), join(app, "node_modules", name));
    }
    const words = [mainFile(app), "studio", ...target];
    const elsewhere = spawn(process.execPath, words, { cwd: app, env: environment() });
    expect(await finished(elsewhere)).toEqual({
      code: 1,
      stdout: "",
      stderr: "error studio needs the package drizzle-kit: npm install --save-dev drizzle-kit\n",
    });
  });
});
