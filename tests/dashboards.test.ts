import { sql } from "drizzle-orm";
import { beforeAll, expect, test } from "vitest";
import { rows } from "../src/client/sql.ts";
import { withOrganization } from "../src/client/tenancy.ts";
import { loadDemo } from "../src/demo/load.ts";
import { DEMO_NOW, DEMO_ORGANIZATIONS } from "../src/demo/story.ts";
import { type Asked, QUESTIONS, blocksBelow, headings, withValues } from "./dashboards.ts";
import { suite } from "./engine.ts";

const ORGANIZATION = Object.values(DEMO_ORGANIZATIONS)[0]?.id ?? "";

/** Layout and quotes of names aside. */
const words = (text: string) =>
  text
    .replaceAll('"', "")
    .replaceAll(/\s+/g, " ")
    .replaceAll(/ ?([(),]) ?/g, "$1")
    .trim();

suite("docs/dashboards.md", (database) => {
  let asked: Asked;
  beforeAll(async () => {
    await loadDemo(database.db);
    const log = await database.db.query.agentExecutionLogs.findFirst({
      where: (logs, { and, eq }) =>
        and(eq(logs.organizationId, ORGANIZATION), eq(logs.status, "failure")),
    });
    const to = new Date(DEMO_NOW);
    const from = new Date(to.getTime() - 20 * 86_400_000);
    asked = { from, to, execution: log?.executionId ?? "" };
  });

  test("has each question once, and nothing that a tool would take for its own", () => {
    expect(headings).toEqual(["The login", ...Object.keys(QUESTIONS)]);
    for (const heading of Object.keys(QUESTIONS)) {
      const [block, ...more] = blocksBelow(heading);
      expect(more).toEqual([]);
      expect(block).not.toMatch(/\?|\{\{|\[\[|\$|%|;/);
    }
  });

  test.each(Object.entries(QUESTIONS))(
    "%s is what examples/queries.ts sends",
    async (heading, ask) => {
      const [block = ""] = blocksBelow(heading);
      await withOrganization(database.db, ORGANIZATION, async (tx) => {
        const question = ask(tx, asked);
        const { sql: sent, params } = question.toSQL();
        const written = sent.replaceAll(/\$(\d+)/g, (_, place: string) => {
          const value = params[Number(place) - 1];
          return typeof value === "number" ? String(value) : `'${String(value)}'`;
        });
        expect(words(withValues(block, asked))).toBe(words(written));
        const answer = rows(await tx.execute(sql.raw(withValues(block, asked))));
        expect(answer).not.toEqual([]);
        expect(answer).toEqual(rows(await tx.execute(question.getSQL())));
      });
    },
  );
});
