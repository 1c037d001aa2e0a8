import { Readable } from "node:stream";
import { sql } from "drizzle-orm";
import { rows } from "../../src/client/sql.ts";
import { databaseError } from "../../src/client/errors.ts";
import { acting, guarantee, tenant } from "./attack.ts";

/** The ids that `COPY … (id) TO STDOUT` sent; PGlite tells only how many. */
async function idsSent(result: unknown): Promise<string[] | number> {
  if (!(result instanceof Readable)) {
    const count: unknown =
      typeof result === "object" && result !== null && "affectedRows" in result
        ? result.affectedRows
        : undefined;
    if (typeof count !== "number") throw new TypeError("neither a stream nor a count came of COPY");
    return count;
  }
  const chunks: string[] = [];
  for await (const chunk of result) chunks.push(String(chunk));
  return chunks.join("").split("\n").slice(0, -1);
}

export const copyTo = guarantee("COPY TO sends the caller's rows alone", async (ground) => {
  const { tx, tables, fixture } = ground;
  const violations: string[] = [];
  for (const { name, path } of tables) {
    const own = fixture.ids(name, fixture.north);
    const sent = await acting(tx, tenant(fixture.north), async (inner) =>
      idsSent(await inner.execute(sql.raw(`copy ${path} (id) to stdout`))),
    );
    const isOwn =
      typeof sent === "number"
        ? sent === own.length
        : sent.length === own.length && sent.every((id) => own.includes(id));
    if (!isOwn) violations.push(`${name}: COPY TO sent ${String(sent)} instead of ${String(own)}`);
  }
  return violations;
});

// Sent only where it will be refused: a COPY that is accepted waits for its rows.
export const copyFrom = guarantee("COPY FROM is refused for tenants", async (ground) => {
  const violations: string[] = [];
  for (const { name, path } of ground.tables) {
    const actor = tenant(ground.fixture.north);
    const refusal = await acting(ground.tx, actor, async (inner) => {
      const active = await inner.execute(
        sql`select from (select row_security_active(${path}) as on) as r where r.on`,
      );
      if (rows(active).length === 0) return undefined;
      return inner.execute(sql.raw(`copy ${path} from stdin`));
    }).then(() => undefined, databaseError);
    if (refusal?.code !== "0A000") {
      violations.push(`${name}: COPY FROM: expected 0A000, got ${refusal?.message ?? "no error"}`);
    }
  }
  return violations;
});

export const copyGuarantees = [copyTo, copyFrom];
