import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lint } from "../../src/operate/lint.ts";
import { cli } from "../cli.ts";

// What drizzle-kit 0.31.11 has generated, as it is.
const MADE = `CREATE TABLE "agent_notes" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"note" text NOT NULL,
	"organization_id" uuid DEFAULT meta_agent.current_organization_id()
);
--> statement-breakpoint
ALTER TABLE "agent_notes" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE INDEX "idx_agent_notes_organization_id" ON "agent_notes" USING btree ("organization_id");`;
const CHANGED = `ALTER TABLE "agent_notes" ADD COLUMN "agent_id" uuid;--> statement-breakpoint
ALTER TABLE "agent_notes" ADD COLUMN "rating" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "agent_notes" ADD CONSTRAINT "agent_notes_agent_id_agent_registry_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agent_registry"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_agent_notes_agent_id" ON "agent_notes" USING btree ("agent_id");`;
const ISOLATED = "SELECT meta_agent.isolate('agent_notes', 'notes');\n";

const TABLES = `CREATE TABLE notes (id int PRIMARY KEY, agent_id uuid, rating int, note text);
CREATE INDEX notes_rating ON notes (rating);
CREATE TABLE cited (id int PRIMARY KEY);
ALTER TABLE notes ADD CONSTRAINT proven CHECK (rating > 0) NOT VALID;
CREATE MATERIALIZED VIEW best AS SELECT id FROM notes;
CREATE UNIQUE INDEX ON best (id);`;

const SHORT = "info: reads and writes of notes wait behind it";

/** What is said of statements, each in a file of its own, beside tables that are there. */
async function said(statements: readonly string[], tables = TABLES): Promise<string[][]> {
  const files = statements.map((text, index) => ({ name: String(index), text }));
  const found = await lint([{ name: "tables", text: tables }, ...files], { from: "0" });
  return files.map(({ name }) =>
    found.flatMap(({ file, level, message }) => (file === name ? [`${level}: ${message}`] : [])),
  );
}

