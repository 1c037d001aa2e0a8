import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MIGRATIONS } from "../../src/migrations.ts";
import { ejectSupabase } from "../../src/operate/migrate/install-script.ts";

const names = MIGRATIONS.map(({ name }) => name);

describe("eject", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "meta-agent-db-eject-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test("files for Supabase are named in order, each second once, and never written over", async () => {
    const { written } = ejectSupabase(directory);
    expect(written).toEqual(written.toSorted());
    expect(new Set(written.map((file) => file.slice(0, 14))).size).toBe(names.length);
    for (const [index, file] of written.entries()) {
      expect(file).toMatch(/^\d{14}_meta_agent_\w+\.sql$/);
      expect(`_${file.slice(26)}`).toBe(`${names[index]?.slice(4)}.sql`);
    }
    const changed = join(directory, written[3] ?? "");
    await writeFile(changed, "-- mine");
    await rm(join(directory, written.at(-1) ?? ""));
    expect(ejectSupabase(directory)).toEqual({
      written: written.slice(-1),
      unchanged: written.slice(0, -1).filter((file) => file !== written[3]),
      left: [written[3]],
    });
    expect(await readFile(changed, "utf8")).toBe("-- mine");
    const checkedOut = join(directory, written[0] ?? "");
    const text = await readFile(checkedOut, "utf8");
    await writeFile(checkedOut, text.replaceAll("\n", "\r\n"));
    expect(ejectSupabase(directory).left).toEqual([written[3]]);
    expect((await readdir(directory)).toSorted()).toEqual(written);
  });
});