describe("lint", () => {
  test("says of each kind of lock who waits for it, and whether while a table is read or written", async () => {
    const expected: readonly (readonly [statement: string, ...said: string[]])[] = [
      ["SELECT FROM notes"],
      ["SELECT FROM notes FOR UPDATE"],
      ["INSERT INTO notes VALUES (1); UPDATE notes SET rating = 2; DELETE FROM notes"],
      ["ALTER TABLE notes VALIDATE CONSTRAINT proven"],
      [
        "CREATE INDEX ON notes (agent_id)",
        "warning: writes of notes wait while notes is read whole",
      ],
      [
        "CREATE TRIGGER t BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "info: writes of notes wait behind it",
      ],
      ["LOCK TABLE notes IN EXCLUSIVE MODE", "info: writes of notes wait behind it"],
      ["REFRESH MATERIALIZED VIEW CONCURRENTLY best", "warning: writes of best wait while "],
      ["ALTER TABLE notes ADD COLUMN a int", SHORT],
      ["ALTER TABLE notes ADD COLUMN b int NOT NULL DEFAULT 0", SHORT],
      ["ALTER TABLE notes ALTER rating SET DEFAULT 1", SHORT],
      ["ALTER TABLE notes ADD CHECK (id > 0) NOT VALID", SHORT],
      ["TRUNCATE notes", SHORT],
      ["DROP INDEX notes_rating", SHORT],
      [
        "ALTER TABLE notes ADD COLUMN c uuid DEFAULT gen_random_uuid()",
        "warning: reads and writes of notes wait while notes is written anew",
      ],
      [
        "ALTER TABLE notes ALTER rating TYPE bigint",
        "warning: reads and writes of notes wait while notes is written anew",
      ],
      [
        "ALTER TABLE notes ADD CHECK (id > 1)",
        "warning: reads and writes of notes wait while notes is read whole",
      ],
      [
        "ALTER TABLE notes ALTER note SET NOT NULL",
        "warning: reads and writes of notes wait while notes is read whole",
      ],
      [
        "ALTER TABLE notes ADD UNIQUE (agent_id)",
        "warning: reads and writes of notes wait while notes is read whole",
      ],
      [
        "ALTER TABLE notes ADD FOREIGN KEY (agent_id) REFERENCES agent_registry (id)",
        "warning: writes of agent_registry, notes wait while notes is read whole",
      ],
      [
        "ALTER TABLE notes ADD CONSTRAINT n FOREIGN KEY (id) REFERENCES cited (id) NOT VALID",
        "info: writes of cited, notes wait behind it",
      ],
      ["REINDEX TABLE notes", "warning: reads and writes of notes wait while notes is read whole"],
      ["DROP TABLE cited CASCADE", "info: reads and writes of "],
      ["CREATE TABLE new (id int); CREATE INDEX ON new (id); ALTER TABLE new ADD CHECK (id > 0)"],
      ["SET lock_timeout = '5s'; ALTER TABLE notes ADD COLUMN d int"],
      ["ALTER TABLE notes ADD COLUMN e int", SHORT],
    ];
    const found = await said(expected.map(([statement]) => statement));
    for (const [index, [statement, ...heads]] of expected.entries()) {
      const begun = found[index]?.map((text, at) => text.slice(0, heads[at]?.length));
      expect(begun, statement).toEqual(heads);
    }
  });

  test("locks are held to the end of a file, or to its own COMMIT", async () => {
    const read = "UPDATE cited SET id = 1 WHERE id > 0 OR id < 0";
    const waiting = "warning: reads and writes of notes wait while cited is read whole";
    const short = expect.stringContaining(SHORT);
    expect(
      await said([
        `ALTER TABLE notes ADD COLUMN a int; ${read}`,
        `BEGIN; ALTER TABLE notes ADD COLUMN b int; COMMIT; ${read}`,
        read,
      ]),
    ).toEqual([[short, waiting], [short], []]);
  });

  test("says of drizzle-kit's output what to write instead, and of a file that makes its table nothing", async () => {
    const files = [
      { name: "0000", text: MADE },
      { name: "0001", text: ISOLATED },
      { name: "0002", text: CHANGED },
    ];
    const found = await lint(files);
    expect(
      found.map(({ file, line, level, check, statement, next }) => [
        `${file}:${line} ${level} ${check}`,
        statement.slice(0, 48),
        next.slice(0, 36),
      ]),
    ).toEqual([
      ["0001:1 info locks", "SELECT meta_agent.isolate( …", "SET lock_timeout = '5s'; before it, "],
      [
        "0002:1 info locks",
        'ALTER TABLE "agent_notes" ADD COLUMN "agent_id" ',
        "SET lock_timeout = '5s'; before it, ",
      ],
      [
        "0002:3 warning locks",
        'ALTER TABLE "agent_notes" ADD CONSTRAINT "agent_',
        "ADD CONSTRAINT … NOT VALID; then, in",
      ],
      [
        "0002:4 warning locks",
        'CREATE INDEX "idx_agent_notes_agent_id" ON "agen',
        "CREATE INDEX CONCURRENTLY, outside o",
      ],
    ]);
  });

  test("says what breaks these tables, by the statement that does it, unless a later one mends it", async () => {
    const policy = '"Users see own org agents" ON agent_registry';
    const text = `ALTER TABLE agent_slas DISABLE ROW LEVEL SECURITY;
DROP POLICY ${policy};
CREATE POLICY ${policy} USING (true);
GRANT SELECT ON cost_budgets TO PUBLIC;
DROP INDEX idx_logs_execution;
ALTER TABLE agent_prompts ADD COLUMN mine int;
DO $$ BEGIN
  DROP TABLE alert_history;
END $$;
ALTER TABLE agent_slas ENABLE ROW LEVEL SECURITY;`;
    const found = await lint([
      { name: "breaks", text },
      { name: "after", text: "SELECT 1;\n-- only a comment" },
    ]);
    const broken = found.filter(({ check }) => check === "schema");
    expect(
      broken.map(
        ({ file, line, level, message }) => `${file}:${line} ${level} ${message.split(". ")[0]}`,
      ),
    ).toEqual([
      'breaks:3 error policy "Users see own org agents" on agent_registry is changed',
      "breaks:4 error grant on cost_budgets to PUBLIC is not of the migrations",
      "breaks:5 warning index idx_logs_execution on agent_execution_logs is missing",
      "breaks:6 warning column agent_prompts.mine is not of the migrations",
      "breaks:7 error table alert_history is missing",
    ]);
    expect(broken[1]?.next).toContain("REVOKE ALL ON TABLE public.cost_budgets FROM PUBLIC");
  });

  test("what PostgreSQL refuses is said with its line, and the rest is looked at", async () => {
    const text = `\uFEFF-- a ; in a comment, it's one
CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$ -- ';
BEGIN /* ; */ RETURN 1; END $body$;
CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;
/* ; /* nested ; */ */ SELECT 'a;''b', "c;d" FROM (SELECT 1 AS "c;d") AS of_one;

CREATE TABLE a (id int,
  note txt);
CREATE TABEL b (id int);
SELECT E'\\';', $$;$$;
DROP POLICY none ON agent_slas
;SELECT 'open;`;
    for (const eol of ["\n", "\r\n"]) {
      const decoded = new TextDecoder().decode(Buffer.from(text.replaceAll("\n", eol)));
      const found = await lint([{ name: "x.sql", text: decoded }]);
      expect(
        found.map(({ line, check, statement, message }) => [line, check, statement, message]),
      ).toEqual([
        [8, "refused", "CREATE TABLE a (id int, note …", 'type "txt" does not exist (42704)'],
        [9, "refused", "CREATE …", 'syntax error at or near "…" (42601)'],
        [
          11,
          "refused",
          "DROP POLICY none ON agent_slas ;",
          'policy "none" for table "agent_slas" does not exist (42704)',
        ],
        [12, "refused", "SELECT …", 'unterminated quoted string at or near "…" (42601)'],
      ]);
    }
  });

  test("what must be outside of a transaction is run there, and COPY is not run, in plain sight", async () => {
    const text = `ALTER TABLE notes ADD COLUMN a int;
CREATE INDEX CONCURRENTLY by_a ON notes (a);
VACUUM notes;
COPY notes FROM STDIN;
COPY notes TO PROGRAM 'cat';
DROP INDEX by_a;
CREATE INDEX CONCURRENTLY by_b ON notes (b);`;
    const [found = []] = await said([text]);
    expect(found.map((line) => line.slice(0, 60))).toEqual([
      `${SHORT}, for as long `,
      "info: CREATE INDEX CONCURRENTLY cannot run inside a transact",
      "info: VACUUM cannot run inside a transaction block: it was r",
      "info: COPY was not run: it reads or writes outside of the da",
      "info: COPY was not run: it reads or writes outside of the da",
      `${SHORT}, for as long `,
      'error: column "b" does not exist (42703)',
    ]);
  });

  test("never repeats a password or another value", async () => {
    const found = await lint([
      {
        name: "x",
        text: `-- s3cret
CREATE ROLE a LOGIN PASSWORD 's3cret';
ALTER ROLE a PASSWORD s3cret;
ALTER ROLE a PASSWORD $$s3cret$$ s3cret;
ALTER ROLE a 's3cret';
ALTER ROLE a s3cret;
CREATE ROLE a PASSWORD /* s3cret */ 's3cret';
SELECT 's3cret'::uuid;
INSERT INTO agent_registry (agent_name) VALUES ('s3cret');
ALTER ROLE a PASSWORD 's3cret`,
      },
    ]);
    expect(found.map(({ line, check }) => `${line} ${check}`)).toEqual(
      [3, 4, 5, 6, 7, 8, 9, 10].map((line) => `${line} refused`),
    );
    expect(JSON.stringify(found)).not.toContain("s3cret");
  });
});

describe("meta-agent-db lint", () => {
  let folder: string;
  const file = (name: string) => join(folder, name);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "meta-agent-db-lint-"));
    await writeFile(file("0000.sql"), MADE);
    await writeFile(file("0001.sql"), "\uFEFFCREATE INDEX ON agent_notes (note);\r\n");
    await writeFile(file("empty.sql"), "");
    await writeFile(file("utf16.sql"), "SELECT 1;", "utf16le");
  });
  afterAll(() => rm(folder, { recursive: true }));

  test("prints findings with file, line and what to do, and ends with 2", async () => {
    const words = ["lint", file("0000.sql"), file("0001.sql"), "--from", file("0001.sql")];
    expect(await cli(words)).toMatchObject({
      code: 2,
      stdout: `warning  ${file("0001.sql")}:1: writes of agent_notes wait while agent_notes is read whole
         CREATE INDEX ON agent_notes (note);
         CREATE INDEX CONCURRENTLY, outside of a transaction.
`,
    });
  });

  test("of files without a fault, an empty one too, it ends with 0", async () => {
    expect(await cli(["lint", "--json", file("0000.sql"), file("empty.sql")])).toMatchObject({
      code: 0,
      stdout: "[]\n",
    });
  });

  test("a file that is not there, is not in UTF-8 or is not among them is an error", async () => {
    const [gone, other] = [file("gone.sql"), file("utf16.sql")];
    expect(await cli(["lint", gone])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`no such file or directory, open '${gone}'`),
    });
    expect(await cli(["lint", other])).toMatchObject({
      code: 1,
      stderr: `error ${other} is not in UTF-8: save it as UTF-8\n`,
    });
    expect(await cli(["lint", file("0000.sql"), "--from", other])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("it is none of the files"),
    });
    expect(await cli(["lint"])).toMatchObject({ code: 64 });
  });
});
